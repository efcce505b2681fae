"""What the localization hides of the LLC: the lower bound rank(H)/2, and the add-on where it is exact.

If the loss is quadratic at the chain's scale, with Hessian eigenvalues h_i, the chain measures 1/2 sum n_beta h_i /
(n_beta h_i + gamma) instead of the true value rank(H)/2: each direction whose n_beta h_i is not far above gamma is
underweighted. The exact correction is 1/2 sum gamma / (n_beta h_i + gamma) over the nonzero h_i (Laplace's
approximation with the localization as its prior).

At any minimum of a smooth loss the LLC is rank(H)/2 plus that of a function of the other directions (splitting lemma),
so rank(H)/2 is a lower bound. The add-on is exact there too if the hidden directions only see their own curvature: a
direction that is flat at w* but steep elsewhere in the window, such as the difference of two nearly equal neurons,
already contributes to what the chain measures. It is therefore added only
- if the sampled values agree with the Hessian alone, so that the point is regular at the chain's scale, or
- if the curvature of the hidden directions over the local posterior hides as much as that at w*.
Anything else that is hidden makes the value too low, and the status says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from slt_grok.llc.diagnostics import ERRORS, Average
from slt_grok.llc.problem import Problem
from slt_grok.models.vectorized import vectorized
from slt_grok.operators.products import (
    NoSecondDerivatives,
    Product,
    gauss_newton_product,
    hessian_product,
    second_derivatives,
)

LARGEST = 2000  # largest number of coordinates for which the Hessian is formed
ROUNDING = 1e-13  # relative to the largest eigenvalue, times d: smaller eigenvalues are rounding errors
GAP = 1e3  # ratio between the smallest eigenvalue that counts and the rounding errors
SAFETY = 10  # factor between the rounding of weights and its effect on a matrix, relative to the matrix
AGREEMENT = 0.01  # relative to the value, or 3 standard errors
CHUNK = 64
DRAWS = 4  # of the local Gaussian approximation, for the curvature of hidden directions
REPEATS = 16  # starting vectors of the quadrature
STEPS, BETWEEN = 1000, 50  # most Lanczos steps, and steps between tests of convergence
SETTLED = 0.002  # relative change of the rank over these steps
NULL = 1e-12  # Lanczos nodes below, relative to the largest, are rounding errors
UNRESOLVED = (
    "the Hessian's eigenvalues extend down to rounding without a gap: directions flatter than gamma / n_beta may exist "
    "and do not count"
)
LEFT_THE_POINT = (
    "the value is below the lower bound set by the Hessian at w*: the chains have moved to where the "
    "loss is more degenerate and need a larger gamma"
)

MatrixAt = Callable[[Tensor], Product]


@dataclass(frozen=True)
class Curvatures:
    """The nonzero eigenvalues of the Hessian of L at w*, in the coordinates that move.

    Parameters
    ----------
    eigenvalues, weights : ndarray
        Eigenvalues with the number of directions that each stands for, (repeat, eigenvalue): all eigenvalues once,
        or several independent quadratures.
    resolved : bool
        Whether the number of nonzero eigenvalues is certain.
    unchanged : callable or None, optional
        (n_beta, gamma, tolerance) -> whether `hidden` is above the tolerance, and the same to within it over the local
        posterior; None if not known.
    """

    eigenvalues: np.ndarray
    weights: np.ndarray
    resolved: bool
    unchanged: Callable[[float, float, float], bool] | None = None

    @property
    def lowest(self) -> tuple[float, float]:
        """The lower bound rank(H)/2 of the LLC, and its standard error."""
        return self._half_sum(np.ones_like(self.eigenvalues))

    def visible(self, n_beta: float, gamma: float) -> tuple[float, float]:
        """Compute 1/2 sum n_beta h / (n_beta h + gamma) and its standard error."""
        return self._half_sum(n_beta * self.eigenvalues / (n_beta * self.eigenvalues + gamma))

    def hidden(self, n_beta: float, gamma: float) -> tuple[float, float]:
        """Compute 1/2 sum gamma / (n_beta h + gamma) and its standard error."""
        return self._half_sum(gamma / (n_beta * self.eigenvalues + gamma))

    def _half_sum(self, function: np.ndarray) -> tuple[float, float]:
        values = (self.weights * function).sum(1) / 2
        return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0

    def explains(self, found: Average, n_beta: float, gamma: float) -> bool:
        """Return whether a sampled value agrees with the prediction from the Hessian alone."""
        value, error = self.visible(n_beta, gamma)
        return abs(found.llc - value) < _tolerance(found, error)

    def completes(self, found: Average, n_beta: float, gamma: float) -> bool:
        """Return whether what is hidden adds to a sampled value, without double counting."""
        if self.explains(found, n_beta, gamma):
            return True
        exceeds = found.llc > self.visible(n_beta, gamma)[0]
        return exceeds and self.unchanged is not None and self.unchanged(n_beta, gamma, AGREEMENT * found.llc)

    def exceeds(self, found: Average, n_beta: float, gamma: float) -> bool:
        """Return whether the Hessian alone predicts more than was sampled: the chains have left the point."""
        value, error = self.visible(n_beta, gamma)
        return value - found.llc > _tolerance(found, error)

    def shortfall(self, found: Average, n_beta: float, gamma: float) -> str | None:
        """Name what is missing from a value without the add-on, if it matters."""
        (hidden, hidden_error), (lowest, lowest_error) = self.hidden(n_beta, gamma), self.lowest
        if self.exceeds(found, n_beta, gamma):
            return LEFT_THE_POINT
        if lowest - found.llc > _tolerance(found, lowest_error):
            return f"the value is below half the rank of the Hessian at w*, {lowest:.4g}, a lower bound"
        if hidden > _tolerance(found, hidden_error):
            return f"directions flatter than gamma / n_beta would add up to {hidden:.3g}, and interact with others"
        return None


def _tolerance(found: Average, error: float) -> float:
    return max(ERRORS * float(np.hypot(found.llc_se, error)), AGREEMENT * abs(found.llc))


def curvatures(problem: Problem, index: int) -> Curvatures:
    """Compute the nonzero eigenvalues of the Hessian at one network's w*; a quadrature above 2,000 coordinates.

    Raises
    ------
    NoSecondDerivatives
        The network cannot be differentiated twice.
    """
    hessian_at, gauss_newton_at, center = _matrices(problem, index)
    stored = [problem.trajectory.parameters[name].dtype for name in problem.subspace.parts]
    rounding = max(torch.finfo(dtype).eps for dtype in stored)
    with torch.no_grad(), second_derivatives():
        product = hessian_at(center)
        null, doubtful = 0.0, rounding
        if _fits_exactly(product, gauss_newton := gauss_newton_at(center), center, SAFETY * rounding):
            product, null, doubtful = gauss_newton, (SAFETY * rounding) ** 2, 0.0
        if problem.d <= LARGEST:
            return _formed(product, hessian_at, center, null, doubtful)
        return _sampled(product, len(center), null, doubtful)


def _fits_exactly(hessian: Product, gauss_newton: Product, like: Tensor, tolerance: float) -> bool:
    """Return whether Hessian and Gauss-Newton matrix agree: the outputs' slopes vanish, or are linear in the weights.

    Weights rounded off a minimum curve flat directions in proportion to the rounding in the Hessian, where they cannot
    be told from those of small curvature, but to its square in the Gauss-Newton matrix.
    """
    along = torch.randn(like.shape, generator=torch.Generator().manual_seed(0), dtype=like.dtype)
    product = hessian(along)
    return bool((product - gauss_newton(along)).norm() <= tolerance * product.norm())


def with_curvatures(problem: Problem) -> tuple[Problem, list[Curvatures] | None]:
    """Compute `curvatures` of each network; None, with a note on the problem, if the network has no Hessian."""
    try:
        return problem, [curvatures(problem, index) for index in range(len(problem.trajectory))]
    except NoSecondDerivatives as error:
        note = f"{error}, so that the LLC has no lower bound and no correction from the Hessian"
        return replace(problem, notes=(*problem.notes, note)), None


def _matrices(problem: Problem, index: int) -> tuple[MatrixAt, MatrixAt, Tensor]:
    """Build w -> (v -> H(w) v), the same for the Gauss-Newton matrix, and w*."""
    network = problem.trajectory.network
    stack = {k: v[index : index + 1] for k, v in problem.trajectory.stacked(torch.float64).items()}
    inputs = problem.inputs.double() if problem.inputs.is_floating_point() else problem.inputs

    def outputs(coordinates: Tensor) -> Tensor:
        placed = problem.subspace.place(coordinates[None], stack)
        return network.outputs({name: tensor[0] for name, tensor in placed.items()}, inputs).double()

    def loss(values: Tensor) -> Tensor:
        return network.loss(values, problem.targets).double().mean()

    hessian_at, gauss_newton_at = (partial(matrix, outputs, loss) for matrix in (hessian_product, gauss_newton_product))
    return hessian_at, gauss_newton_at, problem.subspace.coordinates(stack)[0]


def _by_rows(product: Callable[[Tensor], Tensor], directions: Tensor) -> Tensor:
    return vectorized(product, directions, chunk_size=CHUNK)(directions)


def _formed(product: Product, hessian_at: MatrixAt, center: Tensor, null: float, doubtful: float) -> Curvatures:
    """Compute eigenvalues: those below `null`, relative to the largest, are 0, and those below `doubtful` may be."""
    d = len(center)
    matrix = _by_rows(product, torch.eye(d, dtype=torch.float64))
    matrix = (matrix + matrix.T) / 2
    values, vectors = torch.linalg.eigh(matrix)
    null, size = max(ROUNDING * d, null), values.abs()
    least = size.max() * max(null, doubtful)
    counted, zeros = values > least, size[size <= least]
    largest_zero = max(zeros.max().item() if len(zeros) else 0.0, size.max().item() * np.finfo(float).eps)
    non_zero = values[counted].numpy()
    # the rank does not depend on the units of weights; those without effect have rounding errors, or their squares
    diagonal, floor = matrix.diag(), ROUNDING if doubtful else ROUNDING**2
    scale = torch.where(diagonal > floor * diagonal.max(), diagonal, torch.inf).rsqrt()
    rescaled = torch.linalg.eigvalsh(scale[:, None] * matrix * scale)
    missed = (zeros > size.max() * null).any() or (rescaled > rescaled.max() * null).sum() > counted.sum()

    def unchanged(n_beta: float, gamma: float, tolerance: float) -> bool:
        """Compare the Rayleigh quotients of the hidden directions at draws of N(w*, (n_beta H + gamma)^-1)."""
        half = 0.5 * gamma / (n_beta * values.clamp(min=0) + gamma)
        if half[counted].sum() < tolerance:
            return False  # nothing to add
        matter = counted & (half > tolerance / (10 * len(non_zero)))
        directions = vectors[:, matter].T
        spread = (n_beta * values.clamp(min=0) + gamma).rsqrt()
        generator = torch.Generator().manual_seed(0)
        changes = []
        for _ in range(DRAWS):
            noise = torch.randn(d, generator=generator, dtype=torch.float64)
            hessian = hessian_at(center + vectors @ (spread * noise))
            quotients = (_by_rows(hessian, directions) * directions).sum(1).abs()
            changes.append((0.5 * gamma / (n_beta * quotients + gamma)).sum().item())
        return abs(float(np.mean(changes)) - half[matter].sum().item()) < tolerance

    resolved = not missed and (not len(non_zero) or bool(non_zero.min() > GAP * largest_zero))
    return Curvatures(non_zero[None], np.ones((1, len(non_zero))), resolved, unchanged)


def _sampled(product: Product, d: int, null: float, doubtful: float) -> Curvatures:
    """Estimate the nonzero eigenvalues by Lanczos quadrature from b = H z, z uniform on the sphere |z|^2 = d.

    b has no component in the kernel of H, and z^T P f(H) z = |b|^2 sum_j s_j f(t_j) / t_j^2 over nodes t and weights s
    of the quadrature of b, P the projection on the range of H. For the rank (f = 1) it is a lower bound that grows with
    the number of steps until it settles. Without reorthogonalization, nodes of converged eigenvalues recur and share
    their weight, which leaves the sums unchanged.
    """
    z = torch.randn(REPEATS, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    apply = vectorized(product, z, chunk_size=CHUNK)
    start = apply(z * d**0.5 / z.norm(dim=1, keepdim=True))
    squares = start.square().sum(1).numpy()
    if not squares.all():  # H = 0
        return Curvatures(np.ones((1, 0)), np.ones((1, 0)), resolved=True)
    before, vector = torch.zeros_like(start), start / start.norm(dim=1, keepdim=True)
    diagonal, off_diagonal = [], []
    nodes, weights, doubts, ranks, resolved = np.empty(0), np.empty(0), np.empty(0), -np.inf, False
    while not resolved and len(diagonal) < min(STEPS, d):
        image = apply(vector)
        diagonal.append((vector * image).sum(1))
        rest = image - diagonal[-1][:, None] * vector
        if off_diagonal:
            rest -= off_diagonal[-1][:, None] * before
        off_diagonal.append(rest.norm(dim=1))
        before, vector = (
            vector,
            rest / off_diagonal[-1][:, None].clamp(min=torch.finfo(rest.dtype).tiny),
        )  # 0 at its end
        if len(diagonal) % BETWEEN == 0:
            tridiagonal = torch.stack(diagonal, 1).numpy(), torch.stack(off_diagonal, 1).numpy()
            nodes, weights, doubts = _nodes(*tridiagonal, squares, max(NULL, null), doubtful)
            last, ranks = ranks, weights.sum(1).mean()
            resolved = bool(ranks - last < SETTLED * ranks)
    resolved = resolved and bool(doubts.mean() <= SETTLED * ranks)
    return Curvatures(nodes, weights, resolved)


def _nodes(
    diagonal: np.ndarray, off_diagonal: np.ndarray, squares: np.ndarray, null: float, doubtful: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute nodes t and |b|^2 s / t^2 from tridiagonal matrices (repeat, step), and the sum of doubtful ones.

    Nodes that are 0, doubtful or negative have weight 0.
    """
    nodes, weights, doubts = np.ones_like(diagonal), np.zeros_like(diagonal), np.zeros(len(diagonal))
    for i, (a, b) in enumerate(zip(diagonal, off_diagonal, strict=True)):
        values, vectors = eigh_tridiagonal(a, b[:-1])
        some = abs(values) > null * values.max()
        ranks = squares[i] * vectors[0, some] ** 2 / values[some] ** 2
        doubts[i] = ranks[abs(values[some]) <= doubtful * values.max()].sum()
        real = values > max(null, doubtful) * values.max()
        nodes[i, real], weights[i, real] = values[real], ranks[real[some]]
    return nodes, weights, doubts


def is_regular(hessian: Curvatures, averages: Sequence[Average], n_betas: Sequence[float], gamma: float) -> bool:
    """Return whether the Hessian alone predicts the value at n_beta and, if given, down to n_beta / 16."""
    return hessian.resolved and all(hessian.explains(*pair, gamma) for pair in _compared(averages, n_betas))


def is_complete(hessian: Curvatures, averages: Sequence[Average], n_betas: Sequence[float], gamma: float) -> bool:
    """Return whether what the localization hides adds to the value at n_beta and, if given, down to n_beta / 16."""
    return hessian.resolved and all(hessian.completes(*pair, gamma) for pair in _compared(averages, n_betas))


def _compared(averages: Sequence[Average], n_betas: Sequence[float]) -> list[tuple[Average, float]]:
    return [(a, b) for a, b in zip(averages, n_betas, strict=True) if n_betas[0] / b < 16.1]
