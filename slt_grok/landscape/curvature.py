"""Curvature of the loss along a trajectory: trace, largest eigenvalues, effective dimension, spectral density.

For the Hessian and the Gauss-Newton matrix, on the train, the test and the whole loss, over all parameters and over
groups of them. A network that fits its train set with a loss near 1e-8 has no curvature left, whatever its shape, for
the one reason that its logits are large. Everything is therefore given twice: for the loss as it is, and at unit
logit scale, for the loss of z / s with s the standard deviation of the logits z at that checkpoint, held fixed. The
second does not change when the unembedding is scaled, and neither does its curvature in all other parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.landscape.cost import Cost, timed
from slt_grok.operators.curvature import CurvatureOperator, Matrix, parameter_group, precise_dtype
from slt_grok.landscape.logit_scale import LogitScale, at_logit_scale, logit_standard_deviation
from slt_grok.operators.objective import Data, Objective, split_data
from slt_grok.operators.objective import network_seed
from slt_grok.operators.spectrum import Spectrum, products, spectrum
from slt_grok.tasks import Split
from slt_grok.trajectories import Trajectory

SCALES: tuple[LogitScale, ...] = ("own", "unit")
TOTAL: Mapping[str, Sequence[str] | None] = {"total": None}  # the group of all parameters
NODES = ("repeat", "node")


def curvature(
    objective: Objective,
    index: int,
    *,
    matrix: Matrix = "hessian",
    data: Data | None = None,
    group: Sequence[str] | None = None,
    eigenvalues: int = 5,
    repeats: int = 6,
    steps: int = 6,
    tolerance: float = 1e-2,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> Spectrum:
    """Return the spectrum of one network's curvature, from which all its numbers follow.

    Parameters
    ----------
    objective, index : Objective, int
        The network; `at_temperature` gives it unit logit scale.
    matrix : Matrix, optional
        `hessian` or `gauss_newton`.
    data : Data or None, optional
        Inputs (n, ...) and targets (n, ...) of the loss; None: the train set.
    group : Sequence[str] or None, optional
        Names of parameters; None: all.
    eigenvalues, repeats, steps : int, optional
        See `slt_grok.operators.spectrum.spectrum`. It takes some 20 + repeats * steps products of two gradients
        each.
    tolerance : float, optional
        Relative, of the residual of each eigenpair; the error of an eigenvalue is of the order of its square.
    dtype : torch.dtype or None, optional
        Of the products; None: float32 where that agrees with float64 to the tolerance, and float64 below 1e-5, with
        fewer than 10,000 parameters and everywhere else.
    seed : int, optional
        Of all random vectors.

    Returns
    -------
    Spectrum
        See `Spectrum`: `trace()`, `values`, `vectors`, `effective_dimension(c)`, nodes and weights of the density.

    Raises
    ------
    SltGrokError
        A group that the network does not have, or settings out of range.
    """
    dtype = dtype or precise_dtype(objective, index, data, group, tolerance)
    operator = CurvatureOperator(objective, index, matrix, data=data, group=group, dtype=dtype)
    return spectrum(operator, eigenvalues, repeats, steps, tolerance, seed)


def measure_curvature(
    trajectory: Trajectory,
    *,
    data: Data | None = None,
    hessian_steps: Sequence[int] | None = None,
    matrices: Sequence[Matrix] = ("hessian",),
    logit_scales: Sequence[LogitScale] = SCALES,
    splits: Sequence[Split] = ("train",),
    groups: Mapping[str, Sequence[str] | None] = TOTAL,
    c: Sequence[float] = (0.3, 1.0),
    eigenvalues: int = 5,
    repeats: int = 6,
    steps: int = 6,
    tolerance: float = 1e-2,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Trace, largest eigenvalues, effective dimension and spectral density of the curvature.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    data : Data or None, optional
        Train inputs (n, ...) and targets (n, ...) for a network without a task; None: the task's splits.
    hessian_steps : Sequence[int] or None, optional
        Steps that are measured; None: all.
    matrices : Sequence[Matrix], optional
        Some of `hessian`, `gauss_newton`.
    logit_scales : Sequence[LogitScale], optional
        Some of `own`, `unit`.
    splits : Sequence[Split], optional
        Some of `train`, `test`, `all`. A product costs as much as the split has samples.
    groups : Mapping[str, Sequence[str] or None], optional
        Name -> names of parameters, None for all of them.
    c : Sequence[float], optional
        Of the effective dimension. At the loss's own scale gamma / n_beta of an LLC makes the two comparable.
    eigenvalues, repeats, steps, tolerance : int, int, int, float, optional
        See `curvature`, which this calls for each combination; the precision of the products is chosen once for each
        network and group, on the train set.
    seed : int, optional
        Of all random vectors, which also depend on the network's coordinates.
    on_progress : callable or None, optional
        Called with (networks done, networks in all).

    Returns
    -------
    xarray.Dataset
        Over the leading dimensions: `logit_standard_deviation`, and over (matrix, logit_scale, split, group)
        `curvature_trace`, `curvature_trace_se`, `curvature_eigenvalue` (eigenvalue), `effective_dimension` (c),
        `effective_dimension_se` (c), `ritz_value` and `ritz_weight` (repeat, node), a quadrature of all eigenvalues
        with weights that sum to 1 in each repeat. What does not exist (unit scale without class labels, the test split
        of a network without one, steps not asked for) is NaN.

    Raises
    ------
    SltGrokError
        No task and no data, an unknown group, or settings out of range.
    """
    objective = Objective.of(trajectory, data)
    members = [parameter_group(objective.network, group) for group in groups.values()]
    if not c or min(c) <= 0:
        raise SltGrokError(f"c: expected positive numbers, got {list(c)}")
    samples = split_data(trajectory, splits, data)
    sizes = [sum(objective.network.shapes[name].numel() for name in names) for names in members]
    exact = [size for size in sizes if size <= products(eigenvalues, repeats, steps)]
    places = max(eigenvalues + steps, *exact, 0)
    count, shape = len(trajectory), (len(matrices), len(logit_scales), len(splits), len(groups))
    found = {
        "curvature_trace": np.full((count, *shape), np.nan),
        "curvature_trace_se": np.full((count, *shape), np.nan),
        "curvature_eigenvalue": np.full((count, *shape, eigenvalues), np.nan),
        "effective_dimension": np.full((count, *shape, len(c)), np.nan),
        "effective_dimension_se": np.full((count, *shape, len(c)), np.nan),
        "ritz_value": np.full((count, *shape, repeats, places), np.nan),
        "ritz_weight": np.full((count, *shape, repeats, places), np.nan),
    }
    scales = np.full(count, np.nan)
    for index, coordinates in enumerate(trajectory.labels()):
        if hessian_steps is None or coordinates.get("step") in hessian_steps:
            scales[index] = logit_standard_deviation(objective, index)
            # chosen where rounding is worst: at the loss's own scale, which may be near 0
            dtypes = [precise_dtype(objective, index, None, group, tolerance) for group in members]
            for m, s, d, g in product(*map(range, shape)):
                scaled, part = at_logit_scale(objective, index, logit_scales[s]), samples[splits[d]]
                if scaled is None or part is None:
                    continue
                one = curvature(
                    scaled,
                    index,
                    matrix=matrices[m],
                    data=part,
                    group=members[g],
                    eigenvalues=eigenvalues,
                    repeats=repeats,
                    steps=steps,
                    tolerance=tolerance,
                    dtype=dtypes[g],
                    seed=network_seed(seed, coordinates),
                )
                at = (index, m, s, d, g)
                found["curvature_trace"][at], found["curvature_trace_se"][at] = one.trace()
                found["curvature_eigenvalue"][at] = one.values[:eigenvalues]
                dimensions = [one.effective_dimension(value) for value in c]
                found["effective_dimension"][at], found["effective_dimension_se"][at] = np.transpose(dimensions)
                nodes, weights = one.quadrature()
                found["ritz_value"][*at, :, : nodes.shape[1]], found["ritz_weight"][*at, :, : nodes.shape[1]] = (
                    nodes,
                    weights,
                )
        if on_progress:
            on_progress(index + 1, count)
    return _dataset(trajectory, found, scales, matrices, logit_scales, splits, groups, c).assign_attrs(
        repeats=repeats, steps=steps, tolerance=tolerance, seed=seed
    )


def curvature_cost(
    trajectory: Trajectory,
    *,
    data: Data | None = None,
    matrix: Matrix = "hessian",
    spectra: int = len(SCALES),
    eigenvalues: int = 5,
    repeats: int = 6,
    steps: int = 6,
) -> Cost:
    """Return what so many calls of `curvature` for each network will cost on the train set.

    `measure_curvature` makes two.
    """
    objective = Objective.of(trajectory, data)
    operator = CurvatureOperator(objective, 0, matrix, dtype=precise_dtype(objective, 0, data, None, 1e-2))
    vector = torch.ones(operator.shape[1], dtype=operator.dtype)
    pieces, name = spectra * products(eigenvalues, repeats, steps), matrix.replace("_", "-").title()
    return Cost(len(trajectory), pieces, f"{name} products", timed(lambda: operator @ vector))


def _dataset(
    trajectory: Trajectory,
    found: Mapping[str, np.ndarray],
    scales: np.ndarray,
    matrices: Sequence[Matrix],
    logit_scales: Sequence[LogitScale],
    splits: Sequence[Split],
    groups: Mapping[str, Sequence[str] | None],
    c: Sequence[float],
) -> xr.Dataset:
    where = (
        "Hessian or Gauss-Newton matrix A of the mean loss over the parameters of the group, D of them; at unit logit "
        "scale the logits are divided by their standard deviation before the loss"
    )
    hutch = "Meyer et al. 2021 (Hutch++), doi:10.1137/1.9781611976496.16"
    quadrature = "Ubaru, Chen and Saad 2017, doi:10.1137/16M1104974"
    per_weight = "nats per squared unit of weight"
    about = {
        "curvature_trace": ("trace of the curvature", per_weight, "tr A", hutch, ()),
        "curvature_trace_se": ("standard error of the trace", per_weight, "over the random vectors", hutch, ()),
        "curvature_eigenvalue": (
            "largest eigenvalues",
            per_weight,
            "algebraically largest, largest first",
            "Lehoucq, Sorensen and Yang 1998 (ARPACK)",
            ("eigenvalue",),
        ),
        "effective_dimension": (
            "effective dimension",
            "1",
            "sum h / (|h| + c) over the eigenvalues h, by quadrature",
            "MacKay 1992, doi:10.1162/neco.1992.4.3.448; arXiv:2003.02139",
            ("c",),
        ),
        "effective_dimension_se": (
            "standard error of the effective dimension",
            "1",
            "over the random vectors",
            quadrature,
            ("c",),
        ),
        "ritz_value": ("nodes of the spectral density", per_weight, "eigenvalues and Ritz values", quadrature, NODES),
        "ritz_weight": ("weights of the spectral density", "1", "share of the D eigenvalues", quadrature, NODES),
    }
    variables: dict[str, tuple[Sequence[str], Any, Mapping[str, Any]]] = {
        name: (
            ("matrix", "logit_scale", "split", "group", *dims),
            found[name],
            {"long_name": long_name, "units": units, "definition": f"{definition}; {where}", "source": source},
        )
        for name, (long_name, units, definition, source, dims) in about.items()
    }
    variables["logit_standard_deviation"] = (
        (),
        scales,
        {
            "long_name": "standard deviation of the logits",
            "definition": "sqrt of the mean over train samples and classes of (z - mean over classes of z)^2",
            "source": "arXiv:1706.04599, section 4.2 (temperature)",
        },
    )
    return trajectory.dataset(
        variables,
        matrix=list(matrices),
        logit_scale=list(logit_scales),
        split=list(splits),
        group=list(groups),
        c=list(c),
        eigenvalue=np.arange(1, found["curvature_eigenvalue"].shape[-1] + 1),
    )
