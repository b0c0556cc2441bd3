"""Runs from somebody else: a page is written of all that can be read, and of no more.

For each place in the JSON of a recorded run, each of many odd values.
"""

import base64
import copy
import dataclasses
import gzip
import html.parser
import itertools
import json
import os
import re
import time

import numpy as np
import PIL.Image
import pytest

import odd_runs
from loopback.fixtures import offline_environment
from odd_runs import ODD_VALUES, data_url, gif, places, replaced, to_json
from wandb_eval.core import offline_log
from wandb_eval.report import write_report
from wandb_eval.report.describing import Page
from wandb_eval.report.left_out import LeftOut
from wandb_eval.report.offline import read_offline_run
from wandb_eval.report.recorded import RecordedArtifact, RecordedFile, RecordedRun
from wandb_eval.report.versions import versions_of
from wandb_eval.report.writing import write_page


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    with offline_environment(tmp_path_factory.mktemp("odd")):
        yield odd_runs.record()


class Scripts(html.parser.HTMLParser):
    """The scripts of a page; all JSON in them is JSON."""

    def __init__(self, path):
        super().__init__()
        self.text, self.scripts, self.open = path.read_text("utf-8"), {}, None
        self.count = 0
        self.feed(self.text)
        self.data, self.media = (
            json.loads(self.scripts[name], parse_constant=self.refuse)
            for name in ("data", "media")
        )
        self.run = self.data["runs"][0]
        self.left_out = "\n".join(self.data["left_out"])

    @staticmethod
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    def handle_starttag(self, tag, attributes):
        self.open = dict(attributes).get("id") if tag == "script" else None
        self.count += tag == "script"

    def handle_data(self, data):
        if self.open:
            self.scripts[self.open] = self.scripts.get(self.open, "") + data

    def versions(self, name="table"):
        return next(t["versions"] for t in self.run["tables"] if t["name"] == name)

    def column(self, name):
        place = dict(self.versions()[-1]["columns"])[name]
        return self.data["columns"][place]

    def chart(self, key):
        return next(c for c in self.run["charts"] if c["key"] == key)


def page_of(folder):
    page = Scripts(write_report(folder, folder / "page.html"))
    assert page.count == 4
    for columns in (v["columns"] for t in page.run["tables"] for v in t["versions"]):
        assert all(isinstance(name, str) for name, _ in columns)
        assert len(dict(columns)) == len(columns)
    for group in (*page.run["tables"], *page.run["charts"]):
        assert group["versions"]
        for version in group["versions"]:
            assert type(version["time"]) in (int, float)
    return page


def test_everything_is_shown_or_named(recording, tmp_path):
    page = page_of(recording.write(tmp_path / "run"))
    assert page.data["left_out"] == ["markup: html-file is not shown (2 times)"]
    assert [version["label"] for version in page.versions()] == ["epoch 0", "epoch 1"]
    assert page.column("image")["type"] == "image"
    assert page.column("sound")["type"] == "audio"
    assert page.column("film")["type"] == "image"  # A GIF, which no player plays.
    assert data_url("image/gif", gif()) in page.text
    counts = {
        key: [len(version["media"]) for version in page.chart(key)["versions"]]
        for key in ("one image", "images", "one sound", "sounds", "one film", "films")
    }
    assert counts == {
        "one image": [1, 1],
        "images": [2, 2],
        "one sound": [1, 1],
        "sounds": [2, 2],
        "one film": [1, 1],
        "films": [2, 2],
    }
    first = page.chart("images")["versions"][0]["media"][0]
    assert (first["kind"], first["caption"]) == ("image", "first")
    assert first["boxes"]["found"][0][:5] == [3, 4, 9, 8, 1]
    assert set(first["masks"]) == {"area"}
    assert page.chart("one sound")["versions"][0]["media"][0]["kind"] == "audio"
    assert page.chart("films")["versions"][0]["media"][0]["kind"] == "image"
    histogram = page.chart("histogram")["versions"][0]
    counts, bins = np.histogram([1, 2, 2, 3.5], bins=4)
    assert histogram["counts"] == counts.tolist()
    np.testing.assert_allclose(histogram["bins"], bins)


def pairs_of(all_places, every):
    """Each place with each odd value; unless `every`, about eighty of the pairs."""
    pairs = list(itertools.product(all_places, ODD_VALUES.values()))
    yield from pairs if every else pairs[:: len(pairs) // 80 + 1]


def written(run, path):
    """The data for the script of a page: JSON that can't end an element."""
    page = Page()
    page.add(run)
    text = write_page(page, path).read_text("utf-8")
    assert text.count("<script") == 4
    [data] = re.findall(r'id="data">(.*?)</script>', text)
    return json.loads(data, parse_constant=Scripts.refuse)


BY_HAND = pytest.mark.skipif(
    "RUN_SLOW" not in os.environ, reason="takes minutes: run with RUN_SLOW=1"
)
EVERY = pytest.mark.parametrize("every", [False, pytest.param(True, marks=BY_HAND)])


@EVERY
def test_odd_values_in_a_table(recording, tmp_path, every):
    recorded = read_offline_run(recording.folder)
    table = recording.table()
    table["data"] = table["data"][:1]
    name = "table.table.json"
    for path, odd in pairs_of(places(table), every):
        content = to_json(replaced(table, path, odd))
        file = RecordedFile("another", len(content), lambda content=content: content)
        artifacts = [
            dataclasses.replace(a, files={**a.files, name: file})
            if name in a.files
            else a
            for a in recorded.artifacts
        ]
        run = dataclasses.replace(recorded, artifacts=artifacts, left_out=LeftOut())
        data = written(run, tmp_path / "page.html")
        assert len(data["runs"][0]["charts"]) == 9, (path, odd)
        if path in [(), ("columns",), ("data",)] and not isinstance(odd, list):
            assert name in str(data["left_out"]), (path, odd)


@EVERY
def test_odd_values_in_the_history(recording, tmp_path, every):
    recorded = read_offline_run(recording.folder)
    row = recorded.history[-1]
    for path, odd in pairs_of(places(row), every):
        if path:
            history = [recorded.history[0], replaced(row, path, odd)]
            run = dataclasses.replace(recorded, history=history, left_out=LeftOut())
            data = written(run, tmp_path / "page.html")
            assert data["runs"][0]["tables"], (path, odd)


@EVERY
def test_odd_values_of_the_configuration(recording, tmp_path, every):
    """W&B's own, too: how charts are drawn is in there."""
    items = [
        (place, k, path)
        for place, record in enumerate(recording.records)
        if record.HasField("config")
        for k, item in enumerate(record.config.update)
        for path in places(json.loads(item.value_json))
    ]
    for (place, k, path), odd in pairs_of(items, every):
        records = list(recording.records)
        records[place] = copy.deepcopy(records[place])
        item = records[place].config.update[k]
        changed = replaced(json.loads(item.value_json), path, odd)
        item.value_json = to_json(changed).decode()
        log = tmp_path / "run-odd.wandb"
        offline_log.write_records(log, records)
        data = written(read_offline_run(log), tmp_path / "page.html")
        assert data["runs"][0]["tables"], (path, odd)


@pytest.mark.parametrize("odd", ODD_VALUES.values(), ids=list(ODD_VALUES))
def test_odd_values_everywhere_in_the_log(recording, tmp_path, odd):
    raw = to_json(odd).decode()
    records = copy.deepcopy(recording.records)
    for record in records:
        if record.HasField("history"):
            for item in record.history.item:
                item.value_json = raw
        elif record.HasField("artifact"):
            record.artifact.metadata = to_json({"epoch": odd, "batch": odd}).decode()
        elif record.HasField("config"):
            for item in record.config.update:
                item.value_json = raw
    page = page_of(recording.write(tmp_path / "run", records))
    assert len(page.versions()) in (1, 2)


@pytest.mark.parametrize(
    "raw", ["", "{", "nul", "[" * 100_000, "1" * 10_000, '"\\ud800"', "\0", "[1,]"]
)
def test_text_that_is_no_json(recording, tmp_path, raw):
    records = copy.deepcopy(recording.records)
    for record in records:
        if record.HasField("history"):
            for item in record.history.item:
                if "accuracy" in item.key or "histogram" in item.nested_key:
                    item.value_json = raw
        elif record.HasField("artifact"):
            record.artifact.metadata = raw
        elif record.HasField("config"):
            record.config.update[0].value_json = raw
    page = page_of(recording.write(tmp_path / "run", records))
    assert len(page.versions()) == 2
    assert raw == '"\\ud800"' or "no JSON that can be read" in page.left_out
    page = page_of(recording.write(tmp_path / "run", table=raw.encode()))
    assert "table.table.json" in page.left_out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"columns": None}, "no columns"),
        ({"columns": []}, "no columns"),
        ({"data": None}, "no rows"),
        # Both versions have the table.
        ({"data": [1, [0] * 8, None, {}]}, "no list of cells (6 times)"),
        ({"data": [[0], [0] * 20]}, "too short"),
        ({"data": [[0], [0] * 20]}, "have no column"),
    ],
)
def test_tables_that_are_no_tables(recording, tmp_path, change, said):
    changed = recording.table() | change
    page = page_of(recording.write(tmp_path / "run", table=changed))
    assert said in page.left_out
    if "columns" not in change and change["data"]:
        assert page.versions()[-1]["rows"] == sum(
            isinstance(row, list) for row in change["data"]
        )
    assert "Not in this page" in page.text


def test_columns_of_one_name_stay_apart(recording, tmp_path):
    table = {"columns": ["a", "a", "a (2)", 7], "data": [[1, 2, 3, 4]]}
    page = page_of(recording.write(tmp_path / "run", table=table))
    names = [name for name, _ in page.versions()[-1]["columns"]]
    values = [page.column(name)["values"][0] for name in names]
    assert len(set(names)) == 4
    assert values == [1, 2, 3, 4]


# --- Files ----------------------------------------------------------------------------

SECRET = b"RIFF\x24\x00\x00\x00WAVEfmt of somebody else"
OUTSIDE = "outside of the run's folder"


def with_media(recording, folder, path):
    """The run, with another place of the first image of its table."""
    name = recording.table()["data"][0][2]["path"]
    records = copy.deepcopy(recording.records)
    for entry in recording.entries(records, name):
        entry.local_path = str(path)
        entry.digest = "another"
    return recording.write(folder, records), name


def lay(kind, tmp_path, inside):  # noqa: PLR0911
    """Lays out a file for a run to name, and gives the path by which it names it."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(SECRET)
    if kind == "absolute":
        return secret
    if kind == "up":
        return inside / "files" / ".." / ".." / "secret.wav"
    if kind == "link":
        (inside / "link.wav").symlink_to(secret)
        return inside / "link.wav"
    if kind == "link of a folder":
        (inside / "media").symlink_to(tmp_path)
        return inside / "media" / "secret.wav"
    if kind == "circle":
        (inside / "circle").symlink_to(inside / "circle")
        return inside / "circle"
    if kind == "FIFO":
        os.mkfifo(inside / "pipe.png")
        return inside / "pipe.png"
    if kind == "folder":
        return inside / "files"
    if kind == "device":
        return "/dev/zero"
    if kind == "long":
        return inside / ("x" * 5000)
    if kind == "NUL":
        return f"{inside}/a\0b"
    content = {
        "text": b"root:x:0:0",
        "HTML": b"<script>alert(1)</script>",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "BM": b"BMP or not, it is text",
        "empty": b"",
        "PNG": b"\x89PNG\r\n\x1a\n",
        "sound": SECRET,
        "gone": None,
    }[kind]
    path = inside / "x.png"
    if content is not None:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("absolute", OUTSIDE),
        ("up", OUTSIDE),
        ("link", OUTSIDE),
        ("link of a folder", OUTSIDE),
        ("circle", "outside"),
        ("FIFO", "no regular file"),
        ("folder", "no regular file"),
        ("device", OUTSIDE),
        ("long", ""),
        ("NUL", ""),
        ("text", "no image, audio or video"),
        ("HTML", "no image, audio or video"),
        ("SVG", "no image, audio or video"),
        ("BM", "no image, audio or video"),
        ("empty", "no image, audio or video"),
        ("PNG", "cut off"),
        ("sound", "no image"),
        ("gone", "not there any more"),
    ],
)
def test_only_regular_files_of_the_run_are_read(recording, tmp_path, kind, said):
    inside = tmp_path / "run"
    folder, _ = with_media(recording, inside, "later")
    path = lay(kind, tmp_path, inside)
    records = copy.deepcopy(recording.records)
    name = recording.table()["data"][0][2]["path"]
    for entry in recording.entries(records, name):
        entry.local_path, entry.digest = str(path), "another"
    offline_log.write_records(folder / "run-odd.wandb", records)
    page = page_of(folder)
    assert page.column("image")["values"][1]
    assert any(
        line.startswith("table, image: ") and said in line
        for line in page.data["left_out"]
    )
    if kind != "sound":
        assert base64.b64encode(SECRET[:30]).decode()[:36] not in page.text
    assert page.data["missing"] == 1


@pytest.mark.parametrize("key", ["one image", "one sound"])
@pytest.mark.parametrize("path", ["../../secret.wav", "/etc/passwd", "pipe", "link"])
def test_media_of_the_history_are_files_of_the_run(recording, tmp_path, key, path):
    (tmp_path / "secret.wav").write_bytes(SECRET)
    records = copy.deepcopy(recording.records)
    for record in records:
        for item in record.history.item if record.HasField("history") else ():
            if list(item.nested_key) == [key, "path"]:
                item.value_json = json.dumps(path)
    folder = recording.write(tmp_path / "run", records)
    os.mkfifo(folder / "files" / "pipe")
    (folder / "files" / "link").symlink_to(tmp_path / "secret.wav")
    page = page_of(folder)
    assert key in page.left_out
    assert key not in [chart["key"] for chart in page.run["charts"]]
    assert base64.b64encode(SECRET[:30]).decode()[:36] not in page.text


def test_a_table_and_a_manifest_outside_are_not_read(recording, tmp_path):
    table, manifest = tmp_path / "table.json", tmp_path / "manifest.gz"
    table.write_bytes(to_json({"columns": ["secret"], "data": [["of mine"]]}))
    manifest.write_bytes(gzip.compress(b"{}"))
    records = copy.deepcopy(recording.records)
    for entry in recording.entries(records, "table.table.json"):
        entry.local_path = str(table)
    for record in records:
        if record.HasField("artifact"):
            record.artifact.manifest.manifest_file_path = str(manifest)
    page = page_of(recording.write(tmp_path / "run", records))
    assert "of mine" not in page.text
    assert "table.table.json" in page.left_out
    assert "the list of files" in page.left_out


def line(**entry):
    return json.dumps({"path": "p", "digest": "d", "size": 1} | entry).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(line())[:-9],
        gzip.compress(b"{}\nnull\n[1]\n\xff\xfe\n" + line(path=[1]) + b"\n" + line()),
        gzip.compress(line(local_path=7) + b"\n" + b"[" * 100_000),
        b"",
    ],
    ids=["plain", "cut", "odd lines", "deep", "empty"],
)
def test_a_list_of_files_that_is_none(recording, tmp_path, content):
    folder = recording.write(tmp_path / "run")
    (folder / "manifest.gz").write_bytes(content)
    records = copy.deepcopy(recording.records)
    for record in records:
        if record.HasField("artifact"):
            path = str(folder / "manifest.gz")
            record.artifact.manifest.manifest_file_path = path
    offline_log.write_records(folder / "run-odd.wandb", records)
    page = page_of(folder)
    assert len(page.versions()) == 2
    assert content == b"" or "the list of files of" in page.left_out


def test_a_long_list_of_files_is_read(recording, tmp_path):
    folder = recording.write(tmp_path / "run")
    records = copy.deepcopy(recording.records)
    for record in records:
        if record.HasField("artifact"):
            manifest = record.artifact.manifest
            lines = [
                line(path=e.path, digest=e.digest, size=e.size, local_path=e.local_path)
                for e in manifest.contents
            ]
            path = folder / f"{record.num}.gz"
            path.write_bytes(gzip.compress(b"\n".join(lines)))
            manifest.manifest_file_path = str(path)
            del manifest.contents[:]
    offline_log.write_records(folder / "run-odd.wandb", records)
    page = page_of(folder)
    assert len(page.versions()) == 2
    assert page.data["missing"] == 0


def test_a_copy_is_read_where_it_is(recording, tmp_path):
    """Also while the files are still where the run was recorded."""
    old = recording.write(tmp_path / "old")
    name = recording.table()["data"][0][2]["path"]
    records = copy.deepcopy(recording.records)
    path = old / "files" / name
    PIL.Image.new("RGB", (3, 2)).save(path)
    new = recording.write(tmp_path / "new")
    (new / "files" / name).write_bytes(path.read_bytes())
    for entry in recording.entries(records, name):
        entry.local_path, entry.digest = str(path), "another"
    offline_log.write_records(new / "run-odd.wandb", records)
    page = page_of(new)
    assert page.data["missing"] == 0
    assert data_url("image/png", path.read_bytes()) in page.text


def test_a_record_that_cannot_be_read(recording, tmp_path):
    class Broken:
        def SerializeToString(self):
            return b"\xff" * 20

    records = list(recording.records)
    records[3:3] = [Broken()]
    page = page_of(recording.write(tmp_path / "run", records))
    assert len(page.versions()) == 2
    assert "a record can't be read" in page.left_out


def test_a_run_without_an_end(recording, tmp_path, caplog):
    records = [r for r in recording.records if not r.HasField("exit")]
    folder = recording.write(tmp_path / "run", records)
    before = time.time() - 1000
    for path in folder.glob("*.wandb"):
        os.utime(path, (before, before))
    page = page_of(folder)
    assert len(page.versions()) == 2
    assert not page.run["finished"]
    assert "cut off; what its log held by then is shown" in page.left_out
    assert "cut off" in caplog.text


def test_a_table_that_can_not_be_read_leaves_the_steps_of_the_others():
    run = RecordedRun("id", "name")

    def fail():
        raise FileNotFoundError("it is gone")

    for i in range(3):
        table = json.dumps({"columns": ["a"], "data": [[i]]}).encode()
        file = RecordedFile(str(i), 1, fail if i == 0 else lambda table=table: table)
        files = {"samples.table.json": file}
        run.artifacts.append(RecordedArtifact("tables", frozenset(), (), {}, files))
        cell = {"_type": "table-file", "sha256": str(i), "path": "media/table"}
        run.history.append({"_step": 10 * i, "samples": cell})
    assert [table.label for table in versions_of(run)] == ["step 10", "step 20"]
