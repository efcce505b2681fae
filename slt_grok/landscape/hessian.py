"""Trace and largest eigenvalues of the Hessian of the train loss.

The Hessian is curvlinops' linear operator, one network at a time: a product H v costs about two gradients and H is
never formed. The trace is Hutchinson's estimator (Girard 1989; Hutchinson 1989): with independent Rademacher v,
E[v^T H v] = tr H and Var[v^T H v] = 2 sum_{i != j} H_ij^2, so that the spread of the probes gives an honest standard
error (Hutch++ would have a smaller one, but its terms are not independent and show no error of their own).
The largest eigenvalues come from implicitly restarted Lanczos (ARPACK, by scipy).

The curvature at a checkpoint late in training nearly vanishes (its loss is near 1e-7), while an LLC chain lives
where it does not: trace and LLC need not move together.
"""

import numpy as np
import torch
from curvlinops import HessianLinearOperator, hutchinson_trace
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, eigsh
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.landscape.objective import ROWS, Objective, batches
from slt_grok.trajectories import Loss

RESTARTS = 20  # of Lanczos; what has not converged by then is NaN
DENSE = 24  # with so few parameters the whole matrix is cheaper than its products


class _EveryParameter(nn.Module):
    """The module, with a term of value 0 in which every parameter has curvature.

    curvlinops maps over the columns of a product by vmap, which fails where a block of H v does not depend on v: that
    is the case for a parameter in which the loss is linear, or which is not used.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        return self.module(inputs) + 0 * torch.stack([p.square().sum() for p in self.parameters()]).sum()


class _MeanLoss(nn.Module):
    """The network's loss in the form that curvlinops takes."""

    reduction = "mean"

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs.double(), targets).double().mean()


def operator(objective: Objective, index: int) -> HessianLinearOperator:
    """The Hessian (D, D) of the train loss at the network `index`, in float64, as a linear operator.

    Rows follow the order of `named_parameters`, each flattened.
    """
    network = objective.network
    module = network.module
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(objective.stack[name][index])
    return HessianLinearOperator(
        _EveryParameter(module),
        _MeanLoss(network.loss),  # pyright: ignore[reportArgumentType]
        list(module.parameters()),
        batches(objective.data, ROWS),
        check_deterministic=False,
        num_data=len(objective.data[0]),
    )


def trace(hessian: HessianLinearOperator, probes: int, seed: int) -> tuple[float, float]:
    """Hutchinson's estimate of tr H and its standard error.

    Parameters
    ----------
    hessian : the operator (D, D).
    probes : number m of Rademacher vectors, at least 2; each costs one product.
    seed : of the probes.

    Returns
    -------
    Mean of v^T H v over the probes and (sample standard deviation) / sqrt(m).

    Raises
    ------
    SltGrokError : fewer than two probes.
    """
    if probes < 2:
        raise SltGrokError(f"probes: expected at least 2, since their spread is the standard error, got {probes}")
    with torch.random.fork_rng(devices=[]):  # curvlinops draws from the global generator
        torch.manual_seed(seed)
        values = np.array([hutchinson_trace(hessian, 1).item() for _ in range(probes)])
    return float(values.mean()), float(values.std(ddof=1) / probes**0.5)


def largest_eigenvalues(hessian: HessianLinearOperator, count: int, tolerance: float, seed: int) -> np.ndarray:
    """The algebraically largest eigenvalues, largest first.

    Parameters
    ----------
    hessian : the operator (D, D), D > count.
    count : how many.
    tolerance : each value is within tolerance * |value| of an eigenvalue (the residual of its Ritz pair).
    seed : of the start vector.

    Returns
    -------
    (count,) float64; NaN where Lanczos had not converged after its restarts. Where eigenvalues lie closer together than
    the tolerance, one of them may be passed over for the next.
    """
    generator = np.random.default_rng(seed)
    size = hessian.shape[0]
    subspace = min(size, max(2 * count + 1, 12))
    start = generator.standard_normal(size)
    linear = hessian.to_scipy()
    try:
        values = eigsh(
            linear,
            k=count,
            which="LA",
            v0=start,
            ncv=subspace,
            tol=tolerance,  # pyright: ignore[reportArgumentType]
            maxiter=RESTARTS,
            return_eigenvectors=False,
            rng=generator,
        )
    except ArpackNoConvergence as failure:
        values = failure.eigenvalues
    except ArpackError:
        if linear.matvec(start).any():
            raise
        values = np.zeros(count)  # H = 0: Lanczos has no first step
    found = np.full(count, np.nan)
    found[: len(values)] = np.sort(np.asarray(values).real)[::-1]
    return found


def hessian_summary(
    objective: Objective, index: int, probes: int, eigenvalues: int, tolerance: float, seed: int
) -> tuple[float, float, np.ndarray]:
    """Trace, its standard error and the largest eigenvalues of one network's Hessian.

    With at most 24 parameters the matrix is formed: the trace is exact and its standard error 0.

    Returns
    -------
    trace, standard error, eigenvalues (count,), largest first; all NaN where the curvature is not finite.

    Raises
    ------
    SltGrokError : more eigenvalues are asked for than there are parameters, or fewer than one; fewer than two probes.
    """
    hessian = operator(objective, index)
    size = hessian.shape[0]
    if not 1 <= eigenvalues <= size:
        raise SltGrokError(f"eigenvalues: expected 1 to {size} (the number of parameters), got {eigenvalues}")
    if size <= max(DENSE, eigenvalues + 1):
        matrix = np.asarray(hessian.to_scipy().matmat(np.eye(size)))
        if not np.isfinite(matrix).all():
            return np.nan, np.nan, np.full(eigenvalues, np.nan)
        spectrum = np.linalg.eigvalsh((matrix + matrix.T) / 2)
        return float(matrix.trace()), 0.0, spectrum[::-1][:eigenvalues].copy()
    estimate, error = trace(hessian, probes, seed)
    if not np.isfinite(estimate):
        return np.nan, np.nan, np.full(eigenvalues, np.nan)
    return estimate, error, largest_eigenvalues(hessian, eigenvalues, tolerance, seed)
