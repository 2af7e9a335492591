"""The error of bad input."""


class InputError(ValueError):
    """A file or argument is wrong. One sentence: what, found what, expected what, how to mend it."""


def words(error: Exception) -> str:
    """What another library says of an error, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
