"""What the weights alone say: spectra, key frequencies by their power, Gini coefficients.

Sources: Nanda et al. 2301.05217, section 4.1 (embedding), section 4.2 (neuron-logit map, its rank), section 5.1
(Gini); Furuta et al. 2402.16726, section 4 (Fourier frequency density, Fourier coefficient ratio).
No paper publishes a threshold for key frequencies; ours is `KEY_POWER_RATIO`.
"""

import torch
from torch import Tensor

from slt_grok import fourier

# A frequency is key in a table of weights when it holds more than this multiple of the even share of the power,
# 1 / ((p-1)/2). Gaussian tables of 12 columns stay below 2.5 at p = 113; key frequencies of published networks
# lie above 3.5. The rule can name at most (p-1)/6 frequencies.
KEY_POWER_RATIO = 3.0
RANK_SHARE = 0.99  # of the squared norm; ours, the paper says about ten directions by eye
DENSITY_THRESHOLD = 0.5  # of the largest norm (2402.16726, section 4)


def power_share(table: Tensor) -> Tensor:
    """Share of the constant-free squared norm of a table's Fourier components at each frequency.

    Parameters
    ----------
    table : Tensor
        A function of one token, (N, p, d).

    Returns
    -------
    Tensor
        (N, (p-1)/2), in [0, 1], sums to 1; NaN for a table that does not depend on the token.
    """
    power = fourier.frequency_power(fourier.transform(table))
    return power / power.sum(-1, keepdim=True)


def key_by_power(share: Tensor) -> Tensor:
    """Key frequencies by `KEY_POWER_RATIO`: shares (N, (p-1)/2) -> bool; none where the shares are NaN."""
    return share > KEY_POWER_RATIO / share.shape[-1]


def gini(values: Tensor) -> Tensor:
    """Gini coefficient sum_i (2i - n - 1) c_(i) / (n sum c) over the last axis, c_(i) ascending.

    0 for equal values, 1 - 1/n where one value holds everything, NaN where all are 0. Values must be >= 0.
    """
    n = values.shape[-1]
    weights = 2 * torch.arange(1, n + 1, dtype=values.dtype) - n - 1
    return (weights * values.sort(-1).values).sum(-1) / (n * values.sum(-1))


def gini_of_components(table: Tensor) -> Tensor:
    """Gini coefficient of the p-1 norms of a table's cosine and sine components: (N, p, d) -> (N,)."""
    return gini(fourier.transform(table)[..., 1:, :].norm(dim=-1))


def agreement(*masks: Tensor) -> Tensor:
    """Mean over pairs of masks of the Jaccard index |A and B| / |A or B|, each mask (N, frequency) -> (N,).

    In [0, 1]. Two empty masks agree (1); where all masks are empty there is nothing to agree on: NaN.
    """
    pairs = [(a, b) for i, a in enumerate(masks) for b in masks[:i]]
    index = []
    for a, b in pairs:
        union = (a | b).sum(-1)
        index.append(torch.where(union > 0, (a & b).sum(-1) / union.clamp(min=1).double(), 1.0))
    nothing = ~torch.stack(masks).any(0).any(-1)
    return torch.stack(index).mean(0).masked_fill(nothing, torch.nan)


def rank(matrix: Tensor) -> Tensor:
    """Least number of singular directions that hold 99% of the squared norm of W_L without its mean over the answers.

    W_L (N, width, p) -> int64 (N,), 0 for a matrix of equal columns.
    """
    power = torch.linalg.svdvals(matrix - matrix.mean(-1, keepdim=True)).square()
    short = power.cumsum(-1) < RANK_SHARE * power.sum(-1, keepdim=True)
    return torch.where(power.sum(-1) > 0, short.sum(-1) + 1, 0)


def frequency_density(table: Tensor) -> Tensor:
    """Fourier frequency density (2402.16726, equation 5): (N, p, d) -> (N,).

    Share of the p-1 norms |mu_k| of the cosine and |nu_k| of the sine components over half of the largest of their
    kind: cosines are held against the largest cosine, sines against the largest sine. In [1/(p-1), 1], low for a
    sparse table; 0 where there is nothing but the constant.

    The text of the paper sums over half of the tokens; its code (appendix B) and this function over all of them, where
    cosines and sines are orthogonal.
    """
    norms, rounding = _norms(table)
    large = (norms > DENSITY_THRESHOLD * norms.amax(-2, keepdim=True)) & (norms > rounding)
    return large.double().mean((-1, -2))


def coefficient_ratio(table: Tensor) -> Tensor:
    """Fourier coefficient ratio, mean over k of min(|mu_k| / |nu_k|, |nu_k| / |mu_k|): (N, p, d) -> (N,).

    2402.16726, equation 6, mu_k and nu_k the cosine and sine components. In [0, 1]; 1 where cosine and sine are in
    balance at every frequency, 0 where one of them is missing. Frequencies without either are left out; NaN where
    there is none.
    """
    norms, rounding = _norms(table)
    nothing = (norms <= rounding).all(-1)
    return (norms.amin(-1) / norms.amax(-1)).masked_fill(nothing, torch.nan).nanmean(-1)


def _norms(table: Tensor) -> tuple[Tensor, Tensor]:
    """Norms of the cosine and sine components, (N, (p-1)/2, 2), and what is rounding beside them, (N, 1, 1)."""
    norms = fourier.transform(table)[..., 1:, :].norm(dim=-1).unflatten(-1, (-1, 2))
    return norms, 1e-12 * table.square().sum((-1, -2)).sqrt()[..., None, None]
