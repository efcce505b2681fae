"""The essential lines of a program for the page: its functions and constants, and its strongest neurons as formulas."""

import re
import textwrap

import numpy as np

from slt_grok.program.program import Neurons
from slt_grok.program.tokens import WAVES

WIDTH = 84  # characters per line of the figure
SMALL = 0.1  # waves and constants below this fraction of a neuron's largest wave are hidden
MOST_NEURONS = 4
WHOLE = "\u00a0"  # a non-breaking space


def essential(text: str, program: Neurons | None = None) -> str:
    """Strip docstrings, imports and blank lines from a program's file, and fold lines longer than `WIDTH` characters.

    Given the neuron-level program of the same network, add the neuron that contributes most to each of at most
    `MOST_NEURONS` frequencies.
    """
    text = re.sub(r'^ *"""(?:.|\n)*?"""\n', "", text, flags=re.MULTILINE)
    text = re.sub(r'"""(?:.|\n)*?"""', '"..."', text)  # long arrays of numbers
    lines = [line for line in text.splitlines() if line and not line.startswith(("import ", "from "))]
    spaced = [f"\n{line}" if line.startswith(("def ", "CLOCKS = {")) else line for line in lines]
    if program is not None:
        count = len(program.constant)
        spaced.append(f"\nNot in the file: for each clock, the strongest of {count} neurons; a, b, c are its angles")
        spaced += _neurons(program)
    return "\n".join(part for line in spaced for part in _folded(line)).lstrip("\n")


def _neurons(program: Neurons) -> list[str]:
    outputs = np.linalg.norm(program.output, axis=-1)  # (width, K)
    weight = np.zeros_like(outputs)  # amplitude of the neuron's waves at each frequency times its output there
    key = np.searchsorted(program.keys, program.frequency)
    weight[program.neuron, key] = np.linalg.norm(program.amplitude, axis=1)
    weight *= outputs
    shown = sorted(np.argsort(-weight.max(0), kind="stable")[:MOST_NEURONS].tolist())
    return [f"k = {program.keys[i]}: {_formula(program, i, int(weight[:, i].argmax()))}" for i in shown]


def _formula(program: Neurons, i: int, n: int) -> str:
    entry = np.flatnonzero((program.neuron == n) & (program.frequency == program.keys[i]))[0]
    size, phase = program.amplitude[entry], program.phase[entry]
    waves = [
        f"{size[w]:.2g} cos({_argument(*WAVES[w], program.tokens.sign)} {_signed(phase[w])})"
        for w in np.flatnonzero(size > SMALL * size.max()).tolist()
    ]
    cosine, sine = program.output[n, i]
    constant = [f"{program.constant[n]:.2g}"] if abs(program.constant[n]) > SMALL * size.max() else []
    written = f"{np.hypot(cosine, sine):.2g} cos(c {_signed(-np.arctan2(sine, cosine))})"
    return f"{program.activation}({' + '.join([*constant, *waves])}) * {written}"


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'} {abs(value):.2f}"


def _argument(first: int, second: int, sign: int) -> str:
    """Format (1, 1) as `a+b` and (0, 2) as `2b`."""
    parts = [(first, "a"), (sign * second, "b")]
    text = "".join(f"{'-' if m < 0 else '+'}{abs(m) if abs(m) > 1 else ''}{name}" for m, name in parts if m)
    return text.removeprefix("+")


def _folded(line: str) -> list[str]:
    body = line.lstrip("\n")
    after = " " * (len(body) - len(body.lstrip()) + 4)
    body = re.sub(r"cos\([^()]*\)", lambda wave: wave[0].replace(" ", WHOLE), body)
    folded = textwrap.wrap(body, WIDTH, subsequent_indent=after, break_on_hyphens=False)
    return [""] * (len(line) - len(body)) + [part.replace(WHOLE, " ") for part in folded]
