"""The tempered, localized posterior that the LLC is defined by (Lau et al. 2308.12108, section 4)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LocalPosterior:
    """p(w) ~ exp(-n_beta L(w) - gamma/2 |w - center|^2), restricted to a box if given.

    Parameters
    ----------
    center : Tensor
        Checkpoint w* from which each chain started, (chains, d).
    n_beta : Tensor
        n times the inverse temperature, (chains, 1).
    gamma : Tensor
        Strength of the Gaussian localization, at least 0, (chains, 1).
    box : float or None, optional
        Half-width of a hard box max_i |w_i - w*_i| <= box; None for none.
    """

    center: Tensor
    n_beta: Tensor
    gamma: Tensor
    box: float | None = None

    def force(self, position: Tensor, loss_gradient: Tensor) -> Tensor:
        """Compute -grad log p(w) = n_beta grad L(w) + gamma (w - center), (chains, d); a new tensor."""
        return (position - self.center).mul_(self.gamma).addcmul_(loss_gradient, self.n_beta)

    def descend(self, position: Tensor, loss_gradient: Tensor, step: Tensor) -> None:
        """Update w <- w - step (-grad log p(w)) in place, in two passes over the weights where `force` needs four."""
        position.lerp_(self.center, step * self.gamma).addcmul_(loss_gradient, -step * self.n_beta)

    def potential(self, position: Tensor, loss: Tensor) -> Tensor:
        """Compute U(w) = n_beta L(w) + gamma/2 |w - center|^2 = -log p(w) + const, float64 (chains,); inf outside."""
        offset = (position - self.center).double()
        value = self.n_beta[:, 0].double() * loss + self.gamma[:, 0].double() / 2 * offset.square().sum(1)
        if self.box is None:
            return value
        return torch.where(offset.abs().amax(1) <= self.box, value, torch.inf)

    def reflect(self, position: Tensor, momentum: Tensor | None = None) -> None:
        """Reflect positions that left the box at its walls, in place, and reverse the momentum with them.

        Reflection preserves the distribution inside the box; clipping would pile it up on the walls.
        """
        if self.box is None:
            return
        offset = position - self.center
        turns = torch.remainder(offset + self.box, 4 * self.box)
        inside = torch.where(turns > 2 * self.box, 4 * self.box - turns, turns) - self.box
        torch.add(self.center, inside, out=position)
        if momentum is not None:
            momentum.mul_(torch.where(turns > 2 * self.box, -1.0, 1.0))
