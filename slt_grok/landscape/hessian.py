"""Hessian and Gauss-Newton matrix of the mean loss at one network, and their largest eigenvalues with vectors.

With f_w(x_i) the outputs and l the loss, H = (1/n) sum_i d^2 l(f_w(x_i), y_i) / dw^2. The Gauss-Newton matrix leaves
the curvature of f out (Schraudolph 2002, doi:10.1162/08997660260028683): G = (1/n) sum_i J_i^T [d^2 l / df^2] J_i with
J_i = d f_w(x_i) / dw. Where l is convex in f, as cross-entropy is, G has no negative eigenvalue.

The matrix is a linear operator of curvlinops and never formed. A product H v is the derivative of (dL/dw) . v; all
that it needs of the network without v is kept, which halves its cost to some two gradients. The
largest eigenvalues come from implicitly restarted Lanczos (ARPACK, by scipy).

The curvature at a checkpoint late in training nearly vanishes (its loss is near 1e-7), while an LLC chain lives
where it does not: trace and LLC need not move together.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Literal

import numpy as np
import torch
from curvlinops._torch_base import PyTorchLinearOperator
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor
from torch.func import grad, vjp

from slt_grok.errors import SltGrokError
from slt_grok.landscape.objective import ROWS, Data, Objective, as_floats, batches
from slt_grok.trajectories import Network, Parameters

Matrix = Literal["hessian", "gauss_newton"]
Function = Callable[[dict[str, Tensor]], Tensor]
Product = Callable[[dict[str, Tensor]], dict[str, Tensor]]

RESTARTS = 20  # of Lanczos; what has not converged by then is NaN
SMALL = 10_000  # parameters: below it float64 costs nothing that is worth saving
TRIED = 512  # samples on which single precision is tried
SUBSPACE = 20  # Lanczos vectors: five eigenvalues of a network of p = 113 to 1% need no restart or one


def parameter_group(network: Network, group: Sequence[str] | None) -> list[str]:
    """Return the names of a group of parameters, in the network's own order; None: all of them.

    Raises
    ------
    SltGrokError
        An empty group, or a name that the network does not have.
    """
    names = list(network.shapes)
    unknown = [name for name in group or [] if name not in names]
    if unknown or group == []:
        raise SltGrokError(f"group: expected some of {', '.join(names)}, got {', '.join(unknown) or 'none'}")
    return [name for name in names if group is None or name in group]


def hessian_product(outputs: Function, loss: Callable[[Tensor], Tensor], free: Parameters) -> Product:
    """Return v -> H v at the parameters `free`, in which outputs -> loss is the loss."""
    pull = vjp(grad(lambda free: loss(outputs(free))), dict(free))[1]
    return lambda vector: pull(vector)[0]


def gauss_newton_product(outputs: Function, loss: Callable[[Tensor], Tensor], free: Parameters) -> Product:
    """Return v -> J^T (d^2 l / df^2) J v at the parameters `free`; J v is the derivative of u -> J^T u, transposed."""
    values, pull = vjp(outputs, dict(free))[:2]
    push = vjp(lambda u: pull(u)[0], torch.zeros_like(values))[1]
    bend = vjp(grad(loss), values)[1]
    return lambda vector: pull(bend(push(vector)[0])[0])[0]


class CurvatureOperator(PyTorchLinearOperator):
    """The Hessian or Gauss-Newton matrix (D, D), rows in the order of `named_parameters`, each flattened.

    Parameters
    ----------
    objective, index : Objective, int
        The network at whose parameters it stands.
    matrix : Matrix, optional
        `hessian` or `gauss_newton`.
    data : Data or None, optional
        Inputs (n, ...) and targets (n, ...) of the mean loss; None: the objective's.
    group : Sequence[str] or None, optional
        Names of the parameters that it is over, D of them in all; None: all parameters.
    dtype : torch.dtype, optional
        Of the network and of the products. The loss, with its derivatives by the outputs, is float64 always.

    Raises
    ------
    SltGrokError
        A group that the network does not have.
    """

    SELF_ADJOINT = True

    def __init__(
        self,
        objective: Objective,
        index: int,
        matrix: Matrix = "hessian",
        *,
        data: Data | None = None,
        group: Sequence[str] | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        given = objective.network
        network = Network(deepcopy(given.module).to(dtype), given.task, given.loss, given.call)
        self._names = parameter_group(network, group)
        shapes = [tuple(network.shapes[name]) for name in self._names]
        super().__init__(shapes, shapes)
        weights = {name: tensor[index].to(dtype) for name, tensor in objective.stack.items()}
        free = {name: weights[name] for name in self._names}
        self._like = free[self._names[0]]
        inputs, targets = objective.data if data is None else data
        product = hessian_product if matrix == "hessian" else gauss_newton_product

        def of_batch(x: Tensor, y: Tensor) -> Product:
            share = len(x) / len(inputs)
            return product(
                lambda free: network.outputs({**weights, **free}, x).double(),
                lambda values: network.loss(values, y).double().mean() * share,
                free,
            )

        self._products = [of_batch(x, y) for x, y in batches((as_floats(inputs, dtype), targets), ROWS)]

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return self._like.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._like.device

    def _matmat(self, X: list[Tensor]) -> list[Tensor]:
        columns = [
            dict(zip(self._names, column, strict=True)) for column in zip(*[b.unbind(-1) for b in X], strict=True)
        ]
        results = [[product(column) for product in self._products] for column in columns]
        return [
            torch.stack([torch.stack([part[name] for part in parts]).sum(0) for parts in results], -1)
            for name in self._names
        ]


def precise_dtype(
    objective: Objective, index: int, data: Data | None, group: Sequence[str] | None, tolerance: float
) -> torch.dtype:
    """float32 where a product of the Hessian in it agrees with float64 to the tolerance, else float64.

    A product in float32 takes less than half the time. The loss and its derivatives by the outputs are float64 in
    both, so that near zero loss, too, only the rounding of weights and logits is left: 1e-6 of the product's norm at a
    loss of 9e-8 (p = 113), and up to 2e-4 where a ReLU is near its kink. Some of the samples tell.
    """
    shapes = objective.network.shapes
    size = sum(shapes[name].numel() for name in parameter_group(objective.network, group))
    if size < SMALL or tolerance < 1e-5:
        return torch.float64
    inputs, targets = objective.data if data is None else data
    every = max(1, len(inputs) // TRIED)
    some = inputs[::every], targets[::every]
    double, single = (
        CurvatureOperator(objective, index, data=some, group=group, dtype=dtype)
        for dtype in (torch.float64, torch.float32)
    )
    vector = np.random.default_rng(0).standard_normal(size)
    exact, rounded = (one.to_scipy(np.dtype(np.float64)).matvec(vector) for one in (double, single))
    agree = np.linalg.norm(rounded - exact) <= tolerance * np.linalg.norm(exact)
    return torch.float32 if agree else torch.float64


def eigenpairs(
    operator: PyTorchLinearOperator, count: int, tolerance: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the algebraically largest eigenvalues, largest first, and their vectors.

    Parameters
    ----------
    operator : PyTorchLinearOperator
        Symmetric (D, D), D > count.
    count : int
        How many.
    tolerance : float
        |A u - value u| <= tolerance * |value| for each pair, so that the value is as close to an eigenvalue.
    seed : int
        Of the start vector.

    Returns
    -------
    tuple[ndarray, ndarray]
        Values (count,) and orthonormal vectors (D, count), float64; NaN where Lanczos had not converged after its
        restarts, and all of them where the matrix is not finite. Where eigenvalues lie closer together than the
        tolerance, one of them may be passed over for the next.
    """
    generator = np.random.default_rng(seed)
    size = operator.shape[0]
    linear = operator.to_scipy(np.dtype(np.float64))
    start = generator.standard_normal(size)
    values, vectors = np.full(count, np.nan), np.full((size, count), np.nan)
    trial = linear.matvec(start)
    if not np.isfinite(trial).all():
        return values, vectors
    if not trial.any():  # H = 0: Lanczos has no first step
        return np.zeros(count), np.eye(size, count)
    try:
        found = eigsh(
            linear,
            k=count,
            which="LA",
            v0=start,
            ncv=min(size, max(2 * count + 1, SUBSPACE)),
            tol=tolerance,  # pyright: ignore[reportArgumentType]
            maxiter=RESTARTS,
            rng=generator,
        )
    except ArpackNoConvergence as failure:
        found = failure.eigenvalues, failure.eigenvectors
    order = np.argsort(found[0])[::-1]
    values[: len(order)], vectors[:, : len(order)] = found[0][order], found[1][:, order]
    return values, vectors
