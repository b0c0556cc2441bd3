"""Offline runs that are sent from another place than where they were recorded."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import wandb
from hypothesis import given, settings
from hypothesis import strategies as st
from wandb.proto import wandb_internal_pb2

import small_model
from wandb_eval.core.offline_log import (
    find_log,
    read_records,
    wait_for_exit,
    write_records,
)
from wandb_eval.core.sync import main, update_paths
from wandb_eval.engine import WandbTaskEvalCallback

pytestmark = pytest.mark.any_backend

X = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)


class Evaluation(WandbTaskEvalCallback):
    def __init__(self):
        super().__init__(
            (X, np.arange(6.0)),
            data_table_columns=["idx", "image"],
            pred_table_columns=["epoch", "idx", "image"],
        )


def record():
    with wandb.init(mode="offline") as run:
        small_model.fit(X, np.zeros(6), Evaluation(), epochs=3)
    assert wait_for_exit(run, timeout=60)
    return run


@pytest.mark.parametrize("renamed", [False, True])
def test_a_folder_that_was_moved_is_sent_whole(loopback, tmp_path, renamed):
    run = record()
    old = Path(run.settings.sync_dir)
    new = tmp_path / "elsewhere" / ("renamed" if renamed else old.name)
    shutil.copytree(old, new)
    shutil.rmtree(old)
    command = [sys.executable, "-m", "wandb_eval.core.sync", str(new)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "brought up to date" in done.stdout
    versions = [*loopback.versions("val"), *loopback.versions(f"run_{run.id}_pred")]
    assert [version.state for version in versions] == ["COMMITTED"] * 4
    for version in versions:
        for path in version.manifest:
            assert loopback.resolve(version, path)


def test_files_that_are_gone_are_named_before_anything_is_sent(
    loopback, tmp_path, monkeypatch
):
    told = []
    monkeypatch.setattr(wandb, "termlog", lambda text, **kwargs: told.append(text))
    run = record()
    # At the end of the training: the report first, and one way to send the run.
    [message] = [text for text in told if "core.sync" in text]
    folder = run.settings.sync_dir
    assert f"python -m wandb_eval.report {folder}\n" in message
    assert message.endswith(f"python -m wandb_eval.core.sync {folder}")
    new = tmp_path / "elsewhere"
    shutil.copytree(run.settings.sync_dir, new)
    shutil.rmtree(run.settings.sync_dir)
    for path in (new / "eval-media").glob("*/*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="Copy the whole folder"):
        update_paths(new)


def test_what_is_there_is_sent(loopback, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("of the user")
    with wandb.init(mode="offline") as run:
        small_model.fit(X, np.zeros(6), Evaluation(), epochs=1)
        artifact = wandb.Artifact("own", "file")
        artifact.add_file(str(own), policy="immutable")
        run.log_artifact(artifact)
    assert wait_for_exit(run, timeout=60)
    old = Path(run.settings.sync_dir)
    new = tmp_path / "elsewhere" / old.name
    shutil.copytree(old, new)
    shutil.rmtree(old)
    own.unlink()  # It is not in the folder of the run.
    command = [sys.executable, "-m", "wandb_eval.core.sync", str(new)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"1 files of the run are neither where they were written nor in {new}" in (
        done.stderr
    )
    for name in ("val", f"run_{run.id}_pred"):
        [version] = loopback.versions(name)
        assert version.state == "COMMITTED"
    own.write_text("of the user")
    done = subprocess.run([*command, "--include-synced"], check=False)
    assert done.returncode == 0
    assert [one.state for one in loopback.versions("own")][-1:] == ["COMMITTED"]


def test_runs_in_a_folder_are_updated(monkeypatch, tmp_path, loopback):
    run = record()
    old = Path(run.settings.sync_dir)
    shutil.copytree(old, tmp_path / "elsewhere" / old.name)
    shutil.rmtree(old)
    log = find_log(tmp_path / "elsewhere" / old.name)
    before = log.read_bytes()
    done = SimpleNamespace(returncode=0)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert main([str(tmp_path / "elsewhere")]) == 0
    assert log.read_bytes() != before


def test_a_moved_log_that_may_still_be_written_is_left_alone(loopback, tmp_path):
    run = record()
    old = Path(run.settings.sync_dir)
    new = tmp_path / "elsewhere"
    shutil.copytree(old, new)
    shutil.rmtree(old)
    log = find_log(new)
    records = list(read_records(log))
    write_records(log, [r for r in records if r.WhichOneof("record_type") != "exit"])
    before = log.read_bytes()
    with pytest.raises(ValueError, match="may still be written"):
        update_paths(new)
    assert log.read_bytes() == before
    for path in (log, *new.glob("logs/*")):
        os.utime(path, (0, 0), follow_symlinks=False)
    assert update_paths(new) > 0


def test_a_folder_that_is_no_run_belongs_to_an_option(monkeypatch, tmp_path):
    sent = []

    def sync(command, check):
        sent.append(command[command.index("sync") :])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", sync)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    assert main(["run", "--project", "mnist"]) == 0
    assert sent == [["sync", "--include-online", "run", "--project", "mnist"]]


def test_a_folder_that_was_not_moved_is_left_alone(loopback):
    run = record()
    log = find_log(run.settings.sync_dir)
    before = log.read_bytes()
    assert update_paths(run.settings.sync_dir) == 0
    assert log.read_bytes() == before
    with pytest.raises(FileNotFoundError, match="one offline run"):
        find_log(os.path.dirname(run.settings.sync_dir))


def test_wandbs_own_log_is_read_and_written(loopback, tmp_path):
    log = find_log(record().settings.sync_dir)
    copy = tmp_path / "run-copy.wandb"
    write_records(copy, read_records(log))
    assert list(read_records(copy)) == list(read_records(log))
    assert len(list(read_records(log))) > 10


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 100_000), max_size=6), cut=st.integers(0, 200))
def test_logs_of_any_records_also_torn_ones(tmp_path_factory, sizes, cut):
    log = tmp_path_factory.mktemp("log") / "run-x.wandb"
    records = []
    for number, size in enumerate(sizes):
        record = wandb_internal_pb2.Record(num=number)
        record.output.line = "x" * size
        records.append(record)
    write_records(log, records)
    assert list(read_records(log)) == records
    content = log.read_bytes()
    log.write_bytes(content[: max(len(content) - cut, 7)])
    found = list(read_records(log))
    assert found == records[: len(found)]


def test_what_is_no_log_is_refused(tmp_path):
    path = tmp_path / "run-x.wandb"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not a log of a run"):
        list(read_records(path))
