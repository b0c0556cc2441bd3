"""The data of the loopback server: runs, artifacts, and the bytes of files."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from loopback.graphql import GraphQLError


class NotFoundError(LookupError):
    """There is no upload or version of that name."""


def now() -> str:
    """The time in W&B's form."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def global_id(kind: str, number: int) -> str:
    """An id in W&B's form: base64 of `<kind>:<number>`."""
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def from_hex(hex_id: str) -> str:
    """The id that a URL holds in hexadecimal; empty if it holds none."""
    try:
        return base64.b64encode(bytes.fromhex(hex_id)).decode()
    except ValueError:
        return ""


def md5(data: bytes) -> str:
    """The MD5 digest as W&B's manifests hold it: in base64."""
    return base64.b64encode(hashlib.md5(data).digest()).decode()


@dataclass(eq=False)
class Run:
    """A run, with the lines of its file stream by file name."""

    id: str
    entity: str
    project: str
    name: str
    display_name: str = ""
    description: str | None = None
    notes: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    state: str = "running"
    created: str = field(default_factory=now)
    lines: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    used: list["Version"] = field(default_factory=list)
    logged: list["Version"] = field(default_factory=list)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of the history, in the order they were logged."""
        return [json.loads(line) for line in self.lines.get("wandb-history.jsonl", [])]

    def receive(self, request: dict[str, Any]) -> None:
        """Take in a request of the file stream."""
        for name, chunk in (request.get("files") or {}).items():
            content, offset = chunk["content"], chunk["offset"]
            lines = self.lines.setdefault(name, [])
            lines.extend([""] * (offset - len(lines)))
            lines[offset : offset + len(content)] = content
            if name == "wandb-summary.json":
                self.summary = json.loads(content[-1])
        if request.get("complete"):
            self.state = "failed" if request.get("exitcode") else "finished"


@dataclass(eq=False)
class Collection:
    """The versions of one artifact name in one project (W&B: a sequence)."""

    id: str
    entity: str
    project: str
    name: str
    type: str
    created: str = field(default_factory=now)
    versions: list["Version"] = field(default_factory=list)
    aliases: dict[str, "Version"] = field(default_factory=dict)

    @property
    def committed(self) -> list["Version"]:
        """The versions that were committed, in that order."""
        done = [version for version in self.versions if version.state == "COMMITTED"]
        return sorted(done, key=lambda version: version.index or 0)

    def find(self, alias: str) -> "Version | None":
        """The committed version with an alias, `v<N>` included, or a commit's hash."""
        by_index = {f"v{version.index}": version for version in self.committed}
        by_hash = {version.commit_hash: version for version in self.committed}
        return (by_hash | by_index | self.aliases).get(alias)


@dataclass(eq=False)
class Version:
    """One version of an artifact."""

    id: str
    collection: Collection
    digest: str
    run: Run | None
    client_id: str | None = None
    description: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    history_step: int | None = None
    tags: list[str] = field(default_factory=list)
    wanted_aliases: list[str] = field(default_factory=list)
    state: str = "PENDING"
    index: int | None = None
    created: str = field(default_factory=now)
    manifest: "Manifest | None" = None

    @property
    def commit_hash(self) -> str:
        """The name that W&B's pages have for it: 20 digits."""
        return hashlib.md5(self.id.encode()).hexdigest()[:20]

    @property
    def aliases(self) -> list[str]:
        """The aliases it has now, without `v<N>`."""
        return [name for name, at in self.collection.aliases.items() if at is self]

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        """The contents of its manifest: path -> digest, size, ref, birthArtifactID."""
        return self.manifest.contents if self.manifest else {}


@dataclass(eq=False)
class Manifest:
    """A manifest, empty until its file is uploaded."""

    id: str
    version: Version
    base: Version | None
    name: str
    digest: str = ""
    data: bytes = b""
    contents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def put(self, data: bytes) -> None:
        """Take in the manifest's file."""
        self.data = data
        self.contents = json.loads(data)["contents"]


class Store:
    """Everything one server knows. Not thread-safe: the server holds a lock."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str, str], Run] = {}
        self.collections: dict[tuple[str, str, str], Collection] = {}
        self.versions: dict[str, Version] = {}
        self.manifests: dict[str, Manifest] = {}
        self.clients: dict[str, Version | Collection] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.expected: dict[tuple[str, str], str] = {}
        self.digests: dict[tuple[str, str], str] = {}
        self._numbers: dict[str, int] = {}

    def new_id(self, kind: str) -> str:
        """The next id of a kind."""
        self._numbers[kind] = self._numbers.get(kind, 0) + 1
        return global_id(kind, self._numbers[kind])

    def upsert_run(
        self, entity: str, project: str, values: dict[str, Any]
    ) -> tuple[Run, bool]:
        """Create or update a run; the second answer says whether it is new."""
        runs = self.runs.values()
        run = next((r for r in runs if r.id == values.get("id")), None)
        name = values.get("name")
        run = run or self.runs.get((entity, project, name or ""))
        inserted = run is None
        if run is None:
            run_id = self.new_id("Run")
            name = name or f"run{len(self.runs) + 1}"
            run = Run(run_id, entity, project, name, display_name=name)
            self.runs[entity, project, name] = run
        plain = {
            "displayName": "display_name",
            "description": "description",
            "notes": "notes",
            "groupName": "group",
            "jobType": "job_type",
            "tags": "tags",
            "state": "state",
        }
        for key, attribute in plain.items():
            if values.get(key) is not None:
                setattr(run, attribute, values[key])
        for key, attribute in {"config": "config", "summaryMetrics": "summary"}.items():
            if values.get(key) is not None:
                setattr(run, attribute, json.loads(values[key]))
        return run, inserted

    def find_run(self, name: str) -> Run:
        """The run with an id, in whichever project."""
        for run in self.runs.values():
            if run.name == name:
                return run
        raise NotFoundError(f"no run {name!r}; there are {[r[2] for r in self.runs]}")

    def version(self, version_id: str) -> Version:
        """The version with an id."""
        if version_id not in self.versions:
            raise NotFoundError(f"no artifact has the id {version_id!r}")
        return self.versions[version_id]

    def by_name(self, name: str, entity: str = "", project: str = "") -> Version:
        """The committed version called `collection:alias`; no alias means latest."""
        collection_name, _, alias = name.partition(":")
        for collection in self.collections.values():
            place = (collection.entity, collection.project)
            if collection.name == collection_name and (
                not entity or place == (entity, project)
            ):
                version = collection.find(alias or "latest")
                if version is not None:
                    return version
        raise NotFoundError(f"no committed artifact is called {name!r}")

    def create_artifact(self, values: dict[str, Any]) -> Version:
        """Find or make the version that a client wants to save."""
        names = values.get("artifactCollectionNames") or [""]
        name = values.get("artifactCollectionName") or names[0]
        key = (values["entityName"], values["projectName"], name)
        kind = values["artifactTypeName"]
        collection = self.collections.get(key)
        if collection is None:
            collection = Collection(self.new_id("ArtifactCollection"), *key, kind)
            self.collections[key] = collection
        if collection.type != kind:
            raise GraphQLError(
                f"artifact {name!r} already exists with type {collection.type!r}; "
                f"cannot create a version with type {kind!r}"
            )
        aliases = [item["alias"] for item in values.get("aliases") or []]
        again = self.clients.get(values.get("clientID") or "")
        if isinstance(again, Version):
            return again
        if values.get("enableDigestDeduplication"):
            for version in collection.committed:
                if version.digest == values["digest"]:
                    collection.aliases.update(dict.fromkeys(aliases, version))
                    self._remember(values, version)
                    return version
        version = Version(
            self.new_id("Artifact"),
            collection,
            values["digest"],
            self.runs.get((*key[:2], values.get("runName") or "")),
            values.get("clientID"),
            values.get("description"),
            json.loads(values.get("metadata") or "{}"),
            values.get("historyStep"),
            [item["tagName"] for item in values.get("tags") or []],
            aliases,
        )
        self.versions[version.id] = version
        collection.versions.append(version)
        self._remember(values, version)
        return version

    def _remember(self, values: dict[str, Any], version: Version) -> None:
        if values.get("clientID"):
            self.clients[values["clientID"]] = version
        if values.get("sequenceClientID"):
            self.clients[values["sequenceClientID"]] = version.collection

    def create_manifest(
        self, version: Version, base: Version | None, name: str, digest: str
    ) -> Manifest:
        """Give a version a manifest, or update the one it has."""
        if version.manifest is None:
            manifest_id = self.new_id("ArtifactManifest")
            version.manifest = Manifest(manifest_id, version, base, name)
            self.manifests[manifest_id] = version.manifest
        version.manifest.digest = digest
        return version.manifest

    def request_file(self, version: Version, path: str, digest: str) -> Version:
        """The version whose file is to be used for `path`.

        That is `version` itself, whose file is then to be uploaded, or the one it was
        born in, when the base manifest has the same content at the same path.
        """
        base = version.manifest.base if version.manifest else None
        if base and base.state == "COMMITTED" and base.collection is version.collection:
            entry = base.entries.get(path, {})
            if entry.get("digest") == digest and not entry.get("ref"):
                return self.versions[entry["birthArtifactID"]]
        self.expected[version.id, path] = digest
        self.digests[version.id, base64.b64decode(digest).hex()] = path
        return version

    def put_file(self, version: Version, path: str, data: bytes) -> None:
        """Keep an uploaded file, if it has the announced content."""
        announced = self.expected.get((version.id, path))
        if md5(data) != announced:
            raise ValueError(
                f"{path}: the content's MD5 is {md5(data)}, announced was {announced}"
            )
        self.files[version.id, path] = data

    def commit(self, version: Version) -> None:
        """Give a version its index and aliases."""
        if version.state == "COMMITTED":
            return
        collection = version.collection
        version.index = len(collection.committed)
        version.state = "COMMITTED"
        for alias in ["latest", *version.wanted_aliases]:
            if not re.fullmatch(r"v\d+", alias):
                collection.aliases[alias] = version
        if version.run:
            version.run.logged.append(version)

    def use(self, run: Run, version: Version) -> None:
        """Record a version as an input of a run."""
        if version not in run.used:
            run.used.append(version)

    def resolve(self, version: Version, path: str) -> bytes:
        """The bytes of a manifest's entry, through references to other artifacts."""
        entry = version.entries.get(path)
        if entry is None:
            raise NotFoundError(f"{_label(version)} has no entry {path!r}")
        ref = entry.get("ref")
        if ref is None:
            data = self.files.get((entry["birthArtifactID"], path))
            if data is None:
                raise NotFoundError(f"{path!r} of {_label(version)} was not uploaded")
            return data
        if urlsplit(ref).scheme != "wandb-artifact":
            raise NotFoundError(
                f"{path!r} of {_label(version)} refers to {ref!r}; "
                "only wandb-artifact:// can be followed in a manifest"
            )
        return self.resolve_ref(ref)

    def resolve_ref(self, ref: str) -> bytes:
        """The bytes behind a `wandb-artifact://` or `wandb-client-artifact://` URL."""
        parts = urlsplit(ref)
        owner, _, alias = parts.netloc.partition(":")
        found: Version | Collection | None = None
        if parts.scheme == "wandb-client-artifact":
            found = self.clients.get(owner)
        elif parts.scheme == "wandb-artifact":
            found = self.versions.get(from_hex(owner))
        if isinstance(found, Collection):
            found = found.find(alias or "latest")
        if found is None or found.state != "COMMITTED":
            raise NotFoundError(f"{ref!r} does not name a committed artifact")
        return self.resolve(found, parts.path.removeprefix("/"))


def _label(version: Version) -> str:
    place = f"v{version.index}" if version.index is not None else version.state.lower()
    return f"{version.collection.name}:{place}"
