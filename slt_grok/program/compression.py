"""Shortest codes of the network itself: critical quantization, with or without pruning by magnitude first.

    quantized   every weight in b bits, as one of 2^b - 1 evenly spaced levels from -max|w| to max|w| of its tensor,
                plus 32 bits for each tensor's max|w|. b is critical: the smallest number of bits such that it and every
                larger number up to 24 preserve the behavior. If even 24 do not, the weights stay unchanged at 32 bits
    pruned      the weights of smallest magnitude are set to 0 and the others are quantized. The code pays for the
                positions (log2 of the number of possible choices) and b bits per remaining weight. Magnitudes are
                compared over the whole network, or within each tensor with the same fraction kept in each; the code is
                the shortest over both rules and over b, from its critical value until more bits no longer pay off. The
                smallest number of weights for a given b is found by bisection, to 4%, as if the criterion were monotone
                in it; the code uses either that number or all weights, whose positions cost nothing

The behavior to preserve is defined in `slt_grok.program.length`: the answers to all pairs, or the cross-entropy on the
n train pairs to 1/n nats, with the network at the precision of its weights. Weights equal to 0 are always pruned, so
dead neurons with zero weights add only positions to the pruned code.

Uniform quantization and magnitude pruning follow Han et al. 1510.00149, without retraining; critical quantization
follows P3 of the program-synthesis hypothesis.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from slt_grok.models.network import cross_entropy
from slt_grok.program.length import KEEPS, TOLERANCE, log2_choose
from slt_grok.program.reading import on_all_pairs, single
from slt_grok.trajectories import Trajectory

Weights = Mapping[str, Tensor]
MOST_BITS = 24
STORED = 32  # bits of an unquantized weight, and of a tensor's scale
FINENESS = 16  # numbers of weights tried per factor of 2


@dataclass(frozen=True)
class Compressed:
    """Shortest codes of a network that preserve its answers or its loss.

    Parameters
    ----------
    quantized, pruned : float
        Length of each code in bits.
    bits_per_weight, bits_per_weight_kept : int
        Bits per weight, b, in each code.
    weights_kept : int
        Number of weights kept in the pruned code.
    """

    quantized: float
    pruned: float
    bits_per_weight: int
    bits_per_weight_kept: int
    weights_kept: int


def compress(network: Trajectory) -> dict[str, Compressed]:
    """Compute the shortest codes of a single network for each entry of `KEEPS`.

    Parameters
    ----------
    network : Trajectory
        A single network.

    Returns
    -------
    dict of str to Compressed
        `answers` and `loss` -> the shortest codes that preserve it.

    Raises
    ------
    SltGrokError
        Several networks, or a task that is not on Z_p.
    """
    preserved, weights = _preserving(network), single(network)
    count = sum(tensor.numel() for tensor in weights.values())
    codes = {}
    for keeps, bits in critical_bits(network).items():
        rules = [
            _pruned(lambda stack, keeps=keeps: preserved(stack)[keeps], weights, order, bits)
            for order in _orders(weights)
        ]
        length, bits_kept, weights_kept = min(rules, key=lambda code: code[0])
        codes[keeps] = Compressed(count * bits + STORED * len(weights), length, bits, bits_kept, weights_kept)
    return codes


def critical_bits(network: Trajectory) -> dict[str, int]:
    """Compute the critical number of bits per weight for each of `KEEPS`; `STORED` where 24 bits are not enough.

    Parameters
    ----------
    network : Trajectory
        A single network.

    Raises
    ------
    SltGrokError
        Several networks, or a task that is not on Z_p.
    """
    preserved, weights = _preserving(network), single(network)
    critical: dict[str, int] = dict.fromkeys(KEEPS, STORED)
    remaining = set(KEEPS)
    for bits in range(MOST_BITS, 1, -1):
        remaining &= {keeps for keeps, same in preserved(quantized(weights, bits)).items() if same}
        if not remaining:
            break
        critical |= dict.fromkeys(remaining, bits)
    return critical


def quantized(weights: Weights, bits: int) -> dict[str, Tensor]:
    """Round every tensor to the nearest of its 2^bits - 1 levels; unchanged for `STORED` bits or more."""
    rounded = {}
    for name, tensor in weights.items():
        step = tensor.abs().max() / (2 ** (bits - 1) - 1)
        rounded[name] = (tensor / step).round() * step if step > 0 and bits < STORED else tensor
    return rounded


def _preserving(network: Trajectory) -> Callable[[Weights], dict[str, bool]]:
    """Build a test of whether other weights preserve each of `KEEPS` of this network."""
    task, rows = network.task, network.task.indices("train")

    def behavior(weights: Weights) -> tuple[Tensor, float]:
        logits = on_all_pairs(network.network, weights, "logits")["logits"][0]
        return logits.argmax(-1), float(cross_entropy(logits[rows].double(), task.train_labels[rows]).mean())

    answers, loss = behavior(single(network))

    def preserved(weights: Weights) -> dict[str, bool]:
        new_answers, new_loss = behavior(weights)
        return {"answers": torch.equal(new_answers, answers), "loss": new_loss <= loss + TOLERANCE / len(rows)}

    return preserved


class _Order(NamedTuple):
    """Order in which weights are kept.

    Parameters
    ----------
    ranks : sequence of Tensor
        Rank of each weight of each tensor, flat; 0 is the first to keep.
    groups : sequence of Tensor
        The same ranks in the groups that the code counts separately: the number of weights kept in a group determines
        the number of choices of their positions.
    """

    ranks: Sequence[Tensor]
    groups: Sequence[Tensor]

    def position_bits(self, kept: int) -> float:
        """Bits of the positions of the first weights."""
        count = sum(len(group) for group in self.groups)
        return math.log2(count + 1) + sum(log2_choose(len(group), int((group < kept).sum())) for group in self.groups)


def _orders(weights: Weights) -> list[_Order]:
    """Order by magnitude in the whole network, and by rank in the tensor, as a fraction of its nonzero weights."""
    magnitudes = [tensor.abs().flatten() for tensor in weights.values()]
    sizes = [len(magnitude) for magnitude in magnitudes]
    in_network = _ranks(-torch.cat(magnitudes))
    fractions = [(_ranks(-magnitude) + 0.5) / max(int((magnitude != 0).sum()), 1) for magnitude in magnitudes]
    in_tensors = _ranks(torch.cat(fractions)).split(sizes)
    return [_Order(in_network.split(sizes), [in_network]), _Order(in_tensors, in_tensors)]


def _ranks(values: Tensor) -> Tensor:
    """Rank of every entry, starting at 0 for the smallest."""
    return values.argsort(stable=True).argsort()


def _pruned(keeps: Callable[[Weights], bool], weights: Weights, order: _Order, least: int) -> tuple[float, int, int]:
    """Length, bits per weight and number of weights of the shortest code with at least `least` bits per weight."""
    numbers = _numbers(sum(int((tensor != 0).sum()) for tensor in weights.values()))
    best, place = (math.inf, least, 0), 0

    def keeps_with(place: int) -> bool:
        kept = {
            name: torch.where(rank.view(tensor.shape) < numbers[place], tensor, 0.0)
            for (name, tensor), rank in zip(weights.items(), order.ranks, strict=True)
        }
        return keeps(quantized(kept, bits))

    def length(kept: int) -> float:
        tensors = sum(bool((rank < kept).any()) for rank in order.ranks)
        return kept * bits + order.position_bits(kept) + STORED * tensors

    for bits in range(least, max(least, MOST_BITS) + 1):
        place = _last(keeps_with, len(numbers), place)
        # the bits of the positions are concave in the number of weights: the shortest code keeps the fewest or all
        total, kept = min((length(kept), kept) for kept in (numbers[place], numbers[0]))
        if total >= best[0]:
            break
        best = total, bits, kept
    return best


def _numbers(most: int) -> list[int]:
    """Numbers of weights to try, in decreasing order, ending with 0."""
    places = range(math.ceil(FINENESS * math.log2(max(most, 1))) + 1)
    return [*sorted({int(most * 2 ** (-place / FINENESS)) for place in places} - {0}, reverse=True), 0]


def _last(holds: Callable[[int], bool], count: int, guess: int) -> int:
    """Find the last of places 0..count - 1 that holds (the first is assumed to hold), by strides and bisection."""
    if guess and not holds(guess):
        low, high = 0, guess
    else:
        low, stride = guess, 1
        while low + stride < count and holds(low + stride):
            low, stride = low + stride, 2 * stride
        high = min(low + stride, count)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
