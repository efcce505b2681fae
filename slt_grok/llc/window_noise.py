"""The null of an LLC: what the localization's Gaussian noise alone adds to the loss, without a chain.

A chain that feels only the localization has the law N(w*, 1/gamma). An LLC near the value that these draws give says
how the loss grows at the distance sqrt(d / gamma), not how a posterior shaped by the loss fills the neighborhood.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slt_grok.llc.noise import StreamNoise
from slt_grok.llc.problem import Problem

DRAWS = 32


class WindowNoise(NamedTuple):
    """The LLC that Gaussian noise alone would give.

    Parameters
    ----------
    llc, llc_se : ndarray
        n_beta (E L(w* + N(0, 1/gamma)) - L(w*)) and its standard error, (network, temperature).
    """

    llc: np.ndarray
    llc_se: np.ndarray


def window_noise(
    problem: Problem, n_betas: Sequence[float], gamma: float, *, draws: int = DRAWS, seed: int = 0
) -> WindowNoise:
    """Estimate the null of each network's LLC from independent draws of w* + N(0, 1/gamma).

    Parameters
    ----------
    problem, gamma, draws, seed
        See `window_excess`.
    n_betas : sequence of float
        n times each inverse temperature; the draws are the same for all.

    Returns
    -------
    WindowNoise
        The values, each (N, number of temperatures).
    """
    excess = window_excess(problem, gamma, draws=draws, seed=seed)
    mean, error = excess.mean(1), excess.std(1, ddof=1) / draws**0.5
    return WindowNoise(*(np.outer(values, n_betas) for values in (mean, error)))


def window_excess(problem: Problem, gamma: float, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Compute L(w) - L(w*) at independent draws w = w* + N(0, 1/gamma), (N, draws).

    Parameters
    ----------
    problem : Problem
        The N networks, their data and the weights that move.
    gamma : float
        Localization. At 0 the noise has no scale, and the values are NaN.
    draws : int, optional
        Number of draws per network.
    seed : int, optional
        Seed; the same seed gives the same directions at every gamma.
    """
    excess = np.full((len(problem.trajectory), draws), np.nan)
    for i in range(len(excess) if gamma > 0 else 0):
        one = problem.single(i)
        excess[i] = list(excess_at(one, window_draws(one, gamma**-0.5, draws, seed)))
    return excess


def window_draws(problem: Problem, deviation: float | Tensor, draws: int, seed: int = 0) -> Iterator[dict[str, Tensor]]:
    """Draw networks around the w* of a single network, from w* + N(0, deviation^2).

    Parameters
    ----------
    problem : Problem
        One network, see `Problem.single`.
    deviation : float or Tensor
        Standard deviation in units of the weights, for all coordinates or for each, (d,).
    draws : int
        Number of draws.
    seed : int, optional
        Seed; with the network's coordinates it determines the directions.

    Yields
    ------
    dict of str to Tensor
        The parameters of one draw, each of shape (1, ...), at the problem's precision.
    """
    start = problem.starts([1.0], 1.0, 1, seed)
    center = problem.subspace.coordinates(start.stack)
    noise = StreamNoise(start.streams, problem.d, center)
    for _ in range(draws):  # one at a time, to limit memory
        yield problem.subspace.place(center + noise.normal() * deviation, start.stack)


def excess_at(problem: Problem, stacks: Iterable[dict[str, Tensor]]) -> Iterator[float]:
    """Compute the excess losses L(w) - L(w*) of a single network, in the units of the loss, in float64.

    Parameters
    ----------
    problem : Problem
        See `window_draws`.
    stacks : iterable of dict
        Parameters w, each of shape (1, ...).
    """
    network, (baseline,) = problem.trajectory.network, problem.baselines
    for stack in stacks:
        with torch.no_grad():
            loss = network.stacked_mean_loss(stack, problem.inputs, problem.targets, own_data=False)
        yield loss.item() - baseline
