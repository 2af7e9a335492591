"""From odd files to plain ones."""

import gzip
import io
import struct
from typing import Any

import numpy as np


def decode(kind: str, content: bytes, options: dict[str, Any]) -> bytes:
    """What a member becomes: `kind` is idx, csv or nifti, or empty for a copy."""
    if kind == "idx":
        return idx(content)
    if kind == "csv":
        return csv(content, **options)
    return nifti(content, **options) if kind == "nifti" else content


def idx(content: bytes) -> bytes:
    """The IDX format of MNIST, gzipped: two zeros, a type (8 is uint8), the count of axes, their big-endian sizes."""
    raw = gzip.decompress(content)
    axes = raw[3]
    shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    return _npy(np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape))


def csv(content: bytes, columns: list[int], shape: list[int]) -> bytes:
    """The columns from the first to before the second, of gzipped lines of numbers, as uint8 (lines, *shape)."""
    values = np.loadtxt(io.BytesIO(gzip.decompress(content)), delimiter=",")[:, slice(*columns)]
    return _npy(values.astype(np.uint8).reshape(-1, *shape))


def nifti(content: bytes, shape: list[int], spacing: list[float]) -> bytes:
    """A raw int16 volume, x fastest, as NIfTI-1 with shape and spacing (mm) along x, y, z; orientation unknown."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)  # int16, 16 bits
    struct.pack_into("<8f", header, 76, 1.0, *spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352.0, 1.0, 0.0)  # where the data begin, scale, offset
    header[123] = 2  # mm
    header[344:348] = b"n+1\0"
    return bytes(header) + content


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()
