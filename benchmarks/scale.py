"""One measurement at the scale of COCO, ImageNet or Cityscapes, in this process."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import scale_sides as sides
import tensorflow as tf
import wandb
from scale_data import (
    CityscapesScale,
    CocoScale,
    ImageNetScale,
    QuarterCityscapesScale,
)

from wandb_eval.classification import WandbClassificationEvalCallback

_SILENT = wandb.Settings(silent=True)

ROWS: dict[str, tuple[type[Any], dict[str, type[sides.Side]]]] = {
    "COCO": (CocoScale, {"ours": sides.Ours, "pycocotools": sides.Pycocotools}),
    "ImageNet": (
        ImageNetScale,
        {"ours": sides.Ours, "scikit-learn": sides.ScikitLearn},
    ),
    "Cityscapes, full-size outputs": (
        CityscapesScale,
        {"ours": sides.Ours, "NumPy": sides.NumpyMasks},
    ),
    "Cityscapes, quarter-size outputs": (
        QuarterCityscapesScale,
        {"ours": sides.Ours, "OpenCV and NumPy": sides.NumpyMasks},
    ),
}


def sides_of(task: str) -> dict[str, list[str]]:
    """The sides of each row of a task."""
    return {row: list(s) for row, (scale, s) in ROWS.items() if scale.task == task}


def measure_scale(row: str, side: str, share: float) -> dict[str, Any]:
    """Measures a side on a part of the data of a row. Call it in a fresh process.

    Args:
        row: One of `ROWS`.
        side: One of its sides.
        share: The share of the full size.

    Returns:
        `count`, the number of samples; `batches` and `end`, the seconds of the batches,
        and of the work after the last one; `memory`, the peak in MB, above that of the
        model and one batch of data.
    """
    make, makers = ROWS[row]
    scale = make()
    count = max(1, round(scale.count * share))
    with wandb.init(mode="disabled", settings=_SILENT):
        # The first batch, which imports, traces and allocates, is not measured.
        first = makers[side](scale)
        first.update(*first.prepare(*next(scale.batches(1))))
        measured = makers[side](scale)
        before = _restart_peak()
        spent = 0.0
        for batch in scale.batches(count):
            prepared = measured.prepare(*batch)
            start = time.perf_counter()
            measured.update(*prepared)
            spent += time.perf_counter() - start
        start = time.perf_counter()
        measured.compute()
        end = time.perf_counter() - start
    return {
        "count": count,
        "batches": spent,
        "end": end,
        "memory": _megabytes("VmHWM") - before,
    }


def measure_drawing(kind: str, count: int, repeats: int = 3) -> dict[str, float]:
    """Measures the time of drawing samples, and of iterating, for images of 64x64.

    Args:
        kind: `"tf.data"` or `"arrays"`, which are iterated by reading each batch once.
        count: The number of images.
        repeats: The number of repetitions of each, in turn.

    Returns:
        `walk` and `draw`, the medians of the seconds.
    """
    rng = np.random.default_rng(6)
    x = rng.integers(0, 256, (count, 64, 64, 3), np.uint8)
    y = rng.integers(0, 10, count)
    batch_size = 32
    data: Any = (x, y)
    if kind == "tf.data":
        data = tf.data.Dataset.from_tensor_slices(data).batch(batch_size)

    def walk() -> None:
        if kind == "tf.data":
            for _ in data:
                pass
        else:
            for start in range(0, count, batch_size):
                np.array(x[start : start + batch_size])

    def draw() -> None:
        callback = WandbClassificationEvalCallback(data, batch_size=batch_size)
        assert len(callback.samples) == min(count, 100)

    seconds: dict[str, list[float]] = {"walk": [], "draw": []}
    with wandb.init(mode="disabled", settings=_SILENT):
        walk()
        for _ in range(repeats):
            for name, function in (("walk", walk), ("draw", draw)):
                start = time.perf_counter()
                function()
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _restart_peak() -> float:
    """Resets the peak of memory, and returns the current memory, in MB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # Freed memory would hide new allocations.
    Path("/proc/self/clear_refs").write_text("5")
    return _megabytes("VmRSS")


def _megabytes(name: str) -> float:
    """A size in `/proc/self/status`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) / 1024
