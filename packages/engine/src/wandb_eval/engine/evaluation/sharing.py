"""Shares a pass among the processes that train one model.

Each process evaluates a part of the data, and gets the results of all other parts. So
all of them have the result of one pass over all of the data.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from wandb_eval.engine.evaluation.collected import Collected, merged
from wandb_eval.engine.evaluation.processes import Group, NotSharedError
from wandb_eval.engine.evaluation.samples import Samples
from wandb_eval.engine.evaluation.task import EvalTask


@dataclass(frozen=True)
class Plan:
    """The plan of a process for a pass.

    Attributes:
        why_not: The reason why it can't share the pass; `None` if it can.
        same: Values that must be the same in all processes, such as the data.
        weights: Bytes that must be the same in all processes, as the weights.
        needs_properties: Whether it needs the properties of the samples.
        of_fit: Whether its part of the validation of `fit` has the properties of the
            samples; `None` if it has no part of it.
    """

    why_not: str | None
    same: Hashable
    weights: bytes
    needs_properties: bool
    of_fit: bool | None = None


@dataclass(frozen=True)
class Agreement:
    """The agreement of all processes on a pass.

    Attributes:
        needs_properties: Whether a process needs the properties of the samples.
        have_parts: Whether each process has its part of the validation of `fit`, with
            the properties, if they are needed.
        weights: Bytes that are the same in all processes, as the weights.
    """

    needs_properties: bool
    have_parts: bool
    weights: bytes = b""


def agree(group: Group, make_plan: Callable[[], Plan]) -> Agreement:
    """Exchanges the plans of all processes.

    Args:
        group: The processes.
        make_plan: A function that makes the plan of this process.

    Raises:
        NotSharedError: If one of them can't share the pass, in all processes.
    """
    try:
        plan = make_plan()
    except Exception as error:  # The others must not wait for this process.
        plan = Plan(f"no plan can be made ({_described(error)})", (), b"", False)
    plans: list[Plan] = _exchanged(group, plan)
    for index, other in enumerate(plans):
        if other.why_not is not None:
            raise NotSharedError(f"in process {index}, {other.why_not}")
    if any(other.same != plans[0].same for other in plans):
        raise NotSharedError("the processes have different data or arguments")
    if any(other.weights != plans[0].weights for other in plans):
        raise NotSharedError(
            "the processes have different weights, such as statistics of "
            "BatchNormalization"
        )
    needs_properties = any(plan.needs_properties for plan in plans)
    have_parts = all(
        plan.of_fit is not None and (plan.of_fit or not needs_properties)
        for plan in plans
    )
    return Agreement(needs_properties, have_parts, plans[0].weights)


class Parts:
    """Converts results of parts to bytes, for other processes.

    Args:
        task: The task, which each process has.
        samples: The fixed samples, which each process has.
    """

    def __init__(self, task: EvalTask, samples: Samples) -> None:
        self._task = task
        self._inputs = dict(zip(samples.index, samples.x, strict=True))

    def dump(self, found: Collected) -> bytes:
        """Returns results as bytes, without the values that each process has."""
        file = io.BytesIO()
        fixed = dataclasses.replace(found.fixed, x=[])
        sent = dataclasses.replace(found, fixed=fixed)
        _Pickler(file, self._task).dump(sent)
        return file.getvalue()

    def load(self, content: bytes) -> Collected:
        """Returns the results of another process."""
        found: Collected = _Unpickler(io.BytesIO(content), self._task).load()
        found.fixed.x = [self._inputs[place] for place in found.fixed.index]
        return found


def collect(
    group: Group, parts: Parts, own: Callable[[], Collected], weights: bytes = b""
) -> Collected:
    """Collects the part of this process, and joins it with those of the others.

    Args:
        group: The processes.
        parts: Converts parts to bytes.
        own: A function that collects the part of this process.
        weights: The `weights` of the agreement.

    Returns:
        The results of all processes.

    Raises:
        NotSharedError: If a process has found that the pass can't be shared, in all
            processes.
        RuntimeError: If another process has failed.
    """
    answer: tuple[str, Any]
    error: Exception | None = None
    try:
        found = own()
        if weights and weights != group.weights:
            raise NotSharedError("the model changes when it predicts")
        answer = "found", _dumped(parts, found)
    except NotSharedError as reason:
        answer = "not shared", str(reason)
    except Exception as raised:  # The others must not wait for this process.
        error = raised
        answer = "failed", _described(raised)
    answers = _exchanged(group, answer)
    if error is not None:
        raise error
    _check(answers)
    found_by_all: list[Collected] = []
    answer = "found", b""
    try:
        for index, (_, content) in enumerate(answers):
            found_by_all.append(found if index == group.index else parts.load(content))
    except Exception as raised:  # All or none must have the results.
        answer = "not shared", f"results of others can't be read: {raised}"
    _check(_exchanged(group, answer))
    return merged(found_by_all)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _exchanged(group: Group, own: Any) -> list[Any]:
    return [pickle.loads(content) for content in group.exchange(pickle.dumps(own))]


def _dumped(parts: Parts, found: Collected) -> bytes:
    try:
        return parts.dump(found)
    except Exception as error:
        raise NotSharedError(f"results can't be sent to others: {error}") from error


def _check(answers: Sequence[tuple[str, Any]]) -> None:
    for index, (kind, content) in enumerate(answers):
        if kind == "failed":
            raise RuntimeError(f"Process {index} has failed: {content}")
    for index, (kind, content) in enumerate(answers):
        if kind == "not shared":
            raise NotSharedError(f"in process {index}, {content}")


def _task_of_this_process() -> EvalTask:
    raise pickle.UnpicklingError("The task is not known.")


class _Pickler(pickle.Pickler):
    """Pickles a reference to the task as such."""

    def __init__(self, file: io.BytesIO, task: EvalTask) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._task = task

    def reducer_override(self, obj: Any) -> Any:
        if obj is self._task:
            return _task_of_this_process, ()
        if isinstance(obj, keras.metrics.Metric):  # Keras writes its arguments alone.
            raise pickle.PicklingError("the state of a Keras metric is not pickled")
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, task: EvalTask) -> None:
        super().__init__(file)
        self._task = task

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == (__name__, _task_of_this_process.__name__):
            return lambda: self._task
        return super().find_class(module, name)
