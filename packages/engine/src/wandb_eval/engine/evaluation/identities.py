"""The ids of samples, also where their places change."""

from __future__ import annotations

from typing import Any

import numpy as np

from wandb_eval.engine.evaluation.data import DataScan
from wandb_eval.engine.evaluation.fingerprint import Checksums, content_key
from wandb_eval.engine.evaluation.samples import EvaluatedSamples


class Identities:
    """Gives samples their places in the first walk as ids, in whatever order they come.

    Rows of tables are kept by these ids, so one id never stands for two contents: not
    for one input with two targets either. Samples that are equal in both have an id
    each.

    Args:
        scan: The scan before training, with the fixed samples.
    """

    def __init__(self, scan: DataScan) -> None:
        self._sums = scan.fingerprint.samples
        self._beyond = scan.fingerprint.count
        self._content_of: dict[int, Any] = {}
        self._ids_of: dict[Any, list[int]] = {}
        samples = scan.samples
        for place, x, y in zip(samples.index, samples.x, samples.y, strict=True):
            self._claim(place, content_key((x, y)))

    def name(
        self, kept: EvaluatedSamples, sums: Checksums, in_order: bool
    ) -> EvaluatedSamples:
        """Returns samples with ids, in the place of the places that they had in a walk.

        A sample that was not in the first walk, as of data that is random by itself,
        gets its place, unless another one has that; then one beyond all places.

        Args:
            kept: The samples; their `index` has the places.
            sums: The checksums of all samples of that walk.
            in_order: Whether the walk saw what the first one saw, in its order.
        """
        given: list[int] = []
        for place, x, y in zip(kept.index, kept.x, kept.y, strict=True):
            content = content_key((x, y))
            known = self._ids_of.get(content, [])
            if in_order:
                options = [place, *known]
            else:
                there = np.flatnonzero(self._sums == sums[place]).tolist()
                options = [*known, *(there or [place])]
            free = (
                option
                for option in options
                if option not in given
                and self._content_of.get(option, content) == content
            )
            chosen = next(free, None)
            if chosen is None:
                chosen, self._beyond = self._beyond, self._beyond + 1
            self._claim(chosen, content)
            given.append(chosen)
        return kept.with_index(given)

    def _claim(self, chosen: int, content: Any) -> None:
        if chosen not in self._content_of:
            self._content_of[chosen] = content
            self._ids_of.setdefault(content, []).append(chosen)
