"""Pages of odd runs, and pages whose script fails, in a real browser."""

import pytest

pytest.importorskip("selenium")
import browser as browsers
import odd_runs
from loopback.fixtures import offline_environment
from wandb_eval.report import write_report

pytestmark = [
    pytest.mark.skipif(
        browsers.CHROMIUM is None or browsers.DRIVER is None,
        reason="needs chromium and chromium-driver, which .ci/run installs",
    ),
    pytest.mark.once,
]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    with offline_environment(tmp_path_factory.mktemp("odd")):
        yield odd_runs.record()


@pytest.fixture(scope="module")
def chromium():
    with browsers.browser() as opened:
        yield opened


def test_media_and_histograms_of_the_history(recording, chromium, tmp_path):
    chromium.open(write_report(recording.write(tmp_path / "run"), tmp_path / "a.html"))
    assert len(chromium.all("#charts video")) == 0  # GIFs are images.
    assert len(chromium.all("#charts audio")) == 3
    assert len(chromium.all("#charts .picture > img:first-child")) == 6
    assert len(chromium.all("#charts svg rect[height]")) >= 4
    chromium.wait_for_media(chromium.one("#charts"))
    assert "html-file is not shown" in chromium.texts(".left-out li")[0]
    assert chromium.errors() == []


@pytest.mark.parametrize(
    "odd", [float("inf"), 1.7e308, "text", None, {"a": 1}, [1, "a"], 10**400]
)
def test_a_page_of_odd_values_is_drawn(recording, chromium, tmp_path, odd):
    table = recording.table()
    width = len(table["columns"])
    table["data"] += [[odd] * width, [*table["data"][0][:4], *[odd] * (width - 4)]]
    folder = recording.write(tmp_path / "run", table=table)
    # The table as a whole: a page without hardest samples opens at the wrong ones.
    page = write_report(folder, tmp_path / "page.html")
    chromium.open(page, state="table=table&view=rows")
    assert chromium.texts(".count b") == ["4"]
    assert len(chromium.all(".rows tbody tr[data-row]")) == 4
    assert not any("can't be" in text for text in chromium.texts(".empty"))
    assert not chromium.all("#static")
    assert chromium.errors() == []


@pytest.mark.parametrize("kind", ["data", "code", "cut off", "syntax"])
def test_the_static_table_is_there_if_the_script_fails(
    recording, chromium, tmp_path, kind
):
    path = write_report(recording.write(tmp_path / "run"), tmp_path / "page.html")
    text = path.read_text("utf-8")
    if kind == "data":
        text = text.replace('"runs":[', '"runs":{', 1)
    elif kind == "code":
        text = text.replace('"tables":[', '"tables":7,"table":[', 1)
    elif kind == "cut off":
        text = text[: text.index('id="data"') + 300]
    else:  # The policy does not allow another script: as in viewers that run none.
        text = text.replace('<script type="module">', '<script type="module">{', 1)
    path.write_text(text, "utf-8")
    chromium.open(path)
    assert chromium.one("#static table").is_displayed()
    assert len(chromium.all("#static tbody tr")) == 2
