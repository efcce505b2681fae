"""Statuses, errors and intervals from planted draws whose truth is known.

Simulated coverages and z-scores have limits of 4 standard errors; fails by chance with probability 0.1%. Seeds fixed.
"""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from slt_grok.llc.diagnostics import (
    HEALTHY,
    TRUSTED,
    Average,
    ChainStatistics,
    LLCStatus,
    Status,
    assess,
    average,
    chain_health,
    interval,
    is_out_of_reach,
    limit_to_interval,
)

LLC, SPREAD, BASELINE, N_BETA = 10.0, 1.0, 0.5, 40.0


def planted(
    seed: int = 0,
    chains: int = 8,
    draws: int = 400,
    rho: float = 0.0,
    shift: Any = 0.0,
    virial: Any = 1.0,
    health: list[str] | None = None,
) -> ChainStatistics:
    """Stationary AR(1) draws of mean LLC and standard deviation SPREAD, in LLC units, plus a shift (chain, draw)."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((chains, draws)) * (1 - rho**2) ** 0.5
    noise[:, 0] = rng.standard_normal(chains)
    excess = LLC + SPREAD * lfilter([1.0], [1.0, -rho], noise, axis=1) + shift
    looks = virial + 0.05 * rng.standard_normal((chains, 32))
    return ChainStatistics(BASELINE + excess / N_BETA, health or [HEALTHY] * chains, BASELINE, N_BETA, looks)


def status(statistics: ChainStatistics, finite_minimizer: bool = True, hotter: float | None = LLC) -> tuple[str, str]:
    cold = average(statistics)
    other = None if hotter is None else cold._replace(llc=hotter / LLC * cold.llc)
    found = assess(cold, statistics, finite_minimizer, other)
    assert found.status in LLCStatus
    return found.status, found.reason


RAMP = np.linspace(-0.06, 0.06, 400) * LLC  # R-hat hardly sees it
ONE_HIGH = np.array([0.0] * 7 + [0.3 * LLC])[:, None]
SLIGHT = np.linspace(-0.01, 0.01, 400) * LLC


@pytest.mark.parametrize(
    ("change", "word", "reason"),
    [
        ({}, "converged", "from n_beta / 16"),
        ({"shift": RAMP}, "not converged (likely low)", "second half of the draws exceeds that of the first by 0.6"),
        ({"shift": -RAMP}, "not converged", "second half of the draws is below that of the first by 0.5"),
        ({"virial": 0.8}, "not converged (likely low)", "virial is 0.80"),
        ({"virial": 1.2}, "not converged", "virial is 1.20"),
        ({"shift": ONE_HIGH + SLIGHT}, "not converged (likely low)", "chains disagree"),
        ({"shift": ONE_HIGH - SLIGHT}, "not converged", "chains disagree"),
        ({"shift": -LLC - 0.5}, "not a minimum", "continue training"),
        ({"health": ["diverged: loss not finite at update 3"] * 8}, "diverged", "loss not finite at update 3"),
        ({"health": [*[HEALTHY] * 6, *["diverged: x"] * 2]}, "converged", "2 of 8 chains omitted"),
    ],
)
def test_statuses(change: dict[str, Any], word: str, reason: str) -> None:
    found = status(planted(**change))
    assert found[0] == word
    assert re.search(reason, found[1])


@pytest.mark.parametrize(
    ("hotter", "finite", "word", "reason"),
    [
        (LLC, False, "effective", "effective sample size"),
        (None, True, "effective", "no estimate at n_beta / 16"),
        (0.9 * LLC, False, "effective", "effective sample size"),  # without a finite minimizer no limit is promised
        (0.9 * LLC, True, "not converged (likely low)", "changes by 10.0%"),
        (1.1 * LLC, True, "not converged", "changes by -10"),
        (0.97 * LLC, True, "converged", "changes by 3.0%"),
    ],
)
def test_statuses_over_temperatures(hotter: float | None, finite: bool, word: str, reason: str) -> None:
    found = status(planted(), finite, hotter)
    assert found[0] == word
    assert reason in found[1]


def test_a_change_within_its_error_is_no_change() -> None:
    """160 draws of spread 0.9 LLC know the mean to 7%: 10% between two such means says nothing."""
    noisy = planted(chains=4, draws=40, shift=0.9 * LLC * np.random.default_rng(3).standard_normal((4, 40)))
    found = average(noisy)
    assert 0.055 * LLC < found.llc_se < 0.2 * LLC
    for share in (0.9, 1.1):
        hotter = found._replace(llc=share * found.llc)
        assert assess(found, noisy, True, hotter).status == "approximate"  # 160 draws are too few for more
    assert assess(found, noisy, True, found._replace(llc=0.1 * found.llc)).status == "not converged (likely low)"


def test_up_to_the_old_limits_a_value_is_approximate() -> None:
    good = average(planted())
    for change, word in (
        ({}, "converged"),
        ({"nested_rhat": 1.01, "ess": 400.0}, "converged"),
        ({"rhat": 1.1}, "converged"),  # many short chains
        ({"nested_rhat": 1.011}, "approximate"),
        ({"ess": 399.0}, "approximate"),
        ({"rhat": 1.1, "nested_rhat": 1.05, "ess": 50.0}, "approximate"),
        ({"rhat": 1.11}, "not converged (likely low)"),
        ({"rhat": np.nan}, "not converged (likely low)"),
    ):
        found = good._replace(drift=0.01, **change)
        assert assess(found, planted(), True, good).status == word
    assert LLCStatus.APPROXIMATE in TRUSTED


def test_the_nested_rhat_is_the_plain_one_of_few_chains_and_near_one_of_many() -> None:
    few, many = (average(planted(chains=chains, draws=100, rho=0.9)) for chains in (8, 100))
    assert few.nested_rhat == few.rhat
    # 96 chains of 100 / 19 effective draws: in groups of 12 there are 32 per half
    assert many.rhat > 1.06
    assert many.nested_rhat < 1.03
    # groups that disagree, or a common drift, are seen as well as among few chains
    apart = np.repeat(np.arange(8), 12)[:, None] * 0.2 * SPREAD
    assert average(planted(chains=96, draws=100, shift=apart)).nested_rhat > 1.05
    assert average(planted(chains=96, draws=400, shift=RAMP)).nested_rhat > 1.02


def test_an_interval_of_ten_percent_is_approximate() -> None:
    found, status = exactly(LLC), Status(LLCStatus.CONVERGED, "well")
    assert limit_to_interval(status, found, 0.901 * LLC, 1.099 * LLC) == status
    for low, high in ((0.89, 1.0), (1.0, 1.11)):
        limited = limit_to_interval(status, found, low * LLC, high * LLC)
        assert limited.status == "approximate"
        assert "interval reaches 1.1" in limited.reason
    other = Status(LLCStatus.LIKELY_LOW, "rising")
    assert limit_to_interval(other, found, 0.0, 2 * LLC) == other


def test_a_network_that_can_still_descend_is_no_minimum() -> None:
    """The limit is 5% of the LLC, or its standard error: 0.5 and about 0.02 here."""
    good = planted()
    found = average(good)
    for gain, word in ((0.04 * LLC, "converged"), (0.06 * LLC, "not a minimum"), (np.inf, "not a minimum")):
        assert assess(found, good, True, found, descent=gain).status == word
    few = found._replace(llc=-0.9, llc_se=0.6)  # not significantly negative
    assert assess(few, good, False, descent=0.5).status != "not a minimum"
    assert assess(few, good, False, descent=0.7).status == "not a minimum"


def test_a_worse_finding_comes_first() -> None:
    """Diverged before anything, a negative LLC before what the draws do, a rise before a temperature's change."""
    assert status(planted(shift=-3 * LLC, health=["diverged: x"] * 8))[0] == "diverged"
    assert status(planted(shift=RAMP - 2 * LLC))[0] == "not a minimum"
    assert "second half" in status(planted(shift=RAMP), hotter=0.5 * LLC)[1]
    assert status(planted(shift=RAMP), False, None)[0] == "not converged (likely low)"


def test_a_chain_left_out_is_not_averaged() -> None:
    shift = np.zeros((8, 1))
    shift[[2, 5]] = 1e6
    health = [HEALTHY] * 8
    health[2] = health[5] = "diverged: x"
    found, right = average(planted(shift=shift, health=health)), planted(health=health)
    keep = [0, 1, 3, 4, 6, 7]
    assert found.llc == pytest.approx(N_BETA * (right.draws[keep].mean() - BASELINE))
    assert found.virial == pytest.approx(right.virial[keep].mean())
    assert all(np.isnan(value) for value in average(planted(health=["diverged: x"] * 8)))


def test_drift_is_the_second_half_minus_the_first() -> None:
    step = np.repeat([0.0, 0.7], 200)
    still, found = average(planted()), average(planted(shift=step))
    assert found.drift - still.drift == pytest.approx(0.7)
    assert found.drift_se == pytest.approx(SPREAD * (2 / 1600) ** 0.5, rel=0.6)  # the larger of two noisy errors


def test_share_below_the_baseline() -> None:
    assert average(planted(shift=-LLC)).fraction_below == pytest.approx(0.5, abs=4 * 0.5 / 3200**0.5)
    assert average(planted()).fraction_below == 0


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_error_and_effective_sample_size_of_correlated_draws(rho: float) -> None:
    """n (1 - rho) / (1 + rho) effective draws, and a standard error of SPREAD over its root."""
    found = [average(planted(seed, draws=1000, rho=rho)) for seed in range(20)]
    ess = 8000 * (1 - rho) / (1 + rho)
    assert np.median([one.ess for one in found]) == pytest.approx(ess, rel=0.12)
    right = SPREAD / ess**0.5
    # the larger of two estimates of one error, the chains' own with 7 degrees of freedom: 0 to 20% too large
    assert right * 0.97 < np.mean([one.llc_se for one in found]) < 1.25 * right
    assert np.median([one.rhat for one in found]) < 1.02


@pytest.mark.parametrize(("rho", "chains"), [(0.0, 4), (0.8, 4), (0.8, 16)])
def test_the_interval_covers(rho: float, chains: int) -> None:
    """95% by design; the larger of two errors covers up to 98%, and few effective draws cost some per cent."""
    runs = 300
    inside = 0
    for seed in range(runs):
        low, high = interval(average(planted(seed, chains=chains, draws=200, rho=rho)))
        inside += low < LLC < high
    noise = 4 * (0.95 * 0.05 / runs) ** 0.5
    assert 0.95 - noise < inside / runs < 0.985 + noise / 2


def exactly(llc: float) -> Average:
    return Average(llc, 0.0, 1.0, 1.0, 1e3, 0.0, 0.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_interval_reaches_the_limit_of_a_singular_direction(k: int) -> None:
    """LLC(n_beta) = lambda - c n_beta^(-1/k) of a direction of order 2k, without statistical error."""
    n_beta, c = 1e4, 2.0
    found, hotter = (exactly(LLC - c * b ** (-1 / k)) for b in (n_beta, n_beta / 16))
    low, high = interval(found, hotter)
    assert low == found.llc < LLC <= high


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("n_beta", [1e3, 1e5, 1e8])
@pytest.mark.parametrize("unit", [1.0, 0.1, 1e6])
def test_the_interval_reaches_the_limit_of_a_multiplicity(m: int, n_beta: float, unit: float) -> None:
    """LLC(n_beta) = lambda - (m - 1) / (log n_beta + constant), which no plateau shows, in any unit of the loss."""
    found, hotter = (exactly(LLC - (m - 1) / np.log(unit * b)) for b in (n_beta, n_beta / 16))
    low, high = interval(found, hotter)
    assert low == found.llc <= LLC <= high + 1e-12
    assert (m == 1) == (high == low)


def test_a_multiplicity_hidden_in_noise_is_covered() -> None:
    """The change of m = 2 from n_beta / 16 to n_beta is two standard errors here: chance hides it in some seeds."""
    n_beta, error, runs = 1e5, 0.01, 2000
    noise = np.random.default_rng(0).normal(0, error, (runs, 2))
    inside = 0
    for own, other in noise:
        found = exactly(0.5 - 1 / np.log(n_beta) + own)._replace(llc_se=error)
        hotter = exactly(0.5 - 1 / np.log(n_beta / 16) + other)._replace(llc_se=error)
        low, high = interval(found, hotter)
        inside += low <= 0.5 <= high
    assert inside / runs > 0.95 - 4 * (0.95 * 0.05 / runs) ** 0.5


def test_a_regular_point_has_no_multiplicity_to_gain() -> None:
    found, hotter = exactly(LLC), exactly(0.98 * LLC)
    low, high = interval(found, hotter, regular=True)
    assert (low, high) == (LLC, pytest.approx(1.02 * LLC))
    assert interval(found, hotter)[1] > high


def test_a_falling_change_only_leaves_room_for_a_multiplicity_within_its_error() -> None:
    found, hotter = exactly(LLC)._replace(llc_se=0.2), exactly(1.5 * LLC)
    assert interval(found, hotter)[1] == interval(found, exactly(LLC))[1] > interval(found)[1]
    assert interval(found, hotter, regular=True) == interval(found) == (LLC - 1.96 * 0.2, LLC + 1.96 * 0.2)


STILL = np.ones(32)


def test_health_names_the_first_update_that_is_not_finite() -> None:
    losses = np.full(100, BASELINE)
    assert chain_health(losses, BASELINE, N_BETA, 50, STILL) == HEALTHY
    losses[[37, 60]] = np.nan, np.inf
    assert chain_health(losses, BASELINE, N_BETA, 50, STILL) == "diverged: loss not finite at update 37"


@pytest.mark.parametrize(("d", "excess", "virial"), [(5, 30, 12), (30, 30, 2), (200, 200, 2)])
def test_an_unstable_step_shows_in_excess_and_virial(d: int, excess: int, virial: int) -> None:
    """Only the last half counts: what comes before may be the way down."""
    for high, looks, healthy in (
        (excess + 0.1, virial - 0.1, True),  # a loss that is not smooth, or saturates
        (excess - 0.1, virial + 0.1, True),  # few looks vary
        (excess + 0.1, virial + 0.1, False),
        (excess + 0.1, np.nan, False),
        (excess + 0.1, np.inf, False),
    ):
        losses = np.concatenate([np.full(50, 1e3), np.full(50, BASELINE + high / N_BETA)])
        health = chain_health(losses, BASELINE, N_BETA, d, looks * STILL)
        assert (health == HEALTHY) == healthy
        assert healthy or "unstable step" in health


@pytest.mark.parametrize("degree", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("d", [1, 100, 2000])
def test_exact_draws_of_a_homogeneous_loss_are_healthy(degree: float, d: int) -> None:
    """L = sum |u|^k without localization: n_beta L is Gamma(d/k), and the virial k n_beta L / d.

    Every draw of a chain must be within its bound: fails by chance with probability below 1e-15.
    """
    rng = np.random.default_rng(0)
    excess = rng.gamma(d / degree, size=(81, 2000))
    losses = BASELINE + excess / N_BETA
    for chain, looks in zip(losses, degree * excess[:, ::64] / d, strict=True):
        assert chain_health(chain, BASELINE, N_BETA, d, looks, bounded=True) == HEALTHY
    virial = degree * excess[:, ::64] / d
    assert not is_out_of_reach(losses[None, None], virial[None, None], np.array([BASELINE]), [N_BETA], d)


def test_one_loss_out_of_reach_is_found_among_many() -> None:
    losses = BASELINE + np.random.default_rng(0).gamma(50, size=(1, 2, 8, 500)) / N_BETA
    baselines, n_betas, virial = np.array([BASELINE]), [N_BETA, N_BETA], np.ones((1, 2, 8, 32))
    assert not is_out_of_reach(losses, virial, baselines, n_betas, 100)
    for wrong in (BASELINE + 180 / N_BETA, np.nan, np.inf):  # 50 + 10 sqrt(50) + 50 = 170.7
        losses[0, 1, 3, 77] = wrong
        assert is_out_of_reach(losses, virial, baselines, n_betas, 100)
        assert chain_health(losses[0, 1, 3], BASELINE, N_BETA, 100, STILL, bounded=True) != HEALTHY


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.1, 100), offset=st.floats(-5, 5))
def test_units_and_origin_of_the_loss_do_not_matter(scale: float, offset: float) -> None:
    plain = planted(rho=0.5)
    moved = ChainStatistics(
        scale * (plain.draws + offset), plain.health, scale * (plain.baseline + offset), N_BETA / scale, plain.virial
    )
    np.testing.assert_allclose(average(moved), average(plain), rtol=1e-6, atol=1e-9)
