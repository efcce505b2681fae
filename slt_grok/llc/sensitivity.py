"""Dependence of the LLC on temperature and localization: many pairs in one batch, by any sampler.

At each pair the estimate follows Lau et al. 2308.12108, definition 3; a value that is stable over a range of
settings characterizes the network, one that varies also depends on the setting.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.devices import device_named
from slt_grok.llc.calibration import SAFETY, Ends, top_curvature
from slt_grok.llc.chains import BatchLoss
from slt_grok.llc.descent import descent
from slt_grok.llc.diagnostics import assess, average
from slt_grok.llc.noise import StreamNoise
from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.problem import Problem
from slt_grok.llc.sample import OF_AVERAGE, SAMPLED, statistics
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin
from slt_grok.llc.sampling import Schedule
from slt_grok.llc.variables import VARIABLES
from slt_grok.progress import ProgressCallback, ignore

RELAXATION = 128  # updates
SHORT_FLIGHT = 8  # steps: momentum gained on the way down is soon lost, and does not carry chains out of the window


def at_temperatures(
    problem: Problem,
    sampler: Sampler,
    n_betas: Sequence[float],
    gammas: Sequence[float],
    schedule: Schedule,
    *,
    chains: int,
    seed: int = 0,
    scattered: bool = False,
    melting_loss: float | None = None,
    device: str | None = None,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Estimate the LLC at each pair of n_beta and gamma, by any sampler.

    Parameters
    ----------
    problem : Problem
        The N networks.
    sampler : Sampler
        The sampler, with a step that is stable at every pair.
    n_betas, gammas : sequence of float
        The K pairs, each with separate chains.
    schedule, chains, seed, melting_loss, device, on_progress
        See `slt_grok.llc.sample.sample`; all pairs have the same schedule.
    scattered : bool, optional
        Whether every second chain starts from a draw of N(w*, 1/gamma), see `relaxed_noise`, instead of at w*. The loss
        is high there and low at w*, so chains that agree have reached the same value from both sides.

    Returns
    -------
    xarray.Dataset
        `llc`, `llc_se`, `rhat`, `ess`, `drift`, `virial`, `llc_status`, `llc_status_reason` over the networks'
        dimensions and `setting`, with the coordinates `n_beta` and `gamma` along it.
    """
    networks = len(problem.trajectory)
    if melting_loss is None:
        melting_loss = problem.melting_loss
    by_chain = torch.tensor(gammas, dtype=problem.dtype).repeat_interleave(chains).repeat(networks)[:, None]
    starts = problem.starts(n_betas, 1.0, chains, seed)._replace(gamma=by_chain)
    if scattered:
        position = problem.subspace.coordinates(starts.stack)
        scattering = relaxed_noise(problem, n_betas, gammas, chains // 2, seed + 1, device)
        position[torch.arange(len(position)) % chains % 2 == 1] = scattering
        starts = starts._replace(position=position)
    sampling = problem.sampling(sampler, schedule, device=device_named(device))
    records = sampler.run(sampling, starts, on_progress)
    rows = []
    for i, records_of_network in enumerate(statistics(problem, records, schedule, n_betas)):
        for pair, n_beta, gamma in zip(records_of_network, n_betas, gammas, strict=True):
            estimate, gain = average(pair), descent(problem, i, n_beta, gamma)
            status = assess(estimate, pair, problem.finite_minimizer, melting_loss=melting_loss, descent=gain)
            rows.append([*(getattr(estimate, name) for name in OF_AVERAGE), *status])
    columns = zip(SAMPLED, zip(*rows, strict=True), strict=True)
    return problem.trajectory.dataset(
        {name: (("setting",), np.reshape(column, (networks, -1)), VARIABLES[name].attrs) for name, column in columns},
        n_beta=("setting", list(n_betas)),
        gamma=("setting", list(gammas)),
    )


def relaxed_noise(
    problem: Problem, n_betas: Sequence[float], gammas: Sequence[float], chains: int, seed: int, device: str | None
) -> Tensor:
    """Draw starting points from N(w*, 1/gamma), then let the stiff directions relax, (networks x K x chains, d).

    The loss is so steep at these draws that a sampler that tunes itself would tune itself to them. `RELAXATION` updates
    of underdamped Langevin, with short flights and a step for the curvature there, take the chains to where they can be
    sampled.
    """
    gamma = torch.tensor(gammas, dtype=problem.dtype).repeat_interleave(chains).repeat(len(problem.trajectory))[:, None]
    starts = problem.starts(n_betas, 1.0, chains, seed)._replace(gamma=gamma)
    center = problem.subspace.coordinates(starts.stack)
    position = center + StreamNoise(starts.streams, problem.d, center).normal() / gamma.sqrt()
    sampling = problem.sampling(UnderdampedLangevin(1.0), Schedule(RELAXATION - 4, 4), device=device_named(device))
    posterior = LocalPosterior(center, starts.n_beta, gamma)
    curvature = top_curvature(BatchLoss(sampling, starts, starts.streams), position, posterior)
    sampler, ends = UnderdampedLangevin(SAFETY / curvature.sqrt()[:, None], longest_flight=SHORT_FLIGHT), Ends(4)
    sampler.run(replace(sampling, sampler=sampler), starts._replace(position=position), ignore, [ends])
    return ends.positions
