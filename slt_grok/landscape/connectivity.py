"""Measurements of connectivity: barriers between checkpoints, along trained curves, and between seeds."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from pydantic import Field

from slt_grok.format import duration, number, plus_minus, step
from slt_grok.landscape.barriers import LINE, barrier, barrier_matrix, between, matrix_seconds
from slt_grok.landscape.bezier import VARIABLES as CURVE
from slt_grok.landscape.bezier import bezier, bezier_seconds
from slt_grok.landscape.common import only
from slt_grok.measurement import Context, Data, Drawing, Measurement, Table
from slt_grok.progress import ProgressCallback, stretch
from slt_grok.settings import NonNegative, Positive, Settings
from slt_grok.trajectories import Trajectory
from slt_grok.units import with_units


class SeedBarriersSettings(Settings):
    """Settings of `SeedBarriers`."""

    positions: int = Field(default=5, ge=3, description="positions on each line, including both ends")
    rows: int = Field(default=1024, ge=16, description="number of samples of each split")
    seed: NonNegative = 0


class ConnectivitySettings(SeedBarriersSettings):
    """Settings of `Connectivity`."""

    updates: Positive = Field(default=400, description="number of updates of each curve's control point")


class Connectivity(Measurement):
    """Barriers between all checkpoints, and along trained curves from each milestone to the last checkpoint."""

    name, title, position, default = "connectivity", "Connectivity", 42, False
    Settings = ConnectivitySettings
    variables = between("step") | only("runs with a milestone before the last checkpoint", LINE | CURVE)

    def measure(self, trajectory: Trajectory, settings: ConnectivitySettings, context: Context) -> xr.Dataset:
        """Measure the matrix of barriers, then the curves in shards."""
        starts = trajectory.at_milestones(context.milestones).isel(step=slice(0, -1))
        last = trajectory.isel(step=-1)
        options = settings.model_dump(include={"positions", "rows"})
        lines = matrix_seconds(trajectory, "step", **options)
        curves = bezier_seconds(starts, len(starts), updates=settings.updates) if len(starts) else 0.0
        context.announce(
            f"about {duration(lines + curves)}: barriers between checkpoints {duration(lines)}, "
            f"trained curves {duration(curves)}"
        )
        middle = lines / (lines + curves)
        on_matrix = stretch(context.on_progress, 0, middle)
        matrix = barrier_matrix(trajectory, seed=settings.seed, on_progress=on_matrix, **options)
        if not len(starts):
            return matrix

        def curve(shard: Trajectory, on_progress: ProgressCallback) -> xr.Dataset:
            ends = last.isel(step=[0] * shard.shape[0])
            trained = bezier(shard, ends, updates=settings.updates, seed=settings.seed, on_progress=on_progress)
            return xr.merge([barrier(shard, ends, positions=trained.sizes["position"]), trained], join="exact")

        trained = context.in_shards(starts, curve, 1, part="curves", span=(middle, 1))
        return xr.merge([matrix, trained], join="outer", combine_attrs="drop_conflicts")

    def seconds(self, trial: Trajectory, settings: ConnectivitySettings, checkpoints: int, context: Context) -> float:
        """Predict the cost from a few losses and updates; there are at most two curves."""
        many = trial.isel(step=[0] * checkpoints)
        lines = matrix_seconds(many, "step", positions=settings.positions, rows=settings.rows)
        return lines + bezier_seconds(trial, min(2, checkpoints - 1), updates=settings.updates)

    def figures(self) -> Sequence[Drawing]:
        """Draw the matrix of barriers, and the loss along lines and curves."""
        from slt_grok.plots.slices import barrier_matrix, mode_connectivity

        return [
            Drawing(
                "barrier_matrix",
                barrier_matrix,
                "Loss barrier on the straight line between every two checkpoints, on the train and the test set: 0 "
                "if the loss stays below the chord between its ends.",
                ("barrier_between",),
            ),
            Drawing(
                "mode_connectivity",
                mode_connectivity,
                "Loss from the memorizing and the generalizing checkpoint to the last one, on the straight line and on "
                "a quadratic Bezier curve whose control point was trained on the train set. A curve without a hump "
                "proves that its ends are connected below their losses; a hump proves nothing.",
                ("curve_loss",),
            ),
        ]

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the barriers along line and curve from each milestone to the last checkpoint."""
        dataset, rows = data[self.name], []
        if "curve_barrier" not in dataset:
            return []
        for seed, start, split in np.ndindex(dataset.sizes["seed"], dataset.sizes["step"], dataset.sizes["split"]):
            values = dataset.isel(seed=seed, step=start, split=split)
            if np.isfinite(values.curve_barrier):
                barriers = [_with_error(values, name) for name in ("line_barrier", "curve_barrier")]
                rows.append([str(int(values.seed)), step(int(values.step)), str(values.split.item()), *barriers])
        title = with_units("Loss barriers", dataset.curve_barrier)
        caption = f"{title} to the checkpoint at step {step(int(dataset.step[-1]))}"
        return [Table(caption, ["Seed", "From step", "Split", "Straight line", "Trained curve"], rows)]


class SeedBarriers(Measurement):
    """Barriers between the seeds at every checkpoint, before and after matching their units."""

    name, title, position, default, inherits = "seed_barriers", "Barriers between seeds", 43, False, "connectivity"
    Settings = SeedBarriersSettings
    variables = only("at least two seeds; aligned: models that declare their units", between("seed", align=True))

    def measure(self, trajectory: Trajectory, settings: SeedBarriersSettings, context: Context) -> xr.Dataset:
        """Measure a few checkpoints at a time; a single seed has no barriers."""
        if len(trajectory.coords["seed"]) < 2:
            return xr.Dataset(attrs={"unmeasurable": "barriers between seeds need a run with at least two seeds"})
        options = settings.model_dump(include={"positions", "rows"}) | {"align": trajectory.network.declares("units")}
        context.announce(f"about {duration(matrix_seconds(trajectory, 'seed', **options))}")
        options["seed"] = settings.seed
        return context.in_shards(
            trajectory, lambda shard, on_progress: barrier_matrix(shard, "seed", on_progress=on_progress, **options), 8
        )

    def seconds(self, trial: Trajectory, settings: SeedBarriersSettings, checkpoints: int, context: Context) -> float:
        """Predict the cost of one seed's share of all pairs."""
        seeds, align = len(context.config.seeds), trial.network.declares("units")
        if seeds < 2:
            return 0.0
        pairs = trial.isel(seed=[0] * seeds)
        seconds = matrix_seconds(pairs, "seed", positions=settings.positions, rows=settings.rows, align=align)
        return seconds * checkpoints / seeds

    def figures(self) -> Sequence[Drawing]:
        """Draw the barriers over training."""
        from slt_grok.plots.slices import seed_barriers

        return [
            Drawing(
                "seed_barriers",
                seed_barriers,
                "Loss barrier on the straight line between seeds at each checkpoint (thin: pairs; thick: median), for "
                "the weights as they are and after the units of one network (neurons, heads, dimensions of the "
                "embedding) are permuted to bring its weights closest to the other's. The matching is a local optimum, "
                "so the aligned barrier is an upper bound of the barrier modulo permutations.",
                ("barrier_between", "barrier_aligned"),
                by_seed=False,
            )
        ]

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate median and range over the pairs at the last checkpoint."""
        if "barrier_between" not in data[self.name]:
            return []
        last, rows = data[self.name].isel(step=-1), []
        first, second = np.triu_indices(last.sizes["seed"], 1)
        for kind, title in (("between", "as they are"), ("aligned", "units matched")):
            for split in last.split.values if f"barrier_{kind}" in last else ():
                values = last[f"barrier_{kind}"].sel(split=split).transpose("seed", "seed_other").values[first, second]
                if np.isfinite(values).all():
                    rows.append([title, str(split), *(number(float(f(values))) for f in (np.median, np.min, np.max))])
        title = with_units("Barriers between seeds", last.barrier_between)
        caption = f"{title} at step {step(int(last.step))}, over {len(first)} pairs"
        return [Table(caption, ["Weights", "Split", "Median", "Smallest", "Largest"], rows)]


def _with_error(values: xr.Dataset, name: str) -> str:
    """Format a value with its error, if any."""
    value, error = float(values[name]), float(values[f"{name}_se"])
    return plus_minus(value, error) if error > 0 else number(value)
