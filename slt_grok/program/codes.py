"""Two-part codes of what a network does: a program's frequencies and numbers, then the pairs where it does not do.

Minimum description length (Rissanen 1978), at the number of digits that makes the whole least; none are sent of a
table alone. Two things may be kept:

    answers   the network's answer to each of the p^2 pairs. Listed are the pairs where the program answers something
              else: how many, which ones, and one of p answers for each
    loss      the cross-entropy on the n train pairs, to within `TOLERANCE` nats over the whole set, 1/n a pair: program
              and table together may have a mean loss of at most the network's and 1/n. That is the scale at which
              lambda log n, lambda the learning coefficient, is the length of what was learned (Watanabe 2013). A listed
              train pair has its taught answer over all others by a margin in nats, one number for the whole table, and
              so the loss log(1 + (p - 1) exp -margin); pairs not listed have that of the program's own logits, or
              log p where there is none. Listed are the pairs on which the program's loss is largest, which are the
              fewest that will do, and the margin, of one digit, is the one that makes the code shortest

The answers of a memorizer are in part those of any faint clock in its logits, right ones learned by heart, and the
first code is shorter by them. The second is not: a faint clock has a large loss. The codes are this package's.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from slt_grok.program.length import MOST_DIGITS, number_bits, program_bits, rounded, table_bits
from slt_grok.program.program import Program
from slt_grok.program.reading import Reading

KEEPS = ("answers", "loss")
TOLERANCE = 1.0  # nats over the whole train set
MARGINS = (*range(1, 10), *range(10, 100, 10))  # nats, of one digit


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
    """Return the shortest code with a program, for each of `KEEPS`.

    Parameters
    ----------
    reading : Reading
        The network.
    program : Program or None
        Unrounded; None for a table alone.
    """
    if program is None:
        p = reading.modulus
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
    """Bits of the table of pairs where logits (p^2, p) have not the network's answer, and of one without pairs."""
    wrong = int((logits.argmax(-1) != reading.answers).sum())
    return table_bits(reading.modulus, wrong), table_bits(reading.modulus, 0)


def _loss_table(reading: Reading, logits: np.ndarray) -> tuple[float, float]:
    """Bits of the shortest table of train pairs that brings the loss of logits (p^2, p) to the network's, and as above.

    The margin is left out of a table without pairs.
    """
    p, rows = reading.modulus, reading.task.indices("train").numpy()
    n, train_labels = len(rows), reading.task.train_labels.numpy()[rows]
    allowed = cross_entropy(reading.logits[rows], train_labels).sum() + TOLERANCE
    ascending = np.sort(cross_entropy(logits[rows], train_labels))
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
