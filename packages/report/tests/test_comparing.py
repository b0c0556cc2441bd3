"""Two runs compared: real wandb runs offline, of which the tables are read."""

import itertools
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import wandb

import recorded_runs
from loopback.environment import ENTITY, PROJECT, forget_wandb
from loopback.fixtures import offline_environment
from wandb_eval.core import artifact_name
from wandb_eval.report import compare
from wandb_eval.report.compare_command import Condition, main

_names = itertools.count()


def record(columns, metadata=None, aliases=("latest", "epoch_0"), more=None):
    """The folder of an offline run with one version that has these scores."""
    return record_versions((columns, metadata, aliases, more))


def record_versions(*versions):
    name = f"run{next(_names)}"
    with wandb.init(mode="offline", name=name) as run:
        for columns, metadata, aliases, more in versions:
            artifact = wandb.Artifact(
                f"run_{run.id}_pred", "evaluation", metadata=metadata
            )
            for key, table in {"scores": columns, **(more or {})}.items():
                rows = list(map(list, zip(*table.values(), strict=True)))
                artifact.add(
                    wandb.Table(columns=list(table), data=rows, allow_mixed_types=True),
                    key,
                )
            run.log_artifact(artifact, aliases=list(aliases))
    return recorded_runs.finished(run)


def scores(correct, labels=None, **more):
    count = len(correct)
    labels = labels or ["cat", "dog"] * (count // 2)
    columns = {"idx": list(range(count)), "label": labels}
    return {**columns, "correct": list(map(bool, correct)), **more}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with offline_environment(tmp_path_factory.mktemp("runs")):
        yield
    forget_wandb()


RIGHT_A = np.arange(400) % 4 != 0  # 300 of 400.
RIGHT_B = RIGHT_A | (np.arange(400) % 12 == 0)  # 34 more.
RIGHT_B[1:11:4] = False  # 3 fewer: 1, 5, 9.
SOURCE = np.random.default_rng(0)
LOSS_A = SOURCE.exponential(size=400)
LOSS_B = LOSS_A - 0.1 + SOURCE.normal(0, 0.1, 400)


@pytest.fixture(scope="module")
def runs(home):
    return {
        "a": record(scores(RIGHT_A, loss=LOSS_A.tolist())),
        "b": record(scores(RIGHT_B, loss=LOSS_B.tolist())),
        "again": record(scores(RIGHT_B, loss=LOSS_B.tolist())),
        "other": record(scores(RIGHT_A, ["dog", "cat"] * 200)),
    }


def test_fixed_and_broken_samples(runs):
    found = compare(runs["a"], runs["b"])
    assert (found.num_samples, found.fixed, found.broken) == (400, 34, 3)
    assert found.samples.index[found.samples.broken].tolist() == [1, 5, 9]
    assert found.p_value < 1e-6
    correct = found.differences["correct"]
    assert correct.difference == pytest.approx(31 / 400)
    assert correct.low < correct.difference < correct.high
    assert list(found.differences) == ["correct", "loss"]
    assert found.differences["loss"].difference == pytest.approx(
        (LOSS_B - LOSS_A).mean()
    )
    assert found.differences["loss"].verdict == found.verdict == "better"
    assert found.text.startswith(
        "B is better: of 400 samples 34 were fixed and 3 broken (p < 0.001); "
        "accuracy +7.8 points (4.8 to 10.7). "
    )
    assert set(correct.by_class) == {"cat", "dog"}
    assert correct.by_class["dog"].difference == pytest.approx(-3 / 200)
    assert any("which data" in note for note in found.notes)
    back = compare(runs["b"], runs["a"])
    assert back.verdict == "worse"
    assert back.differences["loss"].low == pytest.approx(
        -found.differences["loss"].high
    )


def test_a_run_is_no_better_than_itself(runs):
    found = compare(runs["a"], runs["a"])
    assert found.text.startswith("No difference that chance does not explain: of 400")
    assert (found.fixed, found.broken, found.p_value) == (0, 0, 1)


def test_several_runs_a_side(runs):
    found = compare([runs["a"], runs["b"]], [runs["b"], runs["a"]])
    assert found.verdict == ""
    assert "A is a recipe, 2 runs of it" in found.text
    found = compare(runs["a"], [runs["b"], runs["a"]])
    assert "A is one model; B is a recipe, 2 runs of it" in found.text


def test_a_side_has_each_run_once(runs):
    for side in ([runs["b"], runs["b"]], [f"{runs['b']}:epoch_0", runs["b"]]):
        with pytest.raises(ValueError, match="are of one run"):
            compare(runs["a"], side)
    assert compare(f"{runs['b']}:epoch_0", runs["b"]).fixed == 0


def test_more_runs_on_a_side_are_not_more_often_right():
    rng = np.random.default_rng(0)
    runs = [record(scores(rng.random(1000) < 0.8)) for _ in range(6)]
    found = compare(runs[0], runs[1:])
    assert 100 < found.fixed < 220
    assert 100 < found.broken < 220


def test_runs_that_are_equal_leave_chance():
    right = np.arange(40) >= 0
    runs = [record(scores(right)) for _ in range(4)]
    found = compare(runs[:2], runs[2:]).differences["correct"]
    assert found.low < found.difference == 0 < found.high
    alone = compare(runs[0], runs[1]).differences["correct"]
    assert (found.low, found.high) == (alone.low, alone.high)


def test_a_target_is_no_metric():
    truth = list(np.linspace(20, 40, 60))
    columns = {"idx": list(range(60)), "psnr": truth, "predicted psnr": truth}
    a = record({**columns, "error": [2.0] * 60})
    found = compare(a, record({**columns, "error": [1.0] * 60}))
    assert list(found.differences) == ["error"]


def test_the_probability_of_the_predicted_class_is_not_compared():
    a, b = (
        record(scores(right, score=[score] * 400))
        for right, score in ((RIGHT_A, 0.5), (RIGHT_B, 0.9))
    )
    assert list(compare(a, b).differences) == ["correct"]


def test_classes_that_only_one_of_them_predicts():
    """Of 60 images, 40 are empty; B sees a bike on all of these."""
    empty, bikes = 40, 20
    columns = {
        "idx": list(range(60)),
        "mean_iou": [None] * empty + [0.5] * bikes,
        "classes": [[]] * empty + [["bike"]] * bikes,
        "class_iou": [[]] * empty + [[0.5]] * bikes,
    }
    sees = {
        **columns,
        "mean_iou": [0.0] * empty + [0.6] * bikes,
        "classes": [["bike"]] * 60,
        "class_iou": [[0.0]] * empty + [[0.6]] * bikes,
    }
    a = record(columns)
    found = compare(a, record(sees))
    expected = (20 * 0.1 - 40) / 60
    iou = found.differences["mean_iou"]
    assert iou.difference == pytest.approx(expected)
    assert iou.by_class["bike"].difference == pytest.approx(expected)
    assert (found.verdict, found.broken) == ("worse", 40)
    both = compare(a, record(columns)).differences["mean_iou"]
    assert (both.num_samples, both.mean_a) == (20, 0.5)


def test_other_data_is_not_compared(runs):
    with pytest.raises(ValueError, match=r"400 samples have another `label`.*idx 0"):
        compare(runs["a"], runs["other"])
    fewer = record(scores(RIGHT_A[:200]))
    with pytest.raises(ValueError, match="have 400 and 200 samples"):
        compare(runs["a"], fewer)
    one, two = (
        record(scores(RIGHT_A), {"data_fingerprint": text}) for text in ("ab", "cd")
    )
    with pytest.raises(ValueError, match="inputs or targets differ"):
        compare(one, two)
    with pytest.raises(ValueError, match="do not say what is in the samples"):
        compare(one, two, on_shared=True)


def test_the_same_data_in_another_order_and_shared_samples():
    order = np.random.default_rng(0).permutation(400)
    content = [f"{i // 2:x}" for i in range(400)]  # Each there twice.
    one = scores(RIGHT_A, ["cat"] * 400, content=content)
    two = scores(RIGHT_A[order], ["cat"] * 400, content=[content[i] for i in order])
    metadata = {"data_fingerprint": "ab", "data_fingerprint_ordered": "1"}
    a = record(one, metadata)
    b = record(two, {**metadata, "data_fingerprint_ordered": "2"})
    found = compare(a, b)
    assert found.differences["correct"].difference == 0
    assert not found.notes
    content_b = np.array(two["content"])[found.samples.index_b]
    assert content_b.tolist() == content
    cut = {name: cells[:100] for name, cells in one.items()}
    found = compare(a, record(cut, {"data_fingerprint": "ef"}), on_shared=True)
    assert (found.num_samples, found.fixed, found.broken) == (100, 0, 0)
    assert found.notes == ("Only the 100 samples that all have were compared.",)


def test_versions():
    versions = [
        (scores(RIGHT_A), None, ["epoch_0"], None),
        (scores(RIGHT_B), None, ["latest", "epoch_1", "best"], None),
        (scores(RIGHT_A), None, ["latest", "epoch_2"], None),
    ]
    run = record_versions(*versions)
    assert compare(f"{run}:epoch_0", run).fixed == 34
    assert compare(f"{run}:best", f"{run}:epoch_2").broken == 34
    assert compare(f"{run}:epoch_2", run).b == compare(run, run).a
    with pytest.raises(ValueError, match="no version 'epoch_7'"):
        compare(f"{run}:epoch_7", run)


def test_the_evaluation_of_a_callback_by_its_name():
    with wandb.init(mode="offline") as run:
        for middle, right in (("", 0), ("_test", 1), ("_ood_test", 2), ("_ho ld", 3)):
            columns = scores(np.arange(40) < 10 + right)
            rows = list(map(list, zip(*columns.values(), strict=True)))
            name = artifact_name(f"run_{run.id}{middle}_pred")
            artifact = wandb.Artifact(name, "evaluation")
            artifact.add(wandb.Table(columns=list(columns), data=rows), "scores")
            run.log_artifact(artifact)
    folder = recorded_runs.finished(run)
    for name, right in (("val", 0), ("test", 1), ("ood_test", 2), ("ho ld", 3)):
        found = compare(folder, folder, name=name).differences["correct"]
        assert found.mean_a == pytest.approx((10 + right) / 40)
    for name in (None, "ood", "pred"):
        with pytest.raises(ValueError, match="Name the evaluation"):
            compare(folder, folder, name=name)


def test_numbers_without_correct():
    count = 60
    counts = {
        "idx": list(range(count)),
        "num_boxes": [2] * count,
        "true_positives": [1] * count,
        "false_positives": [0] * count,
        "false_negatives": [1] * count,
        "mean_iou": [None, *[0.8] * (count - 1)],
    }
    better = {
        **counts,
        "true_positives": [1, *[2] * 59],
        "false_negatives": [1, *[0] * 59],
    }
    found = compare(record(counts), record(better))
    assert next(iter(found.differences)) == "f1"
    assert found.differences["f1"].mean_a == pytest.approx(2 / 3)
    assert found.differences["mean_iou"].num_samples == 59
    assert (found.right, found.fixed) == ("f1 of at least 0.5", 0)
    a, b = record(counts), record(better)
    assert compare(a, b, threshold=0.9).fixed == 59
    signed = {"idx": list(range(40)), "error": [-2.0] * 40}
    closer = {**signed, "error": [1.0] * 40}
    found = compare(record(signed), record(closer))
    assert found.differences["error"].difference == -1
    assert found.verdict == "better"
    several = {"idx": list(range(40)), "error x": [-2.0] * 40}
    found = compare(record(several), record({**several, "error x": [1.0] * 40}))
    assert found.differences["error x"].difference == -1


def test_weak_slices_of_a():
    slices = {"slice": ["dark"], "index": [", ".join(map(str, range(0, 400, 4)))]}
    a = record(scores(RIGHT_A), more={"weak_slices": slices})
    found = compare(a, record(scores(RIGHT_B)))
    assert found.differences["correct"].by_slice["dark"].difference == 0.34


def test_weak_slices_of_the_last_version_serve_the_best_one():
    order = np.random.default_rng(0).permutation(400)
    content = [f"{i // 2:x}" for i in range(400)]  # Each there twice.
    best = scores(RIGHT_A, ["cat"] * 400, content=content)
    last = scores(RIGHT_B[order], ["cat"] * 400, content=[content[i] for i in order])
    dark = {int(i) // 2 for i in order[:100]}
    index = [i for i, one in enumerate(order.tolist()) if one // 2 in dark]
    weak = {"weak_slices": {"slice": ["dark"], "index": [", ".join(map(str, index))]}}
    same, other = {"data_fingerprint": "ab"}, {"data_fingerprint": "cd"}
    b = record(scores(RIGHT_B, ["cat"] * 400), same)
    for metadata, lines in ((same, 1), (other, 0), ({}, 0)):
        a = record_versions(
            (best, same, ["epoch_1", "best"], None),
            (last, {**metadata, "x": 1}, ["epoch_2", "latest"], weak),
        )
        found = compare(a, b)
        by_slice = found.differences["correct"].by_slice
        assert len(by_slice) == lines
        [note] = [note for note in found.notes if "weak slices" in note.lower()]
        if lines:
            here = [2 * pair + i for pair in sorted(dark) for i in (0, 1)]
            changes = RIGHT_B[here].astype(int) - RIGHT_A[here]
            assert by_slice["dark"].num_samples == len(here)
            assert by_slice["dark"].difference == pytest.approx(changes.mean())
            assert note == f"The weak slices are those of {a_name(found)}, epoch_2."
        else:
            assert "epoch_2 are not compared: it was evaluated on other data" in note


def a_name(found):
    return found.a[0].partition(",")[0]


HOSTILE = {
    "no idx": ({"correct": [True]}, "no column `idx`"),
    "no rows": ({"idx": [], "correct": []}, "no rows"),
    "twice": ({"idx": [1, 1], "correct": [True, False]}, "each once"),
    "no number": ({"idx": [1], "label": ["x"]}, "no number in common"),
    "nothing": ({"idx": [0, 1], "loss": [None, float("nan")]}, "no number in common"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tables_are_one_clear_error(name, capsys):
    columns, message = HOSTILE[name]
    run = str(record(columns))
    assert main([run, run]) == 2
    assert message in capsys.readouterr().err


def test_null_cells_are_left_out():
    loss = LOSS_B.tolist()
    a = record(scores(RIGHT_A, loss=LOSS_A.tolist()))
    b = record(scores(RIGHT_B, loss=[None, float("nan"), float("inf"), *loss[3:]]))
    found = compare(a, b)
    assert found.differences["loss"].num_samples == 397
    assert any(note.startswith("3 samples have no loss") for note in found.notes)


def test_exit_codes_and_json(runs, tmp_path, capsys):
    a, b = str(runs["a"]), str(runs["b"])
    path = tmp_path / "found.json"
    command = ["--fail-if", "correct < -0.01", "--fail-if", "loss > 0"]
    assert main([a, b, *command, "--json", str(path)]) == 0
    assert capsys.readouterr().out.startswith("B is better")

    def refuse(word):
        raise AssertionError(word)

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found["samples"]["broken"] == [1, 5, 9]
    assert found["failed"] == []
    assert main([b, a, *command, "--json", str(path)]) == 1
    assert json.loads(path.read_text())["failed"] == ["correct < -0.01", "loss > 0"]
    assert "Failed: correct < -0.01" in capsys.readouterr().out
    # Worse, but not for sure by so much.
    assert main([b, a, "--fail-if", "correct < -0.06"]) == 0
    for wrong in ("correct", "correct < x", "correct < nan", "speed < 1"):
        assert main([a, b, "--fail-if", wrong]) == 2
    assert main([a, str(runs["other"])]) == 2
    assert main([a, str(tmp_path)]) == 2
    assert main([a, str(recorded_runs.bare())]) == 2
    assert "no version with a table `scores`" in capsys.readouterr().err


def test_a_condition_is_met_by_the_whole_interval():
    assert Condition.parse("loss > 1e-3") == Condition("loss", ">", 0.001)
    assert Condition.parse("mean iou<-.5") == Condition("mean iou", "<", -0.5)


def test_the_command(runs):
    command = [sys.executable, "-m", "wandb_eval.report", "compare"]
    done = subprocess.run(
        [*command, runs["a"], f"{runs['b']},{runs['again']}"],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "B is a recipe, 2 runs of it" in done.stdout


def test_real_runs_of_the_tasks():
    digits = recorded_runs.classify()
    found = compare(f"{digits}:epoch_0", f"{digits}:epoch_2")
    assert list(found.differences)[:2] == ["correct", "loss"]
    assert found.num_samples == 40
    boxes, masks = recorded_runs.detect(), recorded_runs.segment()
    assert next(iter(compare(boxes, boxes).differences)) == "f1"
    found = compare(f"{masks}:epoch_0", masks)
    assert next(iter(found.differences)) == "mean_iou"
    assert set(found.differences["mean_iou"].by_class) == {
        "background",
        recorded_runs.HOSTILE,
    }
    json.dumps(found.to_json(), allow_nan=False)


def test_a_run_in_wandb(loopback, sync):
    folder = record(scores(RIGHT_A))
    sync(folder)
    path = f"{ENTITY}/{PROJECT}/{folder.name.rpartition('-')[2]}"
    found = compare(folder, path)
    assert (found.num_samples, found.fixed, found.broken) == (400, 0, 0)
    with pytest.raises(ValueError, match="neither a folder nor a run in W&B"):
        compare(folder, f"{ENTITY}/{PROJECT}/nothing")


@pytest.mark.once
@pytest.mark.slow
def test_100_000_samples():
    rng = np.random.default_rng(0)
    labels = [f"class {i % 100}" for i in range(100_000)]
    a, b = (
        record(
            scores(
                rng.random(100_000) < 0.8,
                labels,
                loss=rng.exponential(size=100_000).tolist(),
                score=rng.random(100_000).tolist(),
            )
        )
        for _ in range(2)
    )
    found = compare(a, b)
    assert len(found.differences["loss"].by_class) == 100


def numbers_of_samples(**columns):
    count = len(next(iter(columns.values())))
    return {"idx": list(range(count)), **columns}


def test_targets_that_differ_by_rounding_are_the_same_data():
    target = np.linspace(0.1, 7.7, 40)
    loss = np.linspace(1, 2, 40)
    same = {"data_fingerprint": "ab", "data_fingerprint_ordered": "ab1"}
    content = [f"{i:x}" for i in range(40)]
    a, b = (
        record(
            numbers_of_samples(
                target=numbers.tolist(), error=(loss - shift).tolist(), content=content
            ),
            same,
        )
        for numbers, shift in ((target, 0), (np.float64(np.float32(target)), 0.5))
    )
    assert compare(a, b).verdict == "better"
    assert compare(a, b, on_shared=True).num_samples == 40


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("similarity", "better"), ("distance", "worse"), ("depth", "different")],
)
def test_numbers_of_tasks_of_ones_own(name, verdict):
    values = np.linspace(0, 1, 1000)
    more = np.where(np.arange(1000) % 10 < 3, values + 2, values)
    a, b = (record(numbers_of_samples(**{name: v.tolist()})) for v in (values, more))
    found = compare(a, b)
    assert found.verdict == verdict
    assert found.broken == (0 if verdict != "worse" else pytest.approx(177, abs=3))
    if verdict == "better":
        assert 170 <= found.fixed <= 184
        assert "right is similarity of at least" in found.text
    if verdict == "different":
        assert "1,000 samples were compared; depth" in found.text
    equal = compare(a, a)
    assert (equal.verdict, equal.fixed, equal.broken) == ("", 0, 0)


def test_the_p_value_is_that_of_the_verdict():
    """Each sample gets a little better, across the limit in both directions."""
    rng = np.random.default_rng(0)
    f1 = rng.uniform(0.3, 0.7, 400)
    a, b = (record(numbers_of_samples(f1=v.tolist())) for v in (f1, f1 + 0.004))
    found = compare(a, b)
    assert found.verdict == "better"
    assert found.text.count("p ") == 2
    assert re.search(r"; f1 .*, p < 0.001\. ", found.text)
