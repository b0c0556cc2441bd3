"""The example of a new task in the README runs as it stands."""

import re
from pathlib import Path

import keras
import numpy as np
import wandb

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_a_new_task(loopback):
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    names = {}
    exec(code, names)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (20, 6, 6, 1), dtype=np.uint8)
    y = x.mean((1, 2, 3)) / 255
    model = keras.Sequential(
        [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.compile("adam", "mae")
    with wandb.init() as run:
        callback = names["WandbNumberEvalCallback"](
            (x, y), num_samples=5, monitor="eval/mae"
        )
        model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
        error = np.abs(model.predict(x, verbose=0)[:, 0] - y).mean()
    last = loopback.versions(f"run_{run.id}_pred")[-1]
    assert {"epoch_1", "best", "latest"} == set(last.aliases)
    assert last.metadata["epoch"] == 1
    np.testing.assert_allclose(last.metadata["eval/mae"], error, rtol=1e-5)
    rows = loopback.table(last, "eval_data")["data"]
    assert len(rows) == 5
    for _, idx, _, target, pred, off in rows:
        assert target == float(y[idx])
        assert off == abs(pred - target)
    scalars = [r for r in loopback.history(run.id) if "eval/mae" in r]
    assert [row["eval/epoch"] for row in scalars] == [0, 1]


def test_every_argument_of_all_tasks_is_in_the_readme():
    import inspect

    from wandb_eval.engine import TaskArguments, WandbTaskEvalCallback

    text = README.read_text()
    [table] = re.findall(r"## Arguments of all tasks\n(.*?)\n## ", text, re.DOTALL)
    rows = re.findall(r"^\| `(\w+)` \|(?: `(.*?)`)? \|", table, flags=re.MULTILINE)
    parameters = inspect.signature(WandbTaskEvalCallback.__init__).parameters
    own = {"self", "data_table_columns", "pred_table_columns"}
    assert {name for name, _ in rows} == set(parameters) - own
    assert set(TaskArguments.__annotations__) == set(parameters) - own - {
        "validation_data"
    }
    for name, default in rows[1:]:
        assert repr(parameters[name].default).replace("'", '"') == default
