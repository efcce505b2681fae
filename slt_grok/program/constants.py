"""What a program's file says of itself, read as text: its constants, without running it.

The file is parsed, never imported or executed: of its top-level assignments those count whose value is a literal
(numbers, strings, lists, tuples, dictionaries), which `ast.literal_eval` reads. A program by rotation has `MODULUS`
and `CLOCKS`, k -> w of w cos w_k(s - c), or k -> (w, u, v) of (w + u |cos w_k d/2| + v |cos w_k d|) cos w_k(s - c); its
docstring begins with the operation, as in "Addition modulo 53".
"""

import ast
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_grok.errors import SltGrokError
from slt_grok.tasks import is_prime
from slt_grok.tasks.modular import OPERATIONS


@dataclass(frozen=True)
class Constants:
    """The parameters of a program.

    Parameters
    ----------
    modulus : int
        p.
    operation : str
        One of `slt_grok.tasks`.
    amplitudes : dict[int, float]
        Frequency, 1..(p-1)/2 -> A_k of the clock that fits best, A_k cos w_k(a + b - c) in the logits; of a pizza w +
        (u + v) mean |cos|.

    Raises
    ------
    SltGrokError
        No frequency, one outside 1..(p-1)/2, or an amplitude that is not a finite number.
    """

    modulus: int
    operation: str
    amplitudes: dict[int, float]

    def __post_init__(self) -> None:
        half = (self.modulus - 1) // 2
        if not self.amplitudes or not all(1 <= k <= half for k in self.amplitudes):
            raise SltGrokError(f"program: expected frequencies among 1..{half}, got {list(self.amplitudes)}")
        if not all(math.isfinite(a) for a in self.amplitudes.values()):
            raise SltGrokError(f"program: expected finite amplitudes, got {list(self.amplitudes.values())}")


def literals(text: str, name: str = "program") -> dict[str, Any]:
    """Return the top-level constants of Python source: name -> value, where the value is a literal.

    Raises
    ------
    SltGrokError
        Text that is not Python.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise SltGrokError(f"{name}: expected Python source, it cannot be parsed ({error})") from error
    found = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
                pass
            case _:
                continue
        try:
            found[target] = ast.literal_eval(value)
        except (ValueError, TypeError, MemoryError, RecursionError):
            continue
    return found


def read(path: Path) -> Constants:
    """Return the constants of a program's file.

    Raises
    ------
    SltGrokError
        No such file, no Python, or constants that are missing or no parameters of a program.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SltGrokError(f"{path}: expected a program's file, it cannot be read ({error})") from error
    found = literals(text, str(path))
    modulus, clocks = found.get("MODULUS"), found.get("CLOCKS")
    if type(modulus) is not int or modulus < 3 or not is_prime(modulus):
        raise SltGrokError(f"{path}: expected an odd prime as constant MODULUS, got {modulus!r}")
    if not isinstance(clocks, dict) or not all(type(k) is int and _is_weight(w) for k, w in clocks.items()):
        raise SltGrokError(
            f"{path}: expected a program by rotation, whose CLOCKS have a weight or three each "
            "(slt-grok extract RUN --level clock), this one has none"
        )
    ring = ring_mean(modulus)
    amplitudes = {k: w[0] + ring * (w[1] + w[2]) if isinstance(w, tuple) else float(w) for k, w in clocks.items()}
    return Constants(modulus, _operation(text, path), amplitudes)


def ring_mean(modulus: int) -> float:
    """Return the mean over e in Z_p of |cos(w_k e / 2)| and of |cos w_k e|, for every k of an odd prime p.

    Nearly 2/pi.
    """
    return sum(abs(math.cos(math.pi / modulus * e)) for e in range(modulus)) / modulus


def _is_weight(value: Any) -> bool:
    """Return a number, or three of a pizza."""
    numbers = value if isinstance(value, tuple) and len(value) == 3 else (value,)
    return all(type(number) in (int, float) for number in numbers)


def _operation(text: str, path: Path) -> str:
    """Return the first words of the docstring, up to `modulo`."""
    words = (ast.get_docstring(ast.parse(text)) or "").split(" modulo ")
    if len(words) < 2 or words[0].lower() not in OPERATIONS:
        raise SltGrokError(f"{path}: expected a docstring that begins with an operation and 'modulo'")
    return words[0].lower()
