"""How far a network is from a minimum, in units of the LLC."""

import math

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from slt_grok.llc.problem import Problem
from slt_grok.operators.objective import loss_and_gradient

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
    potentials = []

    def potential(offset: np.ndarray) -> tuple[float, np.ndarray]:
        away = torch.from_numpy(offset / scale)[None]
        parameters = {name: tensor[0] for name, tensor in subspace.place(center + away, stack).items()}
        loss, gradient = loss_and_gradient(network, parameters, (inputs, problem.targets), subspace.parts)
        slope = subspace.coordinates({name: tensor[None] for name, tensor in gradient.items()})
        potentials.append(n_beta * loss + gamma / 2 * away.square().sum().item())
        return potentials[-1], ((n_beta * slope + gamma * away) / scale)[0].double().numpy()

    # idle threads of numpy spin, and would take the cores from torch's
    with threadpool_limits(limits=1, user_api="blas"):
        minimize(potential, np.zeros(problem.d), jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "ftol": 0.0})
    return potentials[0] - min(value for value in potentials if math.isfinite(value))
