"""Trajectory to trajectory: what a network becomes when something in it is changed."""

from slt_grok.interventions.planes import change_planes, changed, keep, remove, replace_by_clock, rotate, swap
from slt_grok.interventions.relabel import RelabelledTask, relabel

__all__ = [
    "RelabelledTask",
    "change_planes",
    "changed",
    "keep",
    "relabel",
    "remove",
    "replace_by_clock",
    "rotate",
    "swap",
]
