"""The client of a loopback server, which reads its records and adds faults."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

_OPENER = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Transfer:
    """A file that was uploaded or downloaded.

    `kind` is `artifact` (a file of an artifact version), `manifest` or `run`;
    `collection` is the artifact's name, and the run's id for files of a run;
    `time` is in seconds since the epoch.
    """

    time: float
    kind: str
    collection: str
    path: str
    size: int


@dataclass(frozen=True)
class Version:
    """One version of an artifact.

    `index` is None until it is committed; `commit_hash` is its name on W&B's pages.
    `aliases` holds no `v<N>`. `manifest` maps each path to its entry (`digest`, `size`,
    `birthArtifactID`, `ref`, `extra`); `files` are the paths that were uploaded to this
    very version.
    """

    id: str
    commit_hash: str
    collection: str
    type: str
    index: int | None
    state: str
    aliases: list[str]
    metadata: dict[str, Any]
    description: str | None
    history_step: int | None
    digest: str
    run: str | None
    manifest: dict[str, dict[str, Any]]
    files: list[str]


class Loopback:
    """A handle on a running server, in this process or in another.

    Example:
        ```python
        with spawn() as server:
            server.fail("CreateArtifact", collection="val", status=503, times=2)
            ...  # use wandb with WANDB_BASE_URL=server.url
            assert len(server.versions("val")) == 1
        ```
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def uploads(
        self, collection: str | None = None, kind: str | None = "artifact"
    ) -> list[Transfer]:
        """The finished uploads in order; `kind=None` for every kind."""
        return self._transfers("uploads", collection, kind)

    def downloads(
        self, collection: str | None = None, kind: str | None = "artifact"
    ) -> list[Transfer]:
        """The downloads in order; `kind=None` for every kind."""
        return self._transfers("downloads", collection, kind)

    def upload_bytes(
        self, collection: str | None = None, kind: str | None = "artifact"
    ) -> int:
        """The bytes uploaded; `kind=None` for every kind."""
        return sum(item.size for item in self.uploads(collection, kind))

    def versions(self, collection: str) -> list[Version]:
        """Every version of an artifact in the order of creation, pending ones too."""
        return [Version(**item) for item in self._call("versions", name=collection)]

    def version(self, name: str) -> Version:
        """The committed version called `collection:alias` (no alias: latest)."""
        return Version(**self._call("version", name=name))

    def used_by(self, run: str) -> list[Version]:
        """The versions that a run declared as its inputs."""
        return [Version(**item) for item in self._call("used_by", run=run)]

    def logged_by(self, run: str) -> list[Version]:
        """The versions that a run committed as its outputs."""
        return [Version(**item) for item in self._call("logged_by", run=run)]

    def runs(self) -> list[str]:
        """The ids of the runs."""
        return self._call("runs")

    def run(self, run: str) -> dict[str, Any]:
        """The data of a run.

        `entity`, `project`, `display_name`, `group`, `job_type`, `tags`, `state`,
        `config`, `summary`, `history` and the names of its `files`.
        """
        return self._call("run", run=run)

    def history(self, run: str) -> list[dict[str, Any]]:
        """The rows that a run logged, in order."""
        return self.run(run)["history"]

    def summary(self, run: str) -> dict[str, Any]:
        """The summary of a run."""
        return self.run(run)["summary"]

    def config(self, run: str) -> dict[str, Any]:
        """The config of a run as W&B keeps it: key -> {"value": ...}."""
        return self.run(run)["config"]

    def run_state(self, run: str) -> str:
        """`running`, `finished` or `failed`."""
        return self.run(run)["state"]

    def run_files(self, run: str) -> list[str]:
        """The names of the files uploaded to a run."""
        return self.run(run)["files"]

    def run_file(self, run: str, path: str) -> bytes:
        """The content of a file of a run."""
        return self._bytes("run_file", run=run, path=path)

    def resolve(self, version: Version | str, path: str) -> bytes:
        """The content of an entry of a version, references followed.

        Args:
            version: A version, or the name of a committed one (`val:v0`).
            path: The path of the entry in its manifest.

        Raises:
            LookupError: It does not lead to a file that was really uploaded.
        """
        name = version.id if isinstance(version, Version) else version
        return self._bytes("resolve", version=name, path=path)

    def table(self, version: Version | str, name: str) -> dict[str, Any]:
        """The content of the file of a table: `columns`, `data` and so on."""
        table: dict[str, Any] = json.loads(self.resolve(version, f"{name}.table.json"))
        return table

    def rows(self, version: Version | str, name: str) -> list[dict[str, Any]]:
        """The rows of a table of a version, by column."""
        table = self.table(version, name)
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]

    def resolve_ref(self, ref: str) -> bytes:
        """The content behind `wandb-artifact://` or `wandb-client-artifact://`.

        Raises:
            LookupError: It does not lead to a file that was really uploaded.
        """
        return self._bytes("resolve_ref", ref=ref)

    def stats(self) -> dict[str, Any]:
        """The counts of the server.

        `requests` by kind and `operations` by name; the number `refused` while down;
        the `faults` with the number of times that each `struck`; the root fields and
        URLs that the server does not have (`unknown`, `not_found`), and its `errors`.
        """
        return self._call("stats")

    @property
    def operations(self) -> dict[str, int]:
        """The number of requests of each GraphQL operation."""
        return self.stats()["operations"]

    @property
    def unknown(self) -> list[str]:
        """The requested root fields of GraphQL that the server does not have."""
        return self.stats()["unknown"]

    def fail(
        self,
        target: str | None = None,
        *,
        status: int = 500,
        drop: bool = False,
        collection: str | None = None,
        type: str | None = None,
        times: int | None = None,
        every: int = 1,
    ) -> int:
        """Make requests fail.

        Args:
            target: The name of a GraphQL operation, or a kind of request (`graphql`,
                `file_stream`, `upload`, `download`), or None for all.
            status: The HTTP status of the answer. If clients retry it, the answer tells
                them to do so at once.
            drop: Close the connection instead. An upload is interrupted half way, and
                not kept; a download is interrupted half way; any other request is
                carried out, so that only the answer is lost.
            collection: Only requests about this artifact.
            type: Only requests about artifacts of this type.
            times: The number of failures after which the fault stops.
            every: Let only each n-th matching request fail.

        Returns:
            The place of the fault in `stats()["faults"]`.
        """
        return self._call(
            "add_fault",
            target=target,
            status=status,
            drop=drop,
            collection=collection,
            type=type,
            times=times,
            every=every,
        )

    def delay(
        self,
        target: str | None = None,
        *,
        seconds: float,
        collection: str | None = None,
        type: str | None = None,
        times: int | None = None,
        every: int = 1,
    ) -> int:
        """Answer requests later; see `fail` for the arguments."""
        return self._call(
            "add_fault",
            target=target,
            seconds=seconds,
            collection=collection,
            type=type,
            times=times,
            every=every,
        )

    def faulted(self, fault: int) -> int:
        """The number of times that a fault struck."""
        return self.stats()["faults"][fault]["struck"]

    def clear_faults(self) -> None:
        """Let everything work again, except after `down()`."""
        self._call("clear_faults")

    def down(self) -> None:
        """Close every connection without an answer, until `up()`."""
        self._call("set_down", down=True)

    def up(self) -> None:
        """Answer again."""
        self._call("set_down", down=False)

    def reset(self) -> None:
        """Forget everything."""
        self._call("reset")

    def reset_counters(self) -> None:
        """Forget what was transferred and counted, but keep runs and artifacts."""
        self._call("reset_counters")

    def _transfers(
        self, direction: str, collection: str | None, kind: str | None
    ) -> list[Transfer]:
        items = [Transfer(**item) for item in self._call(direction)]
        return [
            item
            for item in items
            if collection in (None, item.collection) and kind in (None, item.kind)
        ]

    def _call(self, method: str, **arguments: Any) -> Any:
        return json.loads(self._bytes(method, **arguments))

    def _bytes(self, method: str, **arguments: Any) -> bytes:
        request = Request(
            f"{self.url}/_loopback/{method}", json.dumps(arguments).encode()
        )
        try:
            # Listing 300 versions with 1,000 files each takes more than a minute.
            with _OPENER.open(request, timeout=600) as response:
                return response.read()
        except HTTPError as error:
            message = error.read().decode()
            kind = LookupError if error.code == 404 else RuntimeError
            raise kind(message) from None


@contextmanager
def spawn() -> Iterator[Loopback]:
    """Run a server in a separate process."""
    path = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "loopback"],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Loopback(process.stdout.readline().strip())
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()
