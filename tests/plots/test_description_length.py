"""The length's figure: what is drawn where, for one seed and for several."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb

from slt_grok.errors import SltGrokError
from slt_grok.plots import description_length
from slt_grok.plots.description_length import LOOKS, OF_LLC

STEPS = np.array([0, 10, 100, 1000])


def datasets(seeds: int) -> tuple[xr.Dataset, xr.Dataset]:
    factor = 2.0 ** np.arange(seeds)[:, None]  # over seeds
    loss = np.array([10, 6000, 5000, 40]) * factor
    answers = np.array([16_000, 12_000, 8000, 41]) * factor
    shortest = np.stack([answers, loss], -1)
    bits = np.stack([shortest * 3, shortest], -1)
    share = np.broadcast_to([[1.0, 1.0], [1, 0.9], [0.6, 0.4], [0, 0]], (seeds, 4, 2))
    coords = {"seed": np.arange(seeds), "step": STEPS}
    program = xr.Dataset(
        {"program_bits": (("seed", "step", "keeps", "mixture"), bits),
         "network_bits": (("seed", "step", "keeps", "compression"), bits * 100),
         "table_share": (("seed", "step", "keeps"), share)},
        {**coords, "keeps": ["answers", "loss"], "mixture": ["clock", "table"], "compression": ["quantized", "pruned"]},
    )  # fmt: skip
    value = np.array([-1.0, 100, 50, 10]) * factor
    llc = xr.Dataset({"llc": (("seed", "step"), value), "llc_se": (("seed", "step"), value / 20)}, coords)
    return program, llc


def lines(axes, look, hollow=None) -> list[np.ndarray]:
    """Values of the lines of a color and marker; hollow or full ones alone where that is said."""
    found = []
    for line in axes.lines:
        if line.get_marker() != look.marker or to_rgb(line.get_markeredgecolor()) != to_rgb(look.color):
            continue
        if hollow is None or (to_rgb(line.get_markerfacecolor()) == (1, 1, 1)) == hollow:
            found.append(line.get_ydata())
    return found


def test_bits_of_program_and_llc_of_one_seed() -> None:
    program, llc = datasets(1)
    axes = description_length(program.isel(seed=0), llc.isel(seed=0), 1024).axes[0]
    assert axes.get_yscale() == "log"
    loss = LOOKS["program"]["loss"]
    np.testing.assert_allclose(lines(axes, loss, True)[0], [10, 6000, np.nan, np.nan])
    np.testing.assert_allclose(lines(axes, loss, False)[0], [np.nan, np.nan, 5000, 40])
    np.testing.assert_allclose(lines(axes, LOOKS["program"]["answers"], True)[0], [16_000, 12_000, 8000, np.nan])
    np.testing.assert_allclose(lines(axes, OF_LLC)[0], [np.nan, 1000, 500, 100])  # ten bits each, none below 0
    (band,) = axes.collections
    reach = band.get_paths()[0].vertices[:, 1]
    assert reach.max() == pytest.approx(1000 * (1 + 1.96 / 20))
    assert reach.min() == pytest.approx(100 * (1 - 1.96 / 20))
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[-1] == "mostly table"
    assert "n = 1,024" in labels[-2]
    assert axes.get_ylabel() == "Description length (bits)"


def test_several_seeds_have_their_mean_and_its_interval() -> None:
    axes = description_length(*datasets(3), 1024).axes[0]
    np.testing.assert_allclose(lines(axes, OF_LLC)[0], [np.nan, 2000, 1000, 200])  # of factors 1, 2 and 4
    assert len(axes.collections) == 5  # a band each
    reach = axes.collections[3].get_paths()[0].vertices[:, 1]  # of the program that keeps the loss
    # Student's t of 2 degrees of freedom, 4.303, times a standard deviation of log 2 over the root of 3
    assert reach.max() == pytest.approx(2 * 6000 * 2 ** (4.3027 / np.sqrt(3)), rel=1e-4)


def test_bad_input() -> None:
    program, llc = datasets(1)
    with pytest.raises(SltGrokError, match="expected a variable table_share"):
        description_length(program.drop_vars("table_share"), llc, 100)
    with pytest.raises(SltGrokError, match="at least 2 train pairs, got 0"):
        description_length(program, llc, 0)
    with pytest.raises(SltGrokError, match="expected a dimension step"):
        description_length(program.isel(step=0), llc, 100)
