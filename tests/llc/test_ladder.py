"""The ladder of temperatures on Gaussian posteriors, where every value has a closed form.

L = 1/2 sum h_i w_i^2 around w* = 0: at n_beta, w_i ~ N(0, 1 / (n_beta h_i + gamma)). Draws are independent. Statistical
limits are 4 standard errors, 6e-5 a comparison; seeds are fixed.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq

from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.llc.diagnostics import HEALTHY, ChainStatistics, average
from slt_grok.llc.ladder import TOLERANCES, at_tolerances, evidence, ladder, plateau
from slt_grok.llc.samplers.adaptive import AdaptiveLangevin
from slt_grok.llc.temperature import Temperature
from slt_grok.progress import ignore
from slt_grok.trajectories import Trajectory
from tests.conftest import CONFIG

H = np.geomspace(1e-3, 30.0, 40)
GAMMA, N, BASELINE = 5.0, 800.0, 0.01
CHAINS, DRAWS = 4, 3000


def excess(n_beta: float) -> float:
    """E L - L(w*) at a temperature."""
    return float((H / (n_beta * H + GAMMA)).sum() / 2)


def draws(n_beta: float, shape: tuple[int, ...], seed: int) -> np.ndarray:
    w = np.random.default_rng(seed).standard_normal((*shape, len(H))) / np.sqrt(n_beta * H + GAMMA)
    return (H * w**2).sum(-1) / 2


def rung(n_beta: float, seed: int) -> ChainStatistics:
    virial = np.ones((CHAINS, 4))
    losses = BASELINE + draws(n_beta, (CHAINS, DRAWS), seed)
    return ChainStatistics(losses, [HEALTHY] * CHAINS, BASELINE, n_beta, virial)


def test_rungs_are_even_in_their_logarithm_and_contain_the_configured_one() -> None:
    rungs = ladder(1123.0, 10.0, 16)
    assert len(rungs) == 16
    assert rungs[0] == pytest.approx(11230)
    assert rungs[-1] == pytest.approx(1.0)
    assert 1123.0 in rungs
    ratios = np.array(rungs[:-1]) / rungs[1:]
    assert ratios.min() > 1
    assert ratios.max() / ratios.min() < 1.3  # the two parts, above and below, are even each
    assert ladder(64.0, 1.0, 13) == pytest.approx(np.geomspace(64, 1, 13))


@pytest.mark.parametrize("configured", [1.0, 0.5])
def test_a_ladder_without_room_above_its_hottest_rung_is_refused(configured: float) -> None:
    with pytest.raises(SltGrokError, match=rf"n_beta \({configured:g}\) must be above 1"):
        ladder(configured, 10.0, 16)


@pytest.mark.parametrize("coldest", [0.5, 1e300])
def test_a_coldest_rung_out_of_range_is_refused(coldest: float) -> None:
    with pytest.raises(SltGrokError, match=r"temperature\.coldest: expected"):
        parse_config(CONFIG | {"temperature": {"coldest": coldest}}, "a test")


def test_a_ladder_extends_a_burn_in_that_is_too_short_to_tune_its_sampler() -> None:
    content = CONFIG | {"llc": {"preset": "hot", "batch_size": 10, "draws": 90}}
    config = parse_config(content, "a test")
    networks = Trajectory.of(config.network.module)
    networks = replace(networks, network=config.network)
    found = Temperature().ladders(networks, config.settings(Temperature), ignore)
    assert config.settings(Temperature).burn_in == 90
    assert found.attrs["burn_in"] == AdaptiveLangevin().adaptation
    assert np.isfinite(found.llc).all()


@pytest.mark.parametrize("rungs", [16, 30])
def test_evidence_is_that_of_laplace(rungs: int) -> None:
    truth = -N * BASELINE - np.log1p(N * H / GAMMA).sum() / 2
    ascending = [rung(n_beta, i) for i, n_beta in enumerate(reversed(ladder(N, 1.0, rungs)))]
    found = evidence(ascending, N, draws(0.0, (20_000,), 99))
    quadrature = {16: 0.05, 30: 0.01}[rungs]  # nats
    assert abs(found["log_evidence"] - truth) < 4 * found["log_evidence_se"] + quadrature
    assert abs(found["log_evidence_bennett"] - truth) < 4 * found["log_evidence_se"] + 0.05
    assert found["log_evidence_se"] < 0.1


def test_llc_at_equal_excess_loss_is_the_closed_form() -> None:
    n_betas = np.array(ladder(N, 10.0, 24))
    exact = np.array([n_beta * excess(n_beta) for n_beta in n_betas])
    found = at_tolerances(n_betas, exact, 1e-9 * exact)
    for tolerance, value in zip(TOLERANCES, found["llc_at_loss"], strict=True):
        n_beta = brentq(lambda x, e=tolerance: excess(x) - e, 1e-3, 1e7)
        if n_betas[-1] < n_beta < n_betas[0]:
            assert value == pytest.approx(n_beta * tolerance, rel=0.01)
        else:
            assert np.isnan(value)
    assert np.isfinite(found["llc_at_loss"]).sum() >= 2


def test_the_interval_at_equal_loss_covers() -> None:
    """Of 200 noisy ladders, the 95% interval covers the noiseless value in 186 to 198 (99.9% of a binomial)."""
    n_betas = np.array(ladder(N, 10.0, 16))
    exact = np.array([n_beta * excess(n_beta) for n_beta in n_betas])
    se = 0.03 * exact
    truth = at_tolerances(n_betas, exact, se)["llc_at_loss"]
    random, covered = np.random.default_rng(0), 0
    for seed in range(200):
        found = at_tolerances(n_betas, exact + se * random.standard_normal(len(exact)), se, seed)
        covered += found["llc_at_loss_low"][1] <= truth[1] <= found["llc_at_loss_high"][1]
    assert 180 <= covered <= 199


def test_a_tolerance_at_the_edge_of_the_rungs_has_no_value_without_an_interval() -> None:
    n_betas = np.geomspace(1000, 10, 12)
    edge = TOLERANCES[0] * n_betas[0] * 0.999  # LLC of the coldest rung: its excess loss is just below the tolerance
    found = at_tolerances(n_betas, np.full(12, edge), np.full(12, 0.01 * edge))
    assert np.isnan([values[0] for values in found.values()]).all()
    assert np.isfinite([values[1] for values in found.values()]).all()


def test_plateau() -> None:
    n_betas = np.geomspace(1000.0, 1.0, 40)
    assert plateau(n_betas, np.full(40, 20.0), 1000.0) == pytest.approx(1.0, rel=0.4)
    # 20 / (1 + c / n_beta) changes by 5% from n_beta to n_beta / 3 where (1 + 3 x) / (1 + x) = 1.05, x = c / n_beta
    edge = 1.0 / (0.05 / (3 - 1.05)) / 3
    assert plateau(n_betas, 20 / (1 + 1 / n_betas), 1000.0) == pytest.approx(edge, rel=0.25)
    assert np.isnan(plateau(n_betas, n_betas**0.3, 1000.0))
    assert np.isnan(plateau(n_betas, np.where(n_betas > 400, 20.0, 10.0), 1000.0))  # flat over less than a factor 3
    assert np.isnan(plateau(n_betas[:1], np.array([20.0]), 1000.0))


def test_colder_rungs_than_the_configured_one_do_not_count_for_the_plateau() -> None:
    n_betas = np.geomspace(10_000.0, 1.0, 41)
    falling = np.where(n_betas > 1001, 10.0, 20.0)
    assert plateau(n_betas, falling, 1000.0) == pytest.approx(1.0, rel=0.4)


def test_averages_of_a_rung_are_n_beta_times_its_excess() -> None:
    found = average(rung(N, 5))
    assert found.llc == pytest.approx(N * excess(N), abs=4 * found.llc_se)
