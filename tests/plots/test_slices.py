"""Slices of the loss, and the plane of the path."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PathCollection

from slt_grok.errors import SltGrokError
from slt_grok.plots.saving import save
from slt_grok.plots.slices import principal_plane, random_lines, random_plane

STEPS = [0, 10, 20, 30, 40, 50, 60]
SPLITS = ["train", "test"]
X = np.linspace(-1, 1, 5)


def lines() -> xr.Dataset:
    """1e-8 + (step + 1) (direction + 1) x^2, twice as much on the test set."""
    n, k = np.arange(7)[:, None, None, None] + 1, np.arange(3)[None, :, None, None] + 1
    values = 1e-8 + n * k * X[:, None] ** 2 * np.array([1, 2])
    coords = {"step": STEPS, "direction": [0, 1, 2], "x": X, "split": SPLITS}
    return xr.Dataset({"slice_loss": (("step", "direction", "x", "split"), values)}, coords=coords)


def plane() -> xr.Dataset:
    values = 1e-8 + np.ones((7, 1, 1, 1)) * (X[:, None] ** 2 + 2 * X**2)[..., None] * np.array([1, 2])
    coords = {"step": STEPS, "x": X, "y": X, "split": SPLITS}
    return xr.Dataset({"plane_loss": (("step", "x", "y", "split"), values)}, coords=coords)


def path() -> xr.Dataset:
    rng = np.random.default_rng(0)
    track = np.stack([np.linspace(-4, 0, 7), np.linspace(2, 0, 7) ** 2], -1)
    own = np.geomspace(4, 1e-7, 7)[:, None] * np.array([1, 2])
    return xr.Dataset(
        {
            "principal_plane_loss": (("seed", "x", "y", "split"), 10 ** rng.uniform(-7, 1, (1, 5, 4, 2))),
            "plane_x": (("seed", "x"), np.linspace(-5, 1, 5)[None]),
            "plane_y": (("seed", "y"), np.linspace(-1, 5, 4)[None]),
            "explained_share": (("seed", "component"), [[0.72, 0.2]]),
            "explained_share_random_walk": (("component",), [0.61, 0.15]),
            "path": (("step", "seed", "component"), track[:, None]),
            "path_loss": (("step", "seed", "split"), own[:, None]),
        },
        coords={"step": STEPS, "seed": [4], "split": SPLITS, "component": [1, 2]},
    )


def test_median_and_range_over_directions():
    data = lines()
    figure = random_lines(data)
    for axes, split in zip(figure.axes, SPLITS, strict=True):
        drawn = [line for line in axes.lines if str(line.get_label()).startswith("step")]
        assert [line.get_label() for line in drawn] == ["step 0", "step 20", "step 30", "step 40", "step 60"]
        np.testing.assert_allclose(drawn[-1].get_ydata(), data.slice_loss.sel(step=60, split=split, direction=1))
        assert axes.get_yscale() == "log"


@pytest.mark.parametrize(
    ("draw", "data"), [(random_lines, lines()), (random_plane, plane()), (principal_plane, path())]
)
@pytest.mark.parametrize("harm", ["one infinite", "one NaN", "one zero", "test unknown", "all unknown", "all equal"])
def test_losses_without_a_logarithm_are_left_out(draw, data, harm):
    name = next(iter(data.data_vars))
    values = data[name].copy()
    if harm.startswith("one"):
        values[(0,) * values.ndim] = {"infinite": np.inf, "NaN": np.nan, "zero": 0.0}[harm.split()[1]]
    elif harm == "all equal":
        values[:] = 0.5
    else:
        values = values.where(np.isin(values.split, [] if harm == "all unknown" else ["train"]))
    figure = draw(data.assign({name: values}))
    figure.draw_without_rendering()
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert said.count("no samples, or no finite loss") == {"test unknown": 1, "all unknown": 2}.get(harm, 0)


def test_path_points_and_shares(tmp_path):
    data = path()
    figure = principal_plane(data)
    for axes, split in zip(figure.axes[:2], SPLITS, strict=True):
        track = data.path.isel(seed=0).values
        np.testing.assert_array_equal(np.stack([axes.lines[0].get_xdata(), axes.lines[0].get_ydata()], -1), track)
        points = next(c for c in axes.collections if isinstance(c, PathCollection))
        np.testing.assert_allclose(points.get_offsets(), track)
        own = data.path_loss.sel(split=split).isel(seed=0).values
        inside = points.get_array()
        seen = (own > points.norm.vmin) & (own < points.norm.vmax)
        np.testing.assert_allclose(np.asarray(inside)[seen], own[seen])
        assert axes.get_xlabel() == "Component 1\n(72% of variance; random walk 61%)"
        assert {"0", "60"} <= {text.get_text() for text in axes.texts}
    assert figure.axes[0].get_ylabel() == "Component 2\n(20% of variance; random walk 15%)"
    assert [path.suffix for path in save(figure, tmp_path, "plane")] == [".svg", ".png"]


def test_the_named_step_and_what_is_not_there():
    assert random_plane(plane(), step=20).axes[0].get_xlabel().startswith("Place")
    with pytest.raises(SltGrokError, match="step among 0, 10, 20, 30, 40, 50, 60, got 5"):
        random_plane(plane(), step=5)
    with pytest.raises(SltGrokError, match="seed among 4, got 1"):
        principal_plane(path(), seed=1)
    with pytest.raises(SltGrokError, match="dimension step"):
        random_lines(lines().isel(step=0, drop=True))
