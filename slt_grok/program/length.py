"""Two-part codes of a network's behavior: a program's frequencies and numbers, then the pairs it gets wrong.

All numbers of one name are integer multiples of one unit, a power of ten, and cost the same: log2 of the number of
multiples between the largest and its negative. They are preceded by the largest multiple and the unit's exponent, in
the Elias gamma code (1975). The level of the program, two bits in any code, is not counted.

This is minimum description length (Rissanen 1978), with the number of digits chosen to minimize the total; a table
alone has no digits to send. A code preserves one of two things:

    answers   the network's answer to each of the p^2 pairs. The table lists the pairs on which the program disagrees:
              how many, which ones, and one of p answers for each
    loss      the cross-entropy on the n train pairs, to within `TOLERANCE` nats over the whole set, 1/n per pair:
              program and table together may exceed the network's mean loss by at most 1/n. On that scale, lambda log n,
              with lambda the learning coefficient, is the length of what was learned (Watanabe 2013). In a listed train
              pair, the logit of the train label exceeds all others by a margin in nats, one number for the whole table,
              so its loss is log(1 + (p - 1) exp -margin); an unlisted pair has the loss of the program's logits, or log
              p without a program. The table lists the pairs with the largest loss under the program, the fewest that
              suffice, and the one-digit margin is chosen to minimize the code length

A memorizer's answers agree in part with any faint clock in its logits, namely on the correct answers it memorized, and
this shortens the first code. It does not shorten the second: a faint clock has a large loss. The codes are ours.
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
MARGINS = (*range(1, 10), *range(10, 100, 10))  # nats, one significant digit
MOST_DIGITS = 6


class Code(NamedTuple):
    """Length of a two-part code.

    Parameters
    ----------
    bits : float
        Length of program and table.
    listing : float
        Bits of the table that list pairs, beyond those of an empty table.
    digits : int
        Digits of the program's numbers; 0 without a program.
    """

    bits: float
    listing: float
    digits: int


def codes(reading: Reading, program: Program | None) -> dict[str, Code]:
    """Find the shortest code for each of `KEEPS`.

    Parameters
    ----------
    reading : Reading
        A network.
    program : Program or None
        A program with unrounded numbers; None for a table alone.

    Returns
    -------
    dict of str to Code
        `answers` and `loss` -> the shortest code that preserves it.
    """
    if program is None:
        p = reading.p
        alone = {"answers": table_bits(p, p * p), "loss": _loss_table(reading, np.zeros((p * p, p)))[0]}
        return {keeps: Code(bits, bits, 0) for keeps, bits in alone.items()}
    best: dict[str, Code] = dict.fromkeys(KEEPS, Code(np.inf, 0.0, 0))
    for digits in range(1, MOST_DIGITS + 1):
        coarse = rounded(program, digits)
        formula = program_bits(coarse, digits)
        if formula >= max(code.bits for code in best.values()):
            break  # further digits only cost more
        logits = coarse.grid()
        for keeps, table in (("answers", _answers_table), ("loss", _loss_table)):
            listed, empty = table(reading, logits)
            best[keeps] = min(best[keeps], Code(formula + listed, listed - empty, digits))
    return best


def _answers_table(reading: Reading, logits: np.ndarray) -> tuple[float, float]:
    """Bits of the table of pairs on which logits (p^2, p) miss the network's answer, and of an empty table."""
    wrong = int((logits.argmax(-1) != reading.answers).sum())
    return table_bits(reading.p, wrong), table_bits(reading.p, 0)


def _loss_table(reading: Reading, logits: np.ndarray) -> tuple[float, float]:
    """Bits of the shortest table that lowers the loss of logits (p^2, p) to the network's, and of an empty one.

    An empty table has no margin.
    """
    p, rows = reading.p, reading.task.indices("train").numpy()
    n, labels = len(rows), reading.task.train_labels.numpy()[rows]
    allowed = cross_entropy(reading.logits[rows], labels).sum() + TOLERANCE
    ascending = np.sort(cross_entropy(logits[rows], labels))
    rest = np.append(np.cumsum(ascending)[::-1], 0.0)  # loss of the rest when the k largest are listed
    empty = table_bits(p, 0, n)
    if rest[0] <= allowed:
        return empty, empty
    lengths = []
    for margin in MARGINS:
        listed = np.flatnonzero(rest + np.arange(n + 1) * np.log1p((p - 1) * np.exp(-margin)) <= allowed)
        if len(listed):
            lengths.append(number_bits(np.array(margin), 1) + table_bits(p, int(listed[0]), n))
    return min(lengths), empty


def cross_entropy(logits: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """-log softmax(logits)[answer] of each pair, in nats: (m, p) and (m,) -> (m,)."""
    return logsumexp(logits, axis=-1) - np.take_along_axis(logits, answers[:, None], -1)[:, 0]


def rounded(program: P, digits: int) -> P:
    """Round every number of a program to a multiple of its `step`."""
    return replace(program, **{name: _rounded(numbers, digits) for name, numbers in program.numbers.items()})


def _rounded(numbers: np.ndarray, digits: int) -> np.ndarray:
    coarse = np.round(numbers / step(numbers, digits)) * step(numbers, digits)
    unit = step(coarse, digits)  # ten times as large where rounding makes the largest a power of ten, as with 9.96
    return np.round(numbers / unit) * unit


def step(numbers: np.ndarray, digits: int) -> float:
    """Compute the power of ten that numbers are rounded to when the largest keeps `digits` digits."""
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
    """Bits of numbers of one name at a given number of digits: unit, largest multiple, then one multiple each."""
    exponent = _exponent(numbers, digits)
    largest = round(np.abs(numbers).max(initial=0) / 10.0**exponent)
    unit = 2 * abs(exponent) - (exponent < 0)  # 0, -1, 1, -2, .. as 0, 1, 2, 3, ..
    return gamma_bits(unit + 1) + gamma_bits(largest + 1) + np.size(numbers) * math.log2(2 * largest + 1)


def gamma_bits(number: int) -> int:
    """Bits of a positive integer in the Elias gamma code: 2 floor(log2 n) + 1."""
    return 2 * (number.bit_length() - 1) + 1


def table_bits(p: int, entries: int, among: int | None = None) -> float:
    """Bits of a table of some of all p^2 pairs (or of `among`): how many, which ones, and an answer for each."""
    size = p**2 if among is None else among
    return math.log2(size + 1) + log2_choose(size, entries) + entries * math.log2(p)


def log2_choose(n: int, k: int) -> float:
    """log2 of the binomial coefficient."""
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)
