"""Barriers between checkpoints and between seeds."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh

from slt_grok.errors import SltGrokError
from slt_grok.plots.barriers import barrier_matrix, seed_barriers
from slt_grok.plots.saving import save

STEPS = np.array([0, 1, 10, 100, 300])


def matrix(aligned: bool = False) -> xr.Dataset:
    """Two seeds; the barrier of steps i and j is |i - j| + seed / 2, one of them is not known."""
    place = np.arange(5)
    value = np.abs(place[:, None] - place)[:, None, :, None] + np.array([0, 0.5])[:, None, None] * np.ones((5, 2, 5, 2))
    value[0, 0, 4, 0] = value[4, 0, 0, 0] = np.nan
    dims = ("step", "seed", "step_other", "split")
    names = ("barrier_between", "barrier_aligned")[: 1 + aligned]
    coords = {"step": STEPS, "step_other": STEPS, "seed": [0, 7], "split": ["train", "test"]}
    return xr.Dataset({name: (dims, value / (1 + i)) for i, name in enumerate(names)}, coords=coords)


def meshes(figure):
    return [
        next(c for c in axes.collections if isinstance(c, QuadMesh)) for axes in figure.axes if axes.get_title("left")
    ]


def test_heat_map_holds_the_barriers():
    data = matrix()
    drawn = meshes(barrier_matrix(data, seed=7))
    assert len(drawn) == 2
    for mesh, split in zip(drawn, ("train", "test"), strict=True):
        expected = data.barrier_between.sel(seed=7, split=split).values
        np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(5, 5), np.maximum(expected, 1e-3))
    unknown = np.ma.getmaskarray(meshes(barrier_matrix(data))[0].get_array()).reshape(5, 5)
    assert np.argwhere(unknown).tolist() == [[0, 4], [4, 0]]


def test_both_axes_are_the_step():
    axes = barrier_matrix(matrix()).axes[0]
    assert axes.get_xlim() == axes.get_ylim() == (0, 300)
    assert axes.get_xticks().tolist() == axes.get_yticks().tolist()
    assert {0, 10, 100} <= set(axes.get_xticks().tolist())
    points = axes.transData.transform([[s, s] for s in STEPS]) - axes.transData.transform([[0, 0]])
    across, up = points[1:].T / points[-1][:, None]
    np.testing.assert_allclose(across, up, rtol=1e-9)  # the same scale: the diagonal is straight
    assert across[2] - across[1] == pytest.approx((across[3] - across[2]) * np.log(10) / np.log(3))  # 10, 100, 300


def test_before_and_after_alignment(tmp_path):
    figure = barrier_matrix(matrix(aligned=True))
    titles = [axes.get_title("left") for axes in figure.axes[:4]]
    assert titles == ["train, straight line", "test, straight line", "train, units aligned", "test, units aligned"]
    assert [path.suffix for path in save(figure, tmp_path, "barriers")] == [".svg", ".png"]


def test_no_barrier_and_no_value_can_be_drawn():
    data = matrix()
    barrier_matrix(data * 0).draw_without_rendering()
    figure = barrier_matrix(data * np.nan)
    figure.draw_without_rendering()
    assert all("no samples" in axes.texts[0].get_text() for axes in figure.axes[:2])


def seeds(count: int = 3) -> xr.Dataset:
    rng = np.random.default_rng(0)
    values = rng.random((4, count, count, 2))
    dims = ("step", "seed", "seed_other", "split")
    coords = {"step": [0, 10, 100, 1000], "seed": np.arange(count), "seed_other": np.arange(count)}
    data = {"barrier_between": (dims, values), "barrier_aligned": (dims, values / 2)}
    return xr.Dataset(data, coords=coords | {"split": ["train", "test"]})


def test_seeds_are_drawn_pair_by_pair_with_their_median():
    data = seeds()
    axes = seed_barriers(data).axes[0]
    drawn = [np.asarray(line.get_ydata()) for line in axes.lines]
    values = data.barrier_between.sel(split="train").values
    pairs = [values[:, 0, 1], values[:, 0, 2], values[:, 1, 2]]
    np.testing.assert_array_equal(drawn[:3], pairs)
    np.testing.assert_array_equal(drawn[3], np.median(pairs, 0))
    np.testing.assert_array_equal(drawn[7], np.median(pairs, 0) / 2)


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(SltGrokError, match="dimension step_other"):
        barrier_matrix(seeds())
    with pytest.raises(SltGrokError, match="dimensions step and seed_other"):
        seed_barriers(matrix())
    with pytest.raises(SltGrokError, match="at least two seeds"):
        seed_barriers(seeds(1))
    with pytest.raises(SltGrokError, match="among 0, 7, got 3"):
        barrier_matrix(matrix(), seed=3)
