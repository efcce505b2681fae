"""The causal figure draws what was measured."""

import numpy as np
import pytest
import xarray as xr

from slt_grok.circuits.causal import CONTROLS, LOSS, MOVED
from slt_grok.circuits.intervened import INTERVENTIONS
from slt_grok.errors import SltGrokError
from slt_grok.plots import causal, save

STEPS = [0, 100, 5000]


def made_up(seeds: int = 2) -> xr.Dataset:
    """Every value its own; no memorizing network."""
    moves = np.array([act.tokens is not None for act in INTERVENTIONS.values()])
    shape = (len(STEPS), seeds, len(moves), len(CONTROLS) + 1)
    values = 1.0 + np.arange(np.prod(shape)).reshape(shape)
    values = np.where(moves[:, None], values / values.max(), values)
    values[..., -1] = np.nan
    return xr.Dataset(
        {
            "effect": (("step", "seed", "test"), values[..., 0]),
            "control_effect": (("step", "seed", "test", "control"), values[..., 1:]),
            "circuit_frequency": (("seed", "frequency"), np.ones((seeds, 6), dtype=bool)),
        },
        coords={
            "step": STEPS, "seed": np.arange(seeds), "test": list(INTERVENTIONS), "control": list(CONTROLS),
            "quantity": ("test", np.where(moves, MOVED, LOSS)), "frequency": np.arange(1, 7),
        },
    )  # fmt: skip


def drawn(axes, label):
    line = next(line for line in axes.lines if line.get_label() == label)
    return np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)


def test_a_row_for_each_test_and_a_mark_for_each_network():
    data = made_up()
    losses, moved, along = causal(data, seed=1).axes
    one = data.sel(seed=1, step=5000)
    names = [label.get_text() for label in (*losses.get_yticklabels(), *moved.get_yticklabels())]
    assert names == list(INTERVENTIONS)
    assert losses.get_xscale() == "log"
    for label, values in (
        ("circuit", one.effect),
        ("all others", one.control_effect.sel(control="all other frequencies")),
        ("random, equal norm", one.control_effect.sel(control="random frequencies of equal norm")),
        ("untrained", one.control_effect.sel(control="untrained network")),
    ):
        both = np.concatenate([drawn(axes, label)[0] for axes in (losses, moved)])
        np.testing.assert_array_equal(both, values)
    assert "memorizing" not in [line.get_label() for line in losses.lines]
    markers = [line.get_marker() for line in losses.lines if not str(line.get_label()).startswith("_")]
    assert len(set(markers)) == len(markers) == 5
    for label, test in (("circuit", "planes rotated"), ("circuit (2k too)", "planes and accompanying rotated")):
        np.testing.assert_array_equal(drawn(along, label)[1], data.effect.sel(seed=1, test=test))


def test_another_step_and_one_step_alone(tmp_path):
    data = made_up()
    np.testing.assert_array_equal(
        drawn(causal(data, step=100).axes[1], "circuit")[0],
        data.effect.sel(step=100, seed=0).isel(test=slice(-3, None)),
    )
    figure = causal(data.isel(step=[-1]))
    assert len(figure.axes) == 2
    assert [path.suffix for path in save(figure, tmp_path, "causal")] == [".svg", ".png"]


def test_what_cannot_be_drawn_is_said():
    data = made_up()
    with pytest.raises(SltGrokError, match="step among 0, 100, 5000, got 7"):
        causal(data, step=7)
    with pytest.raises(SltGrokError, match="among 0, 1, got 3"):
        causal(data, seed=3)
    nothing = data.assign(circuit_frequency=data.circuit_frequency & False)
    (axes,) = causal(nothing).axes
    assert "no frequency" in axes.texts[0].get_text()
