"""Failures to log: reported once per epoch, or raised."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import wandb

from wandb_eval.core._wandb.artifacts import EvalArtifact
from wandb_eval.core._wandb.uploads import Upload, UploadError, log_artifact

logger = logging.getLogger(__name__)
# W&B prints the warnings, too. Without a handler, Python would print them once more.
logging.getLogger("wandb_eval").addHandler(logging.NullHandler())


class Owner(Protocol):
    """The callback that logs. Its attributes may be set after its creation."""

    prefix: str
    on_error: str


class Failures:
    """Reports failures, so that the training goes on.

    Args:
        owner: The callback. With its `on_error="raise"`, failures are raised instead.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._is_reported = False

    @contextlib.contextmanager
    def tolerate(
        self, what: str, kind: type[Exception] = Exception
    ) -> Iterator[list[Exception]]:
        """Reports an exception that is raised inside, instead of raising it.

        Only the first one since `rearm` is shown in the terminal; all are logged.

        Args:
            what: The task that failed, as the beginning of a sentence.
            kind: The exceptions to report. All others are raised.

        Yields:
            A list, to which the exception is appended.
        """
        failures: list[Exception] = []
        try:
            yield failures
        except kind as error:
            if self.raises:
                raise
            failures.append(error)
            message = f"{what}: {describe(error)}. Training goes on."
            self.report(message, error, warn=not self._is_reported)
            self._is_reported = True

    @property
    def raises(self) -> bool:
        """Whether failures are raised."""
        return self._owner.on_error == "raise"

    def report(self, message: str, error: Exception, warn: bool = True) -> None:
        """Logs a failure; also shows the message in the terminal if `warn` is true."""
        logger.warning(message, exc_info=error)
        if warn:
            wandb.termwarn(f"{type(self._owner).__name__}: {message}")

    def rearm(self) -> None:
        """Shows the next failure in the terminal, like the first one of an epoch."""
        self._is_reported = False


class Uploads:
    """Logs artifacts, and reports those that W&B gives up.

    Args:
        failures: Reports the failures.

    Attributes:
        under_way: The uploads whose outcome was not read yet.
    """

    def __init__(self, failures: Failures) -> None:
        self.under_way: list[Upload] = []
        self._failures = failures

    def log(
        self,
        run: wandb.Run,
        artifact: EvalArtifact,
        what: str,
        aliases: list[str] | None = None,
        given_up: Callable[[], None] = lambda: None,
        *,
        use: bool = False,
    ) -> Upload | None:
        """Logs an artifact. A thread reports it if W&B gives it up.

        Args:
            run: The run.
            artifact: The artifact.
            what: The content of the artifact, in words.
            aliases: The aliases of the version. `None` means `["latest"]`.
            given_up: A function that is called if W&B gives it up.
            use: Whether to mark the artifact as used by the run.

        Returns:
            The upload; `None` offline.
        """

        def report(error: UploadError) -> None:
            subject = what[0].upper() + what[1:]
            message = f"{subject} could not be logged: {describe(error)}"
            self._failures.report(message, error)
            given_up()

        upload = log_artifact(
            run, artifact, aliases or ["latest"], what, report, use=use
        )
        if upload is not None:
            self.under_way.append(upload)
        return upload

    def wait(self, patience: float) -> list[str]:
        """Waits for all outcomes; returns the names of uploads that have not ended.

        Args:
            patience: The largest number of seconds to wait.
        """
        deadline = time.monotonic() + patience
        for upload in self.under_way:
            upload.done.wait(max(0.0, deadline - time.monotonic()))
        self.raise_given_up()
        left, self.under_way = self.under_way, []
        return list(dict.fromkeys(item.what for item in left))

    def raise_given_up(self) -> None:
        """Raises the error of an upload that W&B gave up, if failures are raised."""
        known = [item for item in self.under_way if item.done.is_set()]
        self.under_way = [item for item in self.under_way if item not in known]
        for upload in known:
            if self._failures.raises and upload.error is not None:
                raise upload.error


def describe(error: Exception) -> str:
    """Returns an exception as one line of text."""
    return f"{type(error).__name__}: {error}"
