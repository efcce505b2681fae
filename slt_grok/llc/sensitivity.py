"""Dependence of the LLC on step, temperature and localization: many settings of underdamped Langevin in one batch.

At each setting the estimate follows Lau et al. 2308.12108, definition 3; a value that is stable over a range of
settings characterizes the network, one that varies also depends on the setting.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.llc.diagnostics import assess, average
from slt_grok.llc.problem import Problem
from slt_grok.llc.sample import OF_AVERAGE, statistics
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin
from slt_grok.llc.sampling import Observer, Schedule
from slt_grok.llc.variables import VARIABLES
from slt_grok.progress import ProgressCallback, ignore


class Setting(NamedTuple):
    """Step h, n times the inverse temperature, and localization."""

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
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Estimate the LLC at each setting, by underdamped Langevin dynamics.

    Parameters
    ----------
    problem : Problem
        The N networks.
    settings : sequence of Setting
        The K settings, each with separate chains.
    schedule : Schedule
        Length and batch size, the same for all settings.
    longest_flight : int
        Most steps between momentum refreshments.
    chains : int
        Number of chains for each network and setting.
    seed, observers, on_progress : int, sequence of Observer, callable, optional
        See `slt_grok.llc.estimate`; chains are ordered (network, setting, chain).

    Returns
    -------
    xarray.Dataset
        `llc`, `llc_se`, `rhat`, `ess`, `drift`, `virial`, `llc_status`, `llc_status_reason` over the networks'
        dimensions and `setting`, with the coordinates `step_size`, `n_beta` and `gamma` along it.
    """
    networks = len(problem.trajectory)
    step_size, n_beta, gamma = (np.array(column) for column in zip(*settings, strict=True))

    def of_chain(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(problem.dtype).repeat_interleave(chains).repeat(networks)[:, None]

    sampler = UnderdampedLangevin(of_chain(step_size), longest_flight=longest_flight)
    starts = problem.starts(n_beta.tolist(), 1.0, chains, seed)._replace(gamma=of_chain(gamma))
    found = sampler.run(problem.sampling(sampler, schedule), starts, on_progress, observers)
    rows = []
    for of_network in statistics(problem, found, schedule, n_beta.tolist()):
        for one in of_network:
            best = average(one)
            status, reason = assess(best, one, problem.finite_minimizer)
            numbers = {name: getattr(best, name) for name in OF_AVERAGE}
            rows.append({**numbers, "llc_status": status, "llc_status_reason": reason})
    return problem.trajectory.dataset(
        {
            name: (("setting",), np.array([row[name] for row in rows]).reshape(networks, -1), VARIABLES[name].attrs)
            for name in rows[0]
        },
        step_size=("setting", step_size),
        n_beta=("setting", n_beta),
        gamma=("setting", gamma),
    )
