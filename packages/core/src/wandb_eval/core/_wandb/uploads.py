"""Artifacts that were given to wandb-core, and what becomes of them."""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

import wandb

from wandb_eval.core._wandb.artifacts import EvalArtifact
from wandb_eval.core._wandb.files import Folder, offline

logger = logging.getLogger(__name__)


class UploadError(Exception):
    """W&B has given up an artifact that was logged."""


class Upload:
    """An artifact that wandb-core was given, watched until it is there or given up.

    wandb-core uploads it in the background and retries for a while; if it gives up, it
    says so to nobody else.

    Args:
        handle: What will have the answer of wandb-core.
        what: What is uploaded, in words.
        folder: Where its files are.
        given_up: Called with the error if W&B gives it up, in a thread of its own.

    Attributes:
        done: Set when the outcome is known, and told.
        artifact_id: The id of the committed artifact.
        error: Why it was given up.
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
        # A wait that times out can't be repeated: wandb cancels the request. So it is
        # waited for without end, in wandb's own thread, where nothing may block.
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
        """Says that the outcome is known."""
        try:
            if self.error is not None:
                if not self._folder.shared:  # wandb-core would have deleted them.
                    self._folder.discard()
                self._given_up(self.error)
        finally:
            self.done.set()


class _Outcomes:
    """Tells uploads their outcomes: in one thread, which is there when Python ends."""

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
        """Has the thread call `tell` of an upload. Does not block."""
        self._known.put(upload)

    def _run(self) -> None:
        while True:
            upload = self._known.get()
            try:
                upload.tell()
            except Exception:
                logger.exception("The outcome of an upload could not be told")


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
    """`run.log_artifact`, or `run.use_artifact`, that asks the server for nothing.

    wandb's own ask for the type of earlier versions, and who the user is, before they
    hand the artifact to wandb-core, which retries. While the server is away they make
    the training wait for 19 seconds in every epoch, and may raise.

    Args:
        run: The run.
        artifact: The artifact.
        aliases: The aliases of the version.
        what: What it is, in words.
        given_up: Called with the error if W&B gives it up.
        use: Whether to mark the artifact as used by the run, once it is committed.

    Returns:
        What becomes of it; `None` offline.

    Raises:
        wandb.Error: If the run is finished.
    """
    interface: Any = run._interface
    if getattr(run, "_is_finished", False) or interface is None:
        raise wandb.Error(f"run {run.id} is finished")
    artifact.finalize()
    options: dict[str, Any] = {"is_user_created": use, "use_after_commit": use}
    if offline(run):
        interface.publish_artifact(run, artifact, aliases, **options)
        return None
    # `run.step` would ask wandb-core, and there is none in shared mode.
    options["history_step"] = 0 if run._settings._shared else run._local_step
    handle = interface.deliver_artifact(run, artifact, aliases, **options)
    return Upload(handle, what, artifact.folder, given_up)
