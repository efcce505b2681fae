"""Format numbers for readers: errors to two digits, values to the same decimal place."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MISSING = "not measured"


def known(value: Any) -> TypeGuard[float]:
    """Return whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any) -> str:
    """Format three digits, with a power of ten outside 0.001 to 10,000."""
    if not known(value):
        return MISSING
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)}"


def plus_minus(value: Any, error: Any) -> str:
    """Format a value with its standard error, both to the error's second digit; small ones with a power of ten."""
    if not known(value):
        return MISSING
    if not known(error) or error <= 0:
        return f"{number(value)} (error unknown)"
    places = max(0, 1 - math.floor(math.log10(error)))
    if max(abs(value), error) < 1e-3:
        exponent = math.floor(math.log10(max(abs(value), error)))
        scaled = plus_minus(value / 10.0**exponent, error / 10.0**exponent)
        return f"({scaled}) × 10{str(exponent).translate(SUPERSCRIPT)}"
    return f"{value:,.{places}f}\u00a0±\u00a0{error:,.{places}f}"  # non-breaking spaces


def percent(fraction: Any) -> str:
    """Format a percentage to one decimal place, never rounded up to 100 or down to 0."""
    if not known(fraction):
        return MISSING
    if 0.9995 <= fraction < 1:
        return "over 99.9%"
    if 0 < fraction < 0.0005:
        return "under 0.1%"
    return f"{100 * fraction:.1f}%".replace(".0%", "%")


def step(value: Any) -> str:
    """Format a training step with thousands separators."""
    return f"{round(value):,}" if known(value) else "–"


def step_interval(value: Any, low: Any, high: Any) -> str:
    """Format a training step with its interval."""
    return f"{step(value)} ({step(low)} to {step(high)})" if known(value) else step(value)


def listing(items: Sequence[Any]) -> str:
    """Join items as `a, b and c`."""
    words = [str(item) for item in items]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def plural(count: int, noun: str) -> str:
    """Format a count as `1 seed` or `2 seeds`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def capital(text: str) -> str:
    """Capitalize the first letter of a text."""
    return text[:1].upper() + text[1:]


def first_line(text: Any) -> str:
    """Return the first line of a text, without the spaces around the text; for an error without one, its type."""
    line = str(text).strip().partition("\n")[0]
    return line or (type(text).__name__ if isinstance(text, BaseException) else "")


def sentence(text: Any) -> str:
    """Turn a remark into a sentence, with a capital and a period."""
    text = capital(str(text).strip())
    return text if text.endswith((".", "!", "?")) else text + "."


def duration(seconds: Any) -> str:
    """Format a duration in seconds, or in minutes from two minutes on."""
    if not known(seconds):
        return "–"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested settings to `a.b` -> text."""
    rows: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            rows[f"{prefix}{key}"] = ", ".join(map(str, value)) or "none"
        elif value is None or isinstance(value, bool):
            rows[f"{prefix}{key}"] = {None: "–", True: "yes", False: "no"}[value]
        else:
            rows[f"{prefix}{key}"] = str(value)
    return rows
