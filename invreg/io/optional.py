"""Libraries that only some formats need."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invreg.io.errors import InputError


@contextmanager
def needed(library: str, path: Path, format: str) -> Iterator[None]:
    """Around the import of a library: an InputError that says how to install it where it is missing."""
    try:
        yield
    except ImportError:
        raise InputError(f"{path}: {format} needs the library {library}; pip install 'invreg[files]'") from None
