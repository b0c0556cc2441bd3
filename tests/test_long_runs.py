"""Long and large trainings cost what they should: memory, files, threads, the disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

SCRIPTS = Path(__file__).parent / "long_runs"

by_hand = pytest.mark.skipif(
    "RUN_SLOW" not in os.environ, reason="takes minutes: run with RUN_SLOW=1"
)


def run_script(name, *arguments):
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / name), *map(str, arguments)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=400,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def assert_resolves(loopback, version):
    assert version.state == "COMMITTED"
    for path in version.manifest:
        loopback.resolve(version, path)


def staged_files():
    """The files in W&B's staging folder."""
    folder = Path(os.environ["WANDB_DATA_DIR"]) / "artifacts" / "staging"
    return [path for path in folder.rglob("*") if path.is_file()]


def assert_level(report, warm, megabytes):
    """After `warm` epochs nothing grows as it would if an epoch's tables were kept."""
    # glibc gives back the memory of threads now and then, and takes it again.
    memory = report["megabytes"]
    assert min(memory[-10:]) - min(memory[warm - 10 : warm]) < megabytes
    for kind, more in (("files", 2), ("threads", 4)):
        counts = report[kind]
        assert max(counts[warm:]) - max(counts[warm - 10 : warm]) <= more


@by_hand
def test_300_epochs_on_50_rows(loopback):
    report = run_script("train.py", "online", 50, 300)
    assert_level(report, warm=50, megabytes=40)
    versions = loopback.versions(f"run_{report['run']}_pred")
    assert [v.metadata["epoch"] for v in versions] == list(range(300))
    for version in versions[::50]:
        assert_resolves(loopback, version)
    folder = Path(report["folder"])
    assert [path for path in (folder / "eval-media").rglob("*") if path.is_file()] == []
    assert list(folder.rglob("*.png")) == []
    assert staged_files() == []
    images = [u for u in loopback.uploads() if u.path.endswith(".png")]
    assert len(images) == 50


@by_hand
def test_20_epochs_on_10_000_rows(loopback, sync):
    report = run_script("train.py", "offline", 10_000, 20)
    assert_level(report, warm=10, megabytes=60)
    folder = Path(report["folder"])
    images = list(folder.rglob("*.png"))
    assert 10_000 <= len(images) <= 2 * 10_000
    assert len({path.name for path in images}) == 10_000
    sync(folder)
    versions = loopback.versions(f"run_{report['run']}_pred")
    assert [v.metadata["epoch"] for v in versions] == list(range(20))
    assert_resolves(loopback, versions[-1])


@by_hand
@pytest.mark.tensorflow
def test_200_000_images_from_a_generator(loopback):
    pytest.importorskip("tensorflow")
    report = run_script("stream.py")
    # Drawn from, and measured. Between, asked for a batch to see that it can be walked
    # again; TensorFlow may have begun the next one by then.
    assert report["made"] - 2 * 200_000 in (500, 2 * 500)
    assert report["most"] - report["before"] < 500
    [version] = loopback.versions(f"run_{report['run']}_pred")
    assert len(version.manifest) == 101
    assert_resolves(loopback, version)


@pytest.mark.slow
def test_forty_epochs(loopback):
    """The short form of the first one, for `.ci/run`."""
    report = run_script("train.py", "online", 10, 40)
    assert_level(report, warm=20, megabytes=10)
    assert len(loopback.versions(f"run_{report['run']}_pred")) == 40
    assert staged_files() == []
    assert list(Path(report["folder"]).rglob("*.png")) == []
