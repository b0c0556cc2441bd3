"""Arrays to images, and images to files."""

import contextlib
import io
import warnings

import keras
import numpy as np
import PIL.Image
import pytest
import wandb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from wandb_eval.core._wandb.files import Folder
from wandb_eval.engine import encode_images, encode_masks, map_to_image, to_images
from wandb_eval.engine.kit.images import (
    ImageRule,
    check_image,
    check_image_format,
    encode,
)
from wandb_eval.engine.kit.opencv import cv2


def photo(height=48, width=64, channels=3, seed=0):
    """Smooth, as photos are: files of noise would compare nothing but noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [
        np.sin(x * rng.uniform(0.05, 0.3) + y * rng.uniform(0.05, 0.3) + phase)
        for phase in rng.uniform(0, 6, channels)
    ]
    noise = rng.normal(0, 4, (height, width, channels))
    image = 127.5 + 100 * np.stack(waves, axis=-1) + noise
    return np.clip(image, 0, 255).astype(np.uint8)


# --- The rules --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 7, 255], "uint8", [0, 7, 255]),
        ([0, 1, 1], "uint8", [0, 255, 255]),
        ([False, True, False], "bool", [0, 255, 0]),
        ([0, 1, 1], "int64", [0, 255, 255]),
        ([0, 200, 255], "uint16", [0, 200, 255]),
        ([0, 100, 127], "int8", [0, 100, 127]),
        ([0.0, 0.5, 1.0], "float32", [0, 128, 255]),
        ([0.0, 0.5, 1.0], "float16", [0, 128, 255]),
        ([0.0, 0.2, 0.4], "float64", [0, 51, 102]),
        ([-1.0, 0.0, 1.0], "float32", [0, 128, 255]),
        ([-0.5, 0.0, 0.25], "float64", [64, 128, 159]),
        ([0.0, 1.5, 254.6], "float32", [0, 2, 255]),
        ([0.0, 128.0, 255.0], "float64", [0, 128, 255]),
        # A range may be left by a quarter.
        ([-0.0009, 0.5, 1.0009], "float32", [0, 128, 255]),
        ([-1.0009, 0.0, 1.0], "float32", [0, 128, 255]),
        ([-0.2, 128.0, 255.2], "float32", [0, 128, 255]),
        ([0.0, 0.5, 1.002], "float32", [0, 128, 255]),
        ([-0.2, 0.5, 1.2], "float32", [0, 128, 255]),
        ([-1.4, 0.0, 1.4], "float32", [0, 128, 255]),
        ([-8.6, 100.0, 278.0], "float32", [0, 100, 255]),
        ([-0.25, 0.5, 1.25], "float32", [0, 128, 255]),
        ([-0.25, 0.5, 1.25], "float16", [0, 128, 255]),
        ([-0.26, 0.5, 1.0], "float64", [94, 191, 255]),
        ([-1.5, 0.0, 1.5], "float32", [0, 128, 255]),
        # Stretched: they do not reach -1.
        ([0.0, 0.7, 1.4], "float32", [0, 128, 255]),
        ([-0.375, 0.5, 1.375], "float32", [0, 128, 255]),
        ([-63.75, 100.0, 318.75], "float64", [0, 100, 255]),
        # Without contrast.
        ([0.0, 0.0, 0.0], "float32", [0, 0, 0]),
        ([1.0, 1.0, 1.0], "float32", [255, 255, 255]),
        ([0.5, 0.5, 0.5], "float16", [128, 128, 128]),
        ([-1.0, -1.0, -1.0], "float32", [0, 0, 0]),
        ([200.0, 200.0, 200.0], "float32", [200, 200, 200]),
        ([0, 0, 0], "uint8", [0, 0, 0]),
        ([1, 1, 1], "uint8", [255, 255, 255]),
        ([0, 1, 1], "int8", [0, 255, 255]),
        ([0, 1, 1], "uint16", [0, 255, 255]),
        ([0, 1, 2], "uint8", [0, 1, 2]),
    ],
)
def test_the_rules(values, dtype, expected):
    [image] = to_images([np.array([values], dtype)])
    assert image.dtype == np.uint8
    assert image.tolist() == [expected]


def test_there_is_one_rule_for_all_samples():
    dark, light = np.full((2, 2), 0.5, np.float32), np.full((2, 2), 255, np.float32)
    assert to_images([dark])[0][0, 0] == 128
    assert [image[0, 0] for image in to_images([dark, light])] == [0, 255]
    signed = np.full((2, 2), -1, np.float32)
    assert [image[0, 0] for image in to_images([dark, signed])] == [191, 0]
    # A dtype is not of one sample either, nor of the first.
    mask = np.ones((2, 2), bool)
    assert [image[0, 0] for image in to_images([mask, dark])] == [255, 128]
    assert [image[0, 0] for image in to_images([dark, mask])] == [128, 255]


def test_many_images_of_several_sizes():
    samples = [np.full((1 + i % 3, 2, 3), i % 2, np.float32) for i in range(200)]
    images = to_images(samples)
    assert [image.shape for image in images] == [sample.shape for sample in samples]
    assert [int(image[0, 0, 0]) for image in images] == [0, 255] * 100


def test_no_samples_are_no_images():
    assert to_images([]) == []


@pytest.mark.parametrize(
    ("values", "dtype", "middle"),
    [
        ([0, 64, 256], "int64", 64),
        ([-1, 0, 0], "int8", 255),
        ([0, 165, 330.0], "float32", 128),
        ([0, 0.8, 1.6], "float32", 128),
        ([-3, 0, 3.0], "float32", 128),
        ([-128.0, 0, 127.0], "float32", 128),
        ([-2.1, 0, 2.6], "float64", 114),
        ([0, 1024, 4095], "uint16", 64),
        ([0, 6553, 65535], "uint16", 25),
        ([-1024, 0, 3071], "int16", 64),
        ([-64.0, 0, 255.0], "float32", 51),
        ([0.0, 100, 319.0], "float32", 80),
        ([-0.2, 0, 1.55], "float32", 29),
        ([0.5, 80.0, 1000.0], "float32", 20),
        # As 0 to 255 they would be black: standardised digits, digits of 0 to 16.
        ([-0.4, 0, 5.0], "float32", 19),
        ([-0.42, 0, 2.82], "float16", 33),
        ([0.0, 4, 16], "float64", 64),
        ([0.0, 20, 63.0], "float32", 81),
        ([0.0, 0.001, 0.004], "float32", 64),
        ([0.0, 0.05, 0.06], "float16", 212),
        # So flat that nothing would be seen.
        ([0.5, 0.51, 0.52], "float64", 128),
        ([-0.06, 0.0, 0.06], "float64", 128),
        ([100.0, 105.0, 110.0], "float64", 128),
        # As far as numbers go.
        ([-1.7e308, 0, 1.7e308], "float64", 128),
        ([0, 5e-324, 5e-324], "float64", 0),
        ([-(2**63), 0, 2**63 - 1], "int64", 128),
        ([0, 2**63, 2**64 - 1], "uint64", 128),
        ([-65504, 0, 65504], "float16", 128),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_other_ranges_are_stretched_and_that_is_said_once(
    warned, values, dtype, middle
):
    samples = [np.array([[value]], dtype) for value in values]
    images = to_images(samples)
    assert all(image.dtype == np.uint8 for image in images)
    lowest, highest = (0, 0) if middle == 0 else (0, 255)
    assert [int(image[0, 0]) for image in images] == [lowest, middle, highest]
    to_images(samples)
    [text] = warned
    assert f"{dtype} and values from {float(samples[0].min()):g} to " in text
    assert "stretched" in text
    assert "`image_fn`" in text


def assert_alike(image, original):
    """Whether an image shows another, whatever its brightness and contrast."""
    for channel, other in zip(
        np.moveaxis(np.atleast_3d(image), -1, 0),
        np.moveaxis(np.atleast_3d(original), -1, 0),
        strict=True,
    ):
        assert np.corrcoef(channel.ravel(), other.ravel())[0, 1] > 0.999
    assert int(image.max()) - int(image.min()) > 150


PHOTOS = np.stack([photo(seed=i) for i in range(4)])
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SCALINGS = {
    "standardised": lambda x: (x - x.mean()) / x.std(),
    "each image standardised": lambda x: np.stack(
        [(i - i.mean()) / i.std() for i in x]
    ),
    "each pixel standardised": lambda x: (x - x.mean(0)) / (x.std(0) + 1e-7),
    "of ImageNet": lambda x: (x / 255 - MEAN) / STD,
    "less the mean": lambda x: x - x.mean((0, 1, 2)),
    "of Caffe": lambda x: x[..., ::-1] - np.array([103.939, 116.779, 123.68]),
    "12 bits": lambda x: np.uint16(x / 255 * 4095),
    "16 bits": lambda x: np.uint16(x * 257.0),
    "CT": lambda x: np.int16(x * 16 - 1024),
    "a narrow range": lambda x: np.uint16(x + 30000),
    "hundredths": lambda x: x / 25500,
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", None])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_what_models_are_trained_on_can_be_seen(warned, scaling, dtype):
    scaled = SCALINGS[scaling](PHOTOS.astype(np.float64))
    if dtype is not None and scaled.dtype.kind == "f":
        scaled = scaled.astype(dtype)
    originals = PHOTOS[..., ::-1] if scaling == "of Caffe" else PHOTOS
    if scaling == "each pixel standardised":
        originals = scaled
    for image, original in zip(to_images(list(scaled)), originals, strict=True):
        assert_alike(image, original.astype(np.float64))
    assert len(warned) == 1


@pytest.mark.any_backend
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_pictures_are_seen_whatever_they_were_scaled_by(data):
    factor = data.draw(st.floats(1e-3, 1e4))
    offset = data.draw(st.floats(-3, 3)) * 255 * factor
    channels = data.draw(st.sampled_from([1, 3, 5, 13]))
    originals = np.stack([photo(24, 24, channels, seed=i) for i in range(2)])
    images = to_images(list(originals * factor + offset))
    for image, original in zip(images, originals[..., :3].astype(float), strict=True):
        shown = np.atleast_3d(image).astype(float)
        assert shown.shape == original.shape
        # Monotone, but for what is clipped, and with contrast to see.
        kept = (shown > 0) & (shown < 255)
        assert shown.max() - shown.min() > 14
        assert kept.any()
        assert np.corrcoef(shown[kept], original[kept])[0, 1] > 0.9


def test_pictures_of_standardised_rare_pixels_are_stretched(warned):
    x = np.full((100, 100), -0.06)
    x.flat[::400] = 24.0
    x[0, 0] = 70.0
    assert abs(x.mean()) < 0.1
    [image] = to_images([x])
    assert image.max() == 255
    assert "-0.06 to 70" in warned[0]
    # Noise around black does not make 0 to 255 another range.
    noisy = photo().astype(np.float32) - 3
    np.testing.assert_allclose(
        to_images([noisy])[0], np.maximum(photo().astype(int) - 3, 0)
    )


def test_color_stays_where_channels_are_alike(warned):
    x = photo().astype(np.float32)
    [image] = to_images([x * 100 - 8000])
    np.testing.assert_allclose(
        image, (x - x.min()) / (x.max() - x.min()) * 255, atol=0.51
    )
    assert "by itself" not in warned[0]


@pytest.mark.parametrize(
    ("factors", "offsets"),
    [
        ([1, 1, 1], [0, 1000, 0]),
        ([1, 100, 10000], [0, 0, 0]),
        ([1, 1, 50], [500, 300, -9000]),
    ],
)
def test_channels_that_differ_are_stretched_by_themselves(warned, factors, offsets):
    x = [photo(seed=i) * np.array(factors) + np.array(offsets) for i in range(3)]
    images = np.stack(to_images(x))
    for channel in range(3):
        values = np.stack(x)[..., channel]
        low, high = values.min(), values.max()
        np.testing.assert_allclose(
            images[..., channel], (values - low) / (high - low) * 255, atol=0.51
        )
    assert "each channel by itself" in warned[0]


def test_a_constant_channel_leaves_the_others_their_colors():
    x = photo().astype(np.uint16) * 100
    x[..., 2] = 0
    [image] = to_images([x])
    assert_alike(image[..., :2], photo()[..., :2])
    assert not image[..., 2].any()
    assert not to_images([np.full((2, 2, 3), 1000, np.uint16)])[0].any()


def test_images_of_several_forms_have_one_range(warned):
    color, gray = np.full((2, 2, 3), -5.0), np.full((3, 3), 15.0)
    images = to_images([color, gray, np.full((2, 2, 3), 5.0)])
    assert [int(image.flat[0]) for image in images] == [0, 255, 128]
    assert len(warned) == 1


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_nan_and_infinity_are_refused(wrong, position, dtype):
    samples = [np.full((2, 2), 0.5, dtype) for _ in range(3)]
    samples[position][1, 1] = wrong
    with pytest.raises(ValueError, match=r"NaN or infinity.*`image_fn`"):
        to_images(samples)


@given(low=st.floats(-2, 0.5), high=st.floats(0.5, 1.999), share=st.floats(0.01, 0.99))
def test_0_to_255_is_never_the_range_where_the_maximum_is_near_1(low, high, share):
    middle = low + share * (high - low)
    images = []
    with contextlib.suppress(ValueError):
        images = to_images([np.array([[low, middle, high]])])
    assert all(image.max() >= 128 for image in images)


def test_what_resizing_overshoots_is_clipped():
    """Bicubic interpolation of black and white: an eighth above and below."""
    checks = np.kron(np.indices((4, 4)).sum(0) % 2, np.ones((4, 4)))
    for scale, offset in ((1, 0), (2, -1), (255, 0)):
        x = np.float32(checks * scale + offset)
        x = cv2.resize(x, (40, 40), interpolation=cv2.INTER_CUBIC)
        assert x.min() < offset
        [image] = to_images([x])
        expected = np.clip((x - offset) * (255 / scale), 0, 255)
        np.testing.assert_allclose(image, expected, atol=0.51)


def test_integers_of_0_and_1_are_said_once(warned):
    to_images([np.array([[0, 1]], np.uint8), np.array([[0, 0]], np.uint8)])
    to_images([np.array([[0, 1]], np.int64)])
    to_images([np.array([[False, True]]), np.array([[0.0, 1.0]])])
    [text] = warned
    assert "integers, all of them 0 or 1" in text


def test_others_are_shown_by_the_rule_of_the_samples():
    rule = ImageRule([np.array([[0.0, 1.0]])])
    assert rule(np.array([[-3.0, 0.5, 7.0]])).tolist() == [[0, 128, 255]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rule(np.array([[0.5, np.nan]])) is None
        assert rule(np.array([[0.5, -np.inf]])) is None
        assert rule(np.array([[1e300, -1e300]])).tolist() == [[255, 0]]
        assert rule(np.zeros(3)) is None
    rule = ImageRule([np.array([[0, 1]], np.uint8)])
    assert rule(np.array([[1, 1]], np.uint8)).tolist() == [[255, 255]]


def test_others_are_stretched_by_the_range_of_the_samples():
    rule = ImageRule([np.array([[-4.0, 6.0]])])
    assert rule(np.array([[-9.0, 1.0, 7.0]])).tolist() == [[0, 128, 255]]
    apart = np.array([[[0.0, 100, 5000], [10, 110, 9000]]])
    rule = ImageRule([apart])
    assert rule(np.array([[[5, 99, 9999.0]]])).tolist() == [[[128, 0, 255]]]
    assert rule(np.array([[9000.0, 0]])).tolist() == [[255, 0]]


def test_what_is_not_finite_does_not_tell_the_range():
    known = [np.array([[-2.0, 2.0]]), np.array([[0.0, np.inf]]), np.zeros(0)]
    rule = ImageRule([*known, np.array([[np.nan, 9e9]])])
    assert rule.is_known
    assert rule(known[0]).tolist() == [[0, 255]]
    assert not ImageRule(known[1:]).is_known


# --- A fourth channel ---------------------------------------------------------------


def four_channels(fourth, dtype="uint8"):
    image = np.full((8, 8, 4), 100, np.uint8)
    image[..., 3] = fourth
    return image if dtype == "uint8" else (image / 255).astype(dtype)


CUT_OUT = np.where(np.indices((8, 8)).sum(0) > 7, 255, 0)
SOFT_EDGE = np.where(np.indices((8, 8)).sum(0) == 13, 128, CUT_OUT)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("fourth", [255, CUT_OUT, SOFT_EDGE])
def test_opacity_is_kept(warned, fourth, dtype):
    images = to_images([four_channels(255, dtype), four_channels(fourth, dtype)])
    np.testing.assert_array_equal(images[1], four_channels(fourth))
    assert not warned


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    "fourth",
    [0, 1, 40, 254, np.arange(64).reshape(8, 8) * 4, np.where(CUT_OUT, 60, 0)],
)
def test_a_fourth_channel_that_would_hide_the_image_is_not_shown(warned, fourth, dtype):
    images = to_images([four_channels(fourth, dtype), four_channels(fourth, dtype)])
    assert [image.shape for image in images] == [(8, 8, 3)] * 2
    assert (images[0] == 100).all()
    [text] = warned
    assert "a fourth channel that is not opacity" in text
    assert "`image_fn`" in text


def test_no_image_is_hidden_by_what_is_opacity_in_others():
    images = to_images([four_channels(255), four_channels(0), np.zeros((8, 8), "u1")])
    assert [image.shape for image in images] == [(8, 8, 3)] * 2 + [(8, 8)]


# --- Maps ---------------------------------------------------------------------------

# Of Viridis, as RGB, on which OpenCV's versions agree to 1.
DARKEST, BRIGHTEST, BLACK = [68, 1, 84], [253, 231, 37], [0, 0, 0]


def assert_colors(row, *expected):
    np.testing.assert_allclose(row, expected, atol=1.1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint16", "int8"])
def test_a_map_of_any_range_is_shown_from_its_lowest_to_its_highest(dtype):
    image = map_to_image(np.array([[3, 50, 100]], dtype))
    assert image.dtype == np.uint8
    assert image.shape == (1, 3, 3)
    assert_colors(image[0, [0, 2]], DARKEST, BRIGHTEST)


def test_maps_of_one_scale():
    image = map_to_image(np.array([[-5.0, 0.0, 80.0, 99.0]]), low=0, high=80)[0]
    assert_colors(image, DARKEST, DARKEST, BRIGHTEST, BRIGHTEST)
    beyond = np.array([[90.0, 100.0]])
    assert_colors(map_to_image(beyond, high=80)[0], BRIGHTEST, BRIGHTEST)
    assert_colors(map_to_image(beyond, low=120)[0], DARKEST, DARKEST)


def test_what_is_unknown_in_a_map_is_black():
    image = map_to_image(np.array([[np.nan, 1.0, 2.0, np.inf]]))[0]
    assert_colors(image, BLACK, DARKEST, BRIGHTEST, BLACK)
    assert not image[[0, 3]].any()
    assert not map_to_image(np.full((2, 2), np.nan)).any()


def test_a_map_without_contrast_and_tensors():
    assert_colors(map_to_image(np.full((1, 1), 7.0))[0], DARKEST)
    tensor = keras.ops.convert_to_tensor(np.array([[[0.0], [9.0]]], np.float32))
    assert_colors(map_to_image(tensor)[0], DARKEST, BRIGHTEST)


@pytest.mark.usefixtures("channels_first")
def test_a_map_with_its_channel_first():
    assert map_to_image(np.zeros((1, 4, 5))).shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((4, 5, 3)), {}, r"an image of one channel.*\(4, 5, 3\)"),
        (np.zeros(4), {}, r"an image of one channel.*\(4,\)"),
        (np.zeros((0, 4)), {}, "an image of one channel"),
        (np.array([["a"]]), {}, "must be numbers"),
        (np.zeros((4, 5)), {"low": 2, "high": 1}, "`low` must not be above `high`"),
        (np.zeros((4, 5)), {"low": np.nan, "high": 1}, "`low` must not be above"),
    ],
)
def test_what_is_no_map(values, options, message):
    with pytest.raises(ValueError, match=message):
        map_to_image(values, **options)


# --- Shapes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 4), (5, 4)),
        ((5, 4, 1), (5, 4)),
        ((5, 4, 3), (5, 4, 3)),
        ((5, 4, 4), (5, 4, 4)),
        ((1, 1), (1, 1)),
        ((1, 1, 3), (1, 1, 3)),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_shapes(shape, expected, dtype):
    assert to_images([np.ones(shape, dtype)])[0].shape == expected


@pytest.mark.parametrize("channels", range(5, 14))
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int16"])
def test_of_many_channels_the_first_three_are_shown(warned, channels, dtype):
    x = np.concatenate(
        [photo(12, 9), np.full((12, 9, channels - 3), 77, np.uint8)], axis=-1
    ).astype(dtype)
    x[..., 3:] *= 100  # Tells no range.
    np.testing.assert_array_equal(to_images([x])[0], photo(12, 9))
    [text] = warned
    assert f"{channels} channels: they are shown by their first three" in text
    assert "`image_fn" in text


def test_of_two_channels_the_first_one_is_shown(warned):
    x = np.stack([photo()[..., 0], photo()[..., 0] * 0 + 9], axis=-1)
    np.testing.assert_array_equal(to_images([x, x])[1], photo()[..., 0])
    [text] = warned
    assert "2 channels: they are shown by their first one" in text


def test_depth_as_a_fourth_channel_does_not_tell_the_range(warned):
    x = np.concatenate([photo() / 255, photo(channels=1) / 3 + 1], axis=-1)
    np.testing.assert_array_equal(to_images([x])[0], photo())
    assert "a fourth channel that is not opacity" in warned[0]
    opaque = np.concatenate([photo() * 257.0, np.full((48, 64, 1), 65535)], axis=-1)
    assert to_images([opaque.astype(np.uint16)])[0].shape == (48, 64, 3)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_of_frames_the_middle_one_is_shown(warned, frames):
    x = np.stack([photo(seed=i) for i in range(frames)])
    np.testing.assert_array_equal(to_images([x])[0], photo(seed=frames // 2))
    [text] = warned
    assert "shown by the middle one" in text


def test_frames_without_channels():
    x = np.stack([photo(20, 20, seed=i)[..., 0] for i in range(5)])
    np.testing.assert_array_equal(to_images([x])[0], x[2])


def test_channels_first_where_keras_says_last(warned):
    x = np.moveaxis(photo(), -1, 0)
    np.testing.assert_array_equal(to_images([x])[0], photo())
    np.testing.assert_array_equal(to_images([x[:1]])[0], photo()[..., 0])
    [text] = warned
    assert "have their channels first, other than" in text


@pytest.mark.parametrize(
    "shape",
    [(), (5,), (0, 4), (5, 0, 3), (2, 2, 5, 4, 3), (16000, 1), (70, 2), (1, 500)],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_what_has_no_shape_of_an_image_is_refused(shape, dtype):
    with pytest.raises(ValueError, match="`image_fn`") as error:
        to_images([np.zeros(shape, dtype)])
    assert f"Received: {dtype} of shape {shape}" in str(error.value)


@pytest.mark.parametrize(
    "sample", [np.array([["a"]]), np.array([[None]]), np.zeros((2, 2), complex), {}, ()]
)
def test_what_has_no_values_of_an_image_is_refused(sample):
    with pytest.raises(ValueError, match="`image_fn`"):
        to_images([sample])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 5, 4), (5, 4, 3)), ((1, 5, 4), (5, 4)), ((5, 4), (5, 4))],
)
@pytest.mark.usefixtures("channels_first")
def test_channels_first(shape, expected):
    sample = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    [image] = to_images([sample])
    assert image.shape == expected
    moved = sample if sample.ndim == 2 else np.moveaxis(sample, 0, -1)
    np.testing.assert_array_equal(image, moved.reshape(expected))


@pytest.mark.usefixtures("channels_first")
def test_other_forms_with_channels_first(warned):
    np.testing.assert_array_equal(to_images([photo()])[0], photo())
    assert "have their channels last, other than" in warned[0]
    many = np.concatenate([np.moveaxis(photo(), -1, 0)] * 2)
    np.testing.assert_array_equal(to_images([many])[0], photo())
    volume = np.stack([np.moveaxis(photo(seed=i), -1, 0) for i in range(5)])
    np.testing.assert_array_equal(to_images([volume])[0], photo(seed=2))
    volume = np.moveaxis(volume, 1, 0)  # As `Conv3D` has it.
    np.testing.assert_array_equal(to_images([volume])[0], photo(seed=2))
    with pytest.raises(ValueError, match=r"\(channels, height, width\).*\(5,\)"):
        to_images([np.zeros(5)])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda image: (np.arange(3.0), image),
        lambda image: {"image": image, "id": np.array(7)},
        lambda image: {"a": {"b": (image, np.zeros(4))}},
        lambda image: (image,),
    ],
)
def test_of_several_inputs_the_image_is_shown(wrap):
    expected = photo()
    [image] = to_images([wrap(expected)])
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    "sample",
    [
        (photo(), photo(seed=1)),
        (photo(20, 20, seed=1), photo()),
        {"features": np.zeros((300, 400)), "image": photo()},
        {"bands": np.zeros((90, 90, 12)), "image": photo()},
        (np.zeros((3, 90, 90, 3)), photo()),
    ],
)
def test_of_several_images_one_is_shown(sample):
    np.testing.assert_array_equal(to_images([sample])[0], photo())


def test_that_one_of_several_images_is_shown_is_said(warned):
    to_images([(photo(), photo(seed=1))] * 2)
    [text] = warned
    assert "have several images: the largest is shown, of equal ones the first" in text


def test_no_image_in_a_sample_is_refused():
    with pytest.raises(ValueError, match=r"an image in each sample.*`image_fn`"):
        to_images([{"a": np.zeros(3), "b": 2.0}])


def test_tensors_of_the_backend():
    tensor = keras.ops.convert_to_tensor(np.array([[0.0, 1.0]], np.float32))
    for dtype in ("float32", "bfloat16"):
        assert to_images([keras.ops.cast(tensor, dtype)])[0].tolist() == [[0, 255]]


@pytest.mark.any_backend
@pytest.mark.filterwarnings("error::RuntimeWarning")
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_array_becomes_an_image_or_a_clear_error(data):
    dtypes = st.one_of(
        st_numpy.boolean_dtypes(),
        st_numpy.integer_dtypes(endianness="?"),
        st_numpy.unsigned_integer_dtypes(endianness="?"),
        st_numpy.floating_dtypes(endianness="?"),
        st_numpy.complex_number_dtypes(),
        st_numpy.unicode_string_dtypes(max_len=2),
    )
    scale = data.draw(st.sampled_from([None, 1.0, 255.0]))
    arrays = []
    for _ in range(data.draw(st.integers(1, 3))):
        dtype = data.draw(dtypes)
        shape = data.draw(st_numpy.array_shapes(min_dims=0, max_dims=5, max_side=5))
        elements = None
        if scale is not None and dtype.kind == "f":
            low = data.draw(st.sampled_from([-scale, 0.0]))
            elements = st.floats(low, scale, width=8 * min(dtype.itemsize, 8))
        arrays.append(data.draw(st_numpy.arrays(dtype, shape, elements=elements)))
    images, refusal = [], None
    try:
        images = to_images(arrays)
    except ValueError as error:
        refusal = str(error)
    if refusal is not None:
        assert "`image_fn`" in refusal
        return
    assert len(images) == len(arrays)
    for image, array in zip(images, arrays, strict=True):
        assert image.dtype == np.uint8
        assert image.ndim == 2 or image.shape[2] in (3, 4)
        assert image.shape[:2] == array.shape[array.ndim == 4 :][:2]
        assert len(encode(image, "png")) > 0


@pytest.mark.any_backend
@settings(max_examples=100, deadline=None)
@given(
    image=st_numpy.arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * 2)),
    scale=st.sampled_from([(1, 0), (1 / 255, 0), (1 / 127.5, -1)]),
)
def test_the_usual_scalings_are_undone(image, scale):
    extremes = np.array([[0, 255]], np.uint8)  # So that the range tells the rule.
    factor, offset = scale
    samples = [i.astype(np.float32) * factor + offset for i in (image, extremes)]
    np.testing.assert_array_equal(to_images(samples)[0], image)


# --- image_fn ---------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (5, 4, 4)])
def test_images_of_image_fn_stay(shape):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(check_image(image), image)
    tensor = keras.ops.convert_to_tensor(image)
    np.testing.assert_array_equal(check_image(tensor), image)


def test_one_channel_of_image_fn_is_dropped():
    assert check_image(np.zeros((5, 4, 1), np.uint8)).shape == (5, 4)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((5, 4)),
        np.zeros((5, 4, 2), np.uint8),
        np.zeros((3, 5, 6), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
        None,
        "image.png",
    ],
)
def test_what_image_fn_must_not_return(image):
    with pytest.raises(ValueError, match=r"`image_fn` must return a uint8 array"):
        check_image(image)


# --- Files ------------------------------------------------------------------------

STORED = [
    photo(channels=1)[..., 0],
    photo(),
    photo(channels=4),
    photo()[::-1, ::2],
    np.moveaxis(np.ascontiguousarray(np.moveaxis(photo(), -1, 0)), 0, -1),
    np.array([[7]], np.uint8),
]


@pytest.mark.parametrize("image", STORED)
def test_png_is_lossless(image):
    decoded = PIL.Image.open(io.BytesIO(encode(image, "png")))
    assert decoded.format == "PNG"
    np.testing.assert_array_equal(np.asarray(decoded), image)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("image_format", ["png", "jpg"])
def test_files_are_about_as_large_as_those_of_pillow(channels, image_format):
    image = photo(256, 256, channels)
    image = image[..., 0] if channels == 1 else image
    theirs = io.BytesIO()
    PIL.Image.fromarray(image).save(theirs, {"jpg": "jpeg"}.get(image_format, "png"))
    assert len(encode(image, image_format)) < 1.1 * len(theirs.getvalue())


def test_jpg_is_as_close_as_that_of_pillow():
    image = photo(256, 256)
    theirs = io.BytesIO()
    PIL.Image.fromarray(image).save(theirs, "jpeg")

    def error(file):
        return np.abs(np.asarray(PIL.Image.open(file), float) - image).mean()

    assert error(io.BytesIO(encode(image, "jpg"))) < 1.05 * error(theirs)


def test_jpg_leaves_out_transparency():
    image = photo(channels=4)
    decoded = PIL.Image.open(io.BytesIO(encode(image, "jpg")))
    assert decoded.mode == "RGB"
    assert encode(image, "jpg") == encode(image[..., :3], "jpg")


def test_what_opencv_can_not_encode_is_an_error_of_ours():
    with pytest.raises(ValueError, match=r"could not encode .* \(1, 70000\)"):
        encode(np.zeros((1, 70000), np.uint8), "jpg")


@pytest.mark.parametrize("image_format", ["png", "jpg"])
def test_formats(image_format):
    check_image_format(image_format)


@pytest.mark.parametrize("image_format", ["jpeg", "PNG", "", None, 3])
def test_other_formats_are_refused(image_format):
    with pytest.raises(ValueError, match="`image_format` must be 'png'"):
        check_image_format(image_format)


def test_encoded_images_in_order(tmp_path):
    images = [photo(20 + i, 30, seed=i) for i in range(12)]
    done = []
    encoded = encode_images(
        images, Folder(tmp_path / "media", shared=True), done=lambda: done.append(1)
    )
    assert len(done) == 12
    for image, media in zip(images, encoded, strict=True):
        assert isinstance(media, wandb.Image)
        assert (media._height, media._width) == image.shape[:2]
        assert media.image.size == image.shape[1::-1]
        np.testing.assert_array_equal(np.asarray(media.image), image)
    assert encode_images([], Folder(tmp_path / "none", shared=True)) == []


def test_equal_images_share_a_file(tmp_path):
    folder = Folder(tmp_path, shared=True)
    encode_images([photo(), photo(seed=1), photo()], folder, "jpg")
    assert sorted(path.suffix for path in tmp_path.glob("*/*")) == [".jpg", ".jpg"]


@pytest.mark.parametrize("shared", [True, False])
def test_one_file_of_equal_masks_that_are_written_side_by_side(tmp_path, shared):
    folder = Folder(tmp_path, shared=shared)
    masks = [np.full((3, 4), i % 3, np.uint8) for i in range(300)]
    layers = encode_masks(masks, folder, "truth", {0: "a", 1: "b", 2: "c"})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(folder.files) == sorted(map(str, files))
    assert len(files) == len({layer._path for layer in layers}) == 3


def test_masks_are_lossless(tmp_path):
    masks = [np.arange(i, i + 12, dtype=np.uint8).reshape(3, 4) for i in (0, 244)]
    names = {0: "sky", 255: "tree"}
    encoded = encode_masks(masks, Folder(tmp_path, shared=True), "truth", names)
    for mask, media in zip(masks, encoded, strict=True):
        assert isinstance(media, wandb.data_types.ImageMask)
        with PIL.Image.open(media._path) as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.asarray(image), mask)
