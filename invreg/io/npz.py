"""NumPy archives with arrays of known names."""

import zipfile
from pathlib import Path

import numpy as np

from invreg.io import named
from invreg.io.errors import InputError
from invreg.io.header import Header


def header(path: Path) -> Header:
    """Read the archive (NumPy archives have no slices to read). Raises InputError where it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: this .npz archive cannot be read ({error}); save it again with numpy.savez"
        ) from None
    return named.header(path, "NumPy archive (.npz)", arrays)
