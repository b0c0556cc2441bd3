"""Shows a report in a cell of a notebook."""

from __future__ import annotations

import html
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import wandb

_FRAME = (
    '<iframe title="Report of wandb-eval" sandbox="allow-scripts allow-downloads '
    'allow-modals" style="border: 0; width: 100%; height: {height}px" '
    'srcdoc="{page}"></iframe>'
)


class _Frame:
    """A page in a frame that notebooks show."""

    def __init__(self, page: str, height: int) -> None:
        self._page, self._height = page, height

    def _repr_html_(self) -> str:
        # In ASCII, so that the hashes of the page's scripts hold in any encoding.
        page = html.escape(self._page).encode("ascii", "xmlcharrefreplace").decode()
        return _FRAME.format(page=page, height=self._height)

    def __repr__(self) -> str:
        return "<a report of wandb-eval, which needs a notebook>"


def show_report(
    run: str | os.PathLike[str] | wandb.Run,
    *,
    compare_with: str | os.PathLike[str] | wandb.Run | None = None,
    height: int = 800,
) -> None:
    """Shows the report of a run in a cell of Jupyter, VS Code or Colab.

    The cell holds the whole page, with its images, in a frame that can't reach the
    notebook. Nothing is served, and no file is left. So a notebook that is saved with
    its outputs holds images of the validation data.

    Args:
        run: A run, in a form that `write_report` takes.
        compare_with: A second run, to compare with the first one.
        height: The height of the frame, in pixels.

    Raises:
        FileNotFoundError: If the folder does not have the log of one run.
        ModuleNotFoundError: If IPython, which every notebook has, is not installed.
        ValueError: If it is not a run, or if the page would be larger than 50 MB.
    """
    if importlib.util.find_spec("IPython") is None:
        raise ModuleNotFoundError(
            "`show_report` needs a notebook. Use `write_report`, which writes a file."
        )
    from IPython.display import display

    display(report_frame(run, compare_with=compare_with, height=height))


def report_frame(
    run: str | os.PathLike[str] | wandb.Run,
    *,
    compare_with: str | os.PathLike[str] | wandb.Run | None = None,
    height: int = 800,
) -> _Frame:
    """Returns the report of a run as an object that notebooks show."""
    from wandb_eval.report.writing import media_folder, write_report

    with tempfile.TemporaryDirectory() as folder:
        path = write_report(
            run, Path(folder) / "report.html", compare_with=compare_with
        )
        if media_folder(path) is not None:
            raise ValueError(
                "The report is too large for a cell of a notebook. Received a run with "
                "over 50 MB of images. Use `write_report`, and open the file."
            )
        return _Frame(path.read_text(encoding="utf-8"), height)
