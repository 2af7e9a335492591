"""Writing: to a temporary name first, then renamed, so that a file is whole or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from invreg.io import native
from invreg.io.errors import InputError
from invreg.io.scan import Scan


def check_folder(path: Path) -> None:
    """Raise InputError unless the folder of `path` is there."""
    if not path.parent.is_dir():
        raise InputError(f"{path}: cannot be written: there is no folder {path.parent}; make it or choose another")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder, renamed to `path` when all went well, removed when not.

    Raises InputError where the folder is missing, cannot be written or its disk is full.
    """
    check_folder(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:  # h5py reports a full disk or a closed folder as a plain OSError as well
        told = os.strerror(error.errno) if error.errno else error
        raise InputError(f"{path}: cannot be written ({told}); choose another folder") from None
    finally:
        part.unlink(missing_ok=True)


def write(path: str | Path, scan: Scan) -> None:
    """Write a Scan in our own layout (docs/format.md), replacing what is there. Raises InputError."""
    import h5py

    with replaced(Path(path)) as part, h5py.File(part, "w") as file:
        native.save(file, scan)


def write_tiff(
    path: str | Path,
    array: npt.NDArray[np.float32],
    *,
    pixel_size: float = 1.0,
    slice_thickness: float | None = None,
    unit: str = "pixel",
) -> None:
    """Write images (row, h, w) or (h, w) as a float32 stack, one page a row, with the pixel size in its tags.

    The resolution counts pixels per `unit`; the unit and the distance of pages stand in the description as ImageJ
    writes them, so that ImageJ, Fiji and napari show lengths; slice_thickness is that distance, by default the pixel
    size. Replaces what is there. Raises InputError where the file cannot be written.
    """
    import tifffile

    pages = np.asarray(array, dtype=np.float32)
    pages = pages[None] if pages.ndim == 2 else pages
    spacing = pixel_size if slice_thickness is None else slice_thickness
    told = f"ImageJ=1.54\nimages={len(pages)}\nslices={len(pages)}\nunit={unit}\nspacing={spacing}\n"
    big = pages.nbytes > 2**32 - 2**25
    with replaced(Path(path)) as part, tifffile.TiffWriter(part, bigtiff=big) as tiff:
        tiff.write(
            pages,
            photometric="minisblack",
            description=told,
            metadata=None,
            resolution=(1 / pixel_size, 1 / pixel_size),
            resolutionunit="NONE",
        )


def write_volume_hdf5(
    path: str | Path,
    array: npt.NDArray[np.float32],
    *,
    pixel_size: float = 1.0,
    slice_thickness: float | None = None,
    unit: str = "pixel",
) -> None:
    """Write a volume (row, h, w) as the dataset /volume with its axes, pixel size and units as attributes.

    Values are attenuation per `unit`; slice_thickness becomes an attribute where it is given. Replaces what is there.
    Raises InputError where it cannot be written.
    """
    import h5py

    with replaced(Path(path)) as part, h5py.File(part, "w") as file:
        volume = file.create_dataset("volume", data=np.asarray(array, dtype=np.float32))
        volume.attrs.update(
            {"axes": "row:height:width", "units": f"1/{unit}", "pixel_size": pixel_size, "pixel_size_units": unit}
            | ({} if slice_thickness is None else {"slice_thickness": slice_thickness})
        )
