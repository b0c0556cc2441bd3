"""The hardest samples: their images resolve, and are sent once, whatever happens."""

import io
import itertools
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import wandb

from wandb_eval.classification import WandbClassificationEvalCallback

N = 40
X = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
Y = np.arange(N) % 3
NUM_HARDEST = 5
FOLDER = str(Path(__file__).parent)


class Shifting(keras.Model):
    """Finds others hard in each epoch: what it puts out depends on `epoch`."""

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


def uploaded(evaluation):
    for upload in evaluation._run_log.uploads.under_way:
        assert upload.done.wait(30)


def hardest_of(loopback, run_id):
    """The hardest samples of each version that arrived, by epoch: all must resolve."""
    found = {}
    for version in loopback.versions(f"run_{run_id}_pred"):
        if version.state != "COMMITTED":
            continue
        for path in version.manifest:
            loopback.resolve(version, path)
        table = json.loads(loopback.resolve(version, "hardest.table.json"))
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        for row in rows:
            content = loopback.resolve(version, row["image"]["path"])
            pixels = np.asarray(PIL.Image.open(io.BytesIO(content)))
            np.testing.assert_array_equal(pixels, X[row["idx"]])
        [epoch] = {row["epoch"] for row in rows}
        found[epoch] = [row["idx"] for row in rows]
    return found


def sent(loopback):
    """How often each image was sent."""
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
        log_version = evaluation._run_log.log_version

        def fail_once(tables, *args):
            if evaluation._run_log.reports.epoch == 1:
                monkeypatch.setattr(evaluation._run_log, "log_version", log_version)
                with evaluation._run_log.version(OSError):
                    raise OSError("No space left on device")
                return False
            return log_version(tables, *args)

        monkeypatch.setattr(evaluation._run_log, "log_version", fail_once)
        fit(epochs=4, evaluation=evaluation)
    if mode == "offline":
        sync(run.dir)
    assert sorted(hardest_of(loopback, run.id)) == [0, 2, 3]
    assert loopback.summary(run.id)["eval/missing_versions"] == [1]


KILLED = """
import os, signal, sys, time
from pathlib import Path

sys.path.insert(0, {folder!r})
import test_hardest as hardest
import wandb

run = wandb.init(mode={mode!r})
print(run.id, run.dir, flush=True)
evaluation = hardest.new_evaluation()

def kill():
    hardest.uploaded(evaluation)
    [log] = Path(run.settings.sync_dir).glob("*.wandb")
    # W&B writes the log of an offline run to the disk from time to time.
    while {mode!r} == "offline" and log.read_bytes().count(b"_pred") < 3:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)

hardest.fit({{2: kill}}, epochs=5, evaluation=evaluation)
"""


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_hardest_of_a_process_that_is_killed(loopback, sync, monkeypatch, mode):
    name = "x_transaction_log_flush_interval"
    if mode == "offline" and not hasattr(wandb.Settings(), name):
        pytest.skip("this wandb writes its log when there is much to write")
    monkeypatch.setenv("WANDB__TRANSACTION_LOG_FLUSH_INTERVAL", "1")
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(folder=FOLDER, mode=mode)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    run_id, folder = done.stdout.split()
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
