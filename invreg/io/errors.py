"""The error of bad input."""


class InputError(ValueError):
    """A file or argument is wrong. One sentence: what, found what, expected what, how to mend it."""
