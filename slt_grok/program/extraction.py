"""The program of a network: the shortest one that reproduces its answers, and whether it explains the network.

Every level of program, with a table of the pairs it gets wrong, is a two-part code of the network's p^2 answers
(`slt_grok.program.length`); so is a table of all pairs. The shortest code wins. Without its table, the program explains
the network if it gives the network's answer on at least `AGREEMENT` of all pairs and accounts for at least `EXPLAINED`
of the variance of the centered logits. Agreement alone says little: a clock with any few frequencies and positive
amplitudes answers all pairs correctly, and so agrees with every network that does; only the explained variance tells
which frequencies the network uses. For the same reason, the clock in a memorizer saves the table the correct answers,
memorized or not, so a short code is no evidence of a circuit unless the explained variance is high. If no program
explains a network that has learned its train set (`LEARNED`), its program is a formula together with a table: a full or
partial memorizer. Any other network is unexplained.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from slt_grok.errors import SltGrokError
from slt_grok.program.length import MOST_DIGITS, codes, rounded
from slt_grok.program.levels import clock, neurons, pizza
from slt_grok.program.program import Clock, Neurons, Pizza, Program, Table
from slt_grok.program.reading import Reading
from slt_grok.program.tokens import pairs

LEVELS = {Clock.level: clock, Pizza.level: pizza, Neurons.level: neurons}
AGREEMENT = 0.999
EXPLAINED = 0.75
LEARNED = 0.99  # fraction of train pairs answered with their train labels
GROWTH = 1.01  # factor by which dropping digits may increase the unexplained variance


class Match(NamedTuple):
    """How well a program without a table accounts for a network.

    Parameters
    ----------
    agreement : float
        Fraction of all pairs on which it gives the network's answer.
    unexplained : float
        Fraction of the variance of the network's logits, centered over the answers, that it does not account for.
    """

    agreement: float
    unexplained: float

    @property
    def explains(self) -> bool:
        """The criterion: at least `AGREEMENT` of all pairs and `EXPLAINED` of the variance."""
        return self.agreement >= AGREEMENT and 1 - self.unexplained >= EXPLAINED


@dataclass(frozen=True)
class Extraction:
    """The program of a network.

    Parameters
    ----------
    reading : Reading
        What was read from the network.
    program : Program or Table
        The program, with as few digits as explain the logits equally well; a `Table` for a memorizer.
    digits : int
        Number of digits of its numbers.
    bits : dict of str to float
        Level -> length of the two-part code at that level; `table` lists all pairs.
    explained : bool
        Whether the program explains the network without a table.
    """

    reading: Reading
    program: Program | Table
    digits: int
    bits: dict[str, float]
    explained: bool


def extract(reading: Reading, level: str = "shortest") -> Extraction:
    """Return the program of a network.

    Parameters
    ----------
    reading : Reading
        A network on all pairs.
    level : str, optional
        `clock`, `pizza` or `neurons`, without a table; or `shortest`, the level with the shortest code, with a table if
        the network is a memorizer.

    Raises
    ------
    SltGrokError
        The network is not explained, or it lacks what the level requires.
    """
    if level not in (*LEVELS, "shortest"):
        raise SltGrokError(f"--level: expected one of {', '.join(LEVELS)}, shortest, got {level!r}")
    programs = {**candidates(reading), "table": None} if level == "shortest" else {level: LEVELS[level](reading)}
    bits = {name: codes(reading, program)["answers"].bits for name, program in programs.items()}
    best = min(bits, key=lambda name: bits[name])
    program, digits, reason = programs[best], 1, "no program is shorter than the table of its answers"
    if program is not None:
        program, digits = fewest_digits(reading, program)
        fit = match(reading, program)
        if fit.explains:
            return Extraction(reading, program, digits, bits, True)
        reason = (
            f"the {best} gives its answer on {fit.agreement:.1%} of all pairs and explains {1 - fit.unexplained:.1%} "
            f"of the variance of its logits, expected at least {AGREEMENT:.1%} and {EXPLAINED:.0%}"
        )
    train = reading.task.indices("train").numpy()
    learned = (reading.answers[train] == reading.task.train_labels.numpy()[train]).mean()
    if level == "shortest" and learned >= LEARNED:
        same = np.zeros(reading.p**2, bool) if program is None else program.grid().argmax(-1) == reading.answers
        rows = np.flatnonzero(~same)
        return Extraction(reading, Table(reading.p, rows, reading.answers[rows], program), digits, bits, False)
    raise SltGrokError(
        f"program: the network is not explained: {reason}; it answers {learned:.1%} of its train pairs by their labels"
    )


def candidates(reading: Reading) -> dict[str, Program]:
    """Fit every level of program that applies to the network, unrounded; empty if the logits have no key frequency."""
    if not len(reading.keys):
        return {}
    return {name: fit(reading) for name, fit in LEVELS.items() if name != "neurons" or reading.neurons is not None}


def fewest_digits(reading: Reading, program: Program) -> tuple[Program, int]:
    """Find the program with the fewest digits that keeps the agreement and the explained variance (to `GROWTH`)."""
    whole = match(reading, program)
    bound = GROWTH * whole.unexplained + 1e-9
    for digits in range(1, MOST_DIGITS):
        coarse = rounded(program, digits)
        fit = match(reading, coarse)
        if fit.unexplained <= bound and fit.agreement >= whole.agreement:
            return coarse, digits
    return rounded(program, MOST_DIGITS), MOST_DIGITS


def match(reading: Reading, program: Program) -> Match:
    """Compute the agreement of the answers and the unexplained variance over all pairs.

    Parameters
    ----------
    reading : Reading
        A network.
    program : Program
        A program without a table.
    """
    logits = program.grid()
    residual = reading.logits - (logits - logits.mean(-1, keepdims=True))
    agreement = (logits.argmax(-1) == reading.answers).mean()
    return Match(float(agreement), float(np.square(residual).mean() / reading.variance))


def agreement(reading: Reading, program: Program | Table) -> float:
    """Compute the fraction of all pairs on which a program, with its table if any, gives the network's answer."""
    return float((program.answer(*pairs(reading.p)) == reading.answers).mean())
