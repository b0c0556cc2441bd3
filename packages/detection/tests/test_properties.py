"""Properties of objects, against plain formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wandb_eval.detection.properties import detection_properties


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6))
def test_objects(seed, count):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, 41, (count, 2, 2)), axis=1).reshape(-1, 4)
    found = detection_properties(corners, height=40, width=40)
    drawn = np.zeros((count, 40, 40), bool)
    for mask, (left, top, right, bottom) in zip(drawn, corners, strict=True):
        mask[top:bottom, left:right] = True
    areas = drawn.sum(axis=(1, 2)) / 1600
    assert found["num_objects"] == count
    if count == 0:
        names = ("smallest_object", "median_object", "touching_border")
        assert all(np.isnan(found[name]) for name in names)
        assert found["largest_overlap"] == 0
        return
    assert found["smallest_object"] == pytest.approx(areas.min())
    assert found["median_object"] == pytest.approx(np.median(areas))
    overlaps = [
        (a & b).sum() / max(1, (a | b).sum())
        for place, a in enumerate(drawn)
        for b in drawn[place + 1 :]
    ]
    assert found["largest_overlap"] == pytest.approx(max(overlaps, default=0))
    near = [min(box[:2]) <= 1 or max(box[2:]) >= 39 for box in corners]
    assert found["touching_border"] == pytest.approx(np.mean(near))
