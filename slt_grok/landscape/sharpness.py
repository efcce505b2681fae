"""Sharpness: how much the loss rises within a radius of a network, in the worst case and on average.

Worst case (Foret et al. 2010.01412, equation 1): max over |e| <= rho of L(w + e) - L(w), by the first-order step
e = rho g / |g| with g the gradient (their equation 2), and by further steps of e <- rho g(w + e) / |g(w + e)|. Such a
step maximizes the linear part of L at w + e over the ball, so the loss never decreases if L is convex; on a
quadratic at its minimum it is power iteration and converges to rho^2 h_1 / 2, h_1 the largest Hessian eigenvalue.
The result is a lower bound of the maximum.
Average case: the mean of L(w + e) - L(w) over Gaussian e of standard deviation sigma; sigma^2 tr H / 2 on a quadratic.
Adaptive (Kwon et al. 2102.11600, equations 4 and 9): e_i is in units of |w_i|, so that scaling one layer up and the
next one down, which does not change a ReLU network's function, does not change its sharpness either.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.landscape.common import declared
from slt_grok.measurement import Variable
from slt_grok.operators.objective import ROWS, Objective, batches, check_finite_loss, loss_and_gradient, network_seed
from slt_grok.trajectories import Trajectory

MODES = ("plain", "adaptive")
STEPS = 2  # number of steps after the first-order one
PAIRS = 4  # number of pairs e and -e
SIGMAS = (0.01,)  # standard deviations of e


def _variable(dim: str, long_name: str, definition: str) -> Variable:
    definition += "; L the mean loss, e_i in units of |w_i| if adaptive"
    source = "arXiv:2010.01412; adaptive: arXiv:2102.11600"
    return Variable(("mode", dim), long_name, definition, source, of_loss=True)


STEP = "e <- rho g(w + e) / |g(w + e)|"
NOISE = f"{PAIRS} pairs of e and -e, e ~ N(0, sigma^2)"
VARIABLES = {
    "sharpness_first_order": _variable("radius", "sharpness, first order", "L(w + rho g / |g|) - L(w), g the gradient"),
    "sharpness": _variable("radius", "sharpness", f"largest L(w + e) - L(w) on {STEPS} more steps {STEP}"),
    "average_sharpness": _variable("sigma", "average-case sharpness", f"mean of L(w + e) - L(w) over {NOISE}"),
    "average_sharpness_se": _variable(
        "sigma", "standard error of the average-case sharpness", f"standard deviation over pairs / sqrt({PAIRS})"
    ),
}

Weights = dict[str, Tensor]


class WorstCase(NamedTuple):
    """Rise of the loss at each radius in the worst case.

    Parameters
    ----------
    first_order : ndarray
        Rise after the first-order step, (radius,).
    ascent : ndarray
        Largest rise over all steps, (radius,).
    """

    first_order: np.ndarray
    ascent: np.ndarray


class AverageCase(NamedTuple):
    """Rise of the loss at each sigma on average.

    Parameters
    ----------
    mean : ndarray
        Mean rise over all draws, (sigma,).
    standard_error : ndarray
        Its standard error over pairs of draws, (sigma,).
    """

    mean: np.ndarray
    standard_error: np.ndarray


class _Loss:
    """The mean loss around one network, with steps in units of 1 or of |w_i|."""

    def __init__(self, objective: Objective, index: int, adaptive: bool) -> None:
        self.network, self.data = objective.network, objective.data
        self.weights = objective.weights(index)
        free = {name: self.weights[name] for name in self.network.moving}
        self.units = {name: w.abs() if adaptive else torch.ones_like(w) for name, w in free.items()}

    def moved(self, step: Weights | None) -> Weights:
        """Compute w + e for a step in these units."""
        moved = {} if step is None else {name: self.weights[name] + u * step[name] for name, u in self.units.items()}
        return self.weights | moved

    def value(self, step: Weights | None = None) -> float:
        """Compute the loss at w + e."""
        weights, samples = self.moved(step), len(self.data[0])
        with torch.no_grad():
            parts = [self.network.mean_loss(weights, x, y).item() * len(x) for x, y in batches(self.data, ROWS)]
        return sum(parts) / samples

    def gradient(self, step: Weights | None = None) -> tuple[Weights, float]:
        """Compute the gradient with respect to a step in these units at w + e, and the loss there."""
        loss, slope = loss_and_gradient(self.network, self.moved(step), self.data)
        return {name: self.units[name] * value for name, value in slope.items()}, loss


def worst_case_sharpness(
    objective: Objective, index: int, radii: Sequence[float], *, steps: int = 3, adaptive: bool = False, seed: int = 0
) -> WorstCase:
    """Estimate max over |e| <= rho of L(w + e) - L(w) from below.

    Parameters
    ----------
    objective, index : Objective, int
        The loss, and the index of the network.
    radii : sequence of float
        Values of rho > 0; bounds on |e / w| if adaptive.
    steps : int, optional
        Number of steps after the first-order one, each at the cost of one gradient per radius.
    adaptive : bool, optional
        Whether e_i is in units of |w_i|.
    seed : int, optional
        Seed of the initial ascent direction if the gradient is 0, in which case the first-order step is 0.

    Raises
    ------
    SltGrokError
        The loss at the network is not finite.
    """
    loss = _Loss(objective, index, adaptive)
    slope, base = loss.gradient()
    check_finite_loss(base, index)
    flat = not any(part.any() for part in slope.values())
    start = _noise(loss.units, torch.Generator().manual_seed(seed)) if flat else slope
    rises = np.zeros((len(radii), steps + 1))
    for number, radius in enumerate(radii):
        step = _of_length(start, radius)
        for taken in range(steps):
            direction, value = loss.gradient(step)
            rises[number, taken] = value - base
            step = _of_length(direction, radius)
        rises[number, steps] = loss.value(step) - base
    return WorstCase(np.zeros(len(radii)) if flat else rises[:, 0].copy(), np.maximum(rises.max(1), 0))


def average_case_sharpness(
    objective: Objective, index: int, sigmas: Sequence[float], *, pairs: int = 4, adaptive: bool = False, seed: int = 0
) -> AverageCase:
    """Estimate the mean of L(w + e) - L(w) over e ~ N(0, sigma^2) from pairs e and -e, which cancel the slope.

    Parameters
    ----------
    objective, index : Objective, int
        The loss, and the index of the network.
    sigmas : sequence of float
        Standard deviations > 0 of each e_i, or of e_i / |w_i| if adaptive.
    pairs : int, optional
        Number of pairs, at least 2, the same for each sigma; each costs two losses.
    adaptive : bool, optional
        Whether e_i is in units of |w_i|.
    seed : int, optional
        Seed of the draws.

    Raises
    ------
    SltGrokError
        The loss at the network is not finite.
    """
    loss = _Loss(objective, index, adaptive)
    base, generator = loss.value(), torch.Generator().manual_seed(seed)
    check_finite_loss(base, index)
    rises = np.empty((len(sigmas), pairs))
    for pair in range(pairs):
        noise = _noise(loss.units, generator)
        for number, sigma in enumerate(sigmas):
            losses = [loss.value({name: sign * sigma * z for name, z in noise.items()}) for sign in (1, -1)]
            rises[number, pair] = sum(losses) / 2 - base
    return AverageCase(rises.mean(1), rises.std(1, ddof=1) / pairs**0.5)


def measure_sharpness(trajectory: Trajectory, *, radii: Sequence[float] = (0.1, 1.0), seed: int = 0) -> xr.Dataset:
    """Measure worst-case and average-case sharpness of the train loss, plain and adaptive.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    radii : sequence of float, optional
        See `worst_case_sharpness`.
    seed : int, optional
        Seed of the draws, which also depend on the network's coordinates.

    Raises
    ------
    SltGrokError
        A loss is not finite.
    """
    objective = Objective.of(trajectory)
    results: list[list[np.ndarray]] = [[] for _ in VARIABLES]
    for index, coordinates in enumerate(trajectory.labels()):
        options: dict[str, Any] = {"seed": network_seed(seed, coordinates)}
        for adaptive in (False, True):
            options["adaptive"] = adaptive
            worst = worst_case_sharpness(objective, index, radii, steps=STEPS, **options)
            average = average_case_sharpness(objective, index, SIGMAS, pairs=PAIRS, **options)
            for result, value in zip(results, (*worst, *average), strict=True):
                result.append(value)
    values = {
        name: np.reshape(result, (len(trajectory), len(MODES), -1))
        for name, result in zip(VARIABLES, results, strict=True)
    }
    return declared(trajectory, VARIABLES, values, mode=list(MODES), radius=list(radii), sigma=list(SIGMAS))


def _noise(like: Weights, generator: torch.Generator) -> Weights:
    return {name: torch.randn(w.shape, generator=generator, dtype=w.dtype).to(w.device) for name, w in like.items()}


def _of_length(direction: Weights, length: float) -> Weights:
    """Scale a direction to a total length over all parameters; zero stays zero."""
    norm = torch.stack([part.square().sum() for part in direction.values()]).sum().sqrt()
    return {name: part * (length / norm if norm > 0 else 0) for name, part in direction.items()}
