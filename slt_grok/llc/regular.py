"""The contribution that the localization hides at a regular point, and a test of regularity.

If the loss is quadratic at the chain's scale, with Hessian eigenvalues h_i, the chain measures 1/2 sum n_beta h_i /
(n_beta h_i + gamma) instead of the true value rank(H)/2: each direction whose n_beta h_i is not far above gamma is
underweighted. The exact correction is 1/2 sum gamma / (n_beta h_i + gamma) over the nonzero h_i (Laplace's
approximation with the localization as its prior). It is added only if the sampled values agree with the first sum, so a
singular point, whose LLC exceeds what its Hessian shows, is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.func import vmap

from slt_grok.llc.diagnostics import Average
from slt_grok.llc.exact import quadratic
from slt_grok.llc.problem import Problem
from slt_grok.operators.curvature import hessian_product

LARGEST = 2000  # largest number of coordinates for which the Hessian is formed
ROUNDING = 1e-13  # relative to the largest eigenvalue, times d: smaller eigenvalues are rounding errors
GAP = 1e3  # ratio between the smallest eigenvalue that counts and the rounding errors
AGREEMENT = 0.01  # relative to the value, or 3 standard errors
CHUNK = 64
UNRESOLVED = (
    "the Hessian's eigenvalues extend down to rounding without a gap: directions flatter than gamma / n_beta exist "
    "and do not count"
)
LEFT_THE_POINT = (
    "the value is below the lower bound set by the Hessian at w*: the chains have moved to where the "
    "loss is more degenerate and need a larger gamma"
)


@dataclass(frozen=True)
class Curvatures:
    """Eigenvalues of the Hessian of L at w*, in the coordinates that move, and their prediction of the LLC.

    Parameters
    ----------
    eigenvalues : ndarray
        Eigenvalues in ascending order, (d,).
    """

    eigenvalues: np.ndarray

    @property
    def rounding(self) -> float:
        """Largest rounding error of a zero eigenvalue."""
        return float(np.abs(self.eigenvalues).max() * ROUNDING * len(self.eigenvalues))

    @property
    def non_zero(self) -> np.ndarray:
        """The eigenvalues above rounding."""
        return self.eigenvalues[self.eigenvalues > self.rounding]

    @property
    def resolved(self) -> bool:
        """Whether a gap separates nonzero eigenvalues from rounding errors, making the numerical rank meaningful."""
        return len(self.non_zero) == 0 or bool(self.non_zero.min() > GAP * self.rounding)

    def visible(self, n_beta: float, gamma: float) -> float:
        """Compute 1/2 sum n_beta h / (n_beta h + gamma)."""
        return quadratic(self.non_zero, n_beta, gamma)

    def hidden(self, n_beta: float, gamma: float) -> float:
        """Compute 1/2 sum gamma / (n_beta h + gamma) over the nonzero h."""
        return len(self.non_zero) / 2 - self.visible(n_beta, gamma)

    def explains(self, llc: float, llc_se: float, n_beta: float, gamma: float) -> bool:
        """Return whether a sampled value agrees with the prediction from the Hessian alone."""
        return abs(llc - self.visible(n_beta, gamma)) < max(3 * llc_se, AGREEMENT * abs(llc))

    def exceeds(self, llc: float, llc_se: float, n_beta: float, gamma: float) -> bool:
        """Return whether the Hessian alone predicts more than was sampled: the chains have left the point."""
        return self.resolved and self.visible(n_beta, gamma) - llc > max(3 * llc_se, AGREEMENT * abs(llc))


def curvatures(problem: Problem, index: int) -> Curvatures | None:
    """Compute the Hessian's eigenvalues at one network's w*, in float64; None above 2,000 coordinates."""
    if problem.d > LARGEST:
        return None
    network = problem.trajectory.network
    stack = {k: v[index : index + 1] for k, v in problem.trajectory.stacked(torch.float64).items()}
    center = problem.subspace.coordinates(stack)[0]
    inputs = problem.inputs.double() if problem.inputs.is_floating_point() else problem.inputs

    def outputs(coordinates: torch.Tensor) -> torch.Tensor:
        placed = problem.subspace.place(coordinates[None], stack)
        return network.outputs({name: tensor[0] for name, tensor in placed.items()}, inputs).double()

    with torch.no_grad():
        product = hessian_product(outputs, lambda values: network.loss(values, problem.targets).double().mean(), center)
        hessian = vmap(product, chunk_size=CHUNK)(torch.eye(len(center), dtype=torch.float64))
    return Curvatures(np.linalg.eigvalsh(((hessian + hessian.T) / 2).numpy()))


def is_regular(hessian: Curvatures, averages: Sequence[Average], n_betas: Sequence[float], gamma: float) -> bool:
    """Return whether the Hessian alone predicts the value at n_beta and, if given, at the other temperatures."""
    return hessian.resolved and all(
        hessian.explains(a.llc, a.llc_se, b, gamma)
        for a, b in zip(averages, n_betas, strict=True)
        if n_betas[0] / b < 16.1
    )
