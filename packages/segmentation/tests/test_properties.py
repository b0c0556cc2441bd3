"""Properties of regions, against plain formulas."""

import numpy as np
import pytest

from wandb_eval.segmentation.properties import (
    rare_classes,
    segmentation_properties,
    with_rare_shares,
)


def test_regions():
    mask = np.random.default_rng(0).integers(0, 4, (30, 20))
    mask[:5] = 255
    found = segmentation_properties(mask, [(3, "bike"), (7, "bus")], ignore_index=255)
    shown = mask[5:]
    lines = (shown[1:] != shown[:-1]).sum() + (shown[:, 1:] != shown[:, :-1]).sum()
    pairs = shown[1:].size + shown[:, 1:].size
    assert found == pytest.approx(
        {
            "num_classes": 4,
            "contours": lines / pairs,
            "share_of_bike": (shown == 3).mean(),
            "share_of_bus": 0,
        }
    )
    large = np.repeat(np.repeat(np.eye(2, dtype=int), 500, 0), 500, 1)
    assert segmentation_properties(large)["num_classes"] == 2
    nothing = segmentation_properties(np.full((4, 4), 255), [(1, "a")], 255)
    assert nothing["num_classes"] == 0
    assert np.isnan([nothing["contours"], nothing["share_of_a"]]).all()


def test_rare_classes_are_the_rarest_that_can_be_compared():
    counts = np.zeros((1000, 8), int)
    counts[:, 0] = 10_000
    for one, samples in enumerate((10, 500, 400, 300, 200, 100), start=1):
        counts[:samples, one] = 1
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert rare_classes(shares) == [6, 5, 4, 3]
    assert rare_classes(shares[:, :2]) == []


def test_shares_of_several_classes_a_pixel():
    rng = np.random.default_rng(0)
    columns = {
        "share_of_core": rng.uniform(0, 0.01, 200),
        "share_of_edema": rng.uniform(0, 0.01, 200),
        "share_of_tissue": rng.uniform(0.8, 1.0, 200),
        "num_classes": np.full(200, 3.0),
    }
    columns["share_of_core"][:5] = np.nan  # Without pixels.
    assert [*with_rare_shares(columns)] == [
        "share_of_core",
        "share_of_edema",
        "num_classes",
    ]
