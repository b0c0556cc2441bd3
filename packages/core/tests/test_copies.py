"""Copies of callbacks, as KerasTuner, joblib and Ray make them; runs of one's own."""

import copy
import pickle

import keras
import numpy as np
import pytest
import wandb

from wandb_eval.engine import WandbTaskEvalCallback

X = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
Y = np.arange(6.0)


class Error:
    total = count = 0.0

    def update(self, y, outputs):
        self.total += np.abs(outputs[:, 0] - y).sum()
        self.count += len(y)

    def compute(self):
        return {"mae": float(self.total / self.count)}


class Evaluation(WandbTaskEvalCallback):
    def __init__(self, data=(X, Y), **options):
        columns = ["idx", "image"]
        super().__init__(
            data,
            data_table_columns=columns,
            pred_table_columns=["epoch", *columns],
            **{"on_error": "raise", **options},
        )

    def new_metrics(self):
        return Error()


def small_model():
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def fit(*callbacks, epochs=1):
    small_model().fit(X, Y, epochs=epochs, verbose=0, callbacks=list(callbacks))


def through_pickle(callback):
    return pickle.loads(pickle.dumps(callback))


@pytest.mark.parametrize("make_copy", [copy.deepcopy, through_pickle])
@pytest.mark.parametrize("used_before", [False, True])
def test_copies_log_to_the_run_of_their_own_time(loopback, make_copy, used_before):
    with wandb.init() as first:
        original = Evaluation(num_samples=3, every_n_batches=1)
        if used_before:
            fit(original)
        made = make_copy(original)
    with wandb.init() as second:
        fit(made)
    versions = loopback.versions(f"run_{second.id}_pred")
    assert [version.state for version in versions] == ["COMMITTED"]
    before = loopback.versions(f"run_{first.id}_pred")
    assert len(before) == (1 if used_before else 0)
    assert made.samples.index == original.samples.index
    assert made.model is not original.model


def test_data_that_can_not_be_copied_is_shared(loopback):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(2)
    with wandb.init() as run:
        original = Evaluation(data)
        fit(copy.deepcopy(original))
        with pytest.raises(TypeError, match=r"tf.data.Dataset can't be pickled"):
            pickle.dumps(original)
    assert len(loopback.versions(f"run_{run.id}_pred")) == 1


def test_a_search_of_keras_tuner_has_a_run_a_trial(loopback, tmp_path):
    keras_tuner = pytest.importorskip("keras_tuner")
    runs = []

    class Hypermodel(keras_tuner.HyperModel):
        def build(self, hp):
            hp.Float("rate", 0.1, 0.9)
            return small_model()

        def fit(self, hp, model, *args, **kwargs):
            with wandb.init() as run:
                runs.append(run.id)
                return model.fit(*args, **kwargs)

    tuner = keras_tuner.RandomSearch(
        Hypermodel(),
        objective=keras_tuner.Objective("eval/mae", "min"),
        max_trials=2,
        directory=tmp_path,
        overwrite=True,
    )
    with wandb.init():
        evaluation = Evaluation(num_samples=2)
    tuner.search(X, Y, epochs=1, verbose=0, callbacks=[evaluation])
    assert len(set(runs)) == 2
    for run in runs:
        [version] = loopback.versions(f"run_{run}_pred")
        assert version.state == "COMMITTED"


def test_a_run_may_be_given(loopback):
    run = wandb.init(reinit="create_new")
    assert wandb.run is None
    with pytest.raises(wandb.Error, match="or pass `run=`"):
        Evaluation()
    evaluation = Evaluation(run=run)
    fit(evaluation)
    fit(copy.deepcopy(evaluation), epochs=2)  # The first version is there already.
    run.finish()
    assert len(loopback.versions(f"run_{run.id}_pred")) == 2
    with pytest.raises(ValueError, match="`run` must be a run"):
        Evaluation(run="mine")


def test_a_model_of_keras_2_is_refused(loopback):
    legacy = type("Sequential", (), {"__module__": "tf_keras.src.engine.sequential"})
    with wandb.init(mode="offline"):
        evaluation = Evaluation()
    with pytest.raises(TypeError, match="needs a model of Keras 3"):
        evaluation.set_model(legacy())
