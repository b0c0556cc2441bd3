"""The cells of samples that are images, text, or anything else."""

import keras
import numpy as np
import pytest
import wandb

from wandb_eval.engine import SampleScores, WandbTaskEvalCallback, map_to_image

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


# --- x of any shape and range -----------------------------------------------------


@pytest.fixture
def said(monkeypatch):
    """The warnings to the user, as if none had been shown before."""
    texts = []

    def termwarn(text, repeat=True, **kwargs):
        if "`validation_data`" in text and (repeat or text not in texts):
            texts.append(text)

    monkeypatch.setattr(wandb, "termwarn", termwarn)
    return texts


def shown(x, epochs=2, **options):
    """Fits; returns what each row of each table of the callback shows, and where."""
    options = {"num_samples": 4, "num_hardest": N, **options}
    hardest = []
    inputs = np.nan_to_num(np.asarray(x, "float32"), posinf=0)
    with wandb.init(mode="offline"):
        evaluation = Regression(x, **options)
        log_pred_table = evaluation.log_pred_table

        def noting(**options):
            hardest.append(options["more_tables"]["hardest"])
            log_pred_table(**options)

        evaluation.log_pred_table = noting
        fit(evaluation, x=inputs, epochs=epochs)
    tables = [evaluation.data_table, evaluation.pred_table, *hardest]
    assert len(tables) == 2 + epochs
    column = "input" if "input" in tables[0].columns else "image"
    cells = []
    for table in tables:
        places = table.columns.index("idx"), table.columns.index(column)
        cells.append({row[places[0]]: row[places[1]] for row in table.data})
    return cells, column


def pixels(image):
    return np.asarray(image.image)


PICTURES = np.random.default_rng(0).normal(size=(N, 8, 8, 3)).astype("float32")


@pytest.mark.usefixtures("loopback")
def test_a_few_numbers_are_text(said):
    tables, column = shown(TABULAR + np.float32([0, 0.5, 0, np.nan]))
    assert column == "input"
    for table in tables:
        for idx, cell in table.items():
            assert cell == f"{4 * idx}, {4 * idx + 1.5}, {4 * idx + 2}, nan"
    [text] = said
    assert "shown as text, in the column `input`" in text
    assert "float32 of shape (4,)" in text
    assert "`image_fn`" in text


@pytest.mark.usefixtures("loopback")
def test_numbers_and_strings_of_several_inputs_are_text():
    x = {"age": Y, "name": np.array(list("abcdef")), "at": TABULAR[:, :2]}
    with wandb.init(mode="offline"):
        first, *_ = Regression(x, num_samples=None).sample_arrays()
    assert first == "age: 0\nname: a\nat: 0, 1"


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("shape", [(784,), (2, 2, 4, 4, 3)])
def test_what_can_not_be_shown_has_an_empty_cell(said, shape):
    tables, _ = shown(np.zeros((N, *shape), "float32"))
    assert [len(table) for table in tables] == [4, 4, N, N]
    assert all(cell is None for table in tables for cell in table.values())
    [text] = said
    assert f"can't be shown, float32 of shape {shape}: their cells are empty" in text
    assert "`image_fn`" in text


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("lost", [[0], [0, 3, 5], list(range(N))])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_has_an_empty_cell(said, lost, value):
    x = PICTURES.copy()
    x[lost, 2, 2, 1] = value
    tables, column = shown(x, num_samples=None)
    assert column == "image"
    for table in tables:
        assert {idx for idx, cell in table.items() if cell is None} == set(lost)
        assert len(table) == N
    assert sum("NaN or infinity in them: their cells are empty" in t for t in said) == 1
    known = np.delete(PICTURES, lost, axis=0)
    for idx in set(range(N)) - set(lost):
        expected = (x[idx] - known.min()) / (known.max() - known.min()) * 255
        np.testing.assert_allclose(pixels(tables[0][idx]), expected, atol=0.51)


@pytest.mark.usefixtures("loopback")
def test_all_samples_are_stretched_alike_in_all_epochs(said):
    x = PICTURES + np.linspace(-3, 3, N, dtype="float32")[:, None, None, None]
    tables, _ = shown(x, epochs=3)
    fixed = x[list(tables[0])]
    assert len(fixed) == 4
    low, high = fixed.min(), fixed.max()
    assert {0, N - 1} - set(tables[0])  # So that something is beyond.
    for table in tables:
        for idx, cell in table.items():
            expected = np.clip((x[idx] - low) / (high - low), 0, 1) * 255
            np.testing.assert_allclose(pixels(cell), expected, atol=0.51)
    assert [len(table) for table in tables] == [4, 4, N, N, N]
    [text] = said
    assert "stretched from the lowest to the highest. To show them" in text


@pytest.mark.usefixtures("loopback")
def test_hardest_tell_the_range_where_no_fixed_sample_does():
    x = PICTURES * 4
    with wandb.init(mode="offline"):
        fixed = Regression(x, num_samples=3).samples.index
    x[fixed] = np.nan
    tables, _ = shown(x, num_samples=3)
    others = np.delete(x, fixed, axis=0)
    assert all(cell is None for cell in tables[0].values())
    for table in tables[2:]:
        for idx in set(range(N)) - set(fixed):
            values = (x[idx] - others.min()) / (others.max() - others.min()) * 255
            np.testing.assert_allclose(pixels(table[idx]), values, atol=0.51)


@pytest.mark.usefixtures("loopback")
def test_a_video_is_shown_by_its_middle_frame(said):
    x = np.random.default_rng(0).integers(0, 256, (N, 5, 8, 8, 3), dtype=np.uint8)
    tables, _ = shown(x)
    for table in tables:
        for idx, cell in table.items():
            np.testing.assert_array_equal(pixels(cell), x[idx, 2])
    assert len(said) == 1


@pytest.mark.usefixtures("loopback")
def test_an_image_that_can_not_be_encoded_has_an_empty_cell(said):
    x = np.zeros((N, 1, 70000), np.uint8)
    tables, _ = shown(x, image_format="jpg", num_samples=2, num_hardest=1, epochs=1)
    assert all(cell is None for table in tables for cell in table.values())


@pytest.mark.usefixtures("loopback")
def test_empty_cells_beside_images_reach_the_server(loopback):
    x = PICTURES.copy()
    x[::2] = np.nan
    with wandb.init() as run:
        fit(Regression(x, num_samples=None), x=np.nan_to_num(x))
    [val] = loopback.versions("val")
    cells = {row["idx"]: row["image"] for row in loopback.rows(val, "val_data")}
    for version in loopback.versions(f"run_{run.id}_pred"):
        for row in loopback.rows(version, "eval_data"):
            assert (row["image"] is None) == (row["idx"] % 2 == 0)
            if row["image"] is not None:
                content = loopback.resolve(version, row["image"]["path"])
                assert content == loopback.resolve(val, cells[row["idx"]]["path"])


# --- image_fn ---------------------------------------------------------------------


@pytest.mark.usefixtures("loopback")
def test_all_samples_are_images_or_none_is():
    def image_fn(row):
        return as_text(row) if row[0] < 8 else np.zeros((2, 2), np.uint8)

    refuses("images for all samples, or for none", image_fn=image_fn, num_samples=None)


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("image_fn", [as_text, as_html])
def test_where_targets_lie_in_the_image_it_must_be_one(monkeypatch, image_fn):
    monkeypatch.setattr(Regression, "draws_on_images", True)
    refuses("`image_fn` must return a uint8 image here", image_fn=image_fn)


def test_media_are_made_of_the_shown_samples_only(loopback):
    made = []

    def image_fn(row):
        made.append(int(row[0]) // 4)
        return as_html(row)

    with wandb.init(mode="offline"):
        evaluation = Regression(TABULAR, image_fn=image_fn, num_hardest=1)
        fit(evaluation, epochs=1)
    # The first fixed one is made once more, to know what it is.
    shown = {*evaluation.samples.index, *evaluation.evaluation.hardest.index}
    assert len(shown) < N
    assert set(made) <= shown | {row[0] for row in evaluation.data_table.data}


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("wrong", [None, 3, b"text", {"a": 1}, np.zeros((2, 2))])
def test_what_image_fn_must_not_return(wrong):
    refuses("`image_fn` must return a uint8 array", image_fn=lambda x: wrong)
