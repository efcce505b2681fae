"""Straight lines and trained curves between checkpoints."""

import numpy as np
import pytest
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.plots.mode_connectivity import mode_connectivity
from slt_grok.plots.saving import save


def measured(starts: int = 2) -> xr.Dataset:
    """Parabolas over the line, on a curve of half their height; none start at the later checkpoints."""
    steps, t = np.array([10, 100, 500, 800, 900, 1000]), np.linspace(0, 1, 5)
    height = np.where(np.arange(6) < starts, 1.0 + np.arange(6), np.nan)
    line = 0.1 + height[:, None, None, None] * (4 * t * (1 - t)) * np.array([1.0, 3.0])[:, None]
    dims = ("step", "seed", "split", "position")
    coords = {"step": steps, "seed": [4], "split": ["train", "test"], "position": t}
    return xr.Dataset({"line_loss": (dims, line), "curve_loss": (dims, 0.1 + (line - 0.1) / 2)}, coords)


def test_line_and_curve_share_axes_and_color(tmp_path):
    data = measured()
    figure = mode_connectivity(data)
    train, test = figure.axes
    assert train.get_ylim() == test.get_ylim()
    assert train.get_yscale() == "log"
    for axes, split in ((train, "train"), (test, "test")):
        for i, start in enumerate((10, 100)):
            straight, curve = axes.lines[2 * i : 2 * i + 2]
            one = data.sel(seed=4, split=split, step=start)
            np.testing.assert_array_equal(np.asarray(straight.get_ydata()), one.line_loss)
            np.testing.assert_array_equal(np.asarray(curve.get_ydata()), one.curve_loss)
            assert straight.get_color() == curve.get_color()
            assert (straight.get_linestyle(), curve.get_linestyle()) == ("--", "-")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["step 10 to 1,000", "step 100 to 1,000", "straight line", "trained curve"]
    assert [path.suffix for path in save(figure, tmp_path, "curves")] == [".svg", ".png"]


def test_a_split_without_samples_says_so():
    data = measured()
    figure = mode_connectivity(data.where(data.split == "train"))
    figure.draw_without_rendering()
    assert "no samples" in figure.axes[1].texts[0].get_text()


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(SltGrokError, match="from 1 to 4 checkpoints, got 0"):
        mode_connectivity(measured(0))
    with pytest.raises(SltGrokError, match="from 1 to 4 checkpoints, got 5"):
        mode_connectivity(measured(5))
