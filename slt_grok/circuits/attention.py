"""Frequencies of the attention heads: where a head attends, and what it moves.

Source: Nanda et al. 2301.05217, section 4.2: the attention from the answer position to the first token, as a function
of (a, b), consists of one frequency, and so does the head's output to the neurons.

In a deep network both are measured in the first layer, as are its neurons. Later heads read a mixture of both tokens:
their W_E W_V W_O W_in is one of many paths and not a map from tokens to neurons, so it is omitted.
"""

import torch
from torch import Tensor

from slt_grok.circuits import neurons, spectrum
from slt_grok.circuits.chunk import Chunk
from slt_grok.circuits.measure import NANDA, CircuitMeasure
from slt_grok.groups import Group
from slt_grok.measurement import Variable
from slt_grok.models.model import HeadMaps

SOURCE = f"{NANDA}, section 4.2"


class AttentionPattern(CircuitMeasure):
    """Frequency of the attention to the first token."""

    name = "attention_pattern"
    needs = ("group", "attention_pattern")
    variables = {
        "attention_frequency": Variable(("head",), "frequency of the head's attention",
            "k with the largest FVE of the attention from the answer's position to the first token as a function of "
            "(a, b), FVE as in neuron_cluster_size; 0 where it is constant", SOURCE),
        "attention_fve": Variable(("head",), "FVE of the head's attention", "max over k of that FVE", SOURCE),
    }  # fmt: skip

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        to_first = chunk.sites["attention_pattern"][..., 0]  # (N, n^2, head)
        fve = neurons.fraction_of_variance_explained(to_first, chunk.group)
        return dict(zip(self.variables, largest(fve), strict=True))


class OVCircuit(CircuitMeasure):
    """Frequency of the heads' output to the neurons."""

    name = "ov_circuit"
    needs = ("group", "token_embedding", "head_maps")
    variables = {
        "ov_frequency": Variable(("head",), "frequency of the head's OV circuit",
            "k with the largest fraction of the power of W_E W_V W_O W_in over the tokens, first layer; 0 where it is "
            "constant", SOURCE),
        "ov_fve": Variable(("head",), "FVE of the head's OV circuit", "max over k of that fraction of the power",
            SOURCE),
    }  # fmt: skip

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        power = ov_power(chunk.embedding, chunk.module.head_maps(chunk.stack), chunk.group)
        return dict(zip(self.variables, largest(power), strict=True))


def largest(fractions: Tensor) -> tuple[Tensor, Tensor]:
    """Index and size of the largest fraction, (..., K) -> int64 and float (...); 0 and 0 if all vanish."""
    fve, index = fractions.nan_to_num(0).max(-1)
    return torch.where(fve > 0, index + 1, 0), fve


def ov_power(token_embedding: Tensor, maps: HeadMaps, group: Group) -> Tensor:
    """Fraction of the power of W_E W_V W_O W_in of each head at each frequency of the token.

    Embedding (N, n, d), W_V (N, head, d, d_head), W_O (N, head, d_head, d) and W_in (N, d, d_mlp) -> (N, head, K); NaN
    for a head with zero output.
    """
    written = token_embedding[:, None] @ maps.value @ maps.output @ maps.neurons[:, None]
    return spectrum.power_fraction(written, group)
