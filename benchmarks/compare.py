"""Compares the time that training waits for our callbacks and for W&B's own class.

    uv run benchmarks/compare.py                        # ratios and metrics
    uv run benchmarks/compare.py --parts sweep memory   # more images, more epochs
    uv run benchmarks/compare.py --parts scale          # COCO, ImageNet, Cityscapes
    uv run benchmarks/compare.py --parts fit            # additional time of an epoch
    uv run benchmarks/compare.py --parts slices         # the search for weak slices
    uv run benchmarks/compare.py --render               # writes README.md

README.md describes the measurements.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import itertools
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import tables

HERE = Path(__file__).parent
TASKS = ("classification", "detection", "segmentation", "regression", "image_to_image")
_PACKAGES = (
    "wandb",
    "keras",
    "tensorflow",
    "numpy",
    "opencv-python",
    "pillow",
    "wandb-eval-core",
    "wandb-eval-engine",
)


class Bench:
    """The means of measuring of all parts: fresh processes, and a backend.

    A process is forked from one that has only imported all modules, because importing
    takes longer than most measurements.

    Args:
        url: The address of the loopback backend.
        processes: The pool that runs each call in a fresh process.
        args: The command line.
    """

    def __init__(
        self, url: str, processes: ProcessPoolExecutor, args: argparse.Namespace
    ) -> None:
        self.url = url
        self.args = args
        self._processes = processes

    def call(self, module: str, function: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a function of a module of the benchmark in a separate process."""
        return self._processes.submit(
            call_here, module, function, *args, **kwargs
        ).result()

    def measure(self, task: str, side: str, **what: Any) -> dict[str, float]:
        """Calls `measure.measure`."""
        figures: dict[str, float] = self.call(
            "measure", "measure", self.url, task, side, **what
        )
        print(
            f"{task:14} {side:8} {what['images']:4} of {what['size']:3}: "
            f"begin {figures['begin']:6.2f} s, epoch {figures['epoch']:6.3f} s",
            flush=True,
        )
        return figures

    def fit(self, row: str, backend: str) -> dict[str, float]:
        """Calls `fit.measure_fit` in a new interpreter, with its backend of Keras."""
        command = [sys.executable, str(HERE / "fit.py"), self.url, row]
        if self.args.tiny:
            command.append("--tiny")
        done = subprocess.run(
            command,
            env={**os.environ, "KERAS_BACKEND": backend},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return figures


def call_here(module: str, function: str, *args: Any, **kwargs: Any) -> Any:
    """Calls a function in this process, the only one that imports TensorFlow."""
    return getattr(importlib.import_module(module), function)(*args, **kwargs)


def compare(bench: Bench) -> dict[str, Any]:
    """Measures all sides of all tasks, taking turns."""
    args = bench.args
    sides = ("wandb", "ours", "ours jpg", "drop-in", "shipped")
    runs: dict[str, Any] = {task: {side: [] for side in sides} for task in args.tasks}
    for repeat in range(args.repeats):
        for task, side in itertools.product(args.tasks, sides):
            # The target ratios are those of the first three sides.
            if repeat == 0 or args.full or side not in ("drop-in", "shipped"):
                figures = bench.measure(task, side, **_size(args))
                runs[task][side].append(figures)
    return runs


def metrics(bench: Bench) -> dict[str, Any]:
    """Measures the shipped callbacks on models with realistic costs."""
    args = bench.args
    what = {**_size(args), "images": max(1, args.images * 2 // 5), "realistic": True}
    what["epochs"] *= 3
    return {
        task: {
            "images": what["images"],
            **{
                side: bench.measure(task, side, **what)
                for side in ("ours", "measuring", "shipped")
            },
        }
        for task in args.tasks
    }


def sweep(bench: Bench) -> list[dict[str, Any]]:
    """Measures different numbers and sizes of images."""
    args = bench.args
    points = [(100, 224), (500, 224), (2000, 224), (500, 64), (500, 128), (500, 512)]
    return [
        {
            "task": task,
            "images": images,
            "size": size,
            "sides": {
                side: bench.measure(
                    task, side, images=images, size=size, epochs=args.epochs
                )
                for side in (("wandb", "ours") if args.full else ("ours",))
            },
        }
        for task in (args.tasks if args.full else args.tasks[:1])
        for images, size in points
        if task != "segmentation" or images * size**2 <= 500 * 224**2
    ]


def memory(bench: Bench) -> dict[str, Any]:
    """Measures memory over many epochs."""
    args = bench.args
    epochs = 300
    return {
        task: {
            side: bench.measure(task, side, images=args.images, size=64, epochs=epochs)
            for side in (("wandb", "shipped") if args.full else ("shipped",))
        }
        for task in args.tasks
    }


def scale(bench: Bench) -> dict[str, Any]:
    """Measures the sizes of COCO, ImageNet and Cityscapes, and drawing of samples."""
    args = bench.args
    rows: dict[str, Any] = {
        row: {side: [] for side in sides}
        for task in args.tasks
        for row, sides in bench.call("scale", "sides_of", task).items()
    }
    for row, share in itertools.product(rows, sorted(args.shares)):
        runs: dict[str, list[Any]] = {side: [] for side in rows[row]}
        for _, side in itertools.product(range(min(args.repeats, _MOST_REPEATS)), runs):
            if runs[side] and tables.in_all(runs[side][0]) > _LONG:
                continue
            figures = bench.call("scale", "measure_scale", row, side, share)
            runs[side].append(figures)
            print(
                f"{row:32} {side:16} {figures['count']:5}: "
                f"{tables.in_all(figures):7.3f} s, {figures['memory']:5.0f} MB",
                flush=True,
            )
        for side, figures in runs.items():
            rows[row][side].append(tables.medians(figures))
    count = round(50_000 * max(args.shares))
    drawing = {
        kind: bench.call("scale", "measure_drawing", kind, count)
        for kind in ("tf.data", "arrays")
    }
    return {"rows": rows, "drawing": {"count": count, **drawing}}


_MOST_REPEATS = 3
_LONG = 3
"""Seconds; measurements that take longer are done only once."""


def fit(bench: Bench) -> dict[str, Any]:
    """Measures whole trainings with and without the callback, each row in a process."""
    results = {}
    for row, backend in bench.call("fit", "backends").items():
        if row.partition(",")[0] in bench.args.tasks:
            figures = bench.fit(row, backend)
            results[row] = figures
            print(
                f"{row:36} validation {figures['without']:6.3f} s, with ours "
                f"{figures['with']:6.3f} s and {figures['hook']:6.3f} s after it",
                flush=True,
            )
    return results


def slices(bench: Bench) -> dict[str, Any]:
    """Measures the search for weak slices, and the properties of images."""
    most = round(100_000 * max(bench.args.shares))
    counts = (most // 10, most)
    return {
        "search": [bench.call("slices", "measure_search", count) for count in counts],
        "properties": bench.call(
            "slices", "measure_properties", bench.args.images, bench.args.size
        ),
    }


def _size(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in ("images", "size", "epochs")}


DEFAULT_PARTS = ("compare", "metrics")
MEASURE = {
    "compare": compare,
    "metrics": metrics,
    "sweep": sweep,
    "memory": memory,
    "scale": scale,
    "fit": fit,
    "slices": slices,
}


def machine() -> dict[str, str]:
    """The machine and the versions of packages."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    return {
        "cores": str(os.cpu_count()),
        "processor": processor,
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def run(args: argparse.Namespace) -> None:
    """Measures the parts, and saves and prints each of them."""
    load = os.getloadavg()[0]
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["PYTHONPATH"] = str(HERE)
    from loopback import spawn

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["measure", "scale"])
    args.out.mkdir(parents=True, exist_ok=True)
    with (
        _temporary_folder(),
        spawn() as server,
        ProcessPoolExecutor(1, context, max_tasks_per_child=1) as processes,
    ):
        bench = Bench(server.url, processes, args)
        for part in args.parts:
            start = time.perf_counter()
            results = MEASURE[part](bench)
            content = {
                "machine": machine(),
                "load": load,
                "seconds": round(time.perf_counter() - start),
                **_size(args),
                "results": results,
            }
            (args.out / f"{part}.json").write_text(json.dumps(content, indent=1))
            print(f"\n{tables.TABLES[part](content)}\n", flush=True)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[None]:
    """Keeps all files in one folder until everything is measured.

    On ext4, making a file takes ten times as long if others were deleted in the last
    five minutes: the files of one side would slow down the next side.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder
        yield


def render(out: Path) -> None:
    """Writes the results into README.md, between the marks of each part."""
    readme = HERE / "README.md"
    text = readme.read_text()
    for part in MEASURE:
        file = out / f"{part}.json"
        if file.exists():
            before, _, rest = text.partition(f"<!-- {part} -->\n")
            _, _, after = rest.partition(f"<!-- end of {part} -->\n")
            table = tables.TABLES[part](json.loads(file.read_text()))
            text = (
                f"{before}<!-- {part} -->\n\n{table}\n\n<!-- end of {part} -->\n{after}"
            )
    readme.write_text(text)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=MEASURE, default=DEFAULT_PARTS)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument(
        "--shares", nargs="+", type=float, default=[1 / 8, 1 / 4, 1 / 2, 1]
    )
    parser.add_argument("--tiny", action="store_true", help="try `fit`, in a minute")
    parser.add_argument("--full", action="store_true", help="all sides in all parts")
    parser.add_argument("--out", type=Path, default=HERE / "out")
    parser.add_argument("--render", action="store_true", help="write README.md")
    args = parser.parse_args()
    if args.render:
        render(args.out)
    else:
        run(args)


if __name__ == "__main__":
    main()
