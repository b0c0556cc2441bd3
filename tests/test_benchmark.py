"""A short run of the benchmark: the data sent and fetched, never the times."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow, pytest.mark.once]

COMPARE = Path(__file__).parents[1] / "benchmarks" / "compare.py"
IMAGES, EPOCHS = 12, 3
TASKS = ("classification", "detection", "segmentation", "regression", "image_to_image")
# Beside the images: the table, and names of classes where there are layers.
DATA_FILES = {
    "classification": IMAGES + 1,
    "detection": IMAGES + 2,
    "segmentation": 2 * IMAGES + 2,
    "regression": IMAGES + 1,
    "image_to_image": 2 * IMAGES + 1,
}
EPOCH_FILES = {
    "classification": 1,
    "detection": 1,
    "segmentation": IMAGES + 1,
    "regression": 1,
    "image_to_image": 2 * IMAGES + 1,
}
ERROR_LAYERS = {**dict.fromkeys(TASKS, 0), "segmentation": IMAGES}


def run(out: Path, part: str, *options: str) -> dict[str, Any]:
    """The results of a part, and its output."""
    done = subprocess.run(
        [sys.executable, COMPARE, "--parts", part, *options, "--out", out],
        env={k: v for k, v in os.environ.items() if not k.startswith("WANDB_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    content: dict[str, Any] = json.loads((out / f"{part}.json").read_text())
    return {**content, "printed": done.stdout}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("benchmark")
    size = ["--images", str(IMAGES), "--size", "64", "--epochs", str(EPOCHS)]
    return run(out, "compare", "--repeats", "1", *size)


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def sides(content: dict[str, Any], task: str) -> dict[str, dict[str, float]]:
    return {side: runs[0] for side, runs in content["results"][task].items()}


def test_every_epoch_of_every_side_is_a_version(
    sides: dict[str, dict[str, float]],
) -> None:
    assert list(sides) == ["wandb", "ours", "ours jpg", "drop-in", "shipped"]
    assert {figures["versions"] for figures in sides.values()} == {EPOCHS}


def test_all_sides_send_the_same_files(
    task: str, sides: dict[str, dict[str, float]]
) -> None:
    for side, figures in sides.items():
        assert figures["data_files"] == DATA_FILES[task] + 1  # The manifest.
        if side in ("wandb", "drop-in"):
            assert figures["epoch_files"] == EPOCH_FILES[task]
        elif side != "shipped":
            assert figures["epoch_files"] <= EPOCH_FILES[task] + ERROR_LAYERS[task]


def test_only_the_stock_class_fetches_anything(
    sides: dict[str, dict[str, float]],
) -> None:
    assert sides.pop("wandb")["downloaded_files"] > 0
    for figures in sides.values():
        assert figures["downloaded_files"] == figures["downloaded_bytes"] == 0


def test_the_same_subclass_sends_no_more_bytes(
    sides: dict[str, dict[str, float]],
) -> None:
    """The same media; tables of the same content, in JSON without spaces."""
    stock, drop_in = sides["wandb"], sides["drop-in"]
    assert 0.9 * stock["data_bytes"] < drop_in["data_bytes"] <= stock["data_bytes"]
    assert 0.8 * stock["epoch_bytes"] < drop_in["epoch_bytes"] <= stock["epoch_bytes"]
    assert drop_in["artifact_bytes"] <= stock["artifact_bytes"]


def test_jpg_is_smaller(sides: dict[str, dict[str, float]]) -> None:
    assert sides["ours jpg"]["data_bytes"] < 0.6 * sides["ours"]["data_bytes"]


def test_history_costs_bytes_and_no_files_of_the_version(
    sides: dict[str, dict[str, float]],
) -> None:
    ours, shipped = sides["ours"], sides["shipped"]
    assert shipped["epoch_bytes"] >= ours["epoch_bytes"]
    assert shipped["uploaded_bytes"] > ours["uploaded_bytes"]


def test_the_machine_and_the_ratios_are_printed(content: dict[str, Any]) -> None:
    machine = content["machine"]
    assert f"{machine['cores']} cores ({machine['processor']})" in content["printed"]
    assert f"wandb {machine['wandb']}" in content["printed"]
    for task in TASKS:
        assert f"| {task} | files fetched | 0 | 0 | reached |" in content["printed"]


@pytest.mark.parametrize(
    "row",
    [
        "ImageNet",
        "Cityscapes, full-size outputs",
        "Cityscapes, quarter-size outputs",
    ],
)
def test_at_scale_each_task_has_one_rival(row: str) -> None:
    import scale  # It imports all rivals.

    ours, rival = scale.ROWS[row][1]
    assert ours == "ours"
    for side in (ours, rival):
        figures = scale.measure_scale(row, side, share=0.001)
        assert figures["count"] >= 1
        assert figures["batches"] > 0
        assert figures["end"] > 0


def test_at_scale_the_growth_is_printed(tmp_path: Path) -> None:
    import scale

    shares = ["--shares", "0.001", "0.002", "--repeats", "1"]
    found = run(tmp_path, "scale", "--tasks", "detection", *shares)
    assert list(scale.ROWS) == [
        "COCO",
        "ImageNet",
        "Cityscapes, full-size outputs",
        "Cityscapes, quarter-size outputs",
    ]
    [(row, sides)] = found["results"]["rows"].items()
    assert (row, list(sides)) == ("COCO", ["ours", "pycocotools"])
    assert [point["count"] for point in sides["ours"]] == [5, 10]
    assert "| COCO | at the end, s |" in found["printed"]
    assert "Drawing 100 of 100 images" in found["printed"]


def test_trainings_with_and_without_a_callback(tmp_path: Path) -> None:
    found = run(tmp_path, "fit", "--tiny", "--tasks", "segmentation")
    [(row, figures)] = found["results"].items()
    names = ("without", "with", "hook", "alone", "predict")
    assert all(figures[name] > 0 for name in names)
    assert f"| {row} | 48 |" in found["printed"]
