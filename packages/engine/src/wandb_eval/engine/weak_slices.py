"""The tables and log lines that show where a model fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray

from wandb_eval.core import WandbEvalCallback
from wandb_eval.engine.evaluation.result import Evaluation, FoundProblems
from wandb_eval.engine.evaluation.sample_properties import (
    MOST_SHOWN_OF_ONE,
    SampleProperties,
)
from wandb_eval.engine.evaluation.samples import EvaluatedSamples
from wandb_eval.engine.evaluation.task import EvalTask
from wandb_eval.engine.kit import charts
from wandb_eval.engine.kit.listed import listed
from wandb_eval.engine.slices.search import (
    WeakSlice,
    find_weak_slices,
    too_few_samples,
)

MOST_PROBLEMS = 100
"""The largest number of rows of the table of problems."""

COLUMNS = (
    "slice",
    "num_samples",
    "share",
    "error",
    "error_elsewhere",
    "gap",
    "at_least",
    "p_value",
    "remark",
)
_MECHANICAL = "The error depends on this by its definition."


class WeakSlices:
    """Finds the weak slices of an evaluation, and makes tables of them.

    A failure is reported, and ends neither the training nor the version.

    Args:
        task: Tells the strata, and the properties on which the error depends.
        callback: The same object as a callback. It reports failures.
        properties: Knows the properties of the samples.

    Attributes:
        found: The slices of the last evaluation that was searched.
    """

    def __init__(
        self, task: EvalTask, callback: WandbEvalCallback, properties: SampleProperties
    ) -> None:
        self._task = task
        self._callback = callback
        self._properties = properties
        self.begin_training()

    def begin_training(self) -> None:
        """Forgets the slices of an earlier training."""
        self.found: list[WeakSlice] = []
        self._searched: Evaluation | None = None
        self._said: set[str] = set()
        self._properties.begin_training()

    def tables(self, evaluation: Evaluation, *, ends: bool) -> dict[str, wandb.Table]:
        """Returns the tables to log with an evaluation, by name.

        Args:
            evaluation: The evaluation, with the rows of its samples.
            ends: Whether the training ends with it.
        """
        tables: dict[str, wandb.Table] = {}
        failures = self._callback.run_log.failures
        with failures.tolerate("The properties of the samples are not known"):
            self._report_properties()
        with failures.tolerate("The problems of the data could not be logged"):
            if evaluation.problems.problems:
                tables["data_problems"] = self._problems_table(evaluation.problems)
        if ends:
            tables |= self.search(evaluation)
        return tables

    def search(self, evaluation: Evaluation) -> dict[str, wandb.Table]:
        """Finds the weak slices, and returns their table; nothing if there is none."""
        self._searched, self.found = evaluation, []
        failures = self._callback.run_log.failures
        with failures.tolerate("Weak slices could not be found"):
            self.found = self._find(evaluation)
            if self.found:
                return {"weak_slices": self._slices_table(evaluation)}
        return {}

    def forget(self) -> None:
        """Forgets the slices of an evaluation that could not be logged."""
        self._searched = None

    def is_searched(self, evaluation: Evaluation) -> bool:
        """Whether `found` has the weak slices of an evaluation."""
        return evaluation is self._searched

    def say_strongest(self) -> None:
        """Writes the strongest slice to the terminal."""
        if self.found:
            strongest = self.found[0]
            remark = "" if not strongest.mechanical else f" {_MECHANICAL}"
            wandb.termlog(f"The model has {strongest}.{remark}")

    def _find(self, evaluation: Evaluation) -> list[WeakSlice]:
        if evaluation.errors is None or not evaluation.properties:
            return []
        errors = evaluation.errors
        reason = too_few_samples(errors)
        if reason is not None:
            self._say_once(reason)
            return []
        least = min(float(np.nanmin(errors)), 0.0)  # A difficulty may be any number.
        stratum = self._task.stratum
        found = find_weak_slices(
            errors - least,
            evaluation.properties,
            strata=None if stratum is None else evaluation.scores[stratum],
            mechanical=self._task.mechanical_properties,
        )
        return [
            dataclasses.replace(
                one,
                error=one.error + least,
                error_elsewhere=one.error_elsewhere + least,
            )
            for one in found
        ]

    def _say_once(self, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            wandb.termlog(reason)

    def _report_properties(self) -> None:
        left_out = self._properties.left_out
        if left_out is not None and left_out not in self._said:
            self._said.add(left_out)
            wandb.termwarn(left_out)
        error = self._properties.error
        if error is not None and repr(error) not in self._said:
            self._said.add(repr(error))
            raise error

    # --- Tables -----------------------------------------------------------------------

    def _slices_table(self, evaluation: Evaluation) -> wandb.Table:
        shown = self._shown(evaluation)
        rows = []
        for one in self.found:
            inside = set(one.index.tolist())
            images = [image for place, image in shown if place in inside]
            remark = _MECHANICAL if one.mechanical else ""
            numbers = [getattr(one, name) for name in COLUMNS[1:-1]]
            cells = [one.text, *numbers, remark]
            rows.append([*cells, *_filled(images), _as_text(one.index)])
        return charts.table([*COLUMNS, *self._image_columns, "index"], rows)

    def _shown(self, evaluation: Evaluation) -> list[tuple[int, Any]]:
        """Returns places and images of samples that are held, the hardest first."""
        shown: dict[int, Any] = {}
        for samples in (evaluation.hardest, evaluation.fixed):
            places = self._properties.places_of(samples.index, evaluation.fingerprint)
            pairs = [
                (place, image)
                for place, image in zip(places, self._images(samples), strict=True)
                if place >= 0 and image is not None
            ]
            if samples is evaluation.fixed and evaluation.errors is not None:
                errors = np.nan_to_num(evaluation.errors, nan=-np.inf)
                pairs.sort(key=lambda pair: -errors[pair[0]])
            for place, image in pairs:
                shown.setdefault(place, image)
        return list(shown.items())

    def _problems_table(self, found: FoundProblems) -> wandb.Table:
        images = dict(zip(found.places, self._images(found.samples), strict=True))
        rows = []
        for problem in found.problems[:MOST_PROBLEMS]:
            places = problem.index.tolist()
            held = [images[place] for place in places if place in images]
            cells = [problem.kind, problem.text, len(places)]
            rows.append([*cells, *_filled(held), _as_text(problem.index)])
        self._say_problems(found)
        columns = ["problem", "text", "num_samples", *self._image_columns, "index"]
        return charts.table(columns, rows)

    def _say_problems(self, found: FoundProblems) -> None:
        counts: dict[str, int] = {}
        for problem in found.problems:
            counts[problem.kind] = counts.get(problem.kind, 0) + len(problem.index)
        words = {
            "different targets": "have equal content but different targets",
            "equal content": "occur more than once",
            "blank": "are blank",
        }
        said = ", ".join(f"{count} {words[kind]}" for kind, count in counts.items())
        text = (
            f"Of the samples of `validation_data`, {said}. For example, "
            f"{found.problems[0].text}. See `{self._callback.prefix}/data_problems`."
        )
        if text not in self._said:  # By a version that could not be logged.
            self._said.add(text)
            wandb.termlog(text)

    @property
    def _image_columns(self) -> list[str]:
        name = self._shown_as or "image"
        return [f"{name}_{i + 1}" for i in range(MOST_SHOWN_OF_ONE)]

    @property
    def _shown_as(self) -> str | None:
        columns = self._callback.data_table_columns
        return next((name for name in ("image", "input") if name in columns), None)

    def _images(self, samples: EvaluatedSamples) -> list[Any]:
        # If the version could not be logged, its samples have no rows.
        if self._shown_as is None or not samples.rows:
            return [None] * len(samples)
        at = self._callback.data_table_columns.index(self._shown_as)
        return [row[at] for row in samples.rows]


def _as_text(index: NDArray[np.int64]) -> str:
    return listed(list(map(str, index.tolist())))


def score_columns(
    properties: Mapping[str, NDArray[Any]], taken: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Returns properties as columns of the table of scores.

    Args:
        properties: The properties, by name.
        taken: The other columns. A property of such a name gets another name, unless
            its values are the same.
    """
    columns = {}
    for name, values in properties.items():
        cells = _cells(values)
        if name not in taken:
            columns[name] = cells
        elif cells != taken[name]:
            columns[f"{name}_property"] = cells
    return columns


def _cells(values: NDArray[Any]) -> list[Any]:
    if values.dtype.kind != "f":
        return list(values.tolist())
    cells = values.astype(object)
    cells[~np.isfinite(values)] = None
    return list(cells.tolist())


def _filled(images: Sequence[Any]) -> list[Any]:
    shown = list(images[:MOST_SHOWN_OF_ONE])
    return shown + [None] * (MOST_SHOWN_OF_ONE - len(shown))
