"""Frequencies of the attention heads: what a head looks at, and what it moves.

Source: Nanda et al. 2301.05217, section 4.2: the attention that the answer position pays to the first token is, as a
function of (a, b), made of one frequency, and so is what the head writes into the neurons.

Of a network of several layers both are the first layer's, as its neurons are. The heads of later layers read what the
layers before have made of both tokens: W_E W_V W_O W_in of such a head is one of many paths and no map from tokens to
neurons, so that it is left out.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from slt_grok.circuits import neurons, spectrum


def largest(shares: Tensor) -> tuple[Tensor, Tensor]:
    """Frequency and size of the largest share, (..., (p-1)/2) -> int64 and float (...); 0 and 0 where there is none."""
    fve, index = shares.nan_to_num(0).max(-1)
    return torch.where(fve > 0, index + 1, 0), fve


def pattern_shares(pattern: Tensor) -> Tensor:
    """FVE of the attention to the first token, as `neurons.fraction_of_variance_explained` defines it.

    Patterns (N, p^2, head, key) -> (N, head, (p-1)/2); 0 where the attention does not depend on the pair.
    """
    return neurons.fraction_of_variance_explained(pattern[..., 0])


def ov_shares(token_embedding: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Power shares of W_E W_V W_O W_in of each head of the first layer over the frequencies of the token.

    Embedding (N, p, d), that layer's weights `W_V` (N, head, d, d_head), `W_O` (N, head, d_head, d), `W_in` (N, d,
    d_mlp) -> (N, head, (p-1)/2); NaN where the head writes nothing.
    """
    written = token_embedding[:, None] @ weights["W_V"] @ weights["W_O"] @ weights["W_in"][:, None]
    return spectrum.power_share(written)
