"""Extends mkdocs.yml: the places of the pages of the site, and doctests as code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# A doctest, up to the next empty line.
DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Places the pages as in the repository, so that links are right in both."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    pages = [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "LICENSE")),
        ROOT / "benchmarks/README.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("docs/**/*.png"),
        *ROOT.glob("packages/*/[RC]*.md"),
    ]
    for path in sorted(pages):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


class Doctests(griffe.Extension):
    """Shows the examples in docstrings as code.

    They begin at the margin, as in Keras; in Markdown, `>>>` would be a quotation.
    """

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Puts a fence around each doctest."""
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(
                lambda found: f"```pycon\n{found.group()}\n```", obj.docstring.value
            )
