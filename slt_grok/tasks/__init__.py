"""What is learned: modular arithmetic on Z_p and its train/test split."""

from slt_grok.tasks.modular import OPERATIONS, ModularTask, is_prime

__all__ = ["OPERATIONS", "ModularTask", "is_prime"]
