"""The epochs that are evaluated, and the aliases of their versions."""

import keras
import numpy as np
import pytest

from recorded_classifier import Evaluation, N, X, classifier, fit, labels
from wandb_eval.core._wandb.files import WriteError
from wandb_eval.core.run_log import RunLog

pytestmark = pytest.mark.usefixtures("offline_run_of_module")


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("every", "epochs", "initial", "expected"),
    [
        (1, 3, 0, [0, 1, 2]),
        (2, 5, 0, [1, 3, 4]),
        (2, 4, 0, [1, 3]),
        (10, 3, 0, [2]),
        (2, 5, 2, [3, 4]),
    ],
)
def test_cadence(every, epochs, initial, expected):
    evaluation = Evaluation((X, labels()), num_samples=2, every_n_epochs=every)
    fit(evaluation, epochs=epochs, initial_epoch=initial)
    assert evaluation.epochs == expected
    aliases = [version["aliases"] for _, version in evaluation.versions]
    assert aliases == [["latest", f"epoch_{epoch}"] for epoch in expected]
    assert len(evaluation.truth) == 1
    assert all(
        row["epoch"] == epoch
        for (table, _), epoch in zip(evaluation.versions, expected, strict=True)
        for row in table
    )


class StopAfter(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.model.stop_training = True


@pytest.mark.any_backend
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(
    ("every", "stop", "expected"), [(3, 3, [2, 3]), (3, 2, [2]), (9, 0, [0])]
)
def test_the_last_epoch_is_evaluated_when_training_stops_early(
    before, every, stop, expected
):
    evaluation = Evaluation((X, labels()), num_samples=2, every_n_epochs=every)
    callbacks = [StopAfter(stop), evaluation]
    fit(*(callbacks if before else callbacks[::-1]), epochs=8)
    assert evaluation.epochs == expected


@pytest.mark.any_backend
@pytest.mark.parametrize("before", [False, True])
def test_with_keras_early_stopping(before):
    evaluation = Evaluation((X, labels()), num_samples=2, every_n_epochs=100)
    stopping = keras.callbacks.EarlyStopping("loss", min_delta=100, patience=2)
    callbacks = [stopping, evaluation]
    fit(*(callbacks if before else callbacks[::-1]), epochs=50)
    assert stopping.stopped_epoch == 2
    assert evaluation.epochs == [2]


def test_two_fits_show_the_same_samples():
    evaluation = Evaluation((X, labels()), num_samples=4)
    model = fit(evaluation)
    fit(evaluation, model=model, epochs=3, initial_epoch=1)
    assert evaluation.epochs == [0, 1, 2]
    first, second = evaluation.truth
    assert [row["idx"] for row in first] == [row["idx"] for row in second]


def test_two_callbacks_in_one_fit():
    first = Evaluation((X, labels()), num_samples=2)
    second = Evaluation((X[:10], labels()[:10]), num_samples=3, name="test")
    fit(first, second)
    assert {key.partition("/")[0] for key in first.measured[0][1]} == {"eval"}
    assert {key.partition("/")[0] for key in second.measured[0][1]} == {"eval_test"}
    assert [len(e.versions[0][0]) for e in (first, second)] == [2, 3]
    assert "eval_test/accuracy" in second.versions[0][1]["metadata"]


@pytest.mark.parametrize(("num_samples", "expected"), [(None, N), (7, 7), (1000, N)])
def test_num_samples(num_samples, expected):
    evaluation = Evaluation((X, labels()), num_samples=num_samples)
    fit(evaluation)
    assert len(evaluation.truth[0]) == len(evaluation.versions[0][0]) == expected
    again = Evaluation((X, labels()), num_samples=num_samples)
    other = Evaluation((X, labels()), num_samples=num_samples, seed=1)
    assert again.samples.index == evaluation.samples.index
    assert (other.samples.index == again.samples.index) is (expected == N)


def test_hooks_without_logs_in_a_loop_of_ones_own():
    class WithoutLogs(Evaluation):
        def add_ground_truth(self):
            super().add_ground_truth()

        def add_model_predictions(self, epoch):
            super().add_model_predictions(epoch)

    evaluation = WithoutLogs((X, labels()), num_samples=2)
    callbacks = keras.callbacks.CallbackList([evaluation], model=fit())
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    callbacks.on_epoch_end(0)
    callbacks.on_train_end()
    assert evaluation.epochs == [0]


@pytest.mark.parametrize("size", [7, 50])
def test_models_with_a_step_of_their_own_get_whole_batches(size):
    class OwnStep(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3, activation="softmax")
            self.sizes = []

        def call(self, x):
            return self.dense(keras.ops.reshape(keras.ops.cast(x, "float32"), (-1, 4)))

        def predict(self, x, batch_size=None, **kwargs):
            self.sizes.append((len(x), batch_size))
            return super().predict(x, batch_size=batch_size, **kwargs)

        def predict_step(self, *args):
            return super().predict_step(*args)

    x, y = np.zeros((60, 2, 2), np.uint8), np.arange(60) % 3
    model = OwnStep()
    model.compile("sgd", "sparse_categorical_crossentropy")
    evaluation = Evaluation((x, y), num_samples=3, batch_size=size)
    model.fit(x, y, verbose=0, callbacks=[evaluation])
    assert model.sizes
    assert all(length == of_batch for length, of_batch in model.sizes)
    assert max(length for length, _ in model.sizes) == size


class Follow(keras.callbacks.Callback):
    """Sets the outputs of the model and the logs of `fit` in each epoch."""

    def __init__(self, shares, log="custom"):
        super().__init__()
        self.shares, self.log = shares, log

    def on_epoch_end(self, epoch, logs=None):
        # With a kernel of zeros, the bias decides: class 0 or class 2.
        right = self.shares[epoch]
        kernel, _ = self.model.layers[-1].get_weights()
        bias = np.array([right, 0, -right])
        self.model.layers[-1].set_weights([np.zeros_like(kernel), bias])
        logs[self.log] = right


@pytest.fixture
def nothing_logged_before(monkeypatch):
    """All tests share the run, so the best numbers of the others are removed."""
    monkeypatch.setattr(RunLog, "restore", lambda self, key: None)


@pytest.mark.once
@pytest.mark.parametrize(
    ("monitor", "mode", "best"),
    [
        (None, "auto", []),
        ("eval/accuracy", "auto", [0, 1]),
        ("eval/log_loss", "auto", [0, 1, 3]),
        ("eval/accuracy", "min", [0]),
        ("custom_loss", "auto", [0]),
        ("custom_loss", "max", [0, 1, 3]),
        ("my_auc", "auto", [0, 1, 3]),
        ("mean_io_u", "auto", [0, 1, 3]),
        ("top5acc", "auto", [0, 1, 3]),
        ("mape", "auto", [0]),
        ("val_mean_squared_logarithmic_error", "auto", [0]),
        ("of_mae/logloss", "auto", [0]),
        ("of_loss/my_auc", "auto", [0, 1, 3]),
        ("val_error_type_accuracy", "auto", [0, 1, 3]),
        ("accuracy_loss", "auto", [0]),
        ("custom", "min", [0]),
    ],
)
@pytest.mark.usefixtures("nothing_logged_before")
def test_best(monitor, mode, best):
    log = monitor if monitor and not monitor.startswith("eval/") else "custom"
    truth = np.zeros(N, int)
    evaluation = Evaluation((X, truth), num_samples=2, monitor=monitor, mode=mode)
    shares = [-1, 1, 0.5, 2]
    fit(Follow(shares, log), evaluation, y=truth, epochs=4)
    aliases = [version["aliases"] for _, version in evaluation.versions]
    assert [i for i, names in enumerate(aliases) if "best" in names] == best
    assert all(names[:2] == ["latest", f"epoch_{i}"] for i, names in enumerate(aliases))


@pytest.mark.parametrize("monitor", ["eval/accuracy", "eval/log_loss", "made_up_acc"])
@pytest.mark.usefixtures("nothing_logged_before")
def test_an_epoch_with_nan_is_never_the_best_and_steers_nothing(
    tmp_path, warned, monitor
):
    """90 % of the samples are NaN in the second epoch, the others are right."""
    truth = np.arange(N) % 3
    share = [0.0, 1.0, 0.5]

    class Outputs(keras.Model):
        def __init__(self):
            super().__init__()
            self.epoch = self.add_weight(shape=(), initializer="zeros", trainable=False)
            self.scale = self.add_weight(shape=(), initializer="ones")

        def call(self, x):
            place = keras.ops.cast(x[:, 0, 0], "int32")
            right = keras.ops.one_hot(place % 3, 3)
            other = keras.ops.one_hot((place + 1) % 3, 3)
            half = keras.ops.cast(place[:, None] < N // 2, "float32")
            few = place[:, None] < N // 10 + 1
            nan = keras.ops.where(few, right, float("nan"))
            first = right * half + other * (1 - half)
            found = keras.ops.where(self.epoch == 1, nan, first)
            return found * 0.9 + 0.1 / 3

        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
            return keras.ops.square(self.scale - 1)

    class Next(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.epoch.assign(epoch)

        def on_epoch_end(self, epoch, logs=None):
            logs["made_up_acc"] = share[epoch]

    model = Outputs()
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.zeros((N, 2, 2), "float32")
    x[:, 0, 0] = np.arange(N)
    evaluation = Evaluation((x, truth), num_samples=2, monitor=monitor)
    saved = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "best.weights.h5"),
        monitor="eval/accuracy",
        mode="max",
        save_best_only=True,
        save_weights_only=True,
    )
    fit(Next(), evaluation, saved, model=model, x=x, y=truth, epochs=3)
    aliases = [version["aliases"] for _, version in evaluation.versions]
    assert [i for i, names in enumerate(aliases) if "best" in names][:1] == [0]
    assert "best" not in aliases[1]
    first, nan, last = (numbers for _, numbers in evaluation.measured)
    few = N // 10 + 1
    assert nan["eval/accuracy"] == few / N
    assert nan["eval/left_out"] == N - few
    assert "eval/left_out" not in first
    assert nan["eval/log_loss"] > first["eval/log_loss"] == last["eval/log_loss"]
    assert saved.best == first["eval/accuracy"] > nan["eval/accuracy"]
    assert len([text for text in warned if "NaN" in text]) == 1


@pytest.mark.usefixtures("nothing_logged_before")
def test_a_version_that_could_not_be_logged_is_not_the_best():
    class Failing(Evaluation):
        def log_pred_table(self, *args, **kwargs):
            if self.run_log.epoch == 1:
                raise WriteError("no space")
            super().log_pred_table(*args, **kwargs)

    truth = np.zeros(N, int)
    evaluation = Failing((X, truth), num_samples=2, monitor="eval/accuracy")
    evaluation.on_error = "warn"
    fit(Follow([-1, 2, 1, 0.5]), evaluation, y=truth, epochs=4)
    aliases = [version["aliases"] for _, version in evaluation.versions]
    assert [names[1:] for names in aliases] == [
        ["epoch_0", "best"],
        ["epoch_2", "best"],
        ["epoch_3"],
    ]


def test_a_monitor_that_is_not_measured_is_said_and_no_version_is_best(warned):
    evaluation = Evaluation((X, labels()), num_samples=2, monitor="val_loss")
    fit(evaluation)
    assert evaluation.versions[0][1]["aliases"] == ["latest", "epoch_0"]
    [warning] = warned
    assert "'val_loss', which is not among" in warning
    assert "eval/accuracy" in warning


def test_a_monitor_of_several_numbers_is_said_and_ends_nothing(warned):
    model = classifier(loss="categorical_crossentropy")
    model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    evaluation = Evaluation((X, labels()), num_samples=2, monitor="val_f1_score")
    targets = np.eye(3)[labels()]
    options = {"epochs": 2, "validation_data": (X, targets)}
    fit(evaluation, model=model, y=targets, **options)
    assert evaluation.epochs == [0, 1]
    assert not any("best" in names["aliases"] for _, names in evaluation.versions)
    assert any("must name a single number. 'val_f1" in text for text in warned)
