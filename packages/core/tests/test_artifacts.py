"""The content of artifacts, against that of stock wandb, and the data sent for it."""

import io
import json
import math
import pickle
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
import wandb

import small_model
from wandb_eval.core import WandbEvalCallback, add_rows, with_layers
from wandb_eval.engine import encode_images, encode_masks

pytestmark = pytest.mark.any_backend

CLASSES = {0: "background", 1: "cat", 2: "dog"}


def images(count, size=(8, 6), seed=0):
    shape = (count, *size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class Rows(WandbEvalCallback):
    """Logs what it is given: rows of ground truth, and a function that adds rows."""

    def __init__(self, columns, rows, pred_columns=("epoch",), predict=None, **kwargs):
        super().__init__(list(columns), list(pred_columns), **kwargs)
        self.rows, self.predict_rows = rows, predict

    def add_ground_truth(self, logs=None):
        for row in self.rows() if callable(self.rows) else self.rows:
            self.data_table.add_data(*row)

    def add_model_predictions(self, epoch, logs=None):
        if self.predict_rows is None:
            self.pred_table.add_data(epoch)
        else:
            self.predict_rows(self, epoch)


def fit(*callbacks, epochs=1, initial_epoch=0):
    x = np.ones((2, 1))
    small_model.fit(x, x, *callbacks, epochs=epochs, initial_epoch=initial_epoch)


def repeat_ground_truth(callback, epoch):
    """Predictions that are an epoch before a row of ground truth."""
    for row in callback.data_table_ref.data:
        callback.pred_table.add_data(epoch, *row)


def image_callback(x, **kwargs):
    def rows():
        return [(i, wandb.Image(image)) for i, image in enumerate(x)]

    return Rows(
        ["idx", "image"], rows, ["epoch", "idx", "image"], repeat_ground_truth, **kwargs
    )


def decode(content):
    return np.asarray(PIL.Image.open(io.BytesIO(content)))


def assert_resolves(loopback, versions):
    for version in versions:
        assert version.state == "COMMITTED"
        for path in version.manifest:
            loopback.resolve(version, path)


def pngs(loopback):
    return [u for u in loopback.uploads() if u.path.endswith(".png")]


# --- Sent once, referred to, complete ---------------------------------------------


def test_online_five_epochs_of_200_images(loopback):
    x = images(200)
    with wandb.init() as run:
        fit(image_callback(x), epochs=5)
    assert len(pngs(loopback)) == 200
    assert loopback.downloads(kind=None) == []
    versions = loopback.versions(f"run_{run.id}_pred")
    assert len(versions) == 5
    assert_resolves(loopback, versions)
    for version in versions:
        assert sorted(version.files) == ["eval_data.table.json"]
    artifact = wandb.Api().artifact(f"run_{run.id}_pred:latest")
    table = artifact.get("eval_data")
    assert len(table.data) == 200
    for (epoch, idx, image), pixels in zip(table.data, x, strict=True):
        assert epoch == 4
        np.testing.assert_array_equal(np.asarray(image.image), pixels, f"row {idx}")


@pytest.mark.parametrize(("epochs", "refusals"), [(120, 0), (10, 2)])
def test_offline_epochs_sync_completely(loopback, sync, epochs, refusals):
    x = images(10)
    with wandb.init(mode="offline") as run:
        fit(image_callback(x), epochs=epochs)
    if refusals:
        fault = loopback.fail(
            "CreateArtifact", collection="val", status=503, times=refusals
        )
    sync(run.dir)
    if refusals:
        assert loopback.faulted(fault) == refusals
    versions = loopback.versions(f"run_{run.id}_pred")
    assert [v.index for v in versions] == list(range(epochs))
    assert_resolves(loopback, versions)
    assert_resolves(loopback, loopback.versions("val"))
    for epoch, version in enumerate(versions):
        rows = loopback.table(version, "eval_data")["data"]
        assert [row[:2] for row in rows] == [[epoch, i] for i in range(10)]
    assert len(pngs(loopback)) <= 2 * 10


def test_more_than_100_versions_online(loopback):
    x = images(3)
    with wandb.init() as run:
        fit(image_callback(x), epochs=105)
    versions = loopback.versions(f"run_{run.id}_pred")
    assert len(versions) == 105
    assert_resolves(loopback, [versions[0], versions[99], versions[104]])
    assert len(pngs(loopback)) == 3


def test_a_second_run_on_the_same_data_makes_no_new_version(loopback):
    x = images(4)

    def rows():
        return [
            (i, wandb.Image(image), image[..., 0].astype("float32"))
            for i, image in enumerate(x)
        ]

    ids = []
    for _ in range(2):
        with wandb.init() as run:
            fit(
                Rows(
                    ["idx", "image", "array"],
                    rows,
                    ["epoch", "idx", "image", "array"],
                    repeat_ground_truth,
                )
            )
        ids.append(run.id)
    assert len(loopback.versions("val")) == 1
    assert len(pngs(loopback)) == 4
    for run_id in ids:
        assert [v.collection for v in loopback.used_by(run_id)] == ["val"]
        assert_resolves(loopback, loopback.versions(f"run_{run_id}_pred"))


def test_two_fits_in_one_run(loopback):
    with wandb.init() as run:
        callback = image_callback(images(4))
        fit(callback, epochs=2)
        fit(callback, epochs=4, initial_epoch=2)
    versions = loopback.versions(f"run_{run.id}_pred")
    epochs = [loopback.table(v, "eval_data")["data"][0][0] for v in versions]
    assert epochs == [0, 1, 2, 3]
    assert len(loopback.versions("val")) == 1
    assert_resolves(loopback, versions)
    assert len(pngs(loopback)) == 4


def test_a_resumed_run(loopback):
    x = images(4)
    with wandb.init() as run:
        fit(image_callback(x), epochs=2)
    with wandb.init(id=run.id, resume="must"):
        fit(image_callback(x), epochs=3, initial_epoch=2)
    versions = loopback.versions(f"run_{run.id}_pred")
    assert [v.index for v in versions] == [0, 1, 2]
    assert_resolves(loopback, versions)
    rows = [r for r in loopback.history(run.id) if "eval/predictions" in r]
    assert [row["eval/epoch"] for row in rows] == [0, 1, 2]
    assert len(pngs(loopback)) == 4


def test_two_callbacks_with_names_of_their_own(loopback):
    class Second(Rows):
        def log_data_table(self):
            super().log_data_table(name="second")

        def log_pred_table(self):
            super().log_pred_table(name="second_pred")

    x, z = images(3, seed=1), images(3, seed=2)

    def rows():
        return [(i, wandb.Image(image)) for i, image in enumerate(z)]

    columns = ["idx", "image"], rows, ["epoch", "idx", "image"], repeat_ground_truth
    with wandb.init() as run:
        fit(image_callback(x), Second(*columns), epochs=2)
    for name, pixels in [(f"run_{run.id}_pred", x), ("second_pred", z)]:
        versions = loopback.versions(name)
        assert len(versions) == 2
        for version in versions:
            rows_ = loopback.table(version, "eval_data")["data"]
            for row, image in zip(rows_, pixels, strict=True):
                content = loopback.resolve(version, row[2]["path"])
                np.testing.assert_array_equal(decode(content), image)


def test_temporary_files_are_gone_after_an_online_run(loopback, tmp_path):
    with wandb.init() as run:
        fit(image_callback(images(4)), epochs=2)
        folder = run.settings.sync_dir
    staging = tmp_path / "wandb-home" / "data" / "artifacts" / "staging"
    for place in (tmp_path / folder / "eval-media", staging):
        assert [path for path in place.rglob("*") if path.is_file()] == []


# --- Media of all kinds -----------------------------------------------------------


def test_any_media_in_any_column(loopback, tmp_path):
    x = images(2)
    mask = np.zeros((8, 6), np.uint8)
    mask[2:4] = 1
    boxes = {
        "truth": {
            "box_data": [
                {
                    "position": {"minX": 1, "minY": 2, "maxX": 3, "maxY": 4},
                    "domain": "pixel",
                    "class_id": 1,
                }
            ],
            "class_labels": CLASSES,
        }
    }
    sound = np.sin(np.linspace(0, 100, 800))
    page = tmp_path / "page.html"
    page.write_text("<p>hello</p>")

    def rows():
        for image in x:
            masked = wandb.Image(
                image, masks={"m": {"mask_data": mask, "class_labels": CLASSES}}
            )
            boxed = wandb.Image(255 - image, boxes=boxes)
            yield (
                masked,
                boxed,
                wandb.Audio(sound, 8000, caption="beep"),
                wandb.Html(str(page)),
            )

    def predict(callback, epoch):
        for row in callback.data_table_ref.data:
            callback.pred_table.add_data(epoch, *row)

    columns = ["a", "b", "sound", "page"]
    with wandb.init() as run:
        fit(Rows(columns, rows, ["epoch", *columns], predict), epochs=2)
    versions = loopback.versions(f"run_{run.id}_pred")
    assert_resolves(loopback, versions)
    sent = [u.path for u in loopback.uploads(f"run_{run.id}_pred")]
    assert not [path for path in sent if path.endswith((".png", ".wav", ".html"))]
    row = loopback.table(versions[1], "eval_data")["data"][1]
    np.testing.assert_array_equal(
        decode(loopback.resolve(versions[1], row[2]["path"])), 255 - x[1]
    )
    table = wandb.Api().artifact(f"run_{run.id}_pred:v1").get("eval_data")
    assert isinstance(table.data[0][3], wandb.Audio)
    assert isinstance(table.data[0][4], wandb.Html)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_files_of_the_user_may_be_written_again(loopback, sync, tmp_path, mode):
    def draw(idx, shade):
        path = tmp_path / f"{idx}.png"
        PIL.Image.new("RGB", (4, 3), (shade, shade, shade)).save(path)
        return wandb.Image(str(path))

    def predict(callback, epoch):
        for idx, image in callback.data_table_ref.data:
            drawn = draw(idx, 100 + 10 * epoch + idx)
            callback.pred_table.add_data(epoch, idx, image, drawn)
        callback.log_metrics({"eval/drawn": wandb.Table(["a"], [[drawn]])}, epoch)

    with wandb.init(mode=mode) as run:
        callback = Rows(
            ["idx", "image"],
            lambda: [(idx, draw(idx, 10 + idx)) for idx in range(2)],
            ["epoch", "idx", "image", "drawn"],
            predict,
        )
        callback.run_log.patience = 60.0
        fit(callback, epochs=3)
    if mode == "offline":
        sync(run.dir)
    versions = loopback.versions(f"run_{run.id}_pred")
    assert len(versions) == 3
    for epoch, version in enumerate(versions):
        for row in loopback.rows(version, "eval_data"):
            shades = [
                decode(loopback.resolve(version, row[name]["path"])).max()
                for name in ("image", "drawn")
            ]
            assert shades == [10 + row["idx"], 100 + 10 * epoch + row["idx"]]


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_files_of_the_user_with_equal_content(loopback, sync, tmp_path, mode):
    """Empty masks, and an image twice; the files are gone after the first epoch."""

    def rows():
        for idx in range(2):
            image, mask = (tmp_path / f"{idx}{kind}.png" for kind in ("", "_mask"))
            PIL.Image.new("RGB", (4, 3)).save(image)
            PIL.Image.new("L", (4, 3)).save(mask)
            layer = {"path": str(mask), "class_labels": CLASSES}
            classes = wandb.Classes([{"id": k, "name": v} for k, v in CLASSES.items()])
            yield idx, wandb.Image(str(image), masks={"truth": layer}, classes=classes)

    def predict(callback, epoch):
        for path in tmp_path.glob("*.png"):
            path.unlink()
        table = callback.data_table_ref
        for place, row in zip(table.get_index(), table.data, strict=True):
            callback.pred_table.add_data(epoch, place, *row)

    with wandb.init(mode=mode) as run:
        columns = ["idx", "image"]
        callback = Rows(columns, rows, ["epoch", "place", *columns], predict)
        callback.run_log.patience = 0.0  # A version has copies.
        fit(callback, epochs=2)
    if mode == "offline":
        sync(run.dir)
    versions = loopback.versions(f"run_{run.id}_pred")
    assert len(versions) == 2
    for version in versions:
        own = [name for name, entry in version.manifest.items() if not entry.get("ref")]
        for name in (name for name in own if name.endswith(".table.json")):
            for row in loopback.rows(version, name.removesuffix(".table.json")):
                image = row["image"]
                for path in (image["path"], image["masks"]["truth"]["path"]):
                    assert loopback.resolve(version, path)
    assert_resolves(loopback, versions)


@pytest.mark.once
def test_what_is_not_uploaded_in_time_stays(loopback):
    settings = wandb.Settings(finish_timeout=1)
    with wandb.init(settings=settings) as run:
        loopback.delay("upload", seconds=10)
        callback = image_callback(images(2))
        callback.run_log.patience = callback.run_log.patience_at_end = 0.1
        fit(callback)
        folder = Path(run.settings.sync_dir)
    assert run._finish_timed_out
    assert len([*folder.glob("eval-media/*/*.png")]) == 2


def test_memory_does_not_grow_with_the_number_of_fits(loopback):
    with wandb.init(mode="offline"):
        callback = image_callback(images(3))
        for _ in range(4):
            fit(callback)
        files = callback.run_log.folders._known
    assert len([path for path in files if path.endswith(".png")]) == 3


def test_layers_over_a_referenced_image(loopback):
    x = images(3)

    def rows():
        return [(i, wandb.Image(image)) for i, image in enumerate(x)]

    def predict(callback, epoch):
        for i in callback.data_table_ref.get_index():
            mask = np.full((8, 6), epoch, np.uint8)
            layered = wandb.Image(
                callback.data_table_ref.data[i][1],
                masks={"pred": {"mask_data": mask, "class_labels": CLASSES}},
            )
            callback.pred_table.add_data(epoch, layered)

    with wandb.init() as run:
        fit(Rows(["idx", "image"], rows, ["epoch", "image"], predict), epochs=2)
    assert len([u for u in pngs(loopback) if "mask" not in u.path]) == 3
    assert len([u for u in pngs(loopback) if "mask" in u.path]) == 2
    version = loopback.versions(f"run_{run.id}_pred")[1]
    for row, pixels in zip(
        loopback.table(version, "eval_data")["data"], x, strict=True
    ):
        assert (row[1]["width"], row[1]["height"]) == (6, 8)
        content = loopback.resolve(version, row[1]["path"])
        np.testing.assert_array_equal(decode(content), pixels)
        mask = decode(loopback.resolve(version, row[1]["masks"]["pred"]["path"]))
        np.testing.assert_array_equal(mask, 1)


def test_layering_a_referenced_image_does_not_open_its_file(loopback, monkeypatch):
    opened = []
    open_image = PIL.Image.open
    monkeypatch.setattr(
        PIL.Image, "open", lambda *a, **k: opened.append(a) or open_image(*a, **k)
    )
    with wandb.init(mode="offline"):
        callback = image_callback(images(2))
        fit(callback)
        opened.clear()
        reference = callback.data_table_ref.data[0][1]
        layered = wandb.Image(reference, boxes={}, caption="seen")
        assert (layered._width, layered._height) == (6, 8)
        assert opened == []
        np.testing.assert_array_equal(np.asarray(reference.image), images(2)[0])


def test_the_image_of_a_referenced_cell_is_one_of_pillow(loopback):
    shown = []

    def predict(callback, epoch):
        for idx, cell in callback.data_table_ref.data:
            pixels = cell.image
            assert isinstance(pixels, PIL.Image.Image)
            PIL.ImageDraw.Draw(pixels).point((0, 0), (255, 0, 0))
            canvas = PIL.Image.new("RGB", (12, 8))
            canvas.paste(pixels, (2, 0))
            shown.append(np.asarray(canvas))
            np.testing.assert_array_equal(np.asarray(pixels)[0, 0], [255, 0, 0])
            assert pixels.size == (6, 8)
            again = pickle.loads(pickle.dumps(pixels))
            np.testing.assert_array_equal(np.asarray(again), images(2)[idx])
            callback.pred_table.add_data(epoch, idx, wandb.Image(pixels))
            again.thumbnail((3, 4))
            assert again.size == (3, 4)

    def rows():
        return [(i, wandb.Image(image)) for i, image in enumerate(images(2))]

    columns = ["idx", "image"]
    with wandb.init() as run:
        fit(Rows(columns, rows, ["epoch", *columns], predict))
    for drawn, pixels in zip(shown, images(2), strict=True):
        np.testing.assert_array_equal(drawn[1:, 2:8], pixels[1:])
    [version] = loopback.versions(f"run_{run.id}_pred")
    for row in loopback.rows(version, "eval_data"):
        content = decode(loopback.resolve(version, row["image"]["path"]))
        np.testing.assert_array_equal(content[0, 0], [255, 0, 0])
        np.testing.assert_array_equal(content[1:], images(2)[row["idx"]][1:])


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_one_alias_is_a_text(loopback, sync, mode):
    class Best(Rows):
        def log_pred_table(self, *args, **kwargs):
            super().log_pred_table(*args, **{**kwargs, "aliases": "best"})

    with wandb.init(mode=mode) as run:
        fit(Best(["idx"], [[0]]))
    if mode == "offline":
        sync(run.dir)
    [version] = loopback.versions(f"run_{run.id}_pred")
    assert "best" in version.aliases
    assert "b" not in version.aliases


def test_an_alias_that_wandb_refuses_is_reported(loopback, warned):
    class Wrong(Rows):
        def log_pred_table(self, *args, **kwargs):
            super().log_pred_table(*args, **{**kwargs, "aliases": ["acc:0.5"]})

    with wandb.init(mode="offline") as run:
        fit(Wrong(["idx"], [[0]]))
        assert run.summary["eval/missing_versions"] == [0]
    assert any("Aliases must not contain" in text for text in warned)


def test_a_wrong_name_of_the_ground_truth_raises_before_training(loopback):
    class Wrong(Rows):
        def log_data_table(self, *args, **kwargs):
            super().log_data_table(*args, **{**kwargs, "name": "my val/set"})

    with wandb.init(mode="offline"), pytest.raises(ValueError, match="my val/set"):
        fit(Wrong(["idx"], [[0]]))


def test_infinity_in_metadata(loopback):
    far = {"far": math.inf, "logs": {"loss": np.float32("inf"), "all": [1, -math.inf]}}

    class Infinite(Rows):
        def log_data_table(self, *args, **kwargs):
            super().log_data_table(*args, **{**kwargs, "metadata": far})

        def log_pred_table(self, *args, **kwargs):
            super().log_pred_table(*args, **{**kwargs, "metadata": far})

    with wandb.init() as run:
        fit(Infinite(["idx"], [[0]], on_error="raise"))
    [version] = loopback.versions(f"run_{run.id}_pred")
    assert version.metadata == {
        "far": "Infinity",
        "logs": {"loss": "Infinity", "all": [1, "-Infinity"]},
    }


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_users_log_the_tables_again(loopback, sync, mode):
    class LogsAgain(Rows):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            wandb.log({"mine": self.pred_table, "truth": self.data_table})
            joined = wandb.JoinedTable(self.data_table, self.pred_table, "idx")
            wandb.log({"joined": joined})

    x = images(2)
    with wandb.init(mode=mode) as run:
        rows = [(i, wandb.Image(image)) for i, image in enumerate(x)]
        columns = ["epoch", "idx", "image"]
        fit(LogsAgain(["idx", "image"], rows, columns, repeat_ground_truth), epochs=2)
    if mode == "offline":
        sync(run.dir)
    versions = loopback.versions(f"run_{run.id}_pred")
    assert len(versions) == 2
    assert_resolves(loopback, versions)
    summary = loopback.summary(run.id)
    assert {"mine", "truth", "joined"} <= summary.keys()


def test_a_table_of_increments_of_the_user(loopback):
    class Increments(Rows):
        """Adds rows to one table in each epoch."""

        def init_pred_table(self, column_names):
            if not hasattr(self, "pred_table"):
                self.pred_table = wandb.Table(column_names, log_mode="INCREMENTAL")

    with wandb.init() as run:
        fit(Increments(["idx"], [[0]], on_error="raise"), epochs=3)
    versions = loopback.versions(f"run_{run.id}_pred")
    counts = [len(loopback.rows(version, "eval_data")) for version in versions]
    assert counts in ([1, 1, 1], [1, 2, 3])


def test_images_of_files_in_a_dict(loopback, tmp_path):
    path = tmp_path / "a.png"
    [pixels] = images(1)
    PIL.Image.fromarray(pixels).save(path)

    def predict(callback, epoch):
        path.unlink(missing_ok=True)
        repeat_ground_truth(callback, epoch)

    with wandb.init() as run:
        rows = Rows(
            ["views"],
            lambda: [({"left": wandb.Image(str(path))},)],
            ["epoch", "views"],
            predict,
        )
        fit(rows, epochs=2)
    versions = loopback.versions(f"run_{run.id}_pred")
    assert len(versions) == 2
    for version in versions:
        [row] = loopback.rows(version, "eval_data")
        content = decode(loopback.resolve(version, row["views"]["left"]["path"]))
        np.testing.assert_array_equal(content, pixels)


def test_columns_of_predictions_follow_from_the_ground_truth(loopback):
    class Follows(Rows):
        def init_pred_table(self, column_names):
            super().init_pred_table([*column_names, *self.data_table_ref.columns])

    with wandb.init() as run:
        fit(Follows(["idx", "name"], [[0, "a"]], ["epoch"], repeat_ground_truth))
    [version] = loopback.versions(f"run_{run.id}_pred")
    assert loopback.rows(version, "eval_data") == [{"epoch": 0, "idx": 0, "name": "a"}]


@pytest.mark.parametrize("first", [math.nan, None])
def test_a_column_that_begins_with_nan_is_of_numbers(first):
    rows = [[first], [math.nan], [0.5], [0.7]]
    ours, theirs = (wandb.Table(columns=["loss"]) for _ in "ab")
    add_rows(ours, rows)
    for row in rows:
        theirs.add_data(*row)
    assert ours._column_types == theirs._column_types


def test_images_of_files_in_a_tuple(loopback, tmp_path):
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for path, pixels in zip(paths, images(2), strict=True):
        PIL.Image.fromarray(pixels).save(path)

    def predict(callback, epoch):
        for path in paths:
            path.unlink(missing_ok=True)
        repeat_ground_truth(callback, epoch)

    def rows():
        return [(tuple(wandb.Image(str(path)) for path in paths),)]

    with wandb.init() as run:
        fit(Rows(["pair"], rows, ["epoch", "pair"], predict), epochs=2)
    versions = loopback.versions(f"run_{run.id}_pred")
    assert len(versions) == 2
    for version in versions:
        [row] = loopback.rows(version, "eval_data")
        for cell, pixels in zip(row["pair"], images(2), strict=True):
            content = decode(loopback.resolve(version, cell["path"]))
            np.testing.assert_array_equal(content, pixels)


def test_scalars_of_every_framework(loopback):
    values = [
        np.float32(0.5),
        np.int64(3),
        np.bool_(True),
        keras.ops.convert_to_tensor(0.25),
        keras.ops.convert_to_tensor(7),
    ]
    tensorflow = pytest.importorskip("tensorflow")
    jax = pytest.importorskip("jax")
    values += [tensorflow.constant(2.0), jax.numpy.asarray(1.5)]
    expected = [0.5, 3, True, 0.25, 7, 2.0, 1.5]
    columns = [f"c{i}" for i in range(len(values))]
    with wandb.init() as run:
        fit(
            Rows(
                columns,
                [values],
                ["epoch", *columns],
                lambda callback, epoch: callback.pred_table.add_data(epoch, *values),
            )
        )
    [data] = loopback.versions("val")
    assert loopback.table(data, "val_data")["data"] == [expected]
    [version] = loopback.versions(f"run_{run.id}_pred")
    assert loopback.table(version, "eval_data")["data"] == [[0, *expected]]


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_index_objects_as_cells(loopback, sync, mode):
    x = images(3)

    def rows():
        return [(f"row {i}", wandb.Image(image)) for i, image in enumerate(x)]

    def predict(callback, epoch):
        for idx in callback.data_table_ref.get_index():
            callback.pred_table.add_data(epoch, idx)

    with wandb.init(mode=mode) as run:
        fit(Rows(["name", "image"], rows, ["epoch", "row"], predict), epochs=2)
    if mode == "offline":
        sync(run.dir)
    table = wandb.Api().artifact(f"run_{run.id}_pred:latest").get("eval_data")
    linked = [row[1].get_row() for row in table.data]
    assert [row["name"] for row in linked] == ["row 0", "row 1", "row 2"]
    for row, pixels in zip(linked, x, strict=True):
        np.testing.assert_array_equal(np.asarray(row["image"].image), pixels)


def test_an_empty_data_table(loopback):
    with wandb.init() as run:
        fit(Rows(["idx"], []))
    [data] = loopback.versions("val")
    assert loopback.table(data, "val_data")["data"] == []
    assert len(loopback.versions(f"run_{run.id}_pred")) == 1


def test_a_table_of_10_000_rows(loopback):
    rows = [[i, f"name {i}"] for i in range(10_000)]
    with wandb.init() as run:
        fit(Rows(["idx", "n"], rows, ["epoch", "idx", "n"], repeat_ground_truth))
    [version] = loopback.versions(f"run_{run.id}_pred")
    table = loopback.table(version, "eval_data")["data"]
    assert table == [[0, *row] for row in rows]


# --- The run's page ---------------------------------------------------------------


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_history_has_the_table_of_each_epoch(loopback, sync, mode):
    with wandb.init(mode=mode) as run:
        fit(image_callback(images(3)), epochs=3)
    if mode == "offline":
        sync(run.dir)
    rows = [r for r in loopback.history(run.id) if "eval/predictions" in r]
    assert [row["eval/epoch"] for row in rows] == [0, 1, 2]
    for row in rows:
        cell = row["eval/predictions"]
        assert (cell["_type"], cell["nrows"], cell["ncols"]) == ("table-file", 3, 3)
        table = json.loads(loopback.resolve_ref(cell["artifact_path"]))
        assert [r[0] for r in table["data"]] == [row["eval/epoch"]] * 3
        assert loopback.run_file(run.id, cell["path"])
    assert loopback.summary(run.id)["eval/predictions"]["_type"] == "table-file"
    copies = 1 if mode == "online" else 2
    assert len(pngs(loopback)) == copies * 3


def test_the_history_can_be_left_alone(loopback):
    with wandb.init() as run:
        fit(image_callback(images(3), log_to_history=False))
    assert not [r for r in loopback.history(run.id) if "eval/predictions" in r]
    assert len(loopback.versions(f"run_{run.id}_pred")) == 1


# --- The files are those of stock wandb objects -----------------------------------


def nameless(table):
    """A table's JSON without names and digests of files, and without random names."""

    def clean(node):
        if isinstance(node, dict):
            hidden = {"path", "sha256", "digest", "size", "serialization_path", "table"}
            return {k: clean(v) for k, v in node.items() if k not in hidden}
        return [clean(v) for v in node] if isinstance(node, list) else node

    return clean(table)


def stock_json(table):
    """The JSON and the artifact that stock wandb writes for a table."""
    artifact = wandb.Artifact("stock", type="dataset")
    entry = artifact.add(table, "stock")
    with open(entry.local_path) as file:
        content = json.load(file)
    return content, artifact


def read_local(artifact, path):
    with open(artifact.manifest.entries[path].local_path, "rb") as file:
        return file.read()


def media_of(row):
    """The paths of the files of a row's cells."""
    for cell in row:
        if isinstance(cell, dict) and "path" in cell:
            yield cell["path"]
            for mask in cell.get("masks", {}).values():
                yield mask["path"]


def test_tables_and_media_equal_those_of_stock_wandb(loopback):
    x = images(4)
    masks = np.random.default_rng(1).integers(0, 3, (4, 8, 6), dtype=np.uint8)
    classes = wandb.Classes([{"id": k, "name": v} for k, v in CLASSES.items()])

    def box_data(i):
        return [
            {
                "position": {"minX": 1.0, "minY": 0.5, "maxX": 3.0, "maxY": 4.0 + i},
                "domain": "pixel",
                "class_id": i % 3,
                "box_caption": f"box {i}",
                "scores": {"score": 0.5 + i / 10},
            }
        ]

    def layers(i, mask):
        return {
            "boxes": {"seen": {"box_data": box_data(i), "class_labels": CLASSES}},
            "masks": {"seen": mask},
        }

    columns = ["idx", "image", "nothing", "score", "name", "right", "names"]

    def other(i):
        return [None, [0.5, math.nan, 3, 0.25][i], f"n{i}", i > 1, ["a", "b"][: i + 1]]

    with wandb.init(mode="offline"):
        callback = Rows([], [])
        fit(callback)
        callback.init_data_table(columns)
        ours_images = encode_images(list(x), callback.data_folder)
        ours_masks = encode_masks(
            list(masks), callback.data_folder, "seen", dict(CLASSES)
        )
        from wandb_eval.core._wandb.artifacts import EvalArtifact
        from wandb_eval.core._wandb.tables import add_rows

        add_rows(
            callback.data_table,
            [
                [i, with_layers(image, classes, **layers(i, mask)), *other(i)]
                for i, image, mask in zip(
                    range(4), ours_images, ours_masks, strict=True
                )
            ],
        )
        artifact = EvalArtifact("ours", "dataset", callback.data_folder)
        entry = artifact.add_table(callback.data_table, "ours")
        with open(entry.local_path) as file:
            ours = json.load(file)

        table = wandb.Table(columns=columns, allow_mixed_types=True)
        for i in range(4):
            stock_mask = {"mask_data": masks[i], "class_labels": CLASSES}
            image = wandb.Image(x[i], classes=classes, **layers(i, stock_mask))
            table.add_data(i, image, *other(i))
        stock, stock_artifact = stock_json(table)

        same = json.dumps(nameless(ours), sort_keys=True)
        assert same == json.dumps(nameless(stock), sort_keys=True)
        assert len(artifact.manifest.entries) == len(stock_artifact.manifest.entries)
        for our_row, stock_row in zip(ours["data"], stock["data"], strict=True):
            for path, stock_path in zip(
                media_of(our_row), media_of(stock_row), strict=True
            ):
                # Names are made in the same way, of digests of other bytes.
                assert path.rpartition("/")[0] == stock_path.rpartition("/")[0]
                assert path.partition(".")[2] == stock_path.partition(".")[2]
                image = PIL.Image.open(io.BytesIO(read_local(artifact, path)))
                other_image = PIL.Image.open(
                    io.BytesIO(read_local(stock_artifact, stock_path))
                )
                assert image.mode == other_image.mode
                np.testing.assert_array_equal(image, other_image)


def test_column_types_equal_those_of_stock_wandb_row_by_row():
    """`add_rows` infers the type of a kind of row once; the result is the same."""
    from wandb_eval.core._wandb.tables import add_rows

    rows = [
        [1, "a", None, 0.5, ["x"], True],
        [2, "b", "c", 1, ["x", "y"], False],
        [None, "c", "d", math.nan, [], None],
        [np.int64(3), "c", "d", np.float32(1), ["z"], True],
    ] * 3
    columns = list("abcdef")
    ours, stock = wandb.Table(columns=columns), wandb.Table(columns=columns)
    add_rows(ours, rows)
    for row in rows:
        stock.add_data(*row)
    assert ours._column_types.to_json() == stock._column_types.to_json()
    assert ours.data == stock.data or str(ours.data) == str(stock.data)
    with pytest.raises(ValueError, match="columns"):
        add_rows(ours, [[1, 2]])
    with pytest.raises(TypeError):
        add_rows(ours, [["not a number", "a", None, 0.5, ["x"], True]])
