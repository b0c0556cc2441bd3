"""The scenes that the detection and segmentation examples train on."""

import numpy as np
import pytest
from scenes import (
    IMAGE_SIZE,
    Scenes,
    load_split_digits,
    load_split_photos,
    make_scenes,
)
from sklearn.datasets import load_digits, load_sample_images

pytestmark = pytest.mark.once


@pytest.fixture(scope="module", params=["train", "held_out"])
def scenes(request: pytest.FixtureRequest) -> Scenes:
    return make_scenes(100, request.param, seed=3)


def test_shapes_and_dtypes(scenes: Scenes) -> None:
    assert scenes.images.shape == (100, *IMAGE_SIZE, 3)
    assert scenes.masks.shape == (100, *IMAGE_SIZE)
    assert scenes.images.dtype == scenes.masks.dtype == np.uint8
    assert len(scenes.boxes) == len(scenes.labels) == 100
    for boxes, labels in zip(scenes.boxes, scenes.labels, strict=True):
        assert boxes.shape == (len(labels), 4)
        assert boxes.dtype == np.float32
        assert labels.dtype == np.int64


def test_scenes_hold_zero_to_four_digits_of_every_class(scenes: Scenes) -> None:
    assert {len(labels) for labels in scenes.labels} == {0, 1, 2, 3, 4}
    assert set(np.concatenate(scenes.labels)) == set(range(10))


def test_boxes_enclose_the_ink_tightly(scenes: Scenes) -> None:
    for mask, boxes, labels in zip(
        scenes.masks, scenes.boxes, scenes.labels, strict=True
    ):
        outside = mask > 0
        for (x_min, y_min, x_max, y_max), label in zip(
            boxes.astype(int), labels, strict=True
        ):
            assert 0 <= x_min < x_max <= mask.shape[1]
            assert 0 <= y_min < y_max <= mask.shape[0]
            ink = mask[y_min:y_max, x_min:x_max] == 1 + label
            for side in (ink[0], ink[-1], ink[:, 0], ink[:, -1]):
                assert side.any()
            outside[y_min:y_max, x_min:x_max] = False
        assert not outside.any()


def test_ink_differs_from_its_background(scenes: Scenes) -> None:
    contrasts = []
    for image, mask, boxes, labels in zip(
        scenes.images, scenes.masks, scenes.boxes, scenes.labels, strict=True
    ):
        for (x_min, y_min, x_max, y_max), label in zip(
            boxes.astype(int), labels, strict=True
        ):
            region = np.s_[y_min:y_max, x_min:x_max]
            ink = image[region][mask[region] == 1 + label].mean(axis=0)
            paper = image[region][mask[region] == 0]
            if len(paper):
                contrasts.append(np.abs(ink - paper.mean(axis=0)).max())
    assert np.mean(np.array(contrasts) > 30) > 0.95


def test_the_same_seed_gives_the_same_scenes() -> None:
    first, second = (make_scenes(10, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.masks, second.masks)
    for one, other in zip(first.boxes, second.boxes, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(first.labels, second.labels, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_gives_other_scenes() -> None:
    first, second = make_scenes(10, seed=5), make_scenes(10, seed=6)
    assert (first.images != second.images).any(axis=(1, 2, 3)).all()


def test_splits_share_no_digit() -> None:
    train, held_out = (
        {digit.tobytes() for digit in load_split_digits(split)[0]}
        for split in ("train", "held_out")
    )
    assert not train & held_out
    assert len(train) + len(held_out) == len(load_digits().target)


def test_splits_share_no_background() -> None:
    train, held_out = load_split_photos("train"), load_split_photos("held_out")
    for upper, lower, photo in zip(
        train, held_out, load_sample_images().images, strict=True
    ):
        np.testing.assert_array_equal(np.concatenate([upper, lower]), photo)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"held_out.*received 'test'"):
        make_scenes(1, "test")  # type: ignore[arg-type]
