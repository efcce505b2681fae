"""Trajectory to trajectory: what a network becomes when something in it is changed."""

from slt_grok.interventions.relabel import RelabelledTask, relabel

__all__ = ["RelabelledTask", "relabel"]
