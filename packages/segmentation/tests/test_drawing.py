"""Masks that are drawn on images."""

import numpy as np
import pytest

from wandb_eval.engine import class_color
from wandb_eval.segmentation import draw_disagreement, draw_legend, draw_segmentation

pytestmark = pytest.mark.any_backend

NAMES = ["Background", "cat", "dog"]


def photo(height=120, width=160):
    return np.full((height, width, 3), 100, np.uint8)


def two_boxes(height=120, width=160):
    mask = np.zeros((height, width), np.int64)
    mask[20:60, 20:140] = 1
    mask[70:110, 20:140] = 2
    return mask


def test_a_class_has_its_colour_and_the_background_none():
    mask, image = two_boxes(), photo()
    drawn = draw_segmentation(image, mask, NAMES, alpha=0.25)
    assert drawn.dtype == np.uint8
    assert drawn.shape == image.shape
    for index in (1, 2):
        expected = np.rint(0.75 * 100 + 0.25 * np.array(class_color(index)))
        colors, counts = np.unique(drawn[mask == index], axis=0, return_counts=True)
        np.testing.assert_array_equal(colors[counts.argmax()], expected)
        assert counts.max() > 0.7 * (mask == index).sum()
    assert (drawn[:10] == 100).all()
    assert (image == 100).all()


def test_alpha_0_leaves_the_image_and_1_covers_it():
    mask = two_boxes()
    names = ["background", "", ""]  # Nothing to write.
    image = photo()
    np.testing.assert_array_equal(draw_segmentation(image, mask, names, 0.0), image)
    covered = draw_segmentation(image, mask, names, 1.0)
    assert (covered[mask == 1] == class_color(1)).all()
    assert (covered[mask == 2] == class_color(2)).all()


def test_all_classes_are_drawn_where_none_is_background():
    mask = two_boxes()
    drawn = draw_segmentation(photo(), mask, ["road", "", ""], alpha=1)
    assert (drawn[0, 0] == class_color(0)).all()


def test_ids_without_a_name_are_not_drawn():
    mask = two_boxes()
    mask[:10], mask[110:] = 255, -1
    drawn = draw_segmentation(photo(), mask, NAMES)
    assert (drawn[:10] == 100).all()
    assert (drawn[112:] == 100).all()


def names_on(mask):
    """The pixels that differ because of names."""
    named = draw_segmentation(photo(), mask, NAMES).astype(int)
    return named != draw_segmentation(photo(), mask, ["background", "", ""])


def test_each_region_has_a_name_unless_it_is_small():
    mask = np.zeros((120, 160), np.uint8)
    mask[20:50, 10:70], mask[20:50, 90:150] = 1, 1
    mask[100:104, 100:104] = 2
    written = names_on(mask).any(axis=2)
    assert written[20:50, 10:70].any()
    assert written[20:50, 90:150].any()
    assert not written[60:].any()


def test_names_stay_in_the_image():
    mask = np.zeros((120, 160), np.uint8)
    mask[0:8, 0:40], mask[:, 150:] = 1, 2
    written = names_on(mask).any(axis=2)
    assert written[:, :40].any()
    # The name is wider than its region: it reaches to the left of it.
    assert written[:, 120:150].any()


def test_names_that_opencv_cannot_draw_are_no_error():
    names = ["background", "고양이", "a\nb 🐶"]
    assert draw_segmentation(photo(), two_boxes(), names).shape == (120, 160, 3)


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 1), (40, 60, 3), (40, 60, 4)])
def test_images_of_all_kinds_become_rgb_and_stay_unchanged(shape):
    image = np.full(shape, 7, np.uint8)
    before = image.copy()
    mask = np.ones((40, 60), np.uint8)
    assert draw_segmentation(image, mask, NAMES).shape == (40, 60, 3)
    assert draw_segmentation(image, mask, NAMES, scale=3).shape == (120, 180, 3)
    assert draw_disagreement(image, mask, mask).shape == (40, 60, 3)
    assert draw_disagreement(image, mask, mask, scale=3).shape == (120, 180, 3)
    np.testing.assert_array_equal(image, before)


def test_wrong_pixels_are_red_and_the_others_gray():
    truth, prediction = two_boxes(), two_boxes()
    prediction[30:40] = 0
    truth[35:40, 100:] = 255
    image = photo()
    image[..., 0] = 200
    drawn = draw_disagreement(image, truth, prediction, ignore_index=255)
    red = (drawn == (255, 30, 30)).all(axis=-1)
    expected = (truth != prediction) & (truth != 255)
    assert expected.sum() == 5 * 120 + 5 * 80
    np.testing.assert_array_equal(red, expected)
    assert (drawn[~red] == drawn[0, 0, 0]).all()


def test_missed_invented_and_confused_pixels_have_colours_of_their_own():
    truth = np.array([[0, 0, 1, 1, 1, 2, 255]])
    prediction = np.array([[0, 1, 0, 1, 2, 1, 0]])
    image = np.full((1, 7, 3), 100, np.uint8)
    drawn = draw_disagreement(image, truth, prediction, ignore_index=255, background=0)
    same, red, blue, yellow = (100,) * 3, (255, 30, 30), (70, 140, 255), (255, 215, 0)
    expected = [same, blue, red, same, yellow, yellow, same]
    assert [tuple(pixel) for pixel in drawn[0].tolist()] == expected


def test_a_legend_has_the_colours_of_classes_and_of_what_is_wrong():
    def has(legend, color):
        return (legend == color).all(axis=-1).sum() >= 20 * 32

    legend = draw_legend(NAMES, width=700)
    assert legend.shape[1:] == (700, 3)
    assert has(legend, class_color(1))
    assert has(legend, class_color(2))
    assert not has(legend, class_color(0))
    assert has(legend, (255, 30, 30))
    assert not has(legend, (70, 140, 255))
    legend = draw_legend([], width=400, background=0)
    assert all(has(legend, c) for c in ((255, 30, 30), (70, 140, 255), (255, 215, 0)))
    assert len(legend) > 32  # In two rows.


@pytest.mark.parametrize(
    ("image", "mask", "arguments", "message"),
    [
        (photo().astype(float), two_boxes(), {}, "`image` must be a uint8.*float64"),
        (photo()[..., :2], two_boxes(), {}, r"\(120, 160, 2\)"),
        (photo(), two_boxes()[1:], {}, r"must be \(120, 160\).*\(119, 160\)"),
        (photo(), two_boxes() / 2, {}, "an integer for each pixel.*float64"),
        (photo(), two_boxes(), {"alpha": 1.5}, "`alpha` must be.*1.5"),
    ],
)
def test_what_cannot_be_drawn_is_refused(image, mask, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_segmentation(image, mask, NAMES, **arguments)
