"""Networks whose program is known."""

import numpy as np
import torch

from slt_grok.models import planted
from slt_grok.program import Tokens, pairs
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests import gromov as random_phases

AMPLITUDES = {2: 5.0, 7: 3.0, 9: 4.0}


def clock(p: int = 23, sign: int = 1) -> Trajectory:
    """Logits sum_k A_k cos w_k(a + sign b - c), exactly."""
    task = ModularTask(p, "addition" if sign > 0 else "subtraction")
    return Trajectory.of(planted.quadratic_clock(p, AMPLITUDES, sign), task)


def gromov(p: int = 23, width: int = 400) -> Trajectory:
    """Random phases: U = cos(w a + f), V = cos(w b + g), W = cos(w c + f + g); the phases are `gromov_phases`."""
    return Trajectory.of(random_phases.gromov(p, list(AMPLITUDES), width, seed=1), ModularTask(p))


def gromov_phases(width: int = 400) -> np.ndarray:
    """f and g, (2, width), as documented: two rows of uniform phases from the seed's generator."""
    return np.random.default_rng(np.random.SeedSequence(1)).uniform(0, 2 * np.pi, (2, width))


def logarithmic(p: int = 13) -> Trajectory:
    """Multiplication: 4 cos w_1 j + 3 cos w_5 j over Z_(p-1), j = log a + log b - log c; a 0 answered 0."""
    root = {13: 2}[p]
    log = {pow(root, j, p): j for j in range(p - 1)}
    a, b = pairs(p)
    logits = np.zeros((p * p, p))
    for row, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        for c in range(p):
            if 0 in (x, y):
                logits[row, c] = 6.0 * (c == 0)
            elif c == 0:
                logits[row, c] = -2.0
            else:
                j = log[x] + log[y] - log[c]
                logits[row, c] = 4 * np.cos(2 * np.pi * j / (p - 1)) + 3 * np.cos(2 * np.pi * 5 * j / (p - 1))
    module = planted.lookup_table(torch.from_numpy(logits).unflatten(0, (p, p)))
    return Trajectory.of(module, ModularTask(p, "multiplication"))


def memorizer(p: int = 11) -> Trajectory:
    """A table of random answers, with nothing to generalize."""
    task = ModularTask(p, "random_table")
    return Trajectory.of(planted.lookup_table(6.0 * torch.eye(p).double()[task.labels].unflatten(0, (p, p))), task)


def with_errors(p: int = 23, count: int = 17) -> tuple[Trajectory, np.ndarray]:
    """A clock's logits with some pairs answered by something else, and their rows, ascending."""
    a, b = pairs(p)
    angle = 2 * np.pi / p * (a + b)[:, None] - 2 * np.pi / p * np.arange(p)
    logits = sum(size * np.cos(k * angle) for k, size in AMPLITUDES.items())
    rows = np.sort(np.random.default_rng(0).permutation(p * p)[:count])
    logits[rows, (a[rows] + b[rows] + 3) % p] += 40
    module = planted.lookup_table(torch.from_numpy(logits).unflatten(0, (p, p)))
    task = ModularTask(p, split_rule="listed", train_rows=tuple(set(range(p * p)) - {*rows.tolist()}))
    return Trajectory.of(module, task), rows


def truth(tokens: Tokens) -> np.ndarray:
    """The right answers of all pairs."""
    a, b = pairs(tokens.p)
    return {"addition": a + b, "subtraction": a - b, "multiplication": a * b}[tokens.operation] % tokens.p


def untrained() -> Trajectory:
    """A network of the shape of `clock` with fresh weights."""
    one = clock()
    one.network.module.initialize(torch.Generator().manual_seed(0))
    return Trajectory.of(one.network.module, one.task)
