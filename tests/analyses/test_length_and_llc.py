"""Lengths compared with the LLC on curves whose middles, lags and correlations are known."""

import numpy as np
import pytest
import xarray as xr
from length_and_llc import description_length, lengths
from scipy.special import expit
from scipy.stats import spearmanr

from slt_grok.errors import SltGrokError

STEPS = np.array([0, *np.unique(np.geomspace(10, 10_000, 40).astype(int))])


def fall(middle: np.ndarray, start: float, end: float, width: float = 0.15) -> np.ndarray:
    """A logistic fall in log(1 + step) for each middle, (step, seed)."""
    x = (np.log1p(STEPS)[:, None] - np.log1p(middle)) / width
    return end + (start - end) * expit(-x)


def datasets(middles: np.ndarray, later: float, noise: float = 0.0) -> tuple[xr.Dataset, xr.Dataset]:
    """The loss's program falls by `later` in log step behind an LLC that falls at `middles`; the network does not."""
    at = np.expm1(np.log1p(middles) + later)
    answers, loss = fall(middles, 9000, 50), fall(at, 6000, 40)
    table = np.stack([np.full_like(loss, 10_000), np.full_like(loss, 7000)], 2)
    bits = np.stack([np.stack([answers, loss], 2), table], 3)  # (step, seed, keeps, mixture)
    network = np.broadcast_to(np.array([5e5, 4e5]), (*loss.shape, 2, 2))
    coords = {"step": STEPS, "seed": np.arange(len(middles)), "keeps": ["answers", "loss"]}
    program = xr.Dataset(
        {"program_bits": (("step", "seed", "keeps", "mixture"), bits),
         "network_bits": (("step", "seed", "keeps", "compression"), network)},
        {**coords, "mixture": ["clock", "table"], "compression": ["quantized", "pruned"]},
    )  # fmt: skip
    generator = np.random.default_rng(0)
    value = fall(middles, 120, 10) * (STEPS > 0)[:, None]  # it has nothing before it learned
    value = value + noise * generator.standard_normal(value.shape)
    llc = xr.Dataset(
        {"llc": (("step", "seed"), value), "llc_se": (("step", "seed"), np.full_like(value, max(noise, 0.1)))},
        {"step": STEPS, "seed": np.arange(len(middles))},
    )
    return program, llc


def test_bits_are_the_shortest_and_the_llc_in_bits() -> None:
    program, llc = datasets(np.array([500.0]), 0.0)
    found = lengths(program, llc, 1024).bits.isel(seed=0)
    np.testing.assert_allclose(found.sel(measure="llc"), 10 * llc.llc.isel(seed=0))
    np.testing.assert_allclose(found.sel(measure="program_loss"), fall(np.array([500.0]), 6000, 40)[:, 0])
    assert (found.sel(measure="network_answers") == 4e5).all()
    assert found.measure.values.tolist()[0] == "llc"


def test_steps_that_one_of_them_lacks_are_left_out() -> None:
    program, llc = datasets(np.array([500.0]), 0.0)
    found = lengths(program.isel(step=slice(0, None, 2)), llc, 1024)
    np.testing.assert_array_equal(found.step, STEPS[::2])
    lost = llc.assign(llc_status=llc.llc.copy(data=np.where(STEPS[:, None] == STEPS[4], "diverged", "effective")))
    assert np.isnan(lengths(program, lost, 1024).bits.sel(measure="llc", step=STEPS[4])).all()


def test_one_seed_has_middles_and_no_lag() -> None:
    found = description_length(*datasets(np.array([500.0]), 0.5), 1024).isel(seed=0)
    for measure, middle in (("llc", 500), ("program_answers", 500), ("program_loss", 500 * np.exp(0.5))):
        own = found.sel(measure=measure)
        assert own.middle_low <= middle <= own.middle_high
        assert own.middle == pytest.approx(middle, rel=0.03)
    assert np.isnan(found.middle.sel(measure="network_loss"))  # it does not change
    assert np.isnan(found.lag).all()
    assert found.seeds.values.tolist() == [1, 1, 0, 1, 0]
    peak, half, end = found.checkpoint.values.tolist()
    assert peak == STEPS[1]
    assert STEPS[np.searchsorted(STEPS, half) - 1] <= 500 <= half
    assert end == STEPS[-1]
    np.testing.assert_allclose(
        found.bits.sel(measure="program_answers", at="end"), fall(np.array([500.0]), 9000, 50)[-1]
    )


def test_the_changes_of_one_and_the_same_curve_are_in_one_order() -> None:
    program, llc = datasets(np.array([500.0]), 1.5)
    found = description_length(program, llc, 1024).isel(seed=0)
    assert found.rank_correlation.sel(measure="program_answers") == pytest.approx(1)
    both = lengths(program, llc, 1024).bits.isel(seed=0, step=slice(1, None))
    values = spearmanr(both.sel(measure="llc"), both.sel(measure="program_loss")).statistic
    assert values == pytest.approx(1)  # both fall, at other times
    assert found.rank_correlation.sel(measure="program_loss") < 0.6
    assert np.isnan(found.rank_correlation.sel(measure=["llc", "network_loss"])).all()


@pytest.mark.parametrize("later", [0.4, -0.4])
def test_a_lag_over_seeds_is_found(later: float) -> None:
    middles = np.array([300.0, 420, 500, 640, 900, 1100])
    found = description_length(*datasets(middles, later, noise=0.5), 1024)
    own = found.sel(measure="program_loss")
    assert own.lag_low <= later <= own.lag_high
    assert own.lag_high - own.lag_low < 0.3
    assert own.p_value < 0.001
    together = found.sel(measure="program_answers")
    assert together.lag_low <= 0 <= together.lag_high
    assert found.seeds.sel(measure=["program_loss", "program_answers", "network_loss"]).values.tolist() == [6, 6, 0]


def test_what_cannot_be_compared() -> None:
    program, llc = datasets(np.array([500.0]), 0.0)
    with pytest.raises(SltGrokError, match="program: expected a variable program_bits"):
        lengths(program.drop_vars("program_bits"), llc, 1024)
    with pytest.raises(SltGrokError, match="at least 2 train pairs, got 1"):
        lengths(program, llc, 1)
    with pytest.raises(SltGrokError, match="common checkpoints and seeds"):
        lengths(program, llc.assign_coords(seed=[9]), 1024)
    with pytest.raises(SltGrokError, match="a finite estimate for every seed"):
        description_length(program, llc * np.nan, 1024)
