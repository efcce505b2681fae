"""The default probes of a trajectory's landscape, in one dataset.

A network's values depend only on that network and its predecessor, and its random probes on its coordinates, so that
shards that overlap by one checkpoint give the same values as the whole trajectory.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr
from pydantic import Field

from slt_grok.errors import SltGrokError
from slt_grok.format import sentence
from slt_grok.landscape import curvature, dynamics, sharpness, volume
from slt_grok.landscape.barriers import NEIGHBORS, neighbor_barriers
from slt_grok.landscape.common import only
from slt_grok.measurement import Context, Data, Drawing, Measurement, Variable, evenly_spaced
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.rules import LOSS, Change
from slt_grok.settings import AboveZero, NonNegative, Positive, Settings
from slt_grok.trajectories import Network, Trajectory

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


def _renamed(names: Mapping[str, str], matrix: str) -> dict[str, Variable]:
    variables = {new: curvature.VARIABLES[old] for old, new in names.items()}
    return {
        name: variable._replace(dims=variable.dims[len(curvature.OF) :], long_name=f"{variable.long_name} ({matrix})")
        for name, variable in variables.items()
    }


BETWEEN = {**dynamics.VARIABLES, **NEIGHBORS}
AT = (
    _renamed(HESSIAN, "Hessian")
    | _renamed(GAUSS_NEWTON, "Gauss-Newton matrix")
    | _renamed(UNIT_SCALE, "Gauss-Newton matrix at unit logit scale")
    | {"logit_standard_deviation": curvature.VARIABLES["logit_standard_deviation"]}
    | sharpness.VARIABLES
    | volume.VARIABLES
)
TRACE = Change(LOSS, "Hessian trace", "purple", "h", error="hessian_trace_se", place=12)
AT["hessian_trace"] = AT["hessian_trace"]._replace(change=TRACE)


def between_checkpoints(trajectory: Trajectory, *, seed: int = 0) -> xr.Dataset:
    """Measure norms, dynamics, and the line from the previous checkpoint.

    Parameters
    ----------
    trajectory : Trajectory
        The networks; quantities that need a previous checkpoint are NaN at the first one.
    seed : int, optional
        Seed of the sample selection.

    Raises
    ------
    SltGrokError
        A loss is not finite.
    """
    motion = dynamics.measure_dynamics(trajectory, seed=seed)
    return xr.merge([motion, neighbor_barriers(trajectory, rows=ROWS, seed=seed)], join="exact")


def at_checkpoints(
    trajectory: Trajectory,
    *,
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
        A loss is not finite, or there are fewer parameters than `eigenvalues`.
    """
    common: dict[str, Any] = {"repeats": REPEATS, "seed": seed}
    hessian = curvature.measure_curvature(
        trajectory, logit_scales=["own"], eigenvalues=eigenvalues, steps=1, on_progress=on_progress, **common
    )
    gauss_newton = curvature.measure_curvature(
        trajectory, matrices=["gauss_newton"], eigenvalues=0, steps=STEPS, **common
    )
    parts = [
        _select(hessian, "own", HESSIAN),
        _select(gauss_newton, "own", GAUSS_NEWTON),
        _select(gauss_newton, "unit", UNIT_SCALE),
        hessian[["logit_standard_deviation"]],
        sharpness.measure_sharpness(trajectory, radii=radii, seed=seed),
        volume.basin_volume(trajectory, EPSILONS, directions=DIRECTIONS, samples=SAMPLES, seed=seed),
    ]
    dataset = xr.merge(parts, join="exact", combine_attrs="drop_conflicts")
    return dataset.assign({name: dataset[name].assign_attrs(AT[name].attrs) for name in AT})


def _select(dataset: xr.Dataset, scale: str, names: Mapping[str, str]) -> xr.Dataset:
    """Select and rename some variables of one matrix on one split and group at one logit scale."""
    selection = dataset[list(names)].squeeze(["matrix", "split", "group"], drop=True)
    return selection.sel(logit_scale=scale, drop=True).rename(names)


class LandscapeSettings(Settings):
    """Settings of `Landscape`."""

    probe_checkpoints: int | None = Field(
        default=None, ge=0, description="number of checkpoints with Hessian, sharpness and volume; null: all"
    )
    eigenvalues: Positive = 5
    radii: list[AboveZero] = Field(default=[0.1, 1.0], min_length=1, description="radii")
    seed: NonNegative = 0

    def check_network(self, network: Network, key: str) -> None:
        """See `Settings`: there must be as many parameters as eigenvalues."""
        size = sum(network.shapes[name].numel() for name in network.moving)
        if self.eigenvalues > size and self.probe_checkpoints != 0:
            raise SltGrokError(f"{key}.eigenvalues ({self.eigenvalues}) must not exceed the {size} parameters")


class Landscape(Measurement):
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
        options = settings.model_dump(exclude={"probe_checkpoints"})
        around = context.in_shards(
            chosen,
            lambda shard, on_progress: at_checkpoints(shard, on_progress=on_progress, **options),
            4,
            part="at",
            span=(LINES, 1),
        )
        return xr.merge([lines, around], join="outer", combine_attrs="drop_conflicts")

    def seconds(self, trial: Trajectory, settings: LandscapeSettings, checkpoints: int, context: Context) -> float:
        """Predict the cost from one network, for all checkpoints and for those with probes."""
        start = time.process_time()
        between_checkpoints(trial)
        middle = time.process_time()
        at_checkpoints(trial, **settings.model_dump(exclude={"probe_checkpoints"}))
        probed = checkpoints if settings.probe_checkpoints is None else min(settings.probe_checkpoints, checkpoints)
        return (middle - start) * checkpoints + (time.process_time() - middle) * probed

    def figures(self) -> Sequence[Drawing]:
        """Draw the probes over training, and the motion of the weights."""
        from slt_grok.plots import probes

        return [
            Drawing(
                "landscape",
                probes.landscape,
                "The loss landscape over training: weight norm, mean rank of the weight matrices, trace and largest "
                "eigenvalue of the Hessian, trace and effective dimension (sum of h / (h + c) over the eigenvalues h) "
                "of the Gauss-Newton matrix, for networks with logits, also at unit logit scale (divided by their "
                "standard deviation), sharpness at one radius (adaptive: in units of each weight), and a lower bound "
                "of the basin's log-volume from 8 random directions, far below the volume in so many dimensions. Bands "
                "are 95% intervals.",
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
        """Warn about vanishing curvature, or say why there is none."""
        if reason := data[self.name].attrs.get("notes"):
            return [sentence(f"Hessian and Gauss-Newton matrix were not measured: {reason}")]
        trace = data[self.name].get("gauss_newton_trace_unit_scale")
        if trace is None or not trace.notnull().any():  # no logits
            return []
        return [
            "Near zero loss, all curvature vanishes merely because the logits are large: compare checkpoints at "
            "unit logit scale."
        ]
