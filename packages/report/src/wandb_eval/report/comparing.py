"""Compares two evaluations of the same samples: `compare`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.report.comparison import ComparedSamples, Comparison, Difference
from wandb_eval.report.matching import Side, match
from wandb_eval.report.measures import is_higher_better
from wandb_eval.report.paired import (
    Estimate,
    Floats,
    compare_means,
    compare_right,
    compare_runs,
    holm,
)
from wandb_eval.report.sample_numbers import (
    class_values,
    classes_of,
    names_of_numbers,
    numbers_of,
    rule_of,
)
from wandb_eval.report.score_tables import read_scores

if TYPE_CHECKING:
    import wandb

    Run = str | os.PathLike[str] | wandb.Run


def compare(
    a: Run | Sequence[Run],
    b: Run | Sequence[Run],
    *,
    on_shared: bool = False,
    threshold: float | None = None,
    name: str | None = None,
) -> Comparison:
    """Compares two evaluations of the same samples, and tests for chance.

    It reads only the tables `scores` of the best version of each run, or of the last
    version if none is the best, and the weak slices of A, from the last version that
    has them.
    For right and wrong, the intervals of 95 % are those of
    Bonett and Price, or, for 1,000 samples or more, those of Zou and Donner. For other
    numbers they are those of a paired bootstrap.

    A comparison of two runs tells which *model* is better on this data. To tell which
    *recipe* is better, pass several runs per side, with different seeds: the intervals
    then include the spread between runs.

    Args:
        a: The folder of a run that was recorded offline, a finished `wandb.Run`, or
            `"entity/project/run_id"`. A colon and an alias select a version, as in
            `"wandb/latest-run:epoch_3"`. Or a list of runs of one recipe.
        b: The run or the runs to compare with `a`.
        on_shared: Whether to compare only the samples that both have, by their content,
            if the data differs.
        threshold: The value from which a sample is right, if there is no `correct`.
            The default is 0.5 for scores such as F1 and IoU, and the median of all
            errors for errors.
        name: The `name` of the callback, if a run has several evaluations.

    Returns:
        The comparison. Its `text` says the result in words.

    Raises:
        FileNotFoundError: If a folder does not have the log of one run.
        ValueError: If a run can't be read or has no scores, or if the two were
            evaluated on different data.

    Example:

    ```python
    comparison = compare("wandb/offline-run-1", "wandb/offline-run-2")
    print(comparison.text)
    worse = comparison.samples.index[comparison.samples.broken]
    ```
    """
    tables = [[read_scores(run, name) for run in _listed(side)] for side in (a, b)]
    side_a, side_b, notes = match(*tables, on_shared=on_shared)
    notes += tables[0][0].notes
    names = names_of_numbers([*side_a.columns, *side_b.columns])
    if not names:
        raise ValueError(
            "The two have no number in common that could be compared, such as "
            f"`correct` or `loss`. A has {', '.join(side_a.columns[0])}."
        )
    numbers = {key: numbers_of(side_a, side_b, key) for key in names}
    groups = classes_of(side_a), _slices_of(side_a)
    parts = {
        key: class_values(side_a, side_b) if key == "mean_iou" else {}
        for key in numbers
    }
    differences = _differences(numbers, groups, parts)
    if not differences:
        raise ValueError(f"No sample has {', '.join(names)} in both.")
    right, rights = rule_of({key: numbers[key] for key in differences}, threshold)
    fixed, broken = ~rights[0] & rights[1], rights[0] & ~rights[1]
    first = next(iter(differences.values()))
    for found in differences.values():
        if found.num_left_out:
            notes.append(
                f"{found.num_left_out:,} samples have no {found.name} in one of the "
                "two, and are left out of it."
            )
    has_rule = right and len(side_a.columns) + len(side_b.columns) == 2
    return Comparison(
        a=tuple(side_a.names),
        b=tuple(side_b.names),
        num_samples=len(side_a.index),
        fixed=int(fixed.sum()),
        broken=int(broken.sum()),
        right=right,
        p_value=(compare_right(*rights).p_value if has_rule else first.p_value),
        differences=differences,
        samples=ComparedSamples(side_a.index, side_b.index, fixed, broken),
        notes=tuple(notes),
    )


def _listed(side: Any) -> list[Any]:
    """Returns the runs of a side as a list."""
    runs = list(side) if isinstance(side, (list, tuple)) else [side]
    if not runs:
        raise ValueError("A side of a comparison needs a run. Received: []")
    return runs


def _slices_of(side: Side) -> dict[str, NDArray[np.int64]]:
    """Returns the places of the samples in each weak slice of A."""
    places = {index: place for place, index in enumerate(side.index.tolist())}
    found = {
        name: [places[i] for i in index if isinstance(i, int) and i in places]
        for name, index in side.weak_slices.items()
    }
    return {name: np.array(index) for name, index in found.items() if index}


_Pair = tuple[Floats, Floats]
_Groups = Mapping[str, NDArray[np.int64]]


def _differences(
    numbers: Mapping[str, _Pair],
    groups: tuple[_Groups, _Groups],
    parts: Mapping[str, Mapping[str, _Pair]],
) -> dict[str, Difference]:
    """Estimates the differences of all numbers, also by class and by slice."""
    found = {}
    for name, (a, b) in numbers.items():
        classes = parts[name] or {
            key: (a[:, i], b[:, i]) for key, i in groups[0].items()
        }
        slices = {key: (a[:, i], b[:, i]) for key, i in groups[1].items()}
        together = [(a, b), *classes.values(), *slices.values()]
        kept = [_kept(*pair) for pair in together]
        if not kept[0][0].size:
            continue
        full, *rest = _estimates([pair for pair in kept if pair[0].size], name)
        estimates = iter(rest)
        by_group = [next(estimates) if pair[0].size else None for pair in kept[1:]]
        by_class = dict(zip(classes, by_group[: len(classes)], strict=True))
        by_slice = dict(zip(slices, by_group[len(classes) :], strict=True))
        lacks = np.isfinite(a).all(0) != np.isfinite(b).all(0)
        found[name] = Difference(
            **vars(full),
            name=name,
            higher_is_better=is_higher_better(name),
            num_left_out=int(lacks.sum()),
            by_class=_adjusted(by_class),
            by_slice=_adjusted(by_slice),
        )
    return found


def _kept(a: Floats, b: Floats) -> _Pair:
    """Keeps the samples that have the number in all runs."""
    kept = np.isfinite(a).all(0) & np.isfinite(b).all(0)
    return a[:, kept], b[:, kept]


def _estimates(pairs: Sequence[_Pair], name: str) -> list[Estimate]:
    if len(pairs[0][0]) + len(pairs[0][1]) > 2:
        found = [compare_runs(a, b) for a, b in pairs]
        # If all runs and samples change equally, the spread is that of one run.
        for i, one in enumerate(found):
            if one.low is not None and one.low == one.high:
                [found[i]] = _of_one_run([pairs[i]], name)
        return found
    return _of_one_run(pairs, name)


def _of_one_run(pairs: Sequence[_Pair], name: str) -> list[Estimate]:
    """Compares the first run of each side."""
    if name == "correct":
        return [compare_right(a[0] > 0.5, b[0] > 0.5) for a, b in pairs]
    return compare_means([(a[0], b[0]) for a, b in pairs])


def _adjusted(found: Mapping[str, Estimate | None]) -> dict[str, Estimate]:
    """Adjusts the p-values of estimates for their number."""
    there = {key: one for key, one in found.items() if one is not None}
    p_values = holm([one.p_value for one in there.values()])
    return {
        key: Estimate(**{**vars(one), "p_value": p_value})
        for (key, one), p_value in zip(there.items(), p_values, strict=True)
    }
