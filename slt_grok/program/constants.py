"""What a program's file says of itself, read as text: its constants, without running it.

The file is parsed, never imported or executed: of its top-level assignments those count whose value is a literal
(numbers, strings, lists, tuples, dictionaries), which `ast.literal_eval` reads.
"""

import ast
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_grok.errors import SltGrokError


@dataclass(frozen=True)
class Constants:
    """The parameters of a program.

    Parameters
    ----------
    modulus : p.
    operation : one of `slt_grok.tasks`.
    amplitudes : frequency, 1..(p-1)/2 -> A_k of cos w_k(a + b - c) in the logits, in nats.

    Raises
    ------
    SltGrokError : no frequency, one outside 1..(p-1)/2, or an amplitude that is not a finite number.
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
    """The top-level constants of Python source: name -> value, where the value is a literal.

    Raises
    ------
    SltGrokError : text that is not Python.
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
    """The constants of a program's file.

    Raises
    ------
    SltGrokError : no such file, no Python, or constants that are missing or no parameters of a program.
    """
    try:
        found = literals(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SltGrokError(f"{path}: expected a program's file, it cannot be read ({error})") from error
    for name, kind in {
        "MODULUS": int,
        "OPERATION": str,
        "FREQUENCIES": list | tuple,
        "AMPLITUDES": list | tuple,
    }.items():
        if not isinstance(found.get(name), kind):
            raise SltGrokError(f"{path}: expected a constant {name} of a program by rotation, got {found.get(name)!r}")
    keys, heights = found["FREQUENCIES"], found["AMPLITUDES"]
    numbers = all(type(k) is int for k in keys) and all(type(a) in (int, float) for a in heights)
    if not numbers or len(keys) != len(heights) or len(set(keys)) < len(keys):
        raise SltGrokError(f"{path}: expected different FREQUENCIES, each with a number in AMPLITUDES")
    return Constants(found["MODULUS"], found["OPERATION"], dict(zip(keys, map(float, heights), strict=True)))
