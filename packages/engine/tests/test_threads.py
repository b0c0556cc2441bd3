"""Work in threads, and beside the model's predicting."""

import threading

import pytest

from wandb_eval.engine.threads import (
    BackgroundWorker,
    map_in_threads,
    release_in_background,
)


def running():
    return {thread for thread in threading.enumerate() if thread.is_alive()}


def test_results_are_in_the_order_of_the_items():
    done = []
    squares = map_in_threads(lambda i: i * i, range(50), lambda: done.append(len(done)))
    assert squares == [i * i for i in range(50)]
    assert done == list(range(50))


def test_calls_run_in_order_in_one_other_thread():
    calls = []
    beside = BackgroundWorker(lambda i: calls.append((i, threading.get_ident())))
    for i in range(20):
        beside(i)
    beside.close()
    assert [i for i, _ in calls] == list(range(20))
    [thread] = {thread for _, thread in calls}
    assert thread != threading.get_ident()


def fail(number):
    raise ValueError(f"number {number}")


def test_an_error_is_raised_once_by_the_next_call():
    before = running()
    beside = BackgroundWorker(fail)
    beside(1)
    with pytest.raises(ValueError, match="number 1"):
        beside(2)  # Which is not begun.
    beside.join()
    beside.close()
    assert running() <= before


def test_an_error_of_the_last_call_is_raised_at_the_end_and_the_thread_ends():
    before = running()
    beside = BackgroundWorker(fail)
    beside(1)
    with pytest.raises(ValueError, match="number 1"):
        beside.close()
    beside.close()
    assert running() <= before


def test_what_is_let_go_is_waited_for_by_nobody():
    dropped_in = []
    may_end = threading.Event()

    class Slow:
        def __del__(self):
            may_end.wait()
            dropped_in.append(threading.current_thread())

    before = set(threading.enumerate())
    release_in_background([Slow()])
    threads = set(threading.enumerate()) - before
    waiting = not dropped_in
    may_end.set()
    for thread in threads:
        thread.join()
    assert waiting
    assert dropped_in == list(threads)
    assert not dropped_in[0].daemon
