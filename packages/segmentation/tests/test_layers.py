"""The ids that masks are shown with."""

import numpy as np
import pytest

from wandb_eval.segmentation.layers import MaskLayers
from wandb_eval.segmentation.masks import NOT_A_NUMBER

pytestmark = pytest.mark.once


def test_a_pixel_that_is_nan_is_wrong():
    layers = MaskLayers(["a", "b"], ignore_index=9)
    truth = np.array([[0, 1, 9, 7]])
    found = layers.errors(truth, np.array([[NOT_A_NUMBER, 1, NOT_A_NUMBER, 0]]))
    meanings = [layers.all_labels.get(index, "") for index in found.flat]
    assert meanings == ["wrong", "", "", ""]
    assert found[0, 1] != found[0, 2] == found[0, 3]  # Right; not counted.


@pytest.mark.parametrize("dtype", ["int8", "int16", "int64"])
def test_ignored_pixels_have_the_highest_id(dtype):
    mask = np.array([[0, 1, -1]], dtype)
    shown = MaskLayers(["a", "b"], ignore_index=-1).truth(mask)
    assert shown.dtype == np.uint8
    assert shown.tolist() == [[0, 1, 255]]
    assert mask.tolist() == [[0, 1, -1]]
