"""Several devices and several processes: one writes, all predict, nothing hangs.

The scripts in `distributed/` are the set-ups of `docs/distributed.md` and of
`docs/guides/several-devices.md`.
"""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import wandb

from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.core import WandbEvalCallback, callback, run_log
from wandb_eval.core._wandb.files import Folder, WriteError
from wandb_eval.engine.evaluation import evaluator
from wandb_eval.engine.evaluation.predict import Predictor

SCRIPTS = Path(__file__).parent / "distributed"
SECONDS = 240
PORTS = itertools.count()
X = np.random.default_rng(0).integers(0, 256, (32, 6, 6, 3), dtype=np.uint8)
Y = X.mean((1, 2)).argmax(-1)
NAMES = ["red", "green", "blue"]
ON_JAX = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="tested with the suite on JAX"
)


def run_scripts(name, arguments, environments):
    """Runs a script once for each environment, at the same time; their reports."""
    with contextlib.ExitStack() as stack:
        processes = []
        for more, environment in zip(arguments, environments, strict=True):
            out = stack.enter_context(tempfile.TemporaryFile("w+"))
            err = stack.enter_context(tempfile.TemporaryFile("w+"))
            process = subprocess.Popen(
                [sys.executable, str(SCRIPTS / name), *map(str, more)],
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
                stdout=out,
                stderr=err,
            )
            stack.callback(process.kill)
            processes.append((process, out, err))
        deadline = time.monotonic() + SECONDS
        # When one has failed, the others may wait for it for ever.
        while time.monotonic() < deadline and any(
            process.poll() is None for process, _, _ in processes
        ):
            if any(process.poll() for process, _, _ in processes):
                break
            time.sleep(0.1)
        reports = []
        for process, out, err in processes:
            out.seek(0)
            err.seek(0)
            assert process.poll() in (0, None), err.read()[-3000:]
            reports.append(out.read().splitlines())
        assert all(process.poll() == 0 for process, _, _ in processes), "timed out"
    return [json.loads(lines[-1]) for lines in reports]


def free_port():
    """A port that the system gives to nobody, and no other worker of pytest."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    first = 20_000 + 100 * int(worker.removeprefix("gw"))
    for port in (first + next(PORTS) for _ in range(100)):
        with socket.socket() as server, contextlib.suppress(OSError):
            server.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


def xla_flags(devices):
    """Those of this process, for some devices on the processor."""
    own = os.environ.get("XLA_FLAGS", "")
    return f"{own} --xla_force_host_platform_device_count={devices}"


def assert_logged(loopback, report):
    """Two complete versions; the last one is what the weights at the end say."""
    assert loopback.runs() == [report["run"]]
    versions = loopback.versions(f"run_{report['run']}_pred")
    assert [version.metadata["epoch"] for version in versions] == [0, 1]
    for version in versions:
        assert version.state == "COMMITTED"
        for path in version.manifest:
            loopback.resolve(version, path)
    kernel, bias = map(np.array, report["weights"])
    logits = X.reshape(len(X), -1) / 255 @ kernel + bias
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    rows = loopback.rows(versions[-1], "eval_data")
    assert len(rows) == 9
    for row in rows:
        assert row["label"] == NAMES[Y[row["idx"]]]
        assert row["pred"] == NAMES[scores[row["idx"]].argmax()]
        np.testing.assert_allclose(row["score"], scores[row["idx"]].max(), rtol=1e-4)
    accuracy = (scores.argmax(-1) == Y).mean()
    assert versions[-1].metadata["eval/accuracy"] == pytest.approx(accuracy)


def assert_shared(*sizes):
    """Each process has predicted half of the data, in two epochs."""
    for of_process in sizes:
        assert of_process[-6:] == [6, 6, 4] * 2
        assert sum(of_process[:-6]) < len(X)  # Before training.


def assert_scored(loopback, artifact):
    """The last version has each sample once, in order, and how it was learned."""
    version = loopback.versions(artifact)[-1]
    rows = loopback.rows(version, "scores")
    assert [row["idx"] for row in rows] == list(range(len(X)))
    assert [row["label"] for row in rows] == [NAMES[label] for label in Y]
    assert {row["forgotten"] for row in rows} <= {0, 1}
    assert all("brightness" in row for row in rows)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_tensorflow_on_two_devices(loopback):
    pytest.importorskip("tensorflow")
    environment = {"KERAS_BACKEND": "tensorflow"}
    [report] = run_scripts("mirrored.py", [[]], [environment])
    assert_logged(loopback, report)


@pytest.mark.slow
@ON_JAX
def test_jax_on_two_devices(loopback):
    environment = {
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": xla_flags(2),
    }
    [report] = run_scripts("jax_devices.py", [[]], [environment])
    assert_logged(loopback, report)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "other", ["none", pytest.param("disabled", marks=pytest.mark.once)]
)
def test_two_workers_of_tensorflow(loopback, other):
    pytest.importorskip("tensorflow")
    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(2)]}
    environments = [
        {
            "KERAS_BACKEND": "tensorflow",
            "TF_CONFIG": json.dumps(
                {"cluster": cluster, "task": {"type": "worker", "index": index}}
            ),
        }
        for index in range(2)
    ]
    chief, worker = run_scripts("tensorflow_workers.py", [[other]] * 2, environments)
    assert_logged(loopback, chief)
    assert worker["weights"] == chief["weights"]


@pytest.mark.slow
@ON_JAX
@pytest.mark.parametrize(("other", "devices"), [("none", 1), ("disabled", 2)])
def test_two_processes_of_jax(loopback, other, devices):
    pytest.importorskip("jax", "0.5", reason="on CPUs, before, they could not talk")
    address = f"127.0.0.1:{free_port()}"
    arguments = [[address, index, other] for index in range(2)]
    environment = {
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": xla_flags(devices),
    }
    chief, worker = run_scripts("jax_processes.py", arguments, [environment] * 2)
    assert_logged(loopback, chief)
    assert worker["weights"] == chief["weights"]
    # The process with the run finds the weak slices of all of the data.
    [version] = loopback.versions(f"run_{chief['run']}_planted_pred")
    [row] = loopback.rows(version, "weak_slices")
    index = set(map(int, row["index"].split(", ")))
    assert len(index & set(range(0, 320, 10))) >= 30
    assert len(index) <= 35
    assert (chief["weak_slices"], worker["weak_slices"]) == ([row["slice"]], [])
    assert worker["histories"] == chief["histories"]
    history, joined, apart = chief["histories"]
    assert len(history["eval/accuracy"]) == 2
    for report in (chief, worker):
        alone, with_fit, beside_fit = report["sizes"]
        assert_shared(alone, beside_fit)
        assert with_fit == [6, 6]  # Before training: nothing is predicted again.
    assert joined["eval_joined/accuracy"] == pytest.approx(joined["val_accuracy"])
    assert apart["eval_apart/accuracy"] == joined["eval_joined/accuracy"]
    for name in ("", "_joined", "_apart"):
        assert_scored(loopback, f"run_{chief['run']}{name}_pred")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "share"), [("none", "alone"), ("disabled", "shared")]
)
def test_two_processes_of_torch(loopback, other, share):
    pytest.importorskip("torch")
    port = str(free_port())
    environments = [
        {
            "KERAS_BACKEND": "torch",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "WORLD_SIZE": "2",
            "RANK": str(rank),
        }
        for rank in range(2)
    ]
    chief, worker = run_scripts(
        "torch_processes.py", [[other, share]] * 2, environments
    )
    assert_logged(loopback, chief)
    assert worker["weights"] == chief["weights"]
    assert worker["history"] == chief["history"]
    if share == "shared":
        assert_shared(chief["sizes"], worker["sizes"])
        assert_scored(loopback, f"run_{chief['run']}_pred")


def test_a_callback_of_ones_own_that_can_not_write_predicts_with_the_others(
    loopback, monkeypatch
):
    class Counting(WandbEvalCallback):
        def add_ground_truth(self, logs=None):
            self.data_table.add_data(0)

        def add_model_predictions(self, epoch, logs=None):
            epochs.append(epoch)

    def fail(*args):
        raise WriteError("no space")

    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    epochs = []
    monkeypatch.setattr(callback, "is_alone", lambda: False)
    monkeypatch.setattr(Folder, "store", fail)
    with wandb.init(mode="offline") as run:
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[Counting(["a"], ["b"])])
        assert run.summary["eval/missing_versions"] == [0, 1]
    assert epochs == [0, 1]


@pytest.mark.parametrize("trouble", ["ground truth", "predictions"])
def test_a_chief_that_can_not_write_predicts_with_the_others(
    loopback, monkeypatch, trouble
):
    """Or they would wait for it for ever."""
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")

    class Counting(WandbClassificationEvalCallback):
        def add_rows(self, table, rows):
            predictions = getattr(self, "pred_table", None)
            if full and trouble == "predictions" and table is predictions:
                raise WriteError("no space")
            super().add_rows(table, rows)

    def store(*args):
        raise WriteError("no space")

    def fit():
        counts.append(0)
        counting = Counting((X, Y), NAMES, num_samples=9, batch_size=4)
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[counting])

    predict = Predictor.__call__

    def counted(self, x):
        counts[-1] += 1
        return predict(self, x)

    counts, full = [], False
    monkeypatch.setattr(Predictor, "__call__", counted)
    monkeypatch.setattr(evaluator, "is_alone", lambda: False)
    with wandb.init(mode="offline") as run:
        fit()
        with monkeypatch.context() as patch:
            patch.setattr(run_log, "is_chief", lambda: False)
            fit()
        full = True
        if trouble == "ground truth":
            monkeypatch.setattr(Folder, "store", store)
        fit()
        assert run.summary["eval/missing_versions"] == [0, 1]
    assert counts[0] == counts[1] == counts[2] > 0
