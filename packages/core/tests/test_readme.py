"""The example in the README runs as it stands."""

import re
from pathlib import Path

import keras
import numpy as np
import wandb

import wandb_eval.core

README = Path(__file__).parents[1] / "README.md"


def test_the_example_logs_images_once_and_a_version_for_each_epoch(loopback):
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    names = {}
    exec(code, names)
    x = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 1), dtype=np.uint8)
    y = np.arange(4) % 2
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    columns = ["idx", "image", "label"]
    with wandb.init() as run:
        callback = names["WandbClfEvalCallback"](
            (x, y), columns, ["epoch", *columns, "pred"]
        )
        model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
    first, last = loopback.versions(f"run_{run.id}_pred")
    assert len(loopback.table(last, "eval_data")["data"]) == 4
    references = [e for e in last.manifest.values() if e.get("ref")]
    assert len(references) >= 4
    assert first.aliases != last.aliases


def test_every_public_name_is_in_the_readme():
    text = README.read_text()
    hidden = {
        "Folder",
        "WriteError",
        "artifact_name",
        "infer_types",
    }  # Docstrings have them.
    assert {n for n in wandb_eval.core.__all__ if f"`{n}" not in text} <= hidden
