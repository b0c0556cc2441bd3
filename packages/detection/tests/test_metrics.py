"""The metrics, against pycocotools and against a slow, plain implementation."""

import contextlib
import io
import tracemalloc

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from wandb_eval.detection import (
    ERROR_TYPES,
    BoxFormat,
    DetectionMetrics,
    Detections,
    count_image,
    ious,
    read_ground_truth,
    read_predictions,
)
from wandb_eval.detection import coco as coco_evaluation
from wandb_eval.detection.coco import COCO_FIGURES
from wandb_eval.detection.matching import BatchMatch
from wandb_eval.detection.ranking import Ranking
from wandb_eval.detection.score_curves import score_curves
from wandb_eval.engine import charts

pytestmark = pytest.mark.any_backend

FORMATS = [
    "xyxy",
    "yxyx",
    "xywh",
    "center_xywh",
    "center_yxhw",
    "rel_xyxy",
    "rel_yxyx",
    "rel_xywh",
    "rel_center_xywh",
]
NAMES = ["cat", "dog", "bird"]
WIDTH, HEIGHT = 256, 128  # Powers of two: relative boxes are exact, ties stay ties.


# --- Random scenes ----------------------------------------------------------------


@st.composite
def boxes_of_image(draw, with_scores):
    """Boxes on a coarse grid, so that many overlap and IoUs are equal, of all sizes."""
    count = draw(st.integers(0, 6))
    boxes, labels, scores, crowds = [], [], [], []
    for _ in range(count):
        left, top = draw(st.integers(0, 10)) * 16, draw(st.integers(0, 6)) * 16
        width = draw(st.sampled_from([16, 32, 48, 112]))
        height = draw(st.sampled_from([16, 32, 48, 112]))
        boxes.append([left, top, left + width, top + height])
        labels.append(draw(st.integers(0, len(NAMES) - 1)))
        scores.append(draw(st.sampled_from([0.125, 0.25, 0.3, 0.5, 0.5, 0.875])))
        crowds.append(draw(st.integers(0, 5)) == 0)
    if with_scores:
        return Detections(np.reshape(boxes, (-1, 4)), labels, scores)
    return Detections(np.reshape(boxes, (-1, 4)), labels, iscrowd=crowds)


scenes = st.lists(
    st.tuples(boxes_of_image(with_scores=False), boxes_of_image(with_scores=True)),
    max_size=4,
)


def as_keras(images, name, with_scores):
    """Boxes of images as a padded dictionary in a format of Keras."""
    most = max((len(image) for image in images), default=0)
    boxes = np.full((len(images), most, 4), -1.0)
    labels = np.full((len(images), most), -1)
    scores, crowds = np.full(labels.shape, -1.0), np.zeros(labels.shape, int)
    for i, image in enumerate(images):
        if len(image):
            boxes[i, : len(image)] = keras.ops.convert_to_numpy(
                keras.utils.bounding_boxes.convert_format(
                    image.boxes,
                    source="xyxy",
                    target=name,
                    height=float(HEIGHT),
                    width=float(WIDTH),
                )
            )
        labels[i, : len(image)] = image.labels
        crowds[i, : len(image)] = image.iscrowd
        if with_scores:
            scores[i, : len(image)] = image.scores
    return {"boxes": boxes, "labels": labels} | (
        {"confidence": scores} if with_scores else {"iscrowd": crowds}
    )


def measure(scene, batch_size=2, **kwargs):
    metrics = DetectionMetrics(NAMES, **kwargs)
    for start in range(0, len(scene), batch_size):
        part = scene[start : start + batch_size]
        metrics.update([truth for truth, _ in part], [found for _, found in part])
    return metrics


# --- COCO's figures ---------------------------------------------------------------


def pycocotools_figures(scene):
    """The twelve figures of the reference implementation, boxes given one by one."""
    sides = []
    for side in (0, 1):
        annotations = []
        for image, pair in enumerate(scene):
            for i, (left, top, right, bottom) in enumerate(pair[side].boxes.tolist()):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image + 1,
                        "category_id": int(pair[side].labels[i]) + 1,
                        "bbox": [left, top, right - left, bottom - top],
                        "area": float(pair[side].area[i]),
                        "iscrowd": int(pair[side].iscrowd[i]),
                        "score": float(pair[1].scores[i]) if side else None,
                    }
                )
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image + 1} for image in range(len(scene))],
            "categories": [{"id": i + 1} for i in range(len(NAMES))],
            "annotations": annotations,
        }
        coco.createIndex()
        sides.append(coco)
    evaluation = COCOeval(*sides, iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def reference(scene):
    with contextlib.redirect_stdout(io.StringIO()):
        return pycocotools_figures(scene)


@pytest.mark.once
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(scenes, st.sampled_from(FORMATS), st.sampled_from(FORMATS))
def test_every_figure_of_coco_equals_that_of_pycocotools(scene, format_1, format_2):
    sizes = np.tile([HEIGHT, WIDTH], (len(scene), 1))
    truth, _ = read_ground_truth(
        as_keras([truth for truth, _ in scene], format_1, False),
        sizes,
        BoxFormat(format_1),
        len(NAMES),
    )
    found, _ = read_predictions(
        as_keras([found for _, found in scene], format_2, True),
        sizes,
        BoxFormat(format_2),
        len(NAMES),
    )
    ours = measure(list(zip(truth, found, strict=True))).compute()
    theirs = reference(scene).stats if scene else np.full(len(COCO_FIGURES), -1.0)
    for name, value in zip(COCO_FIGURES, theirs, strict=True):
        if value == -1:
            assert name not in ours
        else:
            assert ours[name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.once
def test_figures_of_a_large_scene_equal_those_of_pycocotools():
    # More than 100 predictions of a class in an image: COCO counts the best 100.
    rng = np.random.default_rng(0)
    scene = []
    for _ in range(5):
        corners = rng.uniform(0, 150, (40, 2))
        true = np.hstack([corners, corners + rng.uniform(4, 120, (40, 2))])
        labels = rng.integers(0, 3, 40)
        near = np.tile(true, (15, 1)) + rng.normal(0, 4, (600, 4))
        scores = rng.uniform(0, 1, 600).round(2)  # Many ties.
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        scene.append(
            (
                Detections(true, labels, area=rng.uniform(10, 12_000, 40)),
                Detections(near, np.tile(labels, 15), scores),
            )
        )
    metrics = measure(scene)
    results, theirs = metrics.compute(), reference(scene)
    ours = [results[name] for name in COCO_FIGURES]
    np.testing.assert_allclose(ours, theirs.stats, atol=1e-6)
    rows = results["per_class"].data
    precision = theirs.eval["precision"][:, :, :, 0, -1]
    np.testing.assert_allclose([row[1] for row in rows], precision.mean(axis=(0, 1)))
    np.testing.assert_allclose([row[2] for row in rows], precision[0].mean(axis=0))


def test_the_curves_are_those_of_the_evaluator():
    truth = Detections([[0, 0, 40, 40], [50, 50, 90, 90]], [0, 0])
    found = Detections([[0, 0, 40, 40], [0, 50, 40, 90]], [0, 0], [0.9, 0.8])
    chart = measure([(truth, found)]).compute()["precision_recall"]
    rows = chart.table.data
    assert {row[0] for row in rows} == {"cat"}  # The others have no true boxes.
    # Half of the true boxes are found, before anything wrong is.
    np.testing.assert_allclose([row[1] for row in rows], np.linspace(0, 1, 101))
    assert [row[2] for row in rows] == pytest.approx([1.0] * 51 + [0.0] * 50)


def test_there_are_no_curves_for_more_than_twenty_classes():
    truth = Detections([[0, 0, 40, 40]], [0])
    for count, shown in ((20, True), (21, False)):
        metrics = DetectionMetrics([f"class {i}" for i in range(count)])
        metrics.update([truth], [Detections([[0, 0, 40, 40]], [0], [0.9])])
        assert ("precision_recall" in metrics.compute()) == shown


# --- Confusion matrix, counts -----------------------------------------------------


def slow_iou(found, true, crowd):
    left, top = max(found[0], true[0]), max(found[1], true[1])
    right, bottom = min(found[2], true[2]), min(found[3], true[3])
    common = max(0.0, right - left) * max(0.0, bottom - top)
    area = (found[2] - found[0]) * (found[3] - found[1])
    other = (true[2] - true[0]) * (true[3] - true[1])
    return common / (area if crowd else area + other - common)


def slow_matches(truth, found, iou_threshold, score_threshold, by_class):
    """Pairs of indices; predictions without a partner; those that lie in a crowd."""
    numbers = [j for j in range(len(found)) if found.scores[j] >= score_threshold]
    numbers.sort(key=lambda j: -found.scores[j])
    pairs, alone, in_crowd = [], [], []
    for j in numbers:
        best, best_iou, crowded = None, 0.0, False
        for i in range(len(truth)):
            if by_class and truth.labels[i] != found.labels[j]:
                continue
            iou = slow_iou(found.boxes[j], truth.boxes[i], truth.iscrowd[i])
            if iou < iou_threshold:
                continue
            if truth.iscrowd[i]:
                crowded = True
            elif i not in [pair[0] for pair in pairs] and iou > best_iou:
                best, best_iou = i, iou
        if best is not None:
            pairs.append((best, j, best_iou))
        elif crowded:
            in_crowd.append(j)
        else:
            alone.append(j)
    return pairs, alone, in_crowd


def slow_confusion_matrix(scene, iou_threshold, score_threshold):
    background = len(NAMES)
    matrix = [[0] * (background + 1) for _ in range(background + 1)]
    for truth, found in scene:
        pairs, alone, _ = slow_matches(
            truth, found, iou_threshold, score_threshold, by_class=False
        )
        for i, j, _ in pairs:
            matrix[truth.labels[i]][found.labels[j]] += 1
        for j in alone:
            matrix[background][found.labels[j]] += 1
        for i in range(len(truth)):
            if not truth.iscrowd[i] and i not in [pair[0] for pair in pairs]:
                matrix[truth.labels[i]][background] += 1
    return matrix


thresholds = st.sampled_from([0.25, 0.3, 0.5, 0.75, 1.0])


@pytest.mark.once
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenes, thresholds, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_confusion_matrix_and_counts_equal_the_slow_ones(
    scene, iou_threshold, score_threshold
):
    metrics = measure(
        scene, iou_threshold=iou_threshold, score_threshold=score_threshold
    )
    matrix = slow_confusion_matrix(scene, iou_threshold, score_threshold)
    assert metrics.confusion_matrix.tolist() == matrix

    matched, wrong, missed, ious = 0, 0, 0, []
    for truth, found in scene:
        pairs, alone, _ = slow_matches(
            truth, found, iou_threshold, score_threshold, by_class=True
        )
        counts = count_image(truth, found, iou_threshold, score_threshold)
        assert sorted(counts.ious) == pytest.approx(sorted(iou for *_, iou in pairs))
        left = int((~truth.iscrowd).sum()) - len(pairs)
        assert counts.true_positives == len(pairs)
        assert counts.false_positives == len(alone)
        assert counts.false_negatives == left
        if pairs:
            mean = sum(iou for *_, iou in pairs) / len(pairs)
            assert counts.mean_iou == pytest.approx(mean)
        else:
            assert counts.mean_iou is None
        matched, wrong, missed = matched + len(pairs), wrong + len(alone), missed + left
        ious += [iou for *_, iou in pairs]
    results = metrics.compute()
    if matched + wrong:
        assert results["precision"] == pytest.approx(matched / (matched + wrong))
    if matched + missed:
        assert results["recall"] == pytest.approx(matched / (matched + missed))
    if matched:
        p, r = results["precision"], results["recall"]
        assert results["f1"] == pytest.approx(2 * p * r / (p + r))
        assert results["mean_iou"] == pytest.approx(sum(ious) / len(ious))
    assert all(np.isfinite(v) for v in results.values() if isinstance(v, float))


def test_a_confusion_shows_in_the_matrix_and_counts_as_wrong():
    truth = Detections([[0, 0, 40, 40]], [0])
    found = Detections([[0, 0, 40, 40], [0, 0, 40, 38]], [1, 0], [0.9, 0.8])
    metrics = measure([(truth, found)])
    expected = np.zeros((4, 4), int)
    expected[0, 1] = 1  # The better one of the two is a dog,
    expected[3, 0] = 1  # and the cat that is there is taken.
    np.testing.assert_array_equal(metrics.confusion_matrix, expected)
    results = metrics.compute()
    assert (results["precision"], results["recall"]) == (0.5, 1.0)


def test_results_can_be_asked_for_again_and_there_is_no_batch_behind_them():
    boxes = Detections([[0, 0, 40, 40]], [0], [0.9])
    metrics = measure([(Detections([[0, 0, 40, 40]], [0]), boxes)])
    first, second = metrics.compute(), metrics.compute()
    assert first["mAP"] == second["mAP"] == 1.0
    with pytest.raises(RuntimeError, match="no further batches"):
        metrics.update([Detections([[0, 0, 40, 40]], [0])], [boxes])


def test_the_table_by_class_counts_each_class():
    truth = Detections([[0, 0, 40, 40], [50, 0, 90, 40], [50, 50, 60, 60]], [0, 0, 1])
    found = Detections(
        [[0, 0, 40, 40], [100, 0, 140, 40], [100, 50, 140, 90], [0, 0, 40, 39]],
        [0, 0, 2, 0],
        [0.9, 0.8, 0.7, 0.1],
    )
    table = measure([(truth, found)]).compute()["per_class"]
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.data}
    assert rows["cat"]["precision"] == rows["cat"]["recall"] == rows["cat"]["f1"] == 0.5
    assert (rows["cat"]["true_boxes"], rows["cat"]["predictions"]) == (2, 2)
    assert rows["dog"]["AP"] == rows["dog"]["recall"] == rows["dog"]["precision"] == 0
    # Nothing says how well birds are found where there are none.
    assert rows["bird"]["AP"] is rows["bird"]["AP50"] is rows["bird"]["recall"] is None
    assert rows["bird"]["precision"] == 0


@pytest.mark.parametrize("most_pairs", [2**20, 50])
def test_ious_equal_those_of_pycocotools_to_the_last_digit(monkeypatch, most_pairs):
    monkeypatch.setattr(ious, "_MOST_PAIRS", most_pairs)
    scene = [(NOTHING, SOMETHING), *random_scene(np.random.default_rng(1), 4)]
    scene.append((SOMETHING, NOTHING))
    truth, found = zip(*scene, strict=True)
    batch = BatchMatch(truth, found, 0.5, 0.3)
    i, j, values = ious.overlaps(
        batch.predicted, batch.image, batch.true, batch.true_image
    )
    ours = np.zeros((len(batch.predicted), len(batch.true)))
    ours[i, j] = values
    theirs = mask.iou(
        ious.as_xywh(batch.predicted.boxes),
        ious.as_xywh(batch.true.boxes),
        batch.true.iscrowd,
    )
    theirs[batch.image[:, None] != batch.true_image] = 0
    np.testing.assert_array_equal(ours, theirs)


# --- Over the score ---------------------------------------------------------------


def slow_counts(scene, iou_threshold, score, labels):
    """True positives, predictions and true boxes of some classes, matched anew."""
    matched = predicted = true = 0
    for truth, found in scene:
        pairs, alone, _ = slow_matches(truth, found, iou_threshold, score, True)
        hits = [j for _, j, _ in pairs if found.labels[j] in labels]
        matched += len(hits)
        predicted += len(hits) + sum(found.labels[j] in labels for j in alone)
        true += sum(
            label in labels and not crowd
            for label, crowd in zip(truth.labels, truth.iscrowd, strict=True)
        )
    return matched, predicted, true


def slow_best(scene, iou_threshold, labels):
    """The highest F1 at any score that counts, and the lowest score with this F1."""
    best, scores = (0.0, None), set()
    for truth, found in scene:
        pairs, alone, _ = slow_matches(truth, found, iou_threshold, 0.0, True)
        counted = [j for _, j, _ in pairs] + alone
        scores |= {float(found.scores[j]) for j in counted if found.labels[j] in labels}
    for score in sorted(scores):
        matched, predicted, true = slow_counts(scene, iou_threshold, score, labels)
        if 2 * matched / (predicted + true) > best[0]:
            best = (2 * matched / (predicted + true), score)
    return best


@pytest.mark.once
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenes, st.sampled_from([0.25, 0.5, 0.75]), st.integers(0, 50))
def test_curves_over_the_score_equal_the_slow_ones(scene, iou_threshold, place):
    results = measure(scene, iou_threshold=iou_threshold).compute()
    every = {"all classes": range(len(NAMES))} | {n: [i] for i, n in enumerate(NAMES)}
    table = results["per_class"]
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.data}
    # Some are scores of the scenes.
    for score in (place / 50, 0.3, 0.5):
        for name, labels in every.items():
            matched, predicted, true = slow_counts(scene, iou_threshold, score, labels)
            expected = {}
            if true:
                expected = {
                    "recall_curve": matched / true,
                    "f1_curve": 2 * matched / (predicted + true),
                }
            if true and predicted:
                expected["precision_curve"] = matched / predicted
            drawn = {
                key: y
                for key in ("precision_curve", "recall_curve", "f1_curve")
                for curve, x, y in (results[key].table.data if key in results else ())
                if curve == name and abs(x - score) < 1e-9
            }
            assert drawn == expected
    for name, labels in every.items():
        *_, true = slow_counts(scene, iou_threshold, 0.0, labels)
        best = slow_best(scene, iou_threshold, labels) if true else (None, None)
        source = results if name == "all classes" else rows[name]
        ours = source.get("best_f1"), source.get("best_score_threshold")
        assert ours == best


def random_scene(rng, images=12):
    scene = []
    for _ in range(images):
        corners = rng.uniform(0, 150, (8, 2))
        true = np.hstack([corners, corners + rng.uniform(20, 90, (8, 2))])
        labels = rng.integers(0, 3, 8)
        near = np.tile(true, (6, 1)) + rng.normal(0, 12, (48, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        mistaken = np.where(
            rng.random(48) < 0.7, np.tile(labels, 6), rng.integers(0, 3, 48)
        )
        scores = rng.uniform(0, 1, 48).astype(np.float32)
        truth = Detections(true, labels, iscrowd=rng.random(8) < 0.1)
        scene.append((truth, Detections(near, mistaken, scores)))
    return scene


@pytest.mark.once
@pytest.mark.parametrize("seed", range(3))
def test_curves_have_the_precision_of_pycocotools(seed):
    scene = random_scene(np.random.default_rng(seed))
    evaluation = reference(scene).eval
    ranking = Ranking(len(NAMES))
    for truth, found in scene:
        ranking.update(BatchMatch([truth], [found], 0.5, 0.3))
    true = sum(np.bincount(t.labels[~t.iscrowd], minlength=3) for t, _ in scene)
    _, by_class = score_curves(ranking.compute(), true)
    for label in range(len(NAMES)):
        curve = by_class[label]
        recall, precision = curve.matched / curve.true, curve.matched / curve.predicted
        # COCO has the highest precision of this recall or more.
        highest = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
        places = np.searchsorted(recall, np.linspace(0, 1, 101))
        theirs = evaluation["precision"][0, :, label, 0, -1]
        np.testing.assert_allclose(highest[places], theirs, atol=1e-12)
        scores = np.append(curve.scores, 0)[places]
        np.testing.assert_array_equal(scores, evaluation["scores"][0, :, label, 0, -1])


def test_the_best_threshold_has_the_best_f1():
    scene = random_scene(np.random.default_rng(0))
    results = measure(scene).compute()
    best = results["best_f1"], results["best_score_threshold"]
    again = measure(scene, score_threshold=best[1]).compute()
    # The scores are float32, and are compared as such.
    assert (again["f1"], again["best_f1"], again["best_score_threshold"]) == (
        best[0],
        *best,
    )
    assert best[0] > results["f1"]


def test_curves_over_the_score_of_many_classes_are_those_of_all_together():
    names = ["all classes", *(f"class {i}" for i in range(1, 21))]
    for count in (20, 21):
        metrics = DetectionMetrics(names[:count])
        metrics.update([SOMETHING], [SOMETHING])
        rows = metrics.compute()["f1_curve"].table.data
        drawn = list(dict.fromkeys(row[0] for row in rows))
        # The class of that name has its id behind it.
        first = f"all classes ({count})"
        assert drawn == ([first, "all classes (0)"] if count == 20 else [first])


# --- The cost of errors -----------------------------------------------------------


def errors_by_hand(scene):
    """Image, prediction, kind, and the true box that it finds if it is corrected."""
    errors, missed = [], []
    for number, (truth, found) in enumerate(scene):
        pairs, alone, _ = slow_matches(truth, found, 0.5, 0.0, by_class=True)
        used, reachable = {i for i, *_ in pairs}, set()
        for j in sorted(alone, key=lambda j: -found.scores[j]):
            same, other = [(0.0, None)], [(0.0, None)]
            for i in np.flatnonzero(~truth.iscrowd):
                side = same if truth.labels[i] == found.labels[j] else other
                side.append((slow_iou(found.boxes[j], truth.boxes[i], False), i))
            near_same, of_same = max(same, key=lambda pair: pair[0])
            near_other, of_other = max(other, key=lambda pair: pair[0])
            box = None
            if 0.1 <= near_same < 0.5:
                kind, box = "location", of_same
            elif near_other >= 0.5:
                kind, box = "class", of_other
            elif near_same >= 0.5:
                kind = "duplicate"
            else:
                kind = "both" if near_other > 0.1 else "background"
            if box in used | reachable:
                box = None
            elif box is not None:
                reachable.add(box)
            errors.append((number, j, kind, box))
        missed += [
            (number, i)
            for i in np.flatnonzero(~truth.iscrowd)
            if i not in used | reachable
        ]
    return errors, missed


def average_precisions(scene):
    return reference(scene).eval["precision"][0, :, :, 0, -1].mean(axis=0)


@pytest.mark.once
@pytest.mark.parametrize("seed", range(6))
def test_what_errors_cost_is_ap_of_pycocotools_without_them(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    # Of some true boxes all predictions are gone, or are of another class.
    for number in range(0, len(scene), 2):
        truth, found = scene[number]
        of_box = np.arange(len(found)) % len(truth)
        labels = np.where(of_box == 2, (found.labels + 1) % 3, found.labels)
        found = Detections(found.boxes, labels, found.scores)
        scene[number] = truth, found[of_box != 1]
    errors, missed = errors_by_hand(scene)
    results = measure(scene, batch_size=5).compute()
    before = average_precisions(scene)
    assert (before > 0).all()
    for kind in ERROR_TYPES[1:]:
        assert any(error[2] == kind for error in errors)
        fixed = []
        for number, (truth, found) in enumerate(scene):
            boxes, labels = found.boxes.copy(), found.labels.copy()
            kept = np.ones(len(found), bool)
            for image, j, error, box in errors:
                if (image, error) == (number, kind) and box is None:
                    kept[j] = False
                elif (image, error) == (number, kind):
                    boxes[j], labels[j] = truth.boxes[box], truth.labels[box]
            fixed.append((truth, Detections(boxes, labels, found.scores)[kept]))
        cost = (average_precisions(fixed) - before).mean()
        assert results[f"errors/{kind}_AP_cost"] == pytest.approx(cost, abs=1e-12)
        assert cost > 0
    assert missed
    fixed = []
    for number, (truth, found) in enumerate(scene):
        gone = [i for image, i in missed if image == number]
        fixed.append((truth[np.setdiff1d(np.arange(len(truth)), gone)], found))
    cost = (average_precisions(fixed) - before).mean()
    assert results["errors/missed_AP_cost"] == pytest.approx(cost, abs=1e-12)
    assert results["errors/missed"] == len(missed)


CAT = [[0, 0, 40, 40]]
DOG = [[100, 50, 140, 90]]


@pytest.mark.parametrize(
    ("found", "missed", "cost"),
    [
        # A cat is found, and no dog: half of AP is lost (tidecv 1.0.1: 50 points).
        (Detections(CAT, [0], [0.9]), 1, 0.5),
        # Predictions of dogs are left, which are all wrong (tidecv: 0 points).
        (Detections([*CAT, [200, 0, 240, 40]], [0, 1], [0.9, 0.1]), 1, 0.0),
        # Those of another class are not of dogs (tidecv: 50 points).
        (Detections([*CAT, [200, 0, 240, 40]], [0, 0], [0.9, 0.1]), 1, 0.5),
        # The dog is where a cat is predicted, whatever the score.
        (Detections([*CAT, *DOG], [0, 0], [0.9, 0.1]), 0, 0.0),
        (Detections(DOG, [0], [0.9]), 1, 0.0),
        # With nothing at all, all is lost.
        (Detections(np.zeros((0, 4)), [], []), 2, 1.0),
    ],
)
def test_a_class_that_is_missed_altogether_costs_its_ap(found, missed, cost):
    truth = Detections([*CAT, *DOG], [0, 1])
    results = measure([(truth, found)]).compute()
    assert results["errors/missed"] == missed
    assert results["errors/missed_AP_cost"] == pytest.approx(cost, abs=1e-12)


def test_many_classes_cost_what_occurs():
    names = [f"class {i}" for i in range(3000)]
    metrics = DetectionMetrics(names)
    tracemalloc.start()
    try:
        metrics.update([SOMETHING], [SOMETHING])
        drawn = charts.confusion_matrix(metrics._confusions(), [*names, "background"])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100e6
    assert "confusion_matrix_image" in drawn


# --- Nothing there ----------------------------------------------------------------

NOTHING = Detections(np.zeros((0, 4)), [], [])
SOMETHING = Detections([[0, 0, 40, 40]], [0], [0.9])


def scalars(results):
    return {k: v for k, v in results.items() if isinstance(v, float)}


def test_without_any_box_nothing_is_claimed():
    for scene in ([], [(NOTHING, NOTHING)]):
        results = measure(scene).compute()
        assert scalars(results) == {}
        assert "precision_recall" not in results
        assert "f1_curve" not in results


def test_without_true_boxes_predictions_are_wrong():
    results = measure([(NOTHING, SOMETHING)]).compute()
    assert scalars(results) == {"precision": 0.0, "f1": 0.0}


def test_without_predictions_what_is_there_is_missed():
    results = scalars(measure([(SOMETHING, NOTHING)]).compute())
    assert results.pop("errors/missed_AP_cost") == 1.0
    assert set(results.values()) == {0.0}
    # The only object is of medium size.
    assert set(results) == {
        *(set(COCO_FIGURES) - {"AP_small", "AP_large", "AR_small", "AR_large"}),
        "precision",
        "recall",
        "f1",
        "best_f1",
        *(f"errors/{kind}_AP_cost" for kind in ERROR_TYPES[1:]),
    }


def test_only_crowds_are_as_good_as_no_box():
    crowd = Detections([[0, 0, 80, 80]], [0], iscrowd=[True])
    results = measure([(crowd, SOMETHING)]).compute()
    assert scalars(results) == {}


def test_five_thousand_predictions_in_an_image():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 200, (5000, 2))
    boxes = np.hstack([corners, corners + rng.uniform(1, 50, (5000, 2))])
    found = Detections(boxes, rng.integers(0, 3, 5000), rng.uniform(0, 1, 5000))
    truth = Detections(boxes[:50], found.labels[:50])
    metrics = measure([(truth, found)], score_threshold=0.0)
    assert metrics.confusion_matrix.sum() == 5000 + metrics.confusion_matrix[:, 3].sum()
    ours = metrics.compute()
    theirs = reference([(truth, found)]).stats
    for name, value in zip(COCO_FIGURES, theirs, strict=True):
        assert ours.get(name, -1) == pytest.approx(value, abs=1e-6), name


def test_nothing_is_printed(capsys):
    measure([(SOMETHING, SOMETHING)]).compute()
    assert capsys.readouterr() == ("", "")


def test_only_what_coco_counts_is_kept():
    labels = [0] * 5000 + [1] * 50
    scores = np.linspace(0, 1, len(labels))
    many = Detections(np.tile([0, 0, 9, 9], (len(labels), 1)), labels, scores)
    batch = BatchMatch([NOTHING] * 3, [many, many[:70], NOTHING], 0.5, 0.3)
    table = coco_evaluation._Columns.of(batch).results(first=7)
    kept = np.append(scores[4900:], scores[:70])
    np.testing.assert_array_equal(table[:, 5], kept)
    assert table[:, 0].tolist() == [7] * 150 + [8] * 70


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"iou_threshold": 0}, "`iou_threshold` must be above 0.*Received: 0"),
        ({"iou_threshold": 1.1}, r"Received: 1\.1"),
        ({"score_threshold": -0.1}, r"`score_threshold` must be.*Received: -0\.1"),
        ({"score_threshold": float("nan")}, "Received: nan"),
    ],
)
def test_thresholds_out_of_range_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DetectionMetrics(NAMES, **kwargs)


def test_predictions_must_have_scores():
    with pytest.raises(ValueError, match="must have `scores`"):
        measure([(SOMETHING, Detections([[0, 0, 1, 1]], [0]))])
