"""Length of a program in bits, and the same program with fewer digits.

Every number of one name is a whole multiple of one unit, a power of ten, and costs the same: log2 of how many multiples
there are between the largest and its negative. The largest multiple and the exponent of the unit stand before them, in
Elias's gamma code of whole numbers (1975). Not counted is which of the levels a program is of, two bits in any code.
"""

import math
from typing import TypeVar

import numpy as np

from slt_grok.program.program import Neurons, Program
from slt_grok.program.table import Table

P = TypeVar("P", bound=Program)

MOST_DIGITS = 6


def rounded(program: P, digits: int) -> P:
    """Return the program with every number a multiple of its `step`."""
    return program.with_numbers({name: _rounded(x, digits) for name, x in program.numbers.items()})


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
    """Bits of the program's frequencies and numbers; of a table those of its rest and of its entries."""
    if isinstance(program, Table):
        rest = 0.0 if program.rest is None else program_bits(program.rest, digits)
        return rest + table_bits(program.tokens.modulus, len(program.rows))
    possible = len(program.tokens.frequencies)
    bits = math.log2(possible + 1) + log2_choose(possible, len(program.frequencies))
    if isinstance(program, Neurons):  # which frequencies each neuron has
        bits += len(program.constant) * len(program.keys)
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


def table_bits(modulus: int, entries: int, among: int | None = None) -> float:
    """Bits of a table of some pairs: how many, which ones, and one of p answers for each.

    Parameters
    ----------
    modulus : int
        p.
    entries : int
        Pairs that are listed.
    among : int or None, optional
        Pairs that might be; all p^2 where left out.
    """
    size = modulus**2 if among is None else among
    return math.log2(size + 1) + log2_choose(size, entries) + entries * math.log2(modulus)


def log2_choose(n: int, k: int) -> float:
    """log2 of the binomial coefficient."""
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)
