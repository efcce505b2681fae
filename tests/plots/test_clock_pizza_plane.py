"""Runs and published runs are where the measures put them."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D

from slt_grok import plots
from slt_grok.errors import SltGrokError

X = [[0.9, 0.95], [np.nan, 0.9], [0.3, 0.8]]  # (step, seed)
Y = [[0.7, 1.0], [0.8, 0.9], [0.99, 0.4]]


def circuits() -> xr.Dataset:
    return xr.Dataset(
        {
            "distance_irrelevance_top_wrong": (("step", "seed"), X),
            "gradient_symmetricity": (("step", "seed"), Y),
            "gradient_symmetricity_se": (("step", "seed"), np.full((3, 2), 0.01)),
        },
        coords={"step": [0, 10, 2000], "seed": [0, 3]},
    )


def published() -> xr.Dataset:
    """Three runs, the second without a circular embedding."""
    columns = {
        "attention_rate": [0.1, 0.5, 0.9],
        "gradient_symmetricity": [0.99, 0.7, 0.4],
        "distance_irrelevance_top_wrong": [0.2, 0.6, 0.8],
        "circularity": [0.999, 0.99, 0.997],
    }
    return xr.Dataset({name: ("run", values) for name, values in columns.items()})


def points(line: Line2D) -> np.ndarray:
    return np.stack([np.asarray(line.get_xdata()), np.asarray(line.get_ydata())], -1)


def test_paths_end_at_the_last_checkpoint_and_have_intervals():
    (axes,) = plots.clock_pizza_plane({"mine": circuits()}).axes
    first, second = (found for found in axes.containers if isinstance(found, ErrorbarContainer))
    np.testing.assert_allclose(points(first.lines[0]), [[0.9, 0.7], [0.3, 0.99]])  # not where it is not defined
    np.testing.assert_allclose(points(second.lines[0]), np.stack([X, Y], -1)[:, 1])
    (bars,) = second.lines[2]
    assert isinstance(bars, LineCollection)
    np.testing.assert_allclose(
        np.array(bars.get_segments())[:, :, 1].T, [np.array(Y)[:, 1] + s for s in (-0.0196, 0.0196)]
    )
    ends = {line.get_label(): points(line) for line in axes.lines if not str(line.get_label()).startswith("_")}
    np.testing.assert_allclose(ends["mine, seed 0\n(step 0 to 2,000)"], [[0.3, 0.99]])
    np.testing.assert_allclose(ends["mine, seed 3\n(step 0 to 2,000)"], [[0.8, 0.4]])


def test_published_runs_lie_beneath_with_their_attention_rates():
    axes, bar = plots.clock_pizza_plane({"one": circuits().sel(seed=3)}, published()).axes
    (cloud,) = (found for found in axes.collections if isinstance(found, PathCollection))
    np.testing.assert_allclose(np.asarray(cloud.get_offsets()), [[0.2, 0.99], [0.8, 0.4]])
    np.testing.assert_allclose(np.asarray(cloud.get_array()), [0.1, 0.9])
    assert cloud.get_clim() == (0, 1)
    assert cloud.get_zorder() < min(line.get_zorder() for line in axes.lines if len(points(line)) == 3)
    assert "Attention rate" in bar.get_xlabel()


def test_more_paths_than_colors_and_none_that_can_be_drawn():
    runs = {f"run {i}": circuits() for i in range(6)}
    (axes,) = plots.clock_pizza_plane(runs).axes
    legend = axes.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 12
    nowhere = circuits().assign(gradient_symmetricity=circuits().gradient_symmetricity * np.nan)
    (axes,) = plots.clock_pizza_plane({"one": nowhere}).axes
    assert axes.get_legend() is None


def test_no_training_no_path():
    with pytest.raises(SltGrokError, match="dimension step"):
        plots.clock_pizza_plane({"one": circuits().isel(step=-1)})
