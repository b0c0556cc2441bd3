"""The data that arrives at W&B, in each of its modes."""

import io
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import wandb
from sklearn import metrics

from wandb_eval.classification import WandbClassificationEvalCallback

NAMES = ['the "one"', "a/b", "two\nlines 🦆"]
X = np.random.default_rng(0).integers(0, 256, (24, 6, 5, 1), dtype=np.uint8)
Y = np.arange(24) % 3


def train():
    """Two epochs, with a callback for validation and one for test data."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    callbacks = [
        WandbClassificationEvalCallback(
            (X, Y), NAMES, num_samples=6, monitor="loss", on_error="raise"
        ),
        WandbClassificationEvalCallback(
            (X[:9], Y[:9]), NAMES, num_samples=2, name="test", on_error="raise"
        ),
    ]
    model.fit(X, Y, epochs=2, verbose=0, callbacks=callbacks)
    return model.predict(X, verbose=0)


def shown(loopback, version, cell):
    """The place in the data of the image in a cell."""
    content = loopback.resolve(version, cell["path"])
    image = np.asarray(PIL.Image.open(io.BytesIO(content)))
    [place] = np.flatnonzero((X[..., 0] == image).all(axis=(1, 2)))
    return place


def check_what_is_wrong(loopback, version, fixed, probabilities):
    """The tables of a version, against the model's own predictions."""
    y = Y[: len(probabilities)]
    pred = probabilities.argmax(axis=1)
    losses = -np.log(probabilities[np.arange(len(y)), y])
    hardest = loopback.rows(version, "hardest")
    assert sorted((row["loss"] for row in hardest), reverse=True) == [
        row["loss"] for row in hardest
    ]
    most = np.sort(losses)[::-1][:20]
    assert [row["loss"] for row in hardest] == pytest.approx(most, rel=1e-4)
    for row in [*fixed, *hardest]:
        assert shown(loopback, version, row["image"]) == row["idx"]
        assert row["label"] == NAMES[y[row["idx"]]]
        assert row["pred"] == NAMES[pred[row["idx"]]]
        assert row["loss"] == pytest.approx(losses[row["idx"]], rel=1e-4)

    scores = loopback.rows(version, "scores")
    assert [row["idx"] for row in scores] == list(range(len(y)))
    assert [row["pred"] for row in scores] == [NAMES[i] for i in pred]

    wrong = metrics.confusion_matrix(y, pred, labels=range(3))
    support = wrong.sum(axis=1)
    np.fill_diagonal(wrong, 0)
    confused = loopback.rows(version, "confused")
    assert sorted(wrong[wrong > 0])[::-1] == [row["count"] for row in confused]
    for row in confused:
        actual, predicted = NAMES.index(row["actual"]), NAMES.index(row["predicted"])
        assert row["count"] == wrong[actual, predicted]
        assert row["share"] == pytest.approx(row["count"] / support[actual])
        cells = [row[f"image_{i}"] for i in (1, 2, 3) if row[f"image_{i}"] is not None]
        assert cells
        for cell in cells:
            place = shown(loopback, version, cell)
            assert (y[place], pred[place]) == (actual, predicted)

    suspects = loopback.rows(version, "suspect_labels")
    assert len(suspects) == (y != pred).sum()
    means = [row["mean_confidence"] for row in suspects]
    assert means == sorted(means)
    for row in suspects:
        assert shown(loopback, version, row["image"]) == row["idx"]
        assert row["label"] == NAMES[y[row["idx"]]]
        assert row["suggested"] == NAMES[pred[row["idx"]]]
        assert row["mean_confidence"] == scores[row["idx"]]["mean_confidence"]


def check(loopback, run_id, probabilities):
    [val], [test] = loopback.versions("val"), loopback.versions("test")
    assert {val.state, test.state} == {"COMMITTED"}
    assert sorted(v.collection for v in loopback.used_by(run_id)) == ["test", "val"]
    accuracy = metrics.accuracy_score(Y, probabilities.argmax(axis=1))
    for name, prefix, number in (
        (f"run_{run_id}_pred", "eval", 6),
        (f"run_{run_id}_test_pred", "eval_test", 2),
    ):
        versions = loopback.versions(name)
        assert [version.state for version in versions] == ["COMMITTED"] * 2
        assert [version.metadata["epoch"] for version in versions] == [0, 1]
        best = {"best"} if prefix == "eval" else set()
        assert [set(version.aliases) for version in versions] == [
            {"epoch_0"},
            {"latest", "epoch_1", *best},
        ]
        fixed = loopback.rows(versions[1], "eval_data")
        assert len(fixed) == number
        size = len(X) if name.endswith(f"{run_id}_pred") else 9
        check_what_is_wrong(loopback, versions[1], fixed, probabilities[:size])
        keys = ("accuracy", "brier", "ece", "log_loss", "macro_f1", "per_class")
        history = loopback.history(run_id)
        for key in (*keys, "predictions"):
            logged = [row for row in history if f"{prefix}/{key}" in row]
            assert [row[f"{prefix}/epoch"] for row in logged] == [0, 1]
        charts = " ".join(key for row in history for key in row)
        for key in ("confusion_matrix", "roc", "precision_recall", "reliability"):
            assert f"{prefix}/{key}" in charts
    last = loopback.versions(f"run_{run_id}_pred")[-1]
    assert last.metadata["eval/accuracy"] == accuracy
    assert [row["eval/accuracy"] for row in history if "eval/accuracy" in row][
        -1
    ] == accuracy


def test_online(loopback):
    with wandb.init() as run:
        probabilities = train()
    check(loopback, run.id, probabilities)
    images = [u for u in loopback.uploads() if u.path.endswith(".png")]
    assert len([u for u in images if u.collection in ("val", "test")]) == 6 + 2
    # The hardest samples go up once, whatever the number of epochs.
    assert len({(u.collection, u.path) for u in images}) == len(images)


def test_offline_then_sync(loopback, sync):
    with wandb.init(mode="offline") as run:
        probabilities = train()
    assert loopback.runs() == []
    sync(run.dir)
    check(loopback, run.id, probabilities)


def test_disabled_writes_and_predicts_nothing(loopback, tmp_path, monkeypatch):
    def predict(*args, **kwargs):
        raise AssertionError("nothing is to be predicted")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keras.Model, "predict_on_batch", predict)
    before = set(Path(tmp_path).rglob("*"))
    with wandb.init(mode="disabled"):
        assert train().shape == (24, 3)
    assert set(Path(tmp_path).rglob("*")) == before
    assert loopback.stats()["requests"] == {}


def test_without_a_run(loopback):
    with pytest.raises(wandb.Error, match=r"wandb\.init\(\)"):
        WandbClassificationEvalCallback((X, Y))
