"""Two-part codes of what a network does: a program's frequencies and numbers, then the pairs where it does not do.

Every number of one name is a whole multiple of one unit, a power of ten, and costs the same: log2 of how many multiples
there are between the largest and its negative. The largest multiple and the exponent of the unit come before them, in
Elias's gamma code of whole numbers (1975). Not counted is the level of the program, two bits in any code.

Minimum description length (Rissanen 1978), at the number of digits that makes the whole shortest; no digits are sent
with a table alone. Two things may be kept:

    answers   the network's answer to each of the p^2 pairs. Listed are the pairs where the program answers something
              else: how many, which ones, and one of p answers for each
    loss      the cross-entropy on the n train pairs, to within `TOLERANCE` nats over the whole set, 1/n a pair: program
              and table together may have a mean loss of at most the network's and 1/n. That is the scale at which
              lambda log n, lambda the learning coefficient, is the length of what was learned (Watanabe 2013). A listed
              train pair has its train label over all other answers by a margin in nats, one number for the whole table,
              and so the loss log(1 + (p - 1) exp -margin); pairs not listed have that of the program's own logits, or
              log p where there is none. Listed are the pairs on which the program's loss is largest, which are the
              fewest that suffice, and the margin, of one digit, is the one that makes the code shortest

The answers of a memorizer are in part those of any faint clock in its logits, right ones that were memorized, and the
first code is shorter by them. The second is not: a faint clock has a large loss. The codes are this package's.
"""

import math
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.special import logsumexp

from slt_grok.program.program import Program
from slt_grok.program.reading import Reading

P = TypeVar("P", bound=Program)

KEEPS = ("answers", "loss")
TOLERANCE = 1.0  # nats over the whole train set
MARGINS = (*range(1, 10), *range(10, 100, 10))  # nats, of one digit
MOST_DIGITS = 6


class Code(NamedTuple):
    """Length of a two-part code.

    Parameters
    ----------
    bits : float
        Of program and table.
    listing : float
        Those of them that list pairs: what an empty table would not need.
    digits : int
        Of the program's numbers; 0 where there is no program.
    """

    bits: float
    listing: float
    digits: int


def codes(reading: Reading, program: Program | None) -> dict[str, Code]:
    """Return the shortest code with a program, unrounded, or with a table alone for None, for each of `KEEPS`."""
    if program is None:
        p = reading.p
        alone = {"answers": table_bits(p, p * p), "loss": _loss_table(reading, np.zeros((p * p, p)))[0]}
        return {keeps: Code(bits, bits, 0) for keeps, bits in alone.items()}
    best: dict[str, Code] = dict.fromkeys(KEEPS, Code(np.inf, 0.0, 0))
    for digits in range(1, MOST_DIGITS + 1):
        coarse = rounded(program, digits)
        own = program_bits(coarse, digits)
        if own >= max(code.bits for code in best.values()):
            break  # further digits cost more still
        logits = coarse.grid()
        for keeps, table in (("answers", _answers_table), ("loss", _loss_table)):
            listed, empty = table(reading, logits)
            best[keeps] = min(best[keeps], Code(own + listed, listed - empty, digits))
    return best


def _answers_table(reading: Reading, logits: np.ndarray) -> tuple[float, float]:
    """Bits of the table of pairs where logits (p^2, p) lack the network's answer, and of a table without pairs."""
    wrong = int((logits.argmax(-1) != reading.answers).sum())
    return table_bits(reading.p, wrong), table_bits(reading.p, 0)


def _loss_table(reading: Reading, logits: np.ndarray) -> tuple[float, float]:
    """Bits of the shortest table of train pairs that brings the loss of logits (p^2, p) to the network's, and as above.

    A table without pairs has no margin.
    """
    p, rows = reading.p, reading.task.indices("train").numpy()
    n, labels = len(rows), reading.task.train_labels.numpy()[rows]
    allowed = cross_entropy(reading.logits[rows], labels).sum() + TOLERANCE
    ascending = np.sort(cross_entropy(logits[rows], labels))
    left = np.append(np.cumsum(ascending)[::-1], 0.0)  # loss of the rest when the k largest are listed
    empty = table_bits(p, 0, n)
    if left[0] <= allowed:
        return empty, empty
    lengths = []
    for margin in MARGINS:
        listed = np.flatnonzero(left + np.arange(n + 1) * np.log1p((p - 1) * np.exp(-margin)) <= allowed)
        if len(listed):
            lengths.append(number_bits(np.array(margin), 1) + table_bits(p, int(listed[0]), n))
    return min(lengths), empty


def cross_entropy(logits: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """-log softmax(logits)[answer] of each pair, in nats: (m, p) and (m,) -> (m,)."""
    return logsumexp(logits, axis=-1) - np.take_along_axis(logits, answers[:, None], -1)[:, 0]


def rounded(program: P, digits: int) -> P:
    """Return the program with every number a multiple of its `step`."""
    return replace(program, **{name: _rounded(numbers, digits) for name, numbers in program.numbers.items()})


def _rounded(numbers: np.ndarray, digits: int) -> np.ndarray:
    coarse = np.round(numbers / step(numbers, digits)) * step(numbers, digits)
    unit = step(coarse, digits)  # ten times as large where the largest became a power of ten, as 9.96 does
    return np.round(numbers / unit) * unit


def step(numbers: np.ndarray, digits: int) -> float:
    """Return the power of ten that numbers of one name are multiples of, with so many digits of the largest."""
    return 10.0 ** _exponent(numbers, digits)


def _exponent(numbers: np.ndarray, digits: int) -> int:
    largest = np.abs(numbers).max(initial=0)
    return math.floor(math.log10(largest)) + 1 - digits if largest > 0 else 0


def program_bits(program: Program, digits: int) -> float:
    """Bits of the program's frequencies, structure and numbers."""
    possible = len(program.tokens.frequencies)
    bits = math.log2(possible + 1) + log2_choose(possible, len(program.keys)) + program.structure_bits
    return bits + sum(number_bits(numbers, digits) for numbers in program.numbers.values())


def number_bits(numbers: np.ndarray, digits: int) -> float:
    """Bits of numbers of one name with so many digits of the largest: unit, largest multiple, and a multiple each."""
    exponent = _exponent(numbers, digits)
    largest = round(np.abs(numbers).max(initial=0) / 10.0**exponent)
    unit = 2 * abs(exponent) - (exponent < 0)  # 0, -1, 1, -2, .. as 0, 1, 2, 3, ..
    return gamma_bits(unit + 1) + gamma_bits(largest + 1) + np.size(numbers) * math.log2(2 * largest + 1)


def gamma_bits(number: int) -> int:
    """Bits of a whole number from 1 on in Elias's gamma code: 2 floor(log2 n) + 1."""
    return 2 * (number.bit_length() - 1) + 1


def table_bits(p: int, entries: int, among: int | None = None) -> float:
    """Bits of a table of some pairs among so many, all p^2 by default: how many, which ones, an answer for each."""
    size = p**2 if among is None else among
    return math.log2(size + 1) + log2_choose(size, entries) + entries * math.log2(p)


def log2_choose(n: int, k: int) -> float:
    """log2 of the binomial coefficient."""
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)
