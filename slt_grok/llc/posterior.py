"""The tempered, localised posterior that the LLC is defined by (Lau et al. 2308.12108, section 4)."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LocalPosterior:
    """p(w) ~ exp(-n_beta L(w) - gamma/2 |w - center|^2).

    Parameters
    ----------
    center : w*, the checkpoint each chain started from, (chains, d).
    n_beta : n times the inverse temperature; a number, or (chains, 1).
    gamma : strength of the localisation, at least 0; a number, or (chains, 1).
    """

    center: Tensor
    n_beta: float | Tensor
    gamma: float | Tensor

    def force(self, position: Tensor, loss_gradient: Tensor) -> Tensor:
        """-grad log p(w) = n_beta grad L(w) + gamma (w - center), (chains, d); a new tensor."""
        return (position - self.center).mul_(self.gamma).add_(loss_gradient * self.n_beta)
