"""Class names and colours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wandb_eval.engine import check_class_names, class_color, name_classes
from wandb_eval.engine.kit.opencv import cv2

ODD = ['a "quoted" name', "a/slash", "two\nlines", "🦆", "", " ", "C:\\x", "a,b", "é"]


def test_names_stay():
    assert check_class_names(ODD) == ODD
    assert check_class_names(("a", "b")) == ["a", "b"]
    assert check_class_names(np.array(["a", "b"])) == ["a", "b"]
    assert all(type(name) is str for name in check_class_names(np.array(["a", "b"])))
    assert check_class_names(None) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["crane", "dog", "crane"], ["crane (0)", "dog", "crane (2)"]),
        (["a", "a", "a (0)"], ["a (0) (0)", "a (1)", "a (0) (2)"]),
        (["", ""], [" (0)", " (1)"]),
    ],
)
def test_names_that_occur_twice_get_their_id(names, expected):
    assert check_class_names(names) == expected


@given(st.lists(st.sampled_from(["a", "a (0)", "a (1)", "a (0) (0)", "b"]), min_size=1))
def test_names_are_always_told_apart(names):
    checked = check_class_names(names)
    assert len(set(checked)) == len(names)
    assert all(new.startswith(old) for old, new in zip(names, checked, strict=True))


@given(st.lists(st.text(), min_size=1, unique=True))
def test_unique_names_never_change(names):
    assert check_class_names(names) == names


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("cat", r"'cat' \(of type str\)"),
        (b"cat", "of type bytes"),
        ({"cat"}, "of type set"),
        (10, "of type int"),
        ([], "an empty list"),
        (["cat", 3], "3 among them"),
        ([None], "None among them"),
        (np.array([1, 2]), "1.* among them"),
        (np.array(["a", "b"])[:, None], "among them"),
    ],
)
def test_what_are_no_names(names, message):
    with pytest.raises(ValueError, match=f"`class_names`.*{message}"):
        check_class_names(names)


def test_ids_where_there_are_no_names():
    assert name_classes(None, 3) == ["0", "1", "2"]
    assert name_classes(["a", "b", "c"], 2) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="3 names, but the model has outputs for 2"):
        name_classes(["a", "b", "c"], 2, exactly=True)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({0: "cat", 1: "dog"}, ["cat", "dog"]),
        ({np.int64(2): "dog", 0: "cat"}, ["cat", "1", "dog"]),
        ({"cat": 0, "dog": np.int32(3)}, ["cat", "1", "2", "dog"]),
    ],
)
def test_dictionaries_of_names(names, expected):
    assert check_class_names(names) == expected


@pytest.mark.parametrize(
    "names",
    [{-1: "cat"}, {"cat": "dog"}, {"cat": 0, "dog": 0}, {"cat": True}, {0: 1, "a": 2}],
)
def test_dictionaries_that_name_no_classes(names):
    with pytest.raises(ValueError, match="`class_names`"):
        check_class_names(names)


def test_too_few_names():
    with pytest.raises(ValueError, match=r"has 2 names, but there are 3\s+classes"):
        name_classes(["a", "b"], 3)


def cielab(colors):
    """By OpenCV; ours are made by formulas."""
    shares = np.array(colors, np.float32)[None] / 255
    return cv2.cvtColor(shares, cv2.COLOR_RGB2Lab)[0]


def least_distance(colors):
    lab = cielab(colors)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    return distances[~np.eye(len(lab), dtype=bool)].min()


def test_colours_can_be_told_apart():
    colors = [class_color(index) for index in range(256)]
    assert least_distance(colors[:12]) >= 30
    assert least_distance(colors[:30]) >= 25
    assert least_distance(colors) >= 10
    assert all(type(value) is int and 0 <= value <= 255 for c in colors for value in c)


def test_colours_are_seen_on_light_and_on_dark_images():
    lab = cielab([class_color(index) for index in range(256)])
    for gray in (cielab([(0, 0, 0)]), cielab([(255, 255, 255)])):
        assert np.linalg.norm(lab - gray, axis=-1).min() >= 30


def test_a_class_has_one_colour_whatever_its_id_is_held_in():
    assert class_color(np.uint8(7)) == class_color(np.int64(7)) == class_color(7)
    assert class_color(256 + 7) == class_color(7)
