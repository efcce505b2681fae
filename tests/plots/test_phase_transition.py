"""The phase-transition figure has the promised panels, scales, bands and marks."""

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure

from slt_grok.errors import SltGrokError
from slt_grok.plots import phase_transition, save
from slt_grok.plots.phase_transition import phase_spans
from tests import synthetic

LABELS = ["Loss", "Accuracy", "LLC", "Loss", "Share,", "Weight", "Gradient,", "Barrier", "Transition"]


def labels(figure: Figure) -> list[str]:
    return [axes.get_ylabel().split()[0] for axes in figure.axes]


def panel(figure: Figure, label: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_ylabel().startswith(label))


def line(axes: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    found = next(artist for artist in axes.lines if artist.get_label() == label)
    return np.asarray(found.get_xdata(), dtype=float), np.asarray(found.get_ydata(), dtype=float)


@pytest.fixture(scope="module")
def figure() -> Figure:
    return phase_transition(**synthetic.datasets())


def test_panels_in_order_with_letters(figure):
    assert labels(figure) == LABELS
    for letter, axes in zip("abcdefghi", figure.axes, strict=True):
        assert letter in [text.get_text() for text in axes.texts]


def test_absent_datasets_leave_their_panels_out():
    data = synthetic.datasets()
    figure = phase_transition(training=data["training"], circuits=data["circuits"])
    assert labels(figure) == ["Loss", "Accuracy", "Loss", "Share,"]
    with pytest.raises(SltGrokError, match="at least one"):
        phase_transition(transitions=data["transitions"])


def test_step_axis_is_shared_logarithmic_and_shows_zero(figure):
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    axes = figure.axes[-1]
    assert axes.get_xscale() == "symlog"
    place = axes.transData.transform([(x, 0) for x in (0, 20, 200, 2000)])[:, 0]
    decades = np.diff(place)[1:]
    np.testing.assert_allclose(decades[0], decades[1], rtol=1e-9)
    assert 0 < place[1] - place[0] < decades[0] / 2
    assert axes.get_xlim()[0] <= 0 <= axes.get_xlim()[1] / 1000
    assert axes.xaxis.get_major_formatter()(0) == "0"
    assert 0 in axes.get_xticks()
    assert "logarithmic above 20" in axes.get_xlabel()


def test_step_axis_without_zero_is_logarithmic_throughout():
    data = synthetic.llc().isel(step=slice(1, None))
    axes = phase_transition(llc=data).axes[-1]
    assert axes.get_xscale() == "log"
    assert "linear" not in axes.get_xlabel()


def test_losses_are_drawn_on_a_logarithmic_axis_as_measured(figure):
    data = synthetic.training()
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    for split in ("train", "test"):
        x, y = line(axes, split)
        np.testing.assert_array_equal(x, data.step)
        np.testing.assert_array_equal(y, data[f"{split}_loss"].isel(seed=0))


def test_llc_band_is_the_interval(figure):
    data = synthetic.llc().isel(seed=0)
    band = next(c for c in panel(figure, "LLC").collections if isinstance(c, FillBetweenPolyCollection))
    vertices = band.get_paths()[0].vertices
    for step, low, high in zip(data.step.values, data.llc_low.values, data.llc_high.values, strict=True):
        edges = vertices[vertices[:, 0] == step, 1]
        np.testing.assert_allclose([edges.min(), edges.max()], [low, high])


def test_statuses_decide_how_a_point_is_drawn():
    data = synthetic.llc(diverged=(11,))
    axes = panel(phase_transition(llc=data), "LLC")
    points = [artist for artist in axes.lines if artist.get_marker() == "o"]
    filled, hollow = (
        next(a for a in points if (a.get_markerfacecolor() == "white") == empty) for empty in (False, True)
    )
    seen = np.flatnonzero(np.isfinite(np.asarray(filled.get_ydata(), dtype=float)))
    assert seen.tolist() == [i for i in range(3, 19) if i != 11]
    assert np.flatnonzero(np.isfinite(np.asarray(hollow.get_ydata(), dtype=float))).tolist() == [0, 1, 2]
    cross = next(artist for artist in axes.lines if artist.get_marker() == "x")
    assert np.asarray(cross.get_xdata()).tolist() == [synthetic.STEPS[11]]
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["LLC, 95% interval", "not a minimum", "diverged, not drawn"]


def test_llc_setting_is_written_beside_the_panel(figure):
    text = " ".join(text.get_text() for text in panel(figure, "LLC").texts)
    assert "underdamped" in text
    assert "= 30" in text
    assert "= 100" in text


def test_restricted_and_excluded_loss_are_undefined_without_a_circuit():
    circuits = synthetic.circuits(grok=False)
    circuits["restricted_loss_sum"] = circuits.loss * 1.0  # finite, as the formula gives for an empty set
    axes = phase_transition(circuits=circuits).axes[0]
    assert "no key frequency" in axes.texts[0].get_text()
    assert axes.get_legend() is None


def test_values_of_zero_and_below_are_marked_not_dropped(figure):
    barrier, hessian = panel(figure, "Barrier"), panel(figure, "Gradient")
    for axes, steps in ((barrier, synthetic.STEPS[5:7]), (hessian, synthetic.STEPS[:1])):
        marks = [np.asarray(a.get_xdata()).tolist() for a in axes.lines if a.get_marker() == "v"]
        assert list(steps) in marks
    x, y = line(barrier, "train")
    assert np.isnan(y[np.isin(x, synthetic.STEPS[5:7])]).all()  # the line does not bridge them


def test_hessian_steps_that_were_not_asked_for_are_bridged(figure):
    x, y = line(panel(figure, "Gradient"), "Hessian trace")
    assert x.tolist() == synthetic.STEPS[::2].tolist()
    assert np.isfinite(y[1:]).all()


def test_phases_are_spans_between_their_ends():
    names_and_ends = [(name, start, end) for name, _, start, end in phase_spans(synthetic.transitions())]
    assert names_and_ends == [("memorization", 0, 250), ("circuit formation", 250, 1500), ("cleanup", 1500, 2200)]
    assert [span[0] for span in phase_spans(synthetic.transitions(grok=False))] == ["memorization"]


def test_phases_are_shaded_in_every_panel_and_named(figure):
    spans = {(250.0, 1500.0), (0.0, 250.0), (1500.0, 2200.0)}
    for axes in figure.axes:
        found = {(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches}
        assert found == spans
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["memorization", "circuit formation", "cleanup"]


def test_transitions_are_marked_with_their_intervals(figure):
    middle, *_ = synthetic.MEASURES["test_accuracy"]
    drawn = [np.asarray(a.get_xdata(), dtype=float).tolist() for a in panel(figure, "Accuracy").lines]
    assert [middle, middle] in drawn
    assert pytest.approx([0.93 * middle, 1.08 * middle]) in drawn
    names = [text.get_text() for text in panel(figure, "Transition").texts]
    assert [n for n in names if n != "i"] == [
        "train accuracy",
        "restricted loss",
        "LLC",
        "excluded loss",
        "test accuracy",
    ]


def test_several_seeds_have_thin_lines_and_their_median():
    data = synthetic.training(seeds=3)
    axes = phase_transition(training=data).axes[0]
    _, y = line(axes, "train")
    np.testing.assert_allclose(y, np.median(data.train_loss, axis=1))
    thin = [np.asarray(a.get_ydata()) for a in axes.lines if a.get_linewidth() < 1 and len(np.asarray(a.get_ydata()))]
    for seed in range(3):
        assert any(np.array_equal(values, data.train_loss.isel(seed=seed)) for values in thin)


def test_a_trajectory_without_seed_is_drawn():
    data = {name: dataset.isel(seed=0) for name, dataset in synthetic.datasets().items()}
    assert labels(phase_transition(**data)) == LABELS


def test_a_run_whose_losses_are_not_finite_is_drawn(tmp_path):
    data = synthetic.training()
    save(phase_transition(training=data.map(lambda values: values * np.nan)), tmp_path, "lost")
    no_test_set = phase_transition(training=data.assign(test_loss=data.test_loss * np.nan))
    assert [text.get_text() for text in no_test_set.axes[0].get_legend().get_texts()] == ["train"]


def test_settings_of_matplotlib_are_left_alone():
    before = dict(matplotlib.rcParams)
    phase_transition(training=synthetic.training())
    assert dict(matplotlib.rcParams) == before
