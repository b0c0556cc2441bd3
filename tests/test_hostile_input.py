"""Whatever is passed: a clear error of ours or a correct table; no file elsewhere."""

import os
import re
import tempfile
import traceback
from pathlib import Path

import keras
import numpy as np
import pytest
import wandb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loopback.fixtures import offline_run
from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.core import WandbEvalCallback
from wandb_eval.detection import WandbDetectionEvalCallback
from wandb_eval.image_to_image import WandbImageToImageEvalCallback
from wandb_eval.regression import WandbRegressionEvalCallback
from wandb_eval.segmentation import WandbSegmentationEvalCallback

pytestmark = pytest.mark.any_backend

N = 6
X = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
NAMES = ["a", "b", "c"]
BOXES = {
    "boxes": np.tile(np.float32([[1, 1, 5, 6]]), (N, 1, 1)),
    "labels": np.arange(N)[:, None] % 3,
}


class Detector(keras.Model):
    """Returns the same box for each image."""

    def call(self, x):
        one = keras.ops.sum(keras.ops.cast(x, "float32"), axis=(1, 2))[:, :1] * 0 + 1
        box = keras.ops.convert_to_tensor([[1.0, 1.0, 5.0, 6.0]])
        return {
            "boxes": (one * box)[:, None],
            "labels": one,
            "confidence": one * 0.75,
        }


TASKS = {
    "classification": (
        WandbClassificationEvalCallback,
        keras.Sequential(
            [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        ),
        np.arange(N) % 3,
    ),
    "detection": (WandbDetectionEvalCallback, Detector(), BOXES),
    "segmentation": (
        WandbSegmentationEvalCallback,
        keras.Sequential(
            [keras.layers.Rescaling(1 / 255.0), keras.layers.Conv2D(3, 1)]
        ),
        (X[..., 0] % 3).astype(np.uint8),
    ),
    "regression": (
        WandbRegressionEvalCallback,
        keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)]),
        X[:, 0, 0].astype(np.float32),
    ),
    "image_to_image": (
        lambda data, names, **options: WandbImageToImageEvalCallback(data, **options),
        keras.Sequential(
            [keras.layers.Rescaling(1 / 255.0), keras.layers.Conv2D(3, 1)]
        ),
        X / np.float32(255),
    ),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An offline run for all tests, in a folder of its own."""
    home = tmp_path_factory.mktemp("home") / "deep" / "down"
    home.mkdir(parents=True)
    with offline_run(home):
        yield home


def evaluate_or_refuse(task, data, names, **options):
    """One epoch of the callback, without training; whether it was not refused."""
    try:
        callback = begin(task, data, names, **options)
    except Exception as error:
        assert_error_of_ours(error)
        return False
    finish(callback)
    return True


def begin(task, data, names, **options):
    """The callback, when training has begun."""
    make, model, _ = TASKS[task]
    callback = make(data, names, on_error="raise", **options)
    callback.set_model(model)
    callback.set_params({"epochs": 1, "verbose": 0})
    callback.on_train_begin()
    return callback


def finish(callback):
    callback.on_epoch_end(0, {})
    callback.on_train_end()
    rows = len(callback.data_table.data)
    assert rows == min(callback.num_samples or N, N)
    assert len(callback.pred_table.data) == rows
    columns = callback.pred_table.columns
    for truth, row in zip(
        callback.data_table.data, callback.pred_table.data, strict=True
    ):
        assert row[columns.index("epoch")] == 0
        assert row[columns.index("idx")] == truth[0]


def arrays():
    """Targets of any dtype, shape and range."""
    return st.builds(
        lambda dtype, shape, value: np.full(shape, value).astype(dtype),
        st.sampled_from(["uint8", "int64", "float32", "float64", "bool", "object"]),
        st.lists(st.sampled_from([N, 1, 3, 8, 0]), max_size=4).map(tuple),
        st.sampled_from([0, 1, 2, 3, 255]),
    )


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**40),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just(object()),
    st.just(len),
    arrays(),
)
OPTIONS = [
    *("num_samples", "every_n_epochs", "batch_size", "image_fn", "image_format"),
    *("monitor", "mode", "seed", "output_key", "name", "log_to_history"),
]
OPTIONS_OF = {
    "classification": ["from_logits", "multi_label", "top_k"],
    "detection": [
        *("bounding_box_format", "prediction_format", "score_threshold"),
        *("iou_threshold", "decode_fn"),
    ],
    "segmentation": ["ignore_index", "from_logits", "threshold"],
    "regression": ["units", "tolerance"],
    "image_to_image": ["value_range", "invalid"],
}
SLOW = "RUN_SLOW" in os.environ
FUZZ = settings(
    max_examples=500 if SLOW else 60,
    derandomize=not SLOW,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def assert_error_of_ours(error):
    """It has a message, and is raised in this project, not deep in another."""
    assert isinstance(error, (ValueError, TypeError, wandb.Error)), repr(error)
    assert len(str(error)) > 20
    assert re.search(r"Received|`|must|expected|named", str(error)), str(error)
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    assert "wandb_eval" in Path(last).parts, "".join(traceback.format_exception(error))


@pytest.mark.once
@pytest.mark.parametrize("task", TASKS)
@FUZZ
@given(data=st.data())
def test_any_option(home, task, data):
    option = data.draw(st.sampled_from([*OPTIONS, *OPTIONS_OF[task]]))
    value = data.draw(JUNK)
    evaluate_or_refuse(task, (X, TASKS[task][2]), NAMES, **{option: value})


@pytest.mark.once
@pytest.mark.parametrize("task", TASKS)
@FUZZ
@given(names=JUNK)
def test_any_class_names(home, task, names):
    evaluate_or_refuse(task, (X, TASKS[task][2]), names)


@pytest.mark.once
@pytest.mark.parametrize("task", TASKS)
@FUZZ
@given(
    y=st.one_of(
        JUNK,
        st.fixed_dictionaries({"boxes": arrays(), "labels": arrays()}),
    )
)
def test_any_targets(home, task, y):
    evaluate_or_refuse(task, (X, y), NAMES)


@pytest.mark.once
@pytest.mark.parametrize("task", TASKS)
@FUZZ
@given(data=JUNK)
def test_any_validation_data(home, task, data):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        begin(task, data, NAMES)
    assert_error_of_ours(caught.value)


ABSOLUTE = Path(tempfile.gettempdir()) / "absolute"
PATHS = st.one_of(
    st.sampled_from(
        [
            "../../../../up",
            str(ABSOLUTE),
            "..",
            ".",
            "a/../../../../b",
            "C:\\c",
            "~/d",
        ]
    ),
    st.text(alphabet="./\\~ab\0\n\u202e😀", min_size=1, max_size=12),
)


def files_outside(home):
    """Files below the test's folder, but for those of the run and of wandb's."""
    found = {path for path in ABSOLUTE.parent.glob("absolute*") if path.is_file()}
    for folder, folders, names in os.walk(home.parents[1]):
        folders[:] = [name for name in folders if Path(folder, name) != home]
        found.update(Path(folder, name) for name in names)
    return found


def links_in(folder):
    """The symbolic links below a folder, which grows with each example."""
    for place, folders, names in os.walk(folder):
        paths = (os.path.join(place, name) for name in (*folders, *names))
        yield from (Path(path) for path in paths if os.path.islink(path))


# What versions of W&B make of names is the same for all tasks: of an image, its layers
# and their classes, segmentation logs the most.
ONCE_BUT_FOR_ONE = [
    task if task == "segmentation" else pytest.param(task, marks=pytest.mark.once)
    for task in TASKS
]


@pytest.mark.slow
@pytest.mark.parametrize("task", ONCE_BUT_FOR_ONE)
@FUZZ
@given(names=st.lists(PATHS, min_size=3, max_size=3), name=PATHS)
def test_names_that_are_paths(home, task, names, name):
    def files():
        return set(home.iterdir()) | files_outside(home)

    before = files()
    if not evaluate_or_refuse(task, (X, TASKS[task][2]), names, name=name):
        is_refused = task == "regression" and len(set(names)) < len(names)
        assert evaluate_or_refuse(task, (X, TASKS[task][2]), names) != is_refused
    assert files() == before
    folder = Path(wandb.run.settings.sync_dir)
    # wandb's own.
    assert all(path.parent == folder / "logs" for path in links_in(folder))


class WithColumns(WandbEvalCallback):
    """A callback of a user, with names of columns, of tables and of keys."""

    def add_ground_truth(self, logs=None):
        for idx, image in enumerate(X):
            self.data_table.add_data(idx, wandb.Image(image), "x")

    def add_model_predictions(self, epoch, logs=None):
        for row in self.data_table_ref.data:
            self.pred_table.add_data(*row)
        self.log_metrics({f"eval/{self.key}": 1.0}, epoch)


@pytest.mark.slow
@FUZZ
@given(columns=st.lists(PATHS, min_size=3, max_size=3, unique=True), key=PATHS)
def test_columns_and_keys_that_are_paths(home, columns, key):
    before = files_outside(home)
    callback = WithColumns(columns, columns, on_error="raise")
    callback.key = key
    callback.set_model(TASKS["classification"][1])
    callback.set_params({"epochs": 1, "verbose": 0})
    callback.on_train_begin()
    callback.on_epoch_end(0, {})
    callback.on_train_end()
    assert [row[0] for row in callback.pred_table.data] == list(range(N))
    assert files_outside(home) == before
