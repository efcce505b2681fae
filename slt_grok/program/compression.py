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
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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


def compress(one: Trajectory) -> dict[str, Compressed]:
    """Compute the shortest codes of a single network for each entry of `KEEPS`.

    Raises
    ------
    SltGrokError
        Several networks, or a task that is not on Z_p.
    """
    kept, weights = _keeping(one), single(one)
    count = sum(tensor.numel() for tensor in weights.values())
    found = {}
    for keeps, bits in critical_bits(one).items():
        orders = [order(weights) for order in (_over_network, _within_tensors)]
        codes = [_pruned(lambda stack, keeps=keeps: kept(stack)[keeps], weights, order, bits) for order in orders]
        pruned = min(codes, key=lambda code: code[0])
        found[keeps] = Compressed(count * bits + STORED * len(weights), pruned[0], bits, *pruned[1:])
    return found


def critical_bits(one: Trajectory) -> dict[str, int]:
    """Compute the critical number of bits per weight for each of `KEEPS`; `STORED` where 24 bits are not enough.

    Raises
    ------
    SltGrokError
        Several networks, or a task that is not on Z_p.
    """
    kept, weights = _keeping(one), single(one)
    found: dict[str, int] = dict.fromkeys(KEEPS, STORED)
    left = set(KEEPS)
    for bits in range(MOST_BITS, 1, -1):
        left &= {keeps for keeps, same in kept(quantized(weights, bits)).items() if same}
        if not left:
            break
        found |= dict.fromkeys(left, bits)
    return found


def quantized(weights: Weights, bits: int) -> dict[str, Tensor]:
    """Round every tensor to the nearest of its 2^bits - 1 levels; unchanged for `STORED` bits or more."""
    found = {}
    for name, tensor in weights.items():
        step = tensor.abs().max() / (2 ** (bits - 1) - 1)
        found[name] = (tensor / step).round() * step if step > 0 and bits < STORED else tensor
    return found


def _keeping(one: Trajectory) -> Callable[[Weights], dict[str, bool]]:
    """Build a test of whether other weights preserve each of `KEEPS` of this network."""
    task, rows = one.task, one.task.indices("train")

    def behavior(weights: Weights) -> tuple[Tensor, float]:
        logits = on_all_pairs(one.network, weights, "logits")["logits"][0]
        return logits.argmax(-1), float(cross_entropy(logits[rows].double(), task.train_labels[rows]).mean())

    answers, loss = behavior(single(one))

    def kept(weights: Weights) -> dict[str, bool]:
        own, reached = behavior(weights)
        return {"answers": torch.equal(own, answers), "loss": reached <= loss + TOLERANCE / len(rows)}

    return kept


@dataclass(frozen=True)
class _Order:
    """Order in which weights are kept: the `rank` of each (0 is the largest) and the bits of the first k positions."""

    rank: dict[str, Tensor]
    position_bits: Callable[[int], float]


def _over_network(weights: Weights) -> _Order:
    count = sum(tensor.numel() for tensor in weights.values())
    rank = _ranks({name: -tensor.abs() for name, tensor in weights.items()})
    return _Order(rank, lambda kept: math.log2(count + 1) + log2_choose(count, kept))


def _within_tensors(weights: Weights) -> _Order:
    """Order by rank within the tensor, as a fraction of its nonzero weights."""
    fractions = {}
    for name, tensor in weights.items():
        own = _ranks({name: -tensor.abs()})[name]
        fractions[name] = (own + 0.5) / max(int((tensor != 0).sum()), 1)
    rank = _ranks(fractions)
    count = sum(tensor.numel() for tensor in weights.values())

    def position_bits(kept: int) -> float:
        own = [(tensor.numel(), int((tensor < kept).sum())) for tensor in rank.values()]
        return math.log2(count + 1) + sum(log2_choose(size, of_them) for size, of_them in own)

    return _Order(rank, position_bits)


def _ranks(values: Weights) -> dict[str, Tensor]:
    """Rank of every entry among all entries, starting at 0 for the smallest."""
    flat = torch.cat([tensor.flatten() for tensor in values.values()])
    rank = torch.empty(len(flat), dtype=torch.int64)
    rank[flat.argsort(stable=True)] = torch.arange(len(flat))
    parts = rank.split([tensor.numel() for tensor in values.values()])
    return {name: own.reshape(values[name].shape) for name, own in zip(values, parts, strict=True)}


def _pruned(keeps: Callable[[Weights], bool], weights: Weights, order: _Order, bits: int) -> tuple[float, int, int]:
    """Length, bits per weight and number of weights of the shortest code with at least `bits` bits per weight."""
    tried = _numbers(sum(int((tensor != 0).sum()) for tensor in weights.values()))

    def keeps_with(place: int) -> bool:
        kept = {name: torch.where(order.rank[name] < tried[place], tensor, 0.0) for name, tensor in weights.items()}
        return keeps(quantized(kept, bits))

    def length(kept: int) -> float:
        tensors = sum(bool((rank < kept).any()) for rank in order.rank.values())
        return kept * bits + order.position_bits(kept) + STORED * tensors

    best, place = (math.inf, bits, 0), 0
    while True:
        place = _last(keeps_with, len(tried), place)
        # the bits of the positions are concave in the number of weights: the shortest code keeps the fewest or all
        total, kept = min((length(kept), kept) for kept in (tried[place], tried[0]))
        if total >= best[0]:
            return best
        best = total, bits, kept
        if bits >= MOST_BITS:
            return best
        bits += 1


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
