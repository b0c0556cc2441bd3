"""Writes a page: one HTML file, with a folder of media if it is large."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import html
import importlib.resources
import json
import logging
import os
import re
import tempfile
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandb_eval.report.measures import HIGHER_IS_BETTER, HIGHER_NAMES, LOWER_NAMES

if TYPE_CHECKING:
    import wandb

    from wandb_eval.report.describing import Page
    from wandb_eval.report.recorded import RecordedRun

logger = logging.getLogger(__name__)

DEFAULT_PATH = "eval-report.html"

MOST_IN_ONE_FILE = 50_000_000
"""The number of bytes above which the media go into a folder beside the page."""

_MODULES = [
    "elements",
    "data",
    "overlays",
    "boxes",
    "charts",
    "matrix",
    "table",
    "grid",
]
_MODULES += ["zoom", "detail", "classes", "compare", "weak"]
_MODULES += ["address", "main"]
_ROWS = 100  # Of the table for pages without JavaScript.
_MEDIA = re.compile(r"[0-9a-f]{20}\.\w+")  # The names of the files beside a page.


def write_report(
    run: str | os.PathLike[str] | wandb.Run,
    path: str | os.PathLike[str] | None = None,
    *,
    compare_with: str | os.PathLike[str] | wandb.Run | None = None,
) -> Path:
    """Writes the tables, charts and numbers of a run as an HTML file.

    The file opens in any browser, and needs no network and no account. It holds the
    images of the tables. If it would be larger than 50 MB, a folder `<name>_files`
    beside it holds them. The file is replaced as a whole: if writing fails, an older
    one stays.

    Parts that can't be read, or are not shown, are left out; the page and a warning
    list them. The function waits up to ten seconds for the log of a run that was just
    finished.

    Args:
        run: The folder of a run that was recorded offline; a run that was made with
            `mode="offline"`; or `"entity/project/run_id"`, a run in W&B. For a run that
            still runs, or was cut off, the page shows the log so far.
        path: The file to write. `None` for `eval-report.html` in the current folder.
        compare_with: A second run, to compare with the first one.

    Returns:
        The path of the HTML file.

    Raises:
        FileNotFoundError: If the folder does not have the log of one run.
        ValueError: If the file is not a log of a run, or if there is no such run in
            W&B.
    """
    # Imported here, so that the command answers faster.
    from wandb_eval.report.describing import Page

    page = Page()
    page.add(_read(run))
    if compare_with is not None:
        page.add(_read(compare_with))
    if page.left_out:
        logger.warning("Not in the report: %s", "; ".join(page.left_out))
    return write_page(page, Path(path or DEFAULT_PATH))


def _read(run: str | os.PathLike[str] | wandb.Run) -> RecordedRun:
    from wandb_eval.report.offline import read_offline_run
    from wandb_eval.report.online import is_online_path, read_online_run

    if is_online_path(run):
        return read_online_run(str(run))
    return read_offline_run(run)


def write_page(page: Page, path: Path) -> Path:
    """Writes a page, like `write_report`."""
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    data = _as_json(
        page.to_json()
        | {
            "written": datetime.datetime.now(datetime.UTC).isoformat(),
            "measures": {
                "higher_is_better": HIGHER_IS_BETTER,
                "lower": LOWER_NAMES,
                "higher": HIGHER_NAMES,
            },
        }
    )
    folder = _folder_beside(path)
    if len(data) + page.media.size() > MOST_IN_ONE_FILE:
        folder.mkdir(exist_ok=True)
        for medium in page.media.files:
            if not (folder / medium.name).exists():
                _put(folder / medium.name, [medium.file.read()])
        needed = {medium.name for medium in page.media.files}
        place = urllib.parse.quote(os.fsencode(folder.name))
        urls: Iterable[str] = (f"{place}/{m.name}" for m in page.media.files)
    else:
        urls = (medium.url() for medium in page.media.files)
        needed = set()
    parts = _html(page, data, list(urls), folder.name if needed else "")
    _put(path, (part.encode() for part in parts))
    _tidy(folder, needed)  # The old page is replaced.
    return path


def _folder_beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}_files")


def media_folder(path: Path) -> Path | None:
    """Returns the folder of media that a page needs; `None` if it needs none."""
    folder = _folder_beside(path)
    files = folder.iterdir() if folder.is_dir() else ()
    return folder if any(_MEDIA.fullmatch(file.name) for file in files) else None


def _tidy(folder: Path, needed: set[str]) -> None:
    """Deletes the media of older pages, but no files of others."""
    if not folder.is_dir():
        return
    for file in folder.iterdir():
        if file.name not in needed and _MEDIA.fullmatch(file.name):
            file.unlink()
    if not needed:
        with contextlib.suppress(OSError):  # The folder is not empty.
            folder.rmdir()


def _put(path: Path, parts: Iterable[bytes]) -> None:
    """Writes a file as a whole, or not at all."""
    descriptor, unfinished = tempfile.mkstemp(".tmp", f".{path.name}", path.parent)
    try:
        with open(descriptor, "wb") as file:
            for part in parts:
                file.write(part)
        os.chmod(unfinished, 0o666 & ~_umask())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# --- The page -------------------------------------------------------------------------


def _html(page: Page, data: str, urls: list[str], folder: str) -> Iterator[str]:
    script, early, style = _script(), _file("early.js"), _file("style.css")
    table, shown = _static_table(page, urls)
    media = [None if i in shown else url for i, url in enumerate(urls)]
    # Files beside the page are 'self' if a server sends it, and file: otherwise.
    sources = "data: 'self' file:" if folder else "data:"
    policy = (
        f"default-src 'none'; img-src {sources}; media-src {sources}; "
        f"script-src '{_hash(script)}' '{_hash(early)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    values = {
        "policy": html.escape(policy),
        "title": _escaped(" and ".join(run["name"] for run in page.runs)),
        "style": style,
        "script": script,
        "early": early,
        "table": table + _static_list(page.left_out),
        "data": data,
        "media": _as_json(media),
    }
    for i, part in enumerate(re.split(r"\{\{(\w+)\}\}", _file("page.html"))):
        yield values[part] if i % 2 else part


def _file(name: str) -> str:
    folder = importlib.resources.files("wandb_eval.report") / "page"
    return (folder / name).read_text(encoding="utf-8")


def _script() -> str:
    """Joins all modules to one, without their imports of each other."""
    parts = []
    for name in _MODULES:
        code = re.sub(r"^import .*;\n", "", _file(f"{name}.js"), flags=re.MULTILINE)
        parts.append(re.sub(r"^export ", "", code, flags=re.MULTILINE))
    return "\n".join(parts)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _as_json(value: Any) -> str:
    """Returns JSON that JavaScript can read, and that can't end an element of HTML."""
    dumped = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return dumped.replace("<", "\\u003c")


def _static_list(left_out: list[str]) -> str:
    """Returns the list of parts that are left out, for pages without JavaScript."""
    if not left_out:
        return ""
    items = "".join(f"<li>{_escaped(line)}</li>" for line in left_out)
    return f"<h2>Not in this page</h2><ul>{items}</ul>"


def _static_table(page: Page, urls: list[str]) -> tuple[str, set[int]]:
    """Returns the first table for pages without JavaScript, and the media in it.

    The page's code takes the media from this table, so each is in the page once.
    """
    tables = page.runs[0]["tables"]
    if not tables:
        return "<p>The run has no tables.</p>", set()
    version = tables[0]["versions"][-1]
    shown: set[int] = set()
    caption = f"{tables[0]['name']}, {version['label']}"
    parts = [f"<table><caption>{_escaped(caption)}</caption><thead><tr>"]
    parts += [f"<th>{_escaped(name)}</th>" for name, _ in version["columns"]]
    parts.append("</tr></thead><tbody>")
    columns = [page.columns[place] for _, place in version["columns"]]
    for row in range(min(version["rows"], _ROWS)):
        cells = (_static_cell(c, row, page, urls, shown) for c in columns)
        parts.append(f"<tr>{''.join(cells)}</tr>")
    parts.append("</tbody></table>")
    if version["rows"] > _ROWS:
        parts.append(f"<p>The first {_ROWS} of {version['rows']} rows.</p>")
    return "".join(parts), shown


def _static_cell(
    column: dict[str, Any], row: int, page: Page, urls: list[str], shown: set[int]
) -> str:
    value = column["values"][row]
    if value is None:
        return "<td></td>"
    kind = column["type"]
    if kind in ("image", "audio", "video"):
        kind = value.get("kind", kind)
    if kind == "image":
        place = value["file"]
        if place in shown:
            return "<td>(see above)</td>"
        shown.add(place)
        url = html.escape(urls[place])
        alt = _escaped(value.get("caption") or f"image of row {row + 1}")
        return f'<td><img loading="lazy" data-file="{place}" src="{url}" alt="{alt}">'
    if kind in ("audio", "video"):
        return f"<td>({kind})</td>"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"<td>{_escaped(text)}</td>"


def _escaped(text: str) -> str:
    """Escapes text for HTML, and replaces lone surrogates by `?`."""
    return html.escape(text.encode(errors="replace").decode())
