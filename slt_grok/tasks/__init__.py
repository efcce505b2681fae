"""Tasks with their splits and groups."""

from slt_grok.groups.cyclic import is_prime
from slt_grok.tasks.modular import OPERATIONS, ModularTask
from slt_grok.tasks.task import SPLITS, GroupTask, Split, Task

__all__ = ["OPERATIONS", "SPLITS", "GroupTask", "ModularTask", "Split", "Task", "is_prime"]
