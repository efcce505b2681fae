"""What a run's curvature, connectivity and shape say, in sentences with their errors.

A difference is said to be one where it is above 3 joint standard errors; an error over samples is left out where all
samples were taken.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from slt_grok.plots.style import with_seed
from slt_grok.report.words import known, listing, number, percent, plural, plus_minus, step

SIGNIFICANCE = 3.0  # joint standard errors
LARGEST = 3  # parameters that are named for their share of the trace


def sentences(datasets: Mapping[str, xr.Dataset]) -> list[str]:
    """Return what each probe says that was made, a paragraph for each seed."""
    made: list[tuple[str, str, Callable[[xr.Dataset], list[str]]]] = [
        ("curvature", "curvature_trace", curvature),
        ("connectivity", "barrier_between", connectivity),
        ("shape", "explained_share", path),
        ("shape@random", "plane_loss", random_plane),
    ]
    found = []
    for label, variable, say in made:
        if label not in datasets or variable not in datasets[label]:
            continue
        dataset = with_seed(datasets[label])
        for seed in dataset.seed.values.tolist():
            who = f"Seed {seed}: " if dataset.sizes["seed"] > 1 else ""
            if said := say(dataset.sel(seed=seed)):
                found.append(who + " ".join(said))
    if "connectivity@seeds" in datasets:
        found.append(" ".join(between_seeds(datasets["connectivity@seeds"])))
    return [paragraph for paragraph in found if paragraph]


# -- curvature --------------------------------------------------------------------------------------------------------


def curvature(one: xr.Dataset) -> list[str]:
    """Return the Hessian's trace on train and test set at both logit scales, whether it changes, and where it lies."""
    total = one.sel(group="total", matrix="hessian")
    own = total.sel(logit_scale="own", split="train").dropna("step", subset=["curvature_trace"])
    if not own.sizes["step"]:
        return []
    said = [f"The trace of the Hessian of the train loss is {_along(own)} (nats per squared unit of weight)."]
    unit = total.sel(logit_scale="unit", split="train").dropna("step", subset=["curvature_trace"])
    if unit.sizes["step"]:
        said.append(f"At unit logit scale it is {_along(unit)}: {_change(unit)}.")
    if "test" in one.split:
        test = total.sel(logit_scale="own", split="test").dropna("step", subset=["curvature_trace"])
        if test.sizes["step"]:
            said.append(f"On the test set, as the loss is, it is {_along(test)}.")
    last = one.sel(logit_scale="own", split="train", step=int(own.step[-1]))
    return [*said, *_shares(last), *_gauss_newton(last)]


def _along(curve: xr.Dataset) -> str:
    values = zip(curve.step.values, curve.curvature_trace.values, curve.curvature_trace_se.values, strict=True)
    return listing([f"{plus_minus(float(v), float(se))} at step {step(int(s))}" for s, v, se in values])


def _change(curve: xr.Dataset) -> str:
    """Whether a trace ends below or above where it starts."""
    first, last = (float(curve.curvature_trace[i]) for i in (0, -1))
    error = math.hypot(*(float(curve.curvature_trace_se[i]) for i in (0, -1)))
    if curve.sizes["step"] < 2:
        return "a single checkpoint"
    if abs(last - first) <= SIGNIFICANCE * error:
        return "no change beyond 3 standard errors"
    return f"{'a fall' if last < first else 'a rise'} of {plus_minus(abs(last - first), error)}"


def _shares(last: xr.Dataset) -> list[str]:
    """Return the parameters with the largest shares of the Hessian's trace; the blocks' traces sum to the whole one."""
    hessian = last.sel(matrix="hessian")
    parts = hessian.drop_sel(group="total").dropna("group", subset=["curvature_trace"])
    total = hessian.sel(group="total")
    whole, error = float(total.curvature_trace), float(total.curvature_trace_se)
    if not parts.sizes["group"] or not whole > SIGNIFICANCE * error:
        return []
    most = parts.sortby("curvature_trace", ascending=False).isel(group=slice(LARGEST))
    named = []
    for name in most.group.values.tolist():
        here = most.sel(group=name)
        share = float(here.curvature_trace) / whole
        own = math.hypot(float(here.curvature_trace_se) / whole, share * error / whole)
        named.append(f"{name} {plus_minus(100 * share, 100 * own)}%")
    return [f"Of the trace on the train set at step {step(int(last.step))} most is in {listing(named)}."]


def _gauss_newton(last: xr.Dataset) -> list[str]:
    if "gauss_newton" not in last.matrix:
        return []
    pair = [last.sel(matrix=matrix, group="total") for matrix in ("hessian", "gauss_newton")]
    (hessian, error), (gauss, own) = ((float(m.curvature_trace), float(m.curvature_trace_se)) for m in pair)
    same = abs(hessian - gauss) <= SIGNIFICANCE * math.hypot(error, own)
    word = "within 3 standard errors of the Hessian's" if same else "apart from the Hessian's"
    return [f"There the Gauss-Newton matrix has trace {plus_minus(gauss, own)}, {word}."]


# -- connectivity -----------------------------------------------------------------------------------------------------


def connectivity(one: xr.Dataset) -> list[str]:
    """Return the largest barrier between checkpoints, and barriers on line and curve from each milestone to the end."""
    said = []
    for split in one.split.values.tolist():
        values = one.barrier_between.sel(split=split).values
        if not np.isfinite(values).any():
            continue
        i, j = np.unravel_index(np.nanargmax(values), values.shape)
        largest, error = values[i, j], float(one.barrier_between_se.sel(split=split)[i, j])
        first, second = sorted(int(one.step[place]) for place in (i, j))
        said.append(
            f"{_with_error(largest, error)} nats on the {split} set (steps {step(first)} and {step(second)})"
            if largest > SIGNIFICANCE * error
            else f"none on the {split} set"
        )
    found = [f"The largest loss barrier on a straight line between two checkpoints: {listing(said)}."] if said else []
    if "line_barrier" not in one:
        return found
    last = int(one.step[-1])
    for start in one.step.values[np.isfinite(one.curve_barrier).any("split").values].tolist():
        at = one.sel(step=start)
        parts = [
            f"on the {s} set {_paths(at.sel(split=s))}"
            for s in one.split.values.tolist()
            if np.isfinite(at.curve_barrier.sel(split=s)) and np.isfinite(at.line_barrier.sel(split=s))
        ]
        if parts:
            found.append(f"From step {step(start)} to step {step(last)} there is {'; '.join(parts)}.")
    return found


def _paths(at: xr.Dataset) -> str:
    """Return the barriers of one split along the straight line and along the trained curve."""
    known = [(float(at[f"{path}_barrier"]), float(at[f"{path}_barrier_se"])) for path in ("line", "curve")]
    line, curve = (
        f"a barrier of {_with_error(value, error)} nats" if value > SIGNIFICANCE * error else "no barrier"
        for value, error in known
    )
    if line == curve == "no barrier":
        return "no barrier along either the straight line or the trained curve"
    return f"{line} along the straight line and {curve} along the trained curve"


def between_seeds(dataset: xr.Dataset) -> list[str]:
    """Median and range of the barriers between the seeds at the last checkpoint, before and after alignment."""
    last = dataset.isel(step=-1)
    first, second = np.triu_indices(last.sizes["seed"], 1)
    found = []
    for split in last.split.values.tolist():
        kinds = [last[f"barrier_{kind}"].sel(split=split).values[first, second] for kind in ("between", "aligned")]
        if not np.isfinite(kinds).all():
            continue
        before, after = (f"{number(float(np.median(k)))} nats" + _range(k) for k in kinds)
        found.append(
            f"Between the seeds at step {step(int(last.step))} the barrier on the {split} set is {before} over "
            f"{plural(len(first), 'pair')}, and {after} after the units are matched"
            + (f", {percent(float(np.median(kinds[1]) / np.median(kinds[0])))} of it." if np.median(kinds[0]) else ".")
        )
    return found


def _range(values: np.ndarray) -> str:
    if len(values) == 1:
        return ""
    return f" (median; {number(float(values.min()))} to {number(float(values.max()))})"


# -- shape ------------------------------------------------------------------------------------------------------------


def path(one: xr.Dataset) -> list[str]:
    """How much of the path lies in the plane of its principal components, beside a random walk."""
    share, walk = (one[name].values.tolist() for name in ("explained_share", "explained_share_random_walk"))
    if not all(map(known, share)):
        return []
    extent = float(np.sqrt((one.path**2).sum("component")).max())
    return [
        f"The first two principal components hold {percent(share[0])} and {percent(share[1])} of the variance of the "
        f"path of the weights (a random walk of many steps: {percent(walk[0])} and {percent(walk[1])}); the "
        f"checkpoints lie up to {number(float(one.path_distance.max()))} from their plane, in which the path reaches "
        f"{number(extent)} from its end."
    ]


def random_plane(one: xr.Dataset) -> list[str]:
    """Mean train loss on a circle of half the plane's radius around each milestone."""
    x, y = one.x.values, one.y.values
    radius = x.max() / 2
    circle = abs(np.hypot(x[:, None], y) - radius) <= (x[1] - x[0]) / 2
    losses = one.plane_loss.sel(split="train").transpose("step", "x", "y").values[:, circle]
    said = [
        f"{number(float(at.mean()))} nats ({number(float(at.min()))} to {number(float(at.max()))} around it) at step "
        f"{step(int(where))}"
        for at, where in zip(losses, one.step.values, strict=True)
        if np.isfinite(at).all()
    ]
    if not said:
        return []
    return [
        f"In a random plane, on a circle of {number(float(radius))} norms of each filter around the checkpoint, the "
        f"mean train loss is {listing(said)}."
    ]


def _with_error(value: float, error: float) -> str:
    """Return the value with its error; without one where all samples were taken."""
    return plus_minus(value, error) if error > 0 else number(value)
