"""One measurement: a training with one callback, in this process."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from cases import Case
from sides import make

from loopback import Loopback
from loopback.environment import wandb_environment
from wandb_eval.engine.evaluation.collector import Collector
from wandb_eval.engine.evaluation.evaluator import Evaluator

# The modules that wandb imports at their first use, in this order. They take some
# seconds of the first hook of W&B's class, once in a process.
_LATE_MODULES = (
    "wandb.apis.public",
    "wandb.sdk.artifacts._internal_artifact",
    "wandb.sdk.artifacts._models.pagination",
    "wandb.sdk.artifacts._generated.artifact_by_id",
    "wandb.sdk.artifacts._generated.artifact_type",
    "wandb.sdk.artifacts._generated.fetch_artifact_manifest",
    "wandb.sdk.artifacts._generated.get_artifact_membership_file_urls",
    "wandb.sdk.artifacts._generated.operations",
)


def _import_late_modules() -> float:
    """Imports them, and returns the seconds."""
    start = time.perf_counter()
    for name in _LATE_MODULES:
        importlib.import_module(name)
    return time.perf_counter() - start


LATE_IMPORTS = _import_late_modules()


def measure(
    url: str,
    task: str,
    side: str,
    *,
    images: int,
    size: int,
    epochs: int,
    realistic: bool = False,
) -> dict[str, float]:
    """Trains with the callback of one side, and measures times, data and memory.

    Call it in a fresh process, because it changes the environment.

    Args:
        url: The address of the loopback backend, whose data it deletes.
        task: One of `cases.TASKS`.
        side: One of `sides.SIDES`.
        images: The number of images.
        size: The height and width of the images.
        epochs: The number of epochs.
        realistic: Whether predicting takes realistic time.

    Returns:
        The figures, by name.
    """
    case = Case(task, images, size, realistic)
    server = Loopback(url)
    server.reset()
    long = epochs >= 10
    gc.freeze()  # Garbage collection skips the objects that exist already.
    home = tempfile.mkdtemp()  # `compare.run` deletes it, when all is measured.
    os.environ.update(wandb_environment(url, Path(home)))
    start = _cpu_seconds()
    with wandb.init() as run:
        watch = Watch(make(side, case), case.model, collect=long)
        case.fit(watch.callback, epochs)
        core_memory = _core_memory()
    wandb.teardown()  # Waits for wandb-core, whose CPU time counts from then on.
    cpu = _cpu_seconds() - start
    return {
        **watch.figures(),
        "epochs": epochs,
        "late_imports": LATE_IMPORTS,
        "cpu": cpu,
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "memory_growth": _slope(watch.resident) if long else 0.0,
        "memory_at_last": _last_growth(watch.resident) if epochs >= 65 else 0.0,
        "in_use_at_last": _last_growth(watch.in_use) if epochs >= 65 else 0.0,
        "core_memory": core_memory,
        **_transfers(server, run.id),
    }


class Watch:
    """Measures the times of a callback's hooks and of the calls in them.

    A process can have only one, because it changes methods of classes.

    Args:
        callback: The callback.
        model: The model that the callback predicts with.
        collect: Whether to collect garbage after each epoch, instead of waiting for
            wandb-core's uploads.

    Attributes:
        callback: The callback.
        resident: The memory of this process after each epoch, in MB.
        in_use: What glibc has given out of it, in MB.
    """

    def __init__(self, callback: Any, model: Any, collect: bool = False) -> None:
        self.callback = callback
        self.collect = collect
        self.resident: list[float] = []
        self.in_use: list[float] = []
        self._spent: dict[str, list[float]] = {}
        self._whole_epochs: list[float] = []
        self._predicted = 0.0
        self._time(type(model), "predict_on_batch", self._add_predicting)
        for name in ("on_train_begin", "on_epoch_end", "on_train_end"):
            if hasattr(callback, name):
                self._time(callback, name, self._spent.setdefault(name, []).append)
        self._epochs: list[dict[str, float]] = []
        self._epoch: dict[str, float] = {}
        for owner, name, clock in (
            (type(callback), "_evaluate", time.process_time),
            (Evaluator, "_walk_through", time.process_time),
            (Collector, "finish", time.process_time),
            (Collector, "_take", time.thread_time),
            (type(callback), "score_samples", time.thread_time),
        ):
            if hasattr(owner, name):
                self._add_up(owner, name, clock)

    def _time(self, owner: Any, name: str, add: Callable[[float], None]) -> None:
        """Passes the seconds of each call to `add`, without those of predicting."""
        method = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            predicted, start = self._predicted, time.perf_counter()
            result = method(*args, **kwargs)
            seconds = time.perf_counter() - start
            add(seconds - (self._predicted - predicted))
            if name == "on_epoch_end":
                self._whole_epochs.append(seconds)
                self._epochs.append(
                    {"predicting": self._predicted - predicted, **self._epoch}
                )
                self._epoch = {}
                if self.collect:
                    gc.collect()
                else:
                    _wait_for_core()
                self.resident.append(_resident())
                self.in_use.append(_in_use())
            return result

        setattr(owner, name, timed)

    def _add_predicting(self, seconds: float) -> None:
        self._predicted += seconds

    def _add_up(self, owner: Any, name: str, clock: Callable[[], float]) -> None:
        """Adds up the seconds of all calls of a method in an epoch."""
        method = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = clock()
            try:
                return method(*args, **kwargs)
            finally:
                self._epoch[name] = self._epoch.get(name, 0.0) + clock() - start

        setattr(owner, name, timed)

    def figures(self) -> dict[str, float]:
        """The seconds that training waited for the callback, without predicting.

        `epoch` is the median of all epochs except the first, and `whole_epoch` is the
        same with predicting. The others are medians of these epochs, too: `predicting`;
        `beside`, the CPU time of our thread while the model predicts, which includes
        `scoring`; and `after`, the CPU time of this process after predicting and
        scoring.
        """
        spent = self._spent
        epochs = spent["on_epoch_end"]

        def middle(name: str) -> float:
            figures = [epoch.get(name, 0.0) for epoch in self._epochs]
            return statistics.median(figures[1:] or figures)

        for epoch in self._epochs:
            during = epoch.get("_walk_through", 0.0) + epoch.get("finish", 0.0)
            epoch["after"] = epoch.get("_evaluate", 0.0) - during
        return {
            "begin": spent["on_train_begin"][0],
            "first_epoch": epochs[0],
            "epoch": statistics.median(epochs[1:] or epochs),
            "whole_epoch": statistics.median(
                self._whole_epochs[1:] or self._whole_epochs
            ),
            "end": sum(spent.get("on_train_end", [])),
            "predicting": middle("predicting"),
            "scoring": middle("score_samples"),
            "beside": middle("_take"),
            "after": middle("after"),
        }


def _transfers(server: Loopback, run_id: str) -> dict[str, float]:
    """The sent and fetched data; per epoch, the median of all epochs but the first."""
    uploads, downloads = server.uploads(kind=None), server.downloads(kind=None)
    data = [item for item in uploads if item.collection == "val"]
    versions = server.versions(f"run_{run_id}_pred")
    files = [len(version.files) for version in versions]
    sizes = [
        sum(version.manifest[path]["size"] for path in version.files)
        for version in versions
    ]
    return {
        "versions": sum(version.state == "COMMITTED" for version in versions),
        "uploaded_files": len(uploads),
        "uploaded_bytes": sum(item.size for item in uploads),
        # Without manifests, which contain the local path of each file.
        "artifact_bytes": server.upload_bytes(),
        "data_files": len(data),
        "data_bytes": sum(item.size for item in data if item.kind == "artifact"),
        "epoch_files": statistics.median(files[1:] or files),
        "epoch_bytes": statistics.median(sizes[1:] or sizes),
        "downloaded_files": len(downloads),
        "downloaded_bytes": sum(item.size for item in downloads),
    }


def _cpu_seconds() -> float:
    """The CPU time of this process, its threads, and its children that have ended."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _resident() -> float:
    """The memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


class _Mallinfo(ctypes.Structure):
    """The structure `mallinfo2` of glibc 2.33 and later."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def _in_use() -> float:
    """The memory that glibc has given out and not got back, in MB."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    info = mallinfo()
    return float(info.uordblks + info.hblkhd) / 2**20


def _slope(memory: list[float]) -> float:
    """The memory that an epoch adds, after the first third of the epochs."""
    later = memory[len(memory) // 3 :]
    return float(np.polyfit(np.arange(len(later)), later, 1)[0])


def _last_growth(memory: list[float]) -> float:
    """The memory that the last fifty epochs add, between minima of fifteen epochs.

    glibc now and then returns the free memory of a thread, and takes it again in the
    next epoch.
    """
    return min(memory[-15:]) - min(memory[-65:-50])


def _core() -> Path:
    """The folder of wandb-core in `/proc`."""
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            folder = Path(f"/proc/{pid}")
            if (folder / "comm").read_text() == "wandb-core\n":
                return folder
    raise RuntimeError("wandb-core is not among the children of this process")


def _core_memory() -> float:
    """The peak memory of wandb-core, in MB."""
    status = (_core() / "status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _wait_for_core() -> None:
    """Waits until wandb-core has uploaded what it has, and rests."""
    stat = _core() / "stat"
    spent, before = 0, -1
    while spent != before:
        time.sleep(0.1)
        # User and system time in ticks: two fields after the name, which has no space.
        spent, before = sum(map(int, stat.read_text().split()[13:15])), spent
