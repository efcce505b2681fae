"""Curvature of the loss along a trajectory: trace, largest eigenvalues, effective dimension, spectral density.

For the Hessian and the Gauss-Newton matrix, on the train, test and combined loss, over all parameters and over groups
of them. A network that fits its train set with a loss near 1e-8 has vanishing curvature, whatever its shape, merely
because its logits are large. Everything is therefore computed twice: for the loss itself, and at unit logit scale, for
the loss of z / s with s the standard deviation of the logits z at that checkpoint, held fixed. The latter is invariant
to scaling the unembedding, and so is its curvature in all other parameters.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.format import duration, number, plus_minus
from slt_grok.landscape.common import declared, timed
from slt_grok.landscape.logit_scale import at_temperature, logit_standard_deviation
from slt_grok.measurement import Context, Data, Drawing, Measurement, Table, Variable
from slt_grok.operators.curvature import CurvatureOperator, Matrix, precise_dtype
from slt_grok.operators.objective import Objective, network_seed
from slt_grok.operators.products import NoSecondDerivatives
from slt_grok.operators.spectrum import products, spectrum
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.settings import NonNegative, Positive, Settings
from slt_grok.tasks import SPLITS, Split
from slt_grok.trajectories import Network, Trajectory
from slt_grok.units import with_units

LogitScale = Literal["own", "unit"]
MATRICES = ("hessian", "gauss_newton")
SCALES: tuple[LogitScale, ...] = ("own", "unit")
TOTAL: Mapping[str, Sequence[str] | None] = {"total": None}  # the group of all parameters
C = (0.3, 1.0)  # of the effective dimension; at the loss's own scale, c = gamma / n_beta is comparable to an LLC
REPEATS, STEPS = 6, 6  # random vectors of the quadrature, and Lanczos steps of each
TOLERANCE = 1e-2  # relative residual of each eigenpair; the error of the eigenvalue is of the order of its square

OF = ("matrix", "logit_scale", "split", "group")
WHERE = (
    "Hessian or Gauss-Newton matrix A of the mean loss over the D parameters of the group; at unit logit "
    "scale the logits are divided by their standard deviation before the loss"
)
HUTCH = "Meyer et al. 2021 (Hutch++), doi:10.1137/1.9781611976496.16"
ARPACK = "Lehoucq, Sorensen and Yang 1998 (ARPACK)"
MACKAY = "MacKay 1992, doi:10.1162/neco.1992.4.3.448; arXiv:2003.02139"
QUADRATURE = "Ubaru, Chen and Saad 2017, doi:10.1137/16M1104974"
PER_WEIGHT: Any = {"units": "/ weight²", "of_loss": True}


def _variable(long_name: str, definition: str, source: str, *dims: str, **units: Any) -> Variable:
    return Variable((*OF, *dims), long_name, f"{definition}; {WHERE}", source, **units)


VARIABLES = {
    "curvature_trace": _variable("trace of the curvature", "tr A", HUTCH, **PER_WEIGHT),
    "curvature_trace_se": _variable("standard error of the trace", "over the random vectors", HUTCH, **PER_WEIGHT),
    "curvature_eigenvalue": _variable(
        "largest eigenvalues", "algebraically largest, largest first", ARPACK, "eigenvalue", **PER_WEIGHT
    ),
    "effective_dimension": _variable(
        "effective dimension", "sum h / (|h| + c) over the eigenvalues h, by quadrature", MACKAY, "c"
    ),
    "effective_dimension_se": _variable(
        "standard error of the effective dimension", "over the random vectors", QUADRATURE, "c"
    ),
    "ritz_value": _variable(
        "nodes of the spectral density", "eigenvalues and Ritz values", QUADRATURE, "repeat", "node", **PER_WEIGHT
    ),
    "ritz_weight": _variable(
        "weights of the spectral density", "fraction of the D eigenvalues", QUADRATURE, "repeat", "node"
    ),
    "logit_standard_deviation": Variable(
        (),
        "standard deviation of the logits",
        "sqrt of the mean over train samples and classes of (z - mean over classes of z)^2",
        "arXiv:1706.04599, section 4.2 (temperature)",
    ),
}


def measure_curvature(
    trajectory: Trajectory,
    *,
    matrices: Sequence[Matrix] = ("hessian",),
    logit_scales: Sequence[LogitScale] = SCALES,
    splits: Sequence[Split] = ("train",),
    groups: Mapping[str, Sequence[str] | None] = TOTAL,
    eigenvalues: int = 5,
    repeats: int = REPEATS,
    steps: int = STEPS,
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Measure trace, largest eigenvalues, effective dimension and spectral density of the curvature.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    matrices : sequence of Matrix, optional
        Subset of `hessian`, `gauss_newton`.
    logit_scales : sequence of LogitScale, optional
        Subset of `own`, `unit`.
    splits : sequence of Split, optional
        Subset of `train`, `test`, `all`. The cost of a product is proportional to the size of the split.
    groups : mapping, optional
        Name -> names of parameters, None for all of them.
    eigenvalues, repeats, steps : int, optional
        See `slt_grok.operators.spectrum.spectrum`; each combination takes about 20 + repeats * steps products, at the
        cost of two gradients each. The precision of the products is chosen per network and group, on the train set.
    seed : int, optional
        Seed of all random vectors, which also depend on the network's coordinates.
    on_progress : callable, optional
        Called with the completed fraction of networks.

    Returns
    -------
    xarray.Dataset
        `ritz_value` and `ritz_weight` form a quadrature of all eigenvalues with weights that sum to 1 in each repeat.
        Undefined values (unit scale without class labels, the test split of a network without one) are NaN; so are all
        but `logit_standard_deviation` if the network has no second derivatives, and the attribute `notes` says so.

    Raises
    ------
    SltGrokError
        A group is unknown, or there are fewer parameters than `eigenvalues`.
    """
    objective, task = Objective.of(trajectory), trajectory.task
    members = list(groups.values())
    sizes = [objective.size(group) for group in members]
    nodes = max([eigenvalues + steps, *(size for size in sizes if size <= products(eigenvalues, repeats, steps))])
    count, shape = len(trajectory), (len(matrices), len(logit_scales), len(splits), len(groups))
    tails = ((), (), (eigenvalues,), (len(C),), (len(C),), (repeats, nodes), (repeats, nodes))
    values = {name: np.full((count, *shape, *tail), np.nan) for name, tail in zip(VARIABLES, tails, strict=False)}
    deviations = [logit_standard_deviation(objective, index) for index in range(count)]

    def measure(index: int, coordinates: Mapping[str, Any]) -> None:
        # choose where rounding is worst: at the loss's own scale, which may be near 0
        dtypes = [precise_dtype(objective, index, group, TOLERANCE) for group in members]
        deviation = deviations[index]
        losses = {"own": objective, "unit": at_temperature(objective, deviation) if deviation > 0 else None}
        for m, s, d, g in product(*map(range, shape)):
            loss, place = losses[logit_scales[s]], (index, m, s, d, g)
            if loss is None or not len(task.indices(splits[d])):
                continue
            loss = loss.on(task.data(splits[d]))
            operator = CurvatureOperator(loss, index, matrices[m], group=members[g], dtype=dtypes[g])
            estimate = spectrum(operator, eigenvalues, repeats, steps, TOLERANCE, network_seed(seed, coordinates))
            values["curvature_trace"][place], values["curvature_trace_se"][place] = estimate.trace()
            values["curvature_eigenvalue"][place] = estimate.values[:eigenvalues]
            dimensions = np.transpose([estimate.effective_dimension(c) for c in C])
            values["effective_dimension"][place], values["effective_dimension_se"][place] = dimensions
            for name, ritz in zip(("ritz_value", "ritz_weight"), estimate.quadrature(), strict=True):
                values[name][*place, :, : ritz.shape[1]] = ritz

    attrs: dict[str, Any] = {"repeats": repeats, "steps": steps, "tolerance": TOLERANCE, "seed": seed}
    try:
        for index, coordinates in enumerate(trajectory.labels()):
            measure(index, coordinates)
            on_progress((index + 1) / count)
    except NoSecondDerivatives as error:
        attrs["notes"] = str(error)
    values["logit_standard_deviation"] = np.array(deviations)
    coords = dict(zip(OF, map(list, (matrices, logit_scales, splits, groups)), strict=True))
    coords |= {"c": list(C), "eigenvalue": list(range(1, eigenvalues + 1))}
    return declared(trajectory, VARIABLES, values, **coords).assign_attrs(attrs)


class CurvatureSettings(Settings):
    """Settings of `Curvature`."""

    eigenvalues: Positive = 5
    seed: NonNegative = 0

    def check_network(self, network: Network, key: str) -> None:
        """See `Settings`: each parameter must have as many entries as eigenvalues."""
        size = min((network.shapes[name].numel() for name in network.moving), default=0)
        if self.eigenvalues > size:
            raise SltGrokError(
                f"{key}.eigenvalues ({self.eigenvalues}) must not exceed the size of a parameter, {size}"
            )


class Curvature(Measurement):
    """Hessian and Gauss-Newton matrix at the milestones: on each split, and per parameter on the train split."""

    name, title, position, default = "curvature", "Curvature", 41, False
    Settings = CurvatureSettings
    variables = VARIABLES

    def measure(self, trajectory: Trajectory, settings: CurvatureSettings, context: Context) -> xr.Dataset:
        """Measure the milestones, one checkpoint at a time."""
        chosen = trajectory.at_milestones(context.milestones)
        groups = {name: [name] for name in trajectory.network.moving}
        try:
            context.announce(f"about {duration(self._seconds(chosen, settings.eigenvalues))}")
        except NoSecondDerivatives as error:
            return xr.Dataset(attrs={"unmeasurable": str(error)})
        options: dict[str, Any] = {"matrices": MATRICES, "eigenvalues": settings.eigenvalues, "seed": settings.seed}

        def shard(part: Trajectory, on_progress: ProgressCallback) -> xr.Dataset:
            whole = measure_curvature(part, splits=SPLITS, **options)
            on_progress(0.3)
            blocks = measure_curvature(part, groups=groups, **options).drop_vars(["ritz_value", "ritz_weight"])
            both = xr.merge([whole, blocks], join="outer", compat="no_conflicts", combine_attrs="override")
            return both.sel(group=["total", *groups], split=list(SPLITS))

        return context.in_shards(chosen, shard, 1)

    def seconds(self, trial: Trajectory, settings: CurvatureSettings, checkpoints: int, context: Context) -> float:
        """Predict the cost from one product; there are at most three milestones."""
        return min(3, checkpoints) * self._seconds(trial, settings.eigenvalues)

    def _seconds(self, trajectory: Trajectory, eigenvalues: int) -> float:
        objective = Objective.of(trajectory)
        operator = CurvatureOperator(objective, 0, dtype=precise_dtype(objective, 0, None, TOLERANCE))
        spectra = len(MATRICES) * len(SCALES) * (len(SPLITS) + len(trajectory.network.moving))
        work = len(trajectory) * spectra * products(eigenvalues, REPEATS, STEPS)
        return work * timed(operator.matvec, np.ones(operator.shape[1]))

    def figures(self) -> Sequence[Drawing]:
        """Draw the spectral density."""
        from slt_grok.plots.probes import spectral_density

        return [
            Drawing(
                "spectral_density",
                spectral_density,
                "Density of the Hessian's eigenvalues after memorization, after generalization and at the end, for the "
                "loss itself and at unit logit scale. The axis counts decades on both sides of 0.",
                ("ritz_value",),
            )
        ]

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate traces and largest eigenvalues of each matrix, logit scale and split, one table per seed."""
        return [_table(data[self.name].sel(seed=seed, group="total")) for seed in data[self.name].seed.values]


def _table(curvature: xr.Dataset) -> Table:
    rows = []
    for step, *names in product(*(curvature[dim].values for dim in ("step", *OF[:3]))):
        values = curvature.sel({"step": step, **dict(zip(OF, names, strict=False))})
        if np.isfinite(values.curvature_trace):
            trace = plus_minus(float(values.curvature_trace), float(values.curvature_trace_se))
            labels = [str(name).replace("_", "-") for name in names]
            rows.append([f"{step:,}", *labels, trace, number(float(values.curvature_eigenvalue[0]))])
    header = ["Step", "Matrix", "Logit scale", "Split", "Trace", "Largest eigenvalue"]
    title = with_units("Curvature", curvature.curvature_trace)
    return Table(f"{title}, seed {int(curvature.seed)}", header, rows, folded=True)
