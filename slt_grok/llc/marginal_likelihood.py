"""Marginal likelihood of a network's neighborhood, by thermodynamic integration over tempered chains.

    Z = int exp(-n L(w)) N(w; w*, 1/gamma) dw,    log Z = -int_0^1 n <L>_beta d beta,

where <.>_beta is the mean over p_beta(w) ~ exp(-n beta L(w) - gamma/2 |w - w*|^2) (Gelman and Meng 1998,
doi:10.1214/ss/1028905934; Friel and Pettitt 2008, doi:10.1111/j.1467-9868.2007.00650.x), with L in nats and n the
number of samples, so that -log Z is the free energy that Watanabe's n L(w*) + lambda log n - (m - 1) log log n
approximates (2009, theorem 6.7). The prior is a normalized window around the checkpoint. In x = log beta the integrand
above n L(w*) is the LLC at each temperature, n beta (<L>_beta - L(w*)).

Temperatures are evenly spaced in log beta from beta_1 to 1, plus beta = 0; for the quadrature see
`slt_grok.llc.tempering`. The steps of underdamped Langevin are calibrated at some temperatures and interpolated in
between.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy.stats import t as student
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc.calibration import BURN_IN_FRACTION, SAFETY, calibrate, half_period
from slt_grok.llc.diagnostics import ERRORS, HEALTHY, chain_health
from slt_grok.llc.problem import Problem
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin
from slt_grok.llc.sampling import Schedule
from slt_grok.llc.tempering import acceptance_ratio, integral, integral_drift, integral_error
from slt_grok.measurement import Variable, declare
from slt_grok.progress import ProgressCallback, ignore, portion, stretch
from slt_grok.trajectories import Loss, Trajectory

CALIBRATED = 5  # number of temperatures at which the curvature is measured
PRIOR_DRAWS = 256  # for the loss far from the network, which determines the smallest beta above 0
FEWEST = 6  # temperatures above 0: an even number, so that every second one also ends at 1
FIRST = 0.1  # nats: bound on mean and standard deviation of beta n L under the prior, at the smallest beta above 0
FALSE_ALARM = 0.01  # fraction of estimates from equilibrated chains flagged as drifting
PILOTS = 0.3  # fraction of the progress bar

SOURCE = "doi:10.1214/ss/1028905934"
SPREAD, HALVED = "from the spread of the chains' means", "change from omitting every second temperature"
BENNETT = "Bennett acceptance ratios of neighboring temperatures, same draws"
STATUS = "converged or not converged, see marginal_likelihood_reason"
VARIABLES = {
    name: Variable(dims, long_name, definition, SOURCE, units)
    for name, dims, long_name, definition, units in (
        ("log_marginal_likelihood", (), "log marginal likelihood", "-int_0^1 n <L>_beta d beta", "nats"),
        ("log_marginal_likelihood_se", (), "standard error of the log marginal likelihood", SPREAD, "nats"),
        ("log_marginal_likelihood_quadrature", (), "quadrature error", HALVED, "nats"),
        ("log_marginal_likelihood_bar", (), "log marginal likelihood by acceptance ratios", BENNETT, "nats"),
        ("baseline_loss", (), "loss at the checkpoint", "L(w*), mean over the samples in float64", "nats"),
        ("mean_loss", ("beta",), "mean loss at each temperature", "<L>_beta over healthy chains", "nats"),
        ("mean_loss_se", ("beta",), "standard error of the mean loss", SPREAD, "nats"),
        ("llc_at_beta", ("beta",), "LLC at each temperature", "n beta (<L>_beta - L(w*))", ""),
        ("beta_value", ("beta",), "inverse temperature", "beta", ""),
        ("marginal_likelihood_status", (), "status of the marginal likelihood", STATUS, ""),
        ("marginal_likelihood_reason", (), "reason for the status", "rules of slt_grok.llc.marginal_likelihood", ""),
    )
}


def marginal_likelihood(
    source: nn.Module | Trajectory,
    data: Any = None,
    *,
    gamma: float,
    loss: Loss | None = None,
    temperatures: int = 20,
    chains: int = 4,
    updates: int = 400,
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Estimate the log marginal likelihood of each network's neighborhood, with sampling and quadrature errors.

    The cost is networks x (temperatures + 1) x chains x updates gradients on all samples, plus the pilots of five
    calibrations per network.

    Parameters
    ----------
    source : torch.nn.Module or Trajectory
        Any `nn.Module` at the parameters w*, or a trajectory.
    data : object, optional
        Training data (inputs, targets), see `slt_grok.llc.estimate`; a trajectory with a task provides its own.
    gamma : float
        Precision of the window around w*, above 0.
    loss : Loss or None, optional
        See `slt_grok.llc.estimate`; must be a mean over samples of negative log likelihoods in nats.
    temperatures : int, optional
        Number of values of beta above 0, even and at least 6.
    chains : int, optional
        Number of chains per temperature, at least 4.
    updates : int, optional
        Updates per chain; the first 30% are burn-in.
    seed, on_progress : int, callable, optional
        See `slt_grok.llc.estimate`.

    Returns
    -------
    xarray.Dataset
        Over the trajectory's dimensions: `log_marginal_likelihood`, `log_marginal_likelihood_se`,
        `log_marginal_likelihood_quadrature`, `log_marginal_likelihood_bar`, `baseline_loss`, all in nats,
        `marginal_likelihood_status` and `marginal_likelihood_reason`; over `beta` as well: `mean_loss`, `mean_loss_se`,
        `llc_at_beta` (`beta_value` gives the temperatures, which differ between networks).

    Raises
    ------
    SltGrokError
        A setting is out of range, there are no data, or weights or the loss at w* are not finite.
    """
    if not gamma > 0:
        raise SltGrokError(f"gamma: expected a number above 0, got {gamma}")
    if temperatures < FEWEST or temperatures % 2:
        raise SltGrokError(f"temperatures: expected an even number of at least {FEWEST}, got {temperatures}")
    if chains < 4 or updates < 20:
        raise SltGrokError(f"chains, updates: expected at least 4 and 20, got {chains} and {updates}")
    problem = Problem.from_inputs(source, data, loss)
    n, networks = len(problem.inputs), _networks(problem)
    betas, step_sizes = np.empty((2, len(networks), temperatures + 1))
    for i, network in enumerate(networks):
        part = portion(stretch(on_progress, 0, PILOTS), i, len(networks))
        betas[i] = ladder(network, gamma, temperatures, seed)
        step_sizes[i] = _step_sizes(network, n * betas[i], gamma, updates, seed, part)

    def by_chain(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.ravel()).to(problem.dtype).repeat_interleave(chains)[:, None]

    burn_in, steps = round(BURN_IN_FRACTION * updates), by_chain(step_sizes)
    sampler = UnderdampedLangevin(steps, 4 * math.sqrt(gamma), half_period(gamma, steps.min().item()))
    sampling = problem.sampling(sampler, Schedule(burn_in, updates - burn_in))
    starts = problem.starts([0.0] * betas.shape[1], gamma, chains, seed)._replace(n_beta=by_chain(n * betas))
    records = sampler.run(sampling, starts, stretch(on_progress, PILOTS, 1))
    losses, virial = (x.unflatten(0, (*betas.shape, chains)).numpy() for x in (records.losses, records.virial))
    rows = [
        _row(losses[i], virial[i], betas[i], n, baseline, burn_in, problem.d)
        for i, baseline in enumerate(problem.baselines.tolist())
    ]
    values = {name: np.array([row[name] for row in rows]) for name in VARIABLES}
    result = problem.trajectory.dataset(declare(VARIABLES, values))
    return result.assign_attrs(
        gamma=gamma, n=n, chains=chains, updates=updates, burn_in=burn_in, seed=seed, dimension=problem.d
    )


def ladder(problem: Problem, gamma: float, temperatures: int, seed: int) -> np.ndarray:
    """Choose the temperatures: 0 and even steps in log beta from beta_1 to 1, (temperatures + 1,).

    beta_1 n L has a mean excess and a standard deviation of at most 0.1 nats over independent draws of the prior.
    """
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 11]).generate_state(1)[0]))
    network, stack = problem.trajectory.network, problem.trajectory.stacked(problem.dtype)
    center = problem.subspace.coordinates(stack)
    losses = []
    with torch.no_grad():
        for _ in range(PRIOR_DRAWS):
            noise = torch.randn(center.shape, generator=generator, dtype=torch.float64).to(center.dtype)
            draw = problem.subspace.place(center + noise / gamma**0.5, stack)
            losses.append(network.stacked_mean_loss(draw, problem.inputs, problem.targets, own_data=False))
    excess = len(problem.inputs) * (torch.cat(losses).numpy() - problem.baselines[0])
    first = min(0.1, FIRST / max(abs(excess.mean()), excess.std()))
    return np.concatenate([[0.0], np.geomspace(first, 1.0, temperatures)])


def _networks(problem: Problem) -> list[Problem]:
    """Split the problem into one per network."""
    network, parameters = problem.trajectory.network, problem.trajectory.stacked()
    return [
        replace(
            problem,
            trajectory=Trajectory(network, {name: tensor[i] for name, tensor in parameters.items()}),
            baselines=problem.baselines[i : i + 1],
        )
        for i in range(len(problem.trajectory))
    ]


def _step_sizes(
    problem: Problem, n_betas: np.ndarray, gamma: float, updates: int, seed: int, on_progress: ProgressCallback
) -> np.ndarray:
    """Choose h at each n_beta.

    It is calibrated at some values of n_beta; in between, the curvature of the loss is interpolated logarithmically.
    """
    calibrated = np.unique(np.linspace(1, len(n_betas) - 1, CALIBRATED).round().astype(int))
    curvatures = []
    for i, n_beta in enumerate(n_betas[calibrated].tolist()):
        part = portion(on_progress, i, len(calibrated))
        curvatures.append(
            calibrate(problem, updates, gamma=gamma, n_beta=n_beta, seed=seed, on_progress=part).curvature
        )
    loss_curvatures = np.maximum(np.array(curvatures) - gamma, 1e-6 * gamma)
    interpolated = np.exp(np.interp(np.log(n_betas[1:]), np.log(n_betas[calibrated]), np.log(loss_curvatures)))
    return SAFETY / np.sqrt(np.concatenate([[0.0], interpolated]) + gamma)


def _row(
    losses: np.ndarray, virial: np.ndarray, betas: np.ndarray, n: int, baseline: float, burn_in: int, d: int
) -> dict[str, Any]:
    """Compute the variables of one network from its losses (temperature, chain, update) and virial (..., look)."""
    health = np.array(
        [
            [chain_health(chain, baseline, n * beta, d, looks) for chain, looks in zip(*pair, strict=True)]
            for beta, *pair in zip(betas, losses, virial, strict=True)
        ]
    )
    omitted = [f"beta {betas[k]:.3g}: {health[k, chain]}" for k, chain in np.argwhere(health != HEALTHY)]
    energies = [n * (row[healthy, burn_in:] - baseline) for row, healthy in zip(losses, health == HEALTHY, strict=True)]
    if min(len(chains) for chains in energies) < 2:
        missing = dict.fromkeys(("mean_loss", "mean_loss_se", "llc_at_beta"), betas * math.nan)
        return dict.fromkeys(VARIABLES, math.nan) | {
            **missing,
            "beta_value": betas,
            "marginal_likelihood_status": "not converged",
            "marginal_likelihood_reason": f"fewer than two healthy chains at a temperature ({omitted[0]})",
        }
    means, variances = np.array([e.mean() for e in energies]), np.array([e.var() for e in energies])
    errors = np.array([e.mean(1).std(ddof=1) / len(e) ** 0.5 for e in energies])
    value = integral(betas, means, variances)
    se = float(np.linalg.norm([integral_error(betas, k, chains) for k, chains in enumerate(energies)]))
    quadrature = abs(value - integral(betas[::2], means[::2], variances[::2]))
    bar = acceptance_ratio(betas, [chains.ravel() for chains in energies])
    drift, drift_se, freedom = integral_drift(betas, energies)
    reason = ""
    if omitted:
        reason = f"{len(omitted)} chains omitted ({omitted[0]})"
    elif abs(drift) > student.ppf(1 - FALSE_ALARM / 2, freedom) * drift_se:
        reason = f"the second half of the draws differs from the first by {-drift:+.3g} nats: the chains still drift"
    elif abs(bar + value) > ERRORS * se:
        reason = f"acceptance ratios, which have no quadrature error, differ by {abs(bar + value):.3g} nats"
    return {
        "log_marginal_likelihood": -n * baseline - value,
        "log_marginal_likelihood_se": se,
        "log_marginal_likelihood_quadrature": quadrature,
        "log_marginal_likelihood_bar": -n * baseline + bar,
        "baseline_loss": baseline,
        "mean_loss": baseline + means / n,
        "mean_loss_se": errors / n,
        "llc_at_beta": betas * means,
        "beta_value": betas,
        "marginal_likelihood_status": "not converged" if reason else "converged",
        "marginal_likelihood_reason": reason or "no chain omitted, no drift, and acceptance ratios agree",
    }
