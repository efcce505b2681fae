"""Numerical rank of the Jacobian of all outputs by the parameters, with its gap.

J (n C, D) holds d f_w(x_i)_c / dw for n samples of C outputs. Where all residuals are 0 and the rank does not change
nearby, half of it is the learning coefficient. Where J is small enough all its singular values are computed, and the
rank is the number above max(n C, D) eps s_1. For a larger network the eigenvalues of J^T J above a threshold are
counted by stochastic Lanczos quadrature (Ubaru and Saad 2016, "Fast methods for estimating the numerical rank of large
matrices", section 3). A few steps of Lanczos do not resolve a threshold far below s_1, so that the count is given
between bounds: of the nodes t_1 < t_2 < .. with weights s_j, the share of the spectrum below t_k lies between
s_1 + .. + s_(k-1) and s_1 + .. + s_k (Chebyshev, Markov and Stieltjes; Szego 1939, theorem 3.41.1).

For a transformer of p = 53 or more that is a bracket and no rank: at the end of training one of p = 113 (226,688
parameters) has between 778 and 1,783 singular values above 0.03 of the largest, and no gap is seen. A rank in the sense
of the first sentence, whose threshold is at rounding error, is known for small networks alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.func import jacrev

from slt_grok.errors import SltGrokError
from slt_grok.landscape.hessian import CurvatureOperator, parameter_group
from slt_grok.landscape.objective import Data, Objective, split_data
from slt_grok.landscape.seeds import network_seed
from slt_grok.landscape.spectral_density import Spectrum, spectrum
from slt_grok.tasks import Split
from slt_grok.trajectories import Network, Trajectory

ENTRIES = 2**24  # of a Jacobian that is formed: 128 MB, and about a minute for 4096 x 4096
TOTAL: Mapping[str, Sequence[str] | None] = {"total": None}  # the group of all parameters


class JacobianRank(NamedTuple):
    """The number of singular values above a threshold, and how clear it is.

    rank : whole where the singular values are computed, else the middle between the bounds.
    standard_error : of both bounds over the start vectors, the larger one; 0 where exact.
    lower, upper : bounds of the rank, each with that error; equal to it where exact. Where they lie far apart the
        steps do not resolve the threshold.
    gap : the smallest singular value that counts over the largest that does not; infinite where there is none or it is
        0, and NaN where not all are computed. Far below 1e6 the rank is a matter of the threshold.
    threshold : singular values above it count.
    """

    rank: float
    standard_error: float
    lower: float
    upper: float
    gap: float
    threshold: float


def jacobian(objective: Objective, index: int, data: Data | None = None, group: Sequence[str] | None = None) -> Tensor:
    """J (n C, D) in float64: rows sample by sample, columns in the order of `named_parameters`."""
    network = objective.network
    weights = {name: tensor[index] for name, tensor in objective.stack.items()}
    free = {name: weights[name] for name in parameter_group(network, group)}
    inputs = (objective.data if data is None else data)[0]
    blocks = jacrev(lambda free: network.outputs({**weights, **free}, inputs).flatten(), chunk_size=256)(free)
    return torch.cat([block.flatten(1) for block in blocks.values()], 1)


def jacobian_rank(
    objective: Objective,
    index: int,
    *,
    data: Data | None = None,
    group: Sequence[str] | None = None,
    relative_threshold: float = 0.03,
    repeats: int = 6,
    steps: int = 40,
    seed: int = 0,
) -> JacobianRank:
    """Numerical rank of the Jacobian at one network.

    Parameters
    ----------
    objective, index : Objective, int
        The network.
    data : Data or None, optional
        Inputs (n, ...) and targets (n, ...), of which the targets do not matter; None: the train set.
    group : Sequence[str] or None, optional
        Names of the parameters by which the derivatives are; None: all.
    relative_threshold : float, optional
        Of the singular values, in units of the largest, where they are not all computed: beyond 2^24 entries of J.
    repeats, steps : int, optional
        Start vectors and products for each, there.
    seed : int, optional
        Of the vectors.

    Raises
    ------
    SltGrokError
        A group that the network does not have, or settings out of range.
    """
    if not 0 < relative_threshold < 1:
        raise SltGrokError(f"relative_threshold: expected between 0 and 1, got {relative_threshold}")
    chosen = objective.data if data is None else data
    weights = {name: tensor[index] for name, tensor in objective.stack.items()}
    with torch.no_grad():
        outputs = objective.network.outputs(weights, chosen[0][:1])
    rows = len(chosen[0]) * outputs.numel()
    columns = sum(weights[name].numel() for name in parameter_group(objective.network, group))
    if rows * columns <= ENTRIES:
        values = torch.linalg.svdvals(jacobian(objective, index, data, group)).numpy(force=True)
        threshold = float(max(rows, columns) * np.finfo(float).eps * values.max(initial=0.0))
        rank = float((values > threshold).sum())
        return JacobianRank(rank, 0.0, rank, rank, _gap(values, threshold), threshold)
    given = objective.network
    squares = Network(given.module, given.task, lambda outputs, _: outputs.flatten(1).square().sum(1) / 2, given.call)
    gram = CurvatureOperator(replace(objective, network=squares), index, "gauss_newton", data=data, group=group)
    found = spectrum(gram, 1, repeats, steps, 1e-6, seed)  # of J^T J / n
    least = relative_threshold**2 * found.values[0]
    bounds = np.array([_bounds(found, least, nodes, weights) for nodes, weights in zip(*found[2:4], strict=True)])
    error = bounds.std(0, ddof=1).max() / repeats**0.5
    lower, upper = bounds.mean(0).tolist()
    return JacobianRank((lower + upper) / 2, error, lower, upper, np.nan, (least * len(chosen[0])) ** 0.5)


def measure_jacobian_rank(
    trajectory: Trajectory,
    *,
    data: Data | None = None,
    splits: Sequence[Split] = ("train",),
    groups: Mapping[str, Sequence[str] | None] = TOTAL,
    relative_threshold: float = 0.03,
    repeats: int = 6,
    steps: int = 40,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Numerical rank of the Jacobian along a trajectory; beyond 2^24 entries of it only a bracket, without a gap.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    data : Data or None, optional
        Train inputs (n, ...) and targets (n, ...) for a network without a task; None: the task's splits.
    splits : Sequence[Split], optional
        Some of `train`, `test`, `all`.
    groups : Mapping[str, Sequence[str] or None], optional
        Name -> names of parameters, None for all of them.
    relative_threshold, repeats, steps : float, int, int, optional
        See `jacobian_rank`.
    seed : int, optional
        Of the vectors, which also depend on the network's coordinates.
    on_progress : callable or None, optional
        Called with (networks done, networks in all).

    Returns
    -------
    xarray.Dataset
        Over the leading dimensions and (split, group): `jacobian_rank`, `jacobian_rank_se`, `jacobian_rank_lower`,
        `jacobian_rank_upper` and `jacobian_rank_gap`, see `JacobianRank`; NaN on a split without samples.

    Raises
    ------
    SltGrokError
        No task and no data, an unknown group, or settings out of range.
    """
    objective, samples = Objective.of(trajectory, data), split_data(trajectory, splits, data)
    members = [parameter_group(objective.network, group) for group in groups.values()]
    found = np.full((5, len(trajectory), len(splits), len(groups)), np.nan)
    for index, coordinates in enumerate(trajectory.labels()):
        for d, g in np.ndindex(len(splits), len(groups)):
            part = samples[splits[d]]
            if part is None:
                continue
            found[:, index, d, g] = jacobian_rank(
                objective,
                index,
                data=part,
                group=members[g],
                relative_threshold=relative_threshold,
                repeats=repeats,
                steps=steps,
                seed=network_seed(seed, coordinates),
            )[:5]
        if on_progress:
            on_progress(index + 1, len(trajectory))
    about = {
        "jacobian_rank": (
            "rank of the Jacobian",
            f"number of singular values of d outputs / d parameters above max(n C, D) eps s_1, or above "
            f"{relative_threshold:g} s_1 where there are more than 2^24 entries",
        ),
        "jacobian_rank_se": ("standard error of the rank", "over the start vectors of the quadrature; 0 where exact"),
        "jacobian_rank_lower": ("lower bound of the rank", "of the quadrature; the rank itself where exact"),
        "jacobian_rank_upper": ("upper bound of the rank", "of the quadrature; the rank itself where exact"),
        "jacobian_rank_gap": ("gap of the rank", "smallest singular value that counts over the largest that does not"),
    }
    source = "Ubaru and Saad 2016, Proceedings of Machine Learning Research 48:468-477; exact by SVD where small"
    variables = {
        name: (
            ("split", "group"),
            values,
            {"long_name": long_name, "units": "1", "definition": definition, "source": source},
        )
        for (name, (long_name, definition)), values in zip(about.items(), found, strict=True)
    }
    return trajectory.dataset(variables, split=list(splits), group=list(groups)).assign_attrs(
        relative_threshold=relative_threshold, repeats=repeats, steps=steps, seed=seed
    )


def _gap(values: np.ndarray, threshold: float) -> float:
    above, below = values[values > threshold], values[values <= threshold]
    if not len(above) or not below.max(initial=0.0) > 0:
        return np.inf
    return float(above.min() / below.max())


def _bounds(found: Spectrum, least: float, nodes: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Bounds of the number of eigenvalues above `least`, from one start vector."""
    known, rest = (found.values > least).sum(), found.size - len(found.values)
    steps = np.count_nonzero(weights)
    below, share = (nodes[:steps] <= least).sum(), np.r_[0, np.cumsum(weights[:steps])]
    if steps < len(nodes):  # the Krylov space ended: the nodes are eigenvalues
        first = last = share[below]
    else:
        first, last = share[max(below - 1, 0)], share[min(below + 1, steps)]
    return known + rest * (1 - last), known + rest * (1 - first)
