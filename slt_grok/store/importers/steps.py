"""The training step of a checkpoint, from an entry of its file or from its name; ambiguous numbers are never used.

An entry `global_step`, `step` or `iteration` is the step. In a name such as `epoch=9-step=500-v1`, the number after
`step`, `iter` or `checkpoint` is. Any other number is the step only if it is the only one in the name, or the only one
that differs between the files of a folder, and if it does not count something else, such as epochs or seeds.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

ENTRIES = ("global_step", "step", "iteration")
STEP_WORDS = ("step", "steps", "iter", "iters", "iteration", "iterations", "checkpoint", "ckpt")
OTHER_WORDS = ("epoch", "epochs", "seed", "run", "fold", "version", "layers", "loss", "acc", "accuracy")
NAME_NOTE = "The number in the file's name is taken as the training step."
LARGEST = 2**53  # larger steps are not exact as float64
NUMBER = re.compile(r"([A-Za-z][A-Za-z_]*?)?([=_ -]?)(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)", re.IGNORECASE)


class Named(NamedTuple):
    """A number in a file's name.

    Parameters
    ----------
    word : str
        The word before it; empty if there is none.
    text : str
        The number.
    apart : bool
        Whether a separator or the start of the name precedes the number.
    """

    word: str
    text: str
    apart: bool

    @property
    def last_word(self) -> str:
        """The last part of the word, in lower case."""
        return self.word.lower().rstrip("_").rpartition("_")[2]


def numbers_in(stem: str) -> list[Named]:
    """List the numbers in a file's name, in order."""
    found = NUMBER.finditer(stem)
    return [Named(m[1] or "", m[3], bool(m[2]) or (not m[1] and m.start() == 0)) for m in found]


def differing(stems: Sequence[str]) -> int | None:
    """Find which number is the only one that differs between names that are otherwise the same; None if none is."""
    rows = [numbers_in(stem) for stem in stems]
    if len(rows) < 2 or len({NUMBER.sub(r"\1\2", stem) for stem in stems}) > 1:
        return None
    columns = [k for k, column in enumerate(zip(*rows, strict=True)) if len({number.text for number in column}) > 1]
    return columns[0] if len(columns) == 1 else None


def step_in_name(stem: str, column: int | None = None) -> tuple[str | None, str]:
    """Find the number in a file's name that is its step.

    Parameters
    ----------
    stem : str
        The name, without its suffix.
    column : int, optional
        Place of the only number that differs between the files of a folder.

    Returns
    -------
    text, note : str or None, str
        The number, and a sentence if no word in the name says that it is the step.
    """
    numbers = numbers_in(stem)
    steps = [number for number in numbers if number.last_word in STEP_WORDS]
    if steps:
        return (steps[0].text if len(steps) == 1 else None), ""
    candidates = numbers if column is None else [numbers[column]]
    if len(candidates) != 1 or not candidates[0].apart or candidates[0].last_word in OTHER_WORDS:
        return None, ""
    return candidates[0].text, NAME_NOTE


def named_step(stem: str, name: str) -> str | None:
    """Find the number that follows a word in a file's name, such as 29 after `epoch` in `epoch=29-val_loss=0.25`."""
    found = re.findall(rf"(?<![A-Za-z]){re.escape(name)}[=_ -]?(-?\d+(?:\.\d+)?)", stem)
    return found[0] if len(found) == 1 else None


def choices(stem: str, extras: Mapping[str, Any]) -> list[str]:
    """List what `--step-from` could name for a file: entries with a whole number, and words before one in its name."""
    entries = [str(key) for key, value in extras.items() if could_be_step(value)]
    words = [number.word.strip("_") for number in numbers_in(stem)]
    named = [word for word in filter(None, words) if could_be_step(named_step(stem, word))]
    return list(dict.fromkeys([*entries, *named]))


def could_be_step(value: Any) -> bool:
    """Check for a whole number of at least 0, possibly as a text or a tensor."""
    try:
        number = float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False
    return not isinstance(value, bool) and number.is_integer() and 0 <= number <= LARGEST
