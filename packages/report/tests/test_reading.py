"""Reading runs and writing pages, without a browser."""

import html.parser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wandb

import recorded_runs
from loopback.environment import ENTITY, PROJECT
from wandb_eval.core import offline_log
from wandb_eval.report import write_report, writing


class Page(html.parser.HTMLParser):
    """A page as it is read back: its elements, and what its code is given."""

    def __init__(self, path):
        super().__init__()
        self.path, self.text = path, path.read_text(encoding="utf-8")
        self.tags, self.parts, self.open = [], {}, None
        self.feed(self.text)
        self.data = json.loads(self.parts["data"])
        self.media = json.loads(self.parts["media"])
        self.run = self.data["runs"][0]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open = dict(attributes).get("id") if tag == "script" else None

    def handle_data(self, data):
        if self.open:
            self.parts[self.open] = self.parts.get(self.open, "") + data

    def versions(self, name):
        (table,) = (t for t in self.run["tables"] if t["name"] == name)
        return table["versions"]

    def cells(self, name, column, version=-1):
        return self.column(name, column, version)["values"]

    def column(self, name, column, version=-1):
        place = dict(self.versions(name)[version]["columns"])[column]
        return self.data["columns"][place]

    def chart(self, key):
        (chart,) = (c for c in self.run["charts"] if c["key"] == key)
        return chart


@pytest.fixture
def folder(loopback):
    return recorded_runs.plain()


def page_of(folder, tmp_path, **options):
    return Page(write_report(folder, tmp_path / "page.html", **options))


def test_tables_of_wandbs_own_means(folder, tmp_path):
    page = page_of(folder, tmp_path)
    run = page.run
    assert (run["name"], run["config"], run["finished"]) == (
        "plain",
        {"a": {"b": 1}},
        True,
    )
    assert [v["label"] for v in page.versions("table")] == [
        "step 0",
        "step 1",
        "step 2",
    ]
    image, nothing = page.cells("table", "shown")
    assert nothing is None
    assert (image["caption"], image["width"], image["height"]) == ("one", 12, 8)
    assert [box[:5] for box in image["boxes"]["found"]] == [
        [3, 4, 9, 8, 1],
        [4, 3, 8, 5, 0],
    ]
    assert image["boxes"]["found"][0][6] == {"score": 0.5}
    layers = page.column("table", "shown")["layers"]
    assert layers["found"] == {"0": "cat", "1": "dog"}
    assert layers["area"].items() >= {"0": "cat", "1": "dog"}.items()
    assert page.cells("table", "n") == [2.1, None]
    assert page.cells("table", "ok") == [True, None]


def test_curves_and_charts_of_wandbs_own_means(folder, tmp_path):
    page = page_of(folder, tmp_path)
    curves = {curve["key"]: curve for curve in page.run["curves"]}
    assert curves["val/loss"]["axis"] == "val/round"
    assert curves["val/loss"]["points"] == [[0, 1], [10, 0.5], [20, 0.333333]]
    assert curves["bad"]["points"][0] == [0, "Infinity"]
    curve = page.chart("curve")
    assert (curve["kind"], curve["title"], curve["fields"][:2]) == (
        "lines", "A curve", ["t", "v"],
    )  # fmt: skip
    assert page.chart("bars")["kind"] == "bar"
    assert len(page.chart("still")["versions"]) == 3
    assert not any("curve" in table["name"] for table in page.run["tables"])


def test_each_image_is_in_the_page_once(folder, tmp_path):
    page = page_of(folder, tmp_path)
    urls = re.findall(r'data:image/png;base64,[^"\\]+', page.text)
    assert len(urls) == len(set(urls)) == 2  # The grey image, and its mask.
    assert len(page.media) == 2


def test_a_log_that_was_cut_off_shows_what_is_in_it(folder, tmp_path):
    log = offline_log.find_log(folder)
    content = log.read_bytes()
    whole = len(page_of(folder, tmp_path).run["curves"][0]["points"])
    log.write_bytes(content[: int(len(content) * 0.7)])
    page = page_of(folder, tmp_path)
    assert not page.run["finished"]
    assert len(page.versions("table")) >= 1
    assert sum(len(c["points"]) for c in page.run["curves"][:1]) <= whole
    log.write_bytes(content[:20])
    with pytest.raises(ValueError, match="cut off before it began"):
        page_of(folder, tmp_path)


def test_a_folder_that_was_moved_and_files_that_are_gone(loopback, tmp_path):
    old = recorded_runs.classify(count=12)
    new = tmp_path / "elsewhere"
    shutil.move(old, new)
    page = page_of(new, tmp_path)
    assert page.data["missing"] == 0
    assert all(page.cells("eval_data", "image"))
    for path in (new / "eval-media").rglob("*.png"):
        path.unlink()
    page = page_of(new, tmp_path)
    assert page.data["missing"] > 0
    assert page.cells("eval_data", "label")


def test_charts_of_a_task_are_told_apart_by_epochs(loopback, tmp_path):
    page = page_of(recorded_runs.classify(), tmp_path)
    matrix = page.chart("eval/confusion_matrix")
    assert matrix["kind"] == "matrix"
    assert [version["time"] for version in matrix["versions"]] == [0, 1, 2]
    assert page.chart("eval/roc")["kind"] == "lines"
    names = [table["name"] for table in page.run["tables"]]
    if "broken" in names:  # As the model happens to be trained.
        assert names.pop(2) == "broken"
    assert names[:3] == ["eval_data", "hardest", "scores"]
    assert names[-1] == "val_data"


def test_a_run_in_wandb_shows_the_same(loopback, tmp_path, sync):
    folder = recorded_runs.classify()
    offline = page_of(folder, tmp_path)
    sync(folder)
    online = page_of(f"{ENTITY}/{PROJECT}/{offline.run['id']}", tmp_path)
    assert online.run["name"] == offline.run["name"]
    assert online.run["config"] == offline.run["config"]
    for table in offline.run["tables"]:
        name = table["name"]
        assert [v["time"] for v in online.versions(name)] == [
            v["time"] for v in offline.versions(name)
        ]
        for column, _ in table["versions"][-1]["columns"]:
            mine, theirs = (p.column(name, column) for p in (offline, online))
            assert mine["type"] == theirs["type"]
            if mine["type"] != "image":
                assert mine["values"] == theirs["values"]
    assert online.data["missing"] == 0
    curves = {curve["key"]: curve for curve in online.run["curves"]}
    for curve in offline.run["curves"]:
        assert curves[curve["key"]] == curve
    assert {c["key"] for c in online.run["charts"]} == {
        c["key"] for c in offline.run["charts"]
    }


def test_a_run_that_is_not_there(loopback, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="neither a folder nor a run in W&B"):
        page_of(f"{ENTITY}/{PROJECT}/nothing", tmp_path)
    with pytest.raises(FileNotFoundError, match="folder of one offline run"):
        page_of(tmp_path, tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("wandb/offline-run-1").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="folder of one offline run"):
        page_of("wandb/offline-run-1/typo", tmp_path)


@pytest.mark.parametrize("fails", ["run", "artifacts", "file"])
def test_errors_of_wandbs_api(tmp_path, monkeypatch, caplog, sync, fails):
    class ApiFailed(Exception):
        pass

    def fail(*args, **kwargs):
        raise ApiFailed("500")

    folder = recorded_runs.classify()
    sync(folder)
    path = f"{ENTITY}/{PROJECT}/{page_of(folder, tmp_path).run['id']}"
    if fails == "run":
        monkeypatch.setattr(wandb.Api, "run", fail)
    elif fails == "artifacts":
        monkeypatch.setattr(wandb.apis.public.Run, "logged_artifacts", fail)
    else:  # The others are shown.
        entry = type(next(iter(wandb.Api().artifact(
            f"{ENTITY}/{PROJECT}/val:latest").manifest.entries.values())))  # fmt: skip
        monkeypatch.setattr(entry, "download", fail)
        page_of(path, tmp_path)
        assert "val_data.table.json of val: The file could not" in caplog.text
        return
    with pytest.raises(ValueError, match="can be read: 500"):
        page_of(path, tmp_path)


def test_a_report_right_after_the_end_of_a_run_has_all_of_it(loopback, tmp_path):
    """wandb-core still writes when `finish` returns."""
    for i in range(5):
        with wandb.init(mode="offline") as run:
            for step in range(20):
                table = wandb.Table(columns=["a"], data=[[step]])
                run.log({"table": table, "number": step})
        page = Page(write_report(run, tmp_path / f"{i}.html"))
        assert len(page.versions("table")) == 20
        assert page.run["finished"]


def test_an_interrupted_write_leaves_the_old_page(folder, tmp_path, monkeypatch):
    path = write_report(folder, tmp_path / "page.html")
    before = path.read_bytes()
    parts = writing._html

    def broken(*arguments):
        yield next(parts(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_html", broken)
    with pytest.raises(KeyboardInterrupt):
        write_report(folder, path)
    assert path.read_bytes() == before
    assert list(tmp_path.glob("*page*")) == [path]


def test_a_folder_of_media_comes_and_goes(folder, tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    beside = tmp_path / "page_files"
    beside.mkdir()
    (beside / "mine.txt").write_text("not to be deleted")
    (beside / f"{'0' * 20}.png").write_text("of an older page")
    monkeypatch.setattr(writing, "MOST_IN_ONE_FILE", 100)
    page = Page(write_report(folder, path))
    names = {file.name for file in beside.iterdir()}
    assert len(names) == 3
    assert "mine.txt" in names
    assert "data:image" not in page.text
    shown = {tag["src"] for name, tag in page.tags if name == "img"}
    assert shown | set(filter(None, page.media)) == {
        f"page_files/{name}" for name in names - {"mine.txt"}
    }
    monkeypatch.undo()
    write_report(folder, path)
    assert {file.name for file in beside.iterdir()} == {"mine.txt"}


def test_nothing_of_a_run_is_markup(loopback, tmp_path):
    page = page_of(recorded_runs.classify(recorded_runs.HOSTILE), tmp_path)
    assert [name for name, _ in page.tags].count("script") == 4
    assert not any("onerror" in tag for _, tag in page.tags)
    policy = next(t["content"] for _, t in page.tags if t.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert page.run["name"] == recorded_runs.HOSTILE


def test_names_that_are_no_text_are_written_as_far_as_they_are(tmp_path):
    from wandb_eval.report.describing import Page as Described
    from wandb_eval.report.recorded import RecordedArtifact, RecordedFile, RecordedRun

    table = {"columns": ["a\ud800", 7], "data": [["\ud800", 1]]}
    content = json.dumps(table).encode()
    file = RecordedFile("d", len(content), lambda: content)
    files = {
        "t.table.json": file,
        "broken.table.json": RecordedFile("e", 1, lambda: b"{"),
    }
    artifact = RecordedArtifact("t", frozenset(), (), {}, files)
    page = Described()
    page.add(RecordedRun("id", "na\ud800me", artifacts=[artifact]))
    written = Page(writing.write_page(page, tmp_path / "page.html"))
    assert written.versions("t")[0]["label"] == "v0"
    assert len(written.run["tables"]) == 1


def test_a_run_without_tables(loopback, tmp_path):
    with wandb.init(mode="offline") as run:
        run.log({"loss": 1.0})
    recorded_runs.finished(run)
    page = Page(write_report(run, tmp_path / "page.html"))
    assert page.run["tables"] == []
    assert "The run has no tables." in page.text


def test_the_command(folder, tmp_path):
    def call(*arguments):
        command = [sys.executable, "-m", "wandb_eval.report", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    done = call(folder, folder)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Wrote .*eval-report\.html \(\d+\.\d MB\)", done.stdout)
    page = Page(tmp_path / "eval-report.html")
    assert len(page.data["runs"]) == 2
    done = call("nothing-here")
    assert done.returncode == 1
    assert "No report was written" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_example_in_the_readme(loopback, tmp_path, monkeypatch):
    readme = Path(__file__).parents[1] / "README.md"
    [code] = re.findall(r"```python\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    folder = recorded_runs.bare()
    monkeypatch.chdir(folder.parents[1])  # Where `wandb/latest-run` is.
    names = {}
    exec(code, names)
    assert Page(names["path"]).run["name"] == "bare"


def test_the_code_of_the_page_stays_small_and_has_each_name_once():
    folder = Path(writing.__file__).parent / "page"
    modules = sorted(folder.glob("*.js"))
    assert {path.stem for path in modules} == {*writing._MODULES, "early"}
    assert sum(len(path.read_text().splitlines()) for path in modules) < 2000
    code = writing._script()
    assert not re.search(r"^(import|export)\b", code, re.MULTILINE)
    names = re.findall(r"^(?:const|let|function|class) (\w+)", code, re.MULTILINE)
    assert len(names) == len(set(names))
    assert "innerHTML" not in code


def test_ids_that_w_and_b_has_no_label_for_are_named(loopback, tmp_path):
    folder = recorded_runs.segment()
    page = Page(write_report(folder, tmp_path / "report.html"))
    names = {"0": "background", "1": recorded_runs.HOSTILE}
    errors = {"252": "not counted", "253": "right", "254": "wrong"}
    for table in ("eval_data", "hardest"):
        layers = page.column(table, "image")["layers"]
        assert layers == {"ground_truth": names, "predictions": names, "errors": errors}
    assert page.column("val_data", "image")["layers"] == {"ground_truth": names}
    assert page.data["hidden"] == ["background", "not counted", "right"]
    assert set(names) | set(errors) <= set(page.data["colors"])
