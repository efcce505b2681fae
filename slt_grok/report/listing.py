"""The program of a run's last checkpoint as text: the file that `slt-grok extract` writes, and its essential lines."""

import re
import textwrap
from typing import NamedTuple

import numpy as np

from slt_grok import program
from slt_grok.errors import SltGrokError
from slt_grok.program.program import WAVES, Neurons
from slt_grok.program.writing import source
from slt_grok.store import RunDirectory
from slt_grok.trajectories import Trajectory

WIDTH = 84  # characters of a line in the figure
SMALL = 0.1  # waves, and a constant, of less than this share of a neuron's largest wave are not shown
MOST_NEURONS = 4
WHOLE = "\u00a0"  # a space at which no line is broken


class Listing(NamedTuple):
    """What is said of the last checkpoint of the first seed.

    Parameters
    ----------
    step, seed : int
        Which network.
    source : str
        The program's file; empty where there is none.
    essential : str
        Its lines that a person reads, in at most `WIDTH` characters.
    digits : int
        Of its numbers.
    explained : bool
        Whether it explains the network without a table.
    reason : str
        Why there is no program; empty where there is one.
    """

    step: int
    seed: int
    source: str
    essential: str
    digits: int
    explained: bool
    reason: str


def read_listing(run: RunDirectory) -> Listing:
    """Extract the program of a run's last network, of its first seed.

    Raises
    ------
    SltGrokError
        The run has no checkpoint that can be read.
    """
    one = Trajectory.from_run(run.path).isel(step=[-1], seed=[0])
    step, seed = (int(one.coords[dim][0]) for dim in ("step", "seed"))
    reading = program.read(one)
    try:
        found = program.extract(reading)
    except SltGrokError as error:
        return Listing(step, seed, "", "", 0, False, str(error).removeprefix("program: "))
    text = source(found)
    lines = essential(text)
    if found.explained and reading.neurons is not None:
        lines += "\n\n" + neuron_lines(program.neurons(reading))
    return Listing(step, seed, text, lines, found.digits, found.explained, "")


def essential(text: str) -> str:
    """Return a program's file without docstrings, imports and blank lines; its long rows of numbers are left out."""
    text = re.sub(r'^ *"""(?:.|\n)*?"""\n', "", text, flags=re.MULTILINE)
    text = re.sub(r'"""(?:.|\n)*?"""', '"..."', text)
    lines = [line for line in text.splitlines() if line and not line.startswith(("import ", "from "))]
    apart = [f"\n{line}" if line.startswith(("def ", "CLOCKS = {")) else line for line in lines]
    return "\n".join(part for line in apart for part in _folded(line)).lstrip("\n")


def neuron_lines(found: Neurons) -> str:
    """Return the neuron that writes most to each of at most `MOST_NEURONS` frequencies, as a formula."""
    keys = found.keys.tolist()
    written = np.linalg.norm(found.output, axis=-1)  # (width, K)
    weight = [_strength(found, written, i) for i in range(len(keys))]
    shown = sorted(np.argsort([-w.max() for w in weight])[:MOST_NEURONS].tolist())
    lines = [f"Not in the file: each clock's strongest of {len(found.constant)} neurons; a, b, c are angles on it"]
    lines += [f"k = {keys[i]}: {_formula(found, i, int(weight[i].argmax()))}" for i in shown]
    return "\n".join(part for line in lines for part in _folded(line))


def _strength(found: Neurons, written: np.ndarray, i: int) -> np.ndarray:
    """Amplitude of a neuron's waves of frequency i times the norm of what it writes there, (width,)."""
    own = found.frequency == found.keys[i]
    size = np.zeros(len(found.constant))
    size[found.neuron[own]] = np.linalg.norm(found.amplitude[own], axis=1)
    return size * written[:, i]


def _formula(found: Neurons, i: int, n: int) -> str:
    entry = np.flatnonzero((found.neuron == n) & (found.frequency == found.keys[i]))[0]
    size, phase = found.amplitude[entry], found.phase[entry]
    waves = [
        f"{size[w]:.2g} cos({_argument(*WAVES[w], found.tokens.sign)} {_signed(phase[w])})"
        for w in np.flatnonzero(size > SMALL * size.max())
    ]
    cosine, sine = found.output[n, i]
    constant = [f"{found.constant[n]:.2g}"] if abs(found.constant[n]) > SMALL * size.max() else []
    inside = " + ".join([*constant, *waves])
    written = f"{np.hypot(cosine, sine):.2g} cos(c {_signed(-np.arctan2(sine, cosine))})"
    return f"{found.activation}({inside}) * {written}"


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'} {abs(value):.2f}"


def _argument(first: int, second: int, sign: int) -> str:
    """Return `a + b` of (1, 1), `2b` of (0, 2)."""
    parts = [(first, "a"), (sign * second, "b")]
    text = "".join(f"{'-' if m < 0 else '+'}{abs(m) if abs(m) > 1 else ''}{name}" for m, name in parts if m)
    return text.removeprefix("+")


def _folded(line: str) -> list[str]:
    body = line.lstrip("\n")
    after = " " * (len(body) - len(body.lstrip()) + 4)
    body = re.sub(r"cos\([^()]*\)", lambda one: one[0].replace(" ", WHOLE), body)
    folded = textwrap.wrap(body, WIDTH, subsequent_indent=after, break_on_hyphens=False)
    return [""] * (len(line) - len(body)) + [part.replace(WHOLE, " ") for part in folded]
