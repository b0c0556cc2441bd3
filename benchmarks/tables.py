"""The results as tables in Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

# The targets: W&B's seconds divided by ours.
_RATIOS = {
    "classification": {"begin": 4, "begin, jpg": 10, "epoch": 2},
    "detection": {"begin": 4, "begin, jpg": 10, "epoch": 5},
    "segmentation": {"begin": 4, "begin, jpg": 10, "epoch": 5},
    "regression": {"begin": 4, "begin, jpg": 10, "epoch": 2},
    "image_to_image": {"begin": 4, "begin, jpg": 10, "epoch": 2},
}
_MAX_GROWTH, _MAX_AT_LAST = 0.5, 5  # MB: of an epoch, and of the last fifty.
_MAX_SHARES = 0.15, 0.1
_MAX_SHIPPED = 0.4
# The largest ratio of times per image that is called linear.
_TOLERANCE = 1.15

_AT_SCALE: dict[str, dict[str, float]] = {
    "COCO": {"in all, s": 1.5, "at the end, s": 0.3, "memory, MB": 600},
    "ImageNet": {"in all, s": 0.7},
    "Cityscapes, full-size outputs": {"an image, s": 0.07},
    "Cityscapes, quarter-size outputs": {"an image, s": 0.08},
}
_MAX_DRAWING = 1.1
_MAX_PASS = 1.05
_BUSY = 0.5
"""The load of a machine above which figures are not reliable."""

_COLUMNS = {
    "begin, s": ("begin", 1, 2),
    "1st epoch, s": ("first_epoch", 1, 2),
    "epoch, s": ("epoch", 1, 3),
    "with predicting, s": ("whole_epoch", 1, 3),
    "end, s": ("end", 1, 2),
    "CPU, s": ("cpu", 1, 1),
    "files sent": ("uploaded_files", 1, 0),
    "MB sent": ("uploaded_bytes", 1e6, 2),
    "of that in artifacts": ("artifact_bytes", 1e6, 2),
    "files an epoch": ("epoch_files", 1, 0),
    "kB an epoch": ("epoch_bytes", 1e3, 0),
    "files fetched": ("downloaded_files", 1, 0),
    "kB fetched": ("downloaded_bytes", 1e3, 0),
    "peak MB": ("peak_memory", 1, 0),
    "wandb-core MB": ("core_memory", 1, 0),
}


def medians(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def ratios(runs: dict[str, Any]) -> list[list[str]]:
    """The targets, the results, and whether the results reach the targets."""
    rows = []
    for task, sides in runs.items():
        middle = {side: medians(repeats) for side, repeats in sides.items()}
        stock, ours, jpg = middle["wandb"], middle["ours"], middle["ours jpg"]
        measured = {
            "begin": stock["begin"] / ours["begin"],
            "begin, jpg": stock["begin"] / jpg["begin"],
            "epoch": stock["epoch"] / ours["epoch"],
        }
        for name, floor in _RATIOS[task].items():
            said = _said(measured[name] >= floor)
            rows.append([task, name, f"{measured[name]:.1f}x", f"{floor}x", said])
        for name, side in (("same rows", "drop-in"), ("our rows", "ours")):
            times = stock["artifact_bytes"] / middle[side]["artifact_bytes"]
            said = _said(times >= 1)
            rows.append([task, f"bytes sent, {name}", f"{times:.3f}x", "1x", said])
        fetched = ours["downloaded_files"]
        rows.append([task, "files fetched", f"{fetched:.0f}", "0", _said(not fetched)])
    return rows


def _compare(content: dict[str, Any]) -> str:
    runs = content["results"]
    middle = {
        (task, side): medians(repeats)
        for task, sides in runs.items()
        for side, repeats in sides.items()
    }
    repeats = min(len(sides["wandb"]) for sides in runs.values())
    late = max(figures["late_imports"] for figures in middle.values())
    return "\n\n".join(
        [
            _heading(content),
            f"{content['images']} images of {content['size']}x{content['size']}, "
            f"{content['epochs']} epochs, medians of {repeats}. W&B's class / ours:",
            _table(["task", "", "measured", "to reach", ""], ratios(runs)),
            "Each side:",
            _table(
                ["task", "side", "runs", *_COLUMNS],
                [
                    [task, side, len(runs[task][side]), *_cells(figures)]
                    for (task, side), figures in middle.items()
                ],
            ),
            *_shipped(middle),
            f"Late imports, in none of the figures: {late:.1f} s.",
        ]
    )


def _shipped(middle: dict[tuple[str, str], dict[str, float]]) -> list[str]:
    """The waiting times of training for `shipped`, for tasks with a target."""
    figures = middle.get(("detection", "shipped"))
    if figures is None:
        return []
    said = _said(figures["epoch"] <= _MAX_SHIPPED)
    return [
        f"Detection, epoch of `shipped`: {figures['epoch']:.2f} s, at most "
        f"{_MAX_SHIPPED} s to reach: {said}."
    ]


def _metrics(content: dict[str, Any]) -> str:
    rows = []
    for task, results in content["results"].items():
        ours, measuring, shipped = (
            results[side] for side in ("ours", "measuring", "shipped")
        )
        predicting = statistics.median(
            side["predicting"] for side in (ours, measuring, shipped)
        )
        spent = {
            "metrics and charts": _work(measuring) - _work(ours),
            "all that explains them": _work(shipped)
            - _work(measuring)
            + shipped["scoring"],
        }
        for (what, seconds), most in zip(spent.items(), _MAX_SHARES, strict=True):
            cells = [task, results["images"], f"{predicting:.2f}", what]
            reached = _at_most(seconds / predicting, most, ".1%")
            rows.append([*cells, f"{seconds:.3f}", *reached])
    head = ["task", "images", "predicting, s", "what", "s", "share", "to reach", ""]
    return f"{_heading(content)}\n\n{_table(head, rows)}"


def _work(figures: dict[str, float]) -> float:
    """The CPU time of an epoch during and after predicting."""
    return figures["beside"] + figures["after"]


def _sweep(content: dict[str, Any]) -> str:
    points = content["results"]
    rows = [
        [
            point["task"],
            side,
            point["images"],
            f"{point['size']}x{point['size']}",
            *(
                text
                for name in ("begin", "epoch")
                for text in (
                    f"{figures[name]:.2f}",
                    f"{1000 * figures[name] / point['images']:.2f}",
                )
            ),
        ]
        for point in points
        for side, figures in point["sides"].items()
    ]
    head = ["task", "side", "images", "size"]
    times = ["begin, s", "ms an image", "epoch, s", "ms an image"]
    ours = {
        (point["task"], point["images"]): point["sides"]["ours"]
        for point in points
        if point["size"] == 224
    }
    linear = []
    for task, many in ours:
        if many == 2000 and (task, 500) in ours:
            for name in ("begin", "epoch"):
                ratio = ours[task, many][name] / ours[task, 500][name] / (many / 500)
                linear.append([task, name, *_at_most(ratio, _TOLERANCE)])
    return "\n\n".join(
        [
            _heading(content),
            _table([*head, *times], rows),
            "Our time for an image among 2,000 / among 500; 1 is linear:",
            _table(["task", "", "measured", "to reach", ""], linear),
        ]
    )


def _memory(content: dict[str, Any]) -> str:
    rows = [
        [
            task,
            side,
            f"{figures['peak_memory']:.0f}",
            f"{figures['core_memory']:.0f}",
            *_at_most(figures["memory_growth"], _MAX_GROWTH, ".2f"),
            *_at_most(figures["memory_at_last"], _MAX_AT_LAST, ".1f"),
            f"{figures['in_use_at_last']:.1f}",
        ]
        for task, sides in content["results"].items()
        for side, figures in sides.items()
    ]
    head = ["task", "side", "peak MB", "wandb-core, peak MB", "MB an epoch"]
    goal = ["to reach", ""]
    [epochs] = {
        figures["epochs"]
        for sides in content["results"].values()
        for figures in sides.values()
    }
    return "\n\n".join(
        [
            _heading(content),
            f"{content['images']} images of 64x64, {epochs} epochs:",
            _table(
                [*head, *goal, "MB, last 50 epochs", *goal, "of it in use, MB"], rows
            ),
        ]
    )


def in_all(figures: dict[str, float]) -> float:
    """The seconds of the batches and of the work after them."""
    return figures["batches"] + figures["end"]


def _scale(content: dict[str, Any]) -> str:
    reached, full, growth = [], [], []
    for row, sides in content["results"]["rows"].items():
        ours = sides["ours"][-1]
        measured = {
            "in all, s": in_all(ours),
            "at the end, s": ours["end"],
            "memory, MB": ours["memory"],
            "an image, s": in_all(ours) / ours["count"],
        }
        for name, most in _AT_SCALE[row].items():
            reached.append([row, name, *_at_most(measured[name], most)])
        for side, points in sides.items():
            last = points[-1]
            seconds = [last["batches"], last["end"], in_all(last)]
            times = f"{in_all(last) / in_all(ours):.2f}x"
            cells = [f"{value:.3f}" for value in seconds]
            full.append([row, side, *cells, times, f"{last['memory']:.0f}"])
        counts = [point["count"] for point in sides["ours"]]
        cells = [" / ".join(map(str, counts))]
        for values, digits in (
            ([in_all(point) for point in sides["ours"]], 2),
            ([point["memory"] for point in sides["ours"]], 0),
        ):
            cells.append(" / ".join(f"{value:.{digits}f}" for value in values))
            cells.append(_exponent(counts, values))
        growth.append([row, *cells])
    drawing = dict(content["results"]["drawing"])
    count = drawing.pop("count")
    drawn = [
        [
            kind,
            f"{figures['walk']:.2f}",
            f"{figures['draw']:.2f}",
            *_at_most(figures["draw"] / figures["walk"], _MAX_DRAWING),
        ]
        for kind, figures in drawing.items()
    ]
    times = ["batches, s", "at the end, s", "in all, s", "to ours", "memory, MB"]
    sizes = ["samples", "in all, s", "exponent", "memory, MB", "exponent"]
    walks = ["data", "walking, s", "drawing, s", "ratio", "to reach", ""]
    return "\n\n".join(
        [
            _heading(content),
            _table(["", "", "measured", "to reach", ""], reached),
            "Each side, at the full size:",
            _table(["", "side", *times], full),
            "How our time and memory grow with the number of samples:",
            _table(["", *sizes], growth),
            f"Drawing 100 of {count:,} images of 64x64, and walking them:",
            _table(walks, drawn),
        ]
    )


def _exponent(counts: Sequence[float], values: Sequence[float]) -> str:
    """The slope of a line through the logarithms; 1 is linear, 0 is constant."""
    if len(set(counts)) < 2 or min(values) <= 0:
        return ""
    logs = ([math.log(value) for value in each] for each in (counts, values))
    return f"{statistics.linear_regression(*logs).slope:.2f}"


def _fit(content: dict[str, Any]) -> str:
    rows = []
    for name, row in content["results"].items():
        share = (row["with"] + row["hook"] - row["without"]) / row["without"]
        passes = (row["alone"] - row["hook"]) / row["predict"]
        rows.append(
            [
                name,
                f"{row['images']:.0f}",
                *(f"{row[key]:.3f}" for key in ("without", "with", "hook")),
                *_at_most(share, row["most"], ".1%"),
                *(f"{row[key]:.3f}" for key in ("predict", "alone")),
                *_at_most(passes, _MAX_PASS),
                f"{row['first']:.1f}",
            ]
        )
    head = ["", "images", "validation without, s", "with, s", "our hook, s", "added"]
    head += ["to reach", "", "predict, s", "our hook with a pass, s", "pass / predict"]
    head += ["to reach", "", "1st epoch adds, s"]
    return f"{_heading(content)}\n\n{_table(head, rows)}"


def _slices(content: dict[str, Any]) -> str:
    few, many = content["results"]["search"]
    images = content["results"]["properties"]
    linear = many["seconds"] / few["seconds"] / (many["samples"] / few["samples"])
    share = images["properties"] / images["predict"]
    rows = [
        [f"search, {few['samples']} samples, s", few["seconds"], 1.5],
        [f"time for a sample among {many['samples']}, to that", linear, 1.25],
        [f"memory with {many['samples']} samples, MB", many["memory"], 200],
        ["properties of an image, of its predicting", share, 0.05],
    ]
    cells = [[name, *_at_most(value, most)] for name, value, most in rows]
    return f"{_heading(content)}\n\n{_table(['', 'measured', 'to reach', ''], cells)}"


TABLES = {
    "compare": _compare,
    "metrics": _metrics,
    "sweep": _sweep,
    "memory": _memory,
    "scale": _scale,
    "fit": _fit,
    "slices": _slices,
}


def _cells(figures: dict[str, float]) -> list[str]:
    return [
        f"{figures[key] / unit:.{digits}f}" for key, unit, digits in _COLUMNS.values()
    ]


def _said(reached: bool) -> str:
    return "reached" if reached else "**not reached**"


def _at_most(value: float, most: float, form: str = ".3g") -> list[str]:
    """The result, the target, and whether the result reaches the target."""
    floor = f"{most:.0%}" if form.endswith("%") else f"{most}"
    return [f"{value:{form}}", f"at most {floor}", _said(value <= most)]


def _heading(content: dict[str, Any]) -> str:
    about = dict(content["machine"])
    on = f"{about.pop('cores')} cores ({about.pop('processor')})"
    versions = ", ".join(f"{name} {version}" for name, version in about.items())
    said = f"Measured in {content['seconds']} s on {on}, with {versions}."
    if content.get("load", 0) > _BUSY:
        said += f" **The machine was busy** (a load of {content['load']:.1f} before)."
    return said


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
