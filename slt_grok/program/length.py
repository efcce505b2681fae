"""Length of a program in bits, and the same program with fewer digits.

A two-part code of the network's answers (Rissanen's minimum description length): the program's frequencies and numbers,
then the pairs where it is wrong with what the network answers there. A plain code: every number of one name costs the
same, log2 of how many values its digits leave between the largest and its negative.
"""

import math
from typing import TypeVar

import numpy as np

from slt_grok.program.program import Neurons, Program
from slt_grok.program.table import Table

P = TypeVar("P", bound=Program)

MOST_DIGITS = 6


def rounded(program: P, digits: int) -> P:
    """The program with every number a multiple of its `step`."""
    return program.with_numbers(
        {name: np.round(x / step(x, digits)) * step(x, digits) for name, x in program.numbers.items()}
    )


def step(numbers: np.ndarray, digits: int) -> float:
    """The power of ten that numbers of one name are multiples of, with so many digits of the largest."""
    largest = np.abs(numbers).max(initial=0)
    return 10.0 ** (math.floor(math.log10(largest)) + 1 - digits) if largest > 0 else 1.0


def program_bits(program: Program, digits: int) -> float:
    """Bits of the program's frequencies and numbers; of a table those of its rest and of its entries."""
    if isinstance(program, Table):
        rest = 0.0 if program.rest is None else program_bits(program.rest, digits)
        return rest + table_bits(program.tokens.modulus, len(program.rows))
    possible = len(program.tokens.frequencies)
    bits = math.log2(possible + 1) + log2_choose(possible, len(program.frequencies))
    if isinstance(program, Neurons):  # which frequencies each neuron has
        bits += len(program.constant) * len(program.keys)
    for numbers in program.numbers.values():
        bits += numbers.size * math.log2(2 * np.abs(numbers).max(initial=0) / step(numbers, digits) + 1)
    return bits


def table_bits(modulus: int, entries: int) -> float:
    """Bits of a table of some of the p^2 pairs: how many, which ones, and one of p answers for each."""
    size = modulus**2
    return math.log2(size + 1) + log2_choose(size, entries) + entries * math.log2(modulus)


def log2_choose(n: int, k: int) -> float:
    """log2 of the binomial coefficient."""
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)
