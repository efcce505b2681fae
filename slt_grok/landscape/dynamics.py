"""The motion of a trajectory: norms, updates, their angle to the gradient, gradient noise, ranks of weight matrices.

The gradient noise scale (McCandlish et al. 1812.06162, equation 2.9) is B = tr(Sigma) / |G|^2 with G the gradient of
the train loss and Sigma the covariance of single-sample gradients: the batch size above which averaging over more
samples has little benefit. The population is the train set, so that G is exact, as is Sigma if all samples are used.

The squared weight norm is the regularizer whose decline marks the cleanup phase in Nanda et al. 2301.05217, section
5.1; the gradient norm shows how far a checkpoint is from a critical point, where an LLC is defined.
"""

from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.func import grad, vmap

from slt_grok.batching import at_a_time
from slt_grok.landscape.common import declared
from slt_grok.measurement import Variable
from slt_grok.models.vectorized import vmap_works
from slt_grok.operators.objective import Objective, batches, check_finite_loss, loss_and_gradient, network_seed
from slt_grok.rules import SHRINKING, Change
from slt_grok.trajectories import Parameters, Trajectory

BUDGET = 2**27  # bytes of single-sample gradients held at a time
SAMPLES = 256  # number of samples whose gradients determine the noise scale

NOISE = "arXiv:1812.06162, equation 2.9"
VARIABLES = {
    "weight_norm": Variable(
        ("component",),
        "weight norm",
        "sqrt(sum w^2) of each parameter, and of all parameters (total)",
        "arXiv:2301.05217, section 5.1",
        change=Change(SHRINKING, color="sky", marker=">", select=({"component": "total"},), place=11),
    ),
    "gradient_norm": Variable(
        (),
        "gradient norm",
        "|dL/dw|, L the mean loss over the full train set, float64",
        "first-order condition of a critical point",
        "/ weight",
        of_loss=True,
    ),
    "update_norm": Variable(
        ("component",),
        "norm of the update",
        "|w - w_previous| from the previous checkpoint, of each parameter and in total",
        "Euclidean distance",
    ),
    "gradient_step_cosine": Variable(
        ("component",),
        "cosine of gradient and step",
        "cos(G(w_previous), w - w_previous), G the gradient of the train loss; -1: descent",
        "first-order condition of gradient descent",
    ),
    "gradient_noise_scale": Variable(
        (),
        "gradient noise scale",
        f"tr(Sigma) / |G|^2 over the train set, tr(Sigma) from at most {SAMPLES} samples",
        NOISE,
        "samples",
    ),
    "gradient_noise_scale_se": Variable(
        (),
        "standard error of the gradient noise scale",
        "sqrt((1 - m / n) / m) std |g_i - G|^2 / |G|^2 over m of the n samples",
        NOISE,
        "samples",
    ),
    "spectral_norm": Variable(("weight_matrix",), "spectral norm", "largest singular value", "operator norm"),
    "stable_rank": Variable(
        ("weight_matrix",),
        "stable rank",
        "sum s^2 / s_1^2 over the singular values s",
        "Rudelson and Vershynin 2007, doi:10.1145/1255443.1255449",
    ),
    "effective_rank": Variable(
        ("weight_matrix",),
        "effective rank",
        "exp(-sum q log q), q = s / sum s over the singular values s",
        "Roy and Vetterli 2007 (EUSIPCO), section 2",
    ),
}


class NoiseScale(NamedTuple):
    """The gradient noise scale.

    Parameters
    ----------
    value : float
        B = tr(Sigma) / |G|^2 in samples; infinite if G = 0 and Sigma is not.
    standard_error : float
        Its standard error.
    """

    value: float
    standard_error: float


def gradient_noise_scale(objective: Objective, index: int, gradient: Parameters, samples: int, seed: int) -> NoiseScale:
    """Estimate tr(Sigma) / |G|^2 over the train set, with tr(Sigma) = mean of |g_i - G|^2.

    Parameters
    ----------
    objective, index : Objective, int
        The loss, and the index of the network.
    gradient : Parameters
        The gradient G.
    samples : int
        Number of g_i, at least 2, drawn without replacement; if there are no more, all samples, without error.
    seed : int
        Seed of the sample selection.

    Returns
    -------
    NoiseScale
        B, and sqrt((1 - m / n) s^2 / m) / |G|^2, s the standard deviation of |g_i - G|^2 over the m of n samples used;
        too small if a few samples hold most of the noise and none of them was drawn.
    """
    (inputs, targets), network, weights = objective.data, objective.network, objective.weights(index)
    rows = np.sort(np.random.default_rng(seed).permutation(len(inputs))[:samples])
    free, drawn = {name: weights[name] for name in network.moving}, (inputs[rows], targets[rows])

    def loss(free: Parameters, x: Tensor, y: Tensor) -> Tensor:
        return network.mean_loss({**weights, **free}, x, y)

    def squared_deviation(slope: Parameters) -> Tensor:
        return torch.stack([(slope[name] - value).square().sum() for name, value in gradient.items()]).sum()

    def of_sample(x: Tensor, y: Tensor) -> Tensor:
        return squared_deviation(grad(loss)(free, x[None], y[None]))

    if vmap_works(of_sample, (0, 0), drawn):
        squares = vmap(of_sample, chunk_size=at_a_time(8 * objective.size(), BUDGET))(*drawn)
    else:
        slopes = (loss_and_gradient(network, weights, sample)[1] for sample in batches(drawn, 1))
        squares = torch.stack([squared_deviation(slope) for slope in slopes])
    squares = squares.numpy(force=True)
    length = sum(value.square().sum().item() for value in gradient.values())
    spread = squares.std(ddof=1) if len(squares) > 1 else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt((1 - len(squares) / len(inputs)) / len(squares)) * spread
        return NoiseScale(float(np.divide(squares.mean(), length)), float(np.divide(error, length)))


class MatrixRanks(NamedTuple):
    """Norms and ranks of each weight matrix; ranks of a zero matrix are NaN.

    Parameters
    ----------
    names : list of str
        Names of the matrices. A parameter with more than two axes is a stack of matrices, `W_Q[0]`, `W_Q[1]`, ...
    spectral_norm, stable_rank, effective_rank : ndarray
        Values (N, matrix), float64.
    """

    names: list[str]
    spectral_norm: np.ndarray
    stable_rank: np.ndarray
    effective_rank: np.ndarray


def matrix_ranks(stack: Parameters) -> MatrixRanks:
    """Compute spectral norm, stable rank and effective rank of each matrix of a stack of N networks."""
    names, singular_values = [], []
    for name, tensor in stack.items():
        for place in np.ndindex(*tensor.shape[1:-2]) if tensor.ndim > 2 else ():
            names.append(name + (f"[{','.join(map(str, place))}]" if place else ""))
            singular_values.append(torch.linalg.svdvals(tensor[:, *place].double()))
    if not names:
        return MatrixRanks(names, *np.empty((3, len(next(iter(stack.values()))), 0)))
    ranks = [
        (s[:, 0], s.square().sum(1) / s[:, 0].square(), torch.special.entr(s / s.sum(1, keepdim=True)).sum(1).exp())
        for s in singular_values
    ]
    return MatrixRanks(names, *(torch.stack(part, 1).numpy(force=True) for part in zip(*ranks, strict=True)))


def predecessors(trajectory: Trajectory) -> list[tuple[int, int]]:
    """List pairs (previous, current) of flat indices of neighbors along `step`, the first dimension."""
    grid = np.arange(len(trajectory)).reshape(trajectory.shape)
    return list(zip(grid[:-1].ravel().tolist(), grid[1:].ravel().tolist(), strict=True))


def weight_norm(stack: Parameters) -> np.ndarray:
    """Compute the Euclidean norm of each parameter and, last, of all parameters, (N, parameters + 1), float64."""
    squares = [tensor.double().square().reshape(len(tensor), -1).sum(1) for tensor in stack.values()]
    squares.append(torch.stack(squares).sum(0))
    return torch.stack([square.sqrt() for square in squares], 1).numpy(force=True)


def measure_dynamics(trajectory: Trajectory, *, seed: int = 0) -> xr.Dataset:
    """Measure norms, updates, cosine of gradient and step, gradient noise scale, and ranks of the weight matrices.

    Parameters
    ----------
    trajectory : Trajectory
        The networks; updates of the first checkpoint are NaN.
    seed : int, optional
        Seed of the sample selection, which also depends on the network's coordinates.

    Raises
    ------
    SltGrokError
        A loss is not finite.
    """
    objective = Objective.of(trajectory)
    gradients, noise = [], []
    for index, coordinates in enumerate(trajectory.labels()):
        loss, gradient = loss_and_gradient(objective.network, objective.weights(index), objective.data)
        check_finite_loss(loss, index)
        gradients.append(gradient)
        noise.append(gradient_noise_scale(objective, index, gradient, SAMPLES, network_seed(seed, coordinates)))
    weights = {name: objective.stack[name] for name in objective.network.moving}
    norms, cosines = np.full((2, len(trajectory), len(weights) + 1), np.nan)
    for previous, current in predecessors(trajectory):
        steps = {name: tensor[current] - tensor[previous] for name, tensor in weights.items()}
        norms[current], cosines[current] = _norms_and_cosines(steps, gradients[previous])
    names, *ranks = matrix_ranks(weights)
    squares = [sum(value.square().sum().item() for value in gradient.values()) for gradient in gradients]
    results = (weight_norm(weights), np.sqrt(squares), norms, cosines, *np.transpose(noise), *ranks)
    values = dict(zip(VARIABLES, results, strict=True))
    return declared(trajectory, VARIABLES, values, component=[*weights, "total"], weight_matrix=names)


def _norms_and_cosines(steps: Parameters, gradient: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Compute norms of the steps and their cosines with the gradient, per parameter and in total; NaN for 0."""
    sums = [
        [part.sum().item() for part in (step * step, step * gradient[name], gradient[name].square())]
        for name, step in steps.items()
    ]
    squares, products, lengths = np.vstack([sums, np.sum(sums, 0)]).T
    with np.errstate(invalid="ignore"):
        return np.sqrt(squares), products / np.sqrt(squares * lengths)
