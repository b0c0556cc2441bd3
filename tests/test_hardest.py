"""The hardest samples: their images resolve, and are sent once, whatever happens."""

import io
import itertools
import sys
from collections import Counter

import keras
import numpy as np
import PIL.Image
import pytest
import wandb

import killed
from killed import uploaded
from wandb_eval.classification import WandbClassificationEvalCallback

N = 40
X = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
Y = np.arange(N) % 3
NUM_HARDEST = 5


class Shifting(keras.Model):
    """A model whose outputs, and so its hardest samples, depend on `epoch`."""

    def __init__(self):
        super().__init__()
        self.epoch = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        value = keras.ops.mean(keras.ops.cast(x, "float32"), axis=(1, 2, 3))
        angle = value[:, None] * (1.0 + self.epoch) + keras.ops.arange(3.0)
        return keras.ops.softmax(self.scale * keras.ops.sin(angle))


class Shift(keras.callbacks.Callback):
    """Tells the model which epoch it is, and does something when one ends."""

    def __init__(self, actions=None):
        super().__init__()
        self.actions = actions or {}

    def on_epoch_begin(self, epoch, logs=None):
        self.model.epoch.assign(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.actions.get(epoch, lambda: None)()


def fit(actions=None, initial_epoch=0, epochs=3, evaluation=None):
    if evaluation is None:
        evaluation = new_evaluation()
    model = Shifting()
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    callbacks = [evaluation, Shift(actions)]
    options = {"initial_epoch": initial_epoch, "epochs": epochs, "verbose": 0}
    model.fit(X[:8], Y[:8], callbacks=callbacks, **options)
    return evaluation


def new_evaluation():
    return WandbClassificationEvalCallback(
        (X, Y), num_samples=4, num_hardest=NUM_HARDEST
    )


def hardest_of(loopback, run_id):
    """The hardest samples of each version that arrived, by epoch: all must resolve."""
    found = {}
    for version in loopback.versions(f"run_{run_id}_pred"):
        if version.state != "COMMITTED":
            continue
        for path in version.manifest:
            loopback.resolve(version, path)
        rows = loopback.rows(version, "hardest")
        for row in rows:
            content = loopback.resolve(version, row["image"]["path"])
            pixels = np.asarray(PIL.Image.open(io.BytesIO(content)))
            np.testing.assert_array_equal(pixels, X[row["idx"]])
        [epoch] = {row["epoch"] for row in rows}
        found[epoch] = [row["idx"] for row in rows]
    return found


def sent(loopback):
    """The number of times that each image was sent."""
    return Counter(
        upload.path for upload in loopback.uploads() if upload.path.endswith(".png")
    )


def test_the_hardest_of_a_run_that_is_resumed(loopback):
    with wandb.init() as run:
        fit(epochs=2)
    with wandb.init(id=run.id, resume="must"):
        fit(initial_epoch=2, epochs=4)
    found = hardest_of(loopback, run.id)
    assert sorted(found) == [0, 1, 2, 3]
    assert len({tuple(places) for places in found.values()}) > 1


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_version_that_fails_takes_no_image_of_the_hardest_with_it(
    loopback, sync, monkeypatch, mode
):
    monkeypatch.setattr(wandb, "termwarn", lambda text, **kwargs: None)
    with wandb.init(mode=mode) as run:
        evaluation = new_evaluation()
        log_version = evaluation.run_log.log_version

        def fail_once(tables, *args):
            if evaluation.run_log.epoch == 1:
                monkeypatch.setattr(evaluation.run_log, "log_version", log_version)
                with evaluation.run_log.version(OSError):
                    raise OSError("No space left on device")
                return False
            return log_version(tables, *args)

        monkeypatch.setattr(evaluation.run_log, "log_version", fail_once)
        fit(epochs=4, evaluation=evaluation)
    if mode == "offline":
        sync(run.dir)
    assert sorted(hardest_of(loopback, run.id)) == [0, 2, 3]
    assert loopback.summary(run.id)["eval/missing_versions"] == [1]


def train_and_be_killed(mode):
    run = wandb.init(mode=mode)
    killed.announce(run)
    evaluation = new_evaluation()
    actions = {2: lambda: killed.kill(run, evaluation, mode, versions=3)}
    fit(actions, epochs=5, evaluation=evaluation)


@pytest.mark.any_backend
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_hardest_of_a_process_that_is_killed(loopback, sync, monkeypatch, mode):
    module = sys.modules[__name__]
    run_id, folder = killed.run_and_kill(module, mode, monkeypatch, timeout=240)
    if mode == "offline":
        sync(folder)
    assert sorted(hardest_of(loopback, run_id)) == [0, 1, 2]
    if mode == "online":  # Then it goes on.
        with wandb.init(id=run_id, resume="must"):
            fit(initial_epoch=3, epochs=4)
        assert sorted(hardest_of(loopback, run_id)) == [0, 1, 2, 3]


@pytest.mark.parametrize(("mode", "most"), [("online", 1), ("offline", 2)])
def test_an_image_is_sent_once_in_whatever_epoch_it_turns_up(
    loopback, sync, mode, most
):
    with wandb.init(mode=mode) as run:
        evaluation = new_evaluation()
        wait = {epoch: lambda: uploaded(evaluation) for epoch in range(6)}
        fit(wait, epochs=6, evaluation=evaluation)
    if mode == "offline":
        sync(run.dir)
    found = hardest_of(loopback, run.id)
    shown = [set(found[epoch]) for epoch in range(6)]
    # Some go, and come again.
    assert any((a - b) & c for a, b, c in itertools.combinations(shown, 3))
    assert max(sent(loopback).values()) <= most
