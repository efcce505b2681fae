"""Phase alignment and persistence diagrams are drawn as measured."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PathCollection

from slt_grok import plots
from slt_grok.errors import SltGrokError

P = 13
SITES = ["neurons_pre", "neurons_post", "neurons_post_read", "logits"]


def alignment() -> xr.Dataset:
    """Two steps and seeds of 50 neurons, 10 of them in no cluster; equal phases at the last step of seed 1."""
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, P, (2, 2, 2, 50))
    right[1, 1] = left[1, 1]
    distance = np.minimum((left - right) % P, (right - left) % P)
    dims, outside = ("step", "seed", "neuron"), np.arange(50) >= 40
    return xr.Dataset(
        {
            "neuron_alignment_left": (dims, np.where(outside, np.nan, left)),
            "neuron_alignment_right": (dims, np.where(outside, np.nan, right)),
            "neuron_torus_distance": (dims, distance),
        },
        coords={"step": [10, 90], "seed": [0, 1], "frequency": np.arange(1, 7)},
    )


def bars() -> xr.Dataset:
    """Frequencies 2 and 5 of six have clusters, of two of their bars in each degree."""
    shape = (1, 1, 6, 4, 3)
    persistence = np.full((*shape, 8, 2), np.nan)
    radius, betti = np.full(shape[:-1], np.nan), np.full(shape, np.nan)
    for k in (2, 5):
        persistence[0, 0, k - 1, :, :, :2] = [[0.1 * k, 1.5], [0.2, 0.3]]
        persistence[0, 0, k - 1, :, 0, 0] = [0, np.inf]
        radius[0, 0, k - 1], betti[0, 0, k - 1] = 0.1, [1, k, 0]
    lead = ("step", "seed", "frequency", "site")
    return xr.Dataset(
        {
            "betti": ((*lead, "degree"), betti),
            "landmark_radius": (lead, radius),
            "persistence": ((*lead, "degree", "bar", "end"), persistence),
        },
        coords={"step": [7], "seed": [0], "frequency": np.arange(1, 7), "site": SITES, "degree": [0, 1, 2]},
        attrs={"threshold": 0.5, "landmarks": 150},
    )


def test_alignment_of_the_neurons_in_clusters_alone():
    data = alignment()
    law, distances = plots.phase_alignment(data, seed=1).axes
    points = next(c for c in law.collections if isinstance(c, PathCollection)).get_offsets()
    expected = data.isel(step=1, seed=1, neuron=slice(40))
    points = np.ma.compress_rows(np.ma.masked_invalid(points))
    np.testing.assert_array_equal(points, np.stack([expected.neuron_alignment_left] * 2, -1))
    heights = [bar.get_height() for bar in distances.patches]
    np.testing.assert_allclose(heights[:7], [100, 0, 0, 0, 0, 0, 0])
    labels = [text.get_text() for text in distances.get_legend().get_texts()]
    assert labels == [f"uniform phases, mean {(P * P - 1) / (4 * P):.2f}", "40 neurons, mean 0.00"]


def test_the_uniform_law_is_that_of_the_uniform_mean():
    _, distances = plots.phase_alignment(alignment(), step=10).axes
    share = np.asarray(distances.lines[0].get_ydata(), dtype=float) / 100
    assert share.sum() == pytest.approx(1)
    assert (share * np.arange(7)).sum() == pytest.approx((P * P - 1) / (4 * P))


def test_without_clusters_the_figure_says_so():
    data = alignment()
    figure = plots.phase_alignment(data.assign(neuron_alignment_left=data.neuron_alignment_left * np.nan))
    assert all("no cluster" in axes.texts[0].get_text() for axes in figure.axes)
    data = bars()
    figure = plots.persistence_diagrams(
        data.assign(landmark_radius=data.landmark_radius * np.nan, betti=data.betti * np.nan)
    )
    assert len(figure.axes) == 4
    assert all("no cluster" in axes.texts[0].get_text() for axes in figure.axes)


def test_a_step_that_is_not_there():
    with pytest.raises(SltGrokError, match="step among 10, 90, got 11"):
        plots.phase_alignment(alignment(), step=11)


def test_a_row_a_cluster_and_a_column_a_site():
    figure = plots.persistence_diagrams(bars())
    assert len(figure.axes) == 8
    assert [axes.get_ylabel() for axes in figure.axes[::4]] == ["$k$ = 2", "$k$ = 5"]
    assert [axes.texts[0].get_text() for axes in figure.axes[::4]] == ["(1, 2, 0)", "(1, 5, 0)"]
    diagonal, threshold, *degrees = figure.axes[5].lines
    np.testing.assert_allclose(np.asarray(threshold.get_ydata()) - np.asarray(diagonal.get_ydata()), 0.5)
    shown = np.stack([degrees[1].get_xdata(), degrees[1].get_ydata()], -1)[:2]
    np.testing.assert_allclose(shown, [[0.5, 1.5], [0.2, 0.3]])
    never = np.asarray(degrees[0].get_ydata())[0]
    assert np.isfinite(never)
    assert never < figure.axes[5].get_ylim()[1]
