"""Embedding circles, activation grids and the logits' spectrum are drawn as measured."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PathCollection

from slt_grok import plots
from slt_grok.errors import SltGrokError
from slt_grok.plots.activation_grids import placed

P, KEYS = 13, [2, 5]
STEPS, SEEDS, FREQUENCY = [10, 90], [0, 1], np.arange(1, 7)


def maps(circuit: bool = True) -> xr.Dataset:
    """Two steps and seeds: circles at frequencies 2 and 5 with all else small, three neurons of 2 and two of 5."""
    rng = np.random.default_rng(0)
    turns = 2 * np.pi / P * (FREQUENCY[:, None] * np.arange(P) % P)
    size = np.where(np.isin(FREQUENCY, KEYS), 3.0, 0.1)[:, None, None]
    plane = size * np.stack([np.cos(turns), np.sin(turns)], -1) + 0.01 * rng.standard_normal((2, 2, 6, P, 2))
    share = np.array([0.01, 0.5, 0.02, 0.03, 0.4, 0.04])
    logits = np.full((2, 2, P, P), 0.01)
    for k in KEYS:
        logits[:, :, 2 * k - 1 : 2 * k + 1, 2 * k - 1 : 2 * k + 1] = 10
    logits[..., 0, 0] = 50
    lead, waves = ("step", "seed"), ["1", *(f"{wave} {k}" for k in FREQUENCY for wave in ("cos", "sin"))]
    data = xr.Dataset(
        {
            "embedding_plane": ((*lead, "frequency", "token", "part"), plane),
            "embedding_plane_share": ((*lead, "frequency"), np.broadcast_to(share, (2, 2, 6))),
            "embedding_plane_fve": ((*lead, "frequency"), np.full((2, 2, 6), 0.9876)),
            "logit_fourier_norm": ((*lead, "component_a", "component_b"), logits),
            "circuit_frequency": (("seed", "frequency"), np.isin([FREQUENCY] * 2, KEYS) & circuit),
        },
        coords={"step": STEPS, "seed": SEEDS, "frequency": FREQUENCY, "part": ["cosine", "sine"]}
        | {"component_a": waves, "component_b": waves},
    )
    if not circuit:
        return data
    return data.assign(
        example_activation=((*lead, "example", "a", "b"), rng.random((2, 2, 6, P, P))),
        example_fve=((*lead, "example"), rng.random((2, 2, 6))),
        example_neuron=(("seed", "example"), [[7, 8, 9, 4, 3, -1]] * 2),
        example_frequency=(("seed", "example"), [[2, 2, 2, 5, 5, 0]] * 2),
    )


def test_tokens_stand_where_they_are_in_the_order_of_k_t():
    data = maps()
    figure = plots.embedding_circles(data, seed=1)
    panels = figure.axes[:6]
    for row, step in enumerate(STEPS):
        for axes, k in zip(panels[3 * row : 3 * row + 3], [2, 5, 3], strict=True):
            order = [pow(k, -1, P) * j % P for j in range(P)]
            expected = data.embedding_plane.sel(step=step, seed=1, frequency=k).values[order]
            points = next(c for c in axes.collections if isinstance(c, PathCollection))
            np.testing.assert_allclose(np.asarray(points.get_offsets()), expected)
            np.testing.assert_array_equal(points.get_array(), np.arange(P))
            np.testing.assert_allclose(np.stack(axes.lines[0].get_data(), -1), [*expected, expected[0]])
            assert axes.get_aspect() == 1
            assert axes.get_xlim() == axes.get_ylim() == panels[3 * row].get_xlim()


def test_circles_say_frequency_share_and_control():
    first, second, control = plots.embedding_circles(maps()).axes[:3]
    assert first.get_title() == "$k$ = 2\n50% of norm\nFVE 0.988"
    assert second.get_title() == "$k$ = 5\n40% of norm\nFVE 0.988"
    assert control.get_title() == "$k$ = 3, control\n2% of norm\nFVE 0.988"  # the lower one of the two middle ones


def test_frequencies_without_a_plane_are_left_out():
    data = maps()
    few = data.embedding_plane.where(data.frequency.isin(KEYS))
    share = data.embedding_plane_share.where(data.frequency.isin(KEYS))
    figure = plots.embedding_circles(data.assign(embedding_plane=few, embedding_plane_share=share))
    assert [axes.get_title().split("\n")[0] for axes in figure.axes[:2]] == ["$k$ = 2", "$k$ = 5"]
    assert len(figure.axes) == 2 * 2 + 1


def test_grids_hold_the_activations_in_units_of_the_largest():
    data = maps()
    figure = plots.activation_grids(data, seed=1, step=10)
    one = data.sel(seed=1, step=10)
    panels = figure.axes[:6]
    for example, axes in enumerate(panels[:5]):
        values = one.example_activation[example].values
        np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), values / values.max())
        name, fve = int(one.example_neuron[example]), float(one.example_fve[example])
        assert axes.get_title() == f"neuron {name}\n$k$ = {2 if example < 3 else 5}, FVE {fve:.2f}"
    assert not panels[5].axison  # frequency 5 has two neurons


@pytest.mark.parametrize("p", [7, 53, 113, 307])
def test_a_grids_cell_is_a_whole_number_of_dots(p):
    figure, panels, _ = placed(p, 2, 3)
    for axes in (axes for row in panels for axes in row):
        box = axes.get_position()
        for side, inches in zip((box.width, box.height), figure.get_size_inches(), strict=True):
            cells = side * inches * 150 / p
            assert cells >= 1 - 1e-9
            assert cells == pytest.approx(round(cells), abs=1e-6)


def test_a_negative_activation_has_a_color_and_a_silent_neuron_is_drawn():
    data = maps()
    activation = data.example_activation.copy()
    activation[1, 0, 0, 0, 0] = -0.17 * activation[1, 0, 0].max()
    activation[1, 0, 1] = 0
    figure = plots.activation_grids(data.assign(example_activation=activation))
    assert figure.axes[0].images[0].get_clim() == pytest.approx((-0.17, 1))
    assert not np.asarray(figure.axes[1].images[0].get_array()).any()


def test_the_logits_spectrum_names_the_circuit_and_its_share():
    data = maps()
    axes = plots.logit_spectrum(data, seed=1).axes[0]
    image = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(image, np.maximum(data.logit_fourier_norm.sel(step=90, seed=1), 50 / 1e4))
    for axis in (axes.xaxis, axes.yaxis):
        assert list(axis.get_majorticklocs()) == [0, 3.5, 9.5]  # between rows 3 and 4, and 9 and 10
    assert [text.get_text() for text in axes.texts] == ["1", "1", "2", "2", "5", "5"]
    # 8 of 168 components of 10, the others 0.01; the constant does not count
    assert axes.get_title(loc="left") == (
        "Step 90\n100% of the squared norm in the circuit's 2 × 2 blocks,\n4.8% of the components"
    )


def test_without_a_circuit_they_say_so():
    data = maps(circuit=False)
    assert "no frequency" in plots.embedding_circles(data).axes[0].texts[0].get_text()
    assert "no neuron" in plots.activation_grids(data).axes[0].texts[0].get_text()
    assert plots.logit_spectrum(data).axes[0].get_title(loc="left") == "Step 90"


@pytest.mark.parametrize("draw", [plots.activation_grids, plots.logit_spectrum])
def test_a_step_that_is_not_there(draw):
    with pytest.raises(SltGrokError, match="step among 10, 90, got 11"):
        draw(maps(), step=11)


@pytest.mark.parametrize("draw", [plots.embedding_circles, plots.activation_grids, plots.logit_spectrum])
def test_a_seed_that_is_not_there(draw):
    with pytest.raises(SltGrokError, match="seed among 0, 1, got 2"):
        draw(maps(), seed=2)
