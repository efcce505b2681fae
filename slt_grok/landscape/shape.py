"""Measurements of the landscape's shape: the principal plane of the path, and random planes."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from pydantic import Field

from slt_grok.format import duration, number, percent, step
from slt_grok.landscape import principal_plane, slices
from slt_grok.landscape.evaluation import predicted_seconds, splits
from slt_grok.measurement import Context, Data, Drawing, Measurement, Table
from slt_grok.settings import AboveZero, NonNegative, Settings
from slt_grok.trajectories import Trajectory
from slt_grok.units import with_units


class ShapeSettings(Settings):
    """Settings of `Shape`."""

    points: int = Field(default=25, ge=3, description="number of grid points along each axis")
    rows: int = Field(default=1024, ge=16, description="number of samples of each split")
    seed: NonNegative = 0


class Shape(Measurement):
    """Loss in the plane of the first two principal components of the path of the weights."""

    name, title, position, default = "shape", "Path of the weights", 44, False
    Settings = ShapeSettings
    variables = principal_plane.VARIABLES

    def measure(self, trajectory: Trajectory, settings: ShapeSettings, context: Context) -> xr.Dataset:
        """Measure the plane of each seed."""
        context.announce(f"about {duration(_seconds(trajectory, trajectory.shape[1], settings))}")
        return principal_plane.principal_plane(trajectory, on_progress=context.on_progress, **settings.model_dump())

    def seconds(self, trial: Trajectory, settings: ShapeSettings, checkpoints: int, context: Context) -> float:
        """Predict the cost from a few losses."""
        return _seconds(trial, 1, settings)

    def figures(self) -> Sequence[Drawing]:
        """Draw the plane with the path."""
        from slt_grok.plots.slices import principal_plane

        return [
            Drawing(
                "principal_plane",
                principal_plane,
                "Train and test loss in the plane of the first two principal components of the path of the weights. "
                "Points are checkpoints, each in the color of its own loss; they lie off the plane, so the loss at "
                "their projections differs.",
                ("principal_plane_loss",),
            )
        ]

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate how much of the path's variance lies in the plane."""
        dataset, rows = data[self.name], []
        for seed in dataset.seed.values:
            plane = dataset.sel(seed=seed)
            shares = [percent(float(share)) for share in plane.explained_share]
            extent = float(np.sqrt((plane.path**2).sum("component")).max())
            rows.append([str(seed), *shares, number(float(plane.path_distance.max())), number(extent)])
        walk = " and ".join(percent(share) for share in principal_plane.WALK)
        caption = f"Variance of the path in its first two components; a random walk of many steps has {walk}"
        header = ["Seed", "First", "Second", "Largest distance from the plane", "Extent in the plane"]
        return [Table(caption, header, rows)]


class RandomPlanesSettings(ShapeSettings):
    """Settings of `RandomPlanes`."""

    radius: AboveZero = Field(default=1.0, description="radius of the planes, in filter norms")


class RandomPlanes(Measurement):
    """Loss in a filter-normalized random plane through each milestone."""

    name, title, position, default, inherits = "random_planes", "Random planes", 45, False, "shape"
    Settings = RandomPlanesSettings
    variables = slices.VARIABLES

    def measure(self, trajectory: Trajectory, settings: RandomPlanesSettings, context: Context) -> xr.Dataset:
        """Measure one checkpoint at a time."""
        chosen = trajectory.at_milestones(context.milestones)
        context.announce(f"about {duration(_seconds(chosen, len(chosen), settings))}")
        return context.in_shards(
            chosen,
            lambda shard, on_progress: slices.random_plane(shard, on_progress=on_progress, **settings.model_dump()),
            1,
        )

    def seconds(self, trial: Trajectory, settings: RandomPlanesSettings, checkpoints: int, context: Context) -> float:
        """Predict the cost from a few losses; there are at most three milestones."""
        return _seconds(trial, min(3, checkpoints), settings)

    def figures(self) -> Sequence[Drawing]:
        """Draw the plane through the last checkpoint."""
        from slt_grok.plots.slices import random_plane

        return [
            Drawing(
                "random_plane",
                random_plane,
                "Train and test loss in a random plane through the last checkpoint, in units of the norm of each "
                "filter.",
                ("plane_loss",),
            )
        ]

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the train loss on a circle of half the radius around each milestone."""
        dataset, rows = data[self.name].sel(split="train"), []
        x, y = dataset.x, dataset.y
        radius = float(x.max()) / 2
        circle = abs(np.hypot(x, y) - radius) <= float(x[1] - x[0]) / 2
        for seed, checkpoint in np.ndindex(dataset.sizes["seed"], dataset.sizes["step"]):
            plane = dataset.isel(seed=seed, step=checkpoint)
            losses = plane.plane_loss.where(circle)
            values = [number(float(statistic)) for statistic in (losses.mean(), losses.min(), losses.max())]
            rows.append([str(int(plane.seed)), step(int(plane.step)), *values])
        title = with_units("Train loss", dataset.plane_loss)
        caption = f"{title} on a circle of {number(radius)} filter norms around the checkpoint"
        return [Table(caption, ["Seed", "Step", "Mean", "Smallest", "Largest"], rows)]


def _seconds(trajectory: Trajectory, planes: int, settings: ShapeSettings) -> float:
    return predicted_seconds(trajectory, settings.points**2 * planes, splits(trajectory, settings.rows))
