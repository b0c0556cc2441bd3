"""The loopback backend, proved with the real wandb client."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

from loopback import Loopback, spawn
from loopback.environment import ENTITY, PROJECT
from loopback.graphql import connection, parse_operation

pytestmark = pytest.mark.once

Sync = Callable[[Path | str], str]


@pytest.fixture
def server(loopback: Loopback) -> Iterator[Loopback]:
    """The backend; the client must have asked it for nothing that it does not have."""
    yield loopback
    stats = loopback.stats()
    assert stats["unknown"] == []
    assert stats["errors"] == []
    assert stats["not_found"] == []


def images(number: int = 4, seed: int = 0) -> list[wandb.Image]:
    pixels = np.random.default_rng(seed).integers(0, 256, (number, 8, 6, 3), np.uint8)
    return [wandb.Image(image) for image in pixels]


def table_artifact(seed: int = 0, name: str = "val") -> wandb.Artifact:
    rows = [[index, image] for index, image in enumerate(images(seed=seed))]
    artifact = wandb.Artifact(name, type="dataset", metadata={"seed": seed})
    artifact.add(wandb.Table(["idx", "image"], data=rows), "val_data")
    return artifact


def text_artifact(name: str = "text", **texts: str) -> wandb.Artifact:
    artifact = wandb.Artifact(name, type="text")
    for key, text in texts.items():
        with artifact.new_file(f"{key}.txt") as file:
            file.write(text)
    return artifact


def log_and_wait(run: wandb.Run, artifact: wandb.Artifact, **options: Any) -> None:
    run.log_artifact(artifact, **options)
    artifact.wait()


def forget_downloads(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let wandb find nothing in its cache of files."""
    monkeypatch.setenv("WANDB_CACHE_DIR", str(folder))


def test_a_table_comes_back_bit_for_bit(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wandb.init() as run:
        artifact = table_artifact()
        log_and_wait(run, artifact, aliases=["best"])
    (version,) = server.versions("val")
    assert (version.index, version.state) == (0, "COMMITTED")
    assert (version.type, version.run) == ("dataset", run.id)
    assert set(version.aliases) == {"latest", "best"}
    assert version.metadata == {"seed": 0}
    assert sorted(version.files) == sorted(version.manifest)
    uploads = server.uploads("val")
    assert len(uploads) == len(version.manifest) == 5
    assert server.upload_bytes("val") == sum(item.size for item in uploads)

    forget_downloads(monkeypatch, tmp_path / "fresh")
    monkeypatch.setenv("WANDB_ARTIFACT_FETCH_FILE_URL_BATCH_SIZE", "2")
    fetched = wandb.Api().artifact("val:best")
    folder = Path(fetched.download(str(tmp_path / "down")))
    for path in version.manifest:
        assert (folder / path).read_bytes() == server.resolve(version, path)
    assert len(server.downloads("val")) == 5
    table = fetched.get("val_data")
    pixels = np.array([np.asarray(image.image) for image in table.get_column("image")])
    assert (pixels == np.array([np.asarray(image.image) for image in images()])).all()


def test_names_and_aliases_lead_to_versions(server: Loopback) -> None:
    with wandb.init() as run:
        for number in range(3):
            aliases = ["best"] if number < 2 else None
            log_and_wait(run, text_artifact(a=f"{number}"), aliases=aliases)
    api = wandb.Api()
    for name, index in {"latest": 2, "best": 1, "v0": 0, "v2": 2}.items():
        assert api.artifact(f"{ENTITY}/{PROJECT}/text:{name}").version == f"v{index}"
        assert server.version(f"text:{name}").index == index
    assert [version.aliases for version in server.versions("text")] == [
        *([], ["best"], ["latest"])
    ]
    assert api.artifact_exists("text:v2")
    assert not api.artifact_exists("text:v3")
    listed = [item.version for item in api.artifacts("text", "text")]
    assert listed == ["v2", "v1", "v0"]
    changed = api.artifact("text:v0")
    changed.aliases.append("first")
    changed.metadata["seen"] = True
    changed.save()
    assert server.version("text:first").metadata == {"seen": True}


def test_the_same_content_makes_no_second_version(server: Loopback) -> None:
    for _ in range(2):
        with wandb.init() as run:
            run.use_artifact(table_artifact(), aliases=["used"])
        assert [version.index for version in server.used_by(run.id)] == [0]
    assert len(server.versions("val")) == 1
    assert len(server.uploads("val")) == 5


def test_a_new_version_uploads_what_changed(server: Loopback) -> None:
    with wandb.init() as run:
        log_and_wait(run, text_artifact(a="a", b="b"))
        log_and_wait(run, text_artifact(a="a", b="changed"))
    first, second = server.versions("text")
    assert [item.path for item in server.uploads("text")][2:] == ["b.txt"]
    assert second.files == ["b.txt"]
    assert second.manifest["a.txt"]["birthArtifactID"] == first.id
    assert server.resolve(second, "a.txt") == b"a"
    assert server.resolve("text:latest", "b.txt") == b"changed"


def test_references_resolve(server: Loopback) -> None:
    with wandb.init() as run:
        source = text_artifact("source", a="by id", b="by client id")
        log_and_wait(run, source)
        user = wandb.Artifact("user", type="text")
        user.add_reference(source.get_entry("a.txt").ref_url(), "a.txt")
        by_client = f"wandb-client-artifact://{source._client_id}/b.txt"
        user.add_reference(by_client, "b.txt")
        log_and_wait(run, user)
    (version,) = server.versions("user")
    assert version.files == []
    assert server.resolve(version, "a.txt") == b"by id"
    assert server.resolve(version, "b.txt") == b"by client id"
    assert server.resolve_ref(by_client) == b"by client id"
    folder = Path(wandb.Api().artifact("user:latest").download())
    assert (folder / "b.txt").read_bytes() == b"by client id"


@pytest.mark.parametrize(
    "ref",
    [
        "wandb-artifact://00/a.txt",
        "wandb-artifact://no-hex/a.txt",
        "wandb-client-artifact://nobody/a.txt",
        "https://example.com/a.txt",
    ],
)
def test_what_does_not_resolve_raises(server: Loopback, ref: str) -> None:
    with pytest.raises(LookupError, match="does not name a committed artifact"):
        server.resolve_ref(ref)
    with pytest.raises(LookupError, match="no committed artifact is called"):
        server.resolve("val:v0", "a.txt")


def test_an_artifact_can_be_used(server: Loopback) -> None:
    with wandb.init() as maker:
        log_and_wait(maker, text_artifact(a="a"))
    with wandb.init() as user:
        found = user.use_artifact("text:latest", type="text")
        with pytest.raises(wandb.errors.CommError, match="is of type 'text'"):
            user.use_artifact("text:latest", type="model")
    assert found.used_by()[0].id == user.id
    assert found.logged_by().id == maker.id
    (used,) = wandb.Api().run(f"{ENTITY}/{PROJECT}/{user.id}").used_artifacts()
    (logged,) = wandb.Api().run(f"{ENTITY}/{PROJECT}/{maker.id}").logged_artifacts()
    assert used.id == logged.id == server.versions("text")[0].id
    assert [version.id for version in server.used_by(user.id)] == [used.id]
    assert [version.id for version in server.logged_by(maker.id)] == [used.id]


def test_the_type_of_a_name_is_fixed(server: Loopback) -> None:
    with wandb.init() as run:
        log_and_wait(run, text_artifact(a="a"))
        other = wandb.Artifact("text", type="model")
        with pytest.raises(ValueError, match="already exists with type"):
            run.log_artifact(other).wait()
    assert len(server.versions("text")) == 1


def test_history_summary_and_files_are_seen(server: Loopback, tmp_path: Path) -> None:
    rows = [{"epoch": epoch, "loss": 1 / (epoch + 1)} for epoch in range(5)]
    with wandb.init(config={"lr": 0.5}, tags=["a"]) as run:
        run.define_metric("loss", step_metric="epoch")
        for row in rows:
            run.log(row)
        run.log({"image": images(1)[0]})
    seen = [{key: row[key] for key in rows[0]} for row in server.history(run.id)[:5]]
    assert seen == rows
    assert server.summary(run.id)["epoch"] == 4
    assert server.config(run.id)["lr"] == {"value": 0.5}
    assert server.run_state(run.id) == "finished"
    (media,) = [path for path in server.run_files(run.id) if "media/images" in path]
    assert server.run_file(run.id, media).startswith(b"\x89PNG")
    public = wandb.Api().run(f"{ENTITY}/{PROJECT}/{run.id}")
    assert public.summary["loss"] == rows[-1]["loss"]
    assert public.config == {"lr": 0.5}
    assert len(list(public.scan_history())) == 6
    scanned = public.scan_history(["epoch", "loss"])
    assert [{key: row[key] for key in rows[0]} for row in scanned] == rows
    assert public.history(pandas=False)[0]["loss"] == 1.0
    with public.file(media).download(str(tmp_path)) as file:
        assert Path(file.name).read_bytes() == server.run_file(run.id, media)
    assert [item.id for item in wandb.Api().runs(f"{ENTITY}/{PROJECT}")] == [run.id]


def test_a_run_can_be_resumed(server: Loopback) -> None:
    with wandb.init(id="again") as run:
        run.log({"a": 1})
    with wandb.init(id="again", resume="must") as run:
        assert run.starting_step == 1
        run.log({"a": 2})
    assert [row["a"] for row in server.history("again")] == [1, 2]
    assert [row["_step"] for row in server.history("again")] == [0, 1]


def test_a_failed_run_is_seen(server: Loopback) -> None:
    run = wandb.init()
    run.finish(exit_code=3)
    assert server.run_state(run.id) == "failed"


def test_offline_runs_can_be_synced(server: Loopback, sync: Sync) -> None:
    """In one run, wandb-core may send a reference before the artifact it refers to."""
    source = table_artifact()
    with wandb.init(mode="offline") as first:
        first.log_artifact(source)
    with wandb.init(mode="offline") as run:
        user = wandb.Artifact("pred", type="evaluation")
        path = sorted(path for path in source.manifest.entries if "media" in path)[0]
        user.add_reference(f"wandb-client-artifact://{source._client_id}/{path}", "a")
        run.log_artifact(user, aliases=["epoch_0"])
        for step in range(3):
            run.log({"step": step})
    assert server.stats()["requests"] == {}
    assert server.runs() == []
    output = sync(first.dir) + sync(run.dir)
    assert server.runs() == [first.id, run.id], output
    assert server.run_state(run.id) == "finished"
    assert [row["step"] for row in server.history(run.id)] == [0, 1, 2]
    assert len(server.uploads("val")) == 5
    (version,) = server.versions("pred")
    assert version.state == "COMMITTED"
    assert "epoch_0" in version.aliases
    assert server.resolve(version, "a") == server.resolve("val:v0", path)


def test_a_sync_that_fails_raises(server: Loopback, sync: Sync, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="wandb sync ended with"):
        sync(tmp_path / "nothing")
    assert server.runs() == []


def test_operations_can_fail_for_a_while(server: Loopback) -> None:
    fault = server.fail("CreateArtifact", collection="val", status=503, times=2)
    other = server.fail("CreateArtifact", type="model", status=503)
    with wandb.init() as run:
        log_and_wait(run, table_artifact())
    assert server.faulted(fault) == 2
    assert server.faulted(other) == 0
    assert server.operations["CreateArtifact"] == 3
    assert [version.state for version in server.versions("val")] == ["COMMITTED"]


@pytest.mark.parametrize("target", ["upload", "graphql", "file_stream"])
def test_every_nth_request_can_fail(server: Loopback, target: str) -> None:
    fault = server.fail(target, every=2, status=500)
    with wandb.init() as run:
        log_and_wait(run, table_artifact())
        run.log({"a": 1})
    assert server.faulted(fault) >= 1
    assert len(server.uploads("val")) == 5
    assert server.history(run.id)[0]["a"] == 1


def test_a_cut_upload_is_not_kept(server: Loopback) -> None:
    fault = server.fail("upload", collection="val", drop=True, times=3)
    with wandb.init() as run:
        log_and_wait(run, table_artifact())
    assert server.faulted(fault) == 3
    assert len(server.uploads("val")) == 5
    assert server.stats()["requests"]["upload"] >= 8


def test_downloads_can_fail_for_a_while(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wandb.init() as run:
        log_and_wait(run, text_artifact(a="a", b="b"))
    forget_downloads(monkeypatch, tmp_path / "fresh")
    artifact = wandb.Api().artifact("text:v0")
    assert sorted(artifact.manifest.entries) == ["a.txt", "b.txt"]
    fault = server.fail("download", collection="text", status=503, times=2)
    folder = Path(artifact.download(str(tmp_path / "down")))
    assert server.faulted(fault) == 2
    assert (folder / "a.txt").read_text() == "a"
    assert len(server.downloads()) == 2


def test_a_lost_answer_makes_no_second_version(server: Loopback) -> None:
    fault = server.fail("CreateArtifact", drop=True, times=1)
    with wandb.init() as run:
        log_and_wait(run, table_artifact())
    assert server.faulted(fault) == 1
    assert [version.state for version in server.versions("val")] == ["COMMITTED"]


def test_what_is_never_uploaded_stays_pending(server: Loopback) -> None:
    server.fail("CommitArtifact", status=400)
    with wandb.init() as run:
        artifact = run.log_artifact(table_artifact())
        with pytest.raises(ValueError, match="400"):
            artifact.wait()
    (version,) = server.versions("val")
    assert (version.state, version.index) == ("PENDING", None)
    with pytest.raises(LookupError, match="no committed artifact"):
        server.version("val")


def test_answers_can_be_delayed(server: Loopback) -> None:
    fault = server.delay("CommitArtifact", seconds=0.3, times=1)
    with wandb.init() as run:
        start = time.monotonic()
        log_and_wait(run, text_artifact(a="a"))
        assert time.monotonic() - start >= 0.3
    assert server.faulted(fault) == 1


def test_the_server_can_be_down(server: Loopback) -> None:
    with wandb.init() as run:
        server.down()
        run.log({"a": 1})
        deadline = time.monotonic() + 20
        while not server.stats()["refused"]:
            assert time.monotonic() < deadline, "nothing was sent"
            time.sleep(0.01)
        assert server.history(run.id) == []
        server.up()
    assert [row["a"] for row in server.history(run.id)] == [1]
    assert server.run_state(run.id) == "finished"


def test_a_server_in_another_process_is_the_same(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spawn() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        fault = server.fail("upload", every=3, status=503)
        with wandb.init() as run:
            log_and_wait(run, table_artifact())
        wandb.teardown()
        (version,) = server.versions("val")
        assert len(server.uploads("val")) == len(version.manifest)
        assert server.resolve(version, "val_data.table.json").startswith(b"{")
        assert server.faulted(fault) > 0
        server.reset_counters()
        assert server.uploads("val") == []
        assert len(server.versions("val")) == 1
        server.reset()
        assert server.versions("val") == []
    assert loopback.runs() == []


def test_the_environment_is_isolated(server: Loopback, tmp_path: Path) -> None:
    with wandb.init() as run:
        settings = run.settings
        assert settings.base_url == server.url
        assert Path(run.dir).is_relative_to(tmp_path)
        log_and_wait(run, text_artifact(a="a"))
    assert wandb.run is None
    assert (tmp_path / "wandb-home" / "cache").is_dir()
    assert not (tmp_path / "wandb-home" / "netrc").exists()
    assert "wandb-metadata.json" not in server.run_files(run.id)


def test_wandbs_own_evaluation_callback_works(server: Loopback) -> None:
    pytest.importorskip("tensorflow")
    import keras
    from wandb.integration.keras import WandbEvalCallback

    from documented_example import ENGLISH_CLASS, run_example

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (6, 8, 8, 1), np.uint8)
    y = rng.integers(0, 3, 6)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    with wandb.init() as run:
        run_example(WandbEvalCallback, ENGLISH_CLASS, model, x, y)
    assert len(server.uploads("val")) == 7
    assert [version.collection for version in server.used_by(run.id)] == ["val"]
    versions = server.versions(f"run_{run.id}_pred")
    assert [version.state for version in versions] == ["COMMITTED"] * 2
    for version in versions:
        table = server.table(version, "eval_data")
        assert len(table["data"]) == 6
        for path, entry in version.manifest.items():
            if "media" in path:
                assert entry["ref"].startswith("wandb-artifact://")
                assert server.resolve(version, path).startswith(b"\x89PNG")


DOCUMENT = """
query Q($first: Int = 2, $after: String, $no: Boolean = false) {
  shop(name: "s") {
    __typename
    title: name
    missing
    ...Goods
    ... on Shop {
      open @skip(if: true)
      owner { name }
      goods(first: $first, after: $after) { edges { node { next } } }
    }
    ... on House { rooms }
    hidden @include(if: $no)
  }
}
fragment Goods on Shop {
  owner { age }
  goods(first: $first, after: $after) {
    totalCount
    edges { cursor node { id } }
    pageInfo { endCursor hasNextPage }
  }
}
"""


def answer(**variables: Any) -> Any:
    def node(item: int) -> dict[str, Any]:
        return {"node": {"id": item, "next": item + 1}}

    def shop(name: str) -> dict[str, Any]:
        return {
            "__typename": "Shop",
            "name": name,
            "open": True,
            "hidden": True,
            "rooms": 3,
            "owner": {"name": "o", "age": 9},
            "goods": connection([1, 2, 3], node),
        }

    return parse_operation(DOCUMENT, variables).execute({"shop": shop})["shop"]


def test_a_document_is_projected_onto_dictionaries() -> None:
    assert answer() == {
        "__typename": "Shop",
        "title": "s",
        "missing": None,
        "owner": {"name": "o", "age": 9},
        "goods": {
            "totalCount": 3,
            "edges": [
                {"cursor": "1", "node": {"id": 1, "next": 2}},
                {"cursor": "2", "node": {"id": 2, "next": 3}},
            ],
            "pageInfo": {"endCursor": "2", "hasNextPage": True},
        },
    }
    last = answer(after="2", no=True)
    assert last["hidden"] is True
    assert last["goods"]["edges"] == [{"cursor": "3", "node": {"id": 3, "next": 4}}]
    assert last["goods"]["pageInfo"] == {"endCursor": "3", "hasNextPage": False}


def test_what_the_server_does_not_know_is_recorded(loopback: Loopback) -> None:
    from wandb.apis.public.service_api import ServiceApi

    api = ServiceApi(wandb.setup().settings)
    answer = api.execute_graphql("query Sweeps { sweeps { id } viewer { entity } }")
    assert answer == {"sweeps": None, "viewer": {"entity": ENTITY}}
    probe = api.execute_graphql(
        'query P { a: __type(name: "UseArtifactInput") { inputFields { name } } '
        'b: __type(name: "Query") { fields { name } } c: __type(name: "X") { name } }'
    )
    assert {"name": "usedAs"} in probe["a"]["inputFields"]
    assert {"name": "clientIDMapping"} in probe["b"]["fields"]
    assert probe["c"] is None
    assert loopback.unknown == ["query sweeps"]
