"""Progress is shown in Keras' way, and only when there is a wait."""

import time

import pytest

from wandb_eval.engine import progress as module
from wandb_eval.engine.progress import Progress


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def run(clock, total, seconds, **options):
    progress = Progress("Counting sheep", total, **options)
    for _ in range(4):
        clock.now += seconds / 4
        progress.add()
    progress.close()


def test_short_work_prints_nothing(clock, capsys):
    run(clock, 4, 1.9)
    assert capsys.readouterr() == ("", "")


def test_long_work_shows_what_and_how_far(clock, capsys):
    run(clock, 4, 10)
    printed = capsys.readouterr().out
    assert printed.startswith("\nCounting sheep\n")
    assert "4/4" in printed
    assert printed.endswith("\n")


def test_long_work_of_unknown_length(clock, capsys):
    run(clock, None, 10)
    printed = capsys.readouterr().out
    assert "4/Unknown" in printed
    assert printed.endswith("\n")


def test_the_bar_appears_when_the_wait_gets_long(clock, capsys):
    progress = Progress("Counting sheep", 10)
    progress.add(3)
    clock.now += 2.1
    assert capsys.readouterr().out == ""
    progress.add(2)
    assert " 5/10" in capsys.readouterr().out


def test_nothing_is_shown_where_keras_is_silent(clock, capsys):
    run(clock, 4, 10, verbose=False)
    assert capsys.readouterr() == ("", "")


def test_nothing_to_do(clock, capsys):
    Progress("Counting sheep", 0).close()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("steps", "said"), [(100, "30ms/step"), (1, "3s/step")])
def test_the_speed_is_that_since_the_work_began(monkeypatch, capsys, steps, said):
    clock = Clock()
    clock.time = clock.monotonic
    monkeypatch.setattr(time, "time", clock.time)
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    progress = Progress("Counting sheep", 2 * steps)
    clock.now += 3
    progress.add(steps)
    printed = capsys.readouterr().out
    assert said in printed
    assert "m3s" in printed  # What is still to be waited.
    progress.close()
