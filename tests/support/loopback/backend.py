"""The requests of the server: their execution, counters and faults."""

import json
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from loopback import client
from loopback.graphql import GraphQLError, Operation
from loopback.schema import Schema
from loopback.store import (
    Collection,
    Manifest,
    NotFoundError,
    Run,
    Store,
    Version,
    from_hex,
)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    kind: str = "application/octet-stream"

    @classmethod
    def json(cls, value: Any, status: int = 200) -> "Answer":
        """An answer in JSON."""
        return cls(status, json.dumps(value).encode(), "application/json")


@dataclass(frozen=True)
class Target:
    """The subject of a request.

    `kind` is `graphql`, `file_stream`, `upload` or `download`, `operation` the name of
    the GraphQL operation; `owner` and `path` name the file that is transferred.
    """

    kind: str
    operation: str = ""
    collection: Collection | None = None
    owner: Version | Manifest | Run | None = None
    path: str = ""

    def transfer(self, data: bytes) -> client.Transfer:
        """The record of a finished transfer."""
        kinds = {Version: "artifact", Manifest: "manifest", Run: "run"}
        owner = self.owner.name if isinstance(self.owner, Run) else ""
        name = self.collection.name if self.collection else owner
        kind = kinds[type(self.owner)]
        return client.Transfer(time.time(), kind, name, self.path, len(data))


@dataclass
class Fault:
    """A fault of the requests that it matches; see `Loopback.fail`."""

    target: str | None
    collection: str | None
    type: str | None
    times: int | None
    every: int
    status: int = 0
    drop: bool = False
    seconds: float = 0
    seen: int = 0
    struck: int = 0
    active: bool = True

    def strikes(self, target: Target) -> bool:
        """Whether the fault strikes this request, which it counts."""
        about = target.collection
        if (
            not self.active
            or self.target not in (None, target.kind, target.operation)
            or self.collection not in (None, about and about.name)
            or self.type not in (None, about and about.type)
            or (self.times is not None and self.struck >= self.times)
        ):
            return False
        self.seen += 1
        hit = self.seen % self.every == 0
        self.struck += hit
        return hit


@dataclass
class Counters:
    """The counts of requests to the server."""

    requests: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    unknown: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    uploads: list[client.Transfer] = field(default_factory=list)
    downloads: list[client.Transfer] = field(default_factory=list)


class Backend:
    """The server without HTTP. Callers must hold `lock`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.RLock()
        self.is_down = False
        self.control = Control(self)
        self.control.reset()

    def start(self) -> None:
        """Begin with empty state."""
        self.store = Store()
        self.schema = Schema(self.store, self.url)
        self.counters = Counters()
        self.faults: list[Fault] = []

    def find(
        self, kind: str, parts: list[str], operation: Operation | None
    ) -> Target | None:
        """The subject of a request; `parts` are the pieces of its path."""
        if operation is not None:
            return Target(kind, operation.name, self._about(operation))
        store = self.store
        owner: Version | Manifest | Run | None = None
        path: list[str] = []
        match parts:
            case ["files", entity, project, run, "file_stream"]:
                owner = store.runs.get((entity, project, run))
            case ["storage", "run", entity, project, run, *path]:
                owner = store.runs.get((entity, project, run))
            case ["storage", "manifest", manifest_id]:
                owner = store.manifests.get(manifest_id)
            case ["storage", "artifact", hex_id, *path]:
                owner = store.versions.get(from_hex(hex_id))
            case ["artifactsV2", *pieces]:
                owner, path = self._by_digest(pieces)
        if owner is None:
            return None
        if isinstance(owner, Run):
            return Target(kind, "", None, owner, "/".join(path))
        if isinstance(owner, Manifest):
            return Target(kind, "", owner.version.collection, owner, owner.name)
        return Target(kind, "", owner.collection, owner, "/".join(path))

    def strike(self, target: Target | None, request: str) -> list[Fault]:
        """Count a request and return the faults that strike it."""
        if target is None:
            self.counters.not_found.append(request)
            return []
        self.counters.requests[target.kind] += 1
        if target.operation:
            self.counters.operations[target.operation] += 1
        return [fault for fault in self.faults if fault.strikes(target)]

    def execute(self, operation: Operation) -> Answer:
        """Carry out a GraphQL operation."""
        root = getattr(self.schema, operation.kind)
        self.counters.unknown += [
            f"{operation.kind} {name}"
            for name in operation.root_fields
            if name not in root and name != "__typename"
        ]
        try:
            return Answer.json({"data": operation.execute(root)})
        except (GraphQLError, NotFoundError) as error:
            message = str(error)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"{operation.name}: {error!r}"
            self.counters.errors.append(message)
        return Answer.json({"data": None, "errors": [{"message": message}]})

    def stream(self, target: Target, data: bytes) -> Answer:
        """Take in a request of a run's file stream."""
        assert isinstance(target.owner, Run)
        target.owner.receive(json.loads(data))
        return Answer.json({"exitcode": None, "limits": {}})

    def put(self, target: Target, data: bytes) -> Answer:
        """Keep an uploaded file."""
        owner = target.owner
        if isinstance(owner, Manifest):
            owner.put(data)
        elif isinstance(owner, Run):
            owner.files[target.path] = data
        elif isinstance(owner, Version):
            try:
                self.store.put_file(owner, target.path, data)
            except ValueError as error:
                return Answer(400, str(error).encode())
        self.counters.uploads.append(target.transfer(data))
        return Answer(200, b"")

    def get(self, target: Target) -> Answer:
        """The content of a file."""
        owner = target.owner
        if isinstance(owner, Manifest):
            data = owner.data or None
        elif isinstance(owner, Run):
            data = owner.files.get(target.path)
        else:
            data = self.store.files.get((owner.id if owner else "", target.path))
        if data is None:
            return Answer(404, f"{target.path} was not uploaded".encode())
        self.counters.downloads.append(target.transfer(data))
        return Answer(200, data)

    def _about(self, operation: Operation) -> Collection | None:
        """The artifact collection that an operation is about, for faults."""
        values = {**operation.variables, **operation.variables.get("input", {})}
        for spec in values.get("artifactFiles", [])[:1]:
            values |= spec
        names = values.get("artifactCollectionNames", [""])
        name = values.get("artifactCollectionName", names[0])
        if name:
            key = (values["entityName"], values["projectName"], name)
            new = Collection("", *key, type=values.get("artifactTypeName", ""))
            return self.store.collections.get(key, new)
        manifest = self.store.manifests.get(values.get("artifactManifestID", ""))
        if manifest is not None:
            return manifest.version.collection
        version = self.store.versions.get(values.get("artifactID", ""))
        return version.collection if version else None

    def _by_digest(self, pieces: list[str]) -> tuple[Version | None, list[str]]:
        """The file behind `/artifactsV2/.../<birth id>/<MD5 in hex>/...`.

        Clients of different versions add different parts before and after the two.
        """
        for version_id, digest in pairwise(pieces):
            path = self.store.digests.get((version_id, digest))
            if path is not None:
                return self.store.versions[version_id], [path]
        return None, []


class Control:
    """The requests to a server under `/_loopback/`; see `Loopback`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def _store(self) -> Store:
        return self._backend.store

    def reset(self) -> None:
        """Forget everything."""
        self._backend.start()

    def reset_counters(self) -> None:
        """Forget all counts."""
        self._backend.counters = Counters()

    def set_down(self, down: bool) -> None:
        """Refuse every request, or stop refusing."""
        self._backend.is_down = down

    def add_fault(self, **values: Any) -> int:
        """Add a fault and return its place."""
        self._backend.faults.append(Fault(**values))
        return len(self._backend.faults) - 1

    def clear_faults(self) -> None:
        """Disable all faults."""
        for fault in self._backend.faults:
            fault.active = False

    def stats(self) -> dict[str, Any]:
        """The counters and the faults."""
        counted = dict(vars(self._backend.counters))
        del counted["uploads"], counted["downloads"]
        return counted | {"faults": [vars(fault) for fault in self._backend.faults]}

    def uploads(self) -> list[dict[str, Any]]:
        """All finished uploads."""
        return [asdict(item) for item in self._backend.counters.uploads]

    def downloads(self) -> list[dict[str, Any]]:
        """All downloads."""
        return [asdict(item) for item in self._backend.counters.downloads]

    def versions(self, name: str) -> list[dict[str, Any]]:
        """The versions of the collections of that name."""
        return [
            self._record(version)
            for collection in self._store.collections.values()
            if collection.name == name
            for version in collection.versions
        ]

    def version(self, name: str) -> dict[str, Any]:
        """A committed version by name and alias."""
        return self._record(self._store.by_name(name))

    def used_by(self, run: str) -> list[dict[str, Any]]:
        """The inputs of a run."""
        return [self._record(version) for version in self._store.find_run(run).used]

    def logged_by(self, run: str) -> list[dict[str, Any]]:
        """The outputs of a run."""
        return [self._record(version) for version in self._store.find_run(run).logged]

    def runs(self) -> list[str]:
        """The ids of all runs."""
        return [run.name for run in self._store.runs.values()]

    def run(self, run: str) -> dict[str, Any]:
        """The data of a run, without artifacts and the contents of files."""
        found = self._store.find_run(run)
        names = ("entity", "project", "display_name", "group", "job_type", "tags")
        return {name: getattr(found, name) for name in names} | {
            "config": found.config,
            "summary": found.summary,
            "history": found.history,
            "state": found.state,
            "files": list(found.files),
        }

    def run_file(self, run: str, path: str) -> bytes:
        """The content of a file of a run."""
        files = self._store.find_run(run).files
        if path not in files:
            raise NotFoundError(f"run {run!r} has no file {path!r}, only {list(files)}")
        return files[path]

    def resolve(self, version: str, path: str) -> bytes:
        """The content of an entry, by the version's id or name."""
        found = self._store.versions.get(version) or self._store.by_name(version)
        return self._store.resolve(found, path)

    def resolve_ref(self, ref: str) -> bytes:
        """The content behind a reference."""
        return self._store.resolve_ref(ref)

    def _record(self, version: Version) -> dict[str, Any]:
        record = client.Version(
            id=version.id,
            commit_hash=version.commit_hash,
            collection=version.collection.name,
            type=version.collection.type,
            index=version.index,
            state=version.state,
            aliases=version.aliases,
            metadata=version.metadata,
            description=version.description,
            history_step=version.history_step,
            digest=version.digest,
            run=version.run.name if version.run else None,
            manifest=version.entries,
            files=[path for born, path in self._store.files if born == version.id],
        )
        return asdict(record)
