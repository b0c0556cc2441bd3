"""W&B's own query engine reads our tables as it reads plain ones, and loses nothing.

The engine is of 2024, from the package weave, in an environment of its own, which is
made once; see `wandb_page`.
"""

import functools
import io
import itertools
import json
from typing import Any

import numpy as np
import PIL.Image
import pytest
import wandb

import recorded_runs
import wandb_page
from loopback import Loopback, Version, serve
from loopback.environment import ENTITY, PROJECT, sync_run
from loopback.fixtures import wandb_at
from wandb_eval.core.offline_log import wait_for_exit

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow, pytest.mark.once]

MODES = ("offline", "online")
TASKS = ("classify", "detect", "segment")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The tables of runs of all tasks, offline and online, as the engine reads them.

    By the key `(mode, task, name of the table)`: its file, what the engine makes of it,
    and what it makes of a plain table with the same cells.
    """
    try:
        wandb_page.python()
    except wandb_page.NotInstalledError as error:
        pytest.skip(f"W&B's engine is not installed, nothing was tested: {error}")
    home = tmp_path_factory.mktemp("page")
    with serve() as server, wandb_at(server.url, home):
        places = {}
        for mode, task in itertools.product(MODES, TASKS):
            folder = getattr(recorded_runs, task)(mode=mode)
            if mode == "offline":
                sync_run(folder)
            run = folder.name.rpartition("-")[2]
            for version, name in newest_tables(server, run):
                places[mode, task, name] = (version, f"{name}.table.json")
        plain = log_plain(server, list(places.values()))
        asked = [address(*place) for place in [*places.values(), *plain]]
        answer = wandb_page.read(server.url, asked, home)
        assert server.stats()["errors"] == []
        files = [json.loads(server.resolve(*place)) for place in places.values()]
    rows = zip(files, answer[: len(places)], answer[len(places) :], strict=True)
    return dict(zip(places, rows, strict=True))


def newest_tables(server: Loopback, run: str) -> list[tuple[Version, str]]:
    """The tables in the last version of each artifact of a run."""
    last = {version.collection: version for version in server.logged_by(run)}
    last |= {version.collection: version for version in server.used_by(run)}
    return [
        (version, path.removesuffix(".table.json"))
        for version in last.values()
        for path in version.manifest
        if path.endswith(".table.json")
    ]


def address(version: Version, path: str) -> list[str]:
    """The address of a table for the engine."""
    return [ENTITY, PROJECT, version.collection, version.commit_hash, path]


def log_plain(
    server: Loopback, places: list[tuple[Version, str]]
) -> list[tuple[Version, str]]:
    """Logs the cells of tables again, by W&B's own means alone."""
    with wandb.init(name="plain") as run:
        artifact = wandb.Artifact("plain", type="plain")
        for number, (version, path) in enumerate(places):
            file = json.loads(server.resolve(version, path))
            kinds = file["column_types"]["params"]["type_map"].values()
            # `scores` has none: what is for code only needs no types of W&B's.
            mixed = all('"any"' in json.dumps(kind) for kind in kinds)
            table = wandb.Table(columns=file["columns"], allow_mixed_types=mixed)
            for row in file["data"]:
                cells = zip(file["columns"], row, strict=True)
                table.add_data(*(cell(server, version, file, *it) for it in cells))
            artifact.add(table, str(number))
        run.log_artifact(artifact).wait()
    wait_for_exit(run, timeout=60)
    version = server.version("plain")
    return [(version, f"{number}.table.json") for number in range(len(places))]


def cell(
    server: Loopback, version: Version, file: dict[str, Any], column: str, value: Any
) -> Any:
    """The value of a cell, with what its image refers to."""
    if not isinstance(value, dict):
        return value
    bytes_of = functools.partial(server.resolve, version)
    labels = class_labels(file, column)
    boxes = {
        name: {"box_data": found, "class_labels": labels["box"][name]}
        for name, found in (value.get("boxes") or {}).items()
    }
    masks = {
        name: {
            "mask_data": np.asarray(PIL.Image.open(io.BytesIO(bytes_of(mask["path"])))),
            "class_labels": labels["mask"][name],
        }
        for name, mask in (value.get("masks") or {}).items()
    }
    pixels = PIL.Image.open(io.BytesIO(bytes_of(value["path"])))
    classes = value.get("classes")
    if classes is not None:
        classes = json.loads(bytes_of(classes["path"]))["class_set"]
    return wandb.Image(
        pixels, classes=classes, boxes=boxes or None, masks=masks or None
    )


def class_labels(file: dict[str, Any], column: str) -> dict[str, Any]:
    """The names of the classes in the layers of boxes and masks of a column."""
    kind = file["column_types"]["params"]["type_map"][column]
    for option in kind.get("params", {}).get("allowed_types", [kind]):
        if option["wb_type"] == "image-file":
            found = {
                of: option["params"].get(f"{of}_class_maps", {})
                for of in ("box", "mask")
            }
            return {
                of: {
                    layer: {int(index): name for index, name in names.items()}
                    for layer, names in maps.get("params", {}).get("val", {}).items()
                }
                for of, maps in found.items()
            }
    raise AssertionError(f"no image in the column {column}")


# One test, so that parallel workers do not each make the runs.
def test_the_engine_reads_each_table_as_a_plain_one(tables):
    wrong = []
    for key, (file, ours, plain) in tables.items():
        if ours["rows"] != len(file["data"]) or list(ours["types"]) != file["columns"]:
            wrong.append((key, "rows or columns are lost"))
            continue
        for place, column in enumerate(file["columns"]):
            cells = [row[place] for row in file["data"]]
            wrong += [(key, column, *fault) for fault in faults(cells, ours, column)]
            kind, expected = some(ours["types"][column]), some(plain["types"][column])
            if kind != expected:
                wrong.append((key, column, kind, expected))
    assert wrong == []
    for mode, task in itertools.product(MODES, TASKS):
        names = {name for *run, name in tables if run == [mode, task]}
        assert names >= {"val_data", "eval_data", "hardest", "scores"}
        layers = {
            layer
            for name in ("eval_data", "hardest")
            for seen in tables[mode, task, name][1]["images"]["image"]
            for layer in [*seen["boxes"], *seen["masks"]]
        }
        has_layers = task != "classify"
        assert layers >= ({"ground_truth", "predictions"} if has_layers else set())


def faults(cells, ours, column):
    """The parts of a column's images that the engine loses, and files not opened."""
    if not any(isinstance(cell, dict) for cell in cells):
        return
    for cell, seen in zip(cells, ours["images"].get(column, []), strict=True):
        if (cell is None) != (seen is None):
            yield ("an image is lost",)
        elif cell is not None:
            if seen["boxes"] != boxes_of(cell):
                yield ("boxes", boxes_of(cell), seen["boxes"])
            if seen["masks"] != sorted(cell.get("masks") or {}):
                yield ("masks", sorted(cell["masks"]), seen["masks"])
            yield from (("a file", error) for error in seen["closed"])


def boxes_of(cell):
    """The captions and the scores of the boxes in the file, by layer."""
    return {
        layer: [[box.get("box_caption"), box.get("scores")] for box in boxes]
        for layer, boxes in (cell.get("boxes") or {}).items()
        if boxes
    }


def some(kind):
    """A type without None: our columns allow it, also where each cell has a value."""
    if isinstance(kind, dict) and kind["type"] == "union":
        members = [some(member) for member in kind["members"] if member != "none"]
        return members[0] if len(members) == 1 else {**kind, "members": members}
    return kind
