"""Problems of the data itself: contradictory, equal and blank samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Kind = Literal["different targets", "equal content", "blank"]


@dataclass(frozen=True)
class DataProblem:
    """Samples with a problem that does not depend on a model.

    Attributes:
        kind: `"different targets"` for samples of equal content that have different
            targets, of which at least one is wrong; `"equal content"` for samples that
            occur more than once, targets included; `"blank"` for images of one color.
        index: The places of the samples in the data, int64, ascending.
        text: A sentence that describes the problem.
    """

    kind: Kind
    index: NDArray[np.int64] = field(compare=False)
    text: str


def data_problems(
    input_checksums: ArrayLike,
    sample_checksums: ArrayLike,
    blank: ArrayLike | None = None,
) -> list[DataProblem]:
    """Finds blank images, and samples with equal content and equal or other targets.

    Args:
        input_checksums: A checksum of the inputs of each sample, uint64 of shape
            `(samples,)`.
        sample_checksums: A checksum of the inputs and targets of each sample, uint64 of
            shape `(samples,)`.
        blank: Whether the image of each sample has one color, bool of shape
            `(samples,)`. `None` if there are no images.

    Returns:
        A problem for each group of samples with equal content: those with different
        targets first, and larger groups first. The last one has all blank images.

    Raises:
        ValueError: If the lengths differ.

    Example:

    >>> for problem in data_problems([7, 5, 7, 5, 7], [1, 2, 1, 2, 3]):
    ...     print(problem.text)
    3 samples have equal content, and 2 different targets: 0, 2, 4
    2 samples are equal, targets included: 1, 3
    """
    inputs = np.asarray(input_checksums, np.uint64)
    samples = np.asarray(sample_checksums, np.uint64)
    if inputs.ndim != 1 or inputs.shape != samples.shape:
        raise ValueError(
            "Checksums must be two arrays of shape (samples,). Received: shapes "
            f"{inputs.shape} and {samples.shape}"
        )
    different, equal = [], []
    for index in _groups(inputs):
        targets = len(np.unique(samples[index]))
        said = f"{len(index)} samples "
        if targets > 1:
            said += f"have equal content, and {targets} different targets: "
            different.append(
                DataProblem("different targets", index, said + _listed(index))
            )
        else:
            said += "are equal, targets included: "
            equal.append(DataProblem("equal content", index, said + _listed(index)))
    problems = sorted(different, key=_size) + sorted(equal, key=_size)
    if blank is not None:
        is_blank = np.asarray(blank, bool)
        if is_blank.shape != inputs.shape:
            raise ValueError(
                f"`blank` must be of shape {inputs.shape}. Received: shape "
                f"{is_blank.shape}"
            )
        places = np.flatnonzero(is_blank)
        if len(places):
            said = "1 image is" if len(places) == 1 else f"{len(places)} images are"
            problems.append(
                DataProblem("blank", places, f"{said} blank: {_listed(places)}")
            )
    return problems


def _groups(checksums: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Yields the places of each value that occurs more than once."""
    order = np.argsort(checksums, kind="stable")
    ends = np.flatnonzero(np.diff(checksums[order])) + 1
    for index in np.split(order, ends):
        if len(index) > 1:
            yield index


def _size(problem: DataProblem) -> tuple[int, int]:
    return -len(problem.index), int(problem.index[0])


def _listed(index: NDArray[np.int64], most: int = 5) -> str:
    shown = ", ".join(map(str, index[:most]))
    return f"{shown}, ..." if len(index) > most else shown
