"""The processes that train one model, and what they send each other.

Only collectives of the engine that is there are used: `multihost_utils` of JAX, and
`torch.distributed`. Each process must call them equally often, or the others wait until
the engine ends them. TensorFlow has none for what is in the memory of the host.
"""

from __future__ import annotations

from typing import Any, Protocol

import keras
import numpy as np

_LEAST_CHUNK, _LARGEST_CHUNK = 2**16, 2**24


class NotSharedError(Exception):
    """A pass can't be shared. Each process evaluates all of the data instead."""


class Group(Protocol):
    """The processes that train one model.

    Attributes:
        index: The number of this process, from 0.
        count: The number of processes.
    """

    index: int
    count: int

    @property
    def weights(self) -> bytes:
        """Bytes that are equal in processes with equal weights.

        They are empty where the engine has made sure of that.
        """

    def exchange(self, content: bytes) -> list[bytes]:
        """Sends bytes to all processes, and returns those of each, in their order."""


def group_of(model: Any, in_all_processes: bool) -> Group | None:
    """Returns the processes that train a model and evaluate it together.

    Args:
        model: The model.
        in_all_processes: Whether the user says that all processes of Torch evaluate it.
            On JAX, predicting is collective, so all of them do.

    Returns:
        `None` if there is only one, or if it is not sure that all processes evaluate
        the model. All of them get the same answer.
    """
    if keras.backend.backend() == "jax" and _is_replicated_by_jax(model):
        return JaxGroup()
    if keras.backend.backend() == "torch" and in_all_processes:
        import torch

        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return TorchGroup(model) if distributed.get_world_size() > 1 else None
    return None


def _is_replicated_by_jax(model: Any) -> bool:
    """Whether each process has all weights, as parts of arrays of all processes."""
    if type(keras.distribution.distribution()) is not keras.distribution.DataParallel:
        return False
    import jax

    variables = [*model.trainable_variables, *model.non_trainable_variables]
    shardings = [variable.value.sharding for variable in variables]
    devices = {frozenset(sharding.device_set) for sharding in shardings}
    if len(devices) != 1:
        return False
    owners = {device.process_index for device in devices.pop()}
    return len(owners) == jax.process_count() > 1 and all(
        sharding.is_fully_replicated for sharding in shardings
    )


class JaxGroup:
    """The processes of `jax.distributed`."""

    weights = b""

    def __init__(self) -> None:
        import jax

        self.index: int = jax.process_index()
        self.count: int = jax.process_count()

    def exchange(self, content: bytes) -> list[bytes]:
        """Sends bytes to all processes, and returns those of each, in their order."""
        from jax.experimental.multihost_utils import process_allgather

        # In two numbers, because JAX cuts integers to 32 bits.
        own = np.array(divmod(len(content), 2**31), np.int32)
        sizes = [
            int(high) * 2**31 + int(low)
            for high, low in np.asarray(process_allgather(own))
        ]
        received = [bytearray() for _ in sizes]
        start = 0
        while start < max(sizes):
            # Each length is compiled once, so there are few of them.
            size = _LEAST_CHUNK
            while size < min(max(sizes) - start, _LARGEST_CHUNK):
                size *= 2
            chunk = np.zeros(size, np.uint8)
            piece = np.frombuffer(content[start : start + size], np.uint8)
            chunk[: len(piece)] = piece
            for whole, part in zip(received, process_allgather(chunk), strict=True):
                whole.extend(part.tobytes())
            start += size
        return [
            bytes(whole[:size]) for whole, size in zip(received, sizes, strict=True)
        ]


class TorchGroup:
    """The processes of Torch's process group.

    Args:
        model: The model, of which each process has a copy of its own.
    """

    def __init__(self, model: Any) -> None:
        import torch

        self.index: int = torch.distributed.get_rank()
        self.count: int = torch.distributed.get_world_size()
        self._model = model

    @property
    def weights(self) -> bytes:
        """Bytes that are equal in processes with equal weights."""
        import torch

        sums = []
        for variable in self._model.weights:
            value = variable.value.detach().double()
            sums += [value.sum(), value.square().sum()]
        return torch.stack(sums).cpu().numpy().tobytes() if sums else b""

    def exchange(self, content: bytes) -> list[bytes]:
        """Sends bytes to all processes, and returns those of each, in their order."""
        import torch

        received: list[Any] = [b""] * self.count
        torch.distributed.all_gather_object(received, content)
        return received
