"""The process that logs."""

import json
import sys
from types import SimpleNamespace

import pytest

from wandb_eval.core.processes import is_alone, is_chief

TWO = {"worker": ["a:1", "b:1"]}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def test_a_process_alone_is_the_chief():
    assert is_chief()
    assert is_alone()


@pytest.mark.parametrize(
    ("cluster", "task", "expected"),
    [
        (TWO, {"type": "worker", "index": 0}, True),
        (TWO, {"type": "worker", "index": 1}, False),
        (TWO, {"type": "worker", "index": "1"}, False),
        ({**TWO, "chief": ["c:1"]}, {"type": "chief", "index": 0}, True),
        ({**TWO, "chief": ["c:1"]}, {"type": "worker", "index": 0}, False),
        ({**TWO, "ps": ["p:1"]}, {"type": "ps", "index": 0}, False),
        ({"worker": ["a:1"]}, {"type": "worker", "index": 0}, True),
        ({"worker": ["a:1"], "chief": ["c:1"]}, {"type": "worker"}, False),
        (TWO, {}, True),
        ({}, {}, True),
    ],
)
def test_tensorflow(monkeypatch, cluster, task, expected):
    config = {"cluster": cluster, "task": task}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert is_chief() is expected
    assert is_alone() is (sum(map(len, cluster.values())) < 2)


@pytest.mark.parametrize("config", ["", "not json", "[]", "3", '{"cluster": 3}'])
def test_a_broken_tf_config_is_left_to_tensorflow(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    assert is_chief()


@pytest.mark.parametrize(
    ("available", "initialized", "rank", "expected"),
    [
        (True, True, 0, True),
        (True, True, 1, False),
        (True, False, 1, True),
        (False, False, 1, True),
    ],
)
def test_torch(monkeypatch, available, initialized, rank, expected):
    def get_rank():
        assert initialized
        return rank

    distributed = SimpleNamespace(
        is_available=lambda: available,
        is_initialized=lambda: initialized,
        get_rank=get_rank,
        get_world_size=lambda: 2,
    )
    torch = SimpleNamespace(distributed=distributed)
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert is_chief() is expected
    assert is_alone() is not (available and initialized)


@pytest.mark.parametrize(("index", "expected"), [(0, True), (1, False)])
def test_jax(monkeypatch, index, expected):
    distributed = pytest.importorskip("jax._src.distributed")
    monkeypatch.setattr(distributed.global_state, "process_id", index)
    monkeypatch.setattr(distributed.global_state, "num_processes", 2)
    assert is_chief() is expected
    assert not is_alone()
