"""Clock, pizza, and what lies between: what the logits and the circles of the embedding say.

Source: Zhong et al. 2306.17844, sections 3 to 5. With s = a + b and d = a - b (exchanged for subtraction) the clock's
logits are cos w_k(s - c), the pizza's |cos(w_k d/2)| cos w_k(s - c).

Two of the measures have a rival: distance irrelevance is published for the right answer's logit (text) and for the
largest wrong one (table of runs); and fits of clock and pizza tell them apart only for a circle alone, since the
other circles of a pizza fill up |cos(w_k d/2)|.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from slt_grok import fourier

CIRCULARITY_COMPONENTS = 4
# Scores of a principal component below this share of the largest ones are rounding, not a direction of the embedding.
NO_COMPONENT = 1e-9


def distance_irrelevance(logit: Tensor, sign: int = 1) -> Tensor:
    """Return q = mean over d of std_{a - b = d}(L) / std(L), population standard deviations.

    Parameters
    ----------
    logit : Tensor
        One logit of each pair, (N, p^2).
    sign : int, optional
        1 for addition; -1 for subtraction, where the distance is a + b.

    Returns
    -------
    Tensor
        (N,), in [0, 1]: 0 where the logit depends on the distance alone, about 1 where it does not matter, NaN where
        the logit is constant, as that of an exact clock's right answer.
    """
    p = math.isqrt(logit.shape[1])
    by_distance = logit[:, fourier.grid_sum(p, -sign).argsort(stable=True)].unflatten(1, (p, p))
    spread = logit.std(-1, correction=0)
    constant = spread <= 1e-12 * logit.abs().amax(-1)  # rounding of a constant, not a signal
    return (by_distance.std(-1, correction=0).mean(-1) / spread).masked_fill(constant, torch.nan)


@dataclass(frozen=True)
class PrincipalComponents:
    """Principal components of embeddings (N, p, d) over the tokens, the largest first.

    Parameters
    ----------
    mean : Tensor
        (N, 1, d).
    scores : Tensor
        Coordinates of the tokens along the components, (N, p, min(p, d)); 0 where the embedding has no more.
    directions : Tensor
        Orthonormal rows, (N, min(p, d), d).
    """

    mean: Tensor
    scores: Tensor
    directions: Tensor

    @classmethod
    def of(cls, embedding: Tensor) -> "PrincipalComponents":
        """Components of (N, p, d)."""
        mean = embedding.mean(1, keepdim=True)
        left, size, directions = torch.linalg.svd(embedding - mean, full_matrices=False)
        size = size.masked_fill(size <= NO_COMPONENT * size[:, :1], 0)
        return cls(mean, left * size[:, None], directions)

    def only(self, components: slice) -> Tensor:
        """Return the embedding with no other components than these (counted from 0), mean kept: (N, p, d)."""
        return self.mean + self.scores[..., components] @ self.directions[:, components]

    def absent(self, components: slice) -> Tensor:
        """Whether the embedding has none of these components, bool (N,)."""
        return ~self.scores[..., components].any(-1).any(-1)

    def power(self) -> Tensor:
        """|sum_t v_t e^{2 pi i k t/p}|^2 of each component's scores v, k from 1 on: (N, (p-1)/2, components)."""
        return torch.fft.rfft(self.scores, dim=1)[:, 1:].abs().square()


def circularity(components: PrincipalComponents) -> Tensor:
    """Mean over the first four principal components v of max_k 2/(p sum v^2) |sum_t v_t e^{2 pi i k t/p}|^2.

    Returns
    -------
    Tensor
        (N,), in (0, 1]; 1 where each component is a cosine of the token. Published networks count as circular from
        0.995 on. Components that the embedding does not have are left out; NaN where it has none.
    """
    p = components.scores.shape[1]
    share = 2 / p * components.power() / components.scores.square().sum(1, keepdim=True)
    return share[..., :CIRCULARITY_COMPONENTS].amax(1).nanmean(-1)


def circle_frequency(components: PrincipalComponents, circle: int) -> Tensor:
    """Return the frequency with most power in principal components 2i and 2i + 1 (counted from 0) of circle i.

    int64 (N,), 0 where the embedding has no such components.
    """
    power, index = components.power()[..., 2 * circle : 2 * circle + 2].sum(-1).max(-1)
    return torch.where(power > 0, index + 1, 0)


def pizza_table(logits: Tensor, frequency: int, sign: int = 1) -> Tensor:
    """Means of |cos(w_k d/2)| L over the p cells with the same s: (n, p^2, p) -> (n, s, c)."""
    p = logits.shape[-1]
    return fourier.sum_table(_ring(p, frequency)[fourier.grid_sum(p, -sign)][:, None] * logits, sign)


def fits_of_one_frequency(logits: Tensor, frequency: int, sign: int = 1) -> tuple[Tensor, Tensor]:
    """Variance of L that Q = cos w_k(s - c) explains, and Q = |cos(w_k d/2)| cos w_k(s - c): 1 - mean (z_L - z_Q)^2.

    z are L and Q standardized over all p^3 (no slope is fitted, as in the source), so that the share is 2r - 1 with r
    the correlation of L and Q.

    Parameters
    ----------
    logits : Tensor
        (n, p^2, p) in float64.
    frequency : int
        k.
    sign : int, optional
        1 for addition, -1 for subtraction.

    Returns
    -------
    tuple[Tensor, Tensor]
        Clock and pizza, (n,) each, in [-3, 1]; -1 where there is no relation, NaN where the logits are constant.
    """
    p = logits.shape[-1]
    clock = fourier.clock(p)[frequency - 1]
    deviation = logits.std((1, 2), correction=0) * p**1.5

    def share(table: Tensor, mean_square: float) -> Tensor:
        correlation = p * (table * clock).sum((1, 2)) / deviation / (p**3 / 2 * mean_square) ** 0.5
        return 2 * correlation - 1

    ring = _ring(p, frequency).square().mean().item()
    return share(fourier.sum_table(logits, sign), 1.0), share(pizza_table(logits, frequency, sign), ring)


def pizza_fit(logits: Tensor, frequencies: Tensor, sign: int = 1) -> Tensor:
    """Share of the variance, each class's grid mean removed, that sum_k alpha_k |cos(w_k d/2)| cos w_k(s - c) explains.

    Pizzas of different frequencies are orthogonal on the grid, so that alpha_k is one inner product.

    Parameters
    ----------
    logits : Tensor
        (N, p^2, p) in float64.
    frequencies : Tensor
        The set K of each network, a bool mask (N, (p-1)/2).
    sign : int, optional
        1 for addition, -1 for subtraction.

    Returns
    -------
    Tensor
        (N,), in [0, 1]; 0 where K is empty, NaN where the logits do not depend on the pair.
    """
    p, clock = logits.shape[-1], fourier.clock(logits.shape[-1])
    variance = (logits - logits.mean(1, keepdim=True)).square().sum((1, 2))
    explained = torch.zeros_like(variance)
    for k in (frequencies.any(0).nonzero()[:, 0] + 1).tolist():
        inner = p * (pizza_table(logits, k, sign) * clock[k - 1]).sum((1, 2))
        norm = p**2 / 2 * _ring(p, k).square().sum()
        explained += frequencies[:, k - 1] * inner.square() / norm
    return explained / variance


def _ring(modulus: int, frequency: int) -> Tensor:
    """|cos(w_k d/2)| for d = 0..p-1."""
    half = torch.arange(modulus, dtype=torch.float64) * frequency % modulus
    return (math.pi / modulus * half).cos().abs()
