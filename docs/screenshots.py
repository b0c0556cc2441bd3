"""Makes the pictures of reports in docs/images, from the runs of the three examples.

    uv run docs/screenshots.py [FOLDER]

It runs the examples, which takes minutes, unless FOLDER already has their runs, one in
`classify`, one in `detect` and one in `segment`. It needs chromium and chromium-driver.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image

import browser
from wandb_eval.report import write_report

ROOT = Path(__file__).parents[1]

MOST_BYTES = 200_000
SIZE = {"width": 1200, "height": 820}

CLASSIFICATION = """
document.querySelector("[data-table=hardest]").click();
"""
DETECTION = """
document.querySelectorAll(".thumb")[1].click();
"""
SEGMENTATION = """
document.querySelectorAll(".thumb")[3].click();
"""
PICTURES = {
    # name: the example, the actions on its page, dark
    "classification": ("classify", CLASSIFICATION, False),
    "confusion": ("classify", "document.querySelector('#charts').scrollIntoView()", 0),
    "detection": ("detect", DETECTION, False),
    "segmentation": ("segment", SEGMENTATION, True),
}


def record(folder: Path) -> None:
    """Runs the examples, each with a separate folder for its run."""
    for name in ("classify", "detect", "segment"):
        own = folder / name
        own.mkdir(parents=True)
        environment = {**os.environ, "WANDB_DIR": str(own), "WANDB_MODE": "offline"}
        example = ROOT / "examples" / f"{name}_digits.py"
        subprocess.run([sys.executable, example], check=True, env=environment)


def main(arguments: list[str]) -> None:
    """Writes the pictures, and prints their sizes."""
    with tempfile.TemporaryDirectory() as scratch, browser.browser() as opened:
        folder = Path(arguments[0] if arguments else scratch)
        if not arguments:
            record(folder)
        for name, (example, script, dark) in PICTURES.items():
            (run,) = (folder / example / "wandb").glob("offline-run-*")
            page = write_report(run, Path(scratch) / f"{example}.html")
            opened.open(page, **SIZE, dark=bool(dark))
            opened.run(script)
            pixels = opened.window()
            path = ROOT / "docs/images" / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            save(pixels, path)
            size = path.stat().st_size
            assert size < MOST_BYTES, f"{path} has {size} bytes"
            print(f"{path.relative_to(ROOT)}: {size / 1000:.0f} kB")


def save(pixels: np.ndarray, path: Path) -> None:
    """Saves a picture; with 256 colours, if it would be too large otherwise."""
    image = PIL.Image.fromarray(pixels)
    image.save(path, optimize=True)
    if path.stat().st_size >= MOST_BYTES:
        image.quantize(256, dither=PIL.Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
