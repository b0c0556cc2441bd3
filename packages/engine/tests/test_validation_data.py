"""Every kind of `validation_data`, what is refused, and the draw of samples."""

import itertools
import queue
import threading
import time
import weakref
from collections import namedtuple

import keras
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from wandb_eval.engine import ValidationData
from wandb_eval.engine.evaluation import data as module
from wandb_eval.engine.evaluation.fingerprint import content_key, same_content
from wandb_eval.engine.nested import alike, stack, to_numpy

N = 10
X = np.arange(N * 6, dtype=np.float32).reshape(N, 2, 3)
Y = np.arange(N)
PARTS = [slice(0, 4), slice(4, 8), slice(8, 10)]
BATCHES = [(X[part], Y[part]) for part in PARTS]


class Loader:
    """Batches as a torch `DataLoader` has them: lists, and a length or none."""

    def __init__(self, batches, has_length=True):
        self.batches = batches
        self.has_length = has_length

    def __len__(self):
        if not self.has_length:
            raise TypeError("object of type 'IterableDataset' has no len()")
        return len(self.batches)

    def __iter__(self):
        return iter([list(batch) for batch in self.batches])


class TorchTensor:
    """As much of a `torch.Tensor` as matters, one on a device that needs gradients."""

    def __init__(self, array, dtype="torch.float32"):
        self.array, self.dtype, self.shape = array, dtype, array.shape
        self.is_detached = self.is_on_cpu = False

    def detach(self):
        self.is_detached = True
        return self

    def cpu(self):
        self.is_on_cpu = True
        return self

    def float(self):
        self.dtype = "torch.float32"
        return self

    def numpy(self):
        assert self.is_detached
        assert self.is_on_cpu
        assert self.dtype != "torch.bfloat16", "NumPy has no bfloat16"
        return self.array


class Endless:
    def __iter__(self):
        return itertools.repeat(BATCHES[0])


class PyData(keras.utils.PyDataset):
    def __init__(self, num_batches=3):
        super().__init__()
        self.length = num_batches

    @property
    def num_batches(self):
        return self.length

    def __getitem__(self, index):
        return BATCHES[index % len(BATCHES)]


class LengthlessPyData(keras.utils.PyDataset):
    def __getitem__(self, index):
        return BATCHES[0]


class Lengthless:
    def __iter__(self):
        return iter(BATCHES)


def tf_dataset():
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)


def tf_dataset_of_unknown_length():
    tf = pytest.importorskip("tensorflow")
    signature = tf.TensorSpec((None, 2, 3)), tf.TensorSpec((None,), tf.int64)
    return tf.data.Dataset.from_generator(lambda: BATCHES, output_signature=signature)


ERROR_TYPES = {
    "arrays": lambda: (X, Y),
    "arrays and weights": lambda: (X, Y, np.ones(N)),
    "arrays and no weights": lambda: (X, Y, None),
    "list of two arrays": lambda: [X, Y],
    "list of three arrays": lambda: [X, Y, np.ones(N)],
    "tensors": lambda: (
        keras.ops.convert_to_tensor(X),
        keras.ops.convert_to_tensor(Y),
    ),
    "labels in a list": lambda: (X, Y.tolist()),
    "list of batches": lambda: BATCHES,
    "list of batches with weights": lambda: [(*b, np.ones(len(b[1]))) for b in BATCHES],
    "empty batches between": lambda: [
        BATCHES[0],
        (X[:0], Y[:0]),
        *BATCHES[1:],
        ([], []),
    ],
    "tf.data": tf_dataset,
    "tf.data of unknown length": tf_dataset_of_unknown_length,
    "PyDataset": PyData,
    "DataLoader": lambda: Loader(BATCHES),
    "DataLoader without length": lambda: Loader(BATCHES, has_length=False),
    "DataLoader of torch tensors": lambda: Loader(
        [(TorchTensor(x), TorchTensor(y)) for x, y in BATCHES]
    ),
    "re-iterable": Lengthless,
    "named tuples": lambda: [namedtuple("B", "x y")(*batch) for batch in BATCHES],
}


@pytest.mark.parametrize("kind", ERROR_TYPES)
def test_every_kind_has_all_samples_twice_in_order(kind):
    data = ValidationData(ERROR_TYPES[kind](), batch_size=4)
    for _ in range(2):
        batches = list(data)
        assert [batch.size for batch in batches] == [4, 4, 2]
        np.testing.assert_array_equal(
            np.concatenate([to_numpy(batch.x) for batch in batches]), X
        )
        ys = [batch.y for batch in batches]
        assert all(isinstance(y, np.ndarray) for y in ys)
        np.testing.assert_array_equal(np.concatenate(ys), Y)
    samples = data.scan(None, seed=0).samples
    assert len(samples) == N
    assert samples.index == list(range(N))
    np.testing.assert_array_equal(np.stack(samples.x), X)
    np.testing.assert_array_equal(np.stack(samples.y), Y)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("arrays", 3),
        ("list of batches", 3),
        ("tf.data", 3),
        ("tf.data of unknown length", None),
        ("PyDataset", 3),
        ("DataLoader", 3),
        ("DataLoader without length", None),
        ("re-iterable", None),
    ],
)
def test_num_batches(kind, expected):
    assert ValidationData(ERROR_TYPES[kind](), batch_size=4).num_batches == expected


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 10), (3, [3, 3, 3, 1])])
@pytest.mark.parametrize("kind", ["arrays", "tensors"])
def test_arrays_are_cut_by_batch_size(kind, batch_size, sizes):
    data = ValidationData(ERROR_TYPES[kind](), batch_size)
    assert [len(batch.x) for batch in data] == sizes
    assert data.num_batches == len(sizes)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "8", None])
def test_batch_size_must_be_a_positive_integer(batch_size):
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        ValidationData((X, Y), batch_size)


def test_tensors_of_the_backend_stay_tensors():
    x = keras.ops.convert_to_tensor(X)
    [batch] = ValidationData((x, Y))
    assert type(batch.x) is type(x)


# --- Several inputs and outputs ---------------------------------------------------

INPUTS = {
    "tuple": (X, Y * 2),
    "dict": {"image": X, "id": Y * 2},
    "list": [X, Y * 2],
    "nested": {"a": (X, {"b": Y}), "c": X},
}


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("batched", [False, True])
def test_several_inputs_and_outputs(inputs, batched):
    def cut(part):
        return keras.tree.map_structure(lambda a: a[part], INPUTS[inputs])

    whole = (INPUTS[inputs], INPUTS[inputs])
    data = ValidationData(
        [(cut(p), cut(p)) for p in PARTS] if batched else whole, batch_size=4
    )
    expected_kind = dict if isinstance(INPUTS[inputs], dict) else tuple
    for batch, part in zip(data, PARTS, strict=True):
        for node in (batch.x, batch.y):
            assert isinstance(node, expected_kind)
            for leaf, expected in zip(
                keras.tree.flatten(node), keras.tree.flatten(cut(part)), strict=True
            ):
                np.testing.assert_array_equal(leaf, expected)
    samples = data.scan(None, 0).samples
    for i, (x, y) in enumerate(zip(samples.x, samples.y, strict=True)):
        for leaf, expected in zip(
            keras.tree.flatten([x, y]),
            keras.tree.flatten([cut(i), cut(i)]),
            strict=True,
        ):
            np.testing.assert_array_equal(leaf, expected)
    restored = keras.tree.flatten(stack(samples.x))
    for leaf, expected in zip(
        restored, keras.tree.flatten(INPUTS[inputs]), strict=True
    ):
        np.testing.assert_array_equal(leaf, expected)


def test_two_inputs_in_lists_stay_two_inputs_in_a_last_batch_of_two():
    [*_, last] = ValidationData(Loader([([X[p], Y[p]], Y[p]) for p in PARTS]))
    assert last.size == 2
    assert isinstance(last.x, tuple)
    np.testing.assert_array_equal(last.x[0], X[8:])
    np.testing.assert_array_equal(last.x[1], Y[8:])


def test_target_picks_from_y_in_every_walk():
    data = ValidationData((X, (Y, -Y)), 4, target=lambda y: y[1])
    np.testing.assert_array_equal(np.concatenate([b.y for b in data]), -Y)
    np.testing.assert_array_equal(np.stack(data.scan(None, 0).samples.y), -Y)


def test_unpack_reads_batches_of_another_form():
    batches = [{"images": x, "labels": y} for x, y in BATCHES]
    data = ValidationData(batches, unpack=lambda b: (b["images"], b["labels"]))
    np.testing.assert_array_equal(np.concatenate([b.y for b in data]), Y)


# --- Lists and ragged tensors -----------------------------------------------------

SIZES = [(4, 5), (4, 5), (6, 3), (4, 5)]
IMAGES = [np.full((*size, 1), i, np.float32) for i, size in enumerate(SIZES)]
BOXES = [np.full((i + 1, 4), i, np.float32) for i in range(4)]


def check_uneven(x, y, batch_size=32):
    data = ValidationData((x, y), batch_size)
    batches = list(data)
    assert [batch.x.shape for batch in batches] == [
        (2, 4, 5, 1),
        (1, 6, 3, 1),
        (1, 4, 5, 1),
    ]
    for batch, first in zip(batches, [0, 2, 3], strict=True):
        assert batch.size == len(batch.x)
        assert (batch.x[0] == first).all()
        box = batch.y[0]
        box = box.numpy() if hasattr(box, "row_splits") else box
        np.testing.assert_array_equal(box, BOXES[first])
    samples = data.scan(None, 0).samples
    for i in range(4):
        np.testing.assert_array_equal(samples.x[i], IMAGES[i])
        np.testing.assert_array_equal(samples.y[i], BOXES[i])


@pytest.mark.parametrize("batch_size", [2, 32])
def test_images_and_targets_of_several_sizes_in_lists(batch_size):
    check_uneven(IMAGES, BOXES, batch_size)


@pytest.mark.parametrize("batch_size", [2, 32])
def test_images_and_targets_of_several_sizes_in_ragged_tensors(batch_size):
    tf = pytest.importorskip("tensorflow")
    check_uneven(tf.ragged.stack(IMAGES), tf.ragged.stack(BOXES), batch_size)


def test_a_list_of_images_of_one_size_is_one_batch():
    [batch] = ValidationData((list(X), list(Y)))
    np.testing.assert_array_equal(batch.x, X)
    np.testing.assert_array_equal(batch.y, Y)


def test_a_list_in_a_dict_has_an_entry_for_each_sample():
    data = ValidationData(({"image": IMAGES, "id": np.arange(4)}, np.arange(4)))
    assert [batch.x["image"].shape[1:3] for batch in data] == [(4, 5), (6, 3), (4, 5)]
    assert [batch.x["id"].tolist() for batch in data] == [[0, 1], [2], [3]]


def test_a_ragged_tensor_in_y_stays_one():
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices((X[:4], tf.ragged.stack(BOXES)))
    [batch] = ValidationData(dataset.batch(4))
    assert isinstance(batch.y, tf.RaggedTensor)
    polygons = tf.ragged.constant([[[1, 2], [3]], [[4]]])  # Ragged in a sample, too.
    samples = ValidationData((X[:2], polygons)).scan(None, 0).samples
    assert [part.tolist() for part in samples.y[0]] == [[1, 2], [3]]


def test_lists_of_dicts_in_y():
    y = [{"boxes": boxes, "label": i} for i, boxes in enumerate(BOXES)]
    samples = ValidationData((X[:4], y)).scan(2, seed=1).samples
    for index, target in zip(samples.index, samples.y, strict=True):
        np.testing.assert_array_equal(target["boxes"], BOXES[index])
        assert target["label"] == index


def test_alike_cuts_where_the_shape_changes():
    assert list(alike(IMAGES, 32)) == [slice(0, 2), slice(2, 3), slice(3, 4)]
    assert list(alike(IMAGES, 1)) == [slice(i, i + 1) for i in range(4)]
    assert list(alike(list(X), 4)) == PARTS
    assert list(alike([], 4)) == []


# --- What is refused --------------------------------------------------------------


def generator():
    yield from BATCHES


class WalkedOnce:
    """`__iter__` continues where it was: the second walk has nothing."""

    def __init__(self):
        self.iterator = iter(BATCHES)

    def __iter__(self):
        return self.iterator


@pytest.mark.parametrize(
    "data", [generator, lambda: iter(BATCHES), lambda: map(tuple, BATCHES)]
)
def test_iterators_are_refused_at_once(data):
    with pytest.raises(TypeError, match="can be iterated only once"):
        ValidationData(data())


def test_an_iterator_of_tf_data_is_refused_at_once():
    with pytest.raises(TypeError, match="can be iterated only once"):
        ValidationData(iter(tf_dataset()))


class WalkedOnceWithLength(WalkedOnce):
    """As `WalkedOnce`, and says how many batches there are."""

    def __len__(self):
        return len(BATCHES)


def tf_dataset_of_an_iterator():
    tf = pytest.importorskip("tensorflow")
    signature = tf.TensorSpec((None, 2, 3)), tf.TensorSpec((None,), tf.int64)
    iterator = iter(BATCHES)
    return tf.data.Dataset.from_generator(lambda: iterator, output_signature=signature)


@pytest.mark.parametrize(
    "make", [WalkedOnce, WalkedOnceWithLength, tf_dataset_of_an_iterator]
)
def test_what_turns_out_to_be_walked_once_is_refused(make):
    with pytest.raises(TypeError, match="can be iterated only once"):
        ValidationData(make()).scan(3, 0)


@pytest.mark.parametrize("data", [X, np.array(0), keras.ops.zeros((2, 2))])
def test_an_array_alone_is_refused(data):
    with pytest.raises(TypeError, match=r"must be a tuple .* Received: .* alone"):
        ValidationData(data)


@pytest.mark.parametrize("data", [None, 3, "data", b"data", {"x": X, "y": Y}, object()])
def test_what_is_no_data_is_refused(data):
    with pytest.raises(TypeError, match=r"must be a tuple .* Received: an object of"):
        ValidationData(data)


@pytest.mark.parametrize(
    "data",
    [(X[:0], Y[:0]), [], [(X[:0], Y[:0])], ([], []), PyData(0), Loader([])],
    ids=["arrays", "list", "batches", "lists", "PyDataset", "DataLoader"],
)
def test_empty_data_is_refused(data):
    with pytest.raises(ValueError, match="`validation_data` is empty"):
        ValidationData(data).scan(3, 0)


def test_endless_data_is_refused_within_seconds(monkeypatch, capsys):
    start = time.process_time()  # Of the processor: machines stand still at times.
    with pytest.raises(ValueError, match="did not end within 10000 batches"):
        ValidationData(Endless()).scan(3, 0, verbose=False)
    assert time.process_time() - start < 10
    monkeypatch.setattr(module, "_MAX_BATCHES_WITHOUT_LENGTH", 3)
    assert len(list(ValidationData(Lengthless()))) == 3  # Just as many is all right.


@pytest.mark.parametrize("data", [PyData(None), LengthlessPyData()])
def test_an_endless_py_dataset_is_refused_at_once(data):
    with pytest.raises(ValueError, match=r"is endless.*`num_batches`"):
        ValidationData(data)


def test_an_endless_tf_dataset_is_refused():
    with pytest.raises(ValueError, match=r"is endless.*dataset\.take"):
        ValidationData(tf_dataset().repeat())
    assert ValidationData(tf_dataset().repeat().take(5)).num_batches == 5


def test_an_endless_generator_in_tf_data_is_refused(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    monkeypatch.setattr(module, "_MAX_BATCHES_WITHOUT_LENGTH", 50)
    signature = tf.TensorSpec((None, 2, 3)), tf.TensorSpec((None,), tf.int64)
    dataset = tf.data.Dataset.from_generator(
        lambda: itertools.repeat(BATCHES[0]), output_signature=signature
    )
    with pytest.raises(ValueError, match="assert_cardinality"):
        ValidationData(dataset).scan(3, 0)
    # The remedy that the message names works.
    known = dataset.take(60).apply(tf.data.experimental.assert_cardinality(60))
    assert len(list(ValidationData(known))) == 60


def test_sparse_arrays_are_refused():
    with pytest.raises(ValueError, match=r"dense arrays.*csr.*`x.toarray\(\)`"):
        ValidationData((scipy.sparse.csr_matrix(np.eye(len(Y))), Y))


@pytest.mark.parametrize(
    "data",
    [(X, Y[:-1]), ({"a": X, "b": X[1:]}, Y), (X, (Y, Y[1:])), (X, 3), (X, None)],
)
def test_lengths_that_differ_are_refused_at_once(data):
    with pytest.raises(ValueError, match=r"same number of samples.*float32"):
        ValidationData(data)


@pytest.mark.parametrize(
    "data",
    [
        [(X[0], Y[0]), (X[1], Y[1])],
        [(X[0], 1)],
        [(X[0], np.array([0.0, 0.0, 1.0]))],
    ],
)
def test_samples_without_batches_are_refused(data):
    with pytest.raises(ValueError, match="batch the data first"):
        ValidationData(data).scan(3, 0)


def test_an_unbatched_tf_dataset_is_refused():
    with pytest.raises(ValueError, match=r"Received: x = float32 \(2, 3\), y = int64"):
        ValidationData(tf_dataset().unbatch()).scan(3, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{"images": X, "labels": Y}], r"\{'images': float32 \(10, 2, 3\), 'labels'"),
        ([(X, Y, Y, Y)], r"\(float32 .*int64 \(10,\)\)"),
        ((X,), r"Received \(float32 \(10, 2, 3\)\)"),
        ([X], r"Received \(float32 \(10, 2, 3\)\)"),
    ],
)
def test_batches_of_another_form_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        ValidationData(data).scan(3, 0)


# --- The draw ---------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    number=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    num_samples=st.one_of(st.none(), st.integers(1, 50)),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_draw_depends_on_seed_and_order_alone(
    number, batch_size, num_samples, seed
):
    x = np.arange(number * 2).reshape(number, 2)
    drawn = ValidationData((x, -x), batch_size).scan(num_samples, seed).samples
    cuts = np.cumsum(np.random.default_rng(seed).integers(0, 5, 40))
    batches = list(zip(np.split(x, cuts), np.split(-x, cuts), strict=True))
    again = ValidationData(batches).scan(num_samples, seed).samples
    assert again.index == drawn.index
    assert len(drawn) == min(number, num_samples or number)
    assert drawn.index == sorted(set(drawn.index))
    for samples in (drawn, again):
        np.testing.assert_array_equal(samples.x, x[samples.index])
        np.testing.assert_array_equal(samples.y, -x[samples.index])


def test_another_seed_draws_other_samples():
    data = ValidationData((np.zeros((1000, 1)), np.zeros(1000)))
    assert data.scan(20, 0).samples.index != data.scan(20, 1).samples.index


def test_the_draw_is_uniform():
    number, num_samples, draws = 40, 6, 3000
    data = ValidationData((np.zeros((number, 1)), np.zeros(number)), batch_size=7)
    index = [data.scan(num_samples, seed).samples.index for seed in range(draws)]
    counts = np.bincount(np.ravel(index), minlength=number)
    share = num_samples / number
    deviation = np.sqrt(draws * share * (1 - share))
    scores = (counts - draws * share) / deviation
    assert np.abs(scores).max() < 4
    # Pairs, too: whether two samples are drawn together does not depend on which.
    together = np.zeros((number, number))
    for row in index:
        together[np.ix_(row, row)] += 1
    pairs = together[np.triu_indices(number, 1)]
    expected = draws * share * (num_samples - 1) / (number - 1)
    assert np.abs(pairs - expected).max() / np.sqrt(expected) < 5


@pytest.mark.parametrize("kind", ["arrays", "tensors", "list of batches"])
def test_samples_do_not_keep_batches_alive(kind):
    samples = ValidationData(ERROR_TYPES[kind](), batch_size=4).scan(3, 0).samples
    for sample in (*samples.x, *samples.y):
        assert isinstance(sample, np.ndarray)
        assert sample.base is None
        assert not np.shares_memory(sample, X)
        assert not np.shares_memory(sample, Y)


def test_batches_are_let_go_while_drawing():
    """Memory never holds more than a few batches of a long data set."""
    alive, most = set(), 0

    class Array(np.ndarray):
        def __del__(self):
            alive.discard(id(self))

    class Long:
        def __iter__(self):
            nonlocal most
            for i in range(200):
                x = np.full((8, 4, 4), i).view(Array)
                alive.add(id(x))
                most = max(most, len(alive))
                yield x, np.arange(8)

    ValidationData(Long()).scan(5, 0)
    assert 0 < most < 10


@pytest.mark.parametrize("kind", ERROR_TYPES)
def test_every_sample_is_checked(kind):
    seen = []
    data = ValidationData(ERROR_TYPES[kind](), 4)
    data.scan(1, 0, lambda batch: seen.extend(np.ravel(batch.y).tolist()))
    assert seen == np.ravel(Y).tolist()


def test_small_arrays_are_checked_several_batches_at_once():
    sizes = []
    walk = ValidationData((X, Y), 2).scan(1, 0, lambda batch: sizes.append(batch.size))
    assert sizes == [N]
    assert [size for _, size in walk.shapes] == [2]
    uneven = [np.zeros((4, 4 + i // 5)) for i in range(N)]
    sizes.clear()
    walk = ValidationData((uneven, Y), 2).scan(
        1, 0, lambda batch: sizes.append(batch.size)
    )
    assert sum(sizes) == N
    assert max(sizes) == 2


# --- Tensors to arrays ------------------------------------------------------------


def test_bfloat16_becomes_float32():
    tensor = keras.ops.cast(keras.ops.convert_to_tensor([0.5, 2.0]), "bfloat16")
    array = to_numpy(tensor)
    assert array.dtype == np.float32
    assert array.tolist() == [0.5, 2.0]
    torch = to_numpy(TorchTensor(np.array([0.5]), "torch.bfloat16"))
    assert torch.tolist() == [0.5]


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "bool", "<U3"])
def test_other_dtypes_stay(dtype):
    assert to_numpy(np.array([0, 1]).astype(dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [">i2", "<i2", ">u8", ">f4", ">U3", "=i4"])
def test_numbers_are_in_the_byte_order_of_the_machine(dtype):
    array = to_numpy(np.array([0, 1]).astype(dtype))
    assert array.dtype == np.dtype(dtype).newbyteorder("=")
    assert array.dtype.isnative
    assert array.astype(int).tolist() == [0, 1]


class NotesThreads:
    """As a `tf.data.Dataset`; notes in which thread an iterator of it is dropped."""

    element_spec = None

    def __init__(self):
        self.threads = queue.SimpleQueue()

    def cardinality(self):
        return len(BATCHES)

    def __iter__(self):
        walk = (batch for batch in BATCHES)
        weakref.finalize(walk, lambda: self.threads.put(threading.get_ident()))
        return walk


@pytest.mark.parametrize("ends", [True, False])
def test_iterators_of_tf_data_are_dropped_beside(ends):
    data = NotesThreads()
    for _ in ValidationData(data):
        if not ends:
            break
    assert data.threads.get(timeout=60) != threading.get_ident()
    assert data.threads.empty()


CONTENTS = [
    np.array([1.5, np.nan]),
    np.array([[1.5], [np.nan]], np.float32),
    np.array([1.5, 2.0]),
    np.array([1, 2]),
    np.array([1, 2], np.int32),
    np.array([[1, 2]], np.uint8),
    np.array([True, False]),
    np.array(["a", "b"], object),
    np.array(["a", "c"], object),
    np.array(["a", "c"]),
    np.array(3.0),
    np.zeros((0, 2), np.float32),
    {"a": np.array([1, 2]), "b": np.array(3.0)},
    {"a": np.array([1, 2]), "b": np.array(4.0)},
    (np.array([1, 2]), np.array(3.0)),
]


def test_samples_of_one_content_are_those_of_one_key():
    for x, other in itertools.product(CONTENTS, repeat=2):
        assert same_content(x, other) == (content_key(x) == content_key(other))
    assert same_content(CONTENTS[0], CONTENTS[1])  # Of another dtype and shape.
    assert not same_content(CONTENTS[0], CONTENTS[2])
