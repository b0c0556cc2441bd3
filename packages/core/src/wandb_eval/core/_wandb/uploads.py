"""Artifacts that were handed to wandb-core, and the outcomes of their uploads."""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

import wandb
from wandb.sdk.artifacts._validators import validate_aliases

from wandb_eval.core._wandb.artifacts import EvalArtifact
from wandb_eval.core._wandb.files import Folder, offline

logger = logging.getLogger(__name__)


class UploadError(Exception):
    """Raised if W&B has given up a logged artifact."""


class Upload:
    """Watches the upload of an artifact until it is committed or given up.

    wandb-core uploads the artifact in the background, and retries for a while. It
    reports a failure nowhere else.

    Args:
        handle: The handle of wandb-core's answer.
        what: The content of the artifact, in words.
        folder: The folder with its files.
        given_up: A function that is called with the error if W&B gives it up, in
            another thread.

    Attributes:
        done: An event that is set when the outcome is known and reported.
        artifact_id: The id of the committed artifact.
        error: The reason why it was given up; `None` without one.
    """

    def __init__(
        self,
        handle: Any,
        what: str,
        folder: Folder,
        given_up: Callable[[UploadError], None],
    ) -> None:
        self.what = what
        self.done = threading.Event()
        self.artifact_id: str | None = None
        self.error: UploadError | None = None
        self._folder = folder
        self._given_up = given_up
        # A wait that times out can't be repeated, because wandb cancels the request. So
        # the wait has no timeout, and runs in wandb's own thread, where nothing may
        # block.
        _outcomes.start()
        handle.asyncer.run_soon(functools.partial(self._wait, handle), daemon=True)

    async def _wait(self, handle: Any) -> None:
        try:
            response = await handle.wait_async(timeout=None)
            answer = response.response.log_artifact_response
            self.artifact_id = answer.artifact_id
            if answer.error_message or not answer.artifact_id:
                self.error = UploadError(answer.error_message or "it has no id")
        except Exception as error:
            self.error = UploadError(f"{type(error).__name__}: {error}")
        except asyncio.CancelledError:
            self.error = UploadError("wandb was torn down")
            raise
        finally:
            _outcomes.tell(self)

    def tell(self) -> None:
        """Reports the outcome."""
        try:
            if self.error is not None:
                # wandb-core may still send them, if it did not answer.
                if self.artifact_id is not None and not self._folder.shared:
                    self._folder.discard()
                self._given_up(self.error)
        finally:
            self.done.set()


class _Outcomes:
    """Reports the outcomes of uploads, in one thread that lives until Python ends."""

    def __init__(self) -> None:
        self._known: queue.SimpleQueue[Upload] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread, unless it runs."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="wandb-eval-uploads", daemon=True
                )
                self._thread.start()

    def tell(self, upload: Upload) -> None:
        """Makes the thread call `tell` of an upload, without blocking."""
        self._known.put(upload)

    def _run(self) -> None:
        while True:
            upload = self._known.get()
            try:
                upload.tell()
            except Exception:
                logger.exception("The outcome of an upload could not be reported")


_outcomes = _Outcomes()


def log_artifact(
    run: wandb.Run,
    artifact: EvalArtifact,
    aliases: list[str],
    what: str,
    given_up: Callable[[UploadError], None],
    *,
    use: bool = False,
) -> Upload | None:
    """Logs an artifact, or uses it, without a request to the server.

    `run.log_artifact` and `run.use_artifact` request the type of earlier versions and
    the user, before they hand the artifact to wandb-core, which retries. While the
    server is away, they delay the training by 19 seconds in every epoch, and may raise
    an exception.

    Args:
        run: The run.
        artifact: The artifact.
        aliases: The aliases of the version.
        what: The content of the artifact, in words.
        given_up: A function that is called with the error if W&B gives it up.
        use: Whether to mark the artifact as used by the run, once it is committed.

    Returns:
        The upload; `None` offline.

    Raises:
        wandb.Error: If the run is finished.
    """
    interface: Any = run._interface
    if getattr(run, "_is_finished", False) or interface is None:
        raise wandb.Error(f"run {run.id} is finished")
    aliases = validate_aliases(aliases)
    artifact.finalize()
    options: dict[str, Any] = {"is_user_created": use, "use_after_commit": use}
    if offline(run):
        interface.publish_artifact(run, artifact, aliases, **options)
        return None
    # `run.step` would ask wandb-core; shared mode has no steps.
    options["history_step"] = 0 if run._settings._shared else run._local_step
    handle = interface.deliver_artifact(run, artifact, aliases, **options)
    return Upload(handle, what, artifact.folder, given_up)
