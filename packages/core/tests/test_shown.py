"""What a table shows of samples that are images, text, or anything else."""

import keras
import numpy as np
import pytest
import wandb

from wandb_eval.core import SampleScores, WandbTaskEvalCallback, map_to_image

N = 6
Y = np.arange(N, dtype="float32")
TABULAR = np.arange(4 * N, dtype="float32").reshape(N, 4)


class Regression(WandbTaskEvalCallback):
    """Shows samples with their targets and errors."""

    def __init__(self, x, **options):
        columns = ["idx", "image", "target"]
        options = {"num_samples": 4, "num_hardest": 2, "on_error": "raise", **options}
        super().__init__(
            (x, Y),
            data_table_columns=columns,
            pred_table_columns=["epoch", *columns, "error"],
            **options,
        )

    def ground_truth_rows(self, samples, images):
        rows = zip(samples.index, images, map(float, samples.y), strict=True)
        return [list(row) for row in rows]

    def score_samples(self, truth, predictions):
        errors = np.abs(predictions[:, 0] - truth)
        return SampleScores({"error": errors}, errors)


def fit(*callbacks, x=TABULAR, epochs=2):
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, Y, epochs=epochs, verbose=0, callbacks=list(callbacks))


class Batches(keras.callbacks.Callback):
    trained = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.trained += 1


def refuses(message, **options):
    batches = Batches()
    with wandb.init(mode="offline"), pytest.raises(ValueError, match=message):
        fit(batches, Regression(TABULAR, **options))
    assert batches.trained == 0


def as_text(row):
    return f"row {int(row[0]) // 4}"


def as_html(row):
    return wandb.Html(f"<b>{as_text(row)}</b>", inject=False)


def as_audio(row):
    return wandb.Audio(np.full(80, row[0] / 100, "float32"), sample_rate=8000)


def test_text_that_image_fn_returns_is_in_the_column_input(loopback):
    with wandb.init() as run:
        fit(Regression(TABULAR, image_fn=as_text))
    [val] = loopback.versions("val")
    versions = loopback.versions(f"run_{run.id}_pred")
    assert len(versions) == 2
    tables = [loopback.rows(val, "val_data")]
    for version in versions:
        tables += [loopback.rows(version, name) for name in ("eval_data", "hardest")]
    for table in tables:
        assert table
        for row in table:
            assert row["input"] == f"row {row['idx']}"
            assert "image" not in row


@pytest.mark.parametrize("image_fn", [as_html, as_audio])
def test_media_that_image_fn_returns_are_stored_once(loopback, image_fn):
    with wandb.init() as run:
        fit(Regression(TABULAR, image_fn=image_fn))
    [val] = loopback.versions("val")
    stored = {}
    for row in loopback.rows(val, "val_data"):
        stored[row["idx"]] = loopback.resolve(val, row["input"]["path"])
    assert len(set(stored.values())) == len(stored) == 4
    for version in loopback.versions(f"run_{run.id}_pred"):
        for row in loopback.rows(version, "eval_data"):
            content = loopback.resolve(version, row["input"]["path"])
            assert content == stored[row["idx"]]
            assert row["input"]["path"] not in version.files
        for row in loopback.rows(version, "hardest"):
            content = loopback.resolve(version, row["input"]["path"])
            assert content == stored.get(row["idx"], content)


def test_depth_is_shown_as_an_image(loopback):
    depth = np.linspace(0.5, 80, N * 64, dtype="float32").reshape(N, 8, 8, 1)
    with wandb.init():
        fit(
            Regression(depth, image_fn=lambda x: map_to_image(x, 0, 80)),
            x=depth / 80,
        )
    [val] = loopback.versions("val")
    for row in loopback.rows(val, "val_data"):
        assert (row["image"]["width"], row["image"]["height"]) == (8, 8)


@pytest.mark.usefixtures("loopback")
def test_numbers_that_are_no_image_need_image_fn():
    refuses(r"float32 of shape \(4,\)\. Pass `image_fn`.*text, or media of W&B")


@pytest.mark.usefixtures("loopback")
def test_all_samples_are_images_or_none_is():
    def image_fn(row):
        return as_text(row) if row[0] < 8 else np.zeros((2, 2), np.uint8)

    refuses("images for all samples, or for none", image_fn=image_fn, num_samples=None)


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("image_fn", [as_text, as_html])
def test_where_targets_lie_in_the_image_it_must_be_one(monkeypatch, image_fn):
    monkeypatch.setattr(Regression, "looks_as_model", True)
    refuses("`image_fn` must return a uint8 image here", image_fn=image_fn)


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("wrong", [None, 3, b"text", {"a": 1}, np.zeros((2, 2))])
def test_what_image_fn_must_not_return(wrong):
    refuses("`image_fn` must return a uint8 array", image_fn=lambda x: wrong)
