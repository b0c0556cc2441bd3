"""The part "Where it fails" of the page, in a real browser."""

import pytest

pytest.importorskip("selenium")
import wandb

import browser as browsers
import recorded_runs
from loopback.environment import forget_wandb
from loopback.fixtures import offline_environment
from wandb_eval.report import write_report

pytestmark = pytest.mark.skipif(
    browsers.CHROMIUM is None or browsers.DRIVER is None,
    reason="needs chromium and chromium-driver, which .ci/run installs",
)
HOSTILE = "camera is '<img src=x>'"
DARK, NORTH = list(range(0, 40, 2)), list(range(30))
COLUMNS = ["slice", "num_samples", "error", "error_elsewhere", "gap", "at_least"]
COLUMNS += ["remark"]
SLICES = [
    ["brightness below 0.2", 20, 0.5, 0.1, 0.4, 0.1, ""],
    [HOSTILE, 30, 0.4, 0.1, 0.35, 0.2, "The error depends on this."],
]


def listed(index):
    return ", ".join(map(str, index))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two epochs, of which the last one has weak slices."""
    with offline_environment(tmp_path_factory.mktemp("runs")):
        with wandb.init(mode="offline", name="weak") as made:
            for epoch in range(2):
                artifact = wandb.Artifact(f"run_{made.id}_pred", "evaluation")
                rows = [[i, bool(i % 3)] for i in range(60)]
                artifact.add(wandb.Table(["idx", "correct"], rows), "scores")
                artifact.metadata["epoch"] = epoch
                if epoch == 1:
                    rows = [[*SLICES[0], listed(DARK)], [*SLICES[1], listed(NORTH)]]
                    table = wandb.Table([*COLUMNS, "index"], rows)
                    artifact.add(table, "weak_slices")
                made.log_artifact(artifact, aliases=["latest", f"epoch_{epoch}"])
        yield recorded_runs.finished(made)
    forget_wandb()


def test_a_slice_opens_its_samples(run, tmp_path):
    write_report(run, tmp_path / "page.html")
    with browsers.browser() as page:
        page.open(tmp_path / "page.html")
        found = page.all("#weak .slice")
        # The largest bound comes first.
        assert [one.find_element("css selector", "strong").text for one in found] == [
            HOSTILE,
            "brightness below 0.2",
        ]
        assert "The error depends on this." in found[0].text
        assert "error 0.4, at least 0.2 more within strata" in found[0].text
        assert "error 0.5, at least 0.1 more than elsewhere" in found[1].text
        marks = [m.get_attribute("style") for m in page.all("#weak .bar-of b")]
        assert marks == ["left: 50%;", "left: 40%;"]
        widths = [
            bar.size["width"] for bar in page.all("#weak .slice:last-child .bar-of i")
        ]
        assert widths[0] / widths[1] == pytest.approx(5, rel=0.05)
        found[1].click()
        assert page.texts("[role=tab][aria-selected=true]") == ["All samples"]
        assert page.texts(".count b") == ["20"]
        assert page.one('#weak [aria-pressed="true"]').text.startswith("brightness")
        page.reload()
        assert page.texts(".count b") == ["20"]
        page.one(".filters .chip").click()
        assert page.texts(".count b") == ["60"]
        page.choose("#version", "0")
        assert not page.one("#weak").is_displayed()
        assert page.errors() == []


def test_slices_that_only_the_history_has_open_their_samples(tmp_path):
    """A callback behind ours stopped the training: the version was logged before."""
    with offline_environment(tmp_path):
        with wandb.init(mode="offline", name="stopped") as made:
            artifact = wandb.Artifact(f"run_{made.id}_pred", "evaluation")
            rows = [[i, bool(i % 3)] for i in range(60)]
            artifact.add(wandb.Table(["idx", "correct"], rows), "scores")
            artifact.metadata["epoch"] = 0
            made.log_artifact(artifact, aliases=["latest", "epoch_0"])
            made.define_metric("eval/*", step_metric="eval/epoch")
            # Without strata, and rounded to six digits.
            row = [
                "hour is 3",
                20,
                1.2345678,
                0.4567891,
                0.7777787,
                0.2,
                "",
                listed(DARK),
            ]
            table = wandb.Table([*COLUMNS, "index"], [row])
            made.log({"eval/epoch": 0, "eval/weak_slices": table})
        write_report(recorded_runs.finished(made), tmp_path / "page.html")
    forget_wandb()
    with browsers.browser() as page:
        page.open(tmp_path / "page.html")
        [found] = page.all("#weak .slice")
        assert "more than elsewhere" in found.text
        found.click()
        assert page.texts(".count b") == ["20"]
        assert page.errors() == []
