"""Which of several processes that train one model is the one that logs."""

from __future__ import annotations

import json
import os
import sys


def is_chief() -> bool:
    """Whether this process is the first of those that train the model, or the only one.

    Nothing is imported for the question: a framework that this process has not imported
    does not distribute its training.
    """
    return _jax_index() == 0 and _torch_rank() == 0 and _tensorflow_is_chief()


def _jax_index() -> int:
    distributed = sys.modules.get("jax._src.distributed")
    state = getattr(distributed, "global_state", None)
    return int(getattr(state, "process_id", 0) or 0)


def _torch_rank() -> int:
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is None or not distributed.is_available():
        return 0
    return int(distributed.get_rank()) if distributed.is_initialized() else 0


def _tensorflow_is_chief() -> bool:
    """As `TF_CONFIG` has it: the task `chief`, or the first worker without a chief.

    https://www.tensorflow.org/guide/distributed_training#TF_CONFIG
    """
    try:
        config = json.loads(os.environ.get("TF_CONFIG", "{}"))
        task, cluster = config.get("task", {}), config.get("cluster", {})
        several = sum(len(addresses) for addresses in cluster.values()) > 1
    except (ValueError, AttributeError, TypeError):
        return True  # TensorFlow is to complain about it, if it is used at all.
    if not task or not several:
        return True
    if "chief" in cluster:
        return bool(task.get("type") == "chief")
    return bool(task.get("type") == "worker") and int(task.get("index", 0)) == 0
