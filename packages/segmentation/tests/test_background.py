"""The labels of mask layers in the tables that a run records."""

import json

import keras
import numpy as np
import PIL.Image
import pytest
import wandb

from wandb_eval.core.offline_log import find_log, read_records, wait_for_exit
from wandb_eval.segmentation import WandbSegmentationEvalCallback

SIZE = (6, 8)
RIGHT, WRONG, NOT_COUNTED = 253, 254, 252


def recorded(*args, masks, outputs=3, mode="offline", **options):
    """Trains for an epoch; returns the callback, and the run's artifacts by name."""
    x = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3)).astype("uint8")
    rescale = keras.layers.Rescaling(1 / 255)
    convolve = keras.layers.Conv2D(outputs, 1, activation="sigmoid")
    model = keras.Sequential([rescale, convolve])
    model.compile("sgd", "mse")
    with wandb.init(mode=mode) as run:
        callback = WandbSegmentationEvalCallback((x, masks), *args, **options)
        model.fit(x, np.zeros((4, *SIZE, outputs)), verbose=0, callbacks=[callback])
    if mode != "offline":
        return callback, {}
    assert wait_for_exit(run, timeout=60)
    return callback, artifacts(run.settings.sync_dir)


def artifacts(folder):
    """By name: the metadata, and the files of an artifact by their paths."""
    found = {}
    for record in read_records(find_log(folder)):
        if record.WhichOneof("record_type") == "artifact":
            logged = record.artifact
            files = {e.path: e.local_path for e in logged.manifest.contents}
            found[logged.name] = json.loads(logged.metadata or "{}"), files
    return found


def table(files, name):
    with open(files[f"{name}.table.json"]) as file:
        return json.load(file)


def layer_labels(content):
    """The labels of each layer, as W&B's page reads them."""
    params = content["column_types"]["params"]["type_map"]["image"]["params"]
    kinds = [kind.get("params", {}) for kind in params.get("allowed_types", [])]
    for kind in kinds or [params]:
        if "mask_class_maps" in kind:
            return {
                layer: {int(index): name for index, name in names.items()}
                for layer, names in kind["mask_class_maps"]["params"]["val"].items()
            }
    raise AssertionError(params)


def classes_of_image(content, files):
    """The names in the file of classes of the first image."""
    path = content["data"][0][content["columns"].index("image")]["classes"]["path"]
    with open(files[path]) as file:
        return {one["id"]: one["name"] for one in json.load(file)["class_set"]}


def masks_of(classes=3, ignored=False):
    masks = np.arange(4 * 48).reshape(4, *SIZE) % classes
    if ignored:
        masks[:, 0] = 255
    return masks.astype("uint8")


@pytest.mark.parametrize(
    ("names", "background", "hidden"),
    [
        (["Background", "cat", "dog"], None, [0]),
        (["cat", "BG", "void"], None, [1, 2]),
        ({"_background_": 2, "cat": 0, "dog": 1}, None, [2]),
        (["bg", "cat", "bg"], None, [0, 2]),
        (["cat", "background", "sky"], "sky", [2]),
        (["cat", "sky", "dog"], np.int64(1), [1]),
        (["foreground", "cat", "dog"], None, []),
        (None, 0, [0]),
        (None, None, []),
    ],
)
def test_the_background_has_no_label(loopback, names, background, hidden):
    masks = masks_of(ignored=True)
    callback, found = recorded(
        names, masks=masks, ignore_index=255, background=background
    )
    all_names = [*callback._names]
    labels = {i: n for i, n in enumerate(all_names) if i not in hidden}
    labels |= {255: "ignored"}
    [prediction] = [name for name in found if name.endswith("_pred")]
    (_, truth_files), (_, files) = found["val"], found[prediction]
    for name in ("eval_data", "hardest"):
        content = table(files, name)
        assert layer_labels(content) == {
            "ground_truth": labels,
            "predictions": labels,
            "errors": {WRONG: "wrong"},
        }
        shown = classes_of_image(content, files)
        nan_id = min(set(range(256)) - {0, 1, 2, 255})
        assert shown == labels | {WRONG: "wrong", nan_id: "NaN"}
    assert not set(hidden) & set(
        classes_of_image(table(truth_files, "val_data"), truth_files)
    )
    unlabelled = {str(i): all_names[i] for i in hidden}
    errors = {str(RIGHT): "right", str(NOT_COUNTED): "not counted"}
    for artifact in (found["val"], found[prediction]):
        told = dict(artifact[0]["unlabelled"])
        assert told.pop("errors") == errors
        assert told == (
            {"ground_truth": unlabelled, "predictions": unlabelled} if hidden else {}
        )


def test_the_background_stays_in_pixels_and_numbers(loopback):
    masks = masks_of(ignored=True)
    callback, found = recorded(["background", "a", "b"], masks=masks, ignore_index=255)
    [(_, files)] = [found[name] for name in found if name.endswith("_pred")]
    content = table(files, "eval_data")
    place = content["columns"].index("image")
    for row in content["data"]:
        index, layers = row[1], row[place]["masks"]
        truth, errors = (
            np.asarray(PIL.Image.open(files[layers[name]["path"]]))
            for name in ("ground_truth", "errors")
        )
        np.testing.assert_array_equal(truth, masks[index])
        assert set(np.unique(errors)) <= {RIGHT, WRONG, NOT_COUNTED}
        assert set(errors[0]) == {NOT_COUNTED}
    per_class = callback.evaluation.metrics.compute()["per_class"]
    assert [row[0] for row in per_class.data] == ["background", "a", "b"]


def test_a_background_that_overlaps_has_no_label(loopback):
    hot = np.eye(3)[masks_of()]
    names = ["void", "a", "b"]
    _, found = recorded(names, masks=hot, multi_label=True)
    [(metadata, files)] = [found[name] for name in found if name.endswith("_pred")]
    content = table(files, "eval_data")
    assert layer_labels(content) == {
        f"{what}_{i}": {i + 1: name} if i else {}
        for what in ("truth", "prediction")
        for i, name in enumerate(names)
    }
    assert classes_of_image(content, files) == {2: "a", 3: "b"}
    assert metadata["unlabelled"] == {
        "truth_0": {"1": "void"},
        "prediction_0": {"1": "void"},
    }


@pytest.mark.parametrize("background", ["sky", 3, -1, 1.0, True, ["cat"]])
def test_a_background_that_is_no_class(loopback, background):
    with (
        wandb.init(mode="offline"),
        pytest.raises(ValueError, match=r"`background` must be .*Received: "),
    ):
        WandbSegmentationEvalCallback(
            (np.zeros((1, *SIZE, 3)), masks_of()[:1]),
            ["cat", "dog", "cow"],
            background=background,
        )


def test_a_background_that_the_model_has_no_output_for(loopback):
    with pytest.raises(ValueError, match=r"`background` must be .*Received: 3"):
        recorded(masks=masks_of(), background=3)


def test_a_background_where_nothing_is_logged(loopback):
    callback, _ = recorded(masks=masks_of(), background=0, mode="disabled")
    assert "eval/mean_iou" in callback.evaluate(callback.model)


@pytest.mark.parametrize(
    ("names", "ignore_index", "expected"),
    [
        ([f"c{i}" for i in range(256)], None, {254: "c254", 253: "c253"}),
        (["a", "b", "c"], 254, {254: "wrong", 255: "ignored"}),
        (["a", "b", "c"], 251, {254: "wrong", 251: "ignored"}),
    ],
)
def test_names_of_errors_and_of_classes_stay_apart(
    loopback, names, ignore_index, expected
):
    masks = masks_of()
    masks[:, 0] = ignore_index or 0
    outputs = len(names)
    _, found = recorded(names, masks=masks, outputs=outputs, ignore_index=ignore_index)
    [(_, files)] = [found[name] for name in found if name.endswith("_pred")]
    content = table(files, "eval_data")
    named = classes_of_image(content, files)
    assert {index: named[index] for index in expected} == expected
    place = content["columns"].index("image")
    layers = content["data"][0][place]["masks"]
    truth = np.asarray(PIL.Image.open(files[layers["ground_truth"]["path"]]))
    if ignore_index:
        assert set(truth[0]) == {max(set(expected) - {254})}
