"""The exception that reports bad input to the user."""


class SltGrokError(Exception):
    """Bad input, described in one sentence that names the file or key and what was expected.

    The command line prints the sentence and exits with code 2; a script can catch it.
    """
