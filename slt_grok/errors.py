"""The one exception that a person is meant to read."""


class SltGrokError(Exception):
    """Bad input, said in one sentence that names the file or key and what was expected.

    The command line prints the sentence and exits with code 2; a script can catch it.
    """
