"""The media of a page, each once."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from wandb_eval.report.recorded import RecordedFile

_BY_START = {
    b"\x89PNG": ("image/png", ".png"),
    b"\xff\xd8\xff": ("image/jpeg", ".jpg"),
    b"GIF8": ("image/gif", ".gif"),
    b"BM": ("image/bmp", ".bmp"),
}
_BY_SUFFIX = {
    ".webp": "image/webp",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}


@dataclass(frozen=True)
class Medium:
    """A file that a page shows.

    Attributes:
        kind: Its MIME type.
        name: A file name that depends on the content alone.
        size: Bytes.
        file: Where its content is.
    """

    kind: str
    name: str
    size: int
    file: RecordedFile

    def url(self) -> str:
        """It as a `data:` URL."""
        content = base64.b64encode(self.file.read()).decode()
        return f"data:{self.kind};base64,{content}"


@dataclass
class Media:
    """Files that a page shows, in the order in which it first shows them."""

    files: list[Medium] = field(default_factory=list)
    _places: dict[str, int | None] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)

    def store(self, file: RecordedFile, path: str) -> int | None:
        """The place of a file; `None` if it can't be read, or is no medium."""
        if file.digest not in self._places:
            self._places[file.digest] = self._read(file, path)
        return self._places[file.digest]

    def _read(self, file: RecordedFile, path: str) -> int | None:
        try:
            content = file.read()
        except OSError:
            return None
        kind, suffix = _kind_of(content, path)
        if not kind:
            return None
        name = hashlib.sha256(content).hexdigest()[:20] + suffix
        if name not in self._names:  # The digests of W&B are of several kinds.
            self._names[name] = len(self.files)
            self.files.append(Medium(kind, name, len(content), file))
        return self._names[name]

    def size(self) -> int:
        """How many bytes they are, as text in a page."""
        return sum(4 * -(-medium.size // 3) + 40 for medium in self.files)


def _kind_of(content: bytes, path: str) -> tuple[str, str]:
    """The MIME type, and the suffix that goes with it; empty for anything else."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix], suffix
    found = (kind for start, kind in _BY_START.items() if content.startswith(start))
    return next(found, ("", ""))
