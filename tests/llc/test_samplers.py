"""Every sampler against posteriors whose moments are known, and against what must not change a trajectory.

Statistical limits are 4.5 standard errors, 7e-6 a comparison; with some 300 comparisons the file fails by chance with
probability 0.2%. Its seeds are fixed.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Tensor

from slt_grok.llc import HMC, MALA, SGLD, AdaptiveLangevin, LeimkuhlerMatthews, RMSpropSGLD, UnderdampedLangevin
from slt_grok.llc.samplers.sampler import Sampler
from tests.llc.gaussians import Rotated, SeededNoise, Stacked, evaluator, orthogonal, posterior_around, quadratic, run

LIMIT = 4.5
CHAINS = 20_000
H = torch.tensor([0.5, 2.0, 10.0], dtype=torch.float64)
N_BETA, GAMMA = 20.0, 10.0
A = N_BETA * H + GAMMA
TOP = A.max().item()
CENTER, MINIMUM = torch.tensor([[1.0, -2.0, 0.5]]).double(), torch.tensor([[1.3, -1.8, 0.6]]).double()

Variance = Callable[[Any], Tensor]


def sgld_variance(epsilon: float) -> Variance:
    return lambda state: 1 / (A * (1 - epsilon * A / 4))


def rmsprop_variance(sampler: RMSpropSGLD, epsilon: float) -> Variance:
    return lambda state: 1 / (A * (1 - epsilon * sampler.preconditioner(state.square_average) * A / 4))


def exact(state: Any) -> Tensor:
    return 1 / A


def cases() -> list[Any]:
    """(sampler, variance of each direction, updates) at several step sizes each; the largest near the stable limit."""
    found: list[tuple[str, Sampler, Variance, int]] = []
    for share in (0.4, 1.5, 3.0):  # epsilon A, unstable from 4 on
        epsilon, updates = share / TOP, math.ceil(130 / share)
        found.append((f"sgld {share}", SGLD(epsilon), sgld_variance(epsilon), updates))
        found.append((f"leimkuhler-matthews {share}", LeimkuhlerMatthews(epsilon), exact, updates))
        held = RMSpropSGLD(epsilon / 2, adaptation=30)
        found.append((f"rmsprop {share}", held, rmsprop_variance(held, epsilon / 2), 30 + updates))
    for share in (0.3, 1.0, 1.8):  # h sqrt(A), unstable from 2 on
        h, updates = share / TOP**0.5, math.ceil(90 / share)
        found.append((f"underdamped {share}", UnderdampedLangevin(h, 8.0), exact, updates))
        found.append((f"underdamped flights {share}", UnderdampedLangevin(h, 3.0, 20), exact, updates))
        found.append((f"adaptive {share}", AdaptiveLangevin(share, adaptation=32), exact, 32 + updates))
    found += [(f"hmc {share}", HMC(share / TOP**0.5, 7), exact, 60) for share in (0.3, 1.0, 1.6)]
    found += [(f"mala {share}", MALA(share / TOP), exact, math.ceil(180 / share)) for share in (0.4, 1.5, 3.0)]
    return [pytest.param(*rest, id=name) for name, *rest in found]


@pytest.mark.parametrize(("sampler", "variance", "updates"), cases())
def test_a_gaussian_has_the_moments_of_the_finite_step(sampler: Sampler, variance: Variance, updates: int) -> None:
    """Mean, variance and correlations per direction, from chains that start at the center, off the mean."""
    posterior = posterior_around(CENTER, CHAINS, N_BETA, GAMMA)
    state = run(sampler, quadratic(H, MINIMUM), posterior, updates, SeededNoise(CHAINS, 3, seed=1))
    mean = (N_BETA * H * MINIMUM + GAMMA * CENTER) / A
    z = (state.position - mean) / variance(state).sqrt()
    assert (z.mean(0).abs() < LIMIT / CHAINS**0.5).all()
    second = z.T @ z / CHAINS
    spread = torch.full((3, 3), CHAINS**-0.5).fill_diagonal_((2 / CHAINS) ** 0.5)
    assert ((second - torch.eye(3)).abs() < LIMIT * spread).all()


def test_the_finite_step_can_be_seen() -> None:
    """At the largest step each factor of the closed forms is off by many standard errors where it is left out."""
    epsilon, resolution = 3.0 / TOP, LIMIT * (2 / CHAINS) ** 0.5
    assert abs((sgld_variance(epsilon)(None) * A - 1)[-1]) > 10 * resolution
    held = RMSpropSGLD(epsilon / 2, adaptation=30)
    posterior = posterior_around(CENTER, 100, N_BETA, GAMMA)
    state = run(held, quadratic(H, MINIMUM), posterior, 60, SeededNoise(100, 3, seed=1))
    preconditioner = held.preconditioner(state.square_average).mean(0)
    assert preconditioner[0] > 2 * preconditioner[-1]
    assert (rmsprop_variance(held, epsilon / 2)(state) * A - 1).mean(0).min() > 2 * resolution


BOXED = [
    # (sampler, allowance for its step in units of the box, updates): a step of h^2 A or epsilon A = 0.02, or exact
    pytest.param(SGLD(0.02 / TOP), 0.02, 1500, id="sgld"),
    pytest.param(LeimkuhlerMatthews(0.02 / TOP), 0.02, 1500, id="leimkuhler-matthews"),
    pytest.param(RMSpropSGLD(0.01 / TOP, adaptation=30), 0.02, 2000, id="rmsprop"),
    pytest.param(UnderdampedLangevin(0.15 / TOP**0.5, 8.0), 0.02, 400, id="underdamped"),
    pytest.param(UnderdampedLangevin(0.15 / TOP**0.5, 3.0, 20), 0.02, 400, id="underdamped flights"),
    pytest.param(AdaptiveLangevin(0.1, adaptation=32), 0.02, 600, id="adaptive"),
    pytest.param(HMC(0.8 / TOP**0.5, 7), 0.0, 60, id="hmc"),
    pytest.param(MALA(0.5 / TOP), 0.0, 400, id="mala"),
]


@pytest.mark.parametrize(("sampler", "allowance", "updates"), BOXED)
def test_in_a_box_the_marginals_are_truncated_gaussians(sampler: Sampler, allowance: float, updates: int) -> None:
    """Reflection, not clipping: nothing outside, nothing piled up on the walls, the moments of scipy's truncnorm."""
    chains, box = 4000, 0.15
    posterior = posterior_around(CENTER, chains, N_BETA, GAMMA, box)
    state = run(sampler, quadratic(H, MINIMUM), posterior, updates, SeededNoise(chains, 3, seed=2))
    offset = (state.position - CENTER).numpy()
    assert np.abs(offset).max() <= box * (1 + 1e-12)
    assert (np.abs(offset) > box * (1 - 1e-9)).sum() == 0
    mean = ((N_BETA * H * MINIMUM + GAMMA * CENTER) / A - CENTER).numpy()[0]
    scale = A.numpy() ** -0.5
    law = stats.truncnorm((-box - mean) / scale, (box - mean) / scale, mean, scale)
    assert (law.std() < 0.9 * scale)[:2].all()  # the walls matter
    for power in (1, 2):
        right, spread = law.moment(power), np.sqrt(law.moment(2 * power) - law.moment(power) ** 2)
        error = np.abs((offset**power).mean(0) - right)
        assert (error < LIMIT * spread / chains**0.5 + allowance * box**power).all()


MAKERS = {
    "sgld": lambda epsilon, friction: SGLD(epsilon),
    "rmsprop": lambda epsilon, friction: RMSpropSGLD(epsilon, adaptation=20),
    "leimkuhler-matthews": lambda epsilon, friction: LeimkuhlerMatthews(epsilon),
    "underdamped": lambda epsilon, friction: UnderdampedLangevin(epsilon**0.5, friction),
    "underdamped flights": lambda epsilon, friction: UnderdampedLangevin(epsilon**0.5, friction, 6),
    "adaptive": lambda epsilon, friction: AdaptiveLangevin(0.5, adaptation=16),
    "hmc": lambda epsilon, friction: HMC(epsilon**0.5, 4),
    "mala": lambda epsilon, friction: MALA(epsilon),
}


def mixed(w: Tensor) -> Tensor:
    """A loss that no coordinates make simple: (w_0 w_1 - 0.2)^2 + 1/2 (w_0 + w_2)^2 + w_2^4."""
    return (w[:, 0] * w[:, 1] - 0.2) ** 2 + 0.5 * (w[:, 0] + w[:, 2]) ** 2 + w[:, 2] ** 4


@pytest.mark.parametrize("name", MAKERS)
def test_chains_with_settings_of_their_own_are_separate_runs(name: str) -> None:
    """Step size, friction, n_beta and gamma as (chains, 1); a chain does not see the chains beside it."""
    settings_ = [(0.02, 5.0, 8.0, 3.0), (0.004, 2.0, 30.0, 10.0)]
    alone = [
        run(MAKERS[name](epsilon, xi), mixed, posterior_around(CENTER, 5, n_beta, gamma), 60, SeededNoise(5, 3, seed))
        for seed, (epsilon, xi, n_beta, gamma) in enumerate(settings_)
    ]
    epsilon, xi, n_beta, gamma = (
        torch.tensor(column).double().repeat_interleave(5)[:, None] for column in zip(*settings_, strict=True)
    )
    noise = Stacked([SeededNoise(5, 3, seed) for seed in range(2)])
    together = run(MAKERS[name](epsilon, xi), mixed, posterior_around(CENTER, 10, n_beta, gamma), 60, noise)
    torch.testing.assert_close(together.position, torch.cat([state.position for state in alone]))
    torch.testing.assert_close(together.loss, mixed(together.position))
    assert (together.position - CENTER).abs().min() > 0


QUARTICS: list[Any] = [
    pytest.param(lambda w: w[:, 0] ** 4, 1, 50.0, 0.5, id="w^4"),
    pytest.param(lambda w: (w[:, 0] * w[:, 1]) ** 2, 2, 40.0, 2.0, id="(w1 w2)^2"),
]


@pytest.mark.parametrize(("loss", "d", "n_beta", "gamma"), QUARTICS)
@pytest.mark.parametrize(("sampler", "updates"), [(HMC(0.25, 6), 120), (MALA(0.12), 800)], ids=["hmc", "mala"])
def test_the_exact_samplers_agree_with_quadrature(
    loss: Callable[[Tensor], Tensor], d: int, n_beta: float, gamma: float, sampler: Sampler, updates: int
) -> None:
    """E[n_beta L] under exp(-n_beta L - gamma/2 |w|^2), with a step at which many proposals are rejected."""

    def density(*w: float) -> float:
        point = torch.tensor([w]).double()
        return math.exp(-n_beta * loss(point).item() - gamma / 2 * sum(x**2 for x in w))

    # by symmetry over the positive part; beyond 10 / sqrt(gamma) the localization leaves nothing
    grid = np.polynomial.legendre.leggauss(400)
    nodes, weights = (grid[0] + 1) * 5 / gamma**0.5, grid[1]
    points = torch.cartesian_prod(*[torch.tensor(nodes)] * d).reshape(-1, d)
    mass = torch.cartesian_prod(*[torch.tensor(weights)] * d).reshape(-1, d).prod(1)
    mass = mass * torch.exp(-n_beta * loss(points) - gamma / 2 * points.square().sum(1))
    right = (n_beta * loss(points) * mass).sum().item() / mass.sum().item()
    if d == 1:
        below, above = (
            integrate.quad(lambda x, k=k: (n_beta * x**4) ** k * density(x), 0, 10 / gamma**0.5)[0] for k in (0, 1)
        )
        assert right == pytest.approx(above / below, rel=1e-6)

    chains = CHAINS // 2
    posterior = posterior_around(torch.zeros(1, d).double(), chains, n_beta, gamma)
    state = run(sampler, loss, posterior, updates, SeededNoise(chains, d, seed=3))
    assert 0.3 < state.acceptance.mean() < 0.97
    excess = n_beta * state.loss
    assert abs(excess.mean().item() - right) < LIMIT * excess.std().item() / chains**0.5
    assert excess.std().item() / chains**0.5 < 0.025 * right


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), name=st.sampled_from(sorted(MAKERS.keys() - {"rmsprop", "adaptive"})))
def test_rotating_the_problem_and_the_noise_rotates_the_trajectory(seed: int, name: str) -> None:
    """All but those with a preconditioner, which belongs to its coordinates."""
    rotation, sampler = orthogonal(3, seed), MAKERS[name](0.01, 4.0)
    first = run(sampler, mixed, posterior_around(CENTER, 4, 20.0, 5.0), 30, SeededNoise(4, 3, seed))
    noise = Rotated(SeededNoise(4, 3, seed), rotation)
    turned = posterior_around(CENTER @ rotation.T, 4, 20.0, 5.0)
    second = run(sampler, lambda w: mixed(w @ rotation), turned, 30, noise)
    torch.testing.assert_close(second.position, first.position @ rotation.T, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(second.loss, first.loss, rtol=1e-7, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31), scale=st.floats(0.01, 100), factor=st.floats(0.01, 100), name=st.sampled_from([*MAKERS])
)
def test_units_of_weights_and_loss_do_not_matter(seed: int, scale: float, factor: float, name: str) -> None:
    """Weights times s: gamma over s^2, epsilon (h^2) times s^2, friction over s. Loss times c: n_beta over c."""
    noise = [SeededNoise(4, 3, seed) for _ in range(2)]
    first = run(MAKERS[name](0.01, 4.0), mixed, posterior_around(CENTER, 4, 20.0, 5.0), 30, noise[0])
    scaled = MAKERS[name](0.01 * scale**2, 4.0 / scale)
    posterior = posterior_around(scale * CENTER, 4, 20.0 / factor, 5.0 / scale**2)
    second = run(scaled, lambda w: factor * mixed(w / scale), posterior, 30, noise[1])
    torch.testing.assert_close(second.position / scale, first.position, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(second.loss / factor, first.loss, rtol=1e-7, atol=1e-9)


def test_the_state_holds_loss_and_gradient_of_its_position() -> None:
    for name, make in MAKERS.items():
        state = run(make(0.01, 4.0), mixed, posterior_around(CENTER, 6, 20.0, 5.0), 25, SeededNoise(6, 3, seed=4))
        loss, gradient = evaluator(mixed)(state.position)
        torch.testing.assert_close(state.loss, loss, msg=name)
        torch.testing.assert_close(state.gradient, gradient, msg=name)


def test_an_exact_sampler_stays_where_a_proposal_is_not_finite() -> None:
    def wall(w: Tensor) -> Tensor:
        return torch.where(w[:, 0] > 0.1, torch.inf, w.square().sum(1))

    for sampler in (HMC(0.3, 5), MALA(0.2)):
        posterior = posterior_around(torch.zeros(1, 2).double(), 200, 1.0, 1.0)
        state = run(sampler, wall, posterior, 50, SeededNoise(200, 2, seed=5))
        assert torch.isfinite(state.loss).all()
        assert (state.position[:, 0] <= 0.1).all()
        assert state.position.std() > 0.1
