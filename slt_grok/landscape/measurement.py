"""The default probes of a trajectory's landscape, as one dataset.

A network's values depend on that network and on the checkpoint before it alone, and its random probes on its
coordinates, so that pieces with one checkpoint of overlap give what the whole gives.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from slt_grok.landscape.connectivity import neighbor_barriers
from slt_grok.landscape.cost import Cost
from slt_grok.landscape.curvature import curvature_cost, measure_curvature
from slt_grok.landscape.dynamics import measure_dynamics
from slt_grok.landscape.logit_scale import LogitScale
from slt_grok.landscape.norms import gradient_norm, weight_norm
from slt_grok.operators.objective import Data, Objective
from slt_grok.landscape.sharpness import measure_sharpness, sharpness_cost
from slt_grok.landscape.volume import basin_volume
from slt_grok.trajectories import Trajectory

ROWS = 2048  # samples of each split on the line between two checkpoints
REPEATS = 4  # random vectors of each trace
STEPS = 5  # of the quadrature behind the effective dimension
DIMENSION = {name: name for name in ("effective_dimension", "effective_dimension_se")}
UNIT_SCALE = {
    "curvature_trace": "gauss_newton_trace_unit_scale",
    "curvature_trace_se": "gauss_newton_trace_unit_scale_se",
    "effective_dimension": "effective_dimension_unit_scale",
    "effective_dimension_se": "effective_dimension_unit_scale_se",
}
SIGMAS = (0.01,)  # of the average-case sharpness
EPSILONS = (0.1,)  # thresholds of the excess loss of the basin, in nats
DIRECTIONS, SAMPLES = 8, 512  # of its volume: random directions, and samples that make its loss


def measure(
    trajectory: Trajectory,
    *,
    data: Data | None = None,
    probe_steps: Sequence[int] | None = None,
    eigenvalues: int = 5,
    radii: Sequence[float] = (0.1, 1.0),
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Everything of `between_checkpoints`, and of `at_checkpoints` at some steps; NaN at the others.

    Parameters
    ----------
    trajectory : Trajectory
        The networks. Without a `step` dimension there is no checkpoint before, and what needs one is NaN.
    data, eigenvalues, radii, seed : Data or None, int, Sequence[float], int, optional
        See `at_checkpoints`.
    probe_steps : Sequence[int] or None, optional
        Steps at which it is taken, those not in the trajectory are passed over; None: all of them.
    on_progress : callable or None, optional
        Called with (networks done, networks in all) of the probes at checkpoints.

    Raises
    ------
    SltGrokError
        As both.
    """
    lines = between_checkpoints(trajectory, data=data, seed=seed)
    chosen = trajectory
    if probe_steps is not None:
        chosen = trajectory.isel(step=np.flatnonzero(np.isin(trajectory.coords["step"], probe_steps)).tolist())
    if not len(chosen):
        return lines
    around = at_checkpoints(chosen, data=data, eigenvalues=eigenvalues, radii=radii, seed=seed, on_progress=on_progress)
    return joined(lines, around)


def joined(lines: xr.Dataset, around: xr.Dataset) -> xr.Dataset:
    """Both as one dataset; NaN where a network has no probes around it."""
    return xr.merge([lines, around], join="outer", combine_attrs="drop_conflicts")


def between_checkpoints(trajectory: Trajectory, *, data: Data | None = None, seed: int = 0) -> xr.Dataset:
    """Norms of weights and gradient, the line from the checkpoint before, and the dynamics.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    data : Data or None, optional
        Train inputs (n, ...) and targets (n, ...) for a network without a task; None: the task's splits.
    seed : int, optional
        Of the samples that are taken.

    Returns
    -------
    xarray.Dataset
        Over the leading dimensions: `weight_norm` (component), `gradient_norm`; `interpolation_loss` (split, position),
        `loss_barrier`, `loss_barrier_se` (split), see `neighbor_barriers`; and all of `measure_dynamics`.

    Raises
    ------
    SltGrokError
        No task and no data, or a loss that is not finite.
    """
    objective = Objective.of(trajectory, data)
    norms = weight_norm(objective.stack)
    variables = {
        "weight_norm": (
            ("component",),
            np.stack(list(norms.values()), -1),
            {
                "long_name": "weight norm",
                "definition": "sqrt(sum w^2) of each parameter, and of all together (total)",
                "source": "arXiv:2301.05217, section 5.1",
            },
        ),
        "gradient_norm": (
            (),
            gradient_norm(objective),
            {
                "long_name": "gradient norm",
                "units": "nats per unit of weight",
                "definition": "|dL/dw|, L the mean loss over the full train set, float64",
                "source": "first-order condition of a critical point",
            },
        ),
    }
    parts = [
        trajectory.dataset(variables, component=list(norms)),
        neighbor_barriers(trajectory, data=data, rows=ROWS, seed=seed),
        measure_dynamics(trajectory, data=data, seed=seed),
    ]
    return xr.merge(parts, join="exact", combine_attrs="drop_conflicts")


def at_checkpoints(
    trajectory: Trajectory,
    *,
    data: Data | None = None,
    eigenvalues: int = 5,
    radii: Sequence[float] = (0.1, 1.0),
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Curvature, sharpness and volume of the train loss at each network.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    data : Data or None, optional
        Train inputs (n, ...) and targets (n, ...) for a network without a task; None: the task's train split.
    eigenvalues : int, optional
        How many of the largest.
    radii : Sequence[float], optional
        rho of the sharpness.
    seed : int, optional
        Of all random vectors, which also depend on the network's coordinates.
    on_progress : callable or None, optional
        Called with (networks done, networks in all).

    Returns
    -------
    xarray.Dataset
        Over the leading dimensions: `hessian_trace`, `hessian_eigenvalue` (eigenvalue), `gauss_newton_trace` and the
        Gauss-Newton matrix's `effective_dimension` (c) with their standard errors, and the latter two also at unit
        logit scale with the ending `_unit_scale`, see `measure_curvature`; `sharpness` and others of
        `measure_sharpness` (mode, radius or sigma); the volume of `basin_volume` (epsilon).

    Raises
    ------
    SltGrokError
        No task and no data, a loss that is not finite, or settings out of range.
    """
    common: dict[str, Any] = {"data": data, "repeats": REPEATS, "seed": seed}
    hessian = measure_curvature(
        trajectory, logit_scales=["own"], eigenvalues=eigenvalues, steps=1, on_progress=on_progress, **common
    )
    gauss_newton = measure_curvature(trajectory, matrices=["gauss_newton"], eigenvalues=0, steps=STEPS, **common)
    names = ["curvature_trace", "curvature_trace_se", "curvature_eigenvalue"]
    sharpness = measure_sharpness(trajectory, data=data, radii=radii, sigmas=SIGMAS, seed=seed)
    volume = basin_volume(trajectory, EPSILONS, directions=DIRECTIONS, samples=SAMPLES, data=data, seed=seed)
    parts = [
        _one(hessian, "own", {name: name.replace("curvature", "hessian") for name in names}),
        _one(gauss_newton, "own", {name: name.replace("curvature", "gauss_newton") for name in names[:2]} | DIMENSION),
        _one(gauss_newton, "unit", UNIT_SCALE),
        hessian[["logit_standard_deviation"]],
        sharpness.squeeze(["logit_scale", "split"], drop=True),
        volume.drop_vars("radial_evaluations"),
    ]
    return xr.merge(parts, join="exact", combine_attrs="drop_conflicts")


def probe_costs(trajectory: Trajectory, eigenvalues: int, radii: Sequence[float]) -> list[Cost]:
    """Return what `at_checkpoints` will cost but for some per cent.

    Hessian, Gauss-Newton matrix at both scales, sharpness.
    """
    return [
        curvature_cost(trajectory, spectra=1, eigenvalues=eigenvalues, repeats=REPEATS, steps=1),
        curvature_cost(trajectory, matrix="gauss_newton", eigenvalues=0, repeats=REPEATS, steps=STEPS),
        sharpness_cost(trajectory, radii=len(radii), sigmas=len(SIGMAS)),
    ]


def _one(curvature: xr.Dataset, scale: LogitScale, names: Mapping[str, str]) -> xr.Dataset:
    """Return some variables of one matrix on one split and group at one logit scale, by names of their own."""
    one = curvature[list(names)].squeeze(["matrix", "split", "group"], drop=True)
    return one.sel(logit_scale=scale, drop=True).rename(names)
