"""The LLC curve and the traces of its chains."""

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection

from slt_grok.errors import SltGrokError
from slt_grok.plots import llc_curve, llc_diagnostics, llc_traces, save
from tests import synthetic


def test_curve_of_a_users_own_trajectory():
    data = synthetic.llc().isel(seed=0, drop=True)[["llc", "llc_se"]].assign_attrs({})
    axes = llc_curve(data).axes[0]
    assert axes.get_ylabel() == "Local learning coefficient (LLC)"
    band = next(c for c in axes.collections if isinstance(c, FillBetweenPolyCollection))
    top = band.get_paths()[0].vertices[:, 1].max()
    np.testing.assert_allclose(top, (data.llc + 1.96 * data.llc_se).max())


def test_curve_of_several_seeds_has_a_band_each():
    axes = llc_curve(synthetic.llc(seeds=3)).axes[0]
    assert sum(isinstance(c, FillBetweenPolyCollection) for c in axes.collections) == 3


def test_curve_says_what_is_missing():
    data = synthetic.llc()
    with pytest.raises(SltGrokError, match="expected a dimension step"):
        llc_curve(data.isel(step=0))
    with pytest.raises(SltGrokError, match="variable llc_se"):
        llc_curve(data.drop_vars("llc_se"))


def test_curve_of_one_checkpoint_is_drawn():
    assert llc_curve(synthetic.llc().isel(step=[5])).axes


def test_traces_show_the_first_the_last_and_some_between():
    figure = llc_traces(synthetic.llc(), checkpoints=4)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 4
    assert titles[0].startswith("Step 0: not a minimum; R-hat 1.0")
    assert titles[-1].startswith("Step 5,000: effective")
    assert all("ESS" in title for title in titles)


def test_traces_have_burn_in_baseline_and_draws_at_their_sampler_steps():
    data = synthetic.llc()
    axes = llc_traces(data).axes[-1]
    shaded = axes.patches[0]
    assert (shaded.get_x(), shaded.get_width()) == (0, data.attrs["burn_in"])
    point = data.isel(step=-1, seed=0)
    drawn = [(np.asarray(a.get_xdata()), np.asarray(a.get_ydata())) for a in axes.lines]
    assert any(len(y) == 2 and y[0] == float(point.baseline_loss) for _, y in drawn)
    for chain in range(4):
        x = next(x for x, y in drawn if len(y) == 150 and np.array_equal(y, point.loss_trace.isel(chain=chain)))
        assert (x[0], x[-1]) == (60 + 2, 60 + 2 * 150)


def test_a_chain_that_is_left_out_is_dashed_and_named():
    figure = llc_traces(synthetic.llc().isel(step=[3]))
    axes = figure.axes[0]
    assert "chain 1 of 4 left out: drifting" in axes.get_title(loc="left")
    assert sum(a.is_dashed() and len(np.asarray(a.get_ydata())) == 150 for a in axes.lines) == 1


def test_a_diverged_chain_does_not_flatten_the_healthy_ones():
    data = synthetic.llc().isel(step=[10]).copy(deep=True)
    data.loss_trace[0, 0, 2] = 10.0 ** np.linspace(0, 30, 150)
    data.chain_health[0, 0, 2] = "diverged"
    healthy = data.loss_trace.isel(step=0, seed=0, chain=[0, 1, 3]).values
    assert healthy.max() < llc_traces(data).axes[0].get_ylim()[1] < 1.5 * healthy.max()


def test_checkpoint_where_every_chain_diverged_is_drawn():
    axes = llc_traces(synthetic.llc(diverged=(5,)).isel(step=[5])).axes[0]
    assert axes.get_yscale() == "log"
    assert "all 4 chains left out" in axes.get_title(loc="left")


def test_unknown_seed_is_named():
    with pytest.raises(SltGrokError, match="expected a seed among 0, 1, got 7"):
        llc_traces(synthetic.llc(seeds=2), seed=7)


def test_checkpoint_without_any_finite_loss_is_drawn(tmp_path):
    data = synthetic.llc(diverged=(5,)).isel(step=[5]).copy(deep=True)
    for name in ("loss_trace", "burn_in_loss", "baseline_loss", "rhat", "ess"):
        data[name][:] = np.nan
    figure = llc_traces(data)
    assert "no R-hat" in figure.axes[0].get_title(loc="left")
    save(figure, tmp_path, "traces")


def test_diagnostics_are_drawn_as_measured_with_the_limits_of_the_statuses():
    data = synthetic.llc(diverged=(5,))
    one = data.isel(seed=0)
    rhat, _, drift, virial, acceptance, distance = llc_diagnostics(data).axes
    drawn = {
        rhat: one.rhat,
        drift: 100 * one.drift / one.llc,
        virial: one.virial,
        acceptance: one.acceptance.mean("chain"),
        distance: one.distance.isel(look=-1).mean("chain"),
    }
    for axes, values in drawn.items():
        np.testing.assert_array_equal(np.asarray(axes.lines[0].get_ydata(), dtype=float), values)
        hollow = next(line for line in axes.lines if line.get_markerfacecolor() == "white" and line.get_marker() == "o")
        assert np.asarray(hollow.get_xdata()).tolist() == data.step.values[[0, 1, 2, 5]].tolist()
    limits = {axes: [line.get_ydata()[0] for line in axes.lines if line.is_dashed()] for axes in drawn}
    assert limits[rhat] == [1.1]
    assert limits[drift] == [-5, 5]
    assert limits[virial] == [0.9, 1.1]
