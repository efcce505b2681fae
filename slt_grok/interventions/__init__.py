"""Map a trajectory to a trajectory of modified networks."""

from slt_grok.interventions.planes import change_planes, changed, keep, remove, replace_by_clock, rotate, swap
from slt_grok.interventions.relabel import RelabeledTask, relabel
from slt_grok.interventions.weights import exchange, keep_directions, keep_neurons, remove_directions, remove_neurons

__all__ = [
    "RelabeledTask",
    "change_planes",
    "changed",
    "exchange",
    "keep",
    "keep_directions",
    "keep_neurons",
    "relabel",
    "remove",
    "remove_directions",
    "remove_neurons",
    "replace_by_clock",
    "rotate",
    "swap",
]
