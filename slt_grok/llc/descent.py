"""How far a network is from a minimum, in units of the LLC."""

import math

import torch
from torch import Tensor

from slt_grok.llc.problem import Problem

STEPS = 20


def descent(problem: Problem, index: int, n_beta: float, gamma: float) -> float:
    """Compute how far the chains' potential n_beta L + gamma/2 |w - w*|^2 falls in a short minimization from w*.

    Parameters
    ----------
    problem, index : Problem, int
        The network.
    n_beta, gamma : float
        Inverse temperature times n, and localization.

    Returns
    -------
    float
        The fall over 20 L-BFGS steps, at least 0, in units of the LLC; unchanged if weights, loss or both are measured
        in other units.

    Notes
    -----
    For L = L(w*) + g . v + v^T H v / 2, the chains' mean excess n_beta (E L - L(w*)) is lower than without the gradient
    g by between D and 2 D, where D = n_beta^2 g^T (n_beta H + gamma)^-1 g / 2 is the potential's fall to its minimum:
    n_beta^2 |g|^2 / (2 gamma) in flat directions. The result is at most D there; it is the fall that counts if L is not
    quadratic.
    """
    network, subspace = problem.trajectory.network, problem.subspace
    stack = {k: v[index : index + 1] for k, v in problem.trajectory.stacked(torch.float64).items()}
    center = subspace.coordinates(stack)
    inputs = problem.inputs.double() if problem.inputs.is_floating_point() else problem.inputs
    scale = math.sqrt(gamma) if gamma > 0 else 1.0  # of the offset, so that flat directions have curvature 1
    offset = torch.zeros_like(center).requires_grad_()
    potentials = []

    def potential() -> Tensor:
        position = center + offset.detach() / scale
        placed = subspace.place(position, stack)
        loss, gradients = network.stacked_loss_and_gradient(placed, inputs, problem.targets, False, subspace.parts)
        pull = gamma / scale**2 * offset.detach()
        offset.grad = n_beta / scale * subspace.coordinates(gradients) + pull
        potentials.append(n_beta * loss.item() + 0.5 * (pull * offset.detach()).sum().item())
        return torch.tensor(potentials[-1], dtype=torch.float64)

    torch.optim.LBFGS([offset], max_iter=STEPS, line_search_fn="strong_wolfe").step(potential)
    return potentials[0] - min(value for value in potentials if math.isfinite(value))
