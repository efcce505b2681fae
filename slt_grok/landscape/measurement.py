"""The default probes of a trajectory's landscape, as one dataset.

A network's values depend on that network and on the checkpoint before it alone, and its random probes on its
coordinates, so that pieces with one checkpoint of overlap give what the whole gives.
"""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from slt_grok.landscape.connectivity import neighbour_barriers
from slt_grok.landscape.curvature import measure_curvature
from slt_grok.landscape.dynamics import measure_dynamics
from slt_grok.landscape.norms import gradient_norm, weight_norm
from slt_grok.landscape.objective import Data, Objective
from slt_grok.landscape.sharpness import measure_sharpness
from slt_grok.landscape.volume import basin_volume
from slt_grok.trajectories import Trajectory

ROWS = 2048  # samples of each split on the line between two checkpoints
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
    trajectory : the networks. Without a `step` dimension there is no checkpoint before, and what needs one is NaN.
    data, eigenvalues, radii, seed : see `at_checkpoints`.
    probe_steps : steps at which it is taken, those not in the trajectory are passed over; None: all of them.
    on_progress : called with (networks done, networks in all) of the probes at checkpoints.

    Raises
    ------
    SltGrokError : as both.
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
    trajectory : the networks.
    data : train inputs (n, ...) and targets (n, ...) for a network without a task; None: the task's splits.
    seed : of the samples that are taken.

    Returns
    -------
    Over the leading dimensions: `weight_norm` (component), `gradient_norm`; `interpolation_loss` (split, position),
    `loss_barrier`, `loss_barrier_se` (split), see `neighbour_barriers`; and all of `measure_dynamics`.

    Raises
    ------
    SltGrokError : no task and no data, or a loss that is not finite.
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
        neighbour_barriers(trajectory, data=data, rows=ROWS, seed=seed),
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
    """Hessian, sharpness and volume of the train loss at each network.

    Parameters
    ----------
    trajectory : the networks.
    data : train inputs (n, ...) and targets (n, ...) for a network without a task; None: the task's train split.
    eigenvalues : how many of the largest.
    radii : rho of the sharpness.
    seed : of all random vectors, which also depend on the network's coordinates.
    on_progress : called with (networks done, networks in all).

    Returns
    -------
    Over the leading dimensions: `hessian_trace`, `hessian_eigenvalue` (eigenvalue), `effective_dimension` (c) with
    their standard errors, and the same at unit logit scale with the ending `_unit_scale`, see `measure_curvature`;
    `sharpness` and others of `measure_sharpness` (mode, radius or sigma); the volume of `basin_volume` (epsilon).

    Raises
    ------
    SltGrokError : no task and no data, a loss that is not finite, or settings out of range.
    """
    curvature = measure_curvature(trajectory, data=data, eigenvalues=eigenvalues, seed=seed, on_progress=on_progress)
    curvature = curvature.squeeze(["matrix", "split", "group"], drop=True).drop_vars(["ritz_value", "ritz_weight"])
    scaled = [name for name in curvature if "logit_scale" in curvature[name].dims]
    names = {name: str(name).replace("curvature_", "hessian_") for name in scaled}
    own = curvature[scaled].sel(logit_scale="own", drop=True).rename(names)
    unit = curvature[scaled].sel(logit_scale="unit", drop=True)
    sharpness = measure_sharpness(trajectory, data=data, radii=radii, seed=seed)
    volume = basin_volume(trajectory, EPSILONS, directions=DIRECTIONS, samples=SAMPLES, data=data, seed=seed)
    parts = [
        own,
        unit.rename({name: _at_unit_scale(new) for name, new in names.items()}),
        curvature[["logit_standard_deviation"]],
        sharpness.squeeze(["logit_scale", "split"], drop=True),
        volume.drop_vars("radial_evaluations"),
    ]
    return xr.merge(parts, join="exact", combine_attrs="drop_conflicts")


def _at_unit_scale(name: str) -> str:
    return f"{name.removesuffix('_se')}_unit_scale{'_se' if name.endswith('_se') else ''}"
