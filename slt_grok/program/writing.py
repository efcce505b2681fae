"""A program as a Python file of its own: numpy alone, `MODULUS`, `logits(a, b)` and `answer(a, b)`, under 120 lines.

The numbers stand in it as they are in the program, which has been rounded before (`slt_grok.program.length.rounded`):
those of the clock and the pizza as decimals, those of neurons and tables as whole numbers in rows of text.
"""

import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from slt_grok.errors import SltGrokError
from slt_grok.program import templates
from slt_grok.program.extraction import Extraction, match
from slt_grok.program.length import step
from slt_grok.program.program import ONE_TOKEN, WAVES, Neurons, Program, Rotations
from slt_grok.program.table import Table
from slt_grok.program.tokens import Tokens, primitive_root

MOST_ROWS = 30  # of text, for the numbers of one file
LEAST_IN_A_ROW = 40
LINE = 110  # characters of the text that a person reads


def write(extraction: Extraction, path: str | Path) -> Path:
    """Write the program of a network to a file.

    Raises
    ------
    SltGrokError
        The folder does not exist or cannot be written to.
    """
    path = Path(path)
    try:
        path.write_text(source(extraction))
    except OSError as error:
        raise SltGrokError(f"{path}: expected a file that can be written ({error.strerror})") from error
    return path


def source(extraction: Extraction) -> str:
    """Return the text of the file."""
    program = extraction.program
    rest = program.rest if isinstance(program, Table) else program
    body: list[str] = []
    if isinstance(rest, Rotations):
        body += [_angle(rest.tokens), _rotations(rest)]
    elif isinstance(rest, Neurons):
        body += [templates.NUMBERS, _angle(rest.tokens), _neuron_arrays(rest), _neurons(rest)]
    if isinstance(program, Table):
        body += [*([] if isinstance(rest, Neurons) else [templates.NUMBERS]), _table(program)]
        found = "listed" if rest is None else "np.where(listed >= 0, listed, logits(a, b).argmax(-1))"
        body.append(templates.TABLE.format(found=found))
    elif program.level == "clock" and program.tokens.operation != "multiplication":
        body.append(templates.OF_SUM.format(sign="-" if program.tokens.sign < 0 else "+"))
    else:
        body.append(templates.ANSWER)
    gelu = isinstance(rest, Neurons) and rest.activation == "gelu"
    head = [f'"""{_docstring(extraction)}\n"""', *["import math"] * gelu, "import numpy as np"]
    body = [f"MODULUS = {program.tokens.modulus}", *(part.strip("\n") for part in body)]
    return "\n\n".join(head) + "\n\n" + "\n\n\n".join(body) + "\n"


def _docstring(extraction: Extraction) -> str:
    reading, program = extraction.reading, extraction.program
    rest = program.rest if isinstance(program, Table) else program
    operation, p = reading.task.operation, reading.modulus
    do, turn = templates.DO.get(operation, ("", ""))
    idea = " ".join(templates.IDEA["table" if rest is None else rest.level].split()).format(do=do, turn=turn)
    agree = match(reading, program).agreement
    right = (reading.answers == reading.labels).mean()
    told = (
        f"It gives the answer of the network on {agree:.2%} of all {p * p} pairs; the network is right on {right:.2%}."
    )
    if rest is not None:
        left = match(reading, rest).unexplained
        told += (
            f" Of the variance of the network's logits the formula holds {1 - left:.2%}. Left out is the rest: other"
            f" frequencies, {_left_out(rest)} and digits beyond the {extraction.digits} kept."
        )
    if isinstance(program, Table) and rest is not None:
        told += (
            f" By itself it differs on {len(program.rows)} pairs, which are listed. Where it does not differ, that"
            f" alone does not show that the network computes so: any formula for the right answers gives the right"
            f" ones, also those that were learned by heart. What shows it is the share of the variance."
        )
    title = f"{operation} modulo {p}, as read from a trained network: {program.level}."
    return "\n\n".join([title[0].upper() + title[1:], textwrap.fill(idea, LINE), textwrap.fill(told, LINE)])


def _left_out(program: Program) -> str:
    return {
        "clock": "how the scores depend on the distance of the two numbers",
        "pizza": "what the scores of single pairs have beside their sum and distance",
        "neurons": "weak neurons, higher harmonics and products of different frequencies",
    }[program.level]


def _angle(tokens: Tokens) -> str:
    multiplication, root = tokens.operation == "multiplication", primitive_root(tokens.modulus)
    lines = []
    if multiplication:
        lines = [
            f"ORDER = {tokens.order}  # of the clocks' numbers: logarithms to the base {root}",
            f"POWERS = [pow({root}, j, MODULUS) for j in range(ORDER)]",
            "LOG = np.argsort([0, *POWERS])  # LOG[POWERS[j]] = j + 1, and LOG[0] = 0",
            "",
            "",
        ]
    order = "ORDER" if multiplication else "MODULUS"
    return "\n".join(
        [
            *lines,
            "def angle(k, t):",
            '    """Where number t stands on clock k."""',
            f"    return 2 * np.pi / {order} * (k * t % {order})",
        ]
    )


def _start(tokens: Tokens, sums: str) -> str:
    if tokens.operation == "multiplication":
        lines = [
            "a, b = np.asarray(a)[..., None] % MODULUS, np.asarray(b)[..., None] % MODULUS",
            "x, y, c = LOG[a] - 1, LOG[b] - 1, np.arange(ORDER)",
        ]
    else:
        minus = "-" if tokens.sign < 0 else ""
        lines = [f"x, y, c = np.asarray(a)[..., None], {minus}np.asarray(b)[..., None], np.arange(MODULUS)"]
    return textwrap.indent("\n".join([*lines, sums]), "    ")


def _end(program: Rotations | Neurons) -> str:
    if program.tokens.operation != "multiplication":
        return "scores"
    inside, zero = (float(f"{value:.3g}") for value in program.outside)
    return (
        f"np.concatenate([np.where(a * b == 0, {zero}, {inside}), "
        "np.where(a * b == 0, 0, scores)[..., LOG[1:] - 1]], -1)  # 0 has no logarithm"
    )


def _rotations(program: Rotations) -> str:
    rows = [
        f"    {k}: {_decimals(values, program.amplitude)},"
        for k, values in zip(program.keys, program.amplitude, strict=True)
    ]
    clock = program.level == "clock"
    table = "\n".join(
        [f"CLOCKS = {{  # k: {'weight' if clock else 'weight alone, with |cos d/2|, with |cos d|'}", *rows, "}"]
    )
    weight = "w" if clock else "(w + u * np.abs(np.cos(angle(k, d) / 2)) + v * np.abs(np.cos(angle(k, d))))"
    size = f"        scores = scores + {weight} * np.cos(angle(k, s - c))"
    text = templates.ROTATIONS.format(
        start=_start(program.tokens, "s = x + y" if clock else "s, d = x + y, x - y"),
        amplitudes="w" if clock else "(w, u, v)",
        size=size,
        end=_end(program),
    )
    return table + "\n\n" + text


def _decimals(values: np.ndarray, of: np.ndarray) -> str:
    texts = [repr(round(float(value), 12)) for value in values]
    return texts[0] if of.shape[1] == 1 else f"({', '.join(texts)})"


def _neuron_arrays(program: Neurons) -> str:
    keys = program.keys
    width, entries, clocks = len(program.constant), len(program.neuron), len(keys)
    total = sum(numbers.size for numbers in program.numbers.values()) + 2 * entries
    in_a_row = max(LEAST_IN_A_ROW, -(-total // MOST_ROWS))
    place = np.searchsorted(keys, program.frequency)
    lines = [
        f"CLOCKS = {keys.tolist()}",
        f"WIDTH = {width}  # neurons",
        f"WAVES = {list(WAVES)}  # (m, n): cos(m x + n y + phase)",
        f"ONE_TOKEN = {list(ONE_TOKEN)}  # waves that pass the neurons by",
    ]
    texts = [
        ("NEURON", program.neuron, 1, ""),
        ("CLOCK", place, 1, ""),
        ("AMPLITUDE", program.amplitude.T, None, f".reshape({len(WAVES)}, {entries})"),
        ("PHASE", program.phase.T, None, f".reshape({len(WAVES)}, {entries})"),
        ("CONSTANT", program.constant, None, ""),
        ("OUTPUT", program.output, None, f".reshape({width}, {2 * clocks})"),
        ("PAST", program.past, None, f".reshape({clocks}, {len(ONE_TOKEN)}, 2, {2 * clocks})"),
        ("SHIFT", program.shift, None, ""),
    ]
    for name, numbers, unit, shape in texts:
        lines.append(_array(name, numbers, in_a_row, unit) + shape)
    return "\n".join(lines)


def _unit(numbers: np.ndarray) -> float:
    """Return the largest power of ten that all numbers are multiples of (to rounding)."""
    for digits in range(1, 16):
        unit = step(numbers, digits)
        if np.allclose(numbers / unit, np.round(numbers / unit), atol=1e-6, rtol=0):
            return unit
    return step(numbers, 16)


def _array(name: str, numbers: np.ndarray, in_a_row: int, unit: float | None = None) -> str:
    unit = _unit(numbers) if unit is None else unit
    whole = np.round(numbers / unit).astype(int).ravel()
    rows = [" ".join(map(str, row)) for row in _chunks(whole.tolist(), in_a_row)]
    text = '"""' + "\n".join(rows) + '"""'
    return f"{name} = numbers({text}{'' if unit == 1 else f', {unit:.0e}'})"


def _neurons(program: Neurons) -> str:
    return templates.NEURONS.format(
        start=_start(program.tokens, "s = x + y"),
        activation=templates.ACTIVATION[program.activation],
        end=_end(program),
    ).rstrip("\n")


def _table(program: Table) -> str:
    in_a_row = max(LEAST_IN_A_ROW, -(-2 * len(program.rows) // MOST_ROWS))
    steps = np.diff(program.rows, prepend=0)
    return "\n".join(
        [
            "# Listed pairs: a * MODULUS + b as differences, and their answers.",
            _array("PAIRS", steps, in_a_row, 1),
            _array("ANSWERS", program.answers, in_a_row, 1),
        ]
    )


def _chunks(values: list[int], size: int) -> Iterable[list[int]]:
    return (values[start : start + size] for start in range(0, len(values), size))
