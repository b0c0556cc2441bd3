"""The page, in a real browser."""

import json
import re

import numpy as np
import pytest

pytest.importorskip("selenium")
import browser as browsers
import recorded_runs
from loopback.environment import forget_wandb
from loopback.fixtures import offline_environment
from recorded_runs import BOX, EPOCHS, FOUND, HOSTILE, NAMES, SIZE
from wandb_eval.report import write_report

TITLES = {"classify": "digits", "detect": "boxes"}
TITLES |= {"segment": "masks", "example": "example"}

pytestmark = [
    pytest.mark.skipif(
        browsers.CHROMIUM is None or browsers.DRIVER is None,
        reason="needs chromium and chromium-driver, which .ci/run installs",
    ),
    pytest.mark.once,
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of a run of each task, and of W&B's own example."""
    with offline_environment(tmp_path_factory.mktemp("runs")):
        yield {
            "classify": recorded_runs.classify(),
            "again": recorded_runs.classify("again", 30),
            "detect": recorded_runs.detect(),
            "segment": recorded_runs.segment(),
            "example": recorded_runs.from_the_documentation(),
            "plain": recorded_runs.plain(),
            "bare": recorded_runs.bare(),
        }
    forget_wandb()


@pytest.fixture(scope="module")
def chromium():
    with browsers.browser() as opened:
        yield opened


@pytest.fixture
def open_page(runs, chromium, tmp_path):
    """`open_page(run, ...)` writes a report and opens it; nothing may go wrong.

    It opens the rows of the fixed samples, unless `state` says something else.
    """
    opened = []

    def open_one(name, other=None, state="table=eval_data&view=rows", **options):
        page = tmp_path / "page.html"
        write_report(runs[name], page, compare_with=other and runs[other])
        opened.append(page.as_uri())
        chromium.open(page, state=state, **options)
        return chromium

    yield open_one
    assert chromium.errors() == []
    assert set(chromium.requests()) == set(opened)


def rows_left(page):
    return int(re.match(r"\d+", page.texts(".count")[0])[0])


def column(page, name):
    """The values of a column, of the rows that are in the page."""
    titles = page.texts(".rows thead th")
    place = next(i for i, t in enumerate(titles) if t.rstrip(" ↑↓") == name)
    return page.texts(f".rows tbody tr[data-row] td:nth-child({place + 1})")


def scaled(size, *values):
    return [round(value * size) for value in values]


@pytest.mark.parametrize("name", ["classify", "detect", "segment", "example"])
def test_each_task_opens_at_its_last_version(open_page, runs, name):
    page = open_page(name, state="")
    assert page.one("h1").text == TITLES[name]
    assert page.texts("#version-label") == [
        f"epoch {EPOCHS - 1} ({EPOCHS} of {EPOCHS})"
    ]
    first = "Predictions" if name == "example" else "Hardest"
    assert page.texts("[role=tab][aria-selected=true]") == [first]
    assert len(page.all("[data-filter=wrong]:checked")) == (name == "example")
    assert len(page.all(".grid .tile")) == rows_left(page) > 0
    assert len(page.all(".grid .picture")) == rows_left(page)
    page.click("[data-view=rows]")
    assert page.one(".rows").is_displayed()
    alternatives = [e.get_attribute("alt") for e in page.all(".rows img:first-child")]
    assert alternatives
    assert all(alternatives)
    assert "share it as you would" in page.one(".notice").text


def test_a_run_without_a_callback_of_ours(open_page):
    page = open_page("plain")
    assert page.texts("#version-label") == ["step 2 (3 of 3)"]
    assert rows_left(page) == 2
    assert len(page.all(".rows .picture .mask")) == 1
    assert len(page.all(".rows .picture rect")) == 2
    assert {"A curve", "still"} <= {
        text.strip()
        for text in page.texts("#charts figcaption span, #charts figcaption")
    }


def test_a_run_without_tables(open_page):
    page = open_page("bare")
    assert not page.one("#tables").is_displayed()
    assert not page.one("#compare").is_displayed()
    assert page.texts("#curves figcaption span") == ["loss"]


def test_the_slider_goes_through_the_versions(open_page):
    page = open_page("classify")
    last = column(page, "loss")
    page.choose("#version", "0")
    assert page.texts("#version-label") == [f"epoch 0 (1 of {EPOCHS})"]
    assert column(page, "loss") != last
    page.one("#version").send_keys(*[browsers.Keys.ARROW_RIGHT] * 2)
    assert column(page, "loss") == last
    page.run("document.activeElement.blur()")
    page.press("ARROW_LEFT")  # Of the page, wherever one is.
    assert page.texts("#version-label") == [f"epoch 1 (2 of {EPOCHS})"]
    curve = page.one("#curves .clickable")
    page.run(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", curve
    )
    offset = -curve.size["width"] // 2 + 50
    actions = browsers.webdriver.ActionChains(page.driver)
    actions.move_to_element_with_offset(curve, offset, 0).click().perform()
    assert page.texts("#version-label") == [f"epoch 0 (1 of {EPOCHS})"]


def test_rows_are_sorted_and_filtered(open_page):
    page = open_page("classify")
    page.click("[data-sort=loss]")
    losses = [float(value) for value in column(page, "loss")]
    assert losses == sorted(losses)
    page.press("ENTER")
    assert (
        page.one("[data-sort=loss]")
        .find_element(browsers.By.XPATH, "..")
        .get_attribute("aria-sort")
        == "descending"
    )
    losses = [float(value) for value in column(page, "loss")]
    assert losses == sorted(losses, reverse=True)
    page.click("[data-filter=wrong]")
    assert set(column(page, "correct")) == {"✗ no"}
    wrong = rows_left(page)
    assert 0 < wrong < 20
    page.choose("select[data-filter=class]", NAMES[1])
    for label, pred in zip(column(page, "label"), column(page, "pred"), strict=True):
        assert NAMES[1] in (label, pred)
    page.click("[data-filter=wrong]")
    page.choose("select[data-filter=class]", "")
    page.choose("select[data-filter=column]", "loss")
    page.choose("[data-filter=from]", "1")
    assert rows_left(page) < 20
    assert all(float(value) >= 1 for value in column(page, "loss"))
    page.click("[data-table=hardest]")
    assert rows_left(page) == 5


def test_a_cell_of_the_matrix_shows_its_rows(open_page):
    page = open_page("classify")
    (cell, *_) = [e for e in page.all(".heat button.wrong") if e.text.isdigit()]
    expected = int(cell.text)
    actual, predicted = re.match(
        "(.*) taken for (.*): ", cell.get_attribute("aria-label")
    ).groups()
    page.run(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", cell
    )
    cell.click()
    assert page.texts("[role=tab][aria-selected=true]") == ["All samples"]
    assert rows_left(page) == expected
    assert set(column(page, "label")) == {actual}
    assert set(column(page, "pred")) == {predicted}
    page.click(".chip")
    assert rows_left(page) == 40
    page.one(".heat [tabindex='0']").send_keys(browsers.Keys.ARROW_RIGHT)
    assert page.run("return document.activeElement.ariaLabel").startswith(NAMES[0])
    page.press("ENTER")
    assert len(page.all(".chip")) == 1


def test_boxes_lie_where_they_belong(open_page):
    page = open_page("detect", width=1000)
    page.click(".thumb")
    page.click("dialog [data-layer='predictions box']")
    picture = page.one("dialog .large .picture")
    pixels = page.pixels(picture).astype(int)
    scale = pixels.shape[1] / SIZE[1]
    drawn = np.abs(pixels - 128).max(axis=-1) > 40
    drawn[:, : round(BOX[0] * scale) - 4] = False
    rect = page.run(
        "const r = arguments[0].querySelector('rect').getBoundingClientRect(),"
        "f = arguments[0].getBoundingClientRect();"
        "return [r.left - f.left, r.top - f.top, r.right - f.left, r.bottom - f.top]",
        picture,
    )
    np.testing.assert_allclose(np.array(rect) / scale, BOX, atol=0.2)
    left, top, right, bottom = scaled(scale, *BOX)
    middle = (top + bottom) // 2
    (columns,) = np.nonzero(drawn[middle, :])
    assert abs(columns.min() - left) <= 2
    assert abs(columns.max() - right) <= 2
    lines = np.nonzero(drawn[:, (left + right) // 2])[0]
    assert abs(lines.min() - top) <= 2
    assert abs(lines[lines < bottom + 3].max() - bottom) <= 2
    page.click("dialog [data-layer='predictions box']")
    assert len(page.all("dialog .large rect")) == 2
    assert NAMES[1] in " ".join(page.texts("dialog .large .caption"))
    page.click("dialog [data-control=captions]")
    assert page.all("dialog .caption") == []
    page.choose("dialog [data-control=score]", "0.8")
    assert len(page.all("dialog .large rect.prediction")) == 0
    page.click(f"dialog [data-class='{NAMES[0]}']")
    assert len(page.all("dialog .large rect")) == 0
    assert len(page.all(".rows rect")) == 0  # As in the table.
    assert FOUND != BOX


def test_masks_lie_where_they_belong(open_page):
    page = open_page("segment")
    page.click(".thumb")
    page.click("dialog [data-layer='predictions mask']")
    page.click("dialog [data-layer='ground_truth mask']")
    page.choose("dialog [data-control=opacity]", "1")
    pixels = page.pixels(page.one("dialog .large .picture")).astype(int)
    scale = pixels.shape[1] / SIZE[1]
    centres = [((np.arange(n) + 0.5) * scale).astype(int) for n in SIZE]
    seen = pixels[np.ix_(*centres)]
    inside = recorded_runs.MASKS[0] == 1
    assert (np.abs(seen[~inside] - 128) <= 2).all()
    swatch = page.one(f"dialog [data-class='{HOSTILE}'] + .swatch")
    color = re.findall(r"\d+", swatch.value_of_css_property("background-color"))[:3]
    assert (np.abs(seen[inside] - np.array(color, int)) <= 2).all()
    page.click(f"dialog [data-class='{HOSTILE}']")
    pixels = page.pixels(page.one("dialog .large .picture")).astype(int)
    assert (np.abs(pixels[np.ix_(*centres)] - 128) <= 2).all()


def test_the_controls_of_the_large_view_can_be_dragged(open_page):
    page = open_page("segment")
    page.click(".thumb")
    knob = page.one("dialog [data-control=opacity]")
    actions = browsers.webdriver.ActionChains(page.driver)
    actions.move_to_element(knob).click_and_hold()
    for _ in range(4):
        actions.move_by_offset(10, 0)
    actions.release().perform()
    assert float(page.texts("dialog output")[0]) > 0.7
    style = "return getComputedStyle(document.querySelector('dialog .mask')).opacity"
    assert float(page.run(style)) == float(page.texts("dialog output")[0])


def test_the_large_view_has_all_versions_and_the_keys(open_page):
    page = open_page("classify")
    page.one(".thumb").send_keys(browsers.Keys.ENTER)
    assert page.run("return document.querySelector('dialog').open")
    assert len(page.all("dialog .tile img")) == EPOCHS
    first = page.one("dialog h2").text
    page.press("ARROW_RIGHT")
    assert page.one("dialog h2").text != first
    page.press("ARROW_LEFT")
    assert page.one("dialog h2").text == first
    page.press("ESCAPE")
    assert not page.run("return document.querySelector('dialog').open")
    assert page.texts("#version-label") == [
        f"epoch {EPOCHS - 1} ({EPOCHS} of {EPOCHS})"
    ]


def test_two_versions_are_compared(open_page):
    page = open_page("classify")
    data = page.run("return JSON.parse(document.getElementById('data').textContent)")
    tables = {table["name"]: table["versions"] for table in data["runs"][0]["tables"]}

    def right(version):
        place = dict(version["columns"])["correct"]
        return np.array(data["columns"][place]["values"])

    before, after = right(tables["scores"][0]), right(tables["scores"][-1])
    assert page.texts("#compare .better b") == [str((~before & after).sum())]
    assert page.texts("#compare .worse b") == [str((before & ~after).sum())]
    page.click("[data-group=better]")
    assert len(page.all("#compare .pair")) == (~before & after).sum()
    page.choose("#compare [data-measure]", "loss")
    assert "loss" in page.texts("#compare .pair figcaption")[0]


def test_two_runs_are_compared(open_page):
    page = open_page("classify", "again")
    assert len(page.all("h1")) == 2
    groups = [int(text) for text in page.texts("#compare .tabs b")]
    assert sum(groups) == 30
    assert (
        len(page.all("#curves .chart")[0].find_elements("css selector", "polyline"))
        == 2
    )
    page.choose("#run", "1")
    assert rows_left(page) == 20
    in_run = page.run("return JSON.parse(document.querySelector('#data').textContent)")
    assert len(page.all("[data-table]")) == len(in_run["runs"][1]["tables"])
    page.click("[data-table=scores]")
    assert rows_left(page) == 30


def test_names_are_never_markup(open_page):
    page = open_page("classify")
    assert page.all("img[src=x]") == []
    assert HOSTILE in page.texts(".config th")
    assert HOSTILE in column(page, "label")
    assert HOSTILE in page.texts(".heat thead th")
    assert page.run("return document.scripts.length") == 4


@pytest.mark.parametrize("name", ["classify", "detect", "segment"])
@pytest.mark.parametrize("width", [390, 1600])
def test_no_width_makes_the_page_scroll_sideways(open_page, name, width):
    page = open_page(name, width=width, dark=width == 390)
    assert page.run("return document.documentElement.scrollWidth") == width
    background = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 128 * 3) is (
        width == 390
    )


def test_without_scripts_the_first_table_is_there(open_page, chromium):
    page = open_page("classify", scripts=False)
    try:
        assert page.one("#static table").is_displayed()
        assert len(page.all("#static tbody tr")) == 20
        assert len(page.all("#static img")) == 20
        assert HOSTILE in page.one("#static").text
    finally:
        chromium.driver.execute_cdp_cmd(
            "Emulation.setScriptExecutionDisabled", {"value": False}
        )


@pytest.mark.parametrize("name", ["page.html", "run #3: 50%41?.html"])
def test_a_large_page_has_its_media_in_a_folder(
    runs, chromium, tmp_path, monkeypatch, name
):
    monkeypatch.setattr("wandb_eval.report.writing.MOST_IN_ONE_FILE", 1000)
    path = write_report(runs["segment"], tmp_path / name)
    chromium.open(path, state="table=eval_data&view=rows")
    chromium.click(".thumb")
    chromium.click("dialog [data-layer='ground_truth mask']")
    chromium.pixels(chromium.one("dialog .large .picture"))
    assert chromium.errors() == []
    requests = chromium.requests()
    assert len(requests) > 2
    assert all(url.startswith(tmp_path.as_uri()) for url in requests)
    assert "data:image" not in path.read_text()


def test_many_rows_scroll_and_many_versions_slide(chromium, many, tmp_path):
    chromium.open(many, state="table=eval_data&view=rows")
    assert chromium.texts(".count b") == ["5000"]
    assert len(chromium.all(".rows tbody tr")) < 60
    chromium.run("document.querySelector('.scroller').scrollTop = 1e9")
    chromium.click("[data-sort=loss]")
    assert json.loads(chromium.one(".rows").get_attribute("aria-rowcount")) == 5000
    for place in range(5):
        chromium.choose("#version", str(place))
        assert chromium.texts("#version-label") == [f"epoch {place} ({place + 1} of 5)"]
    assert chromium.errors() == []


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A page of 5,000 rows in five versions."""
    from many_rows import many_rows
    from wandb_eval.report.describing import Page
    from wandb_eval.report.writing import write_page

    page = Page()
    page.add(many_rows(rows=5000, versions=5))
    return write_page(page, tmp_path_factory.mktemp("many") / "many.html")


def test_classes_are_read_from_text(open_page):
    page = open_page("segment")
    options = page.texts("select[data-filter=class] option")
    assert [option for option in options if option != "any"] == [HOSTILE, "background"]
    page.choose("select[data-filter=class]", HOSTILE)
    assert rows_left(page) == 6
    page = open_page("detect")
    page.choose("select[data-filter=class]", NAMES[1])
    assert rows_left(page) == 6
    page.click("[data-filter=wrong]")
    assert rows_left(page) == 6


def test_captions_have_class_score_and_what_is_wrong(open_page):
    page = open_page("detect", width=1000)
    page.click(".thumb")
    captions = page.texts("dialog .large .caption")
    assert sorted(captions) == sorted([NAMES[0], f"{NAMES[1]} 0.75 (both)"])


def test_what_w_and_b_leaves_transparent_can_be_shown(open_page):
    page = open_page("segment")
    page.click(".thumb")
    for name in ("background", "right", "not counted"):
        box = page.one(f"dialog [data-class='{name}']")
        assert not box.is_selected()
    page.click("dialog [data-layer='ground_truth mask']")
    page.click("dialog [data-layer='predictions mask']")
    page.choose("dialog [data-control=opacity]", "1")
    before = page.pixels(page.one("dialog .large .picture")).astype(int)
    page.click("dialog [data-class='background']")
    after = page.pixels(page.one("dialog .large .picture")).astype(int)
    assert np.abs(after - before).max(axis=-1)[-3:, -3:].min() > 20
