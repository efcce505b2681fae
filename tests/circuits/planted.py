"""Networks with a known circuit."""

import math

import torch

from slt_grok.models import QuadraticNetwork
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

PHASES = 4  # the least number of evenly spaced phases for which every unwanted product cancels exactly


def planted(p: int, keys: list[int], scale: float = 1.0, sign: int = 1) -> QuadraticNetwork:
    """Gromov's solution (2301.02679) with phases on a grid: logits are exactly 8 scale sum_k cos w_k(a + sign b - c).

    Each frequency has 16 neurons cos(w_k a + f) + cos(w_k sign b + g), squared, into cos(w_k c + f + g).
    """
    t = 2 * math.pi * torch.arange(p, dtype=torch.float64) / p
    phases = [2 * math.pi * i / PHASES for i in range(PHASES)]
    neurons = [(k, f, g) for k in keys for f in phases for g in phases]
    network = QuadraticNetwork(p, len(neurons)).double()
    with torch.no_grad():
        network.U.copy_(torch.stack([(k * t + f).cos() for k, f, _ in neurons], -1))
        network.V.copy_(torch.stack([(sign * k * t + g).cos() for k, _, g in neurons], -1))
        network.W.copy_(scale * torch.stack([(k * t + f + g).cos() for k, f, g in neurons]))
    return network


def planted_trajectory(p: int, keys: list[int], scale: float = 1.0, **task) -> Trajectory:
    sign = -1 if task.get("operation") == "subtraction" else 1
    return Trajectory.of(planted(p, keys, scale, sign), ModularTask(p, **task))


def clock_loss(p: int, amplitudes: dict[int, float]) -> float:
    """Cross-entropy of the logits sum_k A_k cos w_k(s - c), the same for each pair."""
    c = torch.arange(p, dtype=torch.float64)
    logits = sum((a * (2 * math.pi * k * c / p).cos() for k, a in amplitudes.items()), torch.zeros_like(c))
    return (logits.logsumexp(0) - logits[0]).item()
