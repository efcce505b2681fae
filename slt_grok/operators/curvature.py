"""Hessian and Gauss-Newton matrix of a network's mean loss as linear operators, and their largest eigenvalues.

With f_w(x_i) the outputs and l the loss, H = (1/n) sum_i d^2 l(f_w(x_i), y_i) / dw^2. The Gauss-Newton matrix omits
the curvature of f (Schraudolph 2002, doi:10.1162/08997660260028683): G = (1/n) sum_i J_i^T [d^2 l / df^2] J_i with
J_i = d f_w(x_i) / dw. If l is convex in f, like cross-entropy, G has no negative eigenvalue.

The matrix is a linear operator of scipy and is never formed. A product H v is the derivative of (dL/dw) . v;
everything that does not depend on v is cached, so that it costs about two gradients. The largest eigenvalues come from
implicitly restarted Lanczos (ARPACK, in scipy).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from slt_grok.models.network import as_floats
from slt_grok.operators.objective import ROWS, Data, Objective, batches
from slt_grok.operators.products import Product, gauss_newton_product, hessian_product, second_derivatives

Matrix = Literal["hessian", "gauss_newton"]

RESTARTS = 20  # maximum number of Lanczos restarts; unconverged eigenvalues are NaN
SMALL = 10_000  # number of parameters below which float64 is cheap enough
SAMPLES = 512  # number of samples on which single precision is tested
SUBSPACE = 20  # Lanczos vectors: five eigenvalues of a network of p = 113 to 1% need at most one restart


class CurvatureOperator(LinearOperator):
    """The Hessian or Gauss-Newton matrix (D, D), with rows in the order of `named_parameters`, each flattened.

    Parameters
    ----------
    objective, index : Objective, int
        The loss, and the index of the network at whose parameters the matrix is evaluated.
    matrix : Matrix, optional
        `hessian` or `gauss_newton`.
    group : sequence of str, optional
        Names of the parameters that the matrix covers, D weights; all that are not frozen by default.
    dtype : torch.dtype, optional
        Precision of the network and the products. The loss and its derivatives by the outputs are always float64.

    Raises
    ------
    SltGrokError
        The network does not have the group.
    NoSecondDerivatives
        In a product, or here.
    """

    def __init__(
        self,
        objective: Objective,
        index: int,
        matrix: Matrix = "hessian",
        *,
        group: Sequence[str] | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        network = replace(objective.network)  # a copy
        network.module.to(dtype)
        weights = {name: tensor.to(dtype) for name, tensor in objective.weights(index).items()}
        self._free = free = {name: weights[name] for name in objective.group(group)}
        size = sum(tensor.numel() for tensor in free.values())
        super().__init__(np.dtype(np.float64), (size, size))
        inputs, targets = objective.data
        product = hessian_product if matrix == "hessian" else gauss_newton_product

        def batch_product(batch: Data) -> Product:
            fraction = len(batch[0]) / len(inputs)
            return product(
                lambda free: network.outputs({**weights, **free}, batch[0]).double(),
                lambda values: network.loss(values, batch[1]).double().mean() * fraction,
                free,
            )

        with second_derivatives():
            self._products = [batch_product(batch) for batch in batches((as_floats(inputs, dtype), targets), ROWS)]

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        like = next(iter(self._free.values()))
        pieces = torch.from_numpy(x.ravel()).to(like).split([tensor.numel() for tensor in self._free.values()])
        vector = {k: piece.reshape(w.shape) for (k, w), piece in zip(self._free.items(), pieces, strict=True)}
        with second_derivatives():
            parts = [torch.cat([part.flatten() for part in product(vector).values()]) for product in self._products]
        return torch.stack(parts).sum(0).double().numpy(force=True)


def precise_dtype(objective: Objective, index: int, group: Sequence[str] | None, tolerance: float) -> torch.dtype:
    """Choose float32 if a Hessian product in it agrees with float64 to the tolerance, otherwise float64.

    A product in float32 takes less than half the time. The loss and its derivatives by the outputs are float64 in
    both cases, so even near zero loss only the rounding of weights and logits remains: 1e-6 of the product's norm at a
    loss of 9e-8 (p = 113), and up to 2e-4 if a ReLU is near its kink. The test uses a subset of the samples.
    """
    size = objective.size(group)
    if size < SMALL or tolerance < 1e-5:
        return torch.float64
    inputs, targets = objective.data
    every = max(1, len(inputs) // SAMPLES)
    subset = objective.on((inputs[::every], targets[::every]))
    vector = np.random.default_rng(0).standard_normal(size)
    exact, rounded = (
        CurvatureOperator(subset, index, group=group, dtype=dtype).matvec(vector)
        for dtype in (torch.float64, torch.float32)
    )
    agree = np.linalg.norm(rounded - exact) <= tolerance * np.linalg.norm(exact)
    return torch.float32 if agree else torch.float64


def eigenpairs(operator: LinearOperator, count: int, tolerance: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the algebraically largest eigenvalues, largest first, and their vectors.

    Parameters
    ----------
    operator : scipy.sparse.linalg.LinearOperator
        Symmetric operator (D, D), D > count.
    count : int
        Number of eigenvalues.
    tolerance : float
        Each pair satisfies |A u - value u| <= tolerance * |value|, so the value is that close to an eigenvalue.
    seed : int
        Seed of the starting vector.

    Returns
    -------
    tuple of ndarray
        Values (count,) and orthonormal vectors (D, count), float64; NaN where Lanczos did not converge, and everywhere
        if the matrix is not finite. Among eigenvalues closer together than the tolerance, some may be missed.
    """
    generator = np.random.default_rng(seed)
    size = operator.shape[0]
    start = generator.standard_normal(size)
    values, vectors = np.full(count, np.nan), np.full((size, count), np.nan)
    trial = operator.matvec(start)
    if not np.isfinite(trial).all():
        return values, vectors
    if not trial.any():  # H = 0: Lanczos has no first step
        return np.zeros(count), np.eye(size, count)
    try:
        pairs = eigsh(
            operator,
            k=count,
            which="LA",
            v0=start,
            ncv=min(size, max(2 * count + 1, SUBSPACE)),
            tol=tolerance,  # pyright: ignore[reportArgumentType]
            maxiter=RESTARTS,
            rng=generator,
        )
    except ArpackNoConvergence as failure:
        pairs = failure.eigenvalues, failure.eigenvectors
    order = np.argsort(pairs[0])[::-1]
    values[: len(order)], vectors[:, : len(order)] = pairs[0][order], pairs[1][:, order]
    return values, vectors
