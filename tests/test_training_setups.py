"""Every way to train, and to run W&B: the tables are right, whatever the set-up."""

import io
import logging
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import wandb
from wandb.sdk.data_types._private import MEDIA_TMP

from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.engine.progress import Progress

NAMES = ["red", "green", "blue"]
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8)
Y = X.mean((1, 2)).argmax(-1)


@pytest.fixture(autouse=True)
def same_weights():
    keras.utils.set_random_seed(0)


def layers():
    return [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(3, activation="softmax", dtype="float32"),
    ]


def compiled(model=None, **options):
    model = model or keras.Sequential(layers())
    options = {"optimizer": "adam", "metrics": ["accuracy"], **options}
    model.compile(loss="sparse_categorical_crossentropy", **options)
    return model


def callback(data=(X, Y), **options):
    options = {"class_names": NAMES, "num_samples": 8, **options}
    return WandbClassificationEvalCallback(data, **options)


def train(model, data=(X, Y), epochs=3, callbacks=(), **options):
    x, y = data
    options = {"verbose": 0, "epochs": epochs, **options}
    return model.fit(x, y, callbacks=list(callbacks), **options)


def assert_logged(loopback, run, epochs, expected, *, images=X, labels=Y):
    """A complete version for each epoch; the last one has the expected predictions."""
    versions = loopback.versions(f"run_{run.id}_pred")
    assert [v.metadata["epoch"] for v in versions] == epochs
    for version in versions:
        assert version.state == "COMMITTED"
        table = loopback.rows(version, "eval_data")
        assert len(table) == 8
        for row in table:
            assert row["epoch"] == version.metadata["epoch"]
            assert row["label"] == NAMES[labels[row["idx"]]]
            image = loopback.resolve(version, row["image"]["path"])
            pixels = np.asarray(PIL.Image.open(io.BytesIO(image)))
            np.testing.assert_array_equal(pixels, images[row["idx"]])
    for row in table:
        scores = expected[row["idx"]]
        assert row["pred"] == NAMES[scores.argmax()]
        np.testing.assert_allclose(row["score"], scores.max(), rtol=2e-3)
    accuracy = (expected.argmax(-1) == labels).mean()
    assert versions[-1].metadata["eval/accuracy"] == pytest.approx(accuracy)
    rows = [r for r in loopback.history(run.id) if "eval/accuracy" in r]
    assert [row["eval/epoch"] for row in rows] == epochs


# --- Ways to train ----------------------------------------------------------------


@pytest.mark.parametrize("every_n_epochs", [1, 4])
def test_early_stopping(loopback, every_n_epochs):
    stop = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=100)
    with wandb.init() as run:
        model = compiled()
        evaluate = callback(every_n_epochs=every_n_epochs)
        # Ours comes first: it can't know yet that training will stop.
        history = train(model, epochs=9, callbacks=[evaluate, stop])
    assert len(history.epoch) == 2
    epochs = [0, 1] if every_n_epochs == 1 else [1]
    assert_logged(loopback, run, epochs, model.predict(X, verbose=0))


def test_steps_per_epoch_and_endless_training_data(loopback):
    def endless():
        while True:
            yield X[:4], Y[:4]

    with wandb.init() as run:
        model = compiled()
        model.fit(
            endless(), steps_per_epoch=2, epochs=2, verbose=0, callbacks=[callback()]
        )
    assert_logged(loopback, run, [0, 1], model.predict(X, verbose=0))


def test_validation_freq(loopback):
    with wandb.init() as run:
        model = compiled()
        train(
            model,
            epochs=4,
            validation_data=(X, Y),
            validation_freq=2,
            callbacks=[callback(monitor="val_loss")],
        )
    assert_logged(loopback, run, [0, 1, 2, 3], model.predict(X, verbose=0))
    best = [v for v in loopback.versions(f"run_{run.id}_pred") if "best" in v.aliases]
    assert [v.metadata["epoch"] for v in best] in ([1], [3])


@pytest.mark.parametrize(
    "options",
    [
        {"run_eagerly": True},
        {"jit_compile": True},
        {"optimizer": keras.optimizers.Adam(gradient_accumulation_steps=2)},
        {"steps_per_execution": 2},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_compile(loopback, options):
    if keras.backend.backend() == "torch" and "steps_per_execution" in options:
        pytest.skip("Keras refuses it on Torch")
    with wandb.init() as run:
        model = compiled(**options)
        train(model, callbacks=[callback()], batch_size=4)
    assert_logged(loopback, run, [0, 1, 2], model.predict(X, verbose=0))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(loopback, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        with wandb.init() as run:
            hidden = keras.layers.Dense(4, activation="relu")
            # Half-precision outputs, too.
            model = compiled(
                keras.Sequential(
                    [*layers()[:2], hidden, keras.layers.Dense(3, activation="softmax")]
                )
            )
            train(model, callbacks=[callback()])
        expected = model.predict(X, verbose=0).astype("float32")
    finally:
        keras.config.set_dtype_policy(before)
    assert_logged(loopback, run, [0, 1, 2], expected)


def test_training_without_the_progress_of_fit(loopback, capfd):
    with wandb.init():
        train(compiled(), callbacks=[callback()], verbose=0)
    printed = capfd.readouterr()
    assert printed.out == ""


# --- Models -----------------------------------------------------------------------


def test_a_subclassed_model(loopback):
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = keras.Sequential(layers())

        def call(self, x, training=False):
            return self.parts(x, training=training)

    with wandb.init() as run:
        model = compiled(Model())
        train(model, callbacks=[callback()])
    assert_logged(loopback, run, [0, 1, 2], model.predict(X, verbose=0))


@pytest.mark.parametrize("output_key", ["color", 1])
def test_several_inputs_and_outputs(loopback, output_key):
    image = keras.Input((6, 6, 3), name="image", dtype="uint8")
    size = keras.Input((1,), name="size")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Concatenate()([x, size])
    outputs = {
        "bright": keras.layers.Dense(1, name="bright")(x),
        "color": keras.layers.Dense(3, "softmax", name="color")(x),
    }
    if output_key == 1:
        outputs = list(outputs.values())
    model = keras.Model({"image": image, "size": size}, outputs)
    losses = {"bright": "mse", "color": "sparse_categorical_crossentropy"}
    model.compile("adam", losses if output_key == "color" else list(losses.values()))
    inputs = {"image": X, "size": np.ones((20, 1), "float32")}
    targets = {"bright": X.mean((1, 2, 3)) / 255, "color": Y}

    class OneTarget(WandbClassificationEvalCallback):
        def unpack_batch(self, batch):
            x, y = super().unpack_batch(batch)
            return x, y["color"]

    with wandb.init() as run:
        evaluate = OneTarget(
            (inputs, targets), NAMES, num_samples=8, output_key=output_key
        )
        y = targets if output_key == "color" else list(targets.values())
        model.fit(inputs, y, epochs=2, verbose=0, callbacks=[evaluate])
    expected = model.predict(inputs, verbose=0)[output_key]
    assert_logged(loopback, run, [0, 1], expected)


def test_masking(loopback):
    x = RNG.random((20, 6, 4)).astype("float32")
    x[:, 4:] = 0
    y = np.arange(20) % 3
    shown = np.rint(x * 255).astype(np.uint8)
    model = compiled(
        keras.Sequential(
            [
                keras.layers.Masking(),
                keras.layers.SimpleRNN(4),
                keras.layers.Dense(3, activation="softmax"),
            ]
        )
    )
    with wandb.init() as run:
        evaluate = callback(
            (x, y), image_fn=lambda step: np.rint(step * 255).astype(np.uint8)
        )
        train(model, (x, y), epochs=2, callbacks=[evaluate])
    expected = model.predict(x, verbose=0)
    assert_logged(loopback, run, [0, 1], expected, images=shown, labels=y)


def test_batches_of_tensorflow_in_every_backend(loopback):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(6)
    with wandb.init() as run:
        model = compiled()
        model.fit(
            data.repeat(),
            steps_per_epoch=3,
            epochs=2,
            validation_data=data,
            verbose=0,
            callbacks=[callback(data)],
        )
    assert_logged(loopback, run, [0, 1], model.predict(X, verbose=0))


def test_batches_of_torch_in_every_backend(loopback):
    torch = pytest.importorskip("torch")
    samples = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(Y))
    data = torch.utils.data.DataLoader(samples, batch_size=6)
    with wandb.init() as run:
        model = compiled()
        model.fit(
            data, epochs=2, validation_data=data, verbose=0, callbacks=[callback(data)]
        )
    assert_logged(loopback, run, [0, 1], model.predict(X, verbose=0))


# --- Ways to run W&B --------------------------------------------------------------


@pytest.mark.parametrize("resume", ["allow", "must"])
def test_a_run_is_resumed(loopback, resume):
    with wandb.init(id="resumed") as run:
        model = compiled()
        train(model, epochs=2, callbacks=[callback()])
    with wandb.init(id="resumed", resume=resume) as run:
        train(model, epochs=4, initial_epoch=2, callbacks=[callback()])
    assert_logged(loopback, run, [0, 1, 2, 3], model.predict(X, verbose=0))
    assert len(loopback.versions("val")) == 1


def test_a_shared_run(loopback):
    """Several processes may log to such a run, so it has no step of its own."""
    with wandb.init(mode="shared") as run:
        model = compiled()
        train(model, callbacks=[callback()])
    assert_logged(loopback, run, [0, 1, 2], model.predict(X, verbose=0))
    assert [v.collection for v in loopback.used_by(run.id)] == ["val"]


def test_versions_know_the_step_of_the_run(loopback):
    steps = []

    class Mine(WandbClassificationEvalCallback):
        def log_pred_table(self, *args, **kwargs):
            run.log({"mine": 0}, step=run.step + 3)
            run.log({"mine": 1}, commit=False)
            steps.append(run.step)
            super().log_pred_table(*args, **kwargs)

    for resume in (None, "must"):
        with wandb.init(id="resumed", resume=resume) as run:
            train(compiled(), callbacks=[Mine((X, Y), NAMES, num_samples=8)])
    versions = loopback.versions(f"run_{run.id}_pred")
    assert [version.history_step for version in versions] == steps
    assert len(set(steps)) == 6


def test_a_group_of_runs(loopback):
    runs = []
    for _ in range(2):
        with wandb.init(group="folds") as run:
            model = compiled()
            train(model, epochs=1, callbacks=[callback()])
        runs.append(run)
        assert_logged(loopback, run, [0], model.predict(X, verbose=0))
    assert len(loopback.versions("val")) == 1
    for run in runs:
        assert [v.collection for v in loopback.used_by(run.id)] == ["val"]


@pytest.mark.parametrize("reinit", ["finish_previous", "return_previous"])
def test_reinit(loopback, reinit):
    runs, expected = [], []
    for epoch in range(2):
        runs.append(wandb.init(reinit=reinit))
        model = compiled()
        train(model, epochs=epoch + 1, initial_epoch=epoch, callbacks=[callback()])
        expected.append(model.predict(X, verbose=0))
    runs[1].finish()
    if reinit == "return_previous":
        assert runs[0] is runs[1]
        assert_logged(loopback, runs[0], [0, 1], expected[1])
    else:
        assert runs[0].id != runs[1].id
        assert_logged(loopback, runs[0], [0], expected[0])
        assert_logged(loopback, runs[1], [1], expected[1])


def test_reinit_create_new(loopback):
    """Such a run is not `wandb.run`, to which the callback logs, as W&B's does."""
    with (
        wandb.init(reinit="create_new"),
        pytest.raises(wandb.Error, match=r"wandb\.init\(\)"),
    ):
        callback()
    with wandb.init() as run, wandb.init(reinit="create_new") as other:
        model = compiled()
        train(model, epochs=1, callbacks=[callback()])
    assert_logged(loopback, run, [0], model.predict(X, verbose=0))
    assert loopback.logged_by(other.id) == []


def test_a_sweep(loopback, monkeypatch):
    """W&B's own agent, in this process; only the server's commands are made up."""
    from wandb.agents import pyagent
    from wandb.apis.public import sweeps

    if not hasattr(sweeps, "_agent_heartbeat"):
        pytest.skip("this wandb asks for the commands elsewhere")
    for name in ("SWEEP_ID", "SWEEP_PARAM_PATH", "RUN_ID"):
        monkeypatch.setenv(f"WANDB_{name}", "")
        monkeypatch.delenv(f"WANDB_{name}")
    commands = [
        [{"type": "run", "run_id": f"trial{i}", "args": {"rate": {"value": rate}}}]
        for i, rate in enumerate([0.1, 0.001])
    ]
    answers = {
        "_register_agent": lambda *a, **k: {"id": "agent"},
        "_agent_heartbeat": lambda *a: commands.pop(0) if commands else [],
    }
    for name, answer in answers.items():
        for module in (sweeps, pyagent):  # Where the agent takes it from.
            if hasattr(module, name):
                monkeypatch.setattr(module, name, answer)
    monkeypatch.setattr(pyagent.Agent, "HEARTBEAT_SLEEP_SECONDS", 0.05)
    seen = {}

    def trial():
        with wandb.init() as run:
            optimizer = keras.optimizers.Adam(run.config["rate"])
            model = compiled(optimizer=optimizer)
            train(model, epochs=2, callbacks=[callback()])
        seen[run.id] = run, run.config["rate"], model.predict(X, verbose=0)

    wandb.agent("loopback/tests/sweep1", trial, count=2)
    assert {name: rate for name, (_, rate, _) in seen.items()} == {
        "trial0": 0.1,
        "trial1": 0.001,
    }
    for run, _, expected in seen.values():
        assert_logged(loopback, run, [0, 1], expected)


def control_characters(text):
    return {c for c in text if ord(c) < 32 and c != "\n"}


def test_no_progress_bar_garbage_where_there_is_no_terminal(capsys):
    """In a notebook or a log file: what Keras prints there, and little of it."""
    bar = keras.utils.Progbar(50)
    for done in range(1, 51):
        bar.update(done)
    of_keras = capsys.readouterr().out
    progress = Progress("Encoding images", 50)
    progress._start -= 10
    for _ in range(50):
        progress.add()
    progress.close()
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("\nEncoding images\n")
    assert "50/50" in printed.out
    assert printed.out.endswith("\n")
    assert control_characters(printed.out) <= control_characters(of_keras)
    assert len(printed.out.splitlines()) < 10


# --- What the machine does meanwhile ----------------------------------------------


@pytest.fixture
def clear_temporary_folders():
    """Clears them when an epoch begins, as a machine does that is up for long."""
    folders = [Path(folder.name) for folder in (MEDIA_TMP, wandb.Artifact._TMP_DIR)]

    def clear(epoch, logs):
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    yield keras.callbacks.LambdaCallback(on_epoch_begin=clear)
    for folder in folders:
        folder.mkdir(exist_ok=True)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_temporary_folders_are_cleared(
    loopback, sync, warned, clear_temporary_folders, mode
):
    with wandb.init(mode=mode) as run:
        model = compiled()
        train(model, callbacks=[callback(), clear_temporary_folders])
    if mode == "offline":
        sync(run.dir)
    assert warned == []
    assert_logged(loopback, run, [0, 1, 2], model.predict(X, verbose=0))
    for row in loopback.history(run.id):
        if "eval/accuracy" in row:
            assert row["eval/confusion_matrix_table"]["nrows"] == 9


def test_the_key_of_the_account_is_in_nothing_that_is_written(
    loopback, capfd, caplog, monkeypatch
):
    """Also where things go wrong, and much is said."""
    monkeypatch.delenv("WANDB_SILENT")
    caplog.set_level(logging.DEBUG)
    key = os.environ["WANDB_API_KEY"]
    with wandb.init() as run:
        loopback.fail("CreateArtifact", collection="val", status=403)
        finish = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: run.finish() if epoch == 2 else None
        )
        train(compiled(), callbacks=[callback(), finish])
    printed = capfd.readouterr()
    said = [printed.out, printed.err, caplog.text]
    assert "could not be" in "".join(said)
    home = Path(os.environ["WANDB_DIR"])
    written = [path for path in home.rglob("*") if path.is_file()]
    ours = [path for path in written if "eval" in str(path)]
    assert len(ours) > 8
    assert not any(key in text for text in said)
    assert not any(key.encode() in path.read_bytes() for path in ours)
