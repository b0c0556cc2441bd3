"""Reads tables by W&B's query engine; run by the Python of `environment.python`.

    python engine.py < asked.json > answer.json

The input is a list of `[entity, project, collection, commit, path]`. For each of them
the output has `rows`, `types` by column, and `images` by column: the engine's layers
of each cell, and the files that do not open.
"""

import json
import logging
import sys

import PIL.Image

logging.disable(logging.WARNING)
out, sys.stdout = sys.stdout, sys.stderr  # weave prints, too.

import weave  # noqa: E402, F401
from weave.legacy import artifact_wandb, context_state, ops, wandb_api  # noqa: E402, F401
from weave.legacy.ops_domain import table as tables  # noqa: E402

context_state._eager_mode.set(False)


def read(entity, project, collection, commit, path):
    """Reads one table by the engine."""
    place = artifact_wandb.WeaveWBArtifactURI(collection, commit, entity, project)
    artifact = artifact_wandb.WandbArtifact(collection, uri=place)
    found = tables._get_table_like_awl_from_file(artifact.path_info(path))
    rows = found.awl.to_pylist_notags()
    types = found.awl.object_type.property_types
    kinds = {name: kind.to_dict() for name, kind in types.items()}
    images = {
        name: [cell and image(artifact, cell) for cell in (row[name] for row in rows)]
        for name, kind in kinds.items()
        if "image-file" in json.dumps(kind)
    }
    return {"rows": len(rows), "types": kinds, "images": images}


def image(artifact, cell):
    """The layers of an image, and its files that do not open."""
    cell = cell if isinstance(cell, dict) else vars(cell)
    boxes = {name: found for name, found in (cell["boxes"] or {}).items() if found}
    masks = {name: mask for name, mask in (cell["masks"] or {}).items() if mask}
    paths = [cell["path"], *(mask["path"] for mask in masks.values())]
    return {
        "boxes": {
            name: [[box.get("box_caption"), box.get("scores")] for box in found]
            for name, found in boxes.items()
        },
        "masks": sorted(masks),
        "closed": [
            error for error in (opened(artifact, path) for path in paths) if error
        ],
    }


def opened(artifact, path):
    """The reason why the file of an image does not open; None if it opens."""
    try:
        found = artifact.path_info(path)
        PIL.Image.open(found.artifact.path(found.path)).load()
    except Exception as error:
        return f"{path}: {error!r}"
    return None


def main():
    """Reads all tables of the input."""
    with wandb_api.from_environment():
        json.dump([read(*asked) for asked in json.load(sys.stdin)], out)


if __name__ == "__main__":
    main()
