"""The readers of labels and outputs of classifiers."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy.special import expit, softmax

from wandb_eval.classification.labels import (
    read_labels,
    read_outputs,
    sums_of_others,
)

IDS = np.array([2, 0, 1, 1])
ONE_HOT = np.eye(3)[IDS]
MULTI_HOT = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1]])
NUMBERS = ["bool", "int8", "uint8", "int32", "int64", "uint64"]
NUMBERS += ["float16", "float32", "float64"]


# --- Labels -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NUMBERS[1:])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_ids(dtype, shape):
    labels = read_labels(IDS.astype(dtype).reshape(shape))
    assert labels.dtype == np.int64
    assert labels.tolist() == IDS.tolist()


def test_ids_that_are_bool():
    assert read_labels(np.array([True, False])).tolist() == [1, 0]
    assert read_labels(np.array([[True], [False]])).tolist() == [1, 0]


@pytest.mark.parametrize("dtype", NUMBERS)
def test_one_hot(dtype):
    labels = read_labels(ONE_HOT.astype(dtype))
    assert labels.dtype == np.int64
    assert labels.tolist() == IDS.tolist()


@pytest.mark.parametrize("dtype", NUMBERS)
def test_multi_hot(dtype):
    labels = read_labels(MULTI_HOT.astype(dtype), multi_label=True)
    assert labels.dtype == np.int64
    assert labels.tolist() == MULTI_HOT.tolist()


@pytest.mark.parametrize("dtype", ["int32", "float32", "bfloat16"])
def test_tensors_and_lists(dtype):
    tensor = keras.ops.cast(keras.ops.convert_to_tensor(IDS), dtype)
    assert read_labels(tensor).tolist() == IDS.tolist()
    assert read_labels(IDS.tolist()).tolist() == IDS.tolist()
    assert read_labels(list(ONE_HOT)).tolist() == IDS.tolist()


def test_no_labels():
    assert read_labels(np.zeros(0)).shape == (0,)
    assert read_labels(np.zeros((0, 3))).shape == (0,)
    assert read_labels(np.zeros((0, 3)), multi_label=True).shape == (0, 3)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, -1], "class ids from 0, or one-hot. Received: -1 among"),
        ([0, 0.5], "Received: 0.5 among"),
        ([0, np.nan], "Received: nan among"),
        ([0, np.inf], "Received: inf among"),
        ([0, 1e300], r"Received: 1e\+300 among"),
        (np.array([2**64 - 1], "uint64"), "Received: 18446744073709551615 among"),
        ([[0.9, 0.1], [1.0, 0.0]], "Received: 0.9 among"),
        ([[1, 2], [1, 0]], r"\(2, 2\) must be zeros and ones. Received: 2"),
        ([[1, 1, 0], [1, 0, 0]], "a row with 2.*`multi_label=True`"),
        ([[1, 0, 0], [0, 0, 0]], "a row with 0.*`multi_label=True`"),
        (3, r"must be of shape \(batch,\) .*Received: \(\)"),
        (np.zeros((2, 3, 4)), r"Received: \(2, 3, 4\)"),
        (["cat", "dog"], "array of numbers. Received: <U3"),
        ([1j], "array of numbers. Received: complex128"),
        ([None], "array of numbers. Received: object"),
        ([[0, 1], [1]], "must be an array"),
        ({"kind": IDS, "size": IDS}, r"\['kind', 'size'\]. Pass `output_key`"),
        ((IDS, IDS), "2 of them. Pass `output_key`"),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_what_are_no_labels(y, message):
    with pytest.raises(ValueError, match=message):
        read_labels(y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (IDS, r"must be of shape \(batch, num_classes\). Received: \(4,\)"),
        ([[0, 2]], "must be zeros and ones. Received: 2"),
        ([[0, -1]], "Received: -1 among"),
    ],
)
def test_what_are_no_labels_of_several_classes(y, message):
    with pytest.raises(ValueError, match=message):
        read_labels(y, multi_label=True)


def test_ragged_labels_are_refused():
    tf = pytest.importorskip("tensorflow")
    with pytest.raises(ValueError, match="array of numbers"):
        read_labels(tf.ragged.constant([[1], [2, 3]]))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@given(
    y=st_numpy.arrays(
        st.one_of(
            st_numpy.boolean_dtypes(),
            st_numpy.integer_dtypes(endianness="?"),
            st_numpy.unsigned_integer_dtypes(endianness="?"),
            st_numpy.floating_dtypes(endianness="?"),
            st_numpy.unicode_string_dtypes(max_len=2),
        ),
        st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    multi_label=st.booleans(),
)
def test_any_array_is_read_as_labels_or_refused(y, multi_label):
    try:
        labels = read_labels(y, multi_label)
    except ValueError as error:
        refusal = str(error)
    else:
        assert labels.dtype == np.int64
        assert labels.shape == (y.shape if multi_label else y.shape[:1])
        assert (labels >= 0).all()
        return
    assert "abels" in refusal
    assert "Received: " in refusal


# --- Outputs ----------------------------------------------------------------------

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-900.0, 900.0, 0.0]])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_softmax_stays(dtype):
    outputs = softmax(LOGITS, axis=1).astype(dtype)
    probabilities = read_outputs(outputs)
    assert probabilities.dtype == dtype
    np.testing.assert_array_equal(probabilities, outputs)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_logits(dtype):
    assert read_outputs(LOGITS.astype(dtype), from_logits=True).dtype == np.float64
    np.testing.assert_array_equal(
        read_outputs(LOGITS, from_logits=True), softmax(LOGITS, axis=1)
    )
    np.testing.assert_array_equal(
        read_outputs(LOGITS, from_logits=True, multi_label=True), expit(LOGITS)
    )


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_unit_is_the_probability_of_class_1(shape):
    unit = np.array([0.25, 1.0]).reshape(shape)
    assert read_outputs(unit).tolist() == [[0.25], [1.0]]
    logit = np.array([0.0, 900.0]).reshape(shape)
    assert read_outputs(logit, from_logits=True).tolist() == [[0.5], [1.0]]
    assert read_outputs(unit, multi_label=True).tolist() == [[0.25], [1.0]]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("from_logits", [False, True])
def test_nan_stays_in_its_row(multi_label, columns, from_logits):
    outputs = np.full((3, columns), 1 / columns)
    outputs[1, 0] = np.nan
    finite = np.isfinite(read_outputs(outputs, from_logits, multi_label))
    assert finite.all(axis=1).tolist() == [True, False, True]


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_infinite_logits():
    logits = np.array([[np.inf, 0.0], [-np.inf, 0.0]])
    probabilities = read_outputs(logits, from_logits=True)
    assert np.isnan(probabilities[0]).any()  # As in Keras.
    assert probabilities[1].tolist() == [0, 1]  # Minus infinity rules a class out.


@pytest.mark.parametrize("shape", [(), (2, 3, 4), (2, 4, 4, 3)])
def test_outputs_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="must be of shape") as error:
        read_outputs(np.zeros(shape))
    assert f"Received: {shape}" in str(error.value)


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        ({"kind": LOGITS, "size": LOGITS}, r"\['kind', 'size'\]"),
        ([LOGITS, LOGITS], r"\[float64 \(3, 3\), float64 \(3, 3\)\]"),
        ((LOGITS,), r"\(float64 \(3, 3\)\)"),
    ],
)
def test_several_outputs_are_refused(outputs, found):
    with pytest.raises(ValueError, match=f"several outputs: {found}.*`output_key`"):
        read_outputs(outputs)


@pytest.mark.parametrize(
    ("outputs", "sums"),
    [
        (np.eye(3), None),
        (softmax(LOGITS, axis=1).astype("float16"), None),
        (np.full((2, 1000), np.float16(0.001)).astype(float), None),
        (np.array([[1.0005, -0.0005]]), None),
        (np.array([[0.9, 0.8, 0.0]]), (1.7, 1.7)),
        (np.array([[0.5, 0.5], [0.2, 0.3]]), (0.5, 1)),
        (np.array([[0.9]]), None),
        (np.full((2, 3), np.nan), None),
        (np.array([[np.nan, 0.5], [0.5, 0.5]]), None),
        (np.zeros((0, 3)), None),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_probabilities(outputs, sums):
    assert sums_of_others(outputs) == (sums and pytest.approx(sums))
