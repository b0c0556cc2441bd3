"""Failures during training: none ends the training, and none is lost in silence."""

import contextlib
import functools
import io
import logging
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import PIL.Image
import pytest
import wandb

import killed
import small_model
from killed import uploaded
from wandb_eval.core import WandbEvalCallback
from wandb_eval.core._wandb import files as wandb_files
from wandb_eval.core._wandb import history
from wandb_eval.core._wandb.files import Folder, WriteError
from wandb_eval.core._wandb.uploads import UploadError
from wandb_eval.core.failures import logger
from wandb_eval.engine import encode_images

pytestmark = pytest.mark.any_backend

EPOCHS = 5
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)


class Images(WandbEvalCallback):
    """Logs the images, and tables that refer to them."""

    def __init__(self, **kwargs):
        super().__init__(["idx", "image"], ["epoch", "idx", "image"], **kwargs)

    def add_ground_truth(self, logs=None):
        for i, image in enumerate(IMAGES):
            self.data_table.add_data(i, wandb.Image(image))

    def add_model_predictions(self, epoch, logs=None):
        self.model.predict(np.ones((2, 1)), verbose=0)
        for row in self.data_table_ref.data:
            self.pred_table.add_data(epoch, *row)


class Measured(Images):
    """Logs a table of metrics, too."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        table = wandb.Table(columns=["class"], data=[[epoch]])
        self.log_metrics({"eval/per_class": table}, epoch)


class After(keras.callbacks.Callback):
    """Does something at the end of an epoch."""

    def __init__(self, actions):
        super().__init__()
        self.actions = actions

    def on_epoch_end(self, epoch, logs=None):
        if epoch in self.actions:
            self.actions[epoch]()


def fit(*callbacks, epochs=EPOCHS, initial_epoch=0):
    x = np.ones((2, 1))
    history = small_model.fit(
        x, x, *callbacks, epochs=epochs, initial_epoch=initial_epoch
    )
    return len(history.epoch)


def complete_epochs(loopback, run, unfinished=()):
    """The epochs that arrived; everything that is committed must resolve."""
    epochs = []
    for name in ("val", f"run_{run.id}_pred"):
        for version in loopback.versions(name):
            if version.state != "COMMITTED":
                assert version.state in unfinished
                continue
            for path in version.manifest:
                loopback.resolve(version, path)
            if name == "val":
                continue
            rows = loopback.table(version, "eval_data")["data"]
            assert len({row[0] for row in rows}) == 1
            for row, image in zip(rows, IMAGES, strict=True):
                content = loopback.resolve(version, row[2]["path"])
                pixels = np.asarray(PIL.Image.open(io.BytesIO(content)))
                np.testing.assert_array_equal(pixels, image)
            epochs.append(rows[0][0])
    return epochs


def staging_folder():
    return Path(os.environ["WANDB_DATA_DIR"]) / "artifacts" / "staging"


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def block_staging(callback):
    """Puts a file in the place of the folder: not even root can write into it."""
    uploaded(callback)
    shutil.rmtree(staging_folder())
    staging_folder().write_text("in the way")


def unblock_staging():
    staging_folder().unlink()


# --- The policy -------------------------------------------------------------------


def test_a_failure_is_reported_once_an_epoch_and_marked(loopback, warned, caplog):
    with wandb.init() as run, caplog.at_level(logging.WARNING, "wandb_eval"):
        callback = Images()
        actions = {0: lambda: block_staging(callback), 2: unblock_staging}
        assert fit(callback, After(actions)) == EPOCHS
    assert complete_epochs(loopback, run) == [0, 3, 4]
    assert loopback.summary(run.id)["eval/missing_versions"] == [1, 2]
    for epoch, message in zip([1, 2], warned, strict=True):
        assert f"predictions of epoch {epoch} could not be logged" in message
        assert str(staging_folder()) in message
    records = [r for r in caplog.records if r.name.startswith("wandb_eval")]
    assert len(records) == 2
    assert all(r.levelno == logging.WARNING and r.exc_info for r in records)


def test_on_error_raise(loopback):
    with wandb.init() as run:
        callback = Images(on_error="raise")
        with pytest.raises(WriteError, match="staging"):
            fit(callback, After({1: lambda: block_staging(callback)}))
        unblock_staging()
    assert complete_epochs(loopback, run) == [0, 1]


def test_on_error_of_an_upload_that_was_given_up(loopback):
    # Without the waits in between, wandb-core gives up in the first epochs.
    loopback.fail("CreateArtifact", type="evaluation", status=503)
    with wandb.init():
        with pytest.raises(UploadError, match="503"):
            fit(Images(on_error="raise"))
        loopback.clear_faults()


def test_on_error_something_else(loopback):
    with (
        wandb.init(mode="disabled"),
        pytest.raises(ValueError, match=r"'warn' or 'raise'\. Received: 'ignore'"),
    ):
        Images(on_error="ignore")


@pytest.mark.parametrize("on_error", ["warn", "raise"])
@pytest.mark.parametrize("method", ["add_ground_truth", "add_model_predictions"])
@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), OSError("mine")])
def test_exceptions_of_the_user_raise(loopback, monkeypatch, on_error, method, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(Images, method, fail)
    with (
        wandb.init(mode="offline"),
        pytest.raises(type(error), match="mine"),
    ):
        fit(Images(on_error=on_error))


# --- The backend ------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 503, 429])
def test_every_fourth_request_fails(loopback, warned, status):
    with wandb.init() as run:
        fault = loopback.fail(None, status=status, every=4)
        fit(Images())
    assert loopback.faulted(fault) > 5
    assert complete_epochs(loopback, run) == list(range(EPOCHS))
    assert warned == []
    assert len(loopback.history(run.id)) == EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize(("target", "every"), [("upload", 2), (None, 5)])
def test_connections_drop_in_the_middle(loopback, warned, target, every):
    with wandb.init() as run:
        fault = loopback.fail(target, drop=True, every=every)
        fit(Images())
    assert loopback.faulted(fault) > 3
    epochs = complete_epochs(loopback, run, unfinished=["PENDING"])
    # An answer that is lost may have W&B make the same version twice.
    assert sorted(set(epochs)) == list(range(EPOCHS))
    assert warned == []


@pytest.mark.slow
def test_requests_time_out(loopback, monkeypatch, warned):
    monkeypatch.setenv("WANDB__GRAPHQL_TIMEOUT_SECONDS", "1")
    monkeypatch.setenv("WANDB__FILE_TRANSFER_TIMEOUT_SECONDS", "1")
    with wandb.init() as run:
        fault = loopback.delay(None, seconds=1.5, every=9, times=3)
        fit(Images())
    assert loopback.faulted(fault) == 3
    epochs = complete_epochs(loopback, run, unfinished=["PENDING"])
    assert sorted(set(epochs)) == list(range(EPOCHS))
    assert warned == []


def test_the_backend_is_away_at_the_start(loopback, warned):
    seconds = []

    class Timed(Images):
        def on_epoch_end(self, epoch, logs=None):
            start = time.monotonic()
            super().on_epoch_end(epoch, logs)
            seconds.append(time.monotonic() - start)

    # With the short waits of these tests wandb-core would give up after 20 seconds, and
    # with its own after a quarter of an hour.
    with wandb.init(settings=wandb.Settings(x_graphql_retry_max=600)) as run:
        loopback.down()
        callback = Timed()
        callback.run_log.patience = 1.0
        fit(callback, After({2: loopback.up}))
    # W&B's own class waits for 19 seconds in each of these epochs. The median: machines
    # that run tests stand still at times.
    assert statistics.median(seconds[:3]) < 5, seconds
    assert complete_epochs(loopback, run) == list(range(EPOCHS))
    assert [v.collection for v in loopback.used_by(run.id)] == ["val"]
    assert warned == []


def test_the_backend_dies_for_good(loopback, monkeypatch, warned):
    told = []
    monkeypatch.setattr(wandb, "termlog", lambda text, **kwargs: told.append(text))
    # Slow enough for the reports of several versions to get in each other's way.
    monkeypatch.setattr(logger, "warning", lambda *args, **kwargs: time.sleep(0.1))
    run = wandb.init(settings=wandb.Settings(finish_timeout=1))
    callback = Images()
    callback.run_log.patience_at_end = 1.0
    assert fit(callback, After({2: loopback.down})) == EPOCHS
    run.finish()
    arrived = complete_epochs(loopback, run, unfinished=["PENDING"])
    assert set(arrived) <= {0, 1, 2}
    wait_for_warnings(warned, EPOCHS - len(arrived))
    # The user was told of all the others, and what became of them.
    [message] = [text for text in told if "still being uploaded" in text]
    for epoch in set(range(EPOCHS)) - set(arrived):
        assert re.search(rf"\b{epoch}\b", message)
        assert sum(f"epoch {epoch} could not be logged" in text for text in warned) == 1
    assert len(warned) == EPOCHS - len(arrived)


def test_a_version_that_is_given_up_is_reported(loopback, warned):
    with wandb.init() as run:
        # 21 attempts each: the first two versions.
        loopback.fail("CreateArtifact", type="evaluation", status=503, times=42)
        fit(Images())
    assert complete_epochs(loopback, run) == [2, 3, 4]
    assert loopback.summary(run.id)["eval/missing_versions"] == [0, 1]
    assert warned
    assert all("could not be logged: UploadError" in text for text in warned)


def test_a_version_that_is_given_up_after_training_is_reported(loopback, warned):
    with wandb.init() as run:
        callback = Images()
        callback.run_log.patience_at_end = 0.1
        # The first waits for the ground truth.
        fit(
            callback,
            After(
                {0: lambda: uploaded(callback), 3: fail_from_now(loopback, callback)}
            ),
        )
        fit(callback, epochs=6, initial_epoch=5)
    assert [epoch for epoch in range(6) if missing_in(warned, epoch)] == [4]
    assert complete_epochs(loopback, run) == [0, 1, 2, 3, 5]
    assert callback.run_log.missing.epochs == [4]


def fail_from_now(loopback, callback):
    """Fails the version that comes next, and none that is under way."""

    def fail():
        uploaded(callback)
        loopback.fail("CreateArtifact", type="evaluation", status=503, times=21)

    return fail


def wait_for_warnings(warned, count):
    """Waits for warnings that come from a thread."""
    deadline = time.monotonic() + 60
    while len(warned) < count and time.monotonic() < deadline:
        time.sleep(0.05)


def missing_in(warned, epoch):
    return any(f"epoch {epoch} could not be logged" in text for text in warned)


def test_ground_truth_that_is_given_up(loopback, warned):
    with wandb.init() as run:
        loopback.fail("CreateArtifact", collection="val", status=503)
        fit(Images())
    [message] = warned
    assert "ground truth could not be logged: UploadError" in message
    assert complete_epochs(loopback, run) == list(range(EPOCHS))


def test_ground_truth_that_is_given_up_after_training(loopback, warned):
    run = wandb.init()
    loopback.fail("CreateArtifact", collection="val", status=503)
    callback = Images()
    log = callback.run_log
    log.patience = log.patience_at_end = 0.0
    fit(callback, epochs=1)
    run.finish()
    wait_for_warnings(warned, 1)
    [message] = warned
    assert "ground truth could not be logged: UploadError" in message


def test_a_version_that_is_given_up_after_an_interrupt_is_reported(loopback, warned):
    run = wandb.init()
    callback = Images()
    first = After({0: lambda: uploaded(callback), 1: fail_from_now(loopback, callback)})
    with pytest.raises(KeyboardInterrupt):
        fit(callback, first, Interrupt(KeyboardInterrupt()))
    run.finish()
    wait_for_warnings(warned, 1)
    assert len(warned) == 1
    assert missing_in(warned, 2)
    assert complete_epochs(loopback, run) == [0, 1]


def test_a_table_of_metrics_that_is_given_up_is_reported(loopback, warned):
    with wandb.init() as run:
        loopback.fail("CreateArtifact", type="run_table", status=503)
        fit(Measured(), epochs=1)
        loopback.clear_faults()
    [message] = warned
    assert "The table 'eval/per_class' could not be logged: UploadError" in message
    assert complete_epochs(loopback, run) == [0]
    assert files_in(staging_folder()) == []


def test_what_is_missing_is_remembered_by_the_run(loopback):
    """By another callback, in a run that is resumed; until the epoch is logged."""
    for first in (0, 2):
        with wandb.init(id="resumed", resume="allow"):
            callback = Images()
            block = functools.partial(block_staging, callback)
            actions = After({first: block, first + 1: unblock_staging})
            fit(callback, actions, initial_epoch=first, epochs=first + 2)
    assert loopback.summary("resumed")["eval/missing_versions"] == [1, 3]
    with wandb.init(id="resumed", resume="allow"):
        fit(Images(), initial_epoch=1, epochs=2)
    assert loopback.summary("resumed")["eval/missing_versions"] == [3]


@pytest.mark.slow
def test_a_slow_server_does_not_cost_a_thread_for_each_version(loopback):
    with wandb.init():
        loopback.down()
        callback = Images(log_to_history=False)
        log = callback.run_log
        log.patience = log.patience_at_end = 0.0
        counts = []

        def count():  # Without the threads of the server.
            names = [thread.name for thread in threading.enumerate()]
            counts.append(sum("process_request" not in name for name in names))

        actions = {1: count, 20: count}
        fit(callback, After(actions), epochs=21)
        loopback.up()
    assert counts[1] <= counts[0] + 1


@pytest.mark.slow
@pytest.mark.parametrize("patience", [60.0, 0.1])
def test_slow_uploads(loopback, warned, patience):
    with wandb.init() as run:
        # Either a second, or longer than the first epoch may take.
        seconds = 1 if patience > 1 else 12
        loopback.delay("upload", seconds=seconds, type="dataset")
        callback = Images()
        callback.run_log.patience = patience
        fit(callback)
    assert complete_epochs(loopback, run) == list(range(EPOCHS))
    assert warned == []
    images = [u for u in loopback.uploads() if u.path.endswith(".png")]
    assert len(images) == (1 if patience > 1 else 2) * len(IMAGES)


# --- The disk ---------------------------------------------------------------------


@pytest.fixture
def small_disk():
    """`small_disk(folder)`: puts a file system of 300 kB there, if that is allowed."""
    mounted = []

    def mount(folder):
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system is not allowed")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid(), reason="needs root")
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_disk_is_full(loopback, sync, warned, small_disk, mode):
    with wandb.init(mode=mode) as run:
        folder = staging_folder()
        if mode == "offline":
            folder = Path(run.settings.sync_dir) / "eval-media"
        small_disk(folder)

        callback = Images()

        def fill():
            uploaded(callback)
            with contextlib.suppress(OSError), open(folder / "filler", "wb", 0) as file:
                while True:
                    file.write(bytes(1024))

        def clear():
            (folder / "filler").unlink()

        fit(callback, After({0: fill, 2: clear}))
    if mode == "offline":
        sync(run.dir)
    assert complete_epochs(loopback, run) == [0, 3, 4]
    assert loopback.summary(run.id)["eval/missing_versions"] == [1, 2]
    assert len(warned) == 2
    assert all("No space left on device" in message for message in warned)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_disk_is_full_when_training_begins(
    loopback, sync, warned, monkeypatch, mode
):
    """Then the ground truth is logged as soon as it can be."""
    write = Folder._write
    full = [True]

    def write_if_space(self, content, name):
        if full:
            raise WriteError("No space left on device")
        return write(self, content, name)

    monkeypatch.setattr(Folder, "_write", write_if_space)
    with wandb.init(mode=mode) as run:
        fit(Images(), After({1: full.clear}))
    if mode == "offline":
        sync(run.dir)
    assert complete_epochs(loopback, run) == [2, 3, 4]
    assert loopback.summary(run.id)["eval/missing_versions"] == [0, 1]
    assert len(loopback.versions("val")) == 1
    assert warned


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_nothing_stays_of_what_could_not_be_logged(loopback, sync, monkeypatch, mode):
    """Or a disk that is full would never get better."""
    write = wandb_files.write_file
    written = []

    def fill(content, folder, suffix=""):
        if full and len(written) == 3:
            raise OSError("No space left on device")
        path = write(content, folder, suffix)
        written.append(path)
        return path

    def files(run):
        folders = [Path(run.settings.sync_dir) / "eval-media", staging_folder()]
        return [path for folder in folders for path in files_in(folder)]

    full = [True]
    monkeypatch.setattr(wandb_files, "write_file", fill)
    seen = []
    with wandb.init(mode=mode) as run:
        fit(Images(), After({0: lambda: seen.append(files(run)), 1: full.clear}))
    assert len(written) > 3
    assert seen == [[]]
    if mode == "offline":
        sync(run.dir)
    assert complete_epochs(loopback, run) == [2, 3, 4]


def test_a_history_that_fails_is_not_a_version_that_is_missing(
    loopback, warned, monkeypatch
):
    def fail(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(history, "_bind_to_run", fail)
    with wandb.init() as run:
        fit(Images())
    assert complete_epochs(loopback, run) == list(range(EPOCHS))
    assert "eval/missing_versions" not in loopback.summary(run.id)
    assert all("history: OSError: No space left" in text for text in warned)
    assert len(warned) == EPOCHS


def test_the_media_folder_is_removed_offline(loopback, sync, warned):
    with wandb.init(mode="offline") as run:
        folder = Path(run.settings.sync_dir) / "eval-media"
        fit(Images(), After({1: lambda: shutil.rmtree(folder)}))
    sync(run.dir)
    epochs = complete_epochs(loopback, run, unfinished=["PENDING"])
    assert epochs == [2, 3, 4]
    assert loopback.summary(run.id)["eval/missing_versions"] == [0, 1]
    assert len(warned) == 1
    assert "are gone" in warned[0]


class WithFiles(Images):
    """Writes files for the second version; `trouble` comes between two of them."""

    def __init__(self, trouble, **kwargs):
        super().__init__(**kwargs)
        self.trouble = trouble

    def add_model_predictions(self, epoch, logs=None):
        if epoch == 1:
            encode_images([IMAGES[0]], self.prediction_folder)
            self.trouble()
            encode_images([IMAGES[1]], self.prediction_folder)
        super().add_model_predictions(epoch, logs)


def test_the_folder_breaks_while_a_version_is_written(loopback, warned):
    """Then what was written can't be deleted either."""
    with wandb.init() as run:
        callback = WithFiles(lambda: block_staging(callback))
        assert fit(callback, After({1: unblock_staging})) == EPOCHS
    assert complete_epochs(loopback, run) == [0, 2, 3, 4]
    assert loopback.summary(run.id)["eval/missing_versions"] == [1]
    [message] = warned
    assert "epoch 1 could not be logged: WriteError" in message


def test_nothing_stays_of_a_version_that_was_interrupted(loopback):
    def interrupt():
        raise KeyboardInterrupt

    with wandb.init(), pytest.raises(KeyboardInterrupt):
        fit(WithFiles(interrupt))
    assert files_in(staging_folder()) == []


def test_an_offline_run_can_be_synced_from_anywhere(
    loopback, sync, monkeypatch, tmp_path
):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("WANDB_DIR", ".")
    with wandb.init(mode="offline") as run:
        fit(Images())
    folder = Path(run.dir).absolute()
    wandb.teardown()
    monkeypatch.chdir(elsewhere)
    sync(folder)
    assert complete_epochs(loopback, run) == list(range(EPOCHS))
    assert len(loopback.versions("val")) == 1


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_pixels_of_the_ground_truth_stay_until_training_ends(loopback, mode):
    class Reading(Images):
        def add_ground_truth(self, logs=None):
            images = encode_images(list(IMAGES), self.data_folder)
            for i, image in enumerate(images):
                self.data_table.add_data(i, image)

        def add_model_predictions(self, epoch, logs=None):
            uploaded(self)
            for row, image in zip(self.data_table_ref.data, IMAGES, strict=True):
                np.testing.assert_array_equal(np.asarray(row[1].image), image)
            super().add_model_predictions(epoch, logs)

    with wandb.init(mode=mode) as run:
        folder = Path(run.settings.sync_dir) / "eval-media"
        fit(Reading(), epochs=3)
        assert folder.exists()
    assert folder.exists() == (mode == "offline")


# --- The process ------------------------------------------------------------------


class Interrupt(keras.callbacks.Callback):
    """Raises in the middle of an epoch."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 3:
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("other")])
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_training_is_interrupted(loopback, sync, error, mode):
    with wandb.init(mode=mode) as run:
        callback = Images()
        with pytest.raises(type(error)):
            fit(callback, Interrupt(error))
        # And goes on in the same run.
        fit(callback, epochs=5, initial_epoch=3)
    if mode == "offline":
        sync(run.dir)
    assert complete_epochs(loopback, run) == [0, 1, 2, 3, 4]


class InTheMiddle(After):
    """Does something while an epoch runs."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        super().on_epoch_end(self.epoch)

    def on_epoch_end(self, epoch, logs=None):
        pass


def train_and_be_killed(mode):
    run = wandb.init(mode=mode)
    killed.announce(run)
    callback = Images()
    action = {3: lambda: killed.kill(run, callback, mode, versions=3, rows=3)}
    fit(callback, InTheMiddle(action))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_process_is_killed(loopback, sync, monkeypatch, mode):
    module = sys.modules[__name__]
    run_id, folder = killed.run_and_kill(module, mode, monkeypatch, timeout=120)
    if mode == "offline":
        sync(folder)
    assert complete_epochs(loopback, SimpleNamespace(id=run_id)) == [0, 1, 2]
    rows = [row for row in loopback.history(run_id) if "eval/predictions" in row]
    epochs = [row["eval/epoch"] for row in rows]
    # W&B sends rows every few seconds, and a process that is killed sends no more.
    assert epochs == [0, 1, 2][: len(epochs)]
    assert mode == "online" or len(epochs) == 3


def train_and_leave(mode):
    run = wandb.init(mode=mode)
    killed.announce(run)
    callback = Images()
    callback.run_log.patience = callback.run_log.patience_at_end = 0.0
    fit(callback)


@pytest.mark.slow
def test_a_script_ends_while_versions_are_uploaded(loopback):
    """Without `wandb.finish()`, wandb-core uploads when Python has ended."""
    loopback.delay("upload", seconds=1)
    module = sys.modules[__name__]
    done = killed.run_function(module, "train_and_leave", "online", timeout=120)
    assert done.returncode == 0
    run = SimpleNamespace(id=done.stdout.split()[0])
    assert complete_epochs(loopback, run) == list(range(EPOCHS))


# --- The run ----------------------------------------------------------------------


def test_the_run_is_finished_before_fit_ends(loopback, warned):
    run = wandb.init()
    assert fit(Images(), After({1: wandb.finish})) == EPOCHS
    assert complete_epochs(loopback, run) == [0, 1]
    assert len(warned) == 3
    for epoch, message in zip([2, 3, 4], warned, strict=True):
        assert f"epoch {epoch} could not be logged" in message
        assert "is finished" in message


def test_nothing_stays_in_the_staging_folder_when_the_run_is_finished(loopback):
    wandb.init()
    fit(Measured(), After({1: wandb.finish}))
    assert files_in(staging_folder()) == []


class OwnHook(Images):
    """Overrides the hook without `super()`, as the base class of W&B allows it."""

    def on_train_begin(self, logs=None):
        self.init_data_table(self.data_table_columns)
        self.add_ground_truth(logs)
        self.log_data_table()


class WithoutDataTable(Images):
    """Logs predictions alone."""

    def on_train_begin(self, logs=None):
        pass

    def add_ground_truth(self, logs=None):
        raise AssertionError

    def add_model_predictions(self, epoch, logs=None):
        for i, image in enumerate(IMAGES):
            self.pred_table.add_data(epoch, i, wandb.Image(image))


@pytest.mark.parametrize("make", [OwnHook, WithoutDataTable])
def test_a_hook_is_overridden_without_super(loopback, warned, make):
    with wandb.init() as run:
        fit(make())
    assert complete_epochs(loopback, run) == list(range(EPOCHS))
    assert len(loopback.versions("val")) == (make is OwnHook)
    assert warned == []


@pytest.mark.parametrize("make", [Images, OwnHook])
def test_the_run_is_replaced_between_two_fits(loopback, warned, make):
    first = wandb.init()
    callback = make()
    fit(callback, epochs=2)
    first.finish()
    second = wandb.init()
    fit(callback, epochs=3)
    second.finish()
    assert complete_epochs(loopback, first) == [0, 1]
    assert complete_epochs(loopback, second) == [0, 1, 2]
    for run in (first, second):
        assert [v.collection for v in loopback.used_by(run.id)] == ["val"]
    assert warned == []
