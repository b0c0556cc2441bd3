"""Strips that say what drawings show."""

import numpy as np
import pytest

from wandb_eval.engine import class_color, class_swatches, color_swatch, legend_strip


def test_a_legend_has_as_many_rows_as_it_needs():
    entries = class_swatches([f"class {i}" for i in range(12)])
    wide, narrow = legend_strip(entries, 2000), legend_strip(entries, 250)
    assert wide.shape == (32, 2000, 3)
    assert narrow.shape[0] > 3 * 32
    for legend in (wide, narrow):
        for index in range(12):
            assert (legend == class_color(index)).all(axis=-1).sum() >= 20 * 32


@pytest.mark.parametrize("width", [1, 5, 20, 60])
def test_what_is_too_long_is_cut_off(width):
    entries = [(color_swatch((255, 0, 0)), "wrong")] * 2
    assert legend_strip(entries, width).shape == (64, width, 3)


def test_no_entries_and_no_width():
    assert legend_strip([], 100).shape == (0, 100, 3)
    with pytest.raises(ValueError, match=r"`width` must be.*Received: 0"):
        legend_strip([], 0)


def test_the_background_has_no_entry():
    [(swatch, name)] = class_swatches(["Background", "cat"])
    assert name == "cat"
    np.testing.assert_array_equal(
        np.unique(swatch.reshape(-1, 3), axis=0), [class_color(1)]
    )
