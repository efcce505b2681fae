"""How a trajectory moves: updates between checkpoints, their angle to the gradient, gradient noise, ranks of matrices.

The gradient noise scale (McCandlish et al. 1812.06162, equation 2.9) is B = tr(Sigma) / |G|^2 with G the gradient of
the train loss and Sigma the covariance of one sample's gradient: the batch size above which averaging more samples
does not pay. The population is the train set, so that G is exact, and Sigma is too where all samples are taken.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.func import grad, vmap

from slt_grok.errors import SltGrokError
from slt_grok.landscape.cost import Cost, timed
from slt_grok.landscape.norms import matrix_ranks
from slt_grok.operators.objective import Data, Objective, check_finite_loss, loss_and_gradient
from slt_grok.landscape.paths import predecessors
from slt_grok.operators.objective import network_seed
from slt_grok.trajectories import Trajectory

BUDGET = 2**24  # entries of the gradients of single samples at a time: 128 MB


class NoiseScale(NamedTuple):
    """B = tr(Sigma) / |G|^2 in samples, and its standard error; infinite where G = 0 and Sigma is not."""

    value: float
    standard_error: float


def gradient_noise_scale(
    objective: Objective, index: int, gradient: dict[str, Tensor], samples: int, seed: int
) -> NoiseScale:
    """tr(Sigma) / |G|^2 over the train set, tr(Sigma) = mean of |g_i - G|^2.

    Parameters
    ----------
    objective, index : Objective, int
        The network.
    gradient : dict[str, Tensor]
        G.
    samples : int
        How many g_i are taken, without replacement, at least 2; all where there are not more, and then without error.
    seed : int
        Of their choice.

    Returns
    -------
    NoiseScale
        B, and sqrt((1 - m / n) s^2 / m) / |G|^2, s the standard deviation of |g_i - G|^2 over the m of n samples taken;
        too small where a few samples hold most of the noise and none of them was taken.

    Raises
    ------
    SltGrokError
        Fewer than two samples.
    """
    if samples < 2:
        raise SltGrokError(f"samples: expected at least 2, since their spread is the standard error, got {samples}")
    inputs, targets = objective.data
    taken = np.sort(np.random.default_rng(seed).permutation(len(inputs))[:samples])
    weights = {name: tensor[index] for name, tensor in objective.stack.items()}

    def one(x: Tensor, y: Tensor) -> Tensor:
        slope = grad(objective.network.mean_loss)(weights, x[None], y[None])
        return torch.stack([(slope[name] - value).square().sum() for name, value in gradient.items()]).sum()

    chunk = max(1, BUDGET // sum(value.numel() for value in gradient.values()))
    squares = vmap(one, chunk_size=chunk)(inputs[taken], targets[taken]).numpy(force=True)
    length = sum(value.square().sum().item() for value in gradient.values())
    left = 1 - len(squares) / len(inputs)
    spread = squares.std(ddof=1) if len(squares) > 1 else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(left / len(squares)) * spread
        return NoiseScale(float(np.divide(squares.mean(), length)), float(np.divide(error, length)))


def measure_dynamics(
    trajectory: Trajectory,
    *,
    data: Data | None = None,
    samples: int = 256,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Update norms, cosine of gradient and step, gradient noise scale, and ranks of the weight matrices.

    Parameters
    ----------
    trajectory : Trajectory
        The networks. Without a `step` dimension there is no checkpoint before, and updates are NaN.
    data : Data or None, optional
        Train inputs (n, ...) and targets (n, ...) for a network without a task; None: the task's train set.
    samples : int, optional
        Gradients of single samples for the noise scale.
    seed : int, optional
        Of their choice, which also depends on the network's coordinates.
    on_progress : callable or None, optional
        Called with (networks done, networks in all).

    Returns
    -------
    xarray.Dataset
        Over the leading dimensions: `update_norm` and `gradient_step_cosine` (component), `gradient_noise_scale`,
        `gradient_noise_scale_se`, `spectral_norm`, `stable_rank` and `effective_rank` (weight_matrix).

    Raises
    ------
    SltGrokError
        No task and no data, a loss that is not finite, or fewer than two samples.
    """
    objective = Objective.of(trajectory, data)
    count, names = len(trajectory), list(objective.stack)
    gradients = []
    noise = np.empty((count, 2))
    for index, coordinates in enumerate(trajectory.labels()):
        weights = {name: tensor[index] for name, tensor in objective.stack.items()}
        loss, gradient = loss_and_gradient(objective.network, weights, objective.data)
        check_finite_loss(loss, index)
        gradients.append(gradient)
        noise[index] = gradient_noise_scale(objective, index, gradient, samples, network_seed(seed, coordinates))
        if on_progress:
            on_progress(index + 1, count)
    norms, cosines = np.full((2, count, len(names) + 1), np.nan)
    for before, this in predecessors(trajectory):
        steps = {name: tensor[this] - tensor[before] for name, tensor in objective.stack.items()}
        norms[this], cosines[this] = _norms_and_cosines(steps, gradients[before])
    ranks = matrix_ranks(objective.stack)
    rank_source = "Roy and Vetterli 2007 (EUSIPCO), section 2"
    mccandlish = "arXiv:1812.06162, equation 2.9"
    return trajectory.dataset(
        {
            "update_norm": (
                ("component",),
                norms,
                {
                    "long_name": "norm of the update",
                    "definition": "|w - w_previous| from the checkpoint before, of each parameter and in total",
                    "source": "Euclidean distance",
                },
            ),
            "gradient_step_cosine": (
                ("component",),
                cosines,
                {
                    "long_name": "cosine of gradient and step",
                    "definition": "cos(G(w_previous), w - w_previous), G the gradient of the train loss; -1: descent",
                    "source": "first-order condition of gradient descent",
                },
            ),
            "gradient_noise_scale": (
                (),
                noise[:, 0],
                {
                    "long_name": "gradient noise scale",
                    "units": "samples",
                    "definition": f"tr(Sigma) / |G|^2 over the train set, tr(Sigma) from {samples} samples",
                    "source": mccandlish,
                },
            ),
            "gradient_noise_scale_se": (
                (),
                noise[:, 1],
                {
                    "long_name": "standard error of the gradient noise scale",
                    "units": "samples",
                    "definition": "sqrt((1 - m / n) / m) std |g_i - G|^2 / |G|^2 over the m of n samples",
                    "source": mccandlish,
                },
            ),
            "spectral_norm": (
                ("weight_matrix",),
                ranks.spectral_norm,
                {"long_name": "spectral norm", "definition": "largest singular value", "source": "operator norm"},
            ),
            "stable_rank": (
                ("weight_matrix",),
                ranks.stable_rank,
                {
                    "long_name": "stable rank",
                    "definition": "sum s^2 / s_1^2 over the singular values s",
                    "source": "Rudelson and Vershynin 2007, doi:10.1145/1255443.1255449",
                },
            ),
            "effective_rank": (
                ("weight_matrix",),
                ranks.effective_rank,
                {
                    "long_name": "effective rank",
                    "definition": "exp(-sum q log q), q = s / sum s over the singular values s",
                    "source": rank_source,
                },
            ),
        },
        component=[*names, "total"],
        weight_matrix=ranks.names,
    ).assign_attrs(samples=samples, seed=seed)


def dynamics_cost(trajectory: Trajectory, *, data: Data | None = None) -> Cost:
    """Return what `measure_dynamics` will cost: a gradient for each network, and about as much for single samples."""
    objective = Objective.of(trajectory.isel(**{dim: [0] for dim in trajectory.dims}), data)
    weights = {name: tensor[0] for name, tensor in objective.stack.items()}
    each = timed(lambda: loss_and_gradient(objective.network, weights, objective.data))
    return Cost(len(trajectory), 2, "gradients", each)


def _norms_and_cosines(steps: dict[str, Tensor], gradient: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Norms of the steps and their cosines with the gradient, of each parameter and in total; NaN where one is 0."""
    sums = [
        [part.sum().item() for part in (step * step, step * gradient[name], gradient[name].square())]
        for name, step in steps.items()
    ]
    squares, products, lengths = np.vstack([sums, np.sum(sums, 0)]).T
    with np.errstate(invalid="ignore"):
        return np.sqrt(squares), products / np.sqrt(squares * lengths)
