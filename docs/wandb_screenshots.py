"""Makes the pictures of tables on W&B's page in docs/images, of the examples.

    uv run docs/wandb_screenshots.py [FOLDER [PICTURE...]]

FOLDER and the names are as for `screenshots.py`, and so is what it needs. The page is
the one that W&B published in the package weave in 2024; it gets an environment of its
own.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from screenshots import ROOT, run_of, save

from loopback import serve
from loopback.environment import ENTITY, sync_run
from loopback.fixtures import wandb_at
from wandb_page.pages import pages

SIZE = {"width": 1500, "height": 620, "large": True}
TABLES = {
    # name of the picture: the example, its table
    "wandb-classification": ("classify", "eval/hardest"),
    "wandb-detection": ("detect", "eval/predictions"),
    "wandb-segmentation": ("segment", "eval/predictions"),
    "wandb-regression": ("rotate", "eval/hardest"),
    "wandb-image-to-image": ("denoise", "eval/hardest"),
}


def main(arguments: list[str]) -> None:
    """Writes the pictures, and prints their sizes."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(arguments[0] if arguments else scratch)
        tables = {name: TABLES[name] for name in arguments[1:] or TABLES}
        home = Path(scratch) / "home"
        home.mkdir()
        with serve() as server, wandb_at(server.url, home):
            runs = {}
            for example, _ in tables.values():
                run = run_of(folder, example)
                # A copy: a run that was sent is not sent again.
                sync_run(shutil.copytree(run, home / run.name))
                runs[example] = run.name.rpartition("-")[2]
            with pages(server.url, home) as page:
                for name, (example, table) in tables.items():
                    where = (
                        f'project("{ENTITY}", "{server.run(runs[example])["project"]}")'
                    )
                    rows = f'.run("{runs[example]}").summary["{table}"].table.rows'
                    path = ROOT / "docs/images" / f"{name}.png"
                    save(page.shoot(where + rows, **SIZE), path)
                    size = path.stat().st_size
                    print(f"{path.relative_to(ROOT)}: {size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
