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
    """A setting of underdamped Langevin dynamics.

    Parameters
    ----------
    step_size : float
        Step h.
    n_beta, gamma : float
        n times the inverse temperature, and localization.
    """

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
    step_sizes, n_betas, gammas = zip(*settings, strict=True)

    def by_chain(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=problem.dtype).repeat_interleave(chains).repeat(networks)[:, None]

    sampler = UnderdampedLangevin(by_chain(step_sizes), longest_flight=longest_flight)
    starts = problem.starts(n_betas, 1.0, chains, seed)._replace(gamma=by_chain(gammas))
    records = sampler.run(problem.sampling(sampler, schedule), starts, on_progress, observers)
    rows = []
    for records_of_network in statistics(problem, records, schedule, n_betas):
        for records_at_setting in records_of_network:
            estimate = average(records_at_setting)
            status = assess(estimate, records_at_setting, problem.finite_minimizer)
            rows.append([*(getattr(estimate, name) for name in OF_AVERAGE), *status])
    columns = zip((*OF_AVERAGE, "llc_status", "llc_status_reason"), zip(*rows, strict=True), strict=True)
    return problem.trajectory.dataset(
        {name: (("setting",), np.reshape(column, (networks, -1)), VARIABLES[name].attrs) for name, column in columns},
        step_size=("setting", list(step_sizes)),
        n_beta=("setting", list(n_betas)),
        gamma=("setting", list(gammas)),
    )
