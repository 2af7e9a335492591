"""A folder of images as training data: decoded, normalised to [0, 1], split by file, cached in memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invreg.io import Image, InputError, read_image
from invreg.train.config import Data

Array = npt.NDArray[np.float32]
Item = tuple[int, int]  # the number of a file, and that of an image in it

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue (ITU-R BT.601)
NAMED = 3  # files that a sentence names


class ImageFolder:
    """The images of all files in a folder and its subfolders: PNG, JPEG, TIFF, DICOM, NPY and all of read_image.

    Values are scaled to [0, 1] and clipped: by `data.window` (in the unit of the file, such as HU), by
    `data.percentiles` of each image, or else by the bit depth; floating-point values without either must lie in [0, 1].
    Colour becomes grey by its luma, grey becomes colour by repeating it. Slices of a volume are images of one file; an
    NPY file holds (h, w), slices (n, h, w), or colour (h, w, 3).

    train, validation: items of either part; a file is in one of them, drawn by `seed`. notes: what was skipped, and how
    values were scaled. smallest: sides of an image in pixels below which it is skipped. Raises InputError where the
    folder is missing, fewer than two files are left, or values cannot be scaled.
    """

    def __init__(self, data: Data, smallest: int = 1, seed: int = 0) -> None:
        if data.folder is None:
            raise InputError("no folder of training images given: --data FOLDER")
        self.data, self.folder = data, Path(data.folder)
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: no such folder; --data takes a folder of images")
        if data.window and data.percentiles:
            raise InputError("data.window and data.percentiles are both given; values are scaled by one of them")
        self.files: list[Path] = []
        self._kept: dict[int, Array] = {}
        self._room = data.cache * 2**30
        counts = self._survey(smallest)
        order = torch.randperm(len(self.files), generator=torch.Generator().manual_seed(seed)).tolist()
        held = set(order[: max(1, round(data.validation * len(order)))])
        items = [(file, k) for file, count in enumerate(counts) for k in range(count)]
        self.train = [item for item in items if item[0] not in held]
        self.validation = [item for item in items if item[0] in held]

    def _survey(self, smallest: int) -> list[int]:
        """Decode every file once, keep those that will do, and say which will not; images in each."""
        counts: list[int] = []
        skipped: list[str] = []
        found = sorted(p for p in self.folder.rglob("*") if p.is_file() and not p.name.startswith("."))
        for path in found:
            name = str(path.relative_to(self.folder))
            try:
                image = _decoded(path)
            except InputError as error:
                skipped.append(f"{name} ({str(error).removeprefix(f'{path}: ')})")
                continue
            if min(image.values.shape[-2:]) < smallest:
                h, w = image.values.shape[-2:]
                skipped.append(f"{name} ({h} x {w} pixels, fewer than {smallest})")
                continue
            if not np.isfinite(image.values).all():
                skipped.append(f"{name} (values that are not finite)")
                continue
            images = self._scaled(path, image)
            if self._room >= images.nbytes:
                self._room -= images.nbytes
                self._kept[len(self.files)] = images
            self.files.append(path)
            counts.append(len(images))
        told = f"{len(skipped)} of {len(found)} files skipped: {'; '.join(skipped[:NAMED])}"
        told += f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
        if len(self.files) < 2:
            left = f"; {told}" if skipped else ""
            raise InputError(
                f"{self.folder}: {len(self.files)} files of images to train on, and one must be left for "
                f"validation{left}; give a folder of at least 2"
            )
        self.notes = [f"{sum(counts)} images of {len(counts)} files, {self._scale()}", *([told] if skipped else [])]
        return counts

    def _scale(self) -> str:
        d = self.data
        if d.window:
            return f"scaled so that {d.window[0]:g} and {d.window[1]:g} are 0 and 1"
        if d.percentiles:
            return f"each scaled so that its percentiles {d.percentiles[0]:g} and {d.percentiles[1]:g} are 0 and 1"
        return "scaled by their bit depth"

    def _scaled(self, path: Path, image: Image) -> Array:
        """All images of a file in [0, 1], (n, channel, h, w)."""
        values = np.asarray(image.values, np.float32)
        axes = image.axes.split(":")
        if axes[0] != "channel":
            stack = values.reshape(-1, 1, *values.shape[-2:])
        else:
            stack = values.reshape(1, -1, *values.shape[-2:])
        d, bits = self.data, image.metadata.get("bits")
        if d.window:
            low, high = d.window
        elif d.percentiles:
            low, high = np.percentile(stack, d.percentiles)
        elif isinstance(bits, int) and image.quantity != "HU" and stack.min() >= 0:
            low, high = 0, 2**bits - 1
        elif image.quantity != "HU" and stack.min() >= 0 and stack.max() <= 1:
            low, high = 0, 1
        else:
            unit = f" {image.quantity}" if image.quantity else ""
            raise InputError(
                f"{path}: values from {stack.min():g} to {stack.max():g}{unit}, which no bit depth scales; say "
                "which values become 0 and 1, such as --set data.window=[-1000,1000], or --set data.percentiles=[0,100]"
            )
        stack = ((stack - low) / max(high - low, np.finfo(np.float32).tiny)).clip(0, 1)
        if self.data.channels == 1 and stack.shape[1] == 3:
            return np.einsum("nchw,c->nhw", stack, LUMA)[:, None]
        return np.repeat(stack, 3, axis=1) if self.data.channels == 3 and stack.shape[1] == 1 else stack

    def __getitem__(self, item: Item) -> Tensor:
        """An image (channel, h, w) in [0, 1]."""
        file, k = item
        images = self._kept.get(file)
        if images is None:
            images = self._scaled(self.files[file], _decoded(self.files[file]))
        return torch.from_numpy(images[k])


@dataclass(frozen=True)
class View:
    """Which part of an image is taken and how it is turned: a square of `side` pixels, quarter turns, a flip."""

    top: int
    left: int
    side: int
    turns: int = 0
    flip: bool = False

    def __call__(self, image: Tensor) -> Tensor:
        """The part (*batch, side, side) of an image (*batch, h, w)."""
        part = image[..., self.top : self.top + self.side, self.left : self.left + self.side]
        part = torch.rot90(part, self.turns, (-2, -1))
        return part.flip(-1) if self.flip else part


def middle(shape: tuple[int, ...], side: int) -> View:
    """The square in the middle of an image (..., h, w), as it stands."""
    return View((shape[-2] - side) // 2, (shape[-1] - side) // 2, side)


def draw(shape: tuple[int, ...], side: int, generator: torch.Generator) -> View:
    """A square of an image (..., h, w) anywhere in it, turned and flipped at random."""

    def number(end: int) -> int:
        return int(torch.randint(end, (), generator=generator))

    return View(number(shape[-2] - side + 1), number(shape[-1] - side + 1), side, number(4), bool(number(2)))


def resized(image: Tensor, side: int) -> Tensor:
    """An image (channel, n, n) on side x side pixels; smaller ones hold averages."""
    if image.shape[-1] == side:
        return image
    made = torch.nn.functional.interpolate(image[None], (side, side), mode="bilinear", antialias=True)
    return made[0].clamp(0, 1)


def _decoded(path: Path) -> Image:
    """The image of a file. Raises InputError where there is none in it."""
    if path.suffix.lower() == ".npy":
        return _numpy(path)
    try:
        image = read_image(path)
    except MemoryError:
        raise
    except InputError:
        raise
    except Exception as error:  # damaged bytes lead libraries to anything
        raise InputError(f"{path}: cannot be read ({type(error).__name__})") from None
    axes = image.axes.split(":")
    if len(axes) > 3 or (axes[0] == "channel" and image.values.shape[0] not in (1, 3)):
        raise InputError(f"{path}: {image.axes} of shape {image.values.shape}; expected grey or three colours")
    return image


def _numpy(path: Path) -> Image:
    try:
        stored: Any = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError):
        raise InputError(f"{path}: no array of numbers in it") from None
    if stored.dtype.kind not in "buif" or stored.ndim not in (2, 3) or not stored.size:
        raise InputError(f"{path}: expected real numbers (h, w), (n, h, w) or (h, w, 3)")
    bits = {"b1": 1, "u1": 8, "u2": 16}.get(stored.dtype.str[1:])
    meta = {} if bits is None else {"bits": bits}
    if stored.ndim == 3 and stored.shape[2] == 3:
        return Image(np.moveaxis(stored, 2, 0), "channel:height:width", metadata=meta, name=path.stem)
    return Image(stored, "height:width" if stored.ndim == 2 else "depth:height:width", metadata=meta, name=path.stem)
