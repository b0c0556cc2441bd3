"""Logs that wandb-core has not written to their ends yet."""

import os
import types

import pytest
import wandb
from wandb.proto import wandb_internal_pb2

from loopback.fixtures import offline_environment
from wandb_eval.core import offline_log, sync

pytestmark = pytest.mark.any_backend

NOW = 1_000_000.0


class Clock:
    """Time that passes where somebody sleeps."""

    def __init__(self):
        self.slept, self.pauses, self.then = 0.0, [], {}

    def sleep(self, seconds):
        self.slept += seconds
        self.pauses.append(seconds)
        self.then.pop(len(self.pauses), lambda: None)()

    def monotonic(self):
        return self.slept

    def time(self):
        return NOW + self.slept


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(offline_log, "time", made)
    return made


@pytest.fixture
def log(tmp_path):
    """The log of a run that is finished; it was written just now."""
    records = [wandb_internal_pb2.Record(num=i) for i in range(3)]
    records[0].run.run_id = "x"
    records[1].artifact.name = "a"
    records[2].exit.exit_code = 0
    path = tmp_path / "run-x.wandb"
    offline_log.write_records(path, records)
    written(path)
    return path


def written(path, seconds_ago=0.0):
    os.utime(path, (NOW - seconds_ago, NOW - seconds_ago))


def test_a_whole_log_is_not_waited_for(log, clock):
    assert offline_log.wait_for_exit(log.parent)
    assert clock.pauses == []


@pytest.mark.parametrize("size", [0, 3, 7, 20, -3])
def test_the_rest_of_a_log_is_waited_for(log, clock, size):
    content = log.read_bytes()
    log.write_bytes(content[:size])
    written(log)
    clock.then[3] = lambda: log.write_bytes(content)
    assert offline_log.wait_for_exit(log)
    assert len(clock.pauses) == 3
    assert clock.pauses == sorted(clock.pauses)
    assert len(list(offline_log.read_records(log))) == 3


@pytest.mark.parametrize(
    ("seconds_ago", "least", "most"), [(0, 2.9, 3.1), (2, 0.9, 1.1), (3600, 0, 0)]
)
def test_a_run_that_was_cut_off_is_not_waited_for_long(
    log, clock, seconds_ago, least, most
):
    log.write_bytes(log.read_bytes()[:-3])
    written(log, seconds_ago)
    assert not offline_log.wait_for_exit(log.parent)
    assert least <= clock.slept <= most


def test_a_log_that_grows_is_waited_for_until_the_limit(log, clock):
    log.write_bytes(log.read_bytes()[:-3])
    written(log)

    def grow():
        log.write_bytes(log.read_bytes() + b"x")
        clock.then[len(clock.pauses) + 1] = grow

    grow()
    assert not offline_log.wait_for_exit(log.parent)
    assert clock.slept == pytest.approx(10)


def test_a_finished_run_is_waited_for_until_the_limit(log, clock):
    log.write_bytes(log.read_bytes()[:-3])
    written(log, 3600)
    settings = types.SimpleNamespace(sync_dir=log.parent)
    run = types.SimpleNamespace(settings=settings, _is_finished=True)
    assert not offline_log.wait_for_exit(run)
    assert clock.slept == pytest.approx(10)


def test_a_run_that_goes_on_is_not_waited_for(tmp_path, clock):
    with offline_environment(tmp_path), wandb.init(mode="offline") as run:
        run.log({"a": 1})
        assert not offline_log.wait_for_exit(run)
        assert not offline_log.wait_for_exit(run.settings.sync_dir)
        assert clock.pauses == []


def test_sync_waits_and_says_that_the_end_is_missing(log, clock, caplog):
    content = log.read_bytes()
    log.write_bytes(content[:-3])
    written(log)
    clock.then[2] = lambda: log.write_bytes(content)
    assert sync.update_paths(log.parent) == 0
    assert len(clock.pauses) == 2
    assert caplog.text == ""
    log.write_bytes(content[:-3])
    sync.update_paths(log.parent)
    assert "has no end" in caplog.text


def test_a_link_to_another_log_is_no_log(log, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    (folder / "run-y.wandb").symlink_to(log)
    with pytest.raises(FileNotFoundError, match="with 0 of them"):
        offline_log.find_log(folder)
    os.mkfifo(folder / "run-z.wandb")
    with pytest.raises(FileNotFoundError, match="with 0 of them"):
        offline_log.find_log(folder)
