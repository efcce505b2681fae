"""Finite groups: the composition that a task's labels follow, and the Fourier analysis that comes with it."""

from slt_grok.groups.cyclic import CyclicGroup, cyclic
from slt_grok.groups.group import Group

__all__ = ["CyclicGroup", "Group", "cyclic"]
