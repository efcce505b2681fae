"""A measurement from outside the package: how much of the weights' squared norm is in the largest of them."""

import time
from typing import Annotated

import torch
from pydantic import Field

from slt_grok.measurement import Drawing, Measurement, Variable, evenly_spaced
from slt_grok.settings import Positive, Settings


class TopWeightsSettings(Settings):
    """How many count as the largest, where they are measured, and how slowly."""

    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    checkpoints: Positive | None = None
    pause: float = Field(default=0.0, ge=0, description="seconds of sleep at each checkpoint")


class TopWeights(Measurement):
    """The share of the largest weights in the squared norm."""

    name, title, position = "top_weights", "Largest weights", 90
    Settings = TopWeightsSettings
    variables = {
        "top_share": Variable((), "share of the largest weights", "sum of w^2 over the largest / over all"),
        "largest_weight": Variable((), "largest weight", "max |w|"),
    }

    def measure(self, trajectory, settings, context):
        """Measure checkpoint by checkpoint."""
        chosen = trajectory.isel(step=evenly_spaced(trajectory.coords["step"], settings.checkpoints))

        def shard(part, on_progress):
            time.sleep(settings.pause)
            weights = torch.cat([w.flatten(1) for w in part.stacked(torch.float64).values()], 1).abs()
            ordered = weights.sort(1, descending=True).values.square()
            count = max(1, int(settings.fraction * ordered.shape[1]))
            share = ordered[:, :count].sum(1) / ordered.sum(1)
            return self.dataset(part, {"top_share": share, "largest_weight": weights.amax(1)})

        return context.in_shards(chosen, shard, 1)

    def figures(self):
        """Draw the share over training."""
        return [Drawing("top_weights", draw, "Share of the largest weights in the squared norm over training.")]

    def columns(self, dataset):
        """Return the share at the last checkpoint."""
        return {"top_share_final": dataset.top_share.isel(step=-1).item()}


def draw(dataset, seed=None):
    """Plot the share against the training step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.plot(dataset.step, dataset.top_share.sel(seed=seed), marker="o")
    axes.set(xlabel="Training step", ylabel="Share of the squared norm", xscale="symlog")
    return figure
