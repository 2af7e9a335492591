"""A measurement with its operator: what was measured, through what, with what noise. docs/format.md has the layout."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from invreg.io import native
from invreg.io.correct import correct
from invreg.io.errors import InputError, words
from invreg.io.hdf5 import opened, text
from invreg.io.image import Image
from invreg.io.images import read_image
from invreg.io.models import MODELS
from invreg.io.reading import read
from invreg.io.writing import replaced

if TYPE_CHECKING:
    import torch

    from invreg.core import Linear

VERSION = 1


@dataclass(frozen=True, eq=False)
class Measurement:
    """Values and the operator that they came through.

    values: (*batch, *codomain of the operator). operator: its name in `models.MODELS`, or "x-ray" for a CT scan.
    shape: (h, w) of the image. parameters: numbers and words, arrays: what else it is made of (a kernel, a mask).
    noise: its `name` ("none", "gaussian", "poisson", "poisson-gaussian", "instrument", "unknown"), and of what it knows
    `std` and `value`, that of one photon, or `a` and `b` of the variance a + b value, one a band, with `saturation`.
    truth: the image, or None. sources: where this came from, with the seed. made: an operator that is there already.
    """

    values: npt.NDArray[Any]
    operator: str
    shape: tuple[int, ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    noise: dict[str, Any] = field(default_factory=lambda: {"name": "unknown"})
    truth: npt.NDArray[Any] | None = None
    sources: dict[str, Any] = field(default_factory=dict)
    name: str = "measurement"
    made: Any = None

    @property
    def A(self) -> "Linear":
        """The operator, (*batch, h, w) -> values. Raises InputError where it cannot be made of the parameters."""
        if self.made is not None:
            return self.made  # type: ignore[no-any-return]
        if self.operator not in MODELS:
            raise InputError(f"{self.name}: unknown operator {self.operator!r}; known are {', '.join(MODELS)}")
        try:
            return MODELS[self.operator](self.shape, self.parameters, self.arrays)
        except KeyError as error:
            raise InputError(f"{self.name}: the operator {self.operator} lacks {error} in this file") from None
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.name}: the operator {self.operator} cannot be made: {words(error)}") from None

    @property
    def y(self) -> "torch.Tensor":
        """The values as a tensor. Raises InputError where they are not all finite or do not fit the operator."""
        import torch

        space = self.A.codomain.shape
        if self.values.shape[-len(space) :] != space or not np.isfinite(self.values).all():
            raise InputError(
                f"{self.name}: values of shape {self.values.shape}; expected finite ones that end in {space}, the "
                f"measurement of {self.operator}"
            )
        return torch.from_numpy(np.ascontiguousarray(self.values))


def recognise(path: Path) -> bool:
    """True for an HDF5 file that names our layout of measurements."""
    import h5py

    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with opened(path) as file:
        return text(file.attrs.get("format", "")) == native.MEASUREMENT


def write_measurement(path: str | Path, measurement: Measurement) -> None:
    """Write in our own layout (docs/format.md), replacing what is there. Raises InputError."""
    import h5py

    with replaced(Path(path)) as part, h5py.File(part, "w") as file:
        file.attrs.update({"format": native.MEASUREMENT, "version": VERSION, "name": measurement.name})
        file.create_dataset("values", data=measurement.values, compression="gzip", shuffle=True)
        describe(file, measurement)
        if measurement.truth is not None:
            file.create_dataset("truth", data=measurement.truth, compression="gzip", shuffle=True)


def describe(file: Any, measurement: Measurement) -> None:
    """The groups operator, noise and simulation of an open h5py.File."""
    group = file.create_group("operator")
    group.attrs.update({"name": measurement.operator, "shape": list(measurement.shape)})
    group.attrs["parameters"] = json.dumps(measurement.parameters)
    for key, value in measurement.arrays.items():
        group[key] = value
    file.create_group("noise").attrs.update(measurement.noise)
    file.create_group("simulation").attrs.update(measurement.sources)


def read_measurement(path: str | Path, psf: str | Path | None = None) -> Measurement:
    """A measurement with its operator: our own layout, a CT scan of any format, or an image with a PSF file.

    psf: an image of the point spread function; for an image file NAME.* by default NAME_psf.* or psf.* beside it. An
    image is then taken as the valid part of the convolution of a larger one. Raises InputError.
    """
    path = Path(path)
    if psf is None and recognise(path):
        return _own(path)
    beside = Path(psf) if psf is not None else _beside(path)
    if beside is not None:
        return _blurred(path, beside)
    from invreg.operators import XRay

    scan = correct(read(path))
    if scan.cone is not None:
        raise InputError(f"{path}: a cone beam; use invreg.io.read and the geometry of the scan")
    bins = scan.projections.shape[2]
    A = XRay(scan.geometry, (bins, bins))  # type: ignore[arg-type]
    return Measurement(
        scan.projections.transpose(1, 0, 2), "x-ray", A.domain.shape, sources=scan.sources, name=scan.name, made=A
    )


def _own(path: Path) -> Measurement:
    with opened(path) as file:
        version = int(file.attrs.get("version", 0))
        if not 1 <= version <= VERSION:
            raise InputError(f"{path}: version {version} of the layout; this program reads versions 1 to {VERSION}")
        if missing := [key for key in ("values", "operator") if key not in file]:
            raise InputError(f"{path}: {' and '.join(missing)} missing; found only {', '.join(file) or 'nothing'}")
        group = file["operator"]
        try:
            parameters = json.loads(text(group.attrs.get("parameters", "{}")))
            values = file["values"][()]
            truth = file["truth"][()] if "truth" in file else None
            arrays = {key: np.asarray(value[()]) for key, value in group.items()}
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path}: cannot be read ({words(error)}); copy it again") from None
        noise = dict(file["noise"].attrs) if "noise" in file else {"name": "unknown"}
        return Measurement(
            values,
            text(group.attrs.get("name", "")),
            tuple(int(n) for n in group.attrs.get("shape", ())),
            parameters,
            arrays,
            {
                key: text(value) if isinstance(value, str | bytes) else np.asarray(value).tolist()
                for key, value in noise.items()
            },
            truth,
            dict(file["simulation"].attrs) if "simulation" in file else {},
            f"{path}",
        )


def _beside(path: Path) -> Path | None:
    """The PSF file of an image. Raises InputError where there are several."""
    if not path.is_file():
        return None
    found = sorted(f for f in path.parent.iterdir() if f.stem in (f"{path.stem}_psf", "psf") and f != path)
    own = [f for f in found if f.stem != "psf"] or found
    if len(own) > 1:
        raise InputError(f"{path}: several PSF files beside it ({', '.join(f.name for f in own)}); say which by psf=")
    return own[0] if own else None


def kernel_of(path: Path) -> npt.NDArray[np.float32]:
    """A point spread function of sum 1 from an image, (kh, kw), its centre in the middle.

    Raises InputError for colours, volumes, values that are not finite, much below zero or without a sum, and where the
    light is not in the middle.
    """
    values = light(read_image(path)).astype(np.float64)
    if values.ndim != 2:
        raise InputError(f"{path}: a PSF of shape {values.shape}; expected a grey image (height, width)")
    if not np.isfinite(values).all() or not values.sum() > 0 or values.min() < -0.05 * values.max():
        raise InputError(f"{path}: a PSF with values from {values.min():g} to {values.max():g}; expected light, >= 0")
    kernel = values / values.sum()
    middle = [n // 2 for n in kernel.shape]
    place = [float((kernel.sum(1 - k) * np.arange(kernel.shape[k])).sum()) for k in (0, 1)]
    if max(abs(p - m) for p, m in zip(place, middle, strict=True)) > 1:
        raise InputError(
            f"{path}: the light of the PSF is around row {place[0]:.1f} and column {place[1]:.1f}, its middle is "
            f"{middle[0]}, {middle[1]}; cut it so that they agree, or the image would move"
        )
    return kernel.astype(np.float32)


def _blurred(path: Path, psf: Path) -> Measurement:
    """An image and its PSF: the valid part of a convolution, so that nothing is assumed of the outside."""
    image, kernel = read_image(path), kernel_of(psf)
    values = light(image)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {image.warnings[-1]}; mend them or leave them out")
    shape = tuple(n + k - 1 for n, k in zip(values.shape[-2:], kernel.shape, strict=True))
    return Measurement(
        values,
        "blur",
        shape,
        {"boundary": "valid"},
        {"kernel": kernel},
        sources={"values": str(path), "kernel": str(psf), **({"unit": image.quantity} if image.quantity else {})},
        name=image.name,
    )


def light(image: Image) -> npt.NDArray[Any]:
    """Values in proportion to light: those of pictures from 0 to 1, of others as they are."""
    return image.linear if "encoding" in image.metadata else image.values
