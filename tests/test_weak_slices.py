"""Weak slices of all tasks: a planted weakness is found, and shown."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import wandb

from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.core import WriteError
from wandb_eval.detection import WandbDetectionEvalCallback
from wandb_eval.engine import SampleScores, WandbTaskEvalCallback
from wandb_eval.engine.weak_slices import WeakSlices
from wandb_eval.report.offline import read_offline_run
from wandb_eval.segmentation import WandbSegmentationEvalCallback

N = 600
SIDE = 16


def bits(pixels, count):
    """The last bits of pixels of 0 to 1, as numbers from 0 to 1."""
    return keras.ops.mod(keras.ops.round(255 * pixels), count) / count


class Weak(keras.layers.Layer):
    """Reads the target from the first channel, and errs where the luck is bad.

    The last four bits of the first pixel are the luck of an image, so that no property
    shows it. Six of ten images in the weak slice are wrong, and one of ten others.
    """

    def __init__(self, kind, rate=0.6):
        super().__init__()
        self.kind, self.rate = kind, rate

    def call(self, x):
        x = keras.ops.cast(x, "float32") / 255
        target, weak = x[..., 0], keras.ops.mean(x[..., 2], axis=(1, 2)) < 0.4
        if self.kind == "masks":
            weak = bits(x[:, 0, 0, 2], 2) > 0
        elif self.kind == "boxes":
            weak = 255 * (target[:, 0, 3] - target[:, 0, 1]) < 4
        errs = bits(x[:, 0, 0, 1], 16) < keras.ops.where(weak, self.rate, 0.1)
        if self.kind == "classes":
            label = keras.ops.cast(keras.ops.round(4 * target[:, 0, 0]), "int32")
            label = keras.ops.where(errs, (label + 1) % 5, label)
            return 0.6 * keras.ops.one_hot(label, 5) + 0.08
        if self.kind == "number":
            return keras.ops.where(errs, 1.0, 0.0)[:, None] + target[:, 0, :1]
        if self.kind == "masks":
            is_one = keras.ops.logical_xor(target > 0.5, errs[:, None, None])
            is_one = keras.ops.cast(is_one, "float32")
            return keras.ops.stack([1 - is_one, is_one], axis=-1)
        boxes = 255 * x[:, 0, 1:5, 0] * keras.ops.where(errs, 0.5, 1.0)[:, None]
        return {
            "boxes": boxes[:, None],
            "labels": keras.ops.zeros_like(boxes[:, :1], dtype="int32"),
            "confidence": keras.ops.ones_like(boxes[:, :1]),
        }


def model(kind, rate=0.6):
    x = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    return keras.Model(x, Weak(kind, rate)(x))


def images(brightness):
    """Images of a brightness, 0 to 1, with noise."""
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 0.1, (N, SIDE, SIDE, 3)) + brightness[:, None, None, None]
    x = np.uint8(255 * x)
    x[:, 0, 0, 1] = x[:, 0, 0, 1] // 16 * 16 + rng.integers(0, 16, N)
    return x


DARK = np.arange(N) % 5 == 0
SMALL = np.arange(N) % 6 == 0
BRIGHTNESS = np.where(DARK, 0.2, 0.6) + np.random.default_rng(1).uniform(0, 0.1, N)
LABELS = np.random.default_rng(2).integers(0, 5, N)


@pytest.mark.once
def test_errors_below_zero_stay_as_they_are():
    errors = np.where(DARK, 2.0, -5.0) + np.random.default_rng(0).normal(0, 0.5, N)
    task = SimpleNamespace(stratum=None, mechanical_properties=())
    slices = WeakSlices(task, None, SimpleNamespace(begin_training=lambda: None))
    [one] = slices._find(SimpleNamespace(errors=errors, properties={"dark": DARK}))
    assert one.error == pytest.approx(errors[DARK].mean())
    assert one.error_elsewhere == pytest.approx(errors[~DARK].mean())
    assert one.gap == pytest.approx(one.error - one.error_elsewhere)


CAMERAS = np.array(["north", "south", "east", None])[np.arange(N) // 7 % 4]


def classified():
    x = images(BRIGHTNESS)
    x[:, 0, 0, 0] = np.round(LABELS / 4 * 255)
    return x, LABELS


def segmented():
    x = images(BRIGHTNESS)
    masks = np.random.default_rng(5).integers(0, 2, (N, SIDE, SIDE))
    x[..., 0] = masks * 255
    x[:, 1] = 0
    masks[:, :2] = 0
    x[:, 0, 0, 2] = x[:, 0, 0, 2] // 2 * 2 + (CAMERAS == "north")
    return x, masks


def detected():
    rng = np.random.default_rng(4)
    sides = np.where(SMALL, 2, rng.integers(6, 9, N))
    low = rng.integers(3, 6, (N, 2))
    boxes = np.concatenate([low, low + sides[:, None]], axis=1)
    x = images(BRIGHTNESS)
    x[:, 0, 1:5, 0] = boxes
    return x, {"boxes": boxes[:, None].astype(float), "labels": np.zeros((N, 1), int)}


class Regression(WandbTaskEvalCallback):
    """A task of the tests' own, with a difficulty that may be negative."""

    def __init__(self, data, **options):
        columns = ["idx", "image"]
        super().__init__(
            data,
            data_table_columns=columns,
            pred_table_columns=["epoch", *columns, "error"],
            **options,
        )

    def score_samples(self, truth, predictions):
        error = np.abs(np.reshape(predictions, -1) - np.reshape(truth, -1))
        return SampleScores({"error": error}, difficulty=np.log(0.1 + error))


def reshuffled(x, y):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((x, y))
    return data.shuffle(N, seed=1, reshuffle_each_iteration=True).batch(64)


TASKS = {
    "classification": (
        "classes",
        WandbClassificationEvalCallback,
        classified,
        "brightness below ",
        False,
    ),
    "detection": (
        "boxes",
        lambda data, **options: WandbDetectionEvalCallback(data, ["thing"], **options),
        detected,
        "median_object below ",
        True,
    ),
    "segmentation": (
        "masks",
        WandbSegmentationEvalCallback,
        segmented,
        "camera is 'north'",
        False,
    ),
    "regression": (
        "number",
        Regression,
        lambda: (classified()[0], classified()[0][:, 0, 0, 0] / 255),
        "brightness below ",
        False,
    ),
}


@pytest.fixture
def said(monkeypatch):
    """The lines that are written to the terminal."""
    lines = []
    for name in ("termlog", "termwarn"):
        monkeypatch.setattr(wandb, name, lambda text, **options: lines.append(text))
    return lines


def run_of(task, data, rate=0.6, **options):
    kind, make, *_ = TASKS[task]
    callback = make(data, num_samples=8, on_error="raise", **options)
    callback.evaluate(model(kind, rate))
    return callback


def places_in(row):
    return [int(place) for place in row["index"].split(", ")]


def by_camera(batch):
    """Finds the camera of an image by its content."""
    place = {image.tobytes(): i for i, image in enumerate(segmented()[0])}
    return {"camera": [CAMERAS[place[np.asarray(x).tobytes()]] for x in batch[0]]}


@pytest.mark.parametrize(
    "shuffles", [False, pytest.param(True, marks=pytest.mark.tensorflow)]
)
@pytest.mark.parametrize("task", TASKS)
def test_a_planted_weakness_is_the_first_slice(loopback, task, shuffles):
    _, _, make_data, text, mechanical = TASKS[task]
    data = make_data()
    slice_by = by_camera if task == "segmentation" else None
    with wandb.init() as run:
        callback = run_of(
            task, reshuffled(*data) if shuffles else data, slice_by=slice_by
        )
    first = callback.weak_slices[0]
    assert first.text.startswith(text), callback.weak_slices
    assert first.mechanical == mechanical
    [version] = loopback.versions(f"run_{run.id}_pred")
    rows = loopback.rows(version, "weak_slices")
    assert [row["slice"] for row in rows] == [s.text for s in callback.weak_slices]
    row = rows[0]
    assert 0 < row["at_least"] < row["gap"]
    assert bool(row["remark"]) == mechanical
    # The table of scores has the properties, and `index` has its `idx`.
    scores = loopback.rows(version, "scores")
    index = places_in(row)
    inside = [scores[i] for i in index]
    assert [one["idx"] for one in inside] == index == first.index.tolist()
    [name] = first.properties
    limit = text.split("'")[1] if "'" in text else float(first.text.split()[2])
    for one in scores:
        is_in = one[name] == limit if "'" in text else one[name] < limit
        assert is_in == (one["idx"] in set(index))
    for column in ("image_1", "image_2", "image_3"):
        loopback.resolve(version, row[column]["path"])
    assert "eval/weak_slices" in loopback.summary(run.id)


@pytest.mark.usefixtures("loopback")
def test_nothing_is_found_in_noise(said):
    with wandb.init(mode="offline"):
        callback = run_of("classification", classified(), rate=0.1)
        few = run_of("classification", [part[:200] for part in classified()])
        few.evaluate(few.model)
    assert callback.weak_slices == few.weak_slices == []
    assert [line for line in said if "Weak slices" in line] == [
        "Weak slices need at least 300 samples with an error. Received: 200."
    ]


@pytest.mark.usefixtures("loopback")
def test_slices_are_found_when_fit_ends(tmp_path, said):
    x, y = classified()
    with wandb.init(mode="offline", dir=tmp_path) as run:
        callback = WandbClassificationEvalCallback((x, y), on_error="raise")
        trained = keras.Sequential([keras.Input(x.shape[1:]), Weak("classes"), Scale()])
        trained.compile("sgd", "sparse_categorical_crossentropy")
        found = []

        class Watch(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                found.append(len(callback.weak_slices))

        trained.fit(
            x[:8],
            y[:8],
            epochs=2,
            verbose=0,
            validation_data=(x, y),
            callbacks=[callback, Watch()],
        )
    assert found[0] == 0
    assert found[1] == len(callback.weak_slices) > 0
    [line] = [text for text in said if "The model has an error of" in text]
    assert "where brightness below" in line
    recorded = read_offline_run(run.settings.sync_dir)
    tables = [
        sorted(name for name in artifact.files if name.endswith(".table.json"))
        for artifact in recorded.artifacts
        if "_pred" in artifact.name
    ]
    assert ["weak_slices.table.json" in names for names in tables] == [False, True]


def test_slices_of_a_version_that_is_lost_are_in_the_history(
    loopback, monkeypatch, said
):
    x, y = classified()

    def fails(*args, **options):
        raise OSError("No space left on device")

    with wandb.init() as run:
        callback = WandbClassificationEvalCallback((x, y))
        monkeypatch.setattr(callback.run_log, "log_version", fails)
        trained = keras.Sequential([keras.Input(x.shape[1:]), Weak("classes"), Scale()])
        trained.compile("sgd", "sparse_categorical_crossentropy")
        trained.fit(x[:8], y[:8], verbose=0, callbacks=[callback])
    assert callback.weak_slices
    assert "eval/weak_slices" in loopback.summary(run.id)
    assert not [text for text in said if "Weak slices" in text]


class Scale(keras.layers.Layer):
    """Has a weight, so that the model can be trained."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        return keras.ops.softmax(20 * self.scale * x)


SMALL_X, SMALL_Y = classified()[0][:12].copy(), LABELS[:12].copy()


def evaluated(data, **options):
    return run_of("classification", data, **options)


def scores_of(loopback, run):
    """The table of scores of the only version."""
    [version] = loopback.versions(f"run_{run.id}_pred")
    return loopback.rows(version, "scores")


GIVEN = {"camera": list("ab" * 6), "hour": [1, None] * 6, "loss": np.arange(12.0)}


def test_given_properties_are_columns_of_scores(loopback):
    with wandb.init() as run:
        evaluated((SMALL_X, SMALL_Y), slice_by=GIVEN)
    rows = scores_of(loopback, run)
    assert [row["camera"] for row in rows] == GIVEN["camera"]
    assert [row["hour"] for row in rows] == GIVEN["hour"]
    # A name that the task has already stays that of the task.
    assert [row["loss_property"] for row in rows] == list(range(12))
    assert rows[0]["loss"] > 0
    assert 0 < rows[0]["brightness"] < 1


@pytest.mark.parametrize(
    ("slice_by", "match"),
    [
        (3, "must be a mapping of names"),
        ({"camera": "abc"}, "one value for each sample"),
        ({3: [1, 2]}, "Names in `slice_by` must be text"),
        ({"camera": [[1, 2]] * 12}, "one value for each sample"),
        ({"camera": [object()] * 12}, "'camera' must be numbers, strings or bools"),
        ({"camera": [1, 2, 3]}, "as many values as the samples of .*: 12. Rec.*: 3 of"),
        (lambda batch: [1, 2], "must return a mapping"),
        (lambda batch: {"camera": [1, 2, 3]}, "samples of the batch: 8. Received: 3"),
        (
            lambda batch: {str(len(batch[0])): batch[1]},
            r"the same names for all batches. Received: \['8'\], then \['4'\]",
        ),
    ],
    ids=[
        "number",
        "text",
        "name",
        "shape",
        "object",
        "length",
        "list",
        "length of batch",
        "names",
    ],
)
@pytest.mark.usefixtures("loopback")
def test_properties_that_can_not_be_used(slice_by, match):
    with wandb.init(mode="offline"), pytest.raises(ValueError, match=match):
        evaluated((SMALL_X, SMALL_Y), slice_by=slice_by, batch_size=8)


class Batches:
    """Yields batches with a third part, in another order after the first time."""

    def __init__(self, changes=True, x=SMALL_X, y=SMALL_Y):
        self.changes, self.x, self.y, self.walks = changes, x, y, 0

    def __len__(self):
        return 3

    def __iter__(self):
        order = np.arange(12)
        if self.changes and self.walks:
            order = np.random.default_rng(self.walks).permutation(12)
        self.walks += 1
        for part in np.split(order, 3):
            yield self.x[part], self.y[part], {"camera": part * 10.0}


def test_a_function_sees_whole_batches_in_any_order(loopback, said):
    for changes in (False, True):
        with wandb.init() as run:
            evaluated(Batches(changes), slice_by=lambda batch: batch[2])
        rows = scores_of(loopback, run)
        assert len({row["camera"] for row in rows}) == 12
        by_content = {row["content"]: row["camera"] for row in rows}
        assert set(by_content.values()) == {10.0 * i for i in range(12)}
        # The brightness was measured in another order than the values were read in.
        for row in rows:
            image = SMALL_X[int(row["camera"] / 10)]
            luma = image @ [0.299, 0.587, 0.114] / 255
            assert row["brightness"] == pytest.approx(luma.mean(), abs=0.01)
    assert not any("slice_by" in line for line in said)


def test_values_in_an_order_that_changes_are_left_out(loopback, said):
    with wandb.init() as run:
        evaluated(Batches(), slice_by={"camera": list("ab" * 6)})
    assert "camera" not in scores_of(loopback, run)[0]
    [line] = [line for line in said if "slice_by" in line]
    assert "Pass a function of a batch" in line


@pytest.mark.parametrize("reshuffles", [False, True])
def test_problems_of_the_data(loopback, said, reshuffles):
    x, y = SMALL_X.copy(), np.arange(12) % 5
    x[7], x[9], x[5] = x[2], x[3], 40
    y[7], y[9] = 4, y[3]
    x[1] = x[0]
    x[1, 8, 8, 2] += 1  # Nearly equal images are not equal.
    with wandb.init() as run:
        data = Batches(x=x, y=y) if reshuffles else (x, y)
        callback = evaluated(data)
        callback.evaluate(callback.model)
    first, second = loopback.versions(f"run_{run.id}_pred")
    assert "data_problems.table.json" not in second.manifest
    rows = loopback.rows(first, "data_problems")
    assert [(row["problem"], places_in(row)) for row in rows] == [
        ("different targets", [2, 7]),
        ("equal content", [3, 9]),
        ("blank", [5]),
    ]
    for row in rows:
        shown = [row[f"image_{i + 1}"] for i in range(len(places_in(row)))]
        for image in shown:
            loopback.resolve(first, image["path"])
    assert rows[2]["image_2"] is None
    [line] = [line for line in said if "data_problems" in line]
    assert "2 have equal content but different targets, 2 occur more than once" in line


def test_images_that_only_look_blank_are_no_problem(loopback):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 65536, (12, SIDE, SIDE, 5)).astype("uint16")
    x[7] = rng.integers(0, 100, (SIDE, SIDE, 5))  # Dark.
    x[3, ..., :3] = 900  # What is shown of it is blank.
    x[5] = 900
    layers = [keras.layers.Rescaling(1e-5), keras.layers.Flatten()]
    net = keras.Sequential([*layers, keras.layers.Dense(5, "softmax")])
    with wandb.init() as run:
        WandbClassificationEvalCallback((x, np.arange(12) % 5)).evaluate(net)
    [version] = loopback.versions(f"run_{run.id}_pred")
    [row] = loopback.rows(version, "data_problems")
    assert (row["problem"], places_in(row)) == ("blank", [5])


def test_problems_that_could_not_be_logged_are_in_the_next_version(loopback, said):
    class Fails(WandbClassificationEvalCallback):
        fails = "compute"

        def new_metrics(self):
            metrics = super().new_metrics()
            if self.fails == "compute":
                self.fails, metrics.compute = "version", None
            return metrics

        def log_pred_table(self, *args, **options):
            if self.fails == "version":
                self.fails = None
                raise WriteError("no space")
            super().log_pred_table(*args, **options)

    x, y = SMALL_X.copy(), np.arange(12) % 5
    x[7] = x[2]
    with wandb.init() as run:
        callback, classifier = Fails((x, y)), model("classes")
        for _ in range(4):
            callback.evaluate(classifier)
    first, second = loopback.versions(f"run_{run.id}_pred")
    [row] = loopback.rows(first, "data_problems")
    assert places_in(row) == [2, 7]
    assert "data_problems.table.json" not in second.manifest
    assert len([line for line in said if "data_problems" in line]) == 1


def test_boxes_in_another_order_are_the_same_targets(loopback):
    rng = np.random.default_rng(6)
    x = rng.integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
    x[1:4] = x[0]
    low, high = [1.0, 2.0, 5.0, 6.0], [4.0, 4.0, 9.0, 9.0]
    padding = [0.0] * 4
    boxes = np.array(
        [[low, high], [high, low], [low, padding], [padding, low], [low, high]]
    )
    labels = np.array([[0, 0], [0, 0], [0, -1], [-1, 0], [0, 0]])
    with wandb.init() as run:
        run_of("detection", (x, {"boxes": boxes, "labels": labels}))
    [version] = loopback.versions(f"run_{run.id}_pred")
    [row] = loopback.rows(version, "data_problems")
    assert row["text"] == (
        "4 samples have equal content, and 2 different targets: 0, 1, 2, 3"
    )


class Augmented(keras.utils.PyDataset):
    """Images that differ each time."""

    def __init__(self):
        super().__init__()
        self.reads = 0

    num_batches = 1

    def __getitem__(self, place):
        self.reads += 1
        return np.clip(SMALL_X, 0, 240) + np.uint8(self.reads), SMALL_Y


def test_random_images_are_measured_again(loopback):
    with wandb.init() as run:
        callback = evaluated(Augmented())
        for _ in range(3):
            callback.evaluate(callback.model)
    *_, before, last = loopback.versions(f"run_{run.id}_pred")
    measured = [loopback.rows(one, "scores")[0]["brightness"] for one in (before, last)]
    assert measured[1] > measured[0]


@pytest.mark.usefixtures("loopback")
def test_nothing_is_computed_where_nothing_is_logged():
    def never(batch):
        raise AssertionError("`slice_by` is called.")

    with wandb.init(mode="disabled"):
        callback = evaluated((SMALL_X, SMALL_Y), slice_by=never)
    assert callback.weak_slices == []
    assert callback.evaluation.properties == {}


def test_a_function_that_was_not_called_is_said_to_be(loopback, said):
    with wandb.init(mode="disabled"):
        callback = evaluated((SMALL_X, SMALL_Y), slice_by=lambda batch: {"y": batch[1]})
    with wandb.init() as run:
        callback.evaluate(callback.model)
    assert "y" not in scores_of(loopback, run)[0]
    [line] = [line for line in said if "slice_by" in line]
    assert "its function was not called" in line


def test_target_properties_of_another_length_lose_no_version(loopback, said):
    class Short(WandbClassificationEvalCallback):
        def target_properties(self, y, truth):
            return {"mean": np.array([np.mean(y)])}

    with wandb.init() as run:
        callback = Short((SMALL_X, SMALL_Y), on_error="warn")
        numbers = callback.evaluate(model("classes"))
    assert numbers["eval/accuracy"] > 0
    assert len(scores_of(loopback, run)) == 12
    [line] = [line for line in said if "target_properties" in line]
    assert "'mean' of shape (1,) for 12 samples" in line


@pytest.mark.usefixtures("loopback")
def test_a_failure_is_reported_and_loses_nothing(tmp_path, said):
    def fails(x):
        if callback.evaluation is None and len(shown) >= 8:
            raise RuntimeError("no image")
        shown.append(x)
        return x

    shown = []
    with wandb.init(mode="offline", dir=tmp_path) as run:
        callback = WandbClassificationEvalCallback(
            (SMALL_X, SMALL_Y), num_samples=4, num_hardest=0, image_fn=fails
        )
        numbers = callback.evaluate(model("classes"))
    assert numbers["eval/accuracy"] > 0
    [line] = [line for line in said if "no image" in line]
    assert "The properties of the samples are not known" in line
    recorded = read_offline_run(run.settings.sync_dir)
    assert any("scores.table.json" in one.files for one in recorded.artifacts)
