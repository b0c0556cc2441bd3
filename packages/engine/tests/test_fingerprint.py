"""The identity of data and of samples."""

import keras
import ml_dtypes
import numpy as np
import pytest

from wandb_eval.engine import ValidationData
from wandb_eval.engine.evaluation.fingerprint import Fingerprint, content_key
from wandb_eval.engine.evaluation.identities import Identities
from wandb_eval.engine.evaluation.samples import EvaluatedSamples, KeptSample
from wandb_eval.engine.nested import select

RNG = np.random.default_rng(0)
N = 50
X = RNG.integers(0, 256, (N, 12, 10, 3), dtype=np.uint8)
Y = RNG.integers(0, 4, N)


def fingerprint(x, y=Y, batch_size=N):
    made = Fingerprint()
    for start in range(0, len(y), batch_size):
        part = slice(start, start + batch_size)
        made.add([select(x, part)], y[part])
    return made


def replaced(x, place, sample):
    x = x.copy()
    x[place] = sample
    return x


FOG = (X * 0.5 + 127).astype(np.uint8)
OTHERS = {
    "fog": FOG,
    "noise": np.clip(X + RNG.normal(0, 3, X.shape), 0, 255).astype(np.uint8),
    "upside down": X[:, ::-1],
    "mirrored": X[:, :, ::-1],
    "rotated": np.rot90(X, axes=(1, 2)),
    "half": X[:, ::2, ::2],
    "brighter": np.minimum(X, 250) + 5,
    "swapped channels": X[..., ::-1],
    **{f"one foggy at {i}": replaced(X, i, FOG[i]) for i in (0, 17, N - 1)},
    "one twice": replaced(X, 3, X[4]),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_inputs_with_the_same_targets_are_other_data(other):
    assert fingerprint(X).compare(fingerprint(OTHERS[other])) == "other"
    in_dict = {"image": X, "id": np.arange(N)}
    other_dict = {"image": OTHERS[other], "id": np.arange(N)}
    assert fingerprint(in_dict).compare(fingerprint(other_dict)) == "other"


def test_small_things_on_a_plain_ground_are_noticed():
    rng = np.random.default_rng(1)
    dots = np.zeros((2, N, 30, 30, 1), np.float32)
    for image in dots.reshape(-1, 30, 30):
        top, left = rng.integers(0, 26, 2)
        image[top : top + 4, left : left + 4] = 1
    assert len(set(fingerprint(dots[0]).inputs.tolist())) > 0.8 * N
    for i in range(N):
        one_other = replaced(dots[0], i, dots[1, i])
        same = (dots[0, i] == dots[1, i]).all()
        found = fingerprint(dots[0]).compare(fingerprint(one_other))
        assert found == ("same" if same else "other")


def test_inputs_and_targets_belong_together():
    x = replaced(X, 1, X[0])
    for i, other in ((0, "reordered"), (5, "other")):
        y = np.arange(N)
        swapped = y.copy()
        swapped[[1, i]] = swapped[[i, 1]]
        assert fingerprint(x, y).compare(fingerprint(x, swapped)) == other


@pytest.mark.parametrize(
    "same",
    [
        X.astype(np.int64),
        X.astype(np.float64),
        X.astype(np.float16),
        np.asfortranarray(X),
        np.concatenate([X, X], axis=-1)[..., :3],
        X[..., None, :],
        keras.ops.convert_to_tensor(X),
    ],
    ids=["int64", "float64", "float16", "fortran", "view", "axis", "tensor"],
)
def test_dtype_and_layout_do_not_count(same):
    assert fingerprint(X).hexdigest() == fingerprint(same).hexdigest()


@pytest.mark.parametrize("floatx", ["float16", "bfloat16", "float64"])
def test_floats_may_have_been_cast_to_those_of_keras(floatx):
    x = RNG.normal(size=(N, 5, 5))
    before = keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        cast = x.astype(ml_dtypes.bfloat16 if floatx == "bfloat16" else floatx)
        assert fingerprint(x).compare(fingerprint(cast)) == "same"
        assert content_key(x) == content_key(cast)
    finally:
        keras.config.set_floatx(before)


@pytest.mark.parametrize("classes", [3, 10, 12, 100])
@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_one_hot_targets_may_have_been_narrowed(classes, kind):
    y = np.eye(classes, dtype=kind)[RNG.integers(0, classes, N)]
    narrow = y.astype(np.float32 if kind is np.float64 else np.int32)
    assert fingerprint(X, y).compare(fingerprint(X, narrow)) == "same"


def test_texts_are_the_same_as_bytes():
    texts = np.array(["a", "bc", "ä"])
    for other in (texts.astype(object), [t.encode() for t in texts]):
        as_bytes = np.array(other, object)
        y = np.arange(3)
        assert fingerprint(texts, y).compare(fingerprint(as_bytes, y)) == "same"
        assert content_key(texts) == content_key(as_bytes)
    assert fingerprint(texts, y).compare(fingerprint(texts[::-1], y)) == "other"


def test_digits_do_not_depend_on_batches_and_say_the_order():
    digits = fingerprint(X).hexdigest()
    assert fingerprint(X, batch_size=7).hexdigest() == digits
    together = Fingerprint()
    together.add([X[:20], X[20:21], X[21:]], Y)
    assert together.hexdigest() == digits
    order = RNG.permutation(N)
    other = fingerprint(X[order], Y[order])
    assert other.compare(together) == "reordered"
    assert other.hexdigest()[:32] == digits[:32]
    assert other.hexdigest()[32:] != digits[32:]
    assert int(digits[:16], 16) == N


def test_digits_are_the_same_in_every_process():
    x = np.arange(2 * 100).reshape(2, 10, 10)
    assert fingerprint(x, np.array([0, 1])).hexdigest() == PINNED
    named = [{"boxes": np.ones((2, 4)), "name": "a"}, {"boxes": x[0], "name": "b"}]
    assert fingerprint(x, named).hexdigest() == PINNED_LISTS


PINNED = "000000000000000256d6c72aac7456760af36df0f45da4ad"
PINNED_LISTS = "000000000000000241ca33142a5b6c5cfb46725b7d398f94"


def test_checksums_of_inputs_find_twins_whatever_their_targets():
    walk = fingerprint(replaced(X, 9, X[30]), np.arange(N))
    assert walk.inputs.dtype == walk.samples.dtype == np.uint64
    assert walk.inputs[9] == walk.inputs[30]
    assert len(set(walk.inputs.tolist())) == N - 1
    assert len(set(walk.samples.tolist())) == N


# --- Ids ------------------------------------------------------------------------------


def given(identities, x, y, places, in_order=False):
    kept = EvaluatedSamples()
    for place in places:
        kept.add(KeptSample(place, x[place], y[place], None, None, {}))
    named = identities.name(kept, fingerprint(x, y).samples, in_order)
    return named.index


def new_identities(x, y, num_samples=5):
    return Identities(ValidationData((x, y)).scan(num_samples, 0))


def test_ids_are_places_in_the_first_walk_in_whatever_order_samples_come():
    identities = new_identities(X, Y)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(N)
        assert given(identities, X[order], Y[order], range(N)) == order.tolist()
        assert given(identities, X, Y, range(N), in_order=True) == list(range(N))


def test_one_input_with_two_targets_has_two_ids():
    x, y = np.concatenate([X, X]), np.concatenate([Y, 3 - Y])
    identities = new_identities(x, y)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(2 * N)
        assert given(identities, x[order], y[order], range(2 * N)) == order.tolist()


def test_equal_samples_have_an_id_each():
    x, y = np.concatenate([X, X, X]), np.concatenate([Y, Y, Y])
    identities = new_identities(x, y, num_samples=20)
    order = RNG.permutation(3 * N)
    ids = given(identities, x[order], y[order], range(3 * N))
    assert sorted(ids) == list(range(3 * N))
    assert (np.array(ids) % N == order % N).all()


def test_an_id_never_stands_for_two_contents():
    """Also where inputs differ only at places that no checksum looks at, or change."""
    rng = np.random.default_rng(0)
    identities = new_identities(X, Y)
    contents = {}
    for epoch in range(12):
        order = rng.permutation(N) if epoch % 3 else np.arange(N)
        x = X.copy()
        noisy = epoch % 2
        if noisy:
            x[::2] = rng.integers(0, 256, x[::2].shape)
        x, y = x[order], Y[order]
        in_order = not noisy and epoch % 3 == 0
        ids = given(identities, x, y, range(0, N, 3), in_order)
        assert len(set(ids)) == len(ids)
        for at, place in zip(ids, range(0, N, 3), strict=True):
            seen = contents.setdefault(at, (x[place].tobytes(), y[place]))
            assert seen == (x[place].tobytes(), y[place])
