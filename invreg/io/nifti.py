"""NIfTI-1 and NIfTI-2 volumes, plain and compressed."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from invreg.io.errors import InputError, words
from invreg.io.image import Image
from invreg.io.lengths import length
from invreg.io.optional import needed

_AXES = ("time", "depth", "height", "width")
_MAGIC = (b"n+1\0", b"n+2\0")


def recognise(start: bytes) -> bool:
    """True by the first 352 bytes of a file, unpacked."""
    return start[344:348] in _MAGIC or start[4:8] in _MAGIC


def read(path: Path) -> Image:
    """(time, depth, height, width), as many as there are: the file's x runs along the width, y along the height.

    Row 0 is the first along y, slice 0 the first along z. Scale factors of the file are applied. metadata: affine
    (4, 4), from (x, y, z, 1) as indices to millimetres, and header, nibabel's own. Raises InputError.
    """
    with needed("nibabel", path, "NIfTI"):
        import nibabel
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        kind = nibabel.Nifti2Image if data[4:8] == _MAGIC[1] else nibabel.Nifti1Image
        image: Any = kind.from_bytes(data)
        small = image.get_data_dtype().itemsize <= 2 or image.get_data_dtype() == np.float32
        values = np.asarray(image.get_fdata(dtype=np.float32 if small else np.float64))
        told, zooms = image.header.get_xyzt_units()[0], [float(z) for z in image.header.get_zooms()]
        affine, header = np.array(image.affine, np.float64), image.header.copy()
    except Exception as error:  # nibabel, gzip and zlib raise whatever the damaged bytes lead them to
        raise InputError(f"{path}: this NIfTI file cannot be read ({words(error)}); copy it again") from None
    while values.ndim > 2 and values.shape[-1] == 1:
        values = values[..., 0]
    if not 2 <= values.ndim <= 4:
        raise InputError(f"{path}: {values.ndim} axes of shape {values.shape}; expected two to four")
    spatial = min(values.ndim, 3)
    sizes = zooms[:spatial][::-1]
    unit, notes = "mm", []
    if told == "unknown":
        notes = ["the file has no unit of length; mm was taken"]
    else:
        sizes, unit = [length(z, told, str(path))[0] for z in sizes], length(sizes[0], told, str(path))[1]
    return Image(
        values.T,
        ":".join(_AXES[-values.ndim :]),
        "",
        tuple(sizes),
        unit,
        {"affine": affine, "header": header},
        tuple(notes),
        path.name.removesuffix(".gz").removesuffix(".nii"),
        "NIfTI",
    )


def write(path: Path, image: Image) -> None:
    """The values with the affine and units that were read, or the spacing alone. Raises InputError."""
    with needed("nibabel", path, "NIfTI"):
        import nibabel
    affine, header = image.metadata.get("affine"), image.metadata.get("header")
    if affine is None:
        spacing = image.spacing or (1.0,) * 3
        affine = np.diag([*spacing[::-1], *[1.0] * (3 - len(spacing)), 1.0])
    new: Any = nibabel.Nifti1Image(image.values.T, affine)
    if isinstance(header, nibabel.Nifti1Header):
        new.header.set_xyzt_units(*header.get_xyzt_units())
        for key, setter in (("qform_code", new.set_qform), ("sform_code", new.set_sform)):
            setter(affine, int(header[key]))
    elif image.unit in ("mm", "um"):
        new.header.set_xyzt_units({"mm": "mm", "um": "micron"}[image.unit])
    data = new.to_bytes()
    path.write_bytes(gzip.compress(data) if ".gz" in path.suffixes else data)
