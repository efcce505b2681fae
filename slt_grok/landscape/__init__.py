"""The loss landscape at and between checkpoints: norms, curvature, straight lines.

`measure` gives everything as one dataset. A network's values depend on that network and on the checkpoint before
it alone, and its random probes on its coordinates, so that pieces with one checkpoint of overlap give what the
whole gives.
"""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from slt_grok.landscape.hessian import CurvatureOperator
from slt_grok.landscape.norms import gradient_norm, weight_norm
from slt_grok.landscape.objective import Data, Objective
from slt_grok.landscape.paths import interpolation_loss, loss_barrier, predecessors
from slt_grok.landscape.seeds import network_seed
from slt_grok.landscape.spectral_density import spectrum
from slt_grok.trajectories import Trajectory

POSITIONS = 9
SPLITS = ("train", "test")

__all__ = ["Objective", "measure"]


def measure(
    trajectory: Trajectory,
    *,
    data: Data | None = None,
    hessian_steps: Sequence[int] | None = None,
    probes: int = 12,
    eigenvalues: int = 3,
    tolerance: float = 1e-3,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Weight and gradient norms, trace and top of the Hessian, loss along the line from the checkpoint before.

    Parameters
    ----------
    trajectory : the networks. Without a `step` dimension there is no checkpoint before, and the lines are NaN.
    data : train inputs (n, ...) and targets (n, ...) for a network without a task; None: the task's splits.
    hessian_steps : steps whose Hessian is measured, those not in the trajectory are passed over; None: all of them.
        One Hessian costs `probes` and some 30 products H v, each about two gradients.
    probes : random vectors of the trace, at least 2.
    eigenvalues : how many of the largest.
    tolerance : relative, of each eigenvalue.
    seed : of probes and start vectors, which also depend on the network's coordinates.
    on_progress : called with (networks done, networks in all).

    Returns
    -------
    Over the leading dimensions of the trajectory: `weight_norm` (component), `gradient_norm`, `hessian_trace`,
    `hessian_trace_se`, `hessian_eigenvalue` (eigenvalue), `interpolation_loss` (split, position) and
    `loss_barrier` (split).

    Raises
    ------
    SltGrokError : no task and no data, or settings out of range.
    """
    objective = Objective.of(trajectory, data)
    splits: dict[str, Data] = {"train": objective.data if data is not None else trajectory.task.data("train")}
    if data is None and len(trajectory.task.indices("test")):
        splits["test"] = trajectory.task.data("test")

    count = len(trajectory)
    norms = weight_norm(objective.stack)
    traces, errors = np.full(count, np.nan), np.full(count, np.nan)
    spectra = np.full((count, eigenvalues), np.nan)
    positions = np.linspace(0, 1, POSITIONS)
    lines = np.full((count, len(SPLITS), POSITIONS), np.nan)
    before = {this: previous for previous, this in predecessors(trajectory)}
    stack = trajectory.stacked()
    for index, coordinates in enumerate(trajectory.labels()):
        if hessian_steps is None or coordinates.get("step") in hessian_steps:
            own = network_seed(seed, coordinates)
            found = spectrum(CurvatureOperator(objective, index), eigenvalues, probes, 1, tolerance, own)
            (traces[index], errors[index]), spectra[index] = found.trace(), found.values[:eigenvalues]
        if index in before:
            start, end = ({name: tensor[i] for name, tensor in stack.items()} for i in (before[index], index))
            for split, samples in splits.items():
                line = interpolation_loss(trajectory.network, start, end, samples, positions)
                lines[index, SPLITS.index(split)] = line
        if on_progress:
            on_progress(index + 1, count)

    curvature = "Hessian of the mean train loss over all parameters, float64"
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
        "hessian_trace": (
            (),
            traces,
            {
                "long_name": "Hessian trace",
                "units": "nats per squared unit of weight",
                "definition": f"tr H: sum of the {eigenvalues} largest eigenvalues and the mean over {probes} random "
                f"unit vectors v beside theirs of (D - {eigenvalues}) v^T H v; {curvature}",
                "source": "Meyer et al. 2021 (Hutch++), doi:10.1137/1.9781611976496.16",
            },
        ),
        "hessian_trace_se": (
            (),
            errors,
            {
                "long_name": "standard error of the Hessian trace",
                "units": "nats per squared unit of weight",
                "definition": f"standard deviation of (D - {eigenvalues}) v^T H v over {probes} v / sqrt({probes})",
                "source": "Meyer et al. 2021 (Hutch++), doi:10.1137/1.9781611976496.16",
            },
        ),
        "hessian_eigenvalue": (
            ("eigenvalue",),
            spectra,
            {
                "long_name": "largest Hessian eigenvalues",
                "units": "nats per squared unit of weight",
                "definition": f"algebraically largest, largest first, to a relative {tolerance:g}; {curvature}",
                "source": "Lehoucq, Sorensen and Yang 1998 (ARPACK)",
            },
        ),
        "interpolation_loss": (
            ("split", "position"),
            lines,
            {
                "long_name": "loss between checkpoints",
                "units": "nats",
                "definition": "mean loss at (1 - t) w_previous + t w, t the position",
                "source": "arXiv:1412.6544",
            },
        ),
        "loss_barrier": (
            ("split",),
            loss_barrier(lines, positions),
            {
                "long_name": "loss barrier between checkpoints",
                "units": "nats",
                "definition": "max over t of L(t) - (1 - t) L(0) - t L(1)",
                "source": "arXiv:2110.06296, definition 1; arXiv:1912.05671",
            },
        ),
    }
    dataset = trajectory.dataset(
        variables,
        component=list(norms),
        eigenvalue=np.arange(1, eigenvalues + 1),
        split=list(SPLITS),
        position=positions,
    )
    return dataset.assign_attrs(probes=probes, tolerance=tolerance, seed=seed)
