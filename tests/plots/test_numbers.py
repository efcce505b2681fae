"""The numbers in figures: where columns end, labels stand and cells lie, which points are hollow, which phases."""

import matplotlib
import numpy as np
import pytest
import xarray as xr

from slt_grok import plots
from slt_grok.change import find_change
from slt_grok.errors import SltGrokError
from slt_grok.plots import style
from slt_grok.plots.logarithmic import LogNumbers, LogTicks
from slt_grok.plots.overview import middles, phase_spans
from slt_grok.plots.spectra import spread, step_edges
from slt_grok.plots.tokens import _placed as placed
from slt_grok.rules import LOSS

STEPS = np.array([0, 20, 100, 500, 1000, 5000])


def llc(status=("effective",) * 6, seeds=1) -> xr.Dataset:
    values = np.outer([10, 20, 60, 50, 20, 5], np.ones(seeds))
    return xr.Dataset(
        {
            "llc": (("step", "seed"), values),
            "llc_se": (("step", "seed"), values / 10),
            "llc_status": (("step", "seed"), np.array([[s] * seeds for s in status])),
        },
        coords={"step": STEPS, "seed": np.arange(seeds)},
    )


def test_columns_reach_half_way_on_the_logarithmic_axis():
    np.testing.assert_allclose(step_edges(np.array([10, 100, 1000])), [10 / 10**0.5, 10 * 10**0.5, 100 * 10**0.5, 1000])
    with_zero = step_edges(STEPS)
    assert with_zero[0] == 0
    assert with_zero[-1] == pytest.approx(5000, rel=1e-12)
    assert (with_zero[:-1] <= STEPS).all()
    assert (with_zero[1:-1] >= STEPS[:-1]).all()
    assert (np.diff(with_zero) > 0).all()


def test_labels_of_neighboring_frequencies_do_not_overlap():
    assert spread([14, 41, 52], 3.0) == [14, 41, 52]
    assert spread([35, 41, 42], 3.0) == [35, 40, 43]
    places = spread([1, 2, 3, 4, 9, 11, 30], 3.0)
    assert min(np.diff(places)) >= 3.0 - 1e-12


def test_step_axis_is_compressed_below_the_first_steps_where_it_has_zero():
    assert style.compressed_below([0, 20, 100, 5000]) == 20
    assert style.compressed_below([0, 1, 10, 5000]) == 20
    assert style.compressed_below([0, 175, 5000]) == 175
    assert style.compressed_below([1, 10]) is None
    assert style.compressed_below([0]) == 1


@pytest.mark.parametrize("first", [20, 100, 175])
def test_half_way_after_step_0_is_on_the_line_of_the_figure(first):
    """The line from step 0 to the first checkpoint is straight on the axis, and half way is half of its length."""
    curve = llc().assign_coords(step=[0, first, 1000, 2000, 4000, 8000]).isel(seed=0)
    middle = find_change(curve.step.values, np.array([9.0, 1, 1, 1, 1, 1]), LOSS)["middle"].step
    forward, inverse = style.step_scale(style.compressed_below(curve.step.values) or 1)
    assert forward(middle) == pytest.approx((9 - 5) / (9 - 1) * forward(first))
    np.testing.assert_allclose(inverse(forward(STEPS)), STEPS, atol=1e-9)


def test_an_untrusted_estimate_does_not_set_the_axis_and_is_marked_on_the_frame():
    status = ("not a minimum", "effective", "effective", "effective", "effective", "melted")
    far = llc(status)
    far["llc"][0], far["llc"][-1] = -5e3, 1e9
    (axes,) = plots.llc_curve(far).axes
    low, high = axes.get_ylim()
    assert -100 < low < 20 - 1.96 * 2
    assert 60 + 1.96 * 6 < high < 200
    edges = [line.get_ydata() for line in axes.lines if line.get_transform() == axes.get_xaxis_transform()]
    assert {float(np.nanmax(edge)) for edge in edges} == {0, 1}  # below, above


@pytest.mark.parametrize(("low", "high"), [(0.07, 0.09), (3.1, 4.6), (6, 23), (0.9, 30), (1e-12, 1), (2e4, 9e4)])
def test_a_logarithmic_axis_always_has_some_labels(low, high):
    ticks = LogTicks().tick_values(low, high)
    assert 2 <= len(ticks) <= 6
    assert all(low * (1 - 1e-6) <= tick <= high * (1 + 1e-6) for tick in ticks)
    labels = LogNumbers().format_ticks(ticks)
    assert len(set(labels)) == len(ticks)


def test_hollow_points_are_not_trusted_and_diverged_ones_are_not_drawn():
    """Each untrusted status has its own hollow marker and its name in the legend; melted points are off the line."""
    status = ("melted", "approximate", "not converged", "diverged", "effective", "not a minimum")
    (axes,) = plots.llc_curve(llc(status)).axes
    marks = [line for line in axes.lines if line.get_linestyle() == "None" and line.get_marker() != "x"]
    filled, *hollow = [(line.get_markerfacecolor(), line.get_marker(), np.isfinite(line.get_ydata())) for line in marks]
    assert filled[0] != "white"
    assert filled[2].tolist() == [False, True, False, False, True, False]
    assert all(face == "white" for face, _, _ in hollow)
    assert len({marker for _, marker, _ in hollow}) == len(hollow) == 3
    drawn = np.sum([shown for _, _, shown in hollow], axis=0)
    assert drawn.tolist() == [1, 0, 1, 0, 0, 1]
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert {"melted, in no summary", "not converged", "not a minimum", "diverged, not drawn"} <= set(texts)
    (crosses,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert crosses.get_xdata().tolist() == [500]
    (line,) = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert np.isfinite(line.get_ydata()).tolist() == [False, True, True, False, True, True]


def test_band_is_the_interval():
    one = llc().assign(llc_low=llc().llc - 1, llc_high=llc().llc + 2)
    for dataset, low, high in ((llc(), 60 - 1.96 * 6, 60 + 1.96 * 6), (one, 59, 62)):
        vertices = plots.llc_curve(dataset).axes[0].collections[0].get_paths()[0].vertices
        at = vertices[vertices[:, 0] == 100, 1]
        assert (at.min(), at.max()) == pytest.approx((low, high))


def test_phases_are_spans_between_their_ends():
    ends = xr.Dataset(
        {"phase_step": (("seed", "phase_boundary"), [[250.0, 1500.0, 2200.0], [350.0, 1500.0, 2400.0]])},
        {"measure": ["excluded_loss"]},
    )
    spans = [(name, start, end) for name, _, start, end in phase_spans(ends)]
    assert spans == [("memorization", 0, 300), ("circuit formation", 300, 1500), ("cleanup", 1500, 2300)]
    assert len(phase_spans(ends.where(ends.phase_step < 1000))) == 1
    for first in (1.0, 0.0):  # memorized at step 0
        without_circuit = phase_spans(ends.assign_coords(measure=["llc"]) * [first, 1, 1])
        assert [name for name, *_ in without_circuit] == ["memorization"]


def test_transitions_are_in_order_with_the_widest_interval():
    one = xr.Dataset(
        {
            "transition_middle": (("measure", "seed"), [[900.0, 1000.0], [200.0, np.nan], [np.nan, np.nan]]),
            "transition_middle_low": (("measure", "seed"), [[800.0, 950.0], [np.nan, np.nan], [np.nan, np.nan]]),
            "transition_middle_high": (("measure", "seed"), [[950.0, 1100.0], [np.nan, np.nan], [np.nan, np.nan]]),
        },
        coords={"measure": ["llc", "train_loss", "test_loss"]},
    )
    assert middles(one) == [("train_loss", 200, 200, 200), ("llc", 950, 800, 1100)]


@pytest.mark.parametrize("p", [7, 53, 113, 307])
def test_a_grids_cell_is_a_whole_number_of_dots(p):
    figure, panels, _ = placed(p, 2, 3)
    for axes in (axes for row in panels for axes in row):
        box = axes.get_position()
        for side, inches in zip((box.width, box.height), figure.get_size_inches(), strict=True):
            cells = side * inches * 150 / p
            assert cells >= 1 - 1e-9
            assert cells == pytest.approx(round(cells), abs=1e-6)


@pytest.mark.parametrize(
    ("explains", "first"), [([False, True, True], 20), ([True, False, True], 100), ([True, True, False], np.nan)]
)
def test_a_network_is_explained_from_where_it_stays_explained(explains, first):
    program = xr.Dataset({"program_explains": ("step", explains)}, coords={"step": STEPS[:3]})
    np.testing.assert_equal(plots.explained_from(program).item(), first)


def test_missing_seeds_variables_and_figures_are_named():
    with pytest.raises(SltGrokError, match="expected a seed among 0, 1, got 5"):
        style.select_seed(llc(seeds=2), 5)
    with pytest.raises(SltGrokError, match="expected a variable llc_se"):
        plots.llc_curve(llc().drop_vars("llc_se"))
    with pytest.raises(AttributeError, match="no figure 'nothing_of_the_kind'"):
        plots.nothing_of_the_kind  # noqa: B018


def test_settings_of_matplotlib_are_left_alone():
    before = dict(matplotlib.rcParams)
    plots.phase_transition(llc=llc())
    assert dict(matplotlib.rcParams) == before
