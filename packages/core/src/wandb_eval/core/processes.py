"""Tells which of the processes that train one model logs."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def is_chief() -> bool:
    """Whether this process is the first one that trains the model, or the only one.

    No framework is imported: one that this process has not imported does not distribute
    its training.
    """
    return _jax_place()[0] == 0 and _torch_place()[0] == 0 and _tensorflow_is_chief()


def is_alone() -> bool:
    """Whether no other process trains the same model."""
    return max(_jax_place()[1], _torch_place()[1], len(_tensorflow_config()[1])) <= 1


def _jax_place() -> tuple[int, int]:
    """Returns the index of this process, and the number of processes."""
    distributed = sys.modules.get("jax._src.distributed")
    state = getattr(distributed, "global_state", None)
    index = getattr(state, "process_id", None)
    return int(index or 0), int(getattr(state, "num_processes", None) or 1)


def _torch_place() -> tuple[int, int]:
    """Returns the rank of this process, and the number of processes."""
    torch = sys.modules.get("torch")
    dist = getattr(torch, "distributed", None)
    if dist is None or not dist.is_available() or not dist.is_initialized():
        return 0, 1
    return int(dist.get_rank()), int(dist.get_world_size())


def _tensorflow_config() -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Reads the task of this process and all (type, address) from `TF_CONFIG`.

    https://www.tensorflow.org/guide/distributed_training#TF_CONFIG
    """
    try:
        config = json.loads(os.environ.get("TF_CONFIG", "{}"))
        task, cluster = config.get("task", {}), config.get("cluster", {})
        members = [(kind, at) for kind in cluster for at in cluster[kind]]
    except (ValueError, AttributeError, TypeError):
        return {}, []  # TensorFlow complains about it, if it is used.
    return task, members


def _tensorflow_is_chief() -> bool:
    """Whether this is the task `chief`, or the first worker if there is no chief."""
    task, members = _tensorflow_config()
    if not task or len(members) <= 1:
        return True
    if any(kind == "chief" for kind, _ in members):
        return bool(task.get("type") == "chief")
    return bool(task.get("type") == "worker") and int(task.get("index", 0)) == 0
