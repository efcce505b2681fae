"""The loss landscape at and between checkpoints.

Of the default measurement, `at_checkpoints` covers the probes around each network, `between_checkpoints` those between
a network and its predecessor. Each family has a module: `dynamics`, `curvature`, `sharpness`, `volume`, `barriers` with
`alignment` and `bezier`, `slices`, `principal_plane`.

To add a probe, write a measurement in a single file, either in this folder or in a plugin.

>>> class GradientMaximum(Measurement):
...     "Largest entry of the gradient."
...     name, title = "gradient_maximum", "Largest entry of the gradient"
...     variables = {"gradient_maximum": Variable((), "largest gradient entry", "max |dL/dw_i|")}
...     def measure(self, trajectory, settings, context):
...         def shard(part, on_progress):
...             loss = Objective.of(part)  # the mean train loss in float64
...             gradients = [loss.gradient(index) for index in range(len(part))]
...             largest = [max(g.abs().max().item() for g in gradient.values()) for gradient in gradients]
...             return self.dataset(part, {"gradient_maximum": largest})
...         return context.in_shards(trajectory, shard, 4)
"""

from slt_grok.landscape.measurement import at_checkpoints, between_checkpoints
from slt_grok.operators.objective import Objective

__all__ = ["Objective", "at_checkpoints", "between_checkpoints"]
