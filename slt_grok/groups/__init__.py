"""Finite groups: the composition behind a task's labels, and its Fourier analysis."""

from slt_grok.groups.cyclic import CyclicGroup, cyclic
from slt_grok.groups.group import Group

__all__ = ["CyclicGroup", "Group", "cyclic"]
