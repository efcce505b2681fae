"""Networks with a known circuit."""

import math

import torch

from slt_grok.models import QuadraticNetwork
from slt_grok.models.planted import quadratic_clock
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory


def planted(p: int, keys: list[int], scale: float = 1.0, sign: int = 1) -> QuadraticNetwork:
    """Logits are exactly 8 scale sum_k cos w_k(a + sign b - c); 16 neurons a frequency."""
    return quadratic_clock(p, dict.fromkeys(keys, 8 * scale), sign)


def planted_trajectory(p: int, keys: list[int], scale: float = 1.0, **task) -> Trajectory:
    sign = -1 if task.get("operation") == "subtraction" else 1
    return Trajectory.of(planted(p, keys, scale, sign), ModularTask(p, **task))


def clock_loss(p: int, amplitudes: dict[int, float]) -> float:
    """Cross-entropy of the logits sum_k A_k cos w_k(s - c), the same for each pair."""
    c = torch.arange(p, dtype=torch.float64)
    logits = sum((a * (2 * math.pi * k * c / p).cos() for k, a in amplitudes.items()), torch.zeros_like(c))
    return (logits.logsumexp(0) - logits[0]).item()
