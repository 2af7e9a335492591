"""What the HDF5 readers share: opening with clear errors, and arrays that stay in the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.errors import InputError
from invreg.io.header import Index, Stored


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The h5py.File, read only. Raises InputError for a file that is truncated or not HDF5."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        why = "truncated: copy it again" if "truncated" in str(error) else "damaged: copy it again"
        raise InputError(f"{path}: this HDF5 file is {why}") from None
    with file:
        yield file


def text(value: Any) -> str:
    """A string out of an attribute or dataset, whichever way it was written."""
    value = value[()] if hasattr(value, "dtype") and getattr(value, "shape", None) == () else value
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def label(dataset: Any) -> str | None:
    """The unit written beside a dataset, or None."""
    for key in ("units", "unit"):
        if key in dataset.attrs:
            return text(dataset.attrs[key])
    return None


def scalar(dataset: Any, where: str) -> float:
    """The one number of a dataset. Raises InputError where it is not one."""
    try:
        return float(np.asarray(dataset[()]).reshape(()))
    except (TypeError, ValueError):
        raise InputError(f"{where}: expected one number, found shape {dataset.shape} of {dataset.dtype}") from None


def vector(dataset: Any, where: str) -> np.ndarray:
    """The numbers of a dataset, (n,) float64. Raises InputError where they are none or damaged."""
    try:
        return np.asarray(dataset[()], dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise InputError(f"{where}: expected a list of numbers, found {dataset.dtype}") from None
    except OSError:
        raise InputError(f"{where}: cannot be read, the file is damaged: copy it again") from None


def in_file(path: Path, dataset: Any, frames: np.ndarray | None = None, order: tuple[int, ...] = (0, 1, 2)) -> Stored:
    """The dataset as (n, row, detector), read by slices on demand.

    frames: which of the first axis count (in rising order), all by default. order: where the axes n, row and
    detector stand in the dataset. Raises InputError where it is no array of numbers with three axes.
    """
    key, shape, dtype = dataset.name, dataset.shape, dataset.dtype
    where = f"{path}:{key}"
    if len(shape) != 3 or dtype.kind not in "buif":
        raise InputError(f"{where}: expected numbers of shape (angle, row, detector), found {shape} of {dtype}")
    count = shape[order[0]] if frames is None else frames.size

    def load(index: Index, rows: slice) -> np.ndarray:
        wanted = np.arange(count)[index]
        wanted = wanted if frames is None else frames[wanted]
        out = np.empty((wanted.size, len(range(*rows.indices(shape[order[1]]))), shape[order[2]]), dtype)
        with opened(path) as file:
            source = file[key]
            try:
                for begin, end, stride in _runs(wanted):
                    box: list[slice] = [slice(None)] * 3
                    box[order[0]], box[order[1]] = slice(wanted[begin], wanted[end - 1] + 1, stride), rows
                    out[begin:end] = np.transpose(source[tuple(box)], order)
            except OSError:
                raise InputError(f"{where}: cannot be read, the file is damaged: copy it again") from None
        return out

    return Stored((count, shape[order[1]], shape[order[2]]), dtype, key, load)


def _runs(wanted: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Cut rising indices into stretches of even steps, since HDF5 reads slices much faster than lists."""
    begin = 0
    while begin < wanted.size:
        end, stride = begin + 1, 1
        if end < wanted.size:
            stride = int(wanted[end] - wanted[begin])
            while end < wanted.size and wanted[end] - wanted[end - 1] == stride:
                end += 1
        yield begin, end, max(stride, 1)
        begin = end
