"""Marginal likelihood of a network's neighborhood, by thermodynamic integration over tempered chains.

    Z = int exp(-n L(w)) prior(w) dw,    log Z = -int_0^1 n <L>_beta d beta,

where <.>_beta is the mean over p_beta(w) ~ exp(-n beta L(w)) prior(w) (Gelman and Meng 1998, doi:10.1214/ss/1028905934;
Friel and Pettitt 2008, doi:10.1111/j.1467-9868.2007.00650.x), with L in nats and n the number of samples, so that
-log Z is the free energy that Watanabe's n L(w*) + lambda log n - (m - 1) log log n approximates (2009, theorem 6.7).
In x = log beta the integrand above n L(w*) is the LLC at each temperature, n beta (<L>_beta - L(w*)).

Prior. The window N(w*, 1/gamma) around the checkpoint, normalized; or, given the precision g of a weight-decay prior
N(0, 1/g), that prior times the window exp(-gamma/2 |w - w*|^2). Their product is normal around c = gamma w*/(gamma + g)
with precision gamma + g and has mass (g / (gamma + g))^(d/2) exp(-gamma g/(2 (gamma + g)) |w*|^2), so two checkpoints
with the same window measure shares of one global posterior. A decoupled weight decay (AdamW) is not the gradient of
such a prior: g is a choice, not a fit.

Temperatures are evenly spaced in log beta from beta_1 to 1, plus beta = 0; for the quadrature see
`slt_grok.llc.tempering`.

The steps of underdamped Langevin are calibrated at some temperatures and interpolated in between.
"""

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from scipy.stats import t as student
from torch import Tensor, nn

from slt_grok.devices import device_named
from slt_grok.errors import SltGrokError
from slt_grok.llc.calibration import BURN_IN_FRACTION, SAFETY, calibrate
from slt_grok.llc.diagnostics import ERRORS, HEALTHY, chain_health
from slt_grok.llc.problem import Problem
from slt_grok.llc.samplers.hmc import HMC
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin
from slt_grok.llc.sampling import Schedule
from slt_grok.llc.tempering import acceptance_ratio, coarse, integral, integral_error
from slt_grok.measurement import Variable
from slt_grok.progress import ProgressCallback, ignore, stretch
from slt_grok.trajectories import Loss, Trajectory

CALIBRATED = 5  # number of temperatures at which the curvature is measured
LEAPFROG = 16  # leapfrog steps per HMC proposal
PRIOR_DRAWS = 256  # for the loss far from the network, which determines the smallest beta above 0
FEWEST = 6  # temperatures above 0: an even number, so that every second one also ends at 1
FIRST = 0.1  # nats: bound on mean and standard deviation of beta n L under the prior, at the smallest beta above 0
FALSE_ALARM = 0.01  # fraction of equilibrated chains flagged as drifting, over all temperatures
PILOTS = 0.3  # fraction of the progress bar

SOURCE = "doi:10.1214/ss/1028905934"
VARIABLES = {
    "log_marginal_likelihood": Variable(
        (),
        "log marginal likelihood",
        "-int_0^1 n <L>_beta d beta, plus the log mass of prior times window",
        SOURCE,
        "nats",
    ),
    "log_marginal_likelihood_se": Variable(
        (), "standard error of the log marginal likelihood", "from the spread of the chains' means", SOURCE, "nats"
    ),
    "log_marginal_likelihood_quadrature": Variable(
        (), "quadrature error", "change from omitting every second temperature", SOURCE, "nats"
    ),
    "log_marginal_likelihood_bar": Variable(
        (),
        "log marginal likelihood by acceptance ratios",
        "Bennett acceptance ratios of neighboring temperatures, same draws",
        SOURCE,
        "nats",
    ),
    "log_prior_mass": Variable(
        (), "log mass of prior times window", "0 for the window alone, which is normalized", SOURCE, "nats"
    ),
    "baseline_loss": Variable((), "loss at the checkpoint", "L(w*), mean over the samples in float64", SOURCE, "nats"),
    "mean_loss": Variable(("beta",), "mean loss at each temperature", "<L>_beta over healthy chains", SOURCE, "nats"),
    "mean_loss_se": Variable(
        ("beta",),
        "standard error of the mean loss",
        "standard deviation of chains' means / sqrt(chains)",
        SOURCE,
        "nats",
    ),
    "llc_at_beta": Variable(("beta",), "LLC at each temperature", "n beta (<L>_beta - L(w*))", SOURCE),
    "beta_value": Variable(("beta",), "inverse temperature", "beta", SOURCE),
    "marginal_likelihood_status": Variable(
        (), "status of the marginal likelihood", "converged or not converged, see marginal_likelihood_reason", SOURCE
    ),
    "marginal_likelihood_reason": Variable(
        (), "reason for the status", "rules of slt_grok.llc.marginal_likelihood", SOURCE
    ),
}


def marginal_likelihood(
    source: nn.Module | Trajectory,
    data: tuple[Tensor, Tensor] | None = None,
    *,
    gamma: float,
    weight_decay_prior: float | None = None,
    loss: Loss | None = None,
    temperatures: int = 20,
    chains: int = 4,
    updates: int = 400,
    sampler: Literal["underdamped", "hmc"] = "underdamped",
    dtype: torch.dtype | None = None,
    device: str | None = None,
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Estimate the log marginal likelihood of each network's neighborhood, with sampling and quadrature errors.

    The cost is networks x (temperatures + 1) x chains x updates gradients on all samples (16 times as many with HMC),
    plus the pilots of five calibrations per network.

    Parameters
    ----------
    source : torch.nn.Module or Trajectory
        Any `nn.Module` at the parameters w*, or a trajectory.
    data : tuple[Tensor, Tensor] or None, optional
        Training data (inputs, targets); a trajectory with a task provides its own.
    gamma : float
        Precision of the window around w*, above 0.
    weight_decay_prior : float or None, optional
        Precision g of a prior around 0; None for the window alone.
    loss : Loss or None, optional
        See `slt_grok.llc.estimate`; must be a mean over samples of negative log likelihoods in nats.
    temperatures : int, optional
        Number of values of beta above 0, even and at least 6.
    chains : int, optional
        Number of chains per temperature, at least 4.
    updates : int, optional
        Updates per chain; the first 30% are burn-in.
    sampler : {"underdamped", "hmc"}, optional
        Langevin dynamics, or the exact `hmc` if the curvature varies too much for one step.
    dtype, device, seed, on_progress : torch.dtype or None, str or None, int, callable, optional
        See `slt_grok.llc.estimate`.

    Returns
    -------
    xarray.Dataset
        Over the trajectory's dimensions: `log_marginal_likelihood`, `log_marginal_likelihood_se`,
        `log_marginal_likelihood_quadrature`, `log_marginal_likelihood_bar`, `log_prior_mass`, `baseline_loss`, all in
        nats, `marginal_likelihood_status` and `marginal_likelihood_reason`; over `beta` as well: `mean_loss`,
        `mean_loss_se`, `llc_at_beta` (`beta_value` gives the temperatures, which differ between networks).

    Raises
    ------
    SltGrokError
        A setting is out of range, there are no data, or weights or the loss at w* are not finite.
    """
    _check(gamma, weight_decay_prior, temperatures, chains, updates)
    where = device_named(device)
    problem = Problem.from_inputs(source, data, loss, None, dtype)
    n, count, added = len(problem.inputs), temperatures + 1, weight_decay_prior or 0.0
    centered = _centered(problem, gamma / (gamma + added))
    singles = [(one, ladder(one, gamma + added, n, temperatures, seed)) for one in _singles(centered)]
    betas = np.array([ladder_ for _, ladder_ in singles])
    parts = [
        stretch(on_progress, PILOTS * i / len(singles), PILOTS * (i + 1) / len(singles)) for i in range(len(singles))
    ]
    step_sizes = np.array(
        [
            _steps(one, n * row, gamma + added, updates, seed, part)
            for (one, row), part in zip(singles, parts, strict=True)
        ]
    )

    def of_chain(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.ravel()).to(problem.dtype).repeat_interleave(chains)[:, None]

    starts = centered.starts([0.0] * count, gamma + added, chains, seed)._replace(n_beta=of_chain(n * betas))
    at = problem.subspace.coordinates(problem.trajectory.stacked(problem.dtype))
    starts = starts._replace(position=at.repeat_interleave(count * chains, 0))
    burn_in = round(BURN_IN_FRACTION * updates)
    schedule, how = Schedule(burn_in, updates - burn_in), SAMPLERS[sampler](of_chain(step_sizes), gamma + added)
    found = how.run(problem.sampling(how, schedule, device=where), starts, stretch(on_progress, PILOTS, 1))
    traces = found.losses.unflatten(0, (len(problem.trajectory), count, chains)).numpy()
    norms = at.double().square().sum(1).numpy()
    rows = []
    for i, baseline in enumerate(problem.baselines):
        mass = log_mass(problem.d, norms[i], gamma, weight_decay_prior)
        row = _row(traces[i], betas[i], n, float(baseline), mass, burn_in, problem.d)
        rows.append(row | {"beta_value": betas[i]})
    variables = {
        name: (variable.dims, np.array([row[name] for row in rows]), variable.attrs)
        for name, variable in VARIABLES.items()
    }
    settings = {"gamma": gamma, "weight_decay_prior": weight_decay_prior or "none", "n": n, "sampler": sampler}
    settings |= {"chains": chains, "updates": updates, "burn_in": burn_in, "seed": seed, "device": where.type}
    settings |= {"dtype": str(problem.dtype).removeprefix("torch."), "dimension": problem.d}
    return problem.trajectory.dataset(variables).assign_attrs(settings)


def log_mass(dimension: int, squared_norm: float, gamma: float, weight_decay_prior: float | None) -> float:
    """Compute log int prior(w) window(w) dw, in nats: d/2 log(g/(gamma + g)) - gamma g/(2 (gamma + g)) |w*|^2.

    It is 0 without g.
    """
    if weight_decay_prior is None:
        return 0.0
    g, total = weight_decay_prior, gamma + weight_decay_prior
    return dimension / 2 * math.log(g / total) - gamma * g / (2 * total) * squared_norm


def ladder(problem: Problem, precision: float, n: int, temperatures: int, seed: int) -> np.ndarray:
    """Choose the temperatures: 0 and even steps in log beta from beta_1 to 1, (temperatures + 1,).

    beta_1 n L has a mean excess and a standard deviation of at most 0.1 nats over independent draws of the prior.
    """
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 11]).generate_state(1)[0]))
    losses = []
    stack = problem.trajectory.stacked(problem.dtype)
    center = problem.subspace.coordinates(stack)
    with torch.no_grad():
        for _ in range(PRIOR_DRAWS):
            noise = torch.randn(center.shape, generator=generator, dtype=torch.float64).to(center.dtype)
            placed = problem.subspace.place(center + noise / precision**0.5, stack)
            losses.append(
                problem.trajectory.network.stacked_mean_loss(placed, problem.inputs, problem.targets, own_data=False)
            )
    excess = n * (torch.cat(losses).numpy() - problem.baselines[0])
    first = min(0.1, FIRST / max(abs(excess.mean()), excess.std()))
    return np.concatenate([[0.0], np.geomspace(first, 1.0, temperatures)])


def _singles(problem: Problem) -> list[Problem]:
    """Split the problem into one per network."""
    trajectory = problem.trajectory
    parameters = trajectory.stacked()
    return [
        replace(
            problem,
            trajectory=Trajectory(trajectory.network, {k: v[i] for k, v in parameters.items()}),
            baselines=problem.baselines[i : i + 1],
        )
        for i in range(len(trajectory))
    ]


def _centered(problem: Problem, scale: float) -> Problem:
    """Scale the networks' weights but keep the losses at w*."""
    parameters = {name: scale * tensor for name, tensor in problem.trajectory.parameters.items()}
    return replace(problem, trajectory=replace(problem.trajectory, parameters=parameters))


def _steps(
    problem: Problem, n_betas: np.ndarray, gamma: float, updates: int, seed: int, on_progress: ProgressCallback
) -> np.ndarray:
    """Choose h at each n_beta.

    It is calibrated at some values of n_beta; in between, the curvature of the loss is interpolated logarithmically.
    """
    chosen = np.unique(np.linspace(1, len(n_betas) - 1, CALIBRATED).round().astype(int))
    found = []
    for i, k in enumerate(chosen):
        part = stretch(on_progress, i / len(chosen), (i + 1) / len(chosen))
        one = calibrate(problem, updates, gamma=gamma, n_beta=float(n_betas[k]), seed=seed, on_progress=part)
        found.append(one.curvature)
    of_loss = np.maximum(np.array(found) - gamma, 1e-6 * gamma)
    between = np.exp(np.interp(np.log(n_betas[1:]), np.log(n_betas[chosen]), np.log(of_loss)))
    return SAFETY / np.sqrt(np.concatenate([[0.0], between]) + gamma)


def _underdamped(step_sizes: Tensor, gamma: float) -> Sampler:
    longest = math.ceil(math.pi / (math.sqrt(gamma) * step_sizes.min().item()))
    return UnderdampedLangevin(step_sizes, 4 * math.sqrt(gamma), longest)


SAMPLERS = {"underdamped": _underdamped, "hmc": lambda step_sizes, gamma: HMC(step_sizes, LEAPFROG)}


def _row(
    traces: np.ndarray, betas: np.ndarray, n: int, baseline: float, mass: float, burn_in: int, d: int
) -> dict[str, Any]:
    """Compute the variables of one network from its losses (temperature, chain, update)."""
    health = [[chain_health(c, baseline, n * b, d) for c in of_b] for b, of_b in zip(betas, traces, strict=True)]
    lost = [
        f"beta {b:.3g}: {word}" for b, words in zip(betas, health, strict=True) for word in words if word != HEALTHY
    ]
    energies = [
        n * (of_b[[word == HEALTHY for word in words], burn_in:] - baseline)
        for of_b, words in zip(traces, health, strict=True)
    ]
    if min(len(e) for e in energies) < 2:
        nothing = dict.fromkeys(VARIABLES, math.nan) | dict.fromkeys(
            ("mean_loss", "mean_loss_se", "llc_at_beta"), betas * math.nan
        )
        reason = f"fewer than two healthy chains at a temperature ({lost[0]})"
        return nothing | {"marginal_likelihood_status": "not converged", "marginal_likelihood_reason": reason}
    means, variances = np.array([e.mean() for e in energies]), np.array([e.var() for e in energies])
    value = integral(betas, means, variances)
    errors = [integral_error(betas, k, energies[k]) for k in range(len(betas))]
    se, quadrature = float(np.sqrt(np.square(errors).sum())), abs(value - coarse(betas, means, variances))
    bar = acceptance_ratio(betas, [e.ravel() for e in energies])
    drifts = np.array([_drift(e) for e in energies])
    reason = ""
    if lost:
        reason = f"{len(lost)} chains omitted ({lost[0]})"
    elif abs(drifts).max() > student.ppf(1 - FALSE_ALARM / (2 * len(betas)), len(energies[0]) - 1):
        reason = f"the draws still drift at beta {betas[abs(drifts).argmax()]:.3g}"
    elif abs(bar + value) > ERRORS * se + quadrature:
        reason = f"acceptance ratios differ by {abs(bar + value):.3g} nats"
    spread = np.array([e.mean(1).std(ddof=1) / len(e) ** 0.5 for e in energies])
    return {
        "log_marginal_likelihood": mass - n * baseline - value,
        "log_marginal_likelihood_se": se,
        "log_marginal_likelihood_quadrature": quadrature,
        "log_marginal_likelihood_bar": mass - n * baseline + bar,
        "log_prior_mass": mass,
        "baseline_loss": baseline,
        "mean_loss": baseline + means / n,
        "mean_loss_se": spread / n,
        "llc_at_beta": betas * means,
        "marginal_likelihood_status": "not converged" if reason else "converged",
        "marginal_likelihood_reason": reason or "no chain omitted, no drift, and acceptance ratios agree",
    }


def _drift(energies: np.ndarray) -> float:
    """Second half minus first half of the draws (chain, draw), over its standard error across chains."""
    first, second = np.array_split(energies, 2, axis=1)
    change = second.mean(1) - first.mean(1)
    error = change.std(ddof=1) / len(change) ** 0.5
    return float(change.mean() / error) if error > 0 else 0.0


def _check(gamma: float, weight_decay_prior: float | None, temperatures: int, chains: int, updates: int) -> None:
    for name, value in (("gamma", gamma), ("weight_decay_prior", weight_decay_prior)):
        if value is not None and not value > 0:
            raise SltGrokError(f"{name}: expected a number above 0, got {value}")
    if temperatures < FEWEST or temperatures % 2:
        raise SltGrokError(f"temperatures: expected an even number of at least {FEWEST}, got {temperatures}")
    if chains < 4 or updates < 20:
        raise SltGrokError(f"chains, updates: expected at least 4 and 20, got {chains} and {updates}")
