"""The requirements of W&B's page, on the tables that runs record."""

import json

import pytest

import recorded_runs
from loopback.fixtures import offline_environment
from wandb_eval.core.offline_log import find_log, read_records

pytestmark = pytest.mark.any_backend

BESIDE_IMAGES = {
    "classify": {"eval_data", "hardest", "val_data", "confused", "suspect_labels"},
    "detect": {"eval_data", "hardest", "val_data", "objects"},
    "segment": {"eval_data", "hardest", "val_data"},
}
for _tables in BESIDE_IMAGES.values():
    _tables |= {"weak_slices", "data_problems"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The tables of a run of each task: `{task: {name: content}}`."""
    found = {}
    with offline_environment(tmp_path_factory.mktemp("runs")):
        for task in BESIDE_IMAGES:
            found[task] = dict(tables_of(getattr(recorded_runs, task)()))
    return found


def tables_of(folder):
    for record in read_records(find_log(folder)):
        if record.WhichOneof("record_type") != "artifact":
            continue
        for entry in record.artifact.manifest.contents:
            name, _, _ = entry.path.partition(".table.json")
            if entry.path.endswith(".table.json"):
                with open(entry.local_path) as file:
                    yield name.rpartition("/")[2], json.load(file)


def kinds(content, column):
    """The types that a column may have, without `None`."""
    found = content["column_types"]["params"]["type_map"][column]
    allowed = found.get("params", {}).get("allowed_types", [found])
    empty = ("none", "unknown")  # Where all cells are empty, nothing is known.
    return [kind for kind in allowed if kind["wb_type"] not in empty]


@pytest.mark.parametrize("task", BESIDE_IMAGES)
def test_no_list_stands_beside_an_image(tables, task):
    for name in BESIDE_IMAGES[task] & set(tables[task]):
        content = tables[task][name]
        cells = [cell for row in content["data"] for cell in row]
        assert any(isinstance(cell, dict) for cell in cells), name
        assert not any(isinstance(cell, list) for cell in cells), name
    assert {"eval_data", "hardest", "val_data"} <= set(tables[task])


@pytest.mark.parametrize("task", BESIDE_IMAGES)
def test_each_column_beside_images_has_one_type(tables, task):
    for name in BESIDE_IMAGES[task] & set(tables[task]):
        for column in tables[task][name]["columns"]:
            found = kinds(tables[task][name], column)
            empty = all(
                row[tables[task][name]["columns"].index(column)] is None
                for row in tables[task][name]["data"]
            )
            assert len(found) == (not empty), (name, column)
            assert all(kind["wb_type"] != "any" for kind in found), (name, column)


@pytest.mark.parametrize(
    ("task", "maps", "labels"),
    [
        ("detect", "box_class_maps", dict(enumerate(recorded_runs.NAMES))),
        ("segment", "mask_class_maps", {1: recorded_runs.HOSTILE}),
    ],
)
def test_the_true_boxes_and_masks_are_in_the_types(tables, task, maps, labels):
    names = {str(index): name for index, name in labels.items()}
    for table in ("val_data", "eval_data", "hardest"):
        [kind] = kinds(tables[task][table], "image")
        assert kind["wb_type"] == "image-file"
        assert kind["params"][maps]["params"]["val"]["ground_truth"] == names


def test_columns_that_tell_most_come_first(tables):
    columns = {task: found["eval_data"]["columns"] for task, found in tables.items()}
    first = ["epoch", "idx", "image"]
    assert columns == {
        "classify": [*first, "label", "pred", "score", "correct", "loss", "top_5"],
        "detect": [
            *(*first, "missed", "wrong", "errors", "right"),
            *("mean_iou", "predicted_classes"),
        ],
        "segment": [
            *(*first, "mean_iou", "worst_class", "class_iou"),
            *("mean_dice", "pixel_accuracy"),
        ],
    }


def test_lists_for_code_are_in_the_scores(tables):
    for task, names in {
        "detect": ["predicted_classes", "mean_scores"],
        "segment": ["classes", "class_iou"],
    }.items():
        scores = tables[task]["scores"]
        for name in names:
            place = scores["columns"].index(name)
            assert all(isinstance(row[place], list) for row in scores["data"])


def test_an_object_that_is_taken_for_another_names_both(tables):
    table = tables["detect"]["objects"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    named = {(row["kind"], row["class"], row["actual"]) for row in rows}
    _, found, _ = recorded_runs.NAMES
    missed = recorded_runs.NAMES[0]
    assert named == {("both", found, missed), ("missed", missed, missed)}
    assert table["columns"][:2] == ["idx", "object"]
