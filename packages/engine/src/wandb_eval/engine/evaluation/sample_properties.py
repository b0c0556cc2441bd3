"""The properties of all samples: of images, of targets, and those of the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras.tree import map_structure
from numpy.typing import NDArray

from wandb_eval.engine.evaluation.data import Batch, DataScan, Watch
from wandb_eval.engine.evaluation.fingerprint import Checksums, Fingerprint, exact_key
from wandb_eval.engine.evaluation.result import FoundProblems
from wandb_eval.engine.evaluation.samples import EvaluatedSamples, KeptSample
from wandb_eval.engine.evaluation.slice_by import Columns, GivenProperties, SliceBy
from wandb_eval.engine.evaluation.task import EvalTask
from wandb_eval.engine.nested import select, select_sample, to_numpy
from wandb_eval.engine.slices.problems import DataProblem, data_problems
from wandb_eval.engine.slices.properties import image_properties, varying
from wandb_eval.engine.threads import map_in_threads

ImageOf = Callable[[Any], NDArray[np.uint8] | None]
"""Returns the shown image of a sample; `None` if the sample is not an image."""

MOST_SHOWN_OF_ONE = 3
"""The largest number of images of a slice or a problem."""

MOST_HELD = 60
"""The largest number of samples with problems to show."""

_DIGITS = 6


class PassProperties:
    """Collects the properties of the samples of one pass.

    Args:
        task: Has the properties of targets.
        image_of: Returns the image of a sample.
        alike: The checksums of samples whose inputs may be equal to others.
        first: The place of the first sample.

    Attributes:
        error: The first exception; nothing is collected after it.
        held: Samples with problems, to be shown; their indices are those of the pass.
    """

    def __init__(
        self, task: EvalTask, image_of: ImageOf, alike: Checksums, first: int = 0
    ) -> None:
        self.error: Exception | None = None
        self.held: list[KeptSample] = []
        self._held_for: list[Any] = []
        self._first = first
        self._task = task
        self._image_of = image_of
        self._alike = alike
        self._count = 0
        self._of_images: list[Columns] = []
        self._of_targets: list[Columns] = []
        self._blank: list[NDArray[np.bool_]] = []
        self._contents: dict[int, tuple[bytes, bytes]] = {}
        self._num_held: Counter[Any] = Counter()

    def add(
        self,
        batches: Sequence[Batch],
        y: Any,
        truth: Any,
        sums: Checksums,
        keep: Callable[[int], KeptSample],
    ) -> None:
        """Adds joined batches. An exception does not end the pass.

        Args:
            batches: The batches.
            y: Their joined targets.
            truth: The targets as the task has read them.
            sums: The checksum of each sample.
            keep: Copies the sample at a place of the joined batches.
        """
        if self.error is not None:
            return
        first = self._first + self._count
        self._count += len(sums)
        try:
            of_targets = self._task.target_properties(y, truth)
            columns = {name: np.asarray(values) for name, values in of_targets.items()}
            _check_lengths(columns, len(sums))
            self._of_targets.append(columns)
            xs = [
                select_sample(x, i)
                for batch in batches
                for x in [map_structure(to_numpy, batch.x)]
                for i in range(batch.size)
            ]
            self._add_images(xs, keep)
            for i in np.flatnonzero(np.isin(sums, self._alike)).tolist():
                content = exact_key(xs[i])
                target = exact_key(self._task.target_content(select(truth, i)))
                self._contents[first + i] = content, target
                if self._holds(content):
                    self._hold(content, keep(i))
        except Exception as error:
            self.error = error

    def __getstate__(self) -> dict[str, Any]:
        """Returns the collection, for another process to merge."""
        error = self.error  # Not every exception can be sent.
        if error is not None:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return vars(self) | {"error": error, "_image_of": None}

    def merge(self, other: PassProperties) -> None:
        """Adds the properties and problems of the samples that follow."""
        self.error = self.error or other.error
        self._count += other._count
        self._of_images += other._of_images
        self._of_targets += other._of_targets
        self._blank += other._blank
        self._contents |= other._contents
        for key, sample in zip(other._held_for, other.held, strict=True):
            self._hold(key, sample)

    def columns(self) -> Columns:
        """Returns the properties that differ among samples."""
        of_targets = dict(self._task.choose_properties(_joined(self._of_targets)))
        of_images = {
            name: np.round(values, _DIGITS)  # The table of scores has each of them.
            for name, values in _joined(self._of_images).items()
        }
        return varying({**of_images, **of_targets})

    def problems(self, places: NDArray[np.int64]) -> list[DataProblem]:
        """Returns the problems of the data.

        Args:
            places: The place of each sample of the pass that `index` has.
        """
        inputs = np.arange(self._count, dtype=np.uint64)
        samples = inputs.copy()
        numbers: dict[Any, int] = {}
        for place, (content, target) in self._contents.items():
            for array, key in ((inputs, content), (samples, (content, target))):
                array[places[place]] = self._count + numbers.setdefault(
                    key, len(numbers)
                )
        blank = np.zeros(self._count, bool)
        blank[places] = np.concatenate([np.zeros(0, bool), *self._blank])
        return data_problems(inputs, samples, blank)

    def _add_images(self, xs: Sequence[Any], keep: Callable[[int], KeptSample]) -> None:
        images = [self._image_of(x) for x in xs]
        found = map_in_threads(_measure, images)
        names = dict.fromkeys(name for one in found for name in one)
        columns = {
            name: np.array([one.get(name, np.nan) for one in found]) for name in names
        }
        blank = columns.pop("is_blank", np.zeros(len(xs))) == 1
        for i in np.flatnonzero(blank).tolist():
            blank[i] = _is_of_one_color(xs[i])
        self._of_images.append(columns or {"": np.full(len(xs), np.nan)})
        self._blank.append(blank)
        for i in np.flatnonzero(blank).tolist():
            if self._holds("blank"):
                self._hold("blank", keep(i))

    def _holds(self, key: Any) -> bool:
        """Whether one more sample with this problem is held."""
        return self._num_held[key] < MOST_SHOWN_OF_ONE and len(self.held) < MOST_HELD

    def _hold(self, key: Any, sample: KeptSample) -> None:
        if self._holds(key):
            self._num_held[key] += 1
            self._held_for.append(key)
            self.held.append(sample)


class SampleProperties:
    """Knows the properties of all samples, which are computed once a training.

    Args:
        task: Has the properties of targets.
        image_of: Returns the image of a sample.
        slice_by: The properties that the user gives.
        is_on: Whether properties are needed: nothing is computed where nothing is
            logged.

    Attributes:
        error: Why the properties could not be computed; `None` if they could be.
        left_out: Why properties of the user are left out; `None` if they are not.
    """

    def __init__(
        self,
        task: EvalTask,
        image_of: ImageOf,
        slice_by: GivenProperties,
        is_on: Callable[[], bool],
    ) -> None:
        self._task = task
        self._image_of = image_of
        self._given = SliceBy(slice_by)
        self._is_on = is_on
        self._scan: DataScan | None = None
        self._of_user: Columns = {}
        self.begin_training()

    def begin_training(self) -> None:
        """Forgets the properties of an earlier training."""
        self.error: Exception | None = None
        self._problems = FoundProblems()
        self._has_looked = self._is_random = False
        self.left_out: str | None = None
        self._known: tuple[Fingerprint, Columns] | None = None

    def watch(self) -> Watch | None:
        """Returns a function that reads each batch of the scan; `None` for none."""
        return self._given.watch() if self._is_on() else None

    def set_scan(self, scan: DataScan) -> None:
        """Sets the scan before training, and checks the properties of the user.

        Raises:
            ValueError: If there are too few or too many values.
        """
        self._of_user = self._given.columns(scan.fingerprint.count)
        self._scan = scan

    def begin_pass(self) -> PassProperties | None:
        """Returns a new collection; `None` if the properties are known."""
        return self.begin_part(0) if self.are_needed() else None

    def are_needed(self) -> bool:
        """Whether the next pass has to collect the properties."""
        is_known = self._known is not None and not self._is_random
        return self._is_on() and not is_known and self.error is None

    def begin_part(self, first: int) -> PassProperties:
        """Returns a new collection of samples.

        Args:
            first: The place of the first sample in the pass.
        """
        assert self._scan is not None
        fingerprint = self._scan.fingerprint
        _, which, counts = np.unique(
            fingerprint.inputs, return_inverse=True, return_counts=True
        )
        alike = fingerprint.samples[counts[which.reshape(-1)] > 1]
        return PassProperties(self._task, self._image_of, alike, first)

    def of_pass(
        self,
        found: PassProperties | None,
        seen: Fingerprint,
        places: NDArray[np.int64],
    ) -> Columns:
        """Returns the properties of the samples of a pass, in its order.

        Args:
            found: The collection of the pass; `None` if it had none.
            seen: The identity of its samples.
            places: The place of each sample that the problems of the data have.
        """
        if not self._is_on():
            return {}
        if found is not None and self.error is None:
            self._know(found, seen, places)
        columns: Columns = {}
        if self._known is not None:
            fingerprint, columns = self._known
            known = seen.places_in(fingerprint)
            columns = _aligned(columns, known)
            if (known < 0).any():
                self._is_random = True  # From now on, each pass is measured.
        return columns | self._user_columns(seen)

    def take_problems(self) -> FoundProblems:
        """Returns the problems that the last pass has found, once."""
        problems, self._problems = self._problems, FoundProblems()
        return problems

    def places_of(self, ids: Sequence[int], seen: Fingerprint) -> list[int]:
        """Returns the places of samples in a pass; -1 if they are not there.

        Args:
            ids: The ids of the samples: their places in the scan.
            seen: The identity of the samples of the pass.
        """
        assert self._scan is not None
        places = self._scan.fingerprint.places_in(seen)
        return [int(places[one]) if one < len(places) else -1 for one in ids]

    def _know(
        self, found: PassProperties, seen: Fingerprint, places: NDArray[np.int64]
    ) -> None:
        self.error = found.error
        if self.error is None:
            try:
                self._known = seen, found.columns()
                if not self._has_looked:
                    self._has_looked = True
                    held = EvaluatedSamples.of(found.held)
                    self._problems = FoundProblems(
                        found.problems(places), held, places[held.index].tolist()
                    )
            except Exception as error:
                self.error = error

    def _user_columns(self, seen: Fingerprint) -> Columns:
        if not self._of_user:
            if self._given.is_unread:
                self.left_out = (
                    "The properties of `slice_by` are left out: its function was not "
                    "called, because nothing was logged when the data was read. Make a "
                    "new callback for this run."
                )
            return {}
        assert self._scan is not None
        scanned = self._scan.fingerprint
        if self._given.is_ordered and seen.compare(scanned) != "same":
            self.left_out = (
                "`slice_by` has values in the order of the data, but the data comes in "
                "another order in each pass, so they are left out. Pass a function of "
                "a batch."
            )
            return {}
        aligned = _aligned(self._of_user, seen.places_in(scanned))
        if not aligned:
            self.left_out = (
                "The properties of `slice_by` are left out: the data has other samples "
                "in each pass, like augmented data."
            )
        return aligned


def _check_lengths(columns: Columns, size: int) -> None:
    for name, values in columns.items():
        if values.shape[:1] != (size,):
            raise ValueError(
                f"`target_properties` must return a value for each sample. Received: "
                f"{name!r} of shape {values.shape} for {size} samples"
            )


def _measure(image: NDArray[np.uint8] | None) -> Mapping[str, float]:
    if image is None:
        return {}
    found = image_properties(image)
    is_blank = found["contrast"] == 0 and bool((image == image[:1, :1]).all())
    return {**found, "is_blank": float(is_blank)}


def _is_of_one_color(x: Any) -> bool:
    """Whether all pixels of the image in a sample, its largest array, are equal.

    The shown image may be blank by rounding, or have only some channels or frames.
    """
    arrays = [leaf for leaf in keras.tree.flatten(x) if np.ndim(leaf) > 1]
    if not arrays:
        return True
    largest: NDArray[Any] = max(arrays, key=np.size)
    is_first = keras.config.image_data_format() == "channels_first"
    pixels = np.moveaxis(largest, -3, -1) if is_first and largest.ndim > 2 else largest
    pixels = pixels.reshape(-1, pixels.shape[-1] if pixels.ndim > 2 else 1)
    return bool((pixels == pixels[0]).all())


def _joined(parts: Sequence[Columns]) -> Columns:
    """Joins columns of batches; a missing one is NaN."""
    sizes = [len(next(iter(part.values()), ())) for part in parts]
    names = dict.fromkeys(name for part in parts for name in part if name)
    return {
        name: np.concatenate(
            [
                part[name] if name in part else np.full(size, np.nan)
                for part, size in zip(parts, sizes, strict=True)
            ]
        )
        for name in names
    }


def _aligned(columns: Columns, places: NDArray[np.int64]) -> Columns:
    """Returns values by the places of samples; nothing if any is not there."""
    if (places < 0).any():
        return {}
    return {name: values[places] for name, values in columns.items()}
