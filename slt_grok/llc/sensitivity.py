"""How an LLC depends on step, temperature and localization: many settings of underdamped Langevin in one batch.

The estimate is that of Lau et al. 2308.12108, definition 3, at each setting; a value that holds over a range of
settings belongs to the network, one that moves with them belongs to the setting as well.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.llc.calibration import top_curvature
from slt_grok.llc.chains import BatchLoss, run_chains
from slt_grok.llc.diagnostics import ChainStatistics, assess, average, chain_health
from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.problem import Problem
from slt_grok.llc.samplers import State, UnderdampedLangevin
from slt_grok.llc.sampling import Observer, Sampling, Schedule, Starts
from slt_grok.llc.variables import ATTRS


class Setting(NamedTuple):
    """Step h, n times the inverse temperature, localization."""

    step_size: float
    n_beta: float
    gamma: float


def at_settings(
    problem: Problem,
    settings: Sequence[Setting],
    schedule: Schedule,
    *,
    longest_flight: int,
    chains: int,
    seed: int = 0,
    observers: Sequence[Observer] = (),
    on_steps: Callable[[int, float], None] = lambda steps, loss: None,
) -> xr.Dataset:
    """Return the LLC at each setting, by underdamped Langevin with friction 4 sqrt(gamma).

    Parameters
    ----------
    problem : Problem
        N networks.
    settings : Sequence[Setting]
        K of them; every one has chains of its own.
    schedule : Schedule
        Length and batch, the same for all.
    longest_flight : int
        Most steps between fresh momenta.
    chains : int
        A network and setting.
    seed, observers, on_steps : int, Sequence[Observer], callable, optional
        See `slt_grok.llc.estimate`; chains come in the order (network, setting, chain).

    Returns
    -------
    xarray.Dataset
        `llc`, `llc_se`, `rhat`, `ess`, `drift`, `virial`, `llc_status`, `llc_status_reason` over the networks'
        dimensions and `setting`, with the coordinates `step_size`, `n_beta` and `gamma` along it.
    """
    networks, count = len(problem.trajectory), len(settings)
    step_size, n_beta, gamma = (np.array(column) for column in zip(*settings, strict=True))

    def of_chain(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(problem.dtype).repeat_interleave(chains).repeat(networks)[:, None]

    starts = problem.starts(n_beta.tolist(), 1.0, chains, seed)._replace(gamma=of_chain(gamma))
    sampler = UnderdampedLangevin(of_chain(step_size), 4 * of_chain(gamma).sqrt(), longest_flight)
    network, data = problem.trajectory.network, (problem.inputs, problem.targets)
    found = run_chains(Sampling(network, *data, problem.subspace, sampler, schedule), starts, on_steps, observers)
    traces = found.losses.unflatten(0, (networks, count, chains)).numpy()
    virial = found.virial.unflatten(0, (networks, count, chains)).numpy()
    draws = traces[..., schedule.burn_in + schedule.thinning - 1 :: schedule.thinning]
    rows = []
    for i, baseline in enumerate(problem.baselines):
        for k in range(count):
            health = [chain_health(chain, baseline, n_beta[k], problem.subspace.dimension) for chain in traces[i, k]]
            statistics = ChainStatistics(draws[i, k], health, baseline, n_beta[k], virial[i, k])
            best = average(statistics)
            status = assess(best, statistics, problem.finite_minimizer)
            numbers = {name: getattr(best, name) for name in ("llc", "llc_se", "rhat", "ess", "drift", "virial")}
            rows.append({**numbers, "llc_status": status.status, "llc_status_reason": status.reason})
    return problem.trajectory.dataset(
        {
            name: (("setting",), np.array([row[name] for row in rows]).reshape(networks, count), ATTRS[name])
            for name in rows[0]
        },
        step_size=("setting", step_size),
        n_beta=("setting", n_beta),
        gamma=("setting", gamma),
    )


class Ends:
    """Keeps where chains of a given number of draws end (an observer)."""

    def __init__(self, draws: int) -> None:
        self.every = draws
        self.pieces: list[Tensor] = []

    def begin(self, starts: Starts) -> None:
        """Forget earlier chains."""
        self.pieces = []

    def observe(self, chains: slice, state: State, stack: object) -> None:
        """Keep the last draw."""
        self.pieces.append(state.position.clone())

    @property
    def positions(self) -> Tensor:
        """Where the chains ended, (chains, d)."""
        return torch.cat(self.pieces)


def curvature_at(problem: Problem, position: Tensor, setting: Setting) -> Tensor:
    """Largest curvature of n_beta L + gamma/2 |w - w*|^2 on all samples at each position, (chains,).

    Parameters
    ----------
    problem : Problem
        N networks.
    position : Tensor
        (N x chains, d), as many chains for every network.
    setting : Setting
        n_beta and gamma.
    """
    chains = len(position) // len(problem.trajectory)
    starts = problem.starts([setting.n_beta], setting.gamma, chains, 0)
    posterior = LocalPosterior(problem.subspace.coordinates(starts.stack), starts.n_beta, starts.gamma)
    network, data = problem.trajectory.network, (problem.inputs, problem.targets)
    still = UnderdampedLangevin(setting.step_size, 1.0)  # nothing is sampled
    batch_loss = BatchLoss(Sampling(network, *data, problem.subspace, still, Schedule(0, 1)), starts, starts.streams)
    return top_curvature(batch_loss, position, posterior)
