"""Merged results of parts of the data equal those of one pass over all of it."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import wandb

from wandb_eval.classification import (
    ClassificationMetrics,
    WandbClassificationEvalCallback,
)
from wandb_eval.detection import DetectionMetrics, Detections
from wandb_eval.engine.evaluation import sharing
from wandb_eval.engine.evaluation.collected import Collected, merged
from wandb_eval.engine.evaluation.metrics import can_merge
from wandb_eval.engine.evaluation.samples import Samples, TopK
from wandb_eval.image_to_image import ImageToImageMetrics
from wandb_eval.regression import RegressionMetrics, WandbRegressionEvalCallback
from wandb_eval.segmentation.kinds import MulticlassMasks, MultiLabel

pytestmark = pytest.mark.once

NAMES = ["a", "b", "c"]


# --- Metrics ----------------------------------------------------------------------


def softmax(logits):
    scores = np.exp(logits)
    return scores / scores.sum(axis=-1, keepdims=True)


def classes(rng, count):
    # Sorted: of some classes, a part has no sample.
    return np.sort(rng.integers(0, 3, count)), softmax(rng.normal(size=(count, 3)))


def broken_classes(rng, count):
    labels, scores = classes(rng, count)
    scores[rng.random(count) < 0.3] = np.nan
    return labels, scores


def multi_label(rng, count):
    return rng.integers(0, 2, (count, 3)), rng.random((count, 3))


def boxes(rng, count):
    def of_image(with_scores):
        number = int(rng.integers(0, 5))
        corners = rng.integers(0, 8, (number, 2)) * 16.0
        sides = np.hstack([corners, corners + rng.integers(1, 4, (number, 2)) * 16])
        # Few different scores: there are ties.
        scores = rng.choice([0.2, 0.5, 0.9], number) if with_scores else None
        return Detections(sides, rng.integers(0, 3, number), scores)

    return [of_image(False) for _ in range(count)], [
        of_image(True) for _ in range(count)
    ]


def read_by(kind, y_of, outputs_of):
    def draw(rng, count):
        return kind.read(y_of(rng, count), outputs_of(rng, count))

    return draw


MASKS = MulticlassMasks(NAMES, 255, False, 0.5, True)
ONE_CHANNEL = MulticlassMasks(NAMES[:2], None, False, 0.5, False)
HOT = MultiLabel(NAMES, False, 0.5)


def mask_ids(rng, count):
    ids = rng.choice([0, 1, 2, 255], (count, 9, 9)).astype(np.uint8)
    return np.where(rng.random((count, 1, 1)) < 0.5, 0, ids)


METRICS = {
    "classes": (lambda: ClassificationMetrics(NAMES, top_k=2), classes),
    "not finite": (lambda: ClassificationMetrics(NAMES), broken_classes),
    "multi-label": (
        lambda: ClassificationMetrics(NAMES, multi_label=True),
        multi_label,
    ),
    "boxes": (lambda: DetectionMetrics(NAMES), boxes),
    "masks": (
        lambda: MASKS.new_metrics(warns=False),
        read_by(MASKS, mask_ids, lambda rng, n: softmax(rng.normal(size=(n, 9, 9, 3)))),
    ),
    "one channel": (
        lambda: ONE_CHANNEL.new_metrics(warns=False),
        read_by(
            ONE_CHANNEL,
            lambda rng, n: rng.integers(0, 2, (n, 5, 5)),
            lambda rng, n: rng.random((n, 5, 5, 1)),
        ),
    ),
    "multi-hot masks": (
        lambda: HOT.new_metrics(warns=False),
        read_by(
            HOT,
            lambda rng, n: rng.integers(0, 2, (n, 5, 5, 3)),
            lambda rng, n: rng.random((n, 5, 5, 3)),
        ),
    ),
    "numbers": (
        lambda: RegressionMetrics(["x", "y"], tolerance=[0.5, 0.5]),
        lambda rng, n: (rng.normal(size=(n, 2)), rng.normal(size=(n, 2))),
    ),
    "images": (
        ImageToImageMetrics,
        lambda rng, n: (rng.random((n, 12, 12, 1)), rng.random((n, 12, 12, 1))),
    ),
}


def cut(node, part):
    if isinstance(node, dict):
        return {key: cut(value, part) for key, value in node.items()}
    return node[part]


def plain(value):
    """Tables and charts as plain values, which can be compared."""
    if isinstance(value, wandb.Table):
        return [value.columns, *map(list, value.data)]
    if hasattr(value, "table"):
        return plain(value.table)
    return value


def assert_same(actual, expected):
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        actual, expected = list(actual.values()), list(expected.values())
    actual, expected = plain(actual), plain(expected)
    if isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for pair in zip(actual, expected, strict=True):
            assert_same(*pair)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True)
    elif isinstance(expected, (np.ndarray, np.generic)):
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-9)
    elif isinstance(expected, wandb.Image):
        pixels = (np.asarray(one.image) for one in (actual, expected))
        np.testing.assert_array_equal(*pixels)
    else:
        assert isinstance(expected, (int, str, type(None))), type(expected)
        assert actual == expected


@pytest.mark.parametrize("task", METRICS)
def test_metrics_of_parts_are_merged(task):
    new, draw = METRICS[task]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        count, parts = (
            int(rng.integers(1, 200 if task != "images" else 20)),
            2 + seed % 2,
        )
        truth, predictions = draw(rng, count)
        one, merged_ones = new(), [new() for _ in range(parts)]
        step = int(rng.integers(1, 40))
        for part, metrics in enumerate(merged_ones):
            first, last = (count * (part + end) // parts for end in (0, 1))
            for start in range(first, last, step):
                batch = slice(start, min(start + step, last))
                metrics.update(cut(truth, batch), cut(predictions, batch))
        for start in range(0, count, 32):
            batch = slice(start, start + 32)
            one.update(cut(truth, batch), cut(predictions, batch))
        first, *others = pickle.loads(pickle.dumps(merged_ones))
        for other in others:
            first.merge(other)
        assert_same(first.compute(), one.compute())


# --- All that a pass finds ----------------------------------------------------------


class InBatches(keras.utils.PyDataset):
    """Data in batches of several sizes; notes which of them are read."""

    def __init__(self, x, y, ends):
        super().__init__()
        self.parts = [slice(*pair) for pair in zip([0, *ends[:-1]], ends, strict=True)]
        self.x, self.y, self.read = x, y, []

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, i):
        self.read.append(i)
        return self.x[self.parts[i]], self.y[self.parts[i]]


def situation(seed):
    """Images and classes, numbers and batches of which are drawn."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 200))
    x = rng.integers(0, 4, (count, 5, 5, 3)).astype(np.uint8) * 64
    y = np.sort(rng.integers(0, 3, count))
    x[rng.random(count) < 0.1] = 0  # Blank, and equal to others.
    data = x, y
    if seed % 3 == 0:
        ends = np.unique([*rng.integers(1, count + 1, 6), count]).tolist()
        data = InBatches(x, y, ends)
    return data, int(rng.choice([5, 7, 32])), 2 + seed % 2


def new_model(units):
    layers = [keras.layers.Flatten(), keras.layers.Dense(units)]
    model = keras.Sequential([keras.Input((5, 5, 3)), *layers])
    model.compile("sgd", "mse")
    return model


def set_weights(model, seed):
    """Weights with which logits are exact, in whatever batch."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.integers(-3, 4, variable.shape) / 64)


def part_of_fit(evaluator, part, size, needs_properties):
    """Collects a part from the batches of a validation of `fit`."""
    source = evaluator.data.source
    x, y = source if isinstance(source, tuple) else (source.x, source.y)
    collected = evaluator._new_collector(
        evaluator._properties.begin_part(part.start) if needs_properties else None,
        is_refilled=True,
        read=evaluator.data.read,
        part=part,
    )
    for start in range(0, len(x), size):
        batch = x[start : start + size], y[start : start + size]
        collected.add(batch, evaluator.predictor(batch[0]))
    collected.finish()
    assert evaluator._is_of_data(collected)
    return collected.found


def evaluate_parts(callback, count, epoch, fit_size=None):
    """Evaluates as several processes do, one after the other.

    `fit_size`: the size of the batches of `fit`, which gives the outputs.
    """
    evaluator = callback._evaluator
    evaluator.predictor.begin()
    data, scan = evaluator.data, evaluator.scan
    parts = sharing.Parts(callback, evaluator.samples)
    needs_properties = evaluator._properties.are_needed()
    sent, seen = [], []
    for index in range(count):
        part = data.part(index, count, scan)
        if fit_size is None:
            found = evaluator.collect_part(part, needs_properties)
        else:
            found = part_of_fit(evaluator, part, fit_size, needs_properties)
        sent.append(parts.dump(found))
        seen.append(found.fingerprint.count)
    assert sum(seen) == scan.fingerprint.count
    if isinstance(data.source, tuple):
        assert max(seen) - min(seen) <= 1
    found = merged([parts.load(content) for content in sent])
    return evaluator._evaluation(found, epoch, is_of_all=True)


def assert_same_evaluation(shared, alone):
    assert shared.in_order
    assert shared.fingerprint.hexdigest() == alone.fingerprint.hexdigest()
    assert shared.not_finite == alone.not_finite
    assert_same(shared.metrics.compute(), alone.metrics.compute())
    assert_same(shared.scores, alone.scores)
    assert_same(shared.learning.columns(), alone.learning.columns())
    np.testing.assert_allclose(shared.errors, alone.errors, rtol=1e-6, atol=1e-9)
    for name in ("fixed", "hardest", "suspects", "broken"):
        ours, theirs = getattr(shared, name), getattr(alone, name)
        assert ours.index == theirs.index, name
        assert_same(ours.scores, theirs.scores)
        for pair in zip(ours.x, theirs.x, strict=True):
            np.testing.assert_array_equal(*pair)
    assert list(shared.properties) == list(alone.properties)
    for column, values in shared.properties.items():
        np.testing.assert_array_equal(values, alone.properties[column])
    ours, theirs = shared.problems, alone.problems
    assert [p.text for p in ours.problems] == [p.text for p in theirs.problems]
    assert sorted(ours.places) == sorted(theirs.places)


def classifier(data, **options):
    return WandbClassificationEvalCallback(data, NAMES, from_logits=True, **options)


@pytest.mark.parametrize(
    ("task", "units"),
    [(classifier, 3), (WandbRegressionEvalCallback, 1)],
    ids=["classes", "numbers"],
)
@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(3), id="few"),
        pytest.param(range(3, 25), id="many", marks=pytest.mark.slow),
    ],
)
def test_evaluations_of_parts_are_equal_to_one(
    task, units, seeds, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    model = new_model(units)
    with wandb.init(mode="offline"):
        for seed in seeds:
            data, batch_size, count = situation(seed)
            callbacks = [
                task(data, num_samples=9, num_hardest=5, batch_size=batch_size)
                for _ in range(2)
            ]
            for callback in callbacks:
                callback.set_model(model)
                callback.bind_run()
                callback._check_model()
            shared, alone = callbacks
            for epoch in range(2):
                set_weights(model, (seed, epoch))
                # In every other pass, `fit` has predicted, in batches of its own size.
                fit_size = 4 + seed % 30 if (seed + epoch) % 2 else None
                assert_same_evaluation(
                    evaluate_parts(shared, count, epoch, fit_size),
                    alone._evaluator.evaluate(epoch),
                )


def test_a_process_reads_only_its_part_of_a_data_set(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).random((20, 5, 5, 3), np.float32)
    data = InBatches(x, np.arange(20) % 3, list(range(2, 21, 2)))
    with wandb.init(mode="disabled"):
        callback = classifier(data)
    validation, scan = callback.validation_data, callback._evaluator.scan
    del data.read[:]
    part = validation.part(1, 3, scan)
    batches = list(validation.batches_of(part))
    assert data.read == [3, 4, 5]
    assert (part.start, part.stop) == (6, 12)
    np.testing.assert_array_equal(np.concatenate([b.x for b in batches]), x[6:12])


def test_data_that_changes_is_not_shared(monkeypatch, tmp_path):
    class Shuffled:
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def __len__(self):
            return 5

        def __iter__(self):
            order = self.rng.permutation(20).reshape(5, 4)
            return ((x[i], i % 3) for i in order)

    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).random((20, 5, 5, 3), np.float32)
    model = new_model(3)
    with wandb.init(mode="disabled"):
        callback = classifier(Shuffled())
        callback.set_model(model)
        callback.bind_run()
        callback._check_model()
    part = callback.validation_data.part(0, 2, callback._evaluator.scan)
    with pytest.raises(sharing.NotSharedError, match="changes from pass to pass"):
        callback._evaluator.collect_part(part, needs_properties=False)


# --- Processes, which are threads here ----------------------------------------------


class Threads:
    """A group of threads that exchange bytes, as an engine's processes do."""

    def __init__(self, count):
        self.barrier, self.sent = threading.Barrier(count), [b""] * count

    def member(self, index):
        return Member(self, index)


class Member:
    def __init__(self, threads, index):
        self.threads, self.index, self.count = threads, index, len(threads.sent)

    def exchange(self, content):
        self.threads.sent[self.index] = content
        self.threads.barrier.wait(60)
        received = list(self.threads.sent)
        self.threads.barrier.wait(60)
        return received


def in_processes(count, function):
    """Calls a function for each member of a group; what it returns or raises."""
    threads = Threads(count)

    def call(index):
        try:
            return function(threads.member(index))
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def plan(why_not=None, same=("data", 3), weights=b"", needs=False, of_fit=None):
    return sharing.Plan(why_not, same, weights, needs, of_fit)


@pytest.mark.parametrize(
    ("plans", "reason"),
    [
        (
            [plan(), plan("it has no `merge`"), plan()],
            "in process 1, it has no `merge`",
        ),
        ([plan(), plan(same=("other data", 3))], "have different data or arguments"),
        ([plan(weights=b"1"), plan(weights=b"2")], "have different weights"),
    ],
)
def test_all_processes_know_why_a_pass_is_not_shared(plans, reason):
    answers = in_processes(
        len(plans), lambda group: sharing.agree(group, lambda: plans[group.index])
    )
    for answer in answers:
        assert isinstance(answer, sharing.NotSharedError)
        assert reason in str(answer)


@pytest.mark.parametrize(
    ("plans", "needs_properties", "have_parts"),
    [
        ([plan(), plan(needs=True)], True, False),
        ([plan(of_fit=False), plan()], False, False),
        ([plan(of_fit=False), plan(of_fit=True)], False, True),
        ([plan(of_fit=False), plan(needs=True, of_fit=True)], True, False),
        ([plan(of_fit=True), plan(needs=True, of_fit=True)], True, True),
    ],
)
def test_all_processes_agree(plans, needs_properties, have_parts):
    agreed = sharing.Agreement(needs_properties, have_parts)
    answers = in_processes(
        2, lambda group: sharing.agree(group, lambda: plans[group.index])
    )
    assert answers == [agreed, agreed]


def test_a_plan_that_can_not_be_made_is_a_reason():
    answers = in_processes(
        2, lambda group: sharing.agree(group, [plan, lambda: 1 / 0][group.index])
    )
    for answer in answers:
        assert isinstance(answer, sharing.NotSharedError)
        assert "in process 1, no plan can be made (ZeroDivisionError" in str(answer)


def test_a_model_that_changes_is_not_shared():
    def call(group):
        group.weights = b"before"

        def own():
            group.weights = b"after" if group.index else b"before"
            return collected(Counts(1))

        agreed = sharing.agree(group, lambda: plan(weights=group.weights))
        return collect(group, own, agreed.weights)

    for answer in in_processes(2, call):
        assert isinstance(answer, sharing.NotSharedError)
        assert "in process 1, the model changes when it predicts" in str(answer)


class Counts:
    def __init__(self, count):
        self.count = count

    def merge(self, other):
        self.count += other.count


def collected(metrics):
    return Collected(metrics, None, hardest=TopK(1), suspects=TopK(1), broken=TopK(1))


def collect(group, own, *weights):
    parts = sharing.Parts(None, Samples([], [], []))
    return sharing.collect(group, parts, own, *weights)


def test_parts_are_merged_in_all_processes():
    answers = in_processes(
        3, lambda group: collect(group, lambda: collected(Counts(10**group.index)))
    )
    assert [answer.metrics.count for answer in answers] == [111, 111, 111]


def test_when_one_process_fails_all_of_them_do():
    def own(index):
        if index == 1:
            raise OSError("no such file")
        return collected(Counts(1))

    first, second, third = in_processes(
        3, lambda group: collect(group, lambda: own(group.index))
    )
    assert isinstance(second, OSError)
    for answer in (first, third):
        assert isinstance(answer, RuntimeError)
        assert str(answer) == "Process 1 has failed: OSError: no such file"


def test_results_that_can_not_be_sent_are_not_shared():
    def own(index):
        return collected(Counts(1) if index else Counts(threading.Lock()))

    for answer in in_processes(
        2, lambda group: collect(group, lambda: own(group.index))
    ):
        assert isinstance(answer, sharing.NotSharedError)
        assert "in process 0, results can't be sent" in str(answer)


class Bomb:
    """Can be sent, but not everywhere received."""

    def __reduce__(self):
        return _receive, ()


def _receive():
    if threading.current_thread() in _WHERE_IT_FAILS:
        raise RecursionError("it has no state yet")
    return Counts(1)


_WHERE_IT_FAILS = set()


def test_results_that_one_process_can_not_read_are_not_shared():
    def call(group):
        if group.index == 1:
            _WHERE_IT_FAILS.add(threading.current_thread())
        return collect(group, lambda: collected(Bomb()))

    try:
        for answer in in_processes(3, call):
            assert isinstance(answer, sharing.NotSharedError)
            assert "in process 1, results of others can't be read" in str(answer)
    finally:
        _WHERE_IT_FAILS.clear()


class WithMore(ClassificationMetrics):
    """Accumulates more than it merges."""

    def update(self, y, outputs):
        super().update(y, outputs)
        self.mine = len(y)


class WithOwnMerge(WithMore):
    def merge(self, other):
        super().merge(other)
        self.mine += other.mine


class ComputesMore(ClassificationMetrics):
    def compute(self):
        return {**super().compute(), "mine": 1}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ClassificationMetrics, True),
        (WithMore, False),
        (WithOwnMerge, True),
        (ComputesMore, True),
    ],
)
def test_a_merge_that_does_not_know_all_is_not_used(kind, expected):
    assert can_merge(kind(["a", "b"])) is expected
    assert not can_merge(Counts(1))  # It has no `update`.


def test_a_task_is_not_sent():
    class Task:
        def __reduce__(self):
            raise TypeError("It has a run.")

    task = Task()
    parts = sharing.Parts(task, Samples([], [], []))
    sent = parts.dump(collected([task]))
    assert parts.load(sent).metrics == [task]


class HoldsAMetric:
    """Metrics of a task, with one of Keras' in them, whose state is not pickled."""

    def __init__(self):
        self.mean = keras.metrics.Mean()
        self.mean.update_state([1.0, 3.0])


def test_metrics_of_keras_are_not_sent_without_their_state():
    for answer in in_processes(
        2, lambda group: collect(group, lambda: collected(HoldsAMetric()))
    ):
        assert isinstance(answer, sharing.NotSharedError)
        assert "the state of a Keras metric is not pickled" in str(answer)
