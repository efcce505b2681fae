"""Measures of the weights alone: spectra, key frequencies by power, Gini coefficients.

Sources: Nanda et al. 2301.05217, section 4.1 (embedding), section 4.2 (neuron-logit map, its rank), section 5.1
(Gini); Furuta et al. 2402.16726, section 4 (Fourier frequency density, Fourier coefficient ratio).
No paper publishes a threshold for key frequencies; we use `KEY_POWER_RATIO`.
"""

from itertools import combinations

import torch
from torch import Tensor

from slt_grok.circuits.chunk import Chunk
from slt_grok.circuits.measure import NANDA, CircuitMeasure
from slt_grok.groups import Group, cyclic
from slt_grok.measurement import Variable
from slt_grok.rules import GINI, Change

# A frequency is key in a table of weights if it holds more than this multiple of its even share of the power, the rows
# of its plane / (n - 1). Gaussian tables with 12 columns stay below 2.5 at p = 113; key frequencies of published
# networks are above 3.5. On Z_n the rule can select at most (n - 1)/6 frequencies.
KEY_POWER_RATIO = 3.0
RANK_FRACTION = 0.99  # of the squared norm; ours, the paper reads about ten directions off a plot
DENSITY_THRESHOLD = 0.5  # of the largest norm (2402.16726, section 4)
FURUTA = "Furuta et al. 2402.16726, section 4"
TABLES = {  # name in variables -> long name, symbol, and what the table is a function of
    "embedding": ("embedding", "W_E", "rows of W_E that stand for the tokens", f"{NANDA}, section 4.1"),
    "neuron_logit_map": ("neuron-logit map", "W_L", "W_L as a function of the answers", f"{NANDA}, section 4.2"),
}
CHANGES = {
    "gini_embedding": Change(GINI, "Gini of W_E", "brown", "X", place=8),
    "gini_neuron_logit_map": Change(GINI, "Gini of W_L", "0.35", "X", place=9),
}


def _tables(chunk: Chunk) -> dict[str, Tensor]:
    return {"embedding": chunk.embedding, "neuron_logit_map": chunk.to_logits.mT}


class Spectra(CircuitMeasure):
    """Spectra, key frequencies and Gini coefficients of the embedding and the neuron-logit map."""

    name = "spectra"
    needs = ("group", "token_embedding", "neuron_logit_map")
    variables = {
        variable.format(name): Variable(dims, title.format(long), f"{definition.format(symbol)}; {of}", source,
            change=CHANGES.get(variable.format(name)))
        for name, (long, symbol, of, source) in TABLES.items()
        for variable, dims, title, definition in (
            ("{}_spectrum", ("frequency",), "power spectrum of the {}",
                "squared norm of the Fourier components of {} in the plane of k, cos k and sin k on Z_n, / the same "
                "over all components but the constant"),
            ("key_frequency_{}", ("frequency",), "key frequency ({})",
                "fraction of the power of {} over 3 times the even share, the number of rows of the plane / (n - 1); "
                "the threshold is ours"),
            ("gini_{}", (), "Gini coefficient of the {}",
                "sum (2i-N-1) c_(i) / (N sum c), c the norms of the N = n-1 Fourier components of {} but the constant, "
                "ascending"),
        )
    }  # fmt: skip

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        values: dict[str, Tensor] = {}
        for name, table in _tables(chunk).items():
            fraction = power_fraction(table, chunk.group)
            values[f"{name}_spectrum"] = fraction
            values[f"key_frequency_{name}"] = key_by_power(fraction, chunk.group)
            values[f"gini_{name}"] = gini_of_components(table, chunk.group)
        return values


class Agreement(CircuitMeasure):
    """Agreement of the three rules for key frequencies."""

    name = "key_frequency_agreement"
    needs = Spectra.needs
    after = ("spectra", "neurons")
    variables = {
        "key_frequency_agreement": Variable((), "agreement of the three key-frequency rules",
            "mean over pairs of rules of |A and B| / |A or B|; two empty sets agree; NaN where all three are empty",
            "Jaccard index"),
    }  # fmt: skip

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        masks = (chunk.values[f"key_frequency{rule}"] for rule in ("", "_embedding", "_neuron_logit_map"))
        return {"key_frequency_agreement": agreement(*masks)}


class Rank(CircuitMeasure):
    """Rank of the neuron-logit map."""

    name = "rank"
    needs = ("neuron_logit_map",)
    variables = {
        "neuron_logit_map_rank": Variable((), "rank of the neuron-logit map",
            "smallest number of singular directions with 99% of the squared norm of W_L minus its mean over the "
            "answers; the threshold is ours", f"{NANDA}, section 4.2", "directions"),
    }  # fmt: skip

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        return {"neuron_logit_map_rank": rank(chunk.to_logits)}


class Density(CircuitMeasure):
    """Fourier frequency density and coefficient ratio."""

    name = "density"
    needs = ("cyclic", "token_embedding", "neuron_logit_map")
    variables = {
        f"{variable}_{name}": Variable((), f"{title} of the {long}", definition.format(symbol), FURUTA)
        for name, (long, symbol, *_) in TABLES.items()
        for variable, title, definition in (
            ("frequency_density", "Fourier frequency density",
                "fraction of the n-1 norms of cosine and sine components of {} above half of the largest cosine or "
                "sine"),
            ("coefficient_ratio", "Fourier coefficient ratio",
                "mean over k of min(c_k / s_k, s_k / c_k), norms of the cosine and sine component of {}; for even n "
                "without k = n/2, which has no sine"),
        )
    }  # fmt: skip

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        densities = {f"frequency_density_{name}": frequency_density(table) for name, table in _tables(chunk).items()}
        return densities | {f"coefficient_ratio_{name}": coefficient_ratio(t) for name, t in _tables(chunk).items()}


def power_fraction(table: Tensor, group: Group) -> Tensor:
    """Compute the fraction of a table's squared norm, without the constant, at each frequency.

    Parameters
    ----------
    table : Tensor
        Function of one token, (N, n, d).
    group : Group
        Group of the tokens.

    Returns
    -------
    Tensor
        Fractions (N, K), in [0, 1], which sum to 1; NaN for a table that does not depend on the token.
    """
    power = group.power(group.transform(table))
    return power / power.sum(-1, keepdim=True)


def key_by_power(fraction: Tensor, group: Group) -> Tensor:
    """Select the key frequencies by `KEY_POWER_RATIO`: (N, K) -> bool; none if the power is NaN."""
    return fraction > KEY_POWER_RATIO * group.plane_sizes / (group.order - 1)


def gini(values: Tensor) -> Tensor:
    """Compute the Gini coefficient sum_i (2i - n - 1) c_(i) / (n sum c) over the last axis, c_(i) ascending.

    It is 0 for equal values, 1 - 1/n if one value holds everything, NaN if all are 0. Values must be >= 0.
    """
    n = values.shape[-1]
    weights = 2 * torch.arange(1, n + 1, dtype=values.dtype) - n - 1
    return (weights * values.sort(-1).values).sum(-1) / (n * values.sum(-1))


def gini_of_components(table: Tensor, group: Group) -> Tensor:
    """Compute the Gini coefficient of the norms of a table's n-1 nonconstant Fourier components: (N, n, d) -> (N,)."""
    return gini(group.transform(table)[..., 1:, :].norm(dim=-1))


def agreement(*masks: Tensor) -> Tensor:
    """Average the Jaccard index |A and B| / |A or B| over pairs of masks, (N, frequency) each -> (N,).

    In [0, 1]. Two empty masks agree (1); NaN if all masks are empty.
    """
    first, second = (torch.stack(side) for side in zip(*combinations(masks, 2), strict=True))
    union = (first | second).sum(-1)
    index = torch.where(union > 0, (first & second).sum(-1) / union.clamp(min=1).double(), 1.0)
    return index.mean(0).masked_fill(~union.any(0), torch.nan)


def rank(matrix: Tensor) -> Tensor:
    """Count the singular directions with 99% of the squared norm of W_L after removing its mean over the answers.

    W_L (N, width, p) -> int64 (N,), 0 for a matrix of equal columns.
    """
    power = torch.linalg.svdvals(matrix - matrix.mean(-1, keepdim=True)).square()
    short = power.cumsum(-1) < RANK_FRACTION * power.sum(-1, keepdim=True)
    return torch.where(power.sum(-1) > 0, short.sum(-1) + 1, 0)


def frequency_density(table: Tensor) -> Tensor:
    """Compute the Fourier frequency density (2402.16726, equation 5): (N, n, d) -> (N,).

    Fraction of the n-1 norms, |mu_k| of the cosine and |nu_k| of the sine components, above half of the largest of
    their kind: cosines are compared with the largest cosine, sines with the largest sine. In [1/(n-1), 1], low for a
    sparse table; 0 if there is only the constant.

    The paper's text sums over half of the tokens; its code (appendix B) and this function sum over all of them, which
    makes cosines and sines orthogonal.
    """
    norms, rounding = _norms(table)
    large = (norms > DENSITY_THRESHOLD * norms.amax(-2, keepdim=True)) & (norms > rounding)
    return large.double().sum((-1, -2)) / (table.shape[-2] - 1)


def coefficient_ratio(table: Tensor) -> Tensor:
    """Compute the Fourier coefficient ratio, mean over k of min(|mu_k| / |nu_k|, |nu_k| / |mu_k|): (N, n, d) -> (N,).

    2402.16726, equation 6, with mu_k and nu_k the cosine and sine components. In [0, 1]; 1 if cosine and sine are
    balanced at every frequency, 0 if one of them is missing. Frequencies with neither, and k = n/2, which has no sine,
    do not count; NaN if none counts.
    """
    norms, rounding = _norms(table)
    uncounted = (norms <= rounding).all(-1) | (cyclic(table.shape[-2]).plane_sizes < 2)
    return (norms.amin(-1) / norms.amax(-1)).masked_fill(uncounted, torch.nan).nanmean(-1)


def _norms(table: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the norms of the cosine and sine components, (N, K, 2), and their rounding level, (N, 1, 1)."""
    group = cyclic(table.shape[-2])
    norms = group.padded(group.transform(table)).norm(dim=-1)
    return norms, 1e-12 * table.square().sum((-1, -2)).sqrt()[..., None, None]
