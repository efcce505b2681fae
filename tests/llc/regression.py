"""Linear regression with unit noise: its posterior and every moment of its samples' losses in closed form.

l_i = (y_i - x_i w)^2 / 2 and p(w) ~ exp(-beta sum_i l_i - gamma/2 |w - w*|^2) is normal with precision
A = beta X^T X + gamma and mean A^-1 (beta X^T y + gamma w*), so that the residuals are normal with means m and
covariances C = X A^-1 X^T.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from slt_grok.models.network import Network
from slt_grok.trajectories import Trajectory


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs[:, 0] - targets) ** 2 / 2


class Line(nn.Linear):
    """y = x w at given weights."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__(len(weights), 1, bias=False, dtype=torch.float64)
        self.weight.data[0] = weights


class Posterior(NamedTuple):
    """Mean and covariance of w."""

    mean: Tensor
    covariance: Tensor


class Regression:
    """A data set, and what is known of it."""

    def __init__(self, n: int, d: int, seed: int, truth: Tensor | None = None) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(n, d, generator=generator, dtype=torch.float64)
        noise = torch.randn(n, generator=generator, dtype=torch.float64)
        truth = torch.ones(d, dtype=torch.float64) if truth is None else truth
        self.y = self.x @ truth + noise
        self.best = torch.linalg.lstsq(self.x, self.y[:, None]).solution[:, 0]

    def network(self) -> Network:
        return Network(Line(self.best), loss=half_square)

    def trajectory(self, weights: Tensor | None = None) -> Trajectory:
        return Trajectory.of(Line(self.best if weights is None else weights), loss=half_square)

    def posterior(
        self, beta: float, gamma: float, center: Tensor | None = None, free: Tensor | None = None
    ) -> Posterior:
        """Where only the coordinates `free` move, the others have no spread and stay at the center."""
        center = self.best if center is None else center
        free = torch.arange(len(center)) if free is None else free
        precision = beta * self.x.T @ self.x + gamma * torch.eye(len(center), dtype=torch.float64)
        force = beta * self.x.T @ (self.y - self.x @ center)
        inverse = torch.zeros_like(precision)
        inverse[free[:, None], free] = torch.linalg.inv(precision[free[:, None], free])
        return Posterior(center + inverse @ force, inverse)

    def residuals(self, posterior: Posterior) -> tuple[Tensor, Tensor]:
        """Means m (n,) and covariances C (n, n) of y - x w."""
        return self.y - self.x @ posterior.mean, self.x @ posterior.covariance @ self.x.T

    def loss_means(self, posterior: Posterior) -> Tensor:
        """E l_i = (m^2 + C_ii) / 2."""
        means, spread = self.residuals(posterior)
        return (means**2 + spread.diagonal()) / 2

    def loss_covariance(self, posterior: Posterior) -> Tensor:
        """Cov(l_i, l_j) = g_i^T S g_j + tr(H_i S H_j S) / 2 = m_i m_j C_ij + C_ij^2 / 2."""
        means, spread = self.residuals(posterior)
        return means[:, None] * means * spread + spread**2 / 2

    def log_mean_likelihood(self, posterior: Posterior) -> Tensor:
        """log E exp(-l_i) = -log(1 + C_ii) / 2 - m^2 / (2 (1 + C_ii))."""
        means, spread = self.residuals(posterior)
        one_more = 1 + spread.diagonal()
        return -one_more.log() / 2 - means**2 / (2 * one_more)
