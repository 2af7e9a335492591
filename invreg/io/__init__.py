"""Measurement and image files: one reader a format, and the corrections before a reconstruction."""

from invreg.io.correct import correct
from invreg.io.errors import InputError
from invreg.io.header import Header, Stored
from invreg.io.noise import line_integral_std
from invreg.io.reading import header, read
from invreg.io.rebin import to_parallel
from invreg.io.scan import Scan
from invreg.io.writing import write, write_tiff, write_volume_hdf5

__all__ = [
    "Header",
    "InputError",
    "Scan",
    "Stored",
    "correct",
    "header",
    "line_integral_std",
    "read",
    "to_parallel",
    "write",
    "write_tiff",
    "write_volume_hdf5",
]
