"""Sharpness: how much the loss rises within a radius of a network, at worst and on average.

Worst case (Foret et al. 2010.01412, equation 1): max over |e| <= rho of L(w + e) - L(w), by the first-order step
e = rho g / |g| with g the gradient (their equation 2), and by further steps of e <- rho g(w + e) / |g(w + e)|. Such a
step maximizes the linear part of L at w + e over the ball, so that it never goes down where L is convex; on a
quadratic at its minimum it is power iteration and ends in rho^2 h_1 / 2, h_1 the largest eigenvalue of the Hessian.
What is found is a lower bound of the maximum.
Average case: the mean of L(w + e) - L(w) over Gaussian e of standard deviation sigma; sigma^2 tr H / 2 on a quadratic.
Adaptive (Kwon et al. 2102.11600, equations 4 and 9): e_i counts in units of |w_i|, so that rescaling one layer up and
the next one down, which leaves a ReLU network as it is, leaves its sharpness as well.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.landscape.cost import Cost, timed
from slt_grok.landscape.logit_scale import LogitScale, at_logit_scale
from slt_grok.operators.objective import (
    ROWS,
    Data,
    Objective,
    batches,
    check_finite_loss,
    loss_and_gradient,
    split_data,
)
from slt_grok.operators.objective import network_seed
from slt_grok.tasks import Split
from slt_grok.trajectories import Trajectory

MODES = ("plain", "adaptive")

Weights = dict[str, Tensor]


class WorstCase(NamedTuple):
    """Rises of the loss at each radius, (radius,), in nats for cross-entropy.

    first_order : at the end of the first-order step.
    ascent : the largest one met on the way of all steps, at least `first_order`.
    """

    first_order: np.ndarray
    ascent: np.ndarray


class AverageCase(NamedTuple):
    """Mean rise of the loss at each sigma with its standard error over pairs of draws, (sigma,)."""

    mean: np.ndarray
    standard_error: np.ndarray


class _Loss:
    """The mean loss around one network, in units of 1 or of |w_i|."""

    def __init__(self, objective: Objective, index: int, data: Data | None, adaptive: bool) -> None:
        self.network, self.data = objective.network, objective.data if data is None else data
        self.at = {name: tensor[index] for name, tensor in objective.stack.items()}
        self.units = {name: w.abs() if adaptive else torch.ones_like(w) for name, w in self.at.items()}

    def moved(self, step: Weights | None) -> Weights:
        """Return w + e for a step in units."""
        return self.at if step is None else {name: w + self.units[name] * step[name] for name, w in self.at.items()}

    def value(self, step: Weights | None = None) -> float:
        """Return the loss at w + e."""
        weights, samples = self.moved(step), len(self.data[0])
        with torch.no_grad():
            parts = [self.network.mean_loss(weights, x, y).item() * len(x) for x, y in batches(self.data, ROWS)]
        return sum(parts) / samples

    def gradient(self, step: Weights | None = None) -> tuple[Weights, float]:
        """Return the gradient by a step in units at w + e, and the loss there."""
        loss, slope = loss_and_gradient(self.network, self.moved(step), self.data)
        return {name: self.units[name] * value for name, value in slope.items()}, loss


def worst_case_sharpness(
    objective: Objective,
    index: int,
    radii: Sequence[float],
    *,
    steps: int = 3,
    adaptive: bool = False,
    data: Data | None = None,
    seed: int = 0,
) -> WorstCase:
    """Return max over |e| <= rho of L(w + e) - L(w), from below.

    Parameters
    ----------
    objective, index : Objective, int
        The network.
    radii : Sequence[float]
        rho > 0; where adaptive, of |e / w|.
    steps : int, optional
        After the first-order one, each a gradient for each radius; at least 0.
    adaptive : bool, optional
        e_i in units of |w_i|.
    data : Data or None, optional
        Inputs (n, ...) and targets (n, ...) of the loss; None: the train set.
    seed : int, optional
        Of the direction in which the ascent begins where the gradient is 0; the first-order step is 0 there.

    Raises
    ------
    SltGrokError
        A radius that is not positive, steps below 0, or a loss at the network that is not finite.
    """
    _check_positive("radii", radii)
    if steps < 0:
        raise SltGrokError(f"steps: expected at least 0, got {steps}")
    loss = _Loss(objective, index, data, adaptive)
    slope, base = loss.gradient()
    check_finite_loss(base, index)
    flat = not any(part.any() for part in slope.values())
    start = _noise(loss.at, torch.Generator().manual_seed(seed)) if flat else slope
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
    objective: Objective,
    index: int,
    sigmas: Sequence[float],
    *,
    pairs: int = 4,
    adaptive: bool = False,
    data: Data | None = None,
    seed: int = 0,
) -> AverageCase:
    """Mean of L(w + e) - L(w) over e ~ N(0, sigma^2), in pairs of e and -e, between which the slope cancels.

    Parameters
    ----------
    objective, index : Objective, int
        The network.
    sigmas : Sequence[float]
        Standard deviations > 0 of each e_i; where adaptive, of e_i / |w_i|.
    pairs : int, optional
        At least 2, the same for each sigma; each costs two losses.
    adaptive : bool, optional
        e_i in units of |w_i|.
    data : Data or None, optional
        Inputs (n, ...) and targets (n, ...) of the loss; None: the train set.
    seed : int, optional
        Of the draws.

    Raises
    ------
    SltGrokError
        A sigma that is not positive, fewer than two pairs, or a loss at the network that is not finite.
    """
    _check_positive("sigmas", sigmas)
    if pairs < 2:
        raise SltGrokError(f"pairs: expected at least 2, since their spread is the standard error, got {pairs}")
    loss = _Loss(objective, index, data, adaptive)
    base, generator = loss.value(), torch.Generator().manual_seed(seed)
    check_finite_loss(base, index)
    rises = np.empty((len(sigmas), pairs))
    for pair in range(pairs):
        noise = _noise(loss.at, generator)
        for number, sigma in enumerate(sigmas):
            two = [loss.value({name: sign * sigma * z for name, z in noise.items()}) for sign in (1, -1)]
            rises[number, pair] = sum(two) / 2 - base
    return AverageCase(rises.mean(1), rises.std(1, ddof=1) / pairs**0.5)


def measure_sharpness(
    trajectory: Trajectory,
    *,
    data: Data | None = None,
    radii: Sequence[float] = (0.1, 1.0),
    sigmas: Sequence[float] = (0.001, 0.01),
    steps: int = 2,
    pairs: int = 4,
    splits: Sequence[Split] = ("train",),
    logit_scales: Sequence[LogitScale] = ("own",),
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Worst-case and average-case sharpness along a trajectory, plain and adaptive.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    data : Data or None, optional
        Train inputs (n, ...) and targets (n, ...) for a network without a task; None: the task's splits.
    radii, steps : Sequence[float], int, optional
        See `worst_case_sharpness`.
    sigmas, pairs : Sequence[float], int, optional
        See `average_case_sharpness`.
    splits : Sequence[Split], optional
        Some of `train`, `test`, `all`.
    logit_scales : Sequence[LogitScale], optional
        Some of `own`, `unit` (logits divided by their standard deviation on the train set).
    seed : int, optional
        Of the draws, which also depend on the network's coordinates.
    on_progress : callable or None, optional
        Called with (networks done, networks in all).

    Returns
    -------
    xarray.Dataset
        Over the leading dimensions and (logit_scale, split, mode): `sharpness_first_order` and `sharpness` (radius),
        `average_sharpness` and `average_sharpness_se` (sigma). What does not exist is NaN, see `measure_curvature`.

    Raises
    ------
    SltGrokError
        No task and no data, a loss that is not finite, or settings out of range.
    """
    objective, samples = Objective.of(trajectory, data), split_data(trajectory, splits, data)
    shape = (len(trajectory), len(logit_scales), len(splits), len(MODES))
    worst = np.full((2, *shape, len(radii)), np.nan)
    average = np.full((2, *shape, len(sigmas)), np.nan)
    for index, coordinates in enumerate(trajectory.labels()):
        own = network_seed(seed, coordinates)
        for s, d, m in np.ndindex(shape[1:]):
            scaled, part = at_logit_scale(objective, index, logit_scales[s]), samples[splits[d]]
            if scaled is None or part is None:
                continue
            adaptive = MODES[m] == "adaptive"
            worst[:, index, s, d, m] = worst_case_sharpness(
                scaled, index, radii, steps=steps, adaptive=adaptive, data=part, seed=own
            )
            average[:, index, s, d, m] = average_case_sharpness(
                scaled, index, sigmas, pairs=pairs, adaptive=adaptive, data=part, seed=own
            )
        if on_progress:
            on_progress(index + 1, len(trajectory))
    where = "L the mean loss, e_i in units of |w_i| where adaptive"
    sources = "arXiv:2010.01412; adaptive: arXiv:2102.11600"
    about = {
        "sharpness_first_order": ("sharpness, first order", "L(w + rho g / |g|) - L(w), g the gradient", worst[0]),
        "sharpness": (
            "sharpness",
            f"largest L(w + e) - L(w) on {steps} more steps e <- rho g(w + e) / |g(w + e)|",
            worst[1],
        ),
        "average_sharpness": (
            "average-case sharpness",
            f"mean of L(w + e) - L(w) over {pairs} pairs of e and -e, e ~ N(0, sigma^2)",
            average[0],
        ),
        "average_sharpness_se": (
            "standard error of the average-case sharpness",
            f"standard deviation over pairs / sqrt({pairs})",
            average[1],
        ),
    }
    variables = {
        name: (
            ("logit_scale", "split", "mode", "sigma" if "average" in name else "radius"),
            values,
            {"long_name": long_name, "units": "nats", "definition": f"{definition}; {where}", "source": sources},
        )
        for name, (long_name, definition, values) in about.items()
    }
    return trajectory.dataset(
        variables,
        logit_scale=list(logit_scales),
        split=list(splits),
        mode=list(MODES),
        radius=list(radii),
        sigma=list(sigmas),
    ).assign_attrs(steps=steps, pairs=pairs, seed=seed)


def sharpness_cost(
    trajectory: Trajectory, *, data: Data | None = None, radii: int = 2, sigmas: int = 2, steps: int = 2, pairs: int = 4
) -> Cost:
    """Return what `measure_sharpness` will cost on one split at one logit scale.

    A loss counts as a third of a gradient.
    """
    loss = _Loss(Objective.of(trajectory, data), 0, None, adaptive=False)
    gradients = len(MODES) * (1 + radii * steps + (radii + 1 + 2 * pairs * sigmas) / 3)
    return Cost(len(trajectory), round(gradients), "gradients", timed(loss.gradient))


def _noise(like: Weights, generator: torch.Generator) -> Weights:
    return {name: torch.randn(w.shape, generator=generator, dtype=w.dtype).to(w.device) for name, w in like.items()}


def _of_length(direction: Weights, length: float) -> Weights:
    """Return the direction scaled to a length, all parameters together; zero stays zero."""
    norm = torch.stack([part.square().sum() for part in direction.values()]).sum().sqrt()
    return {name: part * (length / norm if norm > 0 else 0) for name, part in direction.items()}


def _check_positive(name: str, values: Sequence[float]) -> None:
    if not len(values) or not min(values) > 0:
        raise SltGrokError(f"{name}: expected positive numbers, got {list(values)}")
