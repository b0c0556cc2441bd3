"""Numbers and samples are those of the callback's data, whatever `fit` validates on."""

import logging
import math

import keras
import numpy as np
import pytest
import wandb
from keras import ops

from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.segmentation import WandbSegmentationEvalCallback

RNG = np.random.default_rng(0)
N = 30
X = RNG.integers(0, 256, (N, 8, 8, 3)).astype(np.float32)
Y = RNG.integers(0, 3, N)


@pytest.fixture(autouse=True)
def _offline(loopback):
    keras.utils.set_random_seed(0)
    with wandb.init(mode="offline"):
        yield


def classifier():
    """A model whose weights stay, for images of any size."""
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Resizing(4, 4)(inputs)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 256)(x))
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    return model


def callback(data, **options):
    options = {"num_samples": 4, "num_hardest": 6, "on_error": "raise", **options}
    return WandbClassificationEvalCallback(data, **options)


def fit(callbacks, validation_data, model=None, x=X, **options):
    model = model or classifier()
    train = keras.tree.map_structure(lambda leaf: leaf[:4], x)
    options = {"epochs": 1, "verbose": 0, "batch_size": 7, **options}
    options["validation_data"] = validation_data
    for each in callbacks:  # The outputs of one validation go to one callback.
        model.fit(train, Y[:4], callbacks=[each], **options)
    return model


def check_numbers(evaluation, model, x, y, in_order=True):
    """Numbers, scores and the hardest samples are those that `predict` gives."""
    probabilities = model.predict(x, verbose=0)
    losses = -np.log(probabilities[np.arange(len(y)), y])
    found = evaluation.evaluation
    numbers = found.metrics.compute()
    assert numbers["accuracy"] == pytest.approx((probabilities.argmax(1) == y).mean())
    assert numbers["log_loss"] == pytest.approx(losses.mean(), rel=1e-4)
    scores = np.array(found.scores["loss"])
    if in_order:
        np.testing.assert_allclose(scores, losses, rtol=1e-3, atol=1e-5)
    else:
        np.testing.assert_allclose(np.sort(scores), np.sort(losses), rtol=1e-3)
    hardest = losses[found.hardest.index]
    np.testing.assert_allclose(found.hardest.scores["loss"], hardest, rtol=1e-3)
    np.testing.assert_allclose(hardest, np.sort(losses)[::-1][:6], rtol=1e-3)


# --- Other inputs with the same targets -----------------------------------------------

FOG = X * 0.4 + 150
ONE_OTHER = X.copy()
ONE_OTHER[12] = FOG[12]
OTHERS = {
    "noise": X + RNG.normal(0, 20, X.shape).astype(np.float32),
    "fog": FOG,
    "rotated": np.rot90(X, axes=(1, 2)),
    "resolution": X[:, ::2, ::2],
    "one other sample": ONE_OTHER,
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_second_set_with_the_same_labels_is_another(other):
    val = callback((X, Y))
    test = callback((OTHERS[other], Y), name="test")
    assert 12 not in val._evaluator.samples.index
    model = fit([val, test], (X, Y))
    assert val._evaluator.reason is None
    assert test._evaluator.reason == "`fit` validates on other data"
    check_numbers(val, model, X, Y)
    check_numbers(test, model, OTHERS[other], Y)


def test_a_balanced_set_beside_a_balanced_set_is_not_the_same_reordered():
    y = np.arange(N) % 3
    order = RNG.permutation(N)
    test = callback((OTHERS["noise"], y))
    model = fit([test], (X[order], y[order]))
    assert test._evaluator.reason == "`fit` validates on other data"
    check_numbers(test, model, OTHERS["noise"], y)


@pytest.mark.tensorflow
def test_negatives_of_shuffled_data():
    import tensorflow as tf

    y = np.zeros(N, int)
    shuffled = tf.data.Dataset.from_tensor_slices((X, y)).shuffle(N).batch(8)
    test = callback((FOG, y), class_names=["no", "maybe", "yes"])
    model = fit([test], shuffled)
    assert test._evaluator.reason == "`fit` validates on other data"
    check_numbers(test, model, FOG, y)


def test_foggy_images_with_the_same_masks():
    masks = (X[..., 0] > 127).astype(np.int32)
    inputs = keras.Input((8, 8, 3))
    outputs = ops.concatenate([127 - inputs[..., :1], inputs[..., :1] - 127], axis=-1)
    outputs = keras.layers.Rescaling(1.0)(outputs)
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(outputs))
    model.layers[-1].set_weights([np.eye(2), np.zeros(2)])
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    options = {"num_samples": 4, "on_error": "raise"}
    val = WandbSegmentationEvalCallback((X, masks), **options)
    foggy = WandbSegmentationEvalCallback((FOG, masks), name="foggy", **options)
    options = {"validation_data": (X, masks), "verbose": 0}
    history = {}
    for each in (val, foggy):
        history |= model.fit(X[:4], masks[:4], callbacks=[each], **options).history
    assert val._evaluator.reason is None
    assert foggy._evaluator.reason == "`fit` validates on other data"
    for x, number in ((X, "eval/mean_iou"), (FOG, "eval_foggy/mean_iou")):
        predicted = model.predict(x, verbose=0).argmax(-1)
        ious = [
            ((predicted == k) & (masks == k)).sum()
            / ((predicted == k) | (masks == k)).sum()
            for k in range(2)
        ]
        assert history[number] == pytest.approx([np.mean(ious)], rel=1e-5)


def test_the_whole_of_fixed_samples_must_have_been_seen():
    x = RNG.integers(0, 256, (N, 40, 40, 3)).astype(np.float32)
    evaluation = callback((x, Y))
    other = x.copy()
    other[evaluation._evaluator.samples.index[0], 0, 1, 0] += 1  # Not looked at.
    fit([evaluation], (other, Y), x=x)
    assert evaluation._evaluator.reason == "`fit` validates on other data"


# --- The same data, however it comes --------------------------------------------------


class Batches(keras.utils.PyDataset):
    def __init__(self, x=X, y=Y, size=8, shuffles=False, noise=0):
        super().__init__()
        self.x, self.y, self.size = x, y, size
        self.shuffles, self.noise = shuffles, noise
        self.rng = np.random.default_rng(0)
        self.order = np.arange(len(y))

    def __len__(self):
        return math.ceil(len(self.y) / self.size)

    def __getitem__(self, index):
        part = self.order[self.size * index :][: self.size]
        noise = self.noise * self.rng.normal(size=self.x[part].shape)
        return (self.x[part] + noise).astype(self.x.dtype), self.y[part]

    def on_epoch_end(self):
        if self.shuffles:
            self.order = self.rng.permutation(self.order)


def of_tf_data(x=X, y=Y):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)


ORDER = np.random.default_rng(1).permutation(N)
SAME = {
    "arrays": lambda: ((X, Y), (X, Y)),
    "copies": lambda: ((X, Y), (X.copy(), Y.copy())),
    "float64": lambda: ((X.astype(np.float64) / 3, Y),) * 2,
    "fractions": lambda: ((X / 3, Y), ((X / 3).astype(np.float64), Y)),
    "uint8": lambda: ((X.astype(np.uint8), Y),) * 2,
    "int64": lambda: ((X.astype(np.int64), Y),) * 2,
    "view": lambda: ((X[..., ::-1], Y), (X[..., ::-1].copy(), Y)),
    "black": lambda: ((X * (X > 250), Y), (X * (X > 250), Y.copy())),
    "reordered": lambda: ((X, Y), (X[ORDER], Y[ORDER])),
    "PyDataset": lambda: ((X, Y), Batches()),
    "PyDataset of both": lambda: (Batches(size=5), Batches()),
    "shuffled PyDataset": lambda: (Batches(), Batches(shuffles=True)),
    "tf.data": lambda: ((X, Y), of_tf_data()),
    "tf.data of both": lambda: (of_tf_data(), of_tf_data()),
    "tf.data of float64": lambda: (of_tf_data(X.astype(np.float64)),) * 2,
    "shuffled tf.data": lambda: (
        of_tf_data(),
        of_tf_data().unbatch().shuffle(N).batch(8),
    ),
}


@pytest.mark.parametrize("kind", SAME)
def test_the_same_data_has_one_pass(kind):
    data, validation_data = SAME[kind]()
    evaluation = callback(data)
    model = fit([evaluation], validation_data, epochs=2)
    assert evaluation._evaluator.reason is None
    x, y = data if isinstance(data, tuple) else (X, Y)
    is_in_order = not any(word in kind for word in ("reordered", "shuffled"))
    assert evaluation.evaluation.in_order == is_in_order
    check_numbers(evaluation, model, x, y, is_in_order)


@pytest.mark.parametrize("kind", [dict, tuple, list])
def test_the_same_inputs_in_several_parts_have_one_pass(kind):
    parts = {"a": X[:, :, 0, 0].astype(np.float64) / 700, "b": np.arange(N)[:, None]}
    a, b = keras.Input((8,), name="a"), keras.Input((1,), name="b")
    hidden = keras.layers.Concatenate()([a, keras.layers.Rescaling(1 / 30)(b)])
    outputs = keras.layers.Dense(3, "softmax")(hidden)
    inputs = {"a": a, "b": b} if kind is dict else [a, b]
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    x = parts if kind is dict else kind(parts.values())
    data = (x, Y)
    options = {"image_fn": lambda x: "a sample"}
    evaluation, other = callback(data, **options), {**parts, "b": parts["b"] + 1}
    other = callback(
        (other if kind is dict else kind(other.values()), Y), name="o", **options
    )
    fit([evaluation, other], data, model, x=x)
    assert evaluation._evaluator.reason is None
    assert other._evaluator.reason == "`fit` validates on other data"
    check_numbers(evaluation, model, x, Y)


@pytest.mark.tensorflow
def test_the_same_texts_have_one_pass():
    texts = np.array([f"{'good' if y else 'bad'} word{i}" for i, y in enumerate(Y)])
    others = np.array([f"{text}s" for text in texts])
    vectorize = keras.layers.TextVectorization(output_mode="multi_hot", max_tokens=20)
    vectorize.adapt(texts)
    inputs = keras.Input((), dtype="string")
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(vectorize(inputs)))
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    evaluation, other = callback((texts, Y)), callback((others, Y), name="other")
    data = of_tf_data(texts)
    for each in (evaluation, other):
        model.fit(data, validation_data=data, verbose=0, callbacks=[each])
    assert evaluation._evaluator.reason is None
    assert evaluation.evaluation.in_order
    assert other._evaluator.reason == "`fit` validates on other data"


# --- Data that is random by itself ----------------------------------------------------


def test_what_is_random_by_itself_is_the_data_where_it_is_the_same_object(caplog):
    data = Batches(noise=30)
    own, another = callback(data), callback(Batches(noise=30), name="another")
    with caplog.at_level(logging.INFO, logger="wandb_eval"):
        fit([own, another], data, epochs=3)
    assert own._evaluator.reason is None
    assert another._evaluator.reason == "`fit` validates on other data"
    said = [record.getMessage() for record in caplog.records]
    assert sum("`fit` got the same object" in text for text in said) == 1
    found = own.evaluation
    assert found.metrics.compute()["accuracy"] == pytest.approx(
        np.mean(found.scores["correct"])
    )


def test_a_part_of_the_same_object_is_other_data():
    data = Batches(noise=30)
    evaluation = callback(data)
    fit([evaluation], data, validation_steps=2)
    assert evaluation._evaluator.reason == "`fit` validates on other data"


def test_arrays_beside_those_of_the_callback_are_not_the_same_object():
    """The frame of a user's own `fit` has the right data, Keras' has another."""

    class Own(keras.Model):
        def fit(self, x, y, validation_data, **options):
            foggy = (validation_data[0] * 0.4 + 150, validation_data[1])
            return super().fit(x, y, validation_data=foggy, **options)

    base = classifier()
    model = Own(base.inputs, base.outputs)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    data = (X, Y)
    evaluation = callback(data)
    fit([evaluation], data, model)
    assert evaluation._evaluator.reason == "`fit` validates on other data"
    check_numbers(evaluation, model, X, Y)


def test_a_validation_split_of_the_same_arrays_is_other_data():
    evaluation = callback((X, Y))
    model = classifier()
    model.fit(X, Y, validation_split=0.5, verbose=0, callbacks=[evaluation])
    assert evaluation._evaluator.reason == "`fit` validates on other data"
    check_numbers(evaluation, model, X, Y)


# --- Twins ----------------------------------------------------------------------------


class KeepsRows(WandbClassificationEvalCallback):
    def log_pred_table(self, *args, more_tables=None, **options):
        super().log_pred_table(*args, more_tables=more_tables, **options)
        self.tables = getattr(self, "tables", [])
        for table in (self.pred_table, more_tables["hardest"]):
            self.tables.append(
                [dict(zip(table.columns, r, strict=True)) for r in table.data]
            )


def shuffled_twins(kind, x, y):
    if kind == "PyDataset":
        return Batches(x, y, shuffles=True)
    if kind == "arrays":
        return x, y
    return of_tf_data(x, y).unbatch().shuffle(len(y)).batch(8)


@pytest.mark.parametrize("kind", ["PyDataset", "tf.data", "arrays"])
@pytest.mark.parametrize("num_samples", [4, 60])
def test_rows_of_twins_agree_with_themselves(kind, num_samples):
    """Each image is there four times: with two labels, and with one of them twice."""
    x = np.concatenate([X[:15]] * 4)
    y = np.concatenate([Y[:15], (Y[:15] + 1) % 3, Y[:15], (Y[:15] + 2) % 3])
    evaluation = KeepsRows(
        (x, y), num_samples=num_samples, num_hardest=20, on_error="raise"
    )
    validation_data = shuffled_twins(kind, x, y)
    # The data is walked in its own order in every other epoch.
    model = fit([evaluation], validation_data, epochs=4, validation_freq=2)
    assert evaluation._evaluator.reason is None
    probabilities = model.predict(x, verbose=0)
    losses = -np.log(probabilities[np.arange(60), y])
    assert len(evaluation.tables) == 2 * 4
    for fixed, hardest in zip(*[iter(evaluation.tables)] * 2, strict=True):
        assert len({row["idx"] for row in hardest}) == 20
        assert [r["loss"] for r in hardest] == pytest.approx(
            np.sort(losses)[::-1][:20], rel=1e-3
        )
        for row in (*fixed, *hardest):
            at = row["idx"]
            assert row["label"] == str(y[at])
            assert row["pred"] == str(probabilities[at].argmax())
            assert row["correct"] == (row["label"] == row["pred"])
            assert row["loss"] == pytest.approx(losses[at], rel=1e-3, abs=1e-5)


# --- Grain ----------------------------------------------------------------------------


def of_grain(kind, x=X, y=Y):
    if not hasattr(keras.src.trainers.data_adapters, "GrainDatasetAdapter"):
        pytest.skip("This Keras does not train on Grain's data sets.")
    import grain

    source = [(x[i], y[i]) for i in range(len(y))]
    if kind == "DataLoader":
        return grain.DataLoader(
            data_source=source,
            sampler=grain.samplers.IndexSampler(
                len(y), shard_options=grain.sharding.NoSharding(), num_epochs=1
            ),
            operations=[grain.transforms.Batch(8)],
        )
    data = grain.MapDataset.source(source)
    if kind == "shuffled":
        data = data.shuffle(seed=1)
    data = data.batch(8)
    return data.to_iter_dataset() if kind == "IterDataset" else data


@pytest.mark.parametrize("kind", ["MapDataset", "IterDataset", "DataLoader"])
def test_grain_has_one_pass(kind):
    data = of_grain(kind)
    evaluation = callback(data)
    model = fit([evaluation], data, epochs=2)
    assert evaluation._evaluator.reason is None
    assert evaluation.evaluation.in_order
    check_numbers(evaluation, model, X, Y)


def test_grain_beside_arrays():
    evaluation, other = (
        callback((X, Y)),
        callback(of_grain("MapDataset", FOG), name="o"),
    )
    model = fit([evaluation, other], of_grain("shuffled"))
    assert evaluation._evaluator.reason is None
    assert other._evaluator.reason == "`fit` validates on other data"
    check_numbers(evaluation, model, X, Y, in_order=False)
    check_numbers(other, model, FOG, Y)


def test_endless_data_of_grain_is_refused():
    with pytest.raises(ValueError, match=r"is endless.*repeat"):
        callback(of_grain("MapDataset").repeat())
