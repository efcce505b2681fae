"""Probes of a run's landscape that cost minutes, made when asked for: curvature in full, connectivity, shape.

Each says in its first line of progress what it is going to cost.
"""

from typing import Any

import numpy as np
import xarray as xr

from slt_grok.progress import ProgressCallback, announce
from slt_grok.store import RunDirectory
from slt_grok.studies.milestones import at_milestones
from slt_grok.studies.shards import measure_in_shards
from slt_grok.tasks import SPLITS
from slt_grok.trajectories import Trajectory


def measure_curvature(
    run: RunDirectory, label: str, s: Any, trajectory: Trajectory, content: Any, report: ProgressCallback
) -> xr.Dataset:
    """Both matrices at both logit scales at the milestones: for all parameters on each split, and for each on train."""
    from slt_grok.landscape import curvature

    chosen, kinds = _milestones(run, trajectory), ("hessian", "gauss_newton")
    groups = {name: [name] for name in trajectory.network.shapes}
    spectra = len(kinds) * len(curvature.SCALES) * (len(SPLITS) + len(groups))
    announce(label, str(curvature.curvature_cost(chosen, spectra=spectra, eigenvalues=s.eigenvalues)))

    def measure(shard: Trajectory, done: Any) -> xr.Dataset:
        common = {"matrices": kinds, "eigenvalues": s.eigenvalues, "seed": s.seed}
        whole = curvature.measure_curvature(shard, splits=SPLITS, **common)
        done(0.3)
        parts = curvature.measure_curvature(shard, groups=groups, **common).drop_vars(["ritz_value", "ritz_weight"])
        both = xr.merge([whole, parts], join="outer", compat="no_conflicts", combine_attrs="override")
        return both.sel(group=["total", *groups], split=list(SPLITS))

    return measure_in_shards(
        run,
        label,
        chosen,
        measure,
        content,
        size=1,
        on_progress=lambda done, among, facts: _said(report, trajectory, done, among),
    )


def measure_connectivity(
    run: RunDirectory, label: str, s: Any, trajectory: Trajectory, content: Any, report: ProgressCallback
) -> xr.Dataset:
    """Barriers between all checkpoints; from each milestone to the last checkpoint also along a trained curve.

    Of several seeds also between these at every checkpoint, before and after their units are matched: LABEL@seeds.
    """
    from slt_grok.landscape.bezier import bezier, bezier_seconds
    from slt_grok.landscape.connectivity import barrier, barrier_matrix, matrix_seconds

    starts, last = _milestones(run, trajectory).isel(step=slice(0, -1)), trajectory.isel(step=-1)
    several = trajectory.shape[1] > 1
    common = {"positions": s.positions, "rows": s.rows}
    parts = {"barriers between checkpoints": matrix_seconds(trajectory, **common)}
    if len(starts):
        parts["trained curves"] = bezier_seconds(starts, len(starts), updates=s.updates)
    if several:
        parts["barriers between seeds"] = matrix_seconds(trajectory, "seed", align="weights", **common)
    total = sum(parts.values())
    announce(label, f"about {total:.0f} s: " + ", ".join(f"{part} {seconds:.0f} s" for part, seconds in parts.items()))

    def along(part: str) -> Any:
        names = list(parts)
        before = sum(parts[name] for name in names[: names.index(part)])
        return lambda done, among, facts="": report(
            int(len(trajectory) * (before + parts[part] * done / among) / total), part
        )

    found = [barrier_matrix(trajectory, seed=s.seed, on_progress=along("barriers between checkpoints"), **common)]

    def curve(shard: Trajectory, done: Any) -> xr.Dataset:
        ends = _at_every_step(last, shard)
        trained = bezier(shard, ends, updates=s.updates, seed=s.seed, on_progress=lambda n, among: done(n / among))
        straight = barrier(shard, ends, positions=trained.sizes["position"])
        return xr.merge([straight.rename(barrier="line_barrier", barrier_se="line_barrier_se"), trained], join="exact")

    if len(starts):
        found.append(
            measure_in_shards(
                run, f"{label}/curves", starts, curve, content, size=1, on_progress=along("trained curves")
            )
        )

    def seeds(shard: Trajectory, done: Any) -> xr.Dataset:
        return barrier_matrix(
            shard, "seed", align="weights", seed=s.seed, on_progress=lambda n, among: done(n / among), **common
        )

    if several:
        progress = along("barriers between seeds")
        between = measure_in_shards(run, f"{label}/seeds", trajectory, seeds, content, size=8, on_progress=progress)
        run.write_measurement(f"{label}@seeds", between, content)
    return xr.merge(found, join="outer", combine_attrs="drop_conflicts")


def measure_shape(
    run: RunDirectory, label: str, s: Any, trajectory: Trajectory, content: Any, report: ProgressCallback
) -> xr.Dataset:
    """Return the plane of the path's principal components.

    Beside it, as LABEL@random, a random plane at each milestone.
    """
    from slt_grok.landscape.evaluation import predicted_seconds, splits
    from slt_grok.landscape.principal_plane import principal_plane
    from slt_grok.landscape.slices import random_plane

    chosen = _milestones(run, trajectory)
    points = s.points**2 * (len(chosen) + trajectory.shape[1])
    announce(label, f"about {predicted_seconds(trajectory, points, splits(trajectory, rows=s.rows)):.0f} s")
    common, half = {"points": s.points, "rows": s.rows, "seed": s.seed}, len(trajectory) / 2
    drawn = random_plane(
        chosen, radius=s.radius, on_progress=lambda done, among: report(int(half * done / among)), **common
    )
    run.write_measurement(f"{label}@random", drawn, content)
    return principal_plane(
        trajectory, on_progress=lambda done, among: report(int(half + half * done / among)), **common
    )


def _milestones(run: RunDirectory, trajectory: Trajectory) -> Trajectory:
    steps = trajectory.coords["step"]
    at = at_milestones(run, steps, trajectory.coords["seed"].tolist())
    return trajectory.isel(step=np.flatnonzero(np.isin(steps, at)).tolist())


def _at_every_step(last: Trajectory, chosen: Trajectory) -> Trajectory:
    """Return the last networks as partners of each of the chosen ones, which are in the order (step, seed)."""
    return last.isel(step=[0] * chosen.shape[0])


def _said(report: ProgressCallback, trajectory: Trajectory, done: float, among: int) -> None:
    report(int(len(trajectory) * done / among), f"milestone {done:.1f} of {among}")
