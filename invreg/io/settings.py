"""Text files of KEY=VALUE lines, in which scanners write their settings."""

from pathlib import Path

import numpy as np

from invreg.io.errors import InputError


class Settings:
    """The lines of one file; sections and comments are passed over, of a repeated key the last counts.

    Raises InputError where the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        pairs = (line.partition("=") for line in lines if "=" in line)
        self.words = {key.strip(): value.strip() for key, _, value in pairs}

    def __contains__(self, key: str) -> bool:
        return bool(self.words.get(key))

    def word(self, key: str) -> str:
        """The text of a key. Raises InputError where it is missing or empty."""
        if key not in self:
            raise InputError(f"{self.path}: {key} is missing; the file may be cut off: copy it again")
        return self.words[key]

    def number(self, key: str, default: float | None = None) -> float:
        """The number of a key, or the default. Raises InputError where it is missing or not a finite number."""
        if default is not None and key not in self:
            return default
        word = self.word(key)
        try:
            value = float(word)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise InputError(f"{self.path}: {key} is {word!r}; expected a finite number")
        return value

    def positive(self, key: str) -> float:
        """A number above zero. Raises InputError."""
        value = self.number(key)
        if value <= 0:
            raise InputError(f"{self.path}: {key} is {value:g}; expected a number above 0")
        return value
