"""Points where the loss does not change: dead units, or a hinge loss with all margins kept. The LLC is 0 there.

For every epsilon, the set {L < L(w*) + epsilon} contains an open set next to w*, so its volume does not shrink with
epsilon. Chains at the usual gamma may leave this set, and would measure where it ends. The same holds for some of the
weights, such as those of units that are dead next to others that are not: they add nothing to the LLC, unless the
chains go where they are alive.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from slt_grok.llc.calibration import localization
from slt_grok.llc.diagnostics import Average
from slt_grok.llc.problem import Problem
from slt_grok.llc.window_noise import excess_at, window_draws, window_excess

CONSTANT = "the loss does not change near w*"
LEFT = (
    "the chains have left the neighborhood of w*: they move weights that have no effect on the loss near w*; "
    "increase gamma"
)
CLOSER = 0.1  # standard deviation of the draws, relative to that of the usual window
NEAREST = 0.03  # the same for a region that chains have left
DRAWS = 16
SLOPES = 4  # draws at which the gradient is computed
MATTERS = 0.02  # of n_beta (L - L(w*)), relative to the LLC
ROUNDING = 1e-15  # of the mean loss, relative to it


def constant_window(problem: Problem) -> float | None:
    """Compute a hundred times the usual gamma if the loss does not change in that window; None if it does."""
    gamma = localization(problem) / CLOSER**2
    return gamma if is_constant(problem, gamma).all() else None


def is_constant(problem: Problem, gamma: float) -> np.ndarray:
    """Return for each network whether draws of w* + N(0, 1/gamma) all have the loss of w* in float64, (N,)."""
    excess = abs(window_excess(replace(problem, dtype=torch.float64), gamma, draws=DRAWS))
    return np.all(excess <= ROUNDING * abs(problem.baselines[:, None]), axis=1)


def has_left(problem: Problem, n_beta: float, gamma: float, llc: float) -> bool:
    """Return whether a single network's loss changes with weights in the chains' window, but not in a small one.

    These are the coordinates by which the gradient is exactly 0 at draws of the small window.

    Parameters
    ----------
    problem : Problem
        One network, see `Problem.single`.
    n_beta : float
        n times the inverse temperature.
    gamma : float
        Localization; at 0 nothing keeps the chains near w*, so that they have left if there are such weights.
    llc : float
        The network's estimate; weights that change it by less than 2% do not matter.
    """
    precise = replace(problem, dtype=torch.float64)
    network, parts = problem.trajectory.network, problem.subspace.parts.keys()
    small = NEAREST * localization(problem) ** -0.5
    silent = torch.ones(problem.d, dtype=torch.bool)
    for stack in window_draws(precise, small, SLOPES):
        _, slopes = network.stacked_loss_and_gradient(stack, problem.inputs, problem.targets, False, parts)
        silent &= problem.subspace.coordinates(slopes)[0] == 0
        if not silent.any():
            return False
    if gamma == 0:
        return True
    excess = np.abs(list(excess_at(precise, window_draws(precise, silent * gamma**-0.5, DRAWS))))
    # k weights add at most about k / 2 to the LLC if the loss is quadratic in them, however steep it is
    added = np.where(np.isfinite(excess), np.minimum(n_beta * excess, silent.sum().item()), np.inf)
    return bool(added.mean() > MATTERS * abs(llc))


def stays_constant(problem: Problem, gamma: float, draws: Sequence[np.ndarray]) -> np.ndarray:
    """Return for each network whether its chains' losses (chain, draw) are all the same, and `is_constant`, (N,)."""
    same = np.array([np.ptp(losses) <= ROUNDING * abs(losses.mean()) for losses in draws])
    return same & is_constant(problem, gamma) if same.any() else same


def average_of_constant(average: Average) -> Average:
    """Set the LLC to 0 without an error; R-hat and the effective sample size are not defined."""
    undefined = dict.fromkeys(("rhat", "nested_rhat", "ess"), np.nan)
    return average._replace(llc=0.0, llc_se=0.0, drift=0.0, drift_se=0.0, fraction_below=0.0, **undefined)
