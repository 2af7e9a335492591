"""Measurement and image files: one reader a format, and the corrections before a reconstruction."""

from invreg.io.correct import correct
from invreg.io.errors import InputError
from invreg.io.header import Header, Stored
from invreg.io.image import Image
from invreg.io.images import read_image, write_image
from invreg.io.measurement import Measurement, read_measurement, write_measurement
from invreg.io.noise import line_integral_std
from invreg.io.reading import header, read
from invreg.io.rebin import to_parallel
from invreg.io.scan import Scan
from invreg.io.writing import write, write_tiff, write_volume_hdf5

__all__ = [
    "Header",
    "Image",
    "InputError",
    "Measurement",
    "Scan",
    "Stored",
    "correct",
    "header",
    "line_integral_std",
    "read",
    "read_image",
    "read_measurement",
    "to_parallel",
    "write",
    "write_image",
    "write_measurement",
    "write_tiff",
    "write_volume_hdf5",
]
