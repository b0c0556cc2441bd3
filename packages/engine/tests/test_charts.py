"""Charts of W&B's own kinds."""

import numpy as np
import pytest
import wandb
from sklearn import metrics

from wandb_eval.engine import charts

ODD_NAMES = ['a "quoted" name', "a/slash", "two\nlines", "🦆"]


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    return rng.integers(0, 4, 200), rng.integers(0, 4, 200)


def table_of(chart):
    return chart.table.columns, chart.table.data


@pytest.mark.parametrize("names", [["a", "b", "c", "d"], ODD_NAMES])
def test_it_is_the_chart_that_wandb_makes_of_the_same_labels(labels, names):
    truth, predicted = labels
    matrix = metrics.confusion_matrix(truth, predicted, labels=range(4))
    logged = charts.confusion_matrix(matrix, names)
    assert list(logged) == ["confusion_matrix"]
    theirs = wandb.plot.confusion_matrix(
        y_true=truth.tolist(),
        preds=predicted.tolist(),
        class_names=names,
        title="Confusion matrix",
    )
    ours = logged["confusion_matrix"]
    assert table_of(ours) == table_of(theirs)
    assert ours.spec == theirs.spec


def test_shares_of_rows():
    matrix = np.array([[3, 1], [0, 0]])
    logged = charts.confusion_matrix(matrix, ["a", "b"], normalize=True)
    values = [row[2] for row in logged["confusion_matrix"].table.data]
    assert values == [0.75, 0.25, 0.0, 0.0]


def test_99_classes_are_shown_whole():
    logged = charts.confusion_matrix(np.eye(99), [str(i) for i in range(99)])
    assert list(logged) == ["confusion_matrix"]
    assert len(logged["confusion_matrix"].table.data) == 99**2


def test_of_100_classes_the_most_confused_are_shown_and_all_in_an_image():
    matrix = np.diag(np.full(100, 1000))
    confused = np.arange(100)[1::2][:45]
    for place, index in enumerate(confused):
        # Half of them by their row, half by their column; the first ones the most.
        a, b = (index, 0) if place % 2 else (0, index)
        matrix[a, b] = 100 - place
    names = [f"class {i}" for i in range(100)]
    logged = charts.confusion_matrix(matrix, names, key="matrix", title="Who is who")
    assert sorted(logged) == ["matrix", "matrix_image"]
    shown = [0, *confused[:39]]
    rows = logged["matrix"].table.data
    assert len(rows) == 40**2
    assert rows == [
        [names[i], names[j], float(matrix[i, j])] for i in shown for j in shown
    ]
    title = logged["matrix"].spec.string_fields["title"]
    assert title == "Who is who (the 40 most confused of 100 classes)"
    assert isinstance(logged["matrix_image"], wandb.Image)
    assert "rows are true classes" in logged["matrix_image"]._caption


@pytest.mark.parametrize(("classes", "side"), [(100, 600), (256, 512), (700, 700)])
def test_the_image_of_a_confusion_matrix(classes, side):
    matrix = np.zeros((classes, classes), int)
    matrix[0, 0] = matrix[1, 2] = 5
    matrix[3, 3], matrix[3, 4] = 3, 1
    image = charts.confusion_image(matrix)
    assert image.shape == (side, side, 3)
    assert image.dtype == np.uint8
    cells = image[:: side // classes, :: side // classes].astype(int)
    darkest, brightest = cells[10, 10], cells[0, 0]
    assert (cells[1, 2] == brightest).all()  # A class that is always mistaken.
    assert brightest.sum() > cells[3, 3].sum() > cells[3, 4].sum() > darkest.sum()
    assert darkest.tolist() == [68, 1, 84]  # The dark end of viridis, as RGB.


@pytest.mark.parametrize(
    ("classes", "samples", "normalize"),
    [(3, 50, False), (3, 50, True), (150, 900, True), (5000, 300, False)],
)
def test_pairs_that_occur_make_the_charts_of_the_whole_matrix(
    classes, samples, normalize
):
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, classes, (2, samples))
    matrix = metrics.confusion_matrix(truth, predicted, labels=range(classes))
    pairs = charts.PairCounts.of(truth, predicted, classes)
    assert (pairs.dense() == matrix).all()
    assert (pairs.row_sums() == matrix.sum(axis=1)).all()
    names = [str(i) for i in range(classes)]
    ours, theirs = (
        charts.confusion_matrix(counts, names, normalize=normalize)
        for counts in (pairs, matrix)
    )
    assert list(ours) == list(theirs)
    rows = ours["confusion_matrix"].table.data
    assert rows == theirs["confusion_matrix"].table.data
    values = charts.row_shares(matrix) if normalize else matrix
    assert all(value == values[int(row), int(column)] for row, column, value in rows)
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    if classes > 40:
        least = min(wrong[int(row[0])] for row in rows)
        assert least >= np.sort(wrong)[-40]
        image = charts.confusion_image(pairs)
        assert (image == charts.confusion_image(matrix)).all()


def test_rows_without_a_sample_have_no_shares():
    shares = charts.row_shares(np.array([[1, 3], [0, 0]]))
    assert shares.tolist() == [[0.25, 0.75], [0, 0]]


def test_curves_are_the_chart_that_wandb_makes():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 50)
    scores = rng.random(50)
    false, true, _ = metrics.roc_curve(truth, scores)
    chart = charts.curves(
        {"dog": (false, true), "🦆": (true, false)},
        "false positive rate",
        "true positive rate",
        "ROC",
    )
    columns, rows = table_of(chart)
    assert columns == ["class", "false positive rate", "true positive rate"]
    assert rows == [
        *(["dog", *point] for point in zip(false, true, strict=True)),
        *(["🦆", *point] for point in zip(true, false, strict=True)),
    ]
    # As `wandb.plot.roc_curve` has it.
    assert chart.spec.spec_name == "wandb/area-under-curve/v0"
    assert chart.spec.fields == {"x": columns[1], "y": columns[2], "class": "class"}
    assert chart.spec.string_fields == {
        "title": "ROC",
        "x-axis-title": "False positive rate",
        "y-axis-title": "True positive rate",
    }


def test_titles_of_axes_keep_their_units():
    x = np.linspace(0, 1, 3)
    fields = charts.curves({"a": (x, x)}, "power (kW)", "°C", "t").spec.string_fields
    assert (fields["x-axis-title"], fields["y-axis-title"]) == ("Power (kW)", "°C")


def test_curves_of_many_points_keep_their_ends_and_their_shape():
    x = np.linspace(0, 1, 50_000)
    chart = charts.curves({"a": (x, x**2), "b": (x[:10], x[:10])}, "x", "y", "title")
    rows = chart.table.data
    assert 300 < len(rows) <= 310
    points = np.array([row[1:] for row in rows if row[0] == "a"])
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert np.abs(np.diff(points, axis=0)).sum(axis=1).max() < 2.1 / 298
    np.testing.assert_allclose(points[:, 1], points[:, 0] ** 2)


def test_curves_of_many_points_keep_what_is_narrow():
    """A rare class: the precision falls within ten of 10,000 points."""
    count = np.arange(1, 10_001)
    hits = np.minimum(count, 10)
    recall, precision = hits / 10, hits / count
    chart = charts.curves({"rare": (recall, precision)}, "x", "y", "title")
    points = {(x, y) for _, x, y in chart.table.data}
    assert {(n / 10, 1.0) for n in range(1, 11)} <= points
    assert len(points) <= 300
    peak = np.zeros(10_000)
    peak[5000] = 1e-3  # Of almost no length.
    chart = charts.curves({"peak": (np.linspace(0, 1, 10_000), peak)}, "x", "y", "t")
    assert max(y for *_, y in chart.table.data) == 1e-3


def test_brackets_in_names_are_no_part_of_the_fields_of_a_chart():
    """Vega reads `speed [m/s]` as the field `m/s` of `speed `."""
    x = np.arange(3.0)
    for chart in (
        charts.scatter(x, x, "speed [m/s]", "error [m/s]", "Speed [m/s]"),
        charts.curves({"a": (x, x)}, "speed [m/s]", "error [m/s]", "Speed [m/s]"),
    ):
        assert chart.table.columns[-2:] == ["speed (m/s)", "error (m/s)"]
        assert chart.spec.fields["x"] == "speed (m/s)"
        assert chart.spec.string_fields["title"] == "Speed [m/s]"
