"""The maps of a calibration and the figure of the confound are drawn as measured."""

import numpy as np
from matplotlib.collections import FillBetweenPolyCollection

from slt_grok.plots import confound, llc_by_gamma, llc_by_step
from tests import synthetic


def points(axes, marker, face=None):
    """x and y of the points with a marker, face given or not."""
    found = [line for line in axes.lines if line.get_marker() == marker and face in (None, line.get_markerfacecolor())]
    return [(float(x), float(y)) for line in found for x, y in zip(*line.get_data(), strict=True) if np.isfinite(y)]


def test_llc_by_step_has_every_value_a_ring_at_the_choice_and_a_cross_where_it_diverged():
    data = synthetic.calibration()
    panels = llc_by_step(data).axes
    assert [axes.get_title() for axes in panels] == ["Step 400", "Step 1,250", "Step 5,000"]
    for axes, step in zip(panels, data.step.values, strict=True):
        one = data.llc_by_step.sel(step=step, seed=0)
        for n_beta, marker in zip(data.n_beta.values, "osD", strict=True):
            wanted = one.sel(n_beta=n_beta).dropna("step_size")
            drawn = set(points(axes, marker))
            assert set(zip(wanted.step_size.values.tolist(), wanted.values.tolist(), strict=True)) <= drawn
        rings = [line for line in axes.lines if line.get_markersize() == 10]
        assert points_of(rings) == [(0.01, float(one.sel(step_size=0.01, n_beta=30)))]
    assert [x for x, _ in points(panels[0], "x")] == [0.02]
    assert points(panels[1], "x") == []


def test_llc_by_gamma_marks_what_is_not_trusted():
    data = synthetic.calibration()
    (axes,) = llc_by_gamma(data).axes
    assert points(axes, "s", "white") == [(25.0, float(data.llc_by_gamma.sel(step=1250, seed=0, gamma=25)))]
    rings = [line for line in axes.lines if line.get_markersize() == 10]
    assert [x for x, _ in points_of(rings)] == [100.0] * 3
    assert axes.get_ylim()[0] == 0


def test_error_bars_are_95_per_cent():
    data = synthetic.calibration()
    axes = llc_by_gamma(data).axes[0]
    (segments,) = {tuple(map(tuple, axes.collections[0].get_segments()[1]))}
    value, error = (float(data[name].isel(step=0, seed=0, gamma=1)) for name in ("llc_by_gamma", "llc_by_gamma_se"))
    np.testing.assert_allclose([y for _, y in segments], [value - 1.96 * error, value + 1.96 * error])


def test_confound_has_a_band_a_treatment_and_both_losses():
    data = synthetic.confound(seeds=2)
    upper, lower = confound(data, seed=1).axes
    bands = [c for c in upper.collections if isinstance(c, FillBetweenPolyCollection)]
    assert len(bands) == 3
    np.testing.assert_allclose(bands[0].get_paths()[0].vertices[:, 1].max(), 160 + 1.96 * 3)
    assert points(upper, "s", "white") == [(400, 200)]  # not converged
    drawn = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in lower.lines}
    assert drawn["as trained"] == [0.01, 1e-4, 1e-7]
    assert drawn["rescaled weights"] == [3.5, 0.5, 1e-7]
    assert lower.get_yscale() == "log"


def points_of(lines):
    """x and y of the points of some lines."""
    return [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]
