"""The ids of samples, also if their places change."""

from __future__ import annotations

from typing import Any

import numpy as np

from wandb_eval.engine.evaluation.data import DataScan
from wandb_eval.engine.evaluation.fingerprint import Checksums, content_key
from wandb_eval.engine.evaluation.samples import EvaluatedSamples


class Identities:
    """Identifies samples, in any order, by their places in the first pass.

    Rows of tables are cached by these ids, so an id never stands for two contents, nor
    for one input with two targets. Samples that are equal in both have different ids.

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
        """Returns samples with ids instead of their places in a pass.

        A sample that was not in the first pass, as in random data, gets its place as
        id, or a number beyond all places if another sample has that id.

        Args:
            kept: The samples; their `index` has the places.
            sums: The checksums of all samples of that pass.
            in_order: Whether the pass saw the samples of the first one, in its order.
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
