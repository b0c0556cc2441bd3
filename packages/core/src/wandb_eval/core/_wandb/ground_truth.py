"""The artifact of the ground truth, and references to its media."""

from __future__ import annotations

import base64
import copy
import os

import wandb
from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry
from wandb.sdk.data_types._private import MEDIA_TMP
from wandb.sdk.lib.paths import LogicalPath

from wandb_eval.core._wandb.artifacts import EvalArtifact
from wandb_eval.core._wandb.files import WriteError
from wandb_eval.core._wandb.tables import reference_table
from wandb_eval.core._wandb.uploads import Upload


class GroundTruth:
    """A logged data artifact, and entries by which predictions refer to its media.

    Once the artifact is committed, an entry of another artifact can refer to its files.
    Until then, and offline, where there is no id to refer to, an entry has the local
    file itself. W&B uploads the file once for all versions of one name, and a version
    does not depend on the others.

    Args:
        artifact: The logged artifact.
        table: Its table.
        entry: The entry of the table.
        upload: The upload of the artifact; `None` offline.

    Attributes:
        table: The table, to take cells from.
        media: Entries for its media, by their path on this machine.
        table_entry: An entry for the table.
    """

    def __init__(
        self,
        artifact: EvalArtifact,
        table: wandb.Table,
        entry: ArtifactManifestEntry,
        upload: Upload | None,
    ) -> None:
        added = artifact._added_local_paths
        # The user may write a file again, but not our copy of it.
        copies = {
            path: str(one.local_path)
            for path, one in added.items()
            if not (one.ref or path.startswith((MEDIA_TMP.name, str(one.local_path))))
        }
        self.table = reference_table(table, copies)
        self.media = {copies.get(path, path): entry for path, entry in added.items()}
        self.media |= {str(added[path].path): added[path] for path in copies}
        self.table_entry = copy.copy(entry)
        self.table_entry.path = LogicalPath(f"media/tables/{entry.path}")
        self._table_name = str(entry.path)
        artifact.release()
        self._settled = self._copied = False
        self._upload = upload

    def check_files(self) -> None:
        """Checks that the files of the entries still exist.

        Raises:
            WriteError: If a file was deleted.
        """
        for entry in self.media.values():
            if entry.local_path is not None and not os.path.exists(entry.local_path):
                raise WriteError(f"{entry.local_path} was deleted")

    def settle(self, patience: float) -> None:
        """Turns the entries into references, once the artifact is committed.

        If W&B has given up the artifact, the entries keep the local files.

        Args:
            patience: The largest number of seconds that the first call waits.
        """
        if self._settled:
            return
        upload = self._upload
        if upload is None or not upload.done.wait(0 if self._copied else patience):
            self._copied = True
            return
        self._settled = True
        if upload.error is not None:
            return
        artifact_id = str(upload.artifact_id)
        self.media = {
            path: reference_to(artifact_id, str(entry.path), entry)
            for path, entry in self.media.items()
        }
        self.table_entry = reference_to(artifact_id, self._table_name, self.table_entry)


def reference_to(
    artifact_id: str, name: str, entry: ArtifactManifestEntry
) -> ArtifactManifestEntry:
    """Returns an entry that refers to a file of a logged artifact."""
    if entry.ref is not None:
        return entry
    hex_id = base64.b64decode(artifact_id).hex()
    return ArtifactManifestEntry(
        path=entry.path,
        ref=f"wandb-artifact://{hex_id}/{name}",
        digest=entry.digest,
        size=0,
    )
