"""The constants of a program's file, read as text without running it.

The file is parsed, never imported or executed. Only top-level assignments with a literal value count (numbers, strings,
lists, tuples, dictionaries), read with `ast.literal_eval`. A rotation program has `MODULUS`
and `CLOCKS`, k -> w of w cos w_k(s - c), or k -> (w, u, v) of (w + u |cos w_k d/2| + v |cos w_k d|) cos w_k(s - c); its
docstring begins with the operation, as in "Addition modulo 53".
"""

import ast
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_grok.errors import SltGrokError
from slt_grok.tasks import OPERATIONS, is_prime


@dataclass(frozen=True)
class Constants:
    """The parameters of a program.

    Parameters
    ----------
    p : int
        Number of tokens.
    operation : str
        One of `slt_grok.tasks.OPERATIONS`.
    amplitudes : dict of int to float
        Frequency in 1..(p-1)/2 -> A_k of the best-fitting clock, A_k cos w_k(a + b - c) in the logits; for a pizza it
        is w + (u + v) mean |cos|.

    Raises
    ------
    SltGrokError
        No frequency, a frequency outside 1..(p-1)/2, or an amplitude that is not a finite number.
    """

    p: int
    operation: str
    amplitudes: dict[int, float]

    def __post_init__(self) -> None:
        half = (self.p - 1) // 2
        if not self.amplitudes or not all(1 <= k <= half for k in self.amplitudes):
            raise SltGrokError(f"program: expected frequencies among 1..{half}, got {list(self.amplitudes)}")
        if not all(math.isfinite(a) for a in self.amplitudes.values()):
            raise SltGrokError(f"program: expected finite amplitudes, got {list(self.amplitudes.values())}")


def read(path: Path) -> Constants:
    """Read the constants of a program's file.

    Raises
    ------
    SltGrokError
        The file is missing or is not Python, or its constants are missing or are not those of a program.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SltGrokError(f"{path}: expected a program's file, it cannot be read ({error})") from error
    except (SyntaxError, ValueError) as error:
        raise SltGrokError(f"{path}: expected Python source, it cannot be parsed ({error})") from error
    literals = _literals(tree)
    p, clocks = literals.get("MODULUS"), literals.get("CLOCKS")
    if type(p) is not int or p < 3 or not is_prime(p):
        raise SltGrokError(f"{path}: expected an odd prime as constant MODULUS, got {p!r}")
    if not isinstance(clocks, dict) or not all(type(k) is int and _is_weight(w) for k, w in clocks.items()):
        raise SltGrokError(
            f"{path}: expected a program by rotation, whose CLOCKS have a weight or three each "
            "(slt-grok extract RUN --level clock), this one has none"
        )
    operation = (ast.get_docstring(tree) or "").split(" modulo ")[0].lower()
    if operation not in OPERATIONS:
        raise SltGrokError(f"{path}: expected a docstring that begins with an operation and 'modulo'")
    ring = ring_mean(p)
    amplitudes = {k: w[0] + ring * (w[1] + w[2]) if isinstance(w, tuple) else float(w) for k, w in clocks.items()}
    return Constants(p, operation, amplitudes)


def ring_mean(p: int) -> float:
    """Compute the mean of |cos(w_k e / 2)|, equally of |cos w_k e|, over e in Z_p, for any k and odd prime p."""
    return sum(abs(math.cos(math.pi / p * e)) for e in range(p)) / p


def _literals(tree: ast.Module) -> dict[str, Any]:
    """Collect the top-level constants with a literal value: name -> value."""
    literals = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        try:
            literals[name] = ast.literal_eval(value)
        except (ValueError, TypeError, MemoryError, RecursionError):
            continue
    return literals


def _is_weight(value: Any) -> bool:
    """Return whether a value is a number, or the three numbers of a pizza."""
    numbers = value if isinstance(value, tuple) and len(value) == 3 else (value,)
    return all(type(number) in (int, float) for number in numbers)
