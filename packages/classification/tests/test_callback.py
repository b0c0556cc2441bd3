"""The callback in `fit`: real models that really train, and the real wandb client."""

import os
import re

import keras
import numpy as np
import pytest
import wandb
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics

from recorded_classifier import SHAPE, Evaluation, N, X, classifier, fit, labels, rows

ODD_NAMES = ['a "quoted" name', "a/slash", "two\nlines", "🦆", "../../up", "", "crane"]
COLUMNS = ["epoch", "idx", "image", "label", "pred", "score", "correct", "loss"]

pytestmark = pytest.mark.usefixtures("offline_run_of_module")


class Batches(keras.callbacks.Callback):
    """Counts batches of training."""

    trained = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.trained += 1


UNTRAINED = classifier()


def refuses(message, *args, model=None, y=None, error=ValueError, **options):
    """It raises before the first batch, at construction or when training begins."""
    batches = Batches()
    model = model or UNTRAINED
    with pytest.raises(error, match=message):
        fit(batches, Evaluation(*args, **options), model=model, y=y)
    assert batches.trained == 0


# --- Rows and numbers -------------------------------------------------------------


def check_rows(evaluation, probabilities, truth, names):
    """The rows of the last version, against the model's own predictions."""
    [table] = evaluation.truth
    table_rows, version = evaluation.versions[-1]
    epoch = version["metadata"]["epoch"]
    top = evaluation.pred_table_columns[-1]
    assert [*table_rows[0]] == [*COLUMNS, top]
    assert top == f"top_{evaluation.top_k}"
    assert len(table) == len(table_rows) == len(evaluation.samples)
    for given_row, row in zip(table, table_rows, strict=True):
        index = row["idx"]
        expected = probabilities[index]
        assert given_row["idx"] == index
        assert given_row["label"] == row["label"] == names[truth[index]]
        assert row["epoch"] == epoch
        assert row["pred"] == names[expected.argmax()]
        assert row["score"] == pytest.approx(expected.max(), rel=1e-5)
        assert row["correct"] is bool(expected.argmax() == truth[index])
        assert row["loss"] == pytest.approx(-np.log(expected[truth[index]]), rel=1e-4)
        order = np.argsort(-expected)[: evaluation.top_k]
        # A name may have a comma in it.
        parts = [re.escape(names[i]) + r" (\d\.\d\d)" for i in order]
        shown = re.fullmatch(", ".join(parts), row[top])
        assert shown, (row[top], names)
        values = [float(value) for value in shown.groups()]
        assert values == pytest.approx(expected[order], abs=0.0051)
        image = np.asarray(given_row["image"].image)
        np.testing.assert_array_equal(image, X[index, ..., 0])


def check_numbers(evaluation, probabilities, truth):
    """The numbers of the last epoch, against scikit-learn on the model's outputs."""
    predicted = probabilities.argmax(axis=1)
    expected = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "log_loss": -np.log(probabilities[np.arange(len(truth)), truth]).mean(),
        "macro_f1": metrics.f1_score(truth, predicted, average="macro"),
    }
    _, measured = evaluation.measured[-1]
    metadata = evaluation.versions[-1][1]["metadata"]
    for key, value in expected.items():
        assert measured[f"eval/{key}"] == pytest.approx(value, rel=1e-5)
        assert metadata[f"eval/{key}"] == measured[f"eval/{key}"]


@pytest.mark.parametrize("one_hot", [False, True])
def test_rows_and_numbers(one_hot):
    names = ["cat", "dog", "bird"]
    y = np.eye(3, dtype="float32")[labels()] if one_hot else labels()
    loss = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    evaluation = Evaluation((X, y), names, num_samples=7, top_k=2, batch_size=4)
    model = fit(evaluation, model=classifier(loss=loss), y=y, epochs=2)
    probabilities = model.predict(X, verbose=0)
    assert len(evaluation.samples) == 7
    check_rows(evaluation, probabilities, labels(), names)
    check_numbers(evaluation, probabilities, labels())
    assert evaluation.epochs == [0, 1]
    first, last = (
        [(row["idx"], row["label"]) for row in table]
        for table, _ in evaluation.versions
    )
    assert first == last
    _, measured = evaluation.measured[-1]
    assert set(measured) == {
        f"eval/{key}"
        for key in (
            *("accuracy", "top_2_accuracy", "log_loss", "macro_f1", "per_class"),
            *("confusion_matrix", "roc", "precision_recall"),
            *("brier", "ece", "reliability"),
        )
    }


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("from_logits", [False, True])
def test_one_sigmoid_unit(flat, from_logits):
    model = classifier(1, None if from_logits else "sigmoid")
    if flat:
        model.add(keras.layers.Reshape(()))
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=from_logits))
    truth = labels(2)
    evaluation = Evaluation(
        (X, truth), ["no", "yes"], num_samples=4, top_k=5, from_logits=from_logits
    )
    fit(evaluation, model=model, y=truth)
    unit = model.predict(X, verbose=0).reshape(-1, 1)
    unit = 1 / (1 + np.exp(-unit)) if from_logits else unit
    probabilities = np.hstack([1 - unit, unit])
    check_rows(evaluation, probabilities, truth, ["no", "yes"])
    check_numbers(evaluation, probabilities, truth)


def test_logits():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = classifier(4, None, loss)
    evaluation = Evaluation((X, labels()), num_samples=5, from_logits=True)
    fit(evaluation, model=model)
    outputs = np.exp(model.predict(X, verbose=0))
    probabilities = outputs / outputs.sum(axis=1, keepdims=True)
    check_rows(evaluation, probabilities, labels(), "0123")
    check_numbers(evaluation, probabilities, labels())


@pytest.mark.parametrize("units", [1, 3])
def test_probabilities_that_are_taken_for_logits_are_said(warned, units):
    model = classifier(units, "sigmoid" if units == 1 else "softmax")
    if units == 1:
        model.compile("sgd", "binary_crossentropy")
    truth = labels(max(2, units))
    fit(Evaluation((X, truth), from_logits=True), model=model, y=truth)
    [warning] = warned
    assert "they look like probabilities" in warning


def test_multi_label():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (N, 4))
    y[0] = 0
    model = classifier(4, "sigmoid", "binary_crossentropy")
    evaluation = Evaluation((X, y), list("abcd"), num_samples=None, multi_label=True)
    fit(evaluation, model=model, y=y)
    outputs = model.predict(X, verbose=0)
    predicted = outputs >= 0.5
    table, _ = evaluation.versions[-1]
    scores = evaluation.evaluation.scores
    assert len(table) == N
    for row in table:
        chosen, output = predicted[row["idx"]], outputs[row["idx"]]
        truth = y[row["idx"]]
        order = np.argsort(-output)
        assert row["label"] == ", ".join("abcd"[i] for i in range(4) if truth[i])
        assert row["pred"] == ", ".join("abcd"[i] for i in order if chosen[i])
        assert scores["label"][row["idx"]] == ["abcd"[i] for i in range(4) if truth[i]]
        assert scores["pred"][row["idx"]] == ["abcd"[i] for i in range(4) if chosen[i]]
        expected = output[chosen].mean() if chosen.any() else 0.0
        assert row["score"] == pytest.approx(expected, rel=1e-5)
        assert row["correct"] is bool((chosen == truth).all())
        loss = metrics.log_loss(truth, output.astype(float), labels=[0, 1])
        assert row["loss"] == pytest.approx(loss, rel=1e-4)
        top = ", ".join(f"{'abcd'[i]} {output[i]:.2f}" for i in order)
        assert row["top_5"] == top
    _, measured = evaluation.measured[-1]
    assert measured["eval/accuracy"] == metrics.accuracy_score(y, predicted)
    assert "eval/confusion_matrix" not in measured


def two_outputs(as_dict):
    inputs = keras.Input(SHAPE)
    hidden = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    size = keras.layers.Dense(1, name="size")(hidden)
    kind = keras.layers.Dense(3, "softmax", name="kind")(hidden)
    outputs = {"size": size, "kind": kind} if as_dict else [size, kind]
    model = keras.Model(inputs, outputs)
    losses = {"size": "mse", "kind": "sparse_categorical_crossentropy"}
    model.compile("sgd", losses if as_dict else list(losses.values()))
    return model


@pytest.mark.parametrize(
    ("as_dict", "output_key"), [(True, "kind"), (False, 1), (False, "kind")]
)
@pytest.mark.parametrize("kind_alone", [False, True])
def test_several_outputs(as_dict, output_key, kind_alone):
    size = X.mean((1, 2, 3)) / 255
    y = {"size": size, "kind": labels()} if as_dict else (size, labels())
    evaluation = Evaluation(
        (X, labels() if kind_alone else y), num_samples=5, output_key=output_key
    )
    model = fit(evaluation, model=two_outputs(as_dict), y=y)
    probabilities = model.predict(X, verbose=0)["kind" if as_dict else 1]
    check_rows(evaluation, probabilities, labels(), "012")
    check_numbers(evaluation, probabilities, labels())


@pytest.mark.parametrize("as_dict", [False, True])
def test_several_outputs_in_the_validation_of_fit(as_dict):
    """On JAX, reading the model of a callback disturbs a running validation."""
    size = X.mean((1, 2, 3)) / 255
    y = {"size": size, "kind": labels()} if as_dict else (size, labels())
    evaluation = Evaluation((X, y), num_samples=5, batch_size=4, output_key="kind")
    model = two_outputs(as_dict)
    model.compile("sgd", model.loss, metrics={"kind": ["accuracy"]})
    history = model.fit(
        X,
        y,
        epochs=2,
        verbose=0,
        validation_data=(X, y),
        validation_batch_size=4,
        callbacks=[evaluation],
    ).history
    assert history["eval/accuracy"] == pytest.approx(history["val_kind_accuracy"])
    probabilities = model.predict(X, verbose=0)["kind" if as_dict else 1]
    check_rows(evaluation, probabilities, labels(), "012")
    check_numbers(evaluation, probabilities, labels())


def test_outputs_and_labels_in_a_data_loader_of_lists():
    size = X.mean((1, 2, 3)) / 255
    batches = [[X[i : i + 8], [size[i : i + 8], labels()[i : i + 8]]] for i in (0, 8)]
    evaluation = Evaluation(batches, num_samples=5, output_key="kind")
    model = fit(evaluation, model=two_outputs(False), y=(size, labels()))
    probabilities = model.predict(X[:16], verbose=0)[1]
    check_rows(evaluation, probabilities, labels(), "012")
    check_numbers(evaluation, probabilities, labels()[:16])


def test_several_inputs():
    image, number = keras.Input(SHAPE, name="image"), keras.Input((2,), name="number")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    both = keras.layers.Concatenate()([flat, number])
    model = keras.Model(
        {"image": image, "number": number}, keras.layers.Dense(3, "softmax")(both)
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = {"image": X, "number": np.ones((N, 2), "float32")}
    evaluation = Evaluation((x, labels()), num_samples=5)
    fit(evaluation, model=model, x=x)
    probabilities = model.predict(x, verbose=0)
    check_rows(evaluation, probabilities, labels(), "012")
    check_numbers(evaluation, probabilities, labels())


@pytest.mark.parametrize("of_arrays", [True, False])
def test_a_first_input_of_one_number_a_sample(of_arrays):
    number, image = keras.Input(()), keras.Input(SHAPE)
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    both = keras.layers.Concatenate()([keras.ops.expand_dims(number, -1), flat])
    model = keras.Model([number, image], keras.layers.Dense(3, "softmax")(both))
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.arange(N, dtype="float32") / N, X
    data = x, labels()
    if not of_arrays:
        data = [(tuple(a[i : i + 4] for a in x), labels()[i : i + 4])
                for i in range(0, N, 4)]  # fmt: skip
    evaluation = Evaluation(data, num_samples=5)
    fit(evaluation, model=model, x=x)
    probabilities = model.predict(x, verbose=0)
    check_rows(evaluation, probabilities, labels(), "012")
    check_numbers(evaluation, probabilities, labels())


def test_tf_data_that_is_shuffled():
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices((X, labels())).shuffle(N).batch(7)
    evaluation = Evaluation(dataset, num_samples=5)
    model = fit(evaluation, epochs=2)
    check_numbers(evaluation, model.predict(X, verbose=0), labels())
    images = [
        [(np.asarray(row["image"].image).tolist(), row["label"]) for row in table]
        for table, _ in evaluation.versions
    ]
    assert images[0] == images[1]  # The same samples, in any order of the data.
    place = {image[..., 0].tobytes(): i for i, image in enumerate(X)}
    for image, label in images[0]:
        assert label == str(place[np.array(image, np.uint8).tobytes()] % 3)


def test_images_of_several_sizes():
    inputs = keras.Input((None, None, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    pooled = keras.layers.Rescaling(1 / 255)(pooled)
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(pooled))
    model.compile("sgd", "sparse_categorical_crossentropy")
    images = [X[0], X[1], X[2][:4], X[3], X[4][:, :3]]
    evaluation = Evaluation((images, labels()[:5]), batch_size=3)
    fit(evaluation, model=model)
    expected = np.vstack([model.predict(image[None], verbose=0) for image in images])
    check_numbers(evaluation, expected, labels()[:5])
    table, _ = evaluation.versions[0]
    for i, row in enumerate(table):
        assert row["score"] == pytest.approx(expected[i].max(), rel=1e-4)
        np.testing.assert_array_equal(np.asarray(row["image"].image), images[i][..., 0])


class NotANumberWhereWhite(keras.layers.Layer):
    def call(self, inputs):
        outputs, image = inputs
        white = keras.ops.min(image, axis=(1, 2))
        return keras.ops.where(white >= 255, float("nan"), outputs)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("everywhere", [False, True])
def test_nan_in_outputs_does_not_end_training(multi_label, everywhere):
    inputs = keras.Input(SHAPE)
    hidden = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    outputs = keras.layers.Dense(3, "sigmoid" if multi_label else "softmax")(hidden)
    model = keras.Model(inputs, NotANumberWhereWhite()([outputs, inputs]))
    y = np.eye(3)[labels()] if multi_label else labels()
    loss = "binary_crossentropy" if multi_label else "sparse_categorical_crossentropy"
    model.compile("sgd", loss)
    white = np.ones(N, bool) if everywhere else np.arange(N) % 3 == 1
    x = np.where(white[:, None, None, None], np.uint8(255), X)
    batches = Batches()
    evaluation = Evaluation(
        (x, y), num_samples=9, multi_label=multi_label, monitor="eval/accuracy"
    )
    fit(evaluation, batches, model=model, y=y, epochs=2)
    assert batches.trained == 4
    _, measured = evaluation.measured[-1]
    assert measured["eval/left_out"] == white.sum()
    numbers = evaluation.evaluation.scores
    assert measured["eval/accuracy"] == np.mean(numbers["correct"])
    assert measured["eval/accuracy"] <= 1 - white.mean()
    table, version = evaluation.versions[-1]
    assert version["metadata"]["eval/left_out"] == white.sum()
    assert any(white[row["idx"]] for row in table)
    for row in table:
        if white[row["idx"]]:
            assert row["pred"] == "NaN"
            assert np.isnan([row["score"], row["loss"]]).all()
            assert row["correct"] is False
            assert row["top_5"] == ""
        else:
            assert np.isfinite([row["score"], row["loss"]]).all()


# --- Names ------------------------------------------------------------------------


def test_odd_class_names_in_tables_and_charts(offline_run_of_module):
    folder = offline_run_of_module.settings.sync_dir
    names = [*ODD_NAMES, "crane"]
    told_apart = [*ODD_NAMES[:-1], "crane (6)", "crane (7)"]
    before = {path for path, _, _ in os.walk(folder + "/..")}
    evaluation = Evaluation((X, labels(8)), names, num_samples=None, top_k=8)
    model = fit(evaluation, model=classifier(8), y=labels(8))
    check_rows(evaluation, model.predict(X, verbose=0), labels(8), told_apart)
    _, measured = evaluation.measured[-1]
    assert [row[0] for row in measured["eval/per_class"].data] == told_apart
    actual = [row[0] for row in measured["eval/confusion_matrix"].table.data]
    assert actual == [name for name in told_apart for _ in range(8)]
    curves = [row[0] for row in measured["eval/roc"].table.data]
    assert list(dict.fromkeys(curves)) == told_apart
    after = {path for path, _, _ in os.walk(folder + "/..")}
    assert all("up" not in os.path.basename(path) for path in after - before)


def test_names_may_be_left_out_but_not_be_too_many():
    evaluation = Evaluation((X, labels()), num_samples=2)
    fit(evaluation)
    assert [row[0] for row in evaluation.measured[0][1]["eval/per_class"].data] == [
        *"012"
    ]
    refuses("7 names, but the model has outputs for 3", (X, labels()), [*"abcdefg"])


def test_image_fn_and_jpg():
    evaluation = Evaluation(
        (X, labels()),
        num_samples=3,
        image_format="jpg",
        image_fn=lambda x: np.repeat(255 - x, 3, axis=-1),
    )
    fit(evaluation)
    for row in evaluation.truth[0]:
        assert row["image"].format == "jpg"
        image = np.asarray(row["image"].image, float)
        assert image.shape == (6, 5, 3)
        assert abs(image.mean() - (255.0 - X[row["idx"]]).mean()) < 8


# --- Bad input --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["a", "b"]}, "`class_names` has 2 names, but .* 3 classes"),
        ({"class_names": "abc"}, "`class_names` must be a list"),
        ({"class_names": []}, "an empty list"),
        ({"class_names": [1, 2, 3]}, "list of strings"),
        ({"top_k": 0}, "`top_k` must be a positive integer. Received: 0"),
        ({"top_k": True}, "`top_k` must be a positive integer"),
        ({"top_k": 2.0}, "`top_k` must be a positive integer"),
        ({"num_samples": 0}, "`num_samples` must be a positive integer or None"),
        ({"num_samples": -1}, "`num_samples` must be"),
        ({"every_n_epochs": 0}, "`every_n_epochs` must be"),
        ({"batch_size": 0}, "`batch_size` must be"),
        ({"image_format": "gif"}, "`image_format` must be"),
        ({"image_fn": 3}, "`image_fn` must be callable"),
        ({"image_fn": lambda x: x / 2}, "`image_fn` must return a uint8 array"),
        ({"monitor": "custom"}, "`mode='auto'` can't tell"),
        ({"monitor": "val_loss", "mode": "up"}, "`mode` must be"),
        ({"name": "a/b"}, "`name` may have"),
        ({"output_key": "kind"}, "`output_key` is 'kind'"),
        ({"multi_label": True}, r"must be of shape \(batch, num_classes\)"),
    ],
)
def test_arguments_that_can_not_be_used(options, message):
    refuses(message, (X, labels()), **options)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.where(labels() == 1, -1, labels()), "Received: -1 among them"),
        (labels() + 0.5, "Received: 0.5 among them"),
        (np.where(labels() == 1, np.nan, labels()), "Received: nan among them"),
        (labels() + 1, "go up to 3, but the model has outputs for 3 classes"),
        (np.array(["cat", "dog", "bird"])[labels()], "array of numbers. Received: <U4"),
        (np.eye(3)[labels()] * 0.5, "Received: 0.5 among them"),
        (np.ones((N, 3)), "a row with 3"),
        (np.zeros((N, 3, 2)), "must be of shape"),
        (labels()[:-1], "the same number of samples"),
        ({"kind": labels(), "size": labels()}, "Pass `output_key`"),
        ([[0, 1], *([0] for _ in range(N - 1))], "must be an array"),
    ],
)
def test_labels_that_can_not_be_used(y, message):
    refuses(message, (X, y))


def test_a_label_out_of_range_is_found_in_the_last_batch():
    y = labels()
    y[-1] = 3
    refuses("go up to 3", (X, y), num_samples=1, batch_size=8)
    refuses("`class_names` has 3", (X, y), [*"abc"], num_samples=1, batch_size=8)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda: classifier(4), {"class_names": [*"abc"]}, "has 3 names, but .* 4"),
        (lambda: classifier(3, None), {}, "not probabilities.*`from_logits=True`"),
        (lambda: two_outputs(True), {}, r"outputs: \[.*'kind'.*\]. Pass `output_key`"),
        (lambda: two_outputs(False), {"output_key": "sort"}, "outputs .*'kind'"),
        (lambda: two_outputs(False), {"output_key": 2}, "`output_key` is 2"),
        (lambda: two_outputs(True), {"output_key": "size"}, "outputs for 2 classes"),
        (lambda: classifier(1, "sigmoid"), {}, "up to 2, .* outputs for 2 classes"),
    ],
)
def test_outputs_that_can_not_be_used(model, options, message):
    keras.utils.set_random_seed(1)
    model = model()
    if len(model.outputs) > 1:
        y = {"size": labels(), "kind": labels()}
        y = y if isinstance(model.output, dict) else tuple(y.values())
        refuses(message, (X, labels()), model=model, y=y, **options)
    else:
        refuses(message, (X, labels()), model=model, **options)


@pytest.mark.parametrize(
    ("units", "columns"), [(3, 2), (2, 3), (1, 1)], ids=["more", "fewer", "one"]
)
def test_multi_label_needs_an_output_for_each_class(units, columns):
    model = classifier(units, "sigmoid", "binary_crossentropy")
    y = np.ones((N, columns))
    message = f"{units} outputs and labels for {columns} classes"
    refuses(message, (X, y), model=model, y=np.ones((N, units)), multi_label=True)


def test_multi_label_needs_the_same_classes_in_all_batches():
    batches = [(X[:5], np.ones((5, 3))), (X[5:], np.ones((25, 2)))]
    model = classifier(3, "sigmoid", "binary_crossentropy")
    refuses(
        "3 classes, then 2", batches, model=model, y=np.ones((N, 3)), multi_label=True
    )


def test_outputs_of_another_rank_can_not_be_used():
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "mse")
    message = r"must be of shape \(batch, num_classes\).*\(30, 6, 5, 3\)"
    refuses(message, (X, labels()), model=model, y=np.zeros((N, 6, 5, 3)))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (lambda: iter([(X, labels())]), TypeError, "only once"),
        (lambda: (batch for batch in [(X, labels())]), TypeError, "only once"),
        (lambda: None, TypeError, "must be a tuple"),
        (lambda: {"x": X}, TypeError, "must be a tuple"),
        (list, ValueError, "is empty"),
        (lambda: (X[:0], labels()[:0]), ValueError, "is empty"),
        (lambda: [(X[0], labels()[0])], ValueError, "batch the data first"),
        (lambda: [{"images": X, "labels": labels()}], ValueError, r"\{'images': uint8"),
    ],
)
def test_data_that_can_not_be_used(data, error, message):
    refuses(message, data(), error=error)


@pytest.mark.parametrize(
    "x",
    [
        X * 2.0 - 100,
        np.stack([X] * 3, axis=1),
        np.repeat(X, 4, axis=-1) * 300.0,
        X * np.nan,
    ],
    ids=["range", "frames", "channels", "nan"],
)
def test_no_picture_ends_the_training(x):
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    evaluation = Evaluation((x.astype("float32"), labels()), num_samples=4)
    fit(evaluation, model=model, x=np.nan_to_num(x).astype("float32"))
    [truth] = evaluation.truth
    assert len(truth) == 4
    for table in (truth, *(version for version, _ in evaluation.versions)):
        for row in table:
            if np.isnan(x).any():
                assert row["image"] is None
            else:
                assert row["image"].image.size == X.shape[2:0:-1]
                assert np.ptp(np.asarray(row["image"].image)) > 30


def test_inputs_that_are_no_images_are_text_or_what_image_fn_makes_of_them():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.ones((N, 4), "float32")
    evaluation = Evaluation((x, labels()))
    fit(evaluation, model=model, x=x)
    assert {row["input"] for row in evaluation.truth[0]} == {"1, 1, 1, 1"}
    evaluation = Evaluation(
        (x, labels()), image_fn=lambda x: np.full((2, 2), x.sum(), np.uint8)
    )
    fit(evaluation, model=model, x=x)
    assert np.asarray(evaluation.truth[0][0]["image"].image).tolist() == [[4, 4]] * 2


def test_data_that_the_model_does_not_take():
    """Keras' own error, before training."""
    batches = Batches()
    with pytest.raises(ValueError, match=r"(?s)expected.*shape|incompatible"):
        fit(batches, Evaluation((X[:, :3], labels())))
    assert batches.trained == 0


# --- Fuzz -------------------------------------------------------------------------


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(
    names=st.lists(st.text(max_size=8), min_size=3, max_size=3),
    classes=st.sampled_from([2, 3]),
    dtype=st.sampled_from(["uint8", "float32", "int64", "bool"]),
    one_hot=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "num_samples": st.one_of(st.none(), st.integers(1, 40)),
            "batch_size": st.integers(1, 40),
            "top_k": st.integers(1, 6),
        }
    ),
)
def test_what_can_be_passed_makes_a_correct_table(
    names, classes, dtype, one_hot, options
):
    truth = labels(classes)
    y = np.eye(3)[truth].astype(dtype) if one_hot else truth
    assume(one_hot or dtype != "bool" or classes == 2)
    y = y.astype(dtype)
    evaluation = Evaluation((X, y), names, **options)
    model = UNTRAINED
    evaluation.set_model(model)
    evaluation.set_params({"epochs": 1, "verbose": 0})
    evaluation.on_train_begin()
    evaluation.on_epoch_end(0, {})
    evaluation.on_train_end()
    probabilities = model.predict(X, verbose=0)
    check_rows(evaluation, probabilities, truth, evaluation.class_names)
    check_numbers(evaluation, probabilities, truth)


# --- Errors of predictions --------------------------------------------------------


class Fixed(keras.Model):
    """Returns fixed outputs for each image, whatever it learns."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs_by_image = np.asarray(outputs, "float32")
        self.learned = self.add_weight(shape=(), initializer="zeros", name="learned")

    def call(self, x):
        index = keras.ops.cast(x[:, 0, 0, 0], "int32")
        return keras.ops.take(self.outputs_by_image, index, axis=0) + 0 * self.learned


def fit_fixed(outputs, y, **options):
    """Fits a model with these outputs, one for each image."""
    x = np.zeros((len(outputs), 2, 2, 1), "float32")
    x[:, 0, 0, 0] = np.arange(len(outputs))
    model = Fixed(outputs)
    model.compile("sgd", lambda y_true, y_pred: keras.ops.mean(y_pred, axis=-1))
    options = {"image_fn": lambda x: np.full((2, 2), x[0, 0, 0], np.uint8), **options}
    evaluation = Evaluation((x, np.asarray(y)), **options)
    model.fit(x, np.zeros((len(x), 1)), epochs=2, verbose=0, callbacks=[evaluation])
    return evaluation, evaluation.history


def test_a_sigmoid_unit_for_each_class(warned):
    evaluation, history = fit_fixed([[0.9, 0.2, 0.1], [0.2, 0.1, 0.7]], [0, 2])
    [warning] = warned
    assert "have sums of 1 to 1.2: they are taken for those of a classifier" in warning
    assert "from_logits" not in warning
    first = evaluation.versions[-1][0][0]
    assert first["score"] == pytest.approx(0.9)
    assert history["eval/log_loss"][-1] == pytest.approx(0.322, abs=5e-4)
    assert history["eval/accuracy"] == [1.0, 1.0]


@pytest.mark.parametrize("num_hardest", [0, 4, 50])
def test_the_hardest_are_those_of_all_samples(num_hardest):
    rng = np.random.default_rng(0)
    outputs = rng.dirichlet(np.ones(3), 40).astype("float32")
    y = rng.integers(0, 3, 40)
    evaluation, _ = fit_fixed(outputs, y, num_samples=3, num_hardest=num_hardest)
    tables = evaluation.versions[-1][1]["more_tables"]
    losses = -np.log(outputs[np.arange(40), y])
    expected = np.argsort(-losses, kind="stable")[:num_hardest].tolist()
    if not num_hardest:
        assert "hardest" not in tables
        return
    hardest = rows(tables["hardest"])
    assert [row["idx"] for row in hardest] == expected
    np.testing.assert_allclose(
        [row["loss"] for row in hardest], losses[expected], rtol=1e-5
    )
    for row in hardest:
        assert np.asarray(row["image"].image)[0, 0] == row["idx"]
    scores = rows(tables["scores"])
    assert [row["idx"] for row in scores] == list(range(40))
    np.testing.assert_allclose([row["loss"] for row in scores], losses, rtol=1e-5)
    assert {"learned_in", "forgotten", "mean_confidence"} <= set(scores[0])


def test_samples_that_break_are_shown_with_their_images():
    """In epoch 0 the model takes all for class 0, then for class 1."""

    class Bias(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            bias = 3 * np.eye(3, dtype="float32")[min(epoch, 1)]
            layer = self.model.layers[-1]
            layer.set_weights([np.zeros_like(layer.get_weights()[0]), bias])

    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    options = {"num_samples": 2, "num_hardest": 4, "from_logits": True}
    evaluation = Evaluation((X, labels()), **options)
    model.fit(X, labels(), epochs=3, verbose=0, callbacks=[Bias(), evaluation])
    tables = [version["more_tables"] for _, version in evaluation.versions]
    assert ["broken" in version for version in tables] == [False, True, False]
    broken = rows(tables[1]["broken"])
    assert [row["idx"] for row in broken] == [0, 3, 6, 9]  # Of ten, `num_hardest`.
    assert {(row["label"], row["pred"]) for row in broken} == {("0", "1")}
    for row in broken:
        np.testing.assert_array_equal(row["image"].image, X[row["idx"], ..., 0])


def test_the_pairs_that_are_confused_most():
    outputs = np.eye(3)[[0, 1, 1, 1, 2]] * 0.9 + 1 / 30
    evaluation, _ = fit_fixed(outputs, [0, 0, 0, 1, 1], class_names=[*"abc"])
    confused = rows(evaluation.versions[-1][1]["more_tables"]["confused"])
    assert [list(row.values())[:4] for row in confused] == [
        ["a", "b", 2, 2 / 3],
        ["b", "c", 1, 1 / 2],
    ]
    assert [np.asarray(confused[0][f"image_{i}"].image)[0, 0] for i in (1, 2)] == [1, 2]
    assert confused[0]["image_3"] is None


def test_what_is_not_a_number_says_nothing_of_a_label():
    outputs = np.array([[0.9, 0.1], [np.nan, 0.5], [0.2, 0.8]])
    evaluation, _ = fit_fixed(outputs, [1, 1, 1])
    tables = evaluation.versions[-1][1]["more_tables"]
    assert rows(tables["hardest"])[0]["idx"] == 1
    [suspect] = rows(tables["suspect_labels"])
    assert (suspect["idx"], suspect["label"], suspect["suggested"]) == (0, "1", "0")
    assert suspect["mean_confidence"] == pytest.approx(0.1)


def test_many_samples_that_are_not_numbers_leave_room_for_suspects():
    outputs = np.full((70, 2), np.nan)
    outputs[60:] = 0.9, 0.1
    evaluation, _ = fit_fixed(outputs, np.ones(70, int), num_samples=1)
    found = rows(evaluation.versions[-1][1]["more_tables"]["suspect_labels"])
    assert [row["idx"] for row in found] == [*range(60, 70)]


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_metric_of_ones_own(multi_label):
    class Mean:
        def __init__(self):
            self.values = []

        def update(self, truth, predictions):
            assert len(truth) == len(predictions)
            self.values.extend(predictions.max(axis=1))

        def compute(self):
            return {"mean_score": float(np.mean(self.values))}

    class Own(Evaluation):
        def new_metrics(self):
            return Mean()

    y = np.eye(3)[labels()] if multi_label else labels()
    loss = "binary_crossentropy" if multi_label else "sparse_categorical_crossentropy"
    model = classifier(3, "sigmoid" if multi_label else "softmax", loss)
    evaluation = Own((X, y), num_samples=2, multi_label=multi_label)
    fit(evaluation, model=model, y=y)
    mean = model.predict(X, verbose=0).max(axis=1).mean()
    assert evaluation.measured[0][1]["eval/mean_score"] == pytest.approx(mean, rel=1e-5)


def test_labels_that_are_wrong_are_suspects():
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = (digits.images[..., None] / 16).astype("float32")
    y = digits.target.copy()
    rng = np.random.default_rng(0)
    changed = rng.choice(len(y), len(y) // 50, replace=False)
    y[changed] = (y[changed] + rng.integers(1, 10, len(changed))) % 10
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    evaluation = Evaluation((x, y), num_samples=5)
    model.fit(x, y, epochs=5, verbose=0, validation_data=(x, y), callbacks=[evaluation])
    suspects = rows(evaluation.versions[-1][1]["more_tables"]["suspect_labels"])[:30]
    found = [row["idx"] for row in suspects if row["idx"] in changed]
    assert len(found) >= 15
    right = [str(digits.target[row["idx"]]) == row["suggested"] for row in suspects]
    assert sum(right) >= 15


def test_calibration_against_an_independent_count():
    rng = np.random.default_rng(0)
    outputs = rng.dirichlet(np.ones(4), 200)
    y = rng.integers(0, 4, 200)
    _, history = fit_fixed(outputs, y)
    outputs = outputs.astype("float32").astype(float)
    confidence, right = outputs.max(axis=1), outputs.argmax(axis=1) == y
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    assert history["eval/ece"][-1] == pytest.approx(error)
    brier = ((outputs - np.eye(4)[y]) ** 2).sum(axis=1).mean()
    assert history["eval/brier"][-1] == pytest.approx(brier)


@pytest.mark.parametrize(
    ("activation", "loss", "said"),
    [
        (None, keras.losses.SparseCategoricalCrossentropy(from_logits=True), []),
        ("softmax", "sparse_categorical_crossentropy", []),
        ("softmax", lambda y, outputs: keras.ops.mean(outputs, axis=-1), []),
        (None, lambda y, outputs: keras.ops.mean(outputs, axis=-1), []),
        ("tanh", lambda y, outputs: keras.ops.mean(outputs, axis=-1), ["logits"]),
    ],
)
def test_logits_are_told(activation, loss, said, monkeypatch):
    keras.utils.set_random_seed(0)
    heard = []
    monkeypatch.setattr(wandb, "termlog", lambda text, **kwargs: heard.append(text))
    model = classifier(3, activation, loss)
    evaluation = Evaluation((X, labels()), num_samples=4)
    fit(evaluation, model=model, y=labels())
    heard = [text for text in heard if "from_logits" in text]
    for word, text in zip(said, heard, strict=True):
        assert f"taken for {word}" in text
    outputs = model.predict(X, verbose=0)
    if activation != "softmax":
        outputs = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    check_rows(evaluation, outputs, labels(), "012")
    check_numbers(evaluation, outputs, labels())


@pytest.mark.parametrize(
    "class_names", [{0: "a", 2: "c"}, {"a": 0, "c": 2}, {"a": 0, "1": 1, "c": 2}]
)
def test_class_names_of_a_dictionary(class_names):
    evaluation = Evaluation((X, labels()), class_names, num_samples=6)
    model = fit(evaluation)
    check_rows(evaluation, model.predict(X, verbose=0), labels(), ["a", "1", "c"])


@pytest.mark.parametrize("threshold", [-0.1, 1.5, "0.5", None])
def test_thresholds_that_can_not_be_used(threshold):
    refuses(
        "`threshold` must be a number of 0 to 1", (X, labels()), threshold=threshold
    )


@pytest.mark.parametrize(("threshold", "accuracy"), [(0.7, 1.0), (0.71, 0.5)])
def test_a_score_at_the_threshold_is_predicted(threshold, accuracy):
    _, history = fit_fixed([[0.7], [0.2]], [1, 0], threshold=threshold)
    assert history["eval/accuracy"][-1] == accuracy


def test_texts_are_shown_as_text():
    tf = pytest.importorskip("tensorflow")
    x = np.array(["good film", "bad film", "so so", "fine"])
    vectorize = keras.layers.TextVectorization(output_mode="multi_hot")
    vectorize.adapt(x)
    if keras.backend.backend() != "tensorflow":
        pytest.skip("strings are inputs of TensorFlow's models alone")
    model = keras.Sequential([vectorize, keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    y = np.array([1, 0, 0, 1])
    evaluation = Evaluation((x, y), num_samples=2)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    model.fit(data, verbose=0, callbacks=[evaluation])
    table = evaluation.versions[-1][0]
    assert {row["input"] for row in table} <= set(x.tolist())
    assert "image" not in table[0]
    tables = evaluation.versions[-1][1]["more_tables"]
    assert {row["input"] for row in rows(tables["hardest"])} == set(x.tolist())
    wrong = [row for row in rows(tables["hardest"]) if not row["correct"]]
    for key, column in (("confused", "input_1"), ("suspect_labels", "input")):
        shown = [row[column] for row in rows(tables[key])] if key in tables else []
        assert bool(shown) == bool(wrong)
        assert set(shown) <= {row["input"] for row in wrong}


def test_a_column_of_a_subclass_is_in_both_tables():
    class WithSource(Evaluation):
        def add_ground_truth(self, logs=None):
            super().add_ground_truth(logs)
            where = [f"file {index}" for index in self.samples.index]
            self.data_table.add_column("source", where)

    evaluation = WithSource((X, labels()), num_samples=3, num_hardest=5)
    fit(evaluation)
    table, options = evaluation.versions[-1]
    assert [row["source"] for row in table] == [f"file {row['idx']}" for row in table]
    assert list(table[0])[-1] == "source"
    hardest = rows(options["more_tables"]["hardest"])
    shown = {row["idx"] for row in table}
    for row in hardest:
        expected = f"file {row['idx']}" if row["idx"] in shown else None
        assert row["source"] == expected
