"""Masks and outputs of all kinds, read as class ids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy.special import softmax

from wandb_eval.segmentation import read_masks, read_outputs
from wandb_eval.segmentation.masks import (
    NOT_A_NUMBER,
    depends_on_logits,
    num_outputs,
)

IDS = np.array([[[0, 1, 2], [2, 1, 0]], [[1, 1, 1], [0, 0, 2]]])


# --- Masks ------------------------------------------------------------------------


DTYPES = "u1", "i1", "u2", ">u2", "i4", ">i4", "u4", "i8", "u8", "f2", "f4", "f8", ">f8"


@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_of_every_dtype_and_shape(dtype):
    native = np.dtype(dtype).newbyteorder("=")
    small = native.kind in "ui" and native.itemsize < 4
    for y in (IDS, IDS[..., None], np.eye(3)[IDS]):
        read = read_masks(y.astype(dtype))
        is_one_hot = y.shape[-1] == 3 and y.ndim == 4
        assert read.dtype == (native if small and not is_one_hot else np.int32)
        np.testing.assert_array_equal(read, IDS)


def test_masks_of_booleans_and_of_lists():
    np.testing.assert_array_equal(read_masks(IDS > 0), IDS > 0)
    np.testing.assert_array_equal(read_masks(np.eye(3, dtype=bool)[IDS]), IDS)
    np.testing.assert_array_equal(read_masks(list(IDS)), IDS)


@pytest.mark.parametrize("dtype", ["int16", "int64", "float32"])
def test_ids_below_zero_stay(dtype):
    assert read_masks((IDS - 1).astype(dtype)).min() == -1


@pytest.mark.parametrize(
    "large", [np.int64(2**32), np.uint64(2**63), np.float32(np.inf), np.uint32(2**31)]
)
def test_ids_of_more_than_32_bits_do_not_become_those_of_a_class(large):
    assert read_masks(np.full((1, 1, 1), large)).item() > 2**16


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.uint64])
def test_ids_that_are_large_stay_what_they_are(dtype):
    ids = np.array([[[0, 1, 2**31, 2**32 - 1]]], dtype)
    np.testing.assert_array_equal(read_masks(ids), ids)


def test_zeros_of_one_hot_masks_may_be_a_large_id():
    one_hot = np.array([[[[1, 0], [0, 0]]]])
    masks = read_masks(one_hot, ignore_index=2**40)
    np.testing.assert_array_equal(masks, [[[0, 2**40]]])


def test_one_hot_pixels_of_zeros_are_ignored_if_something_is():
    one_hot = np.eye(3)[IDS]
    one_hot[0, 0, 0] = 0
    expected = IDS.copy()
    expected[0, 0, 0] = -1
    np.testing.assert_array_equal(read_masks(one_hot, ignore_index=-1), expected)
    with pytest.raises(
        ValueError, match="zeros are to be ignored, pass `ignore_index`"
    ):
        read_masks(one_hot)


def test_channels_first(channels_first):
    one_hot = np.moveaxis(np.eye(3)[IDS], -1, 1)
    np.testing.assert_array_equal(read_masks(one_hot), IDS)
    np.testing.assert_array_equal(read_masks(IDS[:, None]), IDS)
    np.testing.assert_array_equal(read_outputs(one_hot, (2, 3)), IDS)
    larger = read_outputs(one_hot, (4, 6), from_logits=False)
    assert larger.shape == (2, 4, 6)
    np.testing.assert_array_equal(larger[:, ::3, ::5], IDS[:, :, ::2])
    assert num_outputs(one_hot) == 3
    assert depends_on_logits(one_hot, (4, 6))
    assert not depends_on_logits(one_hot, (2, 3))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full((1, 2, 2), 0.5), "not probabilities. Received: 0.5"),
        (np.full((1, 2, 2), np.nan), "Received: nan"),
        (np.full((1, 2, 2, 3), 1 / 3), "not probabilities"),
        (np.zeros((2, 2)), r"\(batch, height, width\).*float64 of shape \(2, 2\)"),
        (np.array([[["a"]]]), "Received: str32 of shape"),
        (np.ones((1, 2, 2, 3)), "must be one-hot"),
        (np.full((1, 2, 2, 3), [1, 1, -1]), "must be one-hot"),
        (np.full((1, 2, 2, 2), [3, -2]), "must be one-hot"),
        ([np.zeros((2, 2)), np.zeros((3, 2))], "must be of one size"),
        ({"mask": IDS}, r"a dict of \['mask'\]. Pass `output_key`"),
        ((IDS, IDS), "2 of them. Pass `output_key`"),
    ],
)
def test_masks_that_are_none(y, message):
    with pytest.raises(ValueError, match=message):
        read_masks(y)


def test_ragged_masks_are_refused():
    tf = pytest.importorskip("tensorflow")
    ragged = tf.ragged.stack([tf.zeros((2, 2)), tf.zeros((3, 2))])
    with pytest.raises(ValueError, match="of one size"):
        read_masks(ragged)


# --- Outputs ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_outputs_at_the_size_of_the_mask(dtype):
    scores = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(dtype)
    for from_logits in (True, False):
        ids = read_outputs(scores, (4, 5), from_logits)
        assert ids.dtype == np.int32
        np.testing.assert_array_equal(ids, scores.argmax(-1))


@pytest.mark.parametrize("channels", [2, 3, 32, 33, 256])
def test_the_first_of_the_best_classes(channels):
    rng = np.random.default_rng(channels)
    scores = rng.integers(0, 4, (3, 9, 7, channels)).astype(np.float32)
    ids = read_outputs(scores, (9, 7))
    np.testing.assert_array_equal(ids, scores.argmax(-1))
    scores[0, 2, 3, channels // 2] = np.nan
    scores[1, 4, 5, 0] = np.inf
    ids = read_outputs(scores, (9, 7))
    assert ids[0, 2, 3] == NOT_A_NUMBER
    assert ids[1, 4, 5] == 0
    assert (ids < 0).sum() == 1


def test_bands_of_a_large_image_are_put_together():
    scores = np.random.default_rng(0).normal(size=(2, 301, 300, 3)).astype(np.float32)
    scores[1, -1, 5, 1] = np.nan
    expected = scores.argmax(-1)
    expected[1, -1, 5] = NOT_A_NUMBER
    np.testing.assert_array_equal(read_outputs(scores, (301, 300)), expected)


@pytest.mark.parametrize("channels", [2, 7, 19, 40])
def test_resized_are_the_probabilities_of_scipy(channels):
    rng = np.random.default_rng(channels)
    logits = rng.normal(size=(1, 9, 8, channels)).astype(np.float32)
    np.testing.assert_array_equal(
        read_outputs(logits, (21, 30)),
        read_outputs(softmax(logits, axis=-1), (21, 30), from_logits=False),
    )


def test_one_channel_is_a_sigmoid_unit():
    logits = np.array([[-2.0, -0.1], [0.0, 3.0]]).reshape(1, 2, 2, 1)
    assert read_outputs(logits, (2, 2)).tolist() == [[[0, 0], [1, 1]]]
    assert read_outputs(logits, (2, 2), threshold=0.9).tolist() == [[[0, 0], [0, 1]]]
    probabilities = 1 / (1 + np.exp(-logits))
    for threshold in (0.5, 0.9):
        np.testing.assert_array_equal(
            read_outputs(probabilities, (2, 2), from_logits=False, threshold=threshold),
            read_outputs(logits, (2, 2), threshold=threshold),
        )


@settings(deadline=None, max_examples=25)
@given(
    channels=st.sampled_from([1, 2, 3, 7, 150]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    from_logits=st.booleans(),
    seed=st.integers(0, 99),
)
def test_other_sizes_are_interpolated_between_pixel_centres(
    channels, height, width, from_logits, seed
):
    logits = np.random.default_rng(seed).normal(size=(2, 4, 6, channels), scale=3)
    activation = ops.sigmoid if channels == 1 else ops.softmax
    probabilities = ops.convert_to_numpy(activation(logits))
    outputs = logits if from_logits else probabilities
    ids = read_outputs(outputs, (height, width), from_logits)
    assert ids.shape == (2, height, width)
    resized = interpolated(interpolated(probabilities, height, 1), width, 2)
    if channels == 1:
        resized = np.concatenate([1 - resized, resized], axis=-1)
    chosen = np.take_along_axis(resized, ids[..., None], axis=-1)[..., 0]
    # The best class, or an equally good one.
    np.testing.assert_allclose(chosen, resized.max(axis=-1), atol=1e-5)


def interpolated(array, size, axis):
    """Linear interpolation along one axis, by its definition."""
    length = array.shape[axis]
    place = ((np.arange(size) + 0.5) * length / size - 0.5).clip(0, length - 1)
    low = np.floor(place).astype(int)
    shape = [1] * array.ndim
    shape[axis] = size
    weight = (place - low).reshape(shape)
    first = array.take(low, axis)
    second = array.take(np.minimum(low + 1, length - 1), axis)
    return first * (1 - weight) + second * weight


def test_enlarging_is_what_keras_does():
    logits = np.random.default_rng(1).normal(size=(2, 4, 6, 5)).astype("float32")
    ids = read_outputs(logits, (12, 15))
    resized = ops.image.resize(ops.softmax(logits), (12, 15), interpolation="bilinear")
    resized = ops.convert_to_numpy(resized)
    chosen = np.take_along_axis(resized, ids[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(chosen, resized.max(axis=-1), atol=1e-5)


def test_probabilities_are_interpolated_and_not_logits():
    # At the third of four pixels, a quarter of the way from the second one, the first
    # class has 0.25 * 1 + 0.75 * 0.27 = 0.45; of logits it would be 0.25 * 20 - 0.75.
    logits = np.array([[20.0, 0.0], [-1.0, 0.0]]).reshape(1, 1, 2, 2)
    assert read_outputs(logits, (1, 4)).tolist() == [[[0, 0, 1, 1]]]


def test_outputs_that_are_not_numbers():
    scores = np.zeros((1, 2, 2, 3), np.float32)
    scores[0, 0, 0, 1] = np.nan
    scores[0, 1, 1, 2] = 5
    expected = [[[NOT_A_NUMBER, 0], [0, 2]]]
    assert read_outputs(scores, (2, 2)).tolist() == expected
    for from_logits in (True, False):
        larger = read_outputs(scores, (4, 4), from_logits)
        assert larger[0, 0, 0] == NOT_A_NUMBER
        assert larger[0, 3, 3] == 2
    one = np.array([[np.nan, 3.0]], np.float32).reshape(1, 1, 2, 1)
    assert read_outputs(one, (1, 2)).tolist() == [[[NOT_A_NUMBER, 1]]]
    assert read_outputs(one, (2, 4))[0, :, [0, 3]].tolist() == [[-1, -1], [1, 1]]


def test_infinite_logits_are_sure_of_their_class():
    scores = np.zeros((1, 1, 2, 3), np.float32)
    scores[0, 0, 0] = [0, np.inf, 0]
    scores[0, 0, 1] = [-np.inf, -np.inf, 0]
    assert read_outputs(scores, (1, 2)).tolist() == [[[1, 2]]]
    assert read_outputs(scores[:, :, 1:], (2, 2)).tolist() == [[[2, 2], [2, 2]]]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (np.zeros((2, 3)), r"\(batch, height, width, channels\). Received: \(2, 3\)"),
        (np.zeros((2, 3, 4)), r"Received: \(2, 3, 4\)"),
        ({"a": np.zeros((1, 2, 2, 3))}, r"several outputs: \['a'\]. Pass `output_key`"),
        ([np.zeros((1, 2, 2, 3))], r"\[float64 \(1, 2, 2, 3\)\]. Pass `output_key`"),
    ],
)
def test_outputs_that_are_none(outputs, message):
    with pytest.raises(ValueError, match=message):
        num_outputs(outputs)
