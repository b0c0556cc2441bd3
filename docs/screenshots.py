"""Makes the pictures of reports in docs/images, from the runs of examples and a guide.

    uv run docs/screenshots.py [FOLDER [PICTURE...]]

It runs the examples and the guide on weak slices, which takes minutes, unless FOLDER
has their runs already, each in a folder of its name in `PROGRAMS`. With names of
pictures it makes those only. It needs chromium and chromium-driver.
"""

import os
import re
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
WEAK = """
document.querySelector("#weak").scrollIntoView();
"""
PROGRAMS = {
    "classify": "examples/classify_digits.py",
    "detect": "examples/detect_digits.py",
    "segment": "examples/segment_digits.py",
    "rotate": "examples/rotate_digits.py",
    "denoise": "examples/denoise_photos.py",
    "weak": "docs/guides/weak-slices.md",
}
PICTURES = {
    # name: the example, the actions on its page, dark
    "classification": ("classify", CLASSIFICATION, False),
    "confusion": ("classify", "document.querySelector('#charts').scrollIntoView()", 0),
    "detection": ("detect", DETECTION, False),
    "segmentation": ("segment", SEGMENTATION, True),
    "regression": ("rotate", "", False),
    "image-to-image": ("denoise", "", False),
    "weak-slices": ("weak", WEAK, False),
}


def run_of(folder: Path, name: str) -> Path:
    """Returns the folder of a program's run in `folder`, and makes it if it is new."""
    own = folder / name
    if not own.exists():
        own.mkdir(parents=True)
        environment = {**os.environ, "WANDB_DIR": str(own), "WANDB_MODE": "offline"}
        program = ROOT / PROGRAMS[name]
        if program.suffix == ".md":  # The first program of a guide.
            (code, *_) = re.findall(r"```python\n(.*?)```", program.read_text(), re.S)
            program = own / "guide.py"
            program.write_text(code)
        subprocess.run([sys.executable, program], check=True, env=environment)
    (run,) = (own / "wandb").glob("offline-run-*")
    return run


def main(arguments: list[str]) -> None:
    """Writes the pictures, and prints their sizes."""
    with tempfile.TemporaryDirectory() as scratch, browser.browser() as opened:
        folder = Path(arguments[0] if arguments else scratch)
        for name in arguments[1:] or PICTURES:
            program, script, dark = PICTURES[name]
            page = write_report(run_of(folder, program), Path(scratch) / "page.html")
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
