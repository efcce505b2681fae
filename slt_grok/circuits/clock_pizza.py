"""Clock, pizza and intermediate networks: evidence from the logits and from the circles of the embedding.

Source: Zhong et al. 2306.17844, sections 3 to 5. With s = a + b and d = a - b (swapped for subtraction), the clock's
logits are cos w_k(s - c) and the pizza's are |cos(w_k d/2)| cos w_k(s - c).

Two of the measures are ambiguous: distance irrelevance is published for the logit of the correct answer (text) and for
the largest wrong logit (table of runs); and the fits of clock and pizza are distinguishable only for an isolated
circle, since the other circles of a pizza fill in |cos(w_k d/2)|.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from slt_grok.circuits.chunk import Chunk
from slt_grok.circuits.measure import SUM, ZHONG, CircuitMeasure
from slt_grok.groups import cyclic
from slt_grok.measurement import Variable

CIRCULARITY_COMPONENTS = 4
# Scores of a principal component below this fraction of the largest ones are rounding errors, not a direction.
NO_COMPONENT = 1e-9
CIRCLES = 3  # number of pairs of principal components treated as circles
# Accompanying circles (2306.17844, section 5): principal components 1 to 6 alone, and 7 to 12 alone.
COMPONENT_GROUPS = {"1_6": slice(0, 6), "7_12": slice(6, 12)}

DISTANCE = (
    "std of L over the pairs of each d = a - b (a + b for subtraction), mean over d, / std of L over all pairs; NaN "
    "where L is constant"
)
ALONE = "with the embedding's principal components {} alone (mean kept)"
CIRCLE = ALONE.format("2i - 1 and 2i")
STANDARDIZED = (
    "1 - mean over all n^3 of (z_L - z_Q)^2 = 2 corr(L, Q) - 1, z standardized over all n^3, L the logits "
    f"{CIRCLE}, k = circle_frequency, {SUM}"
)


class ClockPizza(CircuitMeasure):
    """Logit measures: the pizza's fit and distance irrelevance."""

    name = "clock_pizza"
    needs = ("cyclic", "logits")
    variables = {
        "pizza_fve": Variable((), "variance explained by the pizza",
            "fraction of the squared norm of L - mean_ab L over all n^3 that sum over circuit_frequency of alpha_k "
            "|cos(w_k d/2)| cos w_k(s - c) explains, d = a - b; before circle isolation it does not tell clock and "
            "pizza apart", f"{ZHONG}, section 4"),
        "distance_irrelevance": Variable((), "distance irrelevance (correct answer)",
            f"{DISTANCE}; L the correct answer's logit", f"{ZHONG}, section 4"),
        "distance_irrelevance_top_wrong": Variable((), "distance irrelevance (largest wrong logit)",
            f"{DISTANCE}; L the largest wrong logit, as in the published table of runs", f"{ZHONG}, released code"),
    }  # fmt: skip

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        right, wrong, _ = chunk.margins
        return {
            "pizza_fve": pizza_fit(chunk.sites["logits"], chunk.kept, chunk.sign),
            "distance_irrelevance": distance_irrelevance(right, chunk.sign),
            "distance_irrelevance_top_wrong": distance_irrelevance(wrong, chunk.sign),
        }


class Circles(CircuitMeasure):
    """Circles of the embedding, isolated one at a time."""

    name = "circles"
    needs = ("cyclic", "logits", "embedding", "token_embedding")
    variables = {
        "circularity": Variable((), "circularity",
            "mean over the first four principal components v of the centered embedding of max_k 2/(n sum v^2) |sum_t "
            "v_t e^{2 pi i k t/n}|^2 (1/n in place of 2/n for k = n/2); circular from 0.995", f"{ZHONG}, appendix"),
        "circle_frequency": Variable(("circle",), "frequency of the circle",
            "k with most power in principal components 2i - 1 and 2i of the embedding; 0 if absent",
            f"{ZHONG}, section 4"),
        "circle_clock_fve": Variable(("circle",), "clock's fit of the circle", f"{STANDARDIZED}, Q = cos w_k(s - c)",
            f"{ZHONG}, section 4"),
        "circle_pizza_fve": Variable(("circle",), "pizza's fit of the circle",
            f"{STANDARDIZED}, Q = |cos(w_k d/2)| cos w_k(s - c), d = a - b", f"{ZHONG}, section 4"),
        "circle_accuracy": Variable(("circle",), "accuracy of the circle",
            f"fraction of all pairs that the network answers correctly {CIRCLE}", f"{ZHONG}, section 4"),
        **{
            f"accuracy_principal_components_{name}": Variable((), f"accuracy, components {numbers}",
                f"fraction of all pairs that the network answers correctly {ALONE.format(numbers)}",
                f"{ZHONG}, section 5")
            for name, numbers in (("1_6", "1 to 6"), ("7_12", "7 to 12"))
        },
    }  # fmt: skip
    coords = {"circle": range(1, CIRCLES + 1)}

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        components = PrincipalComponents.of(chunk.embedding)

        def alone(group: slice) -> tuple[Tensor, Tensor]:
            """Compute logits and accuracy of the network with these principal components only."""
            # no loss is computed from these logits: single precision suffices, in half the time
            logits = chunk.with_embedding(components.only(group).float())
            return logits.double(), chunk.accuracies(logits)[:, -1].masked_fill(components.absent(group), torch.nan)

        frequencies = [circle_frequency(components, circle) for circle in range(CIRCLES)]
        accuracies, fits = [], []
        for circle, frequency in enumerate(frequencies):
            logits, accuracy = alone(slice(2 * circle, 2 * circle + 2))
            networks = zip(logits, frequency.tolist(), strict=True)
            accuracies.append(accuracy)
            fits.append(torch.stack([fits_of_one_frequency(network, k, chunk.sign) for network, k in networks]))
        clock, pizza = torch.stack(fits, 1).unbind(-1)
        return {
            "circularity": circularity(components),
            "circle_frequency": torch.stack(frequencies, -1),
            "circle_clock_fve": clock,
            "circle_pizza_fve": pizza,
            "circle_accuracy": torch.stack(accuracies, -1),
        } | {f"accuracy_principal_components_{name}": alone(group)[1] for name, group in COMPONENT_GROUPS.items()}


def distance_irrelevance(logit: Tensor, sign: int = 1) -> Tensor:
    """Compute q = mean over d of std_{a - b = d}(L) / std(L), with population standard deviations.

    Parameters
    ----------
    logit : Tensor
        One logit per pair, (N, n^2).
    sign : int, optional
        1 for addition; -1 for subtraction, where the distance is a + b.

    Returns
    -------
    Tensor
        Shape (N,), in [0, 1]: 0 if the logit depends on the distance alone, about 1 if the distance is irrelevant, NaN
        if the logit is constant, as for the correct answer of an exact clock.
    """
    n = math.isqrt(logit.shape[1])
    by_distance = logit[:, cyclic(n).products(-sign).argsort(stable=True)].unflatten(1, (n, n))
    spread = logit.std(-1, correction=0)
    constant = spread <= 1e-12 * logit.abs().amax(-1)  # a constant up to rounding, not a signal
    return (by_distance.std(-1, correction=0).mean(-1) / spread).masked_fill(constant, torch.nan)


@dataclass(frozen=True)
class PrincipalComponents:
    """Principal components of embeddings (N, n, d) over the tokens, in descending order.

    Parameters
    ----------
    mean : Tensor
        Mean over the tokens, (N, 1, d).
    scores : Tensor
        Coordinates of the tokens along the components, (N, p, min(n, d)); 0 for components that the embedding lacks.
    directions : Tensor
        Orthonormal rows, (N, min(n, d), d).
    """

    mean: Tensor
    scores: Tensor
    directions: Tensor

    @classmethod
    def of(cls, embedding: Tensor) -> "PrincipalComponents":
        """Compute the components of embeddings (N, n, d)."""
        mean = embedding.mean(1, keepdim=True)
        left, size, directions = torch.linalg.svd(embedding - mean, full_matrices=False)
        size = size.masked_fill(size <= NO_COMPONENT * size[:, :1], 0)
        return cls(mean, left * size[:, None], directions)

    def only(self, components: slice) -> Tensor:
        """Reconstruct the embedding from the mean and these components (counted from 0) only: (N, n, d)."""
        return self.mean + self.scores[..., components] @ self.directions[:, components]

    def absent(self, components: slice) -> Tensor:
        """Flag embeddings that have none of these components, bool (N,)."""
        return ~self.scores[..., components].any(-1).any(-1)

    def power(self) -> Tensor:
        """Compute the squared norm of each component's scores at each frequency, (N, K, components)."""
        n = self.scores.shape[1]
        return torch.fft.rfft(self.scores, dim=1)[:, 1:].abs().square() * cyclic(n).plane_sizes[:, None] / n


def circularity(components: PrincipalComponents) -> Tensor:
    """Mean over the first four principal components v of max_k 2/(n sum v^2) |sum_t v_t e^{2 pi i k t/n}|^2.

    Returns
    -------
    Tensor
        Shape (N,), in (0, 1]; 1 if each component is a cosine of the token. Published networks count as circular at
        0.995 or more. Components that the embedding lacks do not count; NaN if it has none.
    """
    fraction = components.power() / components.scores.square().sum(1, keepdim=True)
    return fraction[..., :CIRCULARITY_COMPONENTS].amax(1).nanmean(-1)


def circle_frequency(components: PrincipalComponents, circle: int) -> Tensor:
    """Find the frequency with the most power in principal components 2i and 2i + 1 (counted from 0) of circle i.

    int64 (N,), 0 if the embedding lacks these components.
    """
    power, index = components.power()[..., 2 * circle : 2 * circle + 2].sum(-1).max(-1)
    return torch.where(power > 0, index + 1, 0)


def pizza_table(logits: Tensor, frequency: int, sign: int = 1) -> Tensor:
    """Average |cos(w_k d/2)| L over the n pairs with the same s: (..., n^2, n) -> (..., s, c)."""
    group = cyclic(logits.shape[-1])
    ring = _ring(group.order, frequency)[group.products(-sign)]
    return group.means_by_product(ring[:, None] * logits, sign)


def fits_of_one_frequency(logits: Tensor, frequency: int, sign: int = 1) -> Tensor:
    """Fit L by Q = cos w_k(s - c) and by Q = |cos(w_k d/2)| cos w_k(s - c); explained variance 1 - mean (z_L - z_Q)^2.

    Here z are L and Q standardized over all n^3 (as in the source, no slope is fitted), so the value is 2r - 1 with r
    the correlation of L and Q.

    Parameters
    ----------
    logits : Tensor
        Logits of one network, (n^2, n) in float64.
    frequency : int
        Frequency k, 0 for none.
    sign : int, optional
        1 for addition, -1 for subtraction.

    Returns
    -------
    Tensor
        Clock and pizza, (2,), in [-3, 1]; -1 if uncorrelated, NaN without a frequency or if the logits are constant.
    """
    n = logits.shape[-1]
    group = cyclic(n)
    if not frequency:
        return torch.full((2,), torch.nan, dtype=torch.float64)
    clock, squared_norm = group.kernels[frequency - 1], n**3 / len(group.planes[frequency - 1])
    deviation = logits.std(correction=0) * n**1.5
    tables = group.means_by_product(logits, sign), pizza_table(logits, frequency, sign)
    norms = squared_norm**0.5, (squared_norm * _ring(n, frequency).square().mean().item()) ** 0.5
    pairs = zip(tables, norms, strict=True)
    return 2 * torch.stack([n * (table * clock).sum() / deviation / norm for table, norm in pairs]) - 1


def pizza_fit(logits: Tensor, frequencies: Tensor, sign: int = 1) -> Tensor:
    """Fraction of the variance that sum_k alpha_k |cos(w_k d/2)| cos w_k(s - c) explains, each class's mean removed.

    Pizzas of different frequencies are orthogonal on the grid, so each alpha_k is a single inner product. The pizza of
    k = n/2 does not count: it is the sum of a clock and a class mean.

    Parameters
    ----------
    logits : Tensor
        Logits, (N, n^2, n) in float64.
    frequencies : Tensor
        Frequencies K of each network, a bool mask (N, K).
    sign : int, optional
        1 for addition, -1 for subtraction.

    Returns
    -------
    Tensor
        Shape (N,), in [0, 1]; 0 if K is empty, NaN if the logits do not depend on the pair.
    """
    n, group = logits.shape[-1], cyclic(logits.shape[-1])
    variance = (logits - logits.mean(1, keepdim=True)).square().sum((1, 2))
    explained = torch.zeros_like(variance)
    for k in (frequencies.any(0) & (group.plane_sizes == 2)).nonzero()[:, 0].tolist():
        inner = n * (pizza_table(logits, k + 1, sign) * group.kernels[k]).sum((1, 2))
        explained += frequencies[:, k] * inner.square() / (n**2 / 2 * _ring(n, k + 1).square().sum())
    return explained / variance


def _ring(order: int, frequency: int) -> Tensor:
    """Compute |cos(w_k d/2)| for d = 0..n-1."""
    half = torch.arange(order, dtype=torch.float64) * frequency % order
    return (math.pi / order * half).cos().abs()
