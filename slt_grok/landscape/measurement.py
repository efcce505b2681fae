"""The default probes of a trajectory's landscape, in one dataset.

A network's values depend only on that network and its predecessor, and its random probes on its coordinates, so that
shards that overlap by one checkpoint give the same values as the whole trajectory.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import Field

from slt_grok.format import MISSING, number, percent, step
from slt_grok.landscape import curvature, dynamics, sharpness, volume
from slt_grok.landscape.barriers import NEIGHBORS, neighbor_barriers
from slt_grok.landscape.cost import Cost
from slt_grok.landscape.declared import OfLoss, only
from slt_grok.measurement import Context, Data, Drawing, Table, Variable, evenly_spaced
from slt_grok.operators.objective import Data as Samples
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.settings import Positive, Settings
from slt_grok.trajectories import Trajectory

LINES = 0.1  # fraction of the progress bar for probes between checkpoints
ROWS = 2048  # number of samples of each split on the line between two checkpoints
REPEATS = 4  # number of random vectors for each trace
STEPS = 5  # Lanczos steps of the quadrature for the effective dimension
EPSILONS = (0.1,)  # thresholds of the excess loss of the basin, in nats
DIRECTIONS, SAMPLES = 8, 512  # of the basin's volume: random directions, and samples of the loss

# names in `measure_curvature` -> names in this dataset
HESSIAN = {name: name.replace("curvature", "hessian") for name in list(curvature.VARIABLES)[:3]}
GAUSS_NEWTON = {
    "curvature_trace": "gauss_newton_trace",
    "curvature_trace_se": "gauss_newton_trace_se",
    "effective_dimension": "effective_dimension",
    "effective_dimension_se": "effective_dimension_se",
}
UNIT_SCALE = {
    "curvature_trace": "gauss_newton_trace_unit_scale",
    "curvature_trace_se": "gauss_newton_trace_unit_scale_se",
    "effective_dimension": "effective_dimension_unit_scale",
    "effective_dimension_se": "effective_dimension_unit_scale_se",
}


def _renamed(names: Mapping[str, str], matrix: str, scale: str = "") -> dict[str, Variable]:
    given = {new: curvature.VARIABLES[old] for old, new in names.items()}
    return {
        name: v._replace(dims=v.dims[len(curvature.OF) :], long_name=f"{v.long_name} ({matrix}{scale})")
        for name, v in given.items()
    }


BETWEEN = {**dynamics.VARIABLES, **NEIGHBORS}
AT = (
    _renamed(HESSIAN, "Hessian")
    | _renamed(GAUSS_NEWTON, "Gauss-Newton matrix")
    | _renamed(UNIT_SCALE, "Gauss-Newton matrix", " at unit logit scale")
    | {"logit_standard_deviation": curvature.VARIABLES["logit_standard_deviation"]}
    | sharpness.VARIABLES
    | volume.VARIABLES
)


def measure(
    trajectory: Trajectory,
    *,
    data: Samples | None = None,
    probe_steps: Sequence[int] | None = None,
    eigenvalues: int = 5,
    radii: Sequence[float] = (0.1, 1.0),
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Run `between_checkpoints`, and `at_checkpoints` at selected steps, with NaN at the others.

    Parameters
    ----------
    trajectory : Trajectory
        The networks. Without a `step` dimension there is no previous checkpoint, and quantities that need it are NaN.
    data, eigenvalues, radii, seed
        See `at_checkpoints`.
    probe_steps : sequence of int, optional
        Steps at which to run the probes at checkpoints; all by default.
    on_progress : callable, optional
        Called with the completed fraction of the probes at checkpoints.

    Raises
    ------
    SltGrokError
        As in `between_checkpoints` and `at_checkpoints`.
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
    """Merge both datasets; NaN where a network has no probes around it."""
    return xr.merge([lines, around], join="outer", combine_attrs="drop_conflicts")


def between_checkpoints(trajectory: Trajectory, *, data: Samples | None = None, seed: int = 0) -> xr.Dataset:
    """Measure norms, dynamics, and the line from the previous checkpoint.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    data : Data, optional
        Train inputs (n, ...) and targets (n, ...) for a network without a task.
    seed : int, optional
        Seed of the sample selection.

    Raises
    ------
    SltGrokError
        There is no task and no data, or a loss is not finite.
    """
    moves = dynamics.measure_dynamics(trajectory, data=data, seed=seed)
    return xr.merge([moves, neighbor_barriers(trajectory, data=data, rows=ROWS, seed=seed)], join="exact")


def at_checkpoints(
    trajectory: Trajectory,
    *,
    data: Samples | None = None,
    eigenvalues: int = 5,
    radii: Sequence[float] = (0.1, 1.0),
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Measure curvature, sharpness and volume of the train loss at each network.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    data : Data, optional
        Train inputs (n, ...) and targets (n, ...) for a network without a task.
    eigenvalues : int, optional
        Number of largest eigenvalues.
    radii : sequence of float, optional
        Values of rho for the sharpness.
    seed : int, optional
        Seed of all random vectors, which also depend on the network's coordinates.
    on_progress : callable, optional
        Called with the completed fraction of networks.

    Raises
    ------
    SltGrokError
        There is no task and no data, a loss is not finite, or a setting is out of range.
    """
    common: dict[str, Any] = {"data": data, "repeats": REPEATS, "seed": seed}
    hessian = curvature.measure_curvature(
        trajectory, logit_scales=["own"], eigenvalues=eigenvalues, steps=1, on_progress=on_progress, **common
    )
    gauss_newton = curvature.measure_curvature(
        trajectory, matrices=["gauss_newton"], eigenvalues=0, steps=STEPS, **common
    )
    parts = [
        _one(hessian, "own", HESSIAN),
        _one(gauss_newton, "own", GAUSS_NEWTON),
        _one(gauss_newton, "unit", UNIT_SCALE),
        hessian[["logit_standard_deviation"]],
        sharpness.measure_sharpness(trajectory, data=data, radii=radii, seed=seed),
        volume.basin_volume(trajectory, EPSILONS, directions=DIRECTIONS, samples=SAMPLES, data=data, seed=seed),
    ]
    found = xr.merge(parts, join="exact", combine_attrs="drop_conflicts")
    return found.assign({name: found[name].assign_attrs(AT[name].attrs) for name in AT})


def _one(measured: xr.Dataset, scale: str, names: Mapping[str, str]) -> xr.Dataset:
    """Select and rename some variables of one matrix on one split and group at one logit scale."""
    one = measured[list(names)].squeeze(["matrix", "split", "group"], drop=True)
    return one.sel(logit_scale=scale, drop=True).rename(names)


def probe_costs(trajectory: Trajectory, eigenvalues: int, radii: Sequence[float]) -> list[Cost]:
    """Predict most of the cost of `at_checkpoints`: both matrices and the sharpness."""
    return [
        curvature.curvature_cost(trajectory, "hessian", 1, eigenvalues, REPEATS, 1),
        curvature.curvature_cost(trajectory, "gauss_newton", 1, 0, REPEATS, STEPS),
        sharpness.sharpness_cost(trajectory, radii=len(radii)),
    ]


class LandscapeSettings(Settings):
    """Settings of `Landscape`."""

    probe_checkpoints: int | None = Field(
        default=None, ge=0, description="number of checkpoints with Hessian, sharpness and volume; null: all"
    )
    eigenvalues: Positive = 5
    radii: list[Annotated[float, Field(gt=0)]] = Field(default=[0.1, 1.0], min_length=1, description="radii")
    seed: int = Field(default=0, ge=0)


class Landscape(OfLoss):
    """Norms, dynamics and barriers between checkpoints; curvature, sharpness and volume around some of them."""

    name, title, position = "landscape", "Loss landscape", 40
    Settings = LandscapeSettings
    variables = BETWEEN | only("probe_checkpoints above 0", AT)

    def measure(self, trajectory: Trajectory, settings: LandscapeSettings, context: Context) -> xr.Dataset:
        """Measure in two passes: probes at checkpoints have their own shards, since they need no neighbor."""
        lines = context.in_shards(
            trajectory,
            lambda shard, on_progress: between_checkpoints(shard, seed=settings.seed),
            8,
            overlap=1,
            part="between",
            span=(0, LINES),
        )
        chosen = trajectory.isel(step=evenly_spaced(trajectory.coords["step"], settings.probe_checkpoints))
        if not len(chosen):
            return lines
        context.announce("; ".join(map(str, probe_costs(chosen, settings.eigenvalues, settings.radii))))
        around = context.in_shards(
            chosen,
            lambda shard, on_progress: at_checkpoints(shard, **self._options(settings), on_progress=on_progress),
            4,
            part="at",
            span=(LINES, 1),
        )
        return joined(lines, around)

    def seconds(self, trial: Trajectory, settings: LandscapeSettings, checkpoints: int, context: Context) -> float:
        """Predict the cost from one network, for all checkpoints and for those with probes."""
        start = time.process_time()
        between_checkpoints(trial)
        middle = time.process_time()
        at_checkpoints(trial, **self._options(settings))
        asked = checkpoints if settings.probe_checkpoints is None else min(settings.probe_checkpoints, checkpoints)
        return (middle - start) * checkpoints + (time.process_time() - middle) * asked

    def _options(self, settings: LandscapeSettings) -> dict[str, Any]:
        return settings.model_dump(include={"eigenvalues", "radii", "seed"})

    def figures(self) -> Sequence[Drawing]:
        """Draw the probes over training, and the motion of the weights."""
        from slt_grok.plots import probes

        return [
            Drawing(
                "landscape",
                probes.landscape,
                "The loss landscape over training: weight norm, mean rank of the weight matrices, trace and largest "
                "eigenvalue of the Hessian, trace and effective dimension (sum of h / (h + c) over the eigenvalues h) "
                "of the Gauss-Newton matrix, also at unit logit scale (logits divided by their standard deviation), "
                "sharpness at one radius (adaptive: in units of each weight), and a lower bound of the basin's "
                "log-volume from 8 random directions, far below the volume in so many dimensions. Bands are 95% "
                "intervals.",
                ("hessian_trace",),
                ("llc",),
            ),
            Drawing(
                "dynamics",
                probes.dynamics,
                "Motion of the weights: update norm per step; gradient noise scale (variance of one sample's gradient "
                "over the squared norm of the mean gradient, 95% band); cosine between the gradient of the train loss "
                "and the update (-1: descent; above 0: the update raises the train loss); effective rank and spectral "
                "norm of each matrix, with single heads as thin lines.",
                ("update_norm",),
                ("llc",),
            ),
        ]

    def notes(self, data: Data) -> Sequence[str]:
        """Warn about vanishing curvature."""
        return [
            "Near zero loss, all curvature vanishes merely because the logits are large: compare checkpoints at "
            "unit logit scale."
        ]

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate every measure and the LLC from its peak on, one table per seed."""
        from slt_grok.transitions.llc_correlation import llc_correlation

        mine, llc = data[self.name], data.get("llc")
        if llc is None or "llc" not in llc:
            return []
        seeds = [seed for seed in mine.seed.values if seed in llc.seed]
        return [_table(llc_correlation(mine.sel(seed=seed), llc.sel(seed=seed)), int(seed)) for seed in seeds]


def _table(one: xr.Dataset, seed: int) -> Table:
    rows = []
    for name in one.measure.values:
        row = one.sel(measure=name)
        start, end, middle = float(row.at_peak), float(row.at_end), float(row.half_way_step)
        change, half, correlation = "–", MISSING, float(row.rank_correlation)
        if start > 0 and np.isfinite(end):
            change = f"down {percent(1 - end / start)}" if end < start else f"up {percent(end / start - 1)}"
        if np.isfinite(middle):
            half = f"{step(middle)} ({step(float(row.half_way_low))} to {step(float(row.half_way_high))})"
        rank = f"{correlation:+.2f}" if np.isfinite(correlation) and name != "LLC" else "–"
        rows.append([str(name), number(start), number(end), change, half, rank, str(int(row.checkpoints))])
    caption = (
        f"The landscape and the LLC of seed {seed} from the LLC's peak at step {step(one.attrs['peak_step'])} to the "
        "end: first and last value, the step halfway between them with its interval, and Spearman's rank correlation "
        "with the LLC. Any two curves that fall over training are correlated."
    )
    return Table(caption, ["Measure", "First", "Last", "Change", "Halfway", "Rank correlation", "Checkpoints"], rows)
