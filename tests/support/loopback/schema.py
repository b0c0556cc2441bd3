"""The part of W&B's GraphQL schema that the clients use, over a `Store`."""

import base64
import fnmatch
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from loopback.graphql import GraphQLError, connection
from loopback.store import Collection, Run, Store, Version

FEATURES = (
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILE_DOWNLOAD_HANDLER",
    "ARTIFACT_DIGEST_ALGORITHM",
    "ARTIFACT_TAGS",
    "ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID",
    "CLIENT_IDS",
    "FILESTREAM_GZIP",
    "LARGE_FILENAMES",
    "MARK_RUN_FILES_UPLOADED",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
)
"""The features of the server (names of `ServerFeature` in wandb's protocol)."""

FIELDS = {
    "Artifact": "aliases historyStep tags ttlDurationSeconds ttlIsInherited",
    "Project": "artifact artifactCollection artifactCollectionMembership artifactType",
    "Run": "projectId historyKeys",
    "ServerInfo": "cliVersionInfo features latestLocalVersionInfo",
    "ServerSettings": "",
}
INPUT_FIELDS = {
    "AddAliasesInput": "artifactID aliases",
    "CreateArtifactFileSpecInput": "artifactID name md5 mimetype artifactManifestID "
    "storagePath uploadPartsInput",
    "CreateArtifactInput": "entityName projectName artifactTypeName runName digest "
    "artifactCollectionName artifactCollectionNames digestAlgorithm description "
    "aliases tags metadata historyStep enableDigestDeduplication distributedID "
    "clientID sequenceClientID storageRegion ttlDurationSeconds",
    "UseArtifactInput": "entityName projectName runName artifactID usedAs "
    "artifactEntityName artifactProjectName",
}
"""The types that older clients ask about before they use their fields."""

Object = dict[str, Any]
DEFAULT_ENTITY = "loopback"
DEFAULT_PROJECT = "uncategorized"


class Schema:
    """The functions behind the root fields, in `query` and `mutation`."""

    def __init__(self, store: Store, url: str) -> None:
        self._store = store
        self._url = url
        self.query: dict[str, Callable[..., Any]] = {
            "__schema": lambda: {"queryType": self._type("Query")},
            "__type": self._type,
            "artifact": lambda id: self._artifact(store.versions.get(id)),
            "artifactCollection": self._collection_by_id,
            "clientIDMapping": self._client_id_mapping,
            "entity": _entity,
            "model": self._project,
            "project": self._project,
            "serverInfo": _server_info,
            "viewer": _viewer,
        }
        self.mutation: dict[str, Callable[..., Any]] = {
            "addAliases": self._add_aliases,
            "commitArtifact": self._commit_artifact,
            "createArtifact": self._create_artifact,
            "createArtifactFiles": self._create_artifact_files,
            "createArtifactManifest": self._create_artifact_manifest,
            "createRunFiles": self._create_run_files,
            "deleteAliases": self._delete_aliases,
            "deleteArtifact": self._delete_artifact,
            "markRunFilesUploaded": lambda input: {"success": True},
            "updateArtifact": self._update_artifact,
            "updateArtifactManifest": self._update_artifact_manifest,
            "upsertBucket": self._upsert_bucket,
            "useArtifact": self._use_artifact,
        }

    def _type(self, name: str) -> Object | None:
        """Introspection, as far as old clients use it."""
        roots = {"Query": self.query, "Mutation": self.mutation}
        if name in roots or name in FIELDS:
            names = roots[name] if name in roots else FIELDS[name].split()
            fields = [{"name": field, "args": []} for field in names]
            return {"name": name, "fields": fields}
        if name in INPUT_FIELDS:
            names = INPUT_FIELDS[name].split()
            return {"name": name, "inputFields": [{"name": field} for field in names]}
        return None

    # Objects of projects and runs.

    def _project(
        self, name: str = DEFAULT_PROJECT, entityName: str = DEFAULT_ENTITY
    ) -> Object | None:
        store, place = self._store, (entityName, name)
        runs = [run for key, run in store.runs.items() if key[:2] == place]
        collections = [
            item for key, item in store.collections.items() if key[:2] == place
        ]
        if not runs and not collections:
            return None

        def one_run(name: str, **_: Any) -> Object | None:
            run = store.runs.get((*place, name))
            return self._run(run) if run else None

        def all_runs(order: str = "", **page: Any) -> Object:
            ordered = runs[::-1] if order.startswith("-") else runs
            return _nodes(ordered, self._run)(**page)

        def membership(name: str, **_: Any) -> Object | None:
            name, alias = (*name.split(":"), "latest")[:2]
            found = store.collections.get((*place, name))
            return self._membership(found.find(alias) if found else None)

        def collection(name: str) -> Object | None:
            return self._collection(store.collections.get((*place, name)))

        def artifact_type(name: str) -> Object | None:
            members = [item for item in collections if item.type == name]
            if not members:
                return None
            return {
                "__typename": "ArtifactType",
                "id": "/".join((*place, name)),
                "name": name,
                "createdAt": members[0].created,
                "artifactCollection": collection,
                "artifactCollections": _nodes(members, self._collection),
            }

        types = list(dict.fromkeys(item.type for item in collections))
        return _project_info(*place) | {
            "readOnly": False,
            "run": one_run,
            "bucket": one_run,
            "runs": all_runs,
            "runCount": len(runs),
            "artifact": lambda name, **_: (membership(name) or {}).get("artifact"),
            "artifactCollection": collection,
            "artifactCollectionMembership": membership,
            "artifactCollections": _nodes(collections, self._collection),
            "artifactType": artifact_type,
            "artifactTypes": _nodes(types, artifact_type),
        }

    def _run(self, run: Run) -> Object:
        def lines(name: str) -> list[str]:
            return run.lines.get(name, [])

        def history(
            minStep: int = 0, maxStep: float = float("inf"), **_: Any
        ) -> list[str]:
            rows = zip(lines("wandb-history.jsonl"), run.history, strict=True)
            return [line for line, row in rows if minStep <= row["_step"] < maxStep]

        def history_keys() -> Object:
            rows = run.history
            return {
                "lastStep": rows[-1]["_step"] if rows else -1,
                "keys": {key: {} for row in rows for key in row},
            }

        def files(
            names: list[str] | None = None, pattern: str | None = None, **page: Any
        ) -> Object:
            glob = (pattern or "%").replace("%", "*")
            chosen = [
                name
                for name in run.files
                if (name in names if names else fnmatch.fnmatchcase(name, glob))
            ]
            return _nodes(chosen, lambda name: self._run_file(run, name))(**page)

        return {
            "__typename": "Run",
            "id": run.id,
            "projectId": "1",
            "name": run.name,
            "displayName": run.display_name,
            "description": run.description,
            "notes": run.notes,
            "group": run.group,
            "jobType": run.job_type,
            "tags": run.tags,
            "state": run.state,
            "stopped": False,
            "readOnly": False,
            "createdAt": run.created,
            "heartbeatAt": run.created,
            "project": _project_info(run.entity, run.project),
            "user": {"name": "Loopback", "username": DEFAULT_ENTITY},
            "config": json.dumps(run.config),
            "wandbConfig": lambda keys: json.dumps(_internal_config(run, keys)),
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "historyKeys": history_keys,
            "historyLineCount": len(lines("wandb-history.jsonl")),
            "eventsLineCount": len(lines("wandb-events.jsonl")),
            "logLineCount": len(lines("output.log")),
            "historyTail": json.dumps(lines("wandb-history.jsonl")[-1:]),
            "eventsTail": json.dumps(lines("wandb-events.jsonl")[-1:]),
            "history": history,
            "events": lines("wandb-events.jsonl"),
            "sampledHistory": lambda specs: [
                _sample(run.history, json.loads(spec)) for spec in specs
            ],
            "parquetHistory": lambda liveKeys: {"parquetUrls": [], "liveData": []},
            "files": files,
            "fileCount": len(run.files),
            "outputArtifacts": _nodes(run.logged, self._artifact),
            "inputArtifacts": _nodes(run.used, self._artifact),
        }

    def _run_file(self, run: Run, name: str) -> Object:
        url = self._run_file_url(run, name)
        return {
            "__typename": "File",
            "id": f"{run.id}/{name}",
            "name": name,
            "url": url,
            "directUrl": url,
            "uploadUrl": url,
            "sizeBytes": len(run.files.get(name, b"")),
            "updatedAt": run.created,
        }

    def _run_file_url(self, run: Run, name: str) -> str:
        path = "/".join((run.entity, run.project, run.name, name))
        return f"{self._url}/storage/run/{quote(path)}"

    # Objects of artifacts.

    def _collection_by_id(self, id: str) -> Object | None:
        found = (item for item in self._store.collections.values() if item.id == id)
        return self._collection(next(found, None))

    def _collection(self, collection: Collection | None) -> Object | None:
        if collection is None:
            return None

        def artifacts(order: str = "", **page: Any) -> Object:
            step = 1 if order and not order.startswith("-") else -1
            return connection(
                collection.committed[::step],
                lambda item: {
                    "version": f"v{item.index}",
                    "node": self._artifact(item),
                },
            )(**page)

        return {
            "__typename": "ArtifactSequence",
            "id": collection.id,
            "name": collection.name,
            "createdAt": collection.created,
            "state": "READY",
            "project": _project_info(collection.entity, collection.project),
            "defaultArtifactType": {"name": collection.type},
            "tags": _nodes([], dict)(),
            "latestArtifact": lambda: self._artifact(collection.find("latest")),
            "aliases": _nodes(list(collection.aliases), _alias),
            "artifacts": artifacts,
            "artifactMembership": lambda aliasName: self._membership(
                collection.find(aliasName)
            ),
        }

    def _membership(self, version: Version | None) -> Object | None:
        if version is None:
            return None
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": f"{version.id}/membership",
            "versionIndex": version.index,
            "commitHash": version.commit_hash,
            "createdAt": version.created,
            "aliases": self._aliases(version),
            "artifactCollection": self._collection(version.collection),
            "artifact": self._artifact(version),
            "files": self._files(version),
        }

    def _aliases(self, version: Version) -> list[Object]:
        names = [*version.aliases]
        if version.index is not None:
            names.append(f"v{version.index}")
        collection = self._collection(version.collection)
        return [_alias(name) | {"artifactCollection": collection} for name in names]

    def _artifact(self, version: Version | None) -> Object | None:
        if version is None:
            return None

        def users(**page: Any) -> Object:
            runs = [run for run in self._store.runs.values() if version in run.used]
            return _nodes(runs, self._run)(**page)

        return {
            "__typename": "Artifact",
            "id": version.id,
            "digest": version.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "state": version.state,
            "versionIndex": version.index,
            "commitHash": version.commit_hash,
            "description": version.description,
            "metadata": json.dumps(version.metadata),
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [
                {"__typename": "Tag", "id": name, "name": name} for name in version.tags
            ],
            "historyStep": version.history_step,
            "size": lambda: sum(e.get("size") or 0 for e in version.entries.values()),
            "fileCount": len(version.entries),
            "createdAt": version.created,
            "updatedAt": version.created,
            "artifactType": {"name": version.collection.type},
            "artifactSequence": self._collection(version.collection),
            "aliases": lambda: self._aliases(version),
            "artifactMemberships": _nodes([version], self._membership),
            "currentManifest": self._manifest(version),
            "files": self._files(version),
            "filesByManifestEntries": lambda entries, **_: self._files(version)(
                names=[entry["name"] for entry in entries]
            ),
            "usedBy": users,
            "createdBy": lambda: version.run and self._run(version.run),
        }

    def _files(self, version: Version) -> Callable[..., Object]:
        def page(names: list[str] | None = None, **page: Any) -> Object:
            wanted = version.entries if names is None else dict.fromkeys(names)
            chosen = [path for path in version.entries if path in wanted]
            return _nodes(chosen, lambda path: self._file(version, path))(**page)

        return page

    def _file(self, version: Version, path: str) -> Object:
        entry = version.entries[path]
        url = entry.get("ref") or self._file_url(entry["birthArtifactID"], path)
        return {
            "__typename": "File",
            "id": f"{version.id}/{path}",
            "name": path,
            "displayName": path,
            "url": url,
            "directUrl": url,
            "sizeBytes": entry.get("size") or 0,
            "digest": entry["digest"],
            "md5": entry["digest"],
            "updatedAt": version.created,
        }

    def _file_url(self, artifact_id: str, path: str) -> str:
        hex_id = base64.b64decode(artifact_id).hex()
        return f"{self._url}/storage/artifact/{hex_id}/{quote(path)}"

    def _manifest(self, version: Version) -> Object | None:
        manifest = version.manifest
        if manifest is None:
            return None
        url = f"{self._url}/storage/manifest/{quote(manifest.id)}"
        file = {
            "__typename": "File",
            "id": manifest.id,
            "directUrl": url,
            "uploadUrl": url,
            "uploadHeaders": [],
        }
        return {
            "__typename": "ArtifactManifest",
            "id": manifest.id,
            "digest": manifest.digest,
            "file": file,
        }

    # Other queries.

    def _client_id_mapping(self, clientID: str) -> Object | None:
        found = self._store.clients.get(clientID)
        return {"serverID": found.id} if found else None

    # Mutations.

    def _upsert_bucket(self, input: Object) -> Object:
        entity = input.get("entityName") or DEFAULT_ENTITY
        project = input.get("modelName") or DEFAULT_PROJECT
        run, inserted = self._store.upsert_run(entity, project, input)
        return {"bucket": self._run(run), "inserted": inserted}

    def _find_run(self, input: Object, name: str = "runName") -> Run:
        key = (input["entityName"], input["projectName"], input[name])
        if key not in self._store.runs:
            raise GraphQLError(f"there is no run {'/'.join(key)}")
        return self._store.runs[key]

    def _create_run_files(self, input: Object) -> Object:
        run = self._find_run(input, "runName" if "runName" in input else "run")
        return {
            "runID": run.id,
            "uploadHeaders": [],
            "files": [self._run_file(run, name) for name in input["files"]],
        }

    def _create_artifact(self, input: Object) -> Object:
        # A run that was recorded without an entity is sent without one.
        entity = input.get("entityName") or DEFAULT_ENTITY
        version = self._store.create_artifact(input | {"entityName": entity})
        return {"artifact": self._artifact(version)}

    def _create_artifact_manifest(self, input: Object) -> Object:
        version = self._store.version(input["artifactID"])
        base = self._store.versions.get(input.get("baseArtifactID") or "")
        self._store.create_manifest(version, base, input["name"], input["digest"])
        return {"artifactManifest": self._manifest(version)}

    def _update_artifact_manifest(self, input: Object) -> Object:
        manifest = self._store.manifests[input["artifactManifestID"]]
        manifest.digest = input.get("digest") or manifest.digest
        return {"artifactManifest": self._manifest(manifest.version)}

    def _create_artifact_files(self, input: Object) -> Object:
        def requested(spec: Object) -> Object:
            version = self._store.version(spec["artifactID"])
            path = spec["name"]
            born = self._store.request_file(version, path, spec["md5"])
            return {
                "__typename": "File",
                "id": f"{born.id}/{path}",
                "name": path,
                "displayName": path,
                "storagePath": f"wandb_artifacts/{born.id}/{path}",
                "uploadUrl": self._file_url(born.id, path) if born is version else None,
                "uploadHeaders": [],
                "artifact": self._artifact(born),
            }

        specs = input["artifactFiles"]
        return {"files": _nodes([requested(spec) for spec in specs], dict)()}

    def _commit_artifact(self, input: Object) -> Object:
        version = self._store.version(input["artifactID"])
        self._store.commit(version)
        return {"artifact": self._artifact(version)}

    def _use_artifact(self, input: Object) -> Object:
        version = self._store.version(input["artifactID"])
        self._store.use(self._find_run(input), version)
        return {"artifact": self._artifact(version)}

    def _update_artifact(self, input: Object) -> Object:
        version = self._store.version(input["artifactID"])
        if input.get("metadata") is not None:
            version.metadata = json.loads(input["metadata"])
        if input.get("description") is not None:
            version.description = input["description"]
        if input.get("aliases") is not None:
            for alias in version.aliases:
                del version.collection.aliases[alias]
            self._add_aliases(input)
        return {"artifact": self._artifact(version)}

    def _add_aliases(self, input: Object) -> Object:
        version = self._store.version(input["artifactID"])
        for item in input["aliases"]:
            version.collection.aliases[item["alias"]] = version
        return {"success": True}

    def _delete_aliases(self, input: Object) -> Object:
        version = self._store.version(input["artifactID"])
        for item in input["aliases"]:
            version.collection.aliases.pop(item["alias"], None)
        return {"success": True}

    def _delete_artifact(self, input: Object) -> Object:
        version = self._store.version(input["artifactID"])
        for alias in version.aliases:
            del version.collection.aliases[alias]
        version.state = "DELETED"
        return {"artifact": self._artifact(version)}


def _nodes(
    items: list[Any], node: Callable[[Any], Object | None]
) -> Callable[..., Object]:
    return connection(items, lambda item: {"node": node(item)})


def _entity(name: str = DEFAULT_ENTITY) -> Object:
    return {"__typename": "Entity", "id": name, "name": name}


def _project_info(entity: str, name: str) -> Object:
    return {
        "__typename": "Project",
        "id": f"{entity}/{name}",
        "internalId": "1",
        "name": name,
        "entityName": entity,
        "entity": _entity(entity),
    }


def _alias(name: str) -> Object:
    return {"__typename": "ArtifactAlias", "id": name, "alias": name}


def _server_info() -> Object:
    return {
        "cliVersionInfo": {"max_cli_version": "99.0.0", "min_cli_version": "0.1.0"},
        "features": [{"name": name, "isEnabled": True} for name in FEATURES],
    }


def _viewer() -> Object:
    return {
        "__typename": "User",
        "id": "VXNlcjox",
        "name": "Loopback",
        "username": DEFAULT_ENTITY,
        "entity": DEFAULT_ENTITY,
        "email": "loopback@example.com",
        "admin": False,
        "flags": "{}",
        "teams": _nodes([], dict)(),
        "apiKeys": _nodes([], dict)(),
    }


def _internal_config(run: Run, keys: list[str]) -> Object:
    values = (run.config.get("_wandb") or {}).get("value", {})
    return {key: values[key] for key in keys if key in values}


def _sample(history: list[Object], spec: Object) -> list[Object]:
    keys = spec["keys"]
    low, high = spec.get("minStep", 0), spec.get("maxStep", float("inf"))
    rows = [
        {key: row[key] for key in keys}
        for row in history
        if all(key in row for key in keys) and low <= row["_step"] <= high
    ]
    return rows[: spec.get("samples", len(rows))]
