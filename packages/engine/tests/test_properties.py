"""Properties of images, against plain formulas; problems of data."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wandb_eval.engine.slices.problems import data_problems
from wandb_eval.engine.slices.properties import image_properties, varying

SIDES = st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 4]))


@settings(max_examples=60, deadline=None)
@given(SIDES.flatmap(lambda shape: arrays(np.uint8, shape)))
def test_small_images(image):
    found = image_properties(image)
    pixels = image.astype(float)
    if image.shape[2] == 1:
        luma = pixels[..., 0]
        assert "colorfulness" not in found
    else:
        red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        rg, yb = red - green, (red + green) / 2 - blue
        colorfulness = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(
            rg.mean(), yb.mean()
        )
        assert found["colorfulness"] == pytest.approx(colorfulness, abs=1e-6)
    assert found["brightness"] == pytest.approx(luma.mean() / 255, abs=0.003)
    assert found["contrast"] == pytest.approx(luma.std() / 255, abs=0.003)
    height, width = image.shape[:2]
    assert (found["height"], found["width"]) == (height, width)
    assert found["aspect_ratio"] == width / height


def test_sharpness_is_the_log_of_the_variance_of_the_laplacian():
    image = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
    inner = np.pad(image.astype(float), 1, mode="reflect")
    laplacian = (
        inner[2:, 1:-1] + inner[:-2, 1:-1] + inner[1:-1, 2:] + inner[1:-1, :-2]
    ) - 4 * inner[1:-1, 1:-1]
    sharpness = np.log1p(laplacian.var())
    assert image_properties(image)["sharpness"] == pytest.approx(sharpness)
    blurred = cv2.GaussianBlur(image, (0, 0), 2)
    assert image_properties(blurred)["sharpness"] < sharpness - 2


@pytest.mark.parametrize(
    "shape", [(300, 200, 3), (129, 1, 3), (1, 1000), (256, 256, 4)]
)
def test_large_images_are_means_of_blocks(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    step = -(-max(shape[:2]) // 128)
    height, width = (max(1, side // step) for side in shape[:2])
    rows, columns = min(step, shape[0]), min(step, shape[1])
    whole = image[: height * rows, : width * columns].astype(float)
    blocks = whole.reshape(height, rows, width, columns, *shape[2:]).mean(axis=(1, 3))
    small = np.floor(blocks + 0.5).astype(np.uint8)
    found, expected = image_properties(image), image_properties(small)
    for name in ("brightness", "contrast", "sharpness"):
        assert found[name] == pytest.approx(expected[name], rel=0.03, abs=0.005)
    assert (found["height"], found["width"]) == shape[:2]


@pytest.mark.parametrize("side", [7, 128, 500])
@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (200, 30, 90)])
def test_blank_images_have_neither_contrast_nor_sharpness(side, color):
    image = np.full((side, side + 3, 3), color, np.uint8)
    found = image_properties(image)
    assert found["contrast"] == found["sharpness"] == 0


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4)),
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
)
def test_what_is_no_image(image):
    with pytest.raises(ValueError, match="Received"):
        image_properties(image)


def test_only_what_varies_is_a_property():
    nan = np.nan
    columns = {
        "width": np.array([32.0, 32.0]),
        "brightness": np.array([0.1, 0.2]),
        "smallest_object": np.array([nan, 0.2]),
        "unknown": np.array([nan, nan]),
        "camera": np.array(["a", None], object),
        "count": np.array([1, 2]),
    }
    names = ["brightness", "smallest_object", "camera", "count"]
    assert list(varying(columns)) == names


def test_problems_of_data():
    #              0  1  2  3  4  5  6  7  8
    inputs = [7, 5, 7, 5, 7, 1, 2, 5, 9]
    samples = [1, 2, 3, 2, 1, 4, 5, 2, 6]
    blank = [False, False, False, False, False, True, False, False, True]
    found = data_problems(inputs, samples, blank)
    assert [(one.kind, one.index.tolist()) for one in found] == [
        ("different targets", [0, 2, 4]),
        ("equal content", [1, 3, 7]),
        ("blank", [5, 8]),
    ]
    assert (
        found[0].text
        == "3 samples have equal content, and 2 different targets: 0, 2, 4"
    )
    assert found[2].text == "2 images are blank: 5, 8"
    assert data_problems([1, 2], [3, 4]) == data_problems([], []) == []


def test_targets_that_follow_the_content_are_no_problem():
    inputs = np.arange(10_000, dtype=np.uint64) * np.uint64(2**50 + 1)
    assert data_problems(inputs, inputs + np.uint64(1), np.zeros(10_000, bool)) == []


def test_problems_need_a_value_of_each_sample():
    with pytest.raises(ValueError, match="Checksums must be two arrays"):
        data_problems([1, 2], [1])
    with pytest.raises(ValueError, match="`blank` must be of shape"):
        data_problems([1, 2], [1, 2], [False])
