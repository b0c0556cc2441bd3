"""The page for those who read it for hours, in a real browser."""

import json
import re
import urllib.parse
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("selenium")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

import browser as browsers
import made_runs
import odd_runs
from loopback.fixtures import offline_environment
from made_runs import BIDI, LONG_NAMES
from wandb_eval.report import notebook, write_report
from wandb_eval.report.describing import Page
from wandb_eval.report.writing import write_page

pytestmark = pytest.mark.skipif(
    browsers.CHROMIUM is None or browsers.DRIVER is None,
    reason="needs chromium and chromium-driver, which .ci/run installs",
)

OPEN = "document.querySelector('.thumb').click()"
RUNS = {
    "classifier": made_runs.classifier,
    "detector": made_runs.detector,
    "segmenter": made_runs.segmenter,
    "denoiser": made_runs.image_to_image,
    "angles": made_runs.regressor,
    "labels": made_runs.several_labels,
    "commas": made_runs.commas,
    "two": made_runs.two_evaluations,
    "gaps": lambda: made_runs.in_order(range(8), epochs=(0, 2)),
    "single": lambda: made_runs.classifier(versions=1, rows=40),
}


def written(path, *runs):
    page = Page()
    for run in runs:
        page.add(run)
    return write_page(page, path)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """`pages(run)` is the file of a page, written once."""
    folder, done = tmp_path_factory.mktemp("pages"), {}

    def page_of(name):
        if name not in done:
            path = folder / f"{name}.html"
            if name == "charts":
                with offline_environment(folder / "runs"):
                    done[name] = write_report(odd_runs.charts(), path)
            else:
                done[name] = written(path, RUNS[name]())
        return done[name]

    return page_of


@pytest.fixture(scope="module")
def chromium():
    with browsers.browser() as opened:
        yield opened


@pytest.fixture
def opened(pages, chromium):
    """`opened(run, ...)` opens a page; nothing may go wrong."""

    def open_one(name, **options):
        assert chromium.errors() == []  # Of the page before.
        chromium.open(pages(name), **{"width": 1400, "height": 950} | options)
        return chromium

    yield open_one
    assert chromium.errors() == []


def address(page):
    page.wait_for_address()
    return dict(urllib.parse.parse_qsl(page.run("return location.hash.slice(1)")))


def wait(page, condition):
    WebDriverWait(page.driver, 20).until(lambda _: condition())


def rect(page, selector):
    return page.run(
        "const r = document.querySelector(arguments[0]).getBoundingClientRect();"
        "return [r.left, r.top, r.width, r.height]",
        selector,
    )


# --- 1: a grid --------------------------------------------------------------------


@pytest.mark.parametrize(("width", "least"), [(390, 2), (1400, 6), (2560, 8)])
def test_the_first_screen_is_a_grid_of_the_hardest(opened, width, least):
    page = opened("classifier", width=width)
    assert page.texts("[role=tab][aria-selected=true]") == ["Hardest"]
    seen = page.run(
        "return [...document.querySelectorAll('.grid .tile')].filter((tile) =>"
        " tile.getBoundingClientRect().top < innerHeight).length"
    )
    assert seen >= least
    assert page.run("return document.documentElement.scrollWidth") == width
    tops = {rect(page, f"[data-place='{i}']")[1] for i in range(2)}
    assert len(tops) == 1  # Beside each other, also on a phone.
    # Names that are cut would be alike.
    cut = "one.scrollHeight > one.clientHeight + 1 || one.scrollWidth > one.clientWidth"
    texts = "[...document.querySelectorAll('.grid .tile bdi')]"
    assert page.run(f"return {texts}.filter((one) => {cut}).length") == 0


def test_filters_leave_a_phone_room(opened):
    page = opened("segmenter", width=390, height=844)
    seen = page.run(
        "return [...document.querySelectorAll('.grid .tile')].filter((tile) =>"
        " tile.getBoundingClientRect().bottom < innerHeight).length"
    )
    assert seen >= 1
    assert not page.one("[data-filter=text]").is_displayed()
    page.click(".controls summary")
    assert page.one("[data-filter=text]").is_displayed()


def test_samples_without_pictures_open_at_the_wrong_ones(opened):
    page = opened("labels")
    assert len(page.all("[data-filter=wrong]:checked")) == 1
    assert set(page.texts(".rows tr[data-row] .no")) == {"✗ no"}
    # Texts have the room that is left, in one line with the other cells.
    assert rect(page, ".rows .thumb.text")[1] == pytest.approx(
        rect(page, ".rows td.boolean > span")[1], abs=3
    )
    assert rect(page, ".rows td:nth-child(2)")[2] > 400


def test_the_grid_has_several_sizes_and_the_keys(opened):
    page = opened("classifier")
    widths = []
    for size in ("small", "medium", "large", "huge"):
        page.click(f"[data-size={size}]")
        widths.append(rect(page, ".grid .picture")[2])
    assert widths == sorted(widths)
    assert widths[-1] > 2 * widths[0]
    page.click("[data-size=small]")
    page.click("[data-table=eval_data]")
    assert len(page.all(".grid .tile")) < 100  # Of 100 rows, those that are visible.
    page.run("document.querySelector('.grid [tabindex=\"0\"]').focus()")
    page.press("ARROW_RIGHT", "END")
    assert page.run("return document.activeElement.dataset.place") == "99"
    page.press("ENTER")
    assert page.run("return document.querySelector('dialog').open")
    page.press("ESCAPE")
    assert page.run("return document.activeElement.dataset.place") == "99"


def test_several_images_of_a_row_are_side_by_side(opened):
    page = opened("denoiser")
    assert len(page.all(".grid .tile:first-child .picture")) == 4
    assert page.texts(".grid .tile:first-child small") == [
        "image", "target", "prediction", "error",
    ]  # fmt: skip
    page.click(".thumb")
    names = ["image", "target", "prediction", "error"]
    assert page.texts("dialog .pane figcaption") == names
    page.press("+")
    places = page.run(
        "return [...document.querySelectorAll('.pane .picture')].map((one) =>"
        " [one.offsetLeft, one.offsetTop, one.offsetWidth, one.offsetHeight])"
    )
    assert len(places) == 4
    assert len({tuple(place) for place in places}) == 1  # One zoom for all.
    # Over the epochs, the images that change.
    images = "return [...document.querySelectorAll(arguments[0])].map((one) => one.src)"
    (shown,) = page.run(images, "dialog .pane:nth-child(3) img")
    assert shown in page.run(images, "dialog .strip .now img")
    page.press("ESCAPE")
    page.click("[data-view=rows]")
    assert [t.strip() for t in page.texts(".rows thead th")[:4]] == names


@pytest.mark.parametrize(
    ("name", "measure", "better"), [("denoiser", "mae", 8), ("angles", "error", 6)]
)
def test_less_of_an_error_is_better(opened, name, measure, better):
    page = opened(name)
    page.choose("#compare [data-measure]", measure)
    assert page.texts("#compare .tabs b") == [str(better), "0", "0"]
    measures = page.texts("#compare [data-measure] option")
    assert not {"angle", "predicted angle", "idx"} & set(measures)


def test_a_number_is_said_with_the_true_one(opened):
    page = opened("angles")
    assert page.texts(".grid .tile:first-child bdi") == ["-20, not -30", "error 10"]


# --- 2: the large view --------------------------------------------------------------


def test_the_large_view_has_natural_size_zoom_and_pan(opened):
    page = opened("segmenter")
    page.click(".thumb")
    whole = rect(page, ".pane .picture")
    assert whole[2] > 1024
    page.click("[data-zoom=natural]")
    assert rect(page, ".pane .picture")[2:] == pytest.approx([1024, 512])
    assert page.texts(".percent") == ["100 %"]
    before = rect(page, ".pane .picture")
    view = page.one(".pane .view")
    event = "new WheelEvent('wheel', {deltaY: -300, clientX: 200, clientY: 400,"
    event += " bubbles: true, cancelable: true})"
    page.run(f"arguments[0].dispatchEvent({event})", view)
    after = rect(page, ".pane .picture")
    assert after[2] > 1.5 * before[2]
    # The point of the picture below the pointer stays.
    at = [(200 - place[0]) / place[2] for place in (before, after)]
    assert at[0] == pytest.approx(at[1], abs=0.003)
    ActionChains(page.driver).drag_and_drop_by_offset(view, -50, 0).perform()
    assert rect(page, ".pane .picture")[0] == pytest.approx(after[0] - 50, abs=1)
    page.run("document.querySelector('.stage').focus()")
    page.press("ARROW_LEFT")
    assert rect(page, ".pane .picture")[0] == pytest.approx(after[0] + 10, abs=1)
    page.press("0")
    assert rect(page, ".pane .picture") == pytest.approx(whole, abs=1)
    title = page.one("dialog h2").text
    page.press("ARROW_RIGHT")  # Without zoom, to the next sample.
    assert page.one("dialog h2").text != title


def test_two_fingers_zoom(opened):
    page = opened("segmenter", width=390, height=844)
    page.click(".thumb")
    page.run(
        "const stage = document.querySelector('.stage .view');"
        "const send = (type, pointerId, clientX) => stage.dispatchEvent(new"
        " PointerEvent(type, {pointerId, clientX, clientY: 400, bubbles: true}));"
        "send('pointerdown', 1, 150); send('pointerdown', 2, 200);"
        "send('pointermove', 2, 250);"
    )
    assert rect(page, ".pane .picture")[2] > 600


def test_truth_and_prediction_move_in_step(opened):
    page = opened("segmenter")
    page.click(".thumb")
    page.click("[data-control=side]")
    assert page.texts("dialog .pane figcaption") == ["truth", "prediction"]
    panes = page.all("dialog .pane")
    layers = [
        [
            e.get_attribute("data-layer")
            for e in pane.find_elements("css selector", ".mask")
        ]
        for pane in panes
    ]
    assert layers == [["ground_truth"], ["predictions"]]
    page.press("+", "+")
    page.run("document.querySelector('.stage').focus()")
    page.press("ARROW_RIGHT", "ARROW_DOWN")
    first, second = page.run(
        "return [...document.querySelectorAll('.pane .picture')].map((one) =>"
        " [one.offsetLeft, one.offsetTop, one.offsetWidth])"
    )
    assert first == second
    assert first[0] < 0
    assert address(page)["side"] == "1"


def test_tiles_of_epochs_are_clicked_and_begin_at_the_present_one(opened):
    page = opened("classifier", width=390)
    page.choose("#version", "2")
    page.click(".thumb")
    assert page.run("return document.querySelector('dialog .strip').scrollLeft") > 0
    assert page.texts("dialog .now b") == ["epoch 2"]
    page.press("ESCAPE")
    page.click("[data-table=eval_data]")
    page.click(".thumb")
    loss = page.texts("dialog .large dd")
    page.click("dialog [data-time='0']")
    assert page.texts("dialog .now b") == ["epoch 0"]
    assert "epoch 0" in page.one("dialog h2").text
    assert page.texts("dialog .large dd") != loss
    # A reload shows it, too.
    page.reload()
    assert page.texts("dialog .now b") == ["epoch 0"]


def test_texts_have_a_large_view(opened):
    page = opened("labels", state="table=eval_data")
    assert rect(page, ".rows tr[data-row]")[3] == pytest.approx(36, abs=2)
    page.click(".thumb.text")
    assert page.texts("dialog .text p")[0].count("The customer 0 writes") == 6
    assert len(page.all("dialog .strip .tile.right, dialog .strip .tile.wrong")) == 2
    page.press("ARROW_RIGHT")
    assert "The customer 1 writes" in page.texts("dialog .text p")[0]


# --- 3: the confusion matrix --------------------------------------------------------


def test_the_matrix_has_the_width_of_the_page_and_names_stay(opened):
    page = opened("classifier")
    heat = "document.querySelector('.heat')"
    assert page.run(f"return {heat}.querySelectorAll('tbody tr').length") == 40
    assert page.run(f"return {heat}.querySelectorAll('thead th').length") == 40
    page.run("document.querySelector('#charts').scrollIntoView()")
    room = page.run(
        f"const s = {heat}.parentElement; return s.scrollWidth - s.clientWidth"
    )
    assert room == 0  # All 40 columns are seen.
    least = "return Math.min(...[...document.querySelectorAll('.heat td button')]"
    assert page.run(f"{least}.map((one) => one.getBoundingClientRect().width))") >= 20
    page = opened("classifier", width=390)
    page.run(
        f"const s = {heat}.parentElement; s.scrollIntoView(); s.scrollLeft = 300;"
        " s.scrollTop = 400"
    )
    frame = rect(page, ".scroll:has(.heat)")
    assert rect(page, ".heat tbody th")[0] == pytest.approx(frame[0], abs=2)
    assert rect(page, ".heat thead th")[1] == pytest.approx(frame[1], abs=2)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_cells_of_the_matrix_are_readable(opened, dark):
    page = opened("classifier", dark=dark)
    colors = page.run(
        "return [...document.querySelectorAll('.heat td button')].filter((one) =>"
        " one.textContent).map((one) => { const style = getComputedStyle(one);"
        " return [style.color, style.backgroundColor]; })"
    )
    assert len(colors) > 40
    assert min(contrast(*pair) for pair in colors) >= 4.5


def contrast(one, other):
    """The ratio of contrast of two colors, by WCAG 2."""
    bright, dark = sorted(map(luminance, (one, other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(color):
    values = np.array(re.findall(r"[\d.]+", color)[:3], float)
    values = values if color.startswith("color(") else values / 255
    linear = np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )
    return linear @ [0.2126, 0.7152, 0.0722]


# --- 5: by class --------------------------------------------------------------------


def test_a_click_on_a_class_shows_all_of_it(opened):
    page = opened("classifier")
    name = LONG_NAMES[3]
    page.run(
        "[...document.querySelectorAll('.heat tbody th button')].find((one) =>"
        " one.textContent === arguments[0]).click()",
        name,
    )
    assert name in page.one(".class-view h2").text
    data = page.run("return JSON.parse(document.getElementById('data').textContent)")
    (table,) = (t for t in data["runs"][0]["tables"] if t["name"] == "scores")
    columns = dict(table["versions"][-1]["columns"])
    label, pred = (
        np.array(data["columns"][columns[k]]["values"]) for k in ("label", "pred")
    )
    counts = {
        "wrong": (pred == name) & (label != name),
        "missed": (label == name) & (pred != name),
        "right": (label == name) & (pred == name),
    }
    for kind, expected in counts.items():
        count = page.texts(f".class-view [data-group-of={kind}] h3 b")
        assert count == [str(expected.sum())]
        pictures = len(page.all(f".class-view [data-group-of={kind}] .picture"))
        assert pictures <= expected.sum()
    assert page.texts(".class-view dt") == ["recall", "precision"]
    assert len(page.all(".class-view .chart polyline")) == 2
    assert address(page)["about"] == name
    page.click(".class-view [data-kind=right]")
    assert page.texts(".count b") == [str(counts["right"].sum())]
    page.driver.back()
    wait(page, lambda: page.run("return document.querySelector('.class-view').open"))


@pytest.mark.parametrize("name", ["detector", "segmenter"])
def test_a_class_of_a_legend_has_its_samples(opened, name):
    page = opened(name)
    page.click(".legend .of-class")
    about = page.one(".class-view h2 bdi").text
    assert about == LONG_NAMES[0]
    kinds = ("wrong", "missed", "right")
    counts = [
        int(page.one(f".class-view [data-group-of={kind}] h3 b").text) for kind in kinds
    ]
    if name == "segmenter":  # By the IoU of the class, which all rows have.
        table = page.run(
            "const page = JSON.parse(document.getElementById('data').textContent);"
            "const table = page.runs[0].tables.find(({name}) => name === 'scores');"
            "const columns = table.versions.at(-1).columns;"
            "return page.columns[Object.fromEntries(columns).class_iou].values"
        )
        ious = [values[LONG_NAMES.index(about)] for values in table]
        right = sum(iou >= 0.5 for iou in ious)
        assert counts == [len(ious) - right, 0, right]
    else:  # All 60 images have boxes of that class.
        assert sum(counts) == 60
        assert counts[0] > 0
    for kind, count in zip(kinds, counts, strict=True):
        tiles = page.all(f".class-view [data-group-of={kind}] .tile")
        assert len(tiles) == min(count, 24)
        if count:
            verdict = {"missed": "wrong"}.get(kind, kind)
            assert (
                name == "segmenter"
                or verdict == "right"
                or all("wrong" in tile.get_attribute("class") for tile in tiles)
            )
    kind = kinds[int(np.argmax(counts))]
    page.click(f".class-view [data-kind={kind}]")
    assert page.texts(".count b") == [str(max(counts))]
    assert about in page.one(".filters .chip").text


# --- 6: export, the address, search, columns ------------------------------------------


def test_the_filtered_samples_are_exported(opened, tmp_path):
    page = opened("classifier", state="table=scores&wrong=1&sort=loss&down=1")
    page.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior",
        {"behavior": "allow", "downloadPath": str(tmp_path)},
    )
    for kind in ("csv", "json"):
        page.click(f"[data-export={kind}]")
        wait(page, lambda kind=kind: (tmp_path / f"scores.{kind}").exists())
    csv = (tmp_path / "scores.csv").read_text().splitlines()
    exported = json.loads((tmp_path / "scores.json").read_text())
    assert csv == ["idx", *map(str, exported["idx"])]
    assert page.texts(".count b") == [str(len(exported["idx"]))]
    assert (exported["table"], exported["version"]) == ("scores", "epoch 2")
    page.click("[data-view=rows]")
    first = page.texts(".rows tbody tr[data-row] td")
    assert str(exported["idx"][0]) in first[:2]


def test_a_reload_and_back_and_a_sent_link_show_the_same(opened, pages, chromium):
    page = opened("classifier")
    page.choose("#version", "1")
    page.click("[data-table=eval_data]")
    page.click("[data-filter=wrong]")
    page.choose("[data-filter=text]", "owl")
    page.click("[data-view=rows]")
    page.click("[data-sort=loss]")
    assert address(page)["sort"] == "loss"
    page.click(".rows tbody tr[data-row] .thumb")
    before = address(page)
    assert before.keys() >= {"at", "table", "wrong", "text", "view", "sort", "sample"}
    seen = page.texts(".rows tbody td"), page.one("dialog h2").text
    page.reload()
    assert (page.texts(".rows tbody td"), page.one("dialog h2").text) == seen
    page.driver.back()
    wait(page, lambda: not page.run("return document.querySelector('dialog').open"))
    assert address(page) == {k: v for k, v in before.items() if k != "sample"}
    page.choose("#compare [data-side='0']", "0 1")
    measures = page.texts("#compare [data-measure] option")
    assert "score" not in measures  # More of it is not better where it is wrong.
    page.choose("#compare [data-measure]", "loss")
    assert "changes" in address(page)
    changes = page.texts("#compare .tabs, #compare .pair")
    page.reload()
    assert page.texts("#compare .tabs, #compare .pair") == changes
    assert page.run("return document.querySelector('[data-side]').value") == "0 1"
    assert page.texts("#version-label") == ["epoch 1 (2 of 3)"]
    page = opened("classifier", state=urllib.parse.urlencode(before))
    assert (page.texts(".rows tbody td"), page.one("dialog h2").text) == seen


@pytest.mark.parametrize(
    "state", ["table=%ff&at=x&run=9", "pair=[1]&of={&hidden=7", "tables"]
)
def test_an_odd_address_opens_the_page(opened, state):
    page = opened("classifier", state=state)
    assert page.texts(".count b") == ["20"]


def test_text_is_found_and_columns_are_chosen(opened):
    page = opened("labels")
    page.choose("[data-filter=text]", "CUSTOMER 17 ")
    assert page.texts(".count b") == ["1"]
    page.click(".columns summary")
    page.click("[data-column=text]")
    titles = [title.strip() for title in page.texts(".rows thead th")]
    assert titles == ["idx", "label", "pred", "correct", "loss"]


# --- 7: many boxes --------------------------------------------------------------------


def test_a_box_is_singled_out_and_captions_leave_room(opened):
    page = opened("detector")
    page.click(".thumb")
    overlaps = (
        "const all = [...document.querySelectorAll('.pane .caption:not(.covered)')]"
        ".map((one) => one.getBoundingClientRect());"
        "let count = 0; all.forEach((a, i) => all.slice(i + 1).forEach((b) => {"
        " count +="
        " a.left < b.right && b.left < a.right && a.top < b.bottom"
        " && b.top < a.bottom; }));"
        "return [all.length, count]"
    )
    wait(page, lambda: page.run(overlaps)[1] == 0)
    outside = (
        "const place = (one) => one.getBoundingClientRect();"
        "const frame = place(document.querySelector('.pane .picture'));"
        "return [...document.querySelectorAll('.pane .caption:not(.covered)')]"
        ".map(place).filter((one) => one.left < frame.left - 1 ||"
        " one.right > frame.right + 1 || one.top < frame.top - 1"
        " || one.bottom > frame.bottom + 1).length"
    )
    assert page.run(outside) == 0
    few = page.run(overlaps)[0]
    assert 10 < few < 200
    page.press("+", "+", "+")
    page.press("0")
    page.click(".boxes-list summary")
    page.click(".boxes-list li:nth-child(5) button")
    assert len(page.all(".pane rect.singled")) == 1
    opacity = "return getComputedStyle(document.querySelector(arguments[0])).opacity"
    assert float(page.run(opacity, ".pane rect:not(.singled)")) < 0.2
    assert float(page.run(opacity, ".pane rect.singled")) == 1
    page.click(".boxes-list li:nth-child(5) button")
    assert len(page.all(".pane .picture.one")) == 0
    page.run("arguments[0].scrollIntoView({block: 'center'})", page.one(".pane rect"))
    left, top, width, height = rect(page, ".pane rect")
    page.run(
        "for (const type of ['pointerdown', 'pointerup']) document.querySelector("
        "'.pane .view img').dispatchEvent(new PointerEvent(type, {pointerId: 1,"
        " bubbles: true, clientX: arguments[0], clientY: arguments[1]}))",
        left + width / 2, top + height / 2,
    )  # fmt: skip
    assert len(page.all(".pane rect.singled")) == 1


# --- 8: details -----------------------------------------------------------------------


def test_errors_are_no_classes(opened):
    page = opened("segmenter")
    page.click(".thumb")
    legends = page.all("dialog .legend")
    assert [one.find_element("css selector", "legend").text for one in legends] == [
        "Classes", "Errors",
    ]  # fmt: skip
    classes = page.texts("dialog .legend:first-of-type .of-class")
    assert not {"right", "wrong", "not counted"} & set(page.texts(".of-class"))
    assert len(page.texts("dialog .of-class")) >= 19, classes
    page.press("ESCAPE")
    assert not {"right", "wrong"} & set(page.texts("select[data-filter=class] option"))


def test_labels_are_whole_and_bars_may_be_negative(opened):
    page = opened("charts")
    for chart in page.all("#curves .chart svg, #charts .chart svg"):
        left = chart.rect["x"]
        for label in chart.find_elements("css selector", "text"):
            assert label.rect["x"] >= left - 0.5
    assert "9.00e-4" in " ".join(page.texts("#curves .chart text"))
    bars = page.all("#charts .bars i")
    low, high = (bars[i].rect for i in (0, 1))
    assert "negative" in bars[0].get_attribute("class")
    assert low["x"] + low["width"] == pytest.approx(high["x"], abs=1.5)


def test_a_chart_of_a_table_that_was_logged_too(opened):
    page = opened("charts")
    assert {"shared"} <= {t.strip() for t in page.texts("#charts figcaption")}
    assert "shared table" in page.texts("[role=tab]")


def test_one_version_has_not_changed(opened):
    page = opened("single")
    assert not page.one("#compare").is_displayed()
    assert not page.one("[data-part=compare]").is_displayed()


def test_names_of_other_directions_are_isolated(opened):
    page = opened("labels", state="table=eval_data&view=rows")
    styles = page.run(
        "return [...document.querySelectorAll('.rows td > span')].map((one) =>"
        " getComputedStyle(one).unicodeBidi)"
    )
    assert styles
    assert set(styles) <= {"isolate", "plaintext"}
    page.run(
        "document.dispatchEvent("
        "new CustomEvent('about-class', {detail: arguments[0]}))",
        BIDI,
    )
    assert page.one(".class-view h2 bdi").text == BIDI
    page.press("ESCAPE")
    page.click(".thumb.text")
    lines = page.texts("dialog .strip bdi")
    assert any(f"\u2068{BIDI}\u2069" in line for line in lines)


def test_words_say_what_they_mean(opened):
    page = opened("classifier")
    (only_wrong,) = page.texts("label:has([data-filter=wrong])")
    assert only_wrong == "only wrong samples"
    assert page.texts("select[data-filter=column] option")[0] == "any"
    assert page.texts("label:has(select[data-filter=column])")[0].startswith("number")
    groups = [text.split()[0] for text in page.texts("#compare .tabs button")]
    assert groups == ["fixed", "broken", "unchanged"]
    texts = page.run("return document.body.innerText")
    for unclear in ("only wrong ones", "range of", "no column", "as before"):
        assert unclear not in texts


def test_all_rows_are_printed(opened):
    page = opened("classifier", state="table=scores&view=rows")
    assert len(page.all(".rows tr[data-row]")) < 100
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    page.run("window.dispatchEvent(new Event('beforeprint'))")
    assert len(page.all(".rows tr[data-row]")) == 200
    shown = page.run(
        "const box = document.querySelector('.scroller');"
        "return [box.scrollHeight - box.clientHeight,"
        " getComputedStyle(box).printColorAdjust]"
    )
    assert shown == [0, "exact"]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("view", ["grid", "rows"])
def test_the_first_tab_skips_to_the_samples(opened, view):
    page = opened("classifier", state=f"table=hardest&view={view}")
    page.press("TAB")
    assert (
        page.run("return document.activeElement.textContent") == "Skip to the samples"
    )
    page.press("ENTER")
    assert page.run("return document.activeElement.matches('.thumb')")
    assert "sample" not in address(page)


# --- 9: in a notebook -----------------------------------------------------------------


def test_a_notebook_shows_the_page_in_a_frame(chromium, tmp_path, monkeypatch):
    written = write_page
    page = Page()
    page.add(made_runs.classifier(rows=40))
    monkeypatch.setattr(
        "wandb_eval.report.writing.write_report",
        lambda run, path, compare_with: written(page, path),
    )
    frame = notebook.report_frame("a run")._repr_html_()
    outer = tmp_path / "notebook.html"
    outer.write_text(f"<!DOCTYPE html><title>n</title>{frame}")
    chromium.open(outer)
    chromium.driver.switch_to.frame(0)
    try:
        assert len(chromium.all(".grid .tile .picture")) == 20
        chromium.click(".thumb")
        assert chromium.run("return document.querySelector('dialog').open")
    finally:
        chromium.driver.switch_to.default_content()
    assert chromium.errors() == []
    assert chromium.requests() == [outer.as_uri()]


# --- For everybody --------------------------------------------------------------------


@pytest.fixture(scope="module")
def axe():
    """The code of axe-core."""
    package = pytest.importorskip("selenium_axe_python")
    folder = Path(package.__file__).parent
    return (folder / "axe-core" / "axe.min.js").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "state", "script"),
    [
        ("classifier", "", ""),
        ("classifier", "view=rows&table=eval_data", OPEN),
        ("classifier", f"about={LONG_NAMES[0]}", ""),
        ("detector", "", OPEN),
        ("segmenter", "side=1&table=eval_data&sample=1", ""),
        ("labels", "", ""),
        ("charts", "", ""),
    ],
    ids=["grid", "rows", "class", "boxes", "masks", "labels", "charts"],
)  # fmt: skip
def test_axe_finds_nothing_serious(opened, axe, name, state, script):
    page = opened(name, state=state, dark=name in ("classifier", "labels"))
    page.run(script)
    page.run(axe)
    found = page.driver.execute_async_script(
        "axe.run(document, {resultTypes: ['violations']}).then((result) =>"
        " arguments[0](result.violations.map(({id, impact, nodes}) =>"
        " [id, impact, nodes.slice(0, 3).map((one) => one.html.slice(0, 200) +"
        " one.failureSummary)])))"
    )
    assert [one for one in found if one[1] in ("serious", "critical")] == []


# --- Several evaluations, and other data --------------------------------------------


@pytest.mark.parametrize(("table", "shown"), [("pred", 6), ("test_pred", 1)])
def test_pictures_are_of_the_same_evaluation(opened, table, shown):
    page = opened("two", state=f"table=scores%20({table})&view=rows")
    assert len(page.all("#rows .thumb, .rows .thumb, .thumb")) == shown


def test_a_class_that_is_called_right_is_shown(chromium, tmp_path, monkeypatch):
    """In masks of errors, pixels that are right are hidden."""
    monkeypatch.setattr(made_runs, "LONG_NAMES", ["right", *LONG_NAMES[1:]])
    chromium.open(written(tmp_path / "page.html", made_runs.detector()))
    assert chromium.run("return document.querySelector('[data-class=right]').checked")


@pytest.mark.parametrize(
    ("run", "name", "right"),
    [("commas", "missile", 3), ("commas", "projectile, missile", 5)],
)
def test_a_name_with_a_comma_is_that_of_one_class(opened, run, name, right):
    page = opened(run)
    assert page.texts("#version-label") == ["epoch 1 (2 of 2)"]
    about = "document.dispatchEvent(new CustomEvent('about-class', {detail: '%s'}))"
    page.run(about % name)
    assert page.texts(".class-view [data-group-of=right] h3 b") == [str(right)]
    page.click(".class-view [data-kind=right]")
    assert page.texts(".count b") == [str(right)]


def test_several_classes_in_a_text_are_classes_of_their_own(opened):
    page = opened("labels", state="table=eval_data&view=rows")
    options = page.texts("[data-filter=class] option")
    assert {"urgent", "refund", "praise", "spam"} <= set(options)
    assert not any(", " in option for option in options)


def test_a_class_is_looked_up_again_after_back(opened):
    page = opened("classifier")
    about = "document.dispatchEvent(new CustomEvent('about-class', {detail: '%s'}))"
    page.run(about % LONG_NAMES[0])
    page.run(about % LONG_NAMES[1])
    page.driver.back()
    wait(page, lambda: page.texts(".class-view h2 bdi") == [LONG_NAMES[0]])
    assert address(page)["about"] == LONG_NAMES[0]


def test_two_runs_are_compared_by_the_content_of_samples(chromium, tmp_path):
    order = range(8)
    one, other = made_runs.in_order(order), made_runs.in_order(order[::-1])
    chromium.open(written(tmp_path / "page.html", one, other))
    assert chromium.texts("#compare .tabs b") == ["0", "0", "8"]
    assert chromium.errors() == []


def test_what_is_compared_is_said_where_it_is_another_version(opened):
    page = opened("gaps")
    assert page.texts("#compare .tabs b") == ["0", "0", "8"]
    assert not page.texts("#compare .empty")[1:]
    page.choose("#compare [data-side='1']", "0 1")
    assert any("is epoch 0: the samples" in text for text in page.texts("#compare p"))


def test_versions_of_one_time_are_named():
    first, again = made_runs.in_order(range(8)), made_runs.in_order(range(4))
    first.artifacts += again.artifacts
    page = Page()
    page.add(first)
    lines = page.to_json()["left_out"]
    assert [line for line in lines if "scores" in line] == [
        "an earlier scores, epoch 0: a later version has the same time"
    ]
