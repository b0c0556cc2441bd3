"""The media of a page, each once."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from wandb_eval.report.recorded import RecordedFile

_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "image/webp": ".webp",
    "audio/wav": ".wav",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/flac": ".flac",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/ogg": ".ogv",
}
_ENDS = {"image/png": b"IEND", "image/jpeg": b"\xff\xd9", "image/gif": b"\x00;"}
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # Bytes.


@dataclass(frozen=True)
class Medium:
    """A file that a page shows.

    Attributes:
        kind: The MIME type.
        name: A file name that depends on the content alone.
        size: The number of bytes.
        file: The recorded file.
    """

    kind: str
    name: str
    size: int
    file: RecordedFile

    def url(self) -> str:
        """Returns the medium as a `data:` URL."""
        content = base64.b64encode(self.file.read()).decode()
        return f"data:{self.kind};base64,{content}"


@dataclass
class Media:
    """The files that a page shows, in the order of their first use."""

    files: list[Medium] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)

    def store(self, file: RecordedFile) -> int:
        """Adds a file, if it is new, and returns its place.

        Raises:
            OSError: If the file can't be read, or is not a medium.
        """
        if file.digest not in self._places:
            self._places[file.digest] = self._read(file)
        return self._places[file.digest]

    def _read(self, file: RecordedFile) -> int:
        content = file.read()
        kind = kind_of(content)
        if not kind:
            raise OSError("the file is no image, audio or video that browsers show")
        if _ENDS.get(kind, b"") not in content:
            raise OSError("the file is cut off")
        name = hashlib.sha256(content).hexdigest()[:20] + _SUFFIXES[kind]
        if name not in self._names:  # The digests of W&B are of several kinds.
            self._names[name] = len(self.files)
            self.files.append(Medium(kind, name, len(content), file))
        return self._names[name]

    def shown_as(self, place: int) -> str:
        """Returns the element that shows a file: `image`, `audio` or `video`."""
        return self.files[place].kind.partition("/")[0]

    def size(self) -> int:
        """Returns the number of bytes of all media, as text in a page."""
        return sum(4 * -(-medium.size // 3) + 40 for medium in self.files)


def kind_of(content: bytes) -> str:  # noqa: PLR0911
    """Returns the MIME type of a file by its first bytes; empty if it is unknown.

    Names are ignored, because a run may call any file `x.wav`.
    """
    starts = {
        b"\x89PNG\r\n\x1a\n": "image/png",
        b"\xff\xd8\xff": "image/jpeg",
        b"GIF87a": "image/gif",
        b"GIF89a": "image/gif",
        b"fLaC": "audio/flac",
        b"ID3": "audio/mpeg",
    }
    for start, kind in starts.items():
        if content.startswith(start):
            return kind
    if content[:4] == b"RIFF":
        return {b"WAVE": "audio/wav", b"WEBP": "image/webp"}.get(content[8:12], "")
    if content[:4] == b"OggS":
        is_video = b"theora" in content[:100]
        return "video/ogg" if is_video else "audio/ogg"
    if content[4:8] == b"ftyp":
        return "video/mp4"
    if content[:4] == b"\x1aE\xdf\xa3" and b"webm" in content[:64]:
        return "video/webm"
    if content[:2] == b"BM" and content[6:10] == bytes(4):
        header = int.from_bytes(content[14:18], "little")
        return "image/bmp" if header in _BMP_HEADERS else ""
    return "audio/mpeg" if _is_mp3(content) else ""


def _is_mp3(content: bytes) -> bool:
    """Whether a file begins with the header of a frame of MPEG audio, layer III."""
    if len(content) < 4 or content[0] != 0xFF or content[1] & 0xE6 != 0xE2:
        return False
    bitrate, rate = content[2] >> 4, content[2] >> 2 & 3
    return 0 < bitrate < 15 and rate < 3
