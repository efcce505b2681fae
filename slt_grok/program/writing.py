"""Write a program as a self-contained Python file of under 120 lines with `logits(a, b)` and `answer(a, b)`.

The file contains the program's numbers, already rounded (`slt_grok.program.length.rounded`): decimals for the clock and
the pizza, integers in rows of text for neurons and tables.
"""

import textwrap
from pathlib import Path

import numpy as np

from slt_grok.errors import SltGrokError
from slt_grok.program import templates
from slt_grok.program.activations import ACTIVATIONS
from slt_grok.program.extraction import Extraction, agreement, match
from slt_grok.program.length import step
from slt_grok.program.program import Clock, Neurons, Program, Rotations, Table
from slt_grok.program.tokens import ONE_TOKEN, WAVES, Tokens, primitive_root

MOST_ROWS = 30  # rows of text for all numbers of one file
LEAST_IN_A_ROW = 40
LINE = 110  # characters per line of the docstring


def write(extraction: Extraction, path: str | Path) -> Path:
    """Write the program of a network to a file.

    Raises
    ------
    SltGrokError
        The folder does not exist or is not writable.
    """
    path = Path(path)
    try:
        path.write_text(source(extraction))
    except OSError as error:
        raise SltGrokError(f"{path}: expected a file that can be written ({error.strerror})") from error
    return path


def source(extraction: Extraction) -> str:
    """Format the program as the text of a Python file."""
    program = extraction.program
    table, formula = (program, program.rest) if isinstance(program, Table) else (None, program)
    head, body = [f'"""{_docstring(extraction, table, formula)}\n"""'], [f"MODULUS = {extraction.reading.p}"]
    if isinstance(formula, Rotations):
        body += [_angle(formula.tokens), _rotations(formula)]
    if table is not None or isinstance(formula, Neurons):
        body.append(templates.NUMBERS)
    if isinstance(formula, Neurons):
        head += ["import math"] * ("math." in ACTIVATIONS[formula.activation].source)
        body += [_angle(formula.tokens), _neuron_arrays(formula), _neurons(formula)]
    if table is not None:
        answer = "listed" if formula is None else "np.where(listed >= 0, listed, logits(a, b).argmax(-1))"
        body += [_table(table), templates.TABLE.format(answer=answer)]
    elif isinstance(formula, Clock) and formula.tokens.order == formula.tokens.p:
        body.append(templates.OF_SUM.format(sign="-" if formula.tokens.sign < 0 else "+"))
    else:
        body.append(templates.ANSWER)
    parts = "\n\n\n".join(part.strip("\n") for part in body)
    return "\n\n".join([*head, "import numpy as np"]) + f"\n\n{parts}\n"


def _docstring(extraction: Extraction, table: Table | None, formula: Program | None) -> str:
    reading, program = extraction.reading, extraction.program
    p = reading.p
    operation = reading.tokens.operation if reading.tokens else getattr(reading.task, "operation", "an operation")
    do, turn = templates.DO.get(operation, ("", ""))
    idea = " ".join((formula or program).idea.split()).format(do=do, turn=turn)
    fit = (
        f"It gives the network's answer on {agreement(reading, program):.2%} of all {p * p} pairs; the network is "
        f"correct on {(reading.answers == reading.labels).mean():.2%}."
    )
    if formula is not None:
        explained = 1 - match(reading, formula).unexplained
        fit += (
            f" The formula explains {explained:.2%} of the variance of the network's logits. Omitted are other"
            f" frequencies, {formula.omitted}, and digits beyond the {extraction.digits} kept."
        )
    if table is not None and formula is not None:
        fit += (
            f"  Alone, the formula differs on {len(table.rows)} pairs, which are listed. Agreement elsewhere does not"
            f" show that the network computes this way: any correct formula also gives the correct answers that the"
            f" network has memorized. The explained variance would show it."
        )
    title = f"{operation} modulo {p}, as read from a trained network: {program.level}."
    return "\n\n".join([title[0].upper() + title[1:], textwrap.fill(idea, LINE), textwrap.fill(fit, LINE)])


def _angle(tokens: Tokens) -> str:
    order, logarithms = "MODULUS", ""
    if tokens.order < tokens.p:
        order = "ORDER"
        logarithms = templates.LOGARITHMS.format(order=tokens.order, root=primitive_root(tokens.p))
    return logarithms + templates.ANGLE.format(order=order)


def _start(tokens: Tokens, sums: str) -> str:
    minus = "-" if tokens.sign < 0 else ""
    lines = [f"x, y, c = np.asarray(a)[..., None], {minus}np.asarray(b)[..., None], np.arange(MODULUS)"]
    if tokens.order < tokens.p:
        lines = [
            "a, b = np.asarray(a)[..., None] % MODULUS, np.asarray(b)[..., None] % MODULUS",
            "x, y, c = LOG[a] - 1, LOG[b] - 1, np.arange(ORDER)",
        ]
    return textwrap.indent("\n".join([*lines, sums]), "    ")


def _end(program: Program) -> str:
    if program.tokens.order == program.tokens.p:
        return "scores"
    inside, zero = (float(f"{value:.3g}") for value in program.outside)
    return (
        f"np.concatenate([np.where(a * b == 0, {zero}, {inside}), "
        "np.where(a * b == 0, 0, scores)[..., LOG[1:] - 1]], -1)  # 0 has no logarithm"
    )


def _rotations(program: Rotations) -> str:
    rows, text = [], program.text
    for k, amplitudes in zip(program.keys, program.amplitude, strict=True):
        values = ", ".join(repr(round(float(amplitude), 12)) for amplitude in amplitudes)
        rows.append(f"    {k}: {values if program.factors == 1 else f'({values})'},")
    function = templates.ROTATIONS.format(start=_start(program.tokens, text["sums"]), end=_end(program), **text)
    return "\n".join([f"CLOCKS = {{  # k: {text['listed']}", *rows, "}", "", function])


def _neuron_arrays(program: Neurons) -> str:
    keys, width, entries = program.keys, len(program.constant), len(program.neuron)
    total = sum(numbers.size for numbers in program.numbers.values()) + 2 * entries
    in_a_row = max(LEAST_IN_A_ROW, -(-total // MOST_ROWS))
    answers, waves = 2 * len(keys), f".reshape({len(WAVES)}, {entries})"
    arrays = [
        ("NEURON", program.neuron, 1, ""),
        ("CLOCK", np.searchsorted(keys, program.frequency), 1, ""),
        ("AMPLITUDE", program.amplitude.T, None, waves),
        ("PHASE", program.phase.T, None, waves),
        ("CONSTANT", program.constant, None, ""),
        ("OUTPUT", program.output, None, f".reshape({width}, {answers})"),
        ("PAST", program.past, None, f".reshape({len(keys)}, {len(ONE_TOKEN)}, 2, {answers})"),
        ("SHIFT", program.shift, None, ""),
    ]
    lines = [
        f"CLOCKS = {keys.tolist()}",
        f"WIDTH = {width}  # neurons",
        f"WAVES = {list(WAVES)}  # (m, n): cos(m x + n y + phase)",
        f"ONE_TOKEN = {list(ONE_TOKEN)}  # waves that bypass the neurons",
    ]
    return "\n".join([*lines, *(_array(name, x, in_a_row, unit) + shape for name, x, unit, shape in arrays)])


def _neurons(program: Neurons) -> str:
    return templates.NEURONS.format(
        start=_start(program.tokens, "s = x + y"), activation=ACTIVATIONS[program.activation].source, end=_end(program)
    )


def _table(program: Table) -> str:
    in_a_row = max(LEAST_IN_A_ROW, -(-2 * len(program.rows) // MOST_ROWS))
    steps = np.diff(program.rows, prepend=0)
    arrays = [_array("PAIRS", steps, in_a_row, 1), _array("ANSWERS", program.answers, in_a_row, 1)]
    return "\n".join(["# Listed pairs: a * MODULUS + b as differences, and their answers.", *arrays])


def _array(name: str, numbers: np.ndarray, in_a_row: int, unit: float | None = None) -> str:
    unit = _unit(numbers) if unit is None else unit
    whole = np.round(numbers / unit).astype(int).ravel().tolist()
    rows = [" ".join(map(str, whole[start : start + in_a_row])) for start in range(0, len(whole), in_a_row)]
    text = '"""' + "\n".join(rows) + '"""'
    return f"{name} = numbers({text}{'' if unit == 1 else f', {unit:.0e}'})"


def _unit(numbers: np.ndarray) -> float:
    """Find the largest power of ten that divides all numbers (up to rounding)."""
    units = [step(numbers, digits) for digits in range(1, 17)]
    fits = (unit for unit in units if np.allclose(numbers / unit, np.round(numbers / unit), atol=1e-6, rtol=0))
    return next(fits, units[-1])
