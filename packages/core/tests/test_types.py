"""The types of the columns of tables."""

import numpy as np
import wandb

from wandb_eval.core import infer_types


def test_types_of_mixed_columns_are_inferred():
    names = {0: "cat"}
    image = wandb.Image(
        np.zeros((4, 4, 3), np.uint8),
        masks={"truth": {"mask_data": np.zeros((4, 4)), "class_labels": names}},
    )
    rows = [[0, image, "a", 1, None], [1, None, None, "b", None]]
    columns = ["idx", "image", "text", "mixed", "empty"]
    table = wandb.Table(columns=columns, data=rows, allow_mixed_types=True)
    infer_types(table)
    typed = ["idx", "image", "text", "empty"]
    plain = wandb.Table(columns=typed, data=[[*row[:3], row[4]] for row in rows])
    found, expected = (one._column_types.params["type_map"] for one in (table, plain))
    assert {name: found[name] for name in typed} == expected
    mixed = wandb.Table(columns=["mixed"], allow_mixed_types=True)
    assert found["mixed"] == mixed._column_types.params["type_map"]["mixed"]
    assert table.data == rows
