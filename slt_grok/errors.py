"""The exception for invalid user input, and how its messages show values."""

import reprlib

LONGEST = 300  # characters of a message
TAIL = 100  # characters kept at the end of a longer one, where the remedy is

_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother = 2, 60, 60


class SltGrokError(Exception):
    """Invalid input, described in one sentence that names the file or key and what was expected.

    The command line prints the sentence and exits with code 2; a script can catch it.
    """


class FileError(SltGrokError):
    """A file of a run is not as it was written; the same command may succeed once it is restored."""


class UserCodeError(SltGrokError):
    """An error in the user's module or loss, which is its cause."""


def shown(value: object) -> str:
    """Format a value for a message, shortened if it is long."""
    return _short.repr(value)


def one_line(message: object) -> str:
    """Escape what cannot be printed in a message, and cut the middle of one that is too long."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(message))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - TAIL - 5]} ... {text[-TAIL:]}"
