"""The exception for invalid user input."""


class SltGrokError(Exception):
    """Invalid input, described in one sentence that names the file or key and what was expected.

    The command line prints the sentence and exits with code 2; a script can catch it.
    """
