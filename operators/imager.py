"""The linear part of a satellite image: each band blurred by its own point spread function and sampled."""

import math
from collections.abc import Iterator, Sequence
from types import EllipsisType

import torch
from torch import Tensor

from invreg.core import Linear, Space
from invreg.operators.arguments import image_shape
from invreg.operators.blur import Blur
from invreg.operators.mtf import MTF, psf_border

Pair = tuple[float, float]
Place = tuple[EllipsisType | int | slice, ...]


class Imager(Linear):
    """A scene blurred and sampled, in its own unit: (*batch, H, W) -> (*batch, h, w) through one MTF.

    A sequence of MTFs makes it bands of a scene, (*batch, bands, H, W) -> (*batch, bands, h, w), each through its own.

    The scene has `factor` pixels to one of the image along each axis, and a border of r scene pixels that only the
    blur reaches, so no boundary is made up: h = (H - 2 r) // factor in the plainest case. r = `border` is radius x
    factor, and as much more as shifts need. Image pixel (i, j) of band n is centred at row

        r + phase[0] + factor (i + shifts[n][0]),

    and so for the column. The default phase, (factor - 1) / 2, puts it in the middle of a block of factor^2 scene
    pixels. phase is in scene pixels, within [0, factor); shifts are misregistrations of the bands in image pixels,
    (rows, columns). Fractions of a scene pixel and shifts are folded into the point spread functions (`MTF.psf`), as
    exact as the scene is band-limited.

    It works through tiles of at most `tile` x `tile` image pixels, each with its border, which changes the result by
    round-off only. Beside scene and image a tile needs about 5 (tile x factor + 2 r)^2 numbers (times the batch). The
    transfer functions are kept in float64; `.to(dtype)` spares a conversion a tile.
    Raises ValueError on wrong arguments, such as a scene smaller than the point spread function.
    """

    blurs: Sequence[Blur]

    def __init__(
        self,
        shape: tuple[int, int],
        mtf: MTF | Sequence[MTF],
        factor: int,
        *,
        radius: int = 8,
        phase: Pair | None = None,
        shifts: Sequence[Pair] | None = None,
        tile: int = 512,
    ) -> None:
        for name, value in {"factor": factor, "radius": radius, "tile": tile}.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"the {name} of an Imager must be a whole number from 1 on; got {value}")
        shape = image_shape(shape, "Imager")
        phase = ((factor - 1) / 2,) * 2 if phase is None else phase
        mtfs = [mtf] if isinstance(mtf, MTF) else list(mtf)
        shifts = [(0.0, 0.0)] * len(mtfs) if shifts is None else shifts
        if not mtfs or len(shifts) != len(mtfs):
            raise ValueError(f"an Imager takes one MTF and one shift a band; got {len(mtfs)} and {len(shifts)}")
        if len(phase) != 2 or not all(0 <= p < factor for p in phase):
            raise ValueError(f"the phase must be two numbers in [0, factor = {factor}) scene pixels; got {phase}")
        start = [math.ceil(p - 0.5) for p in phase]
        fraction = [(p - s) / factor for p, s in zip(phase, start, strict=True)]
        moves = [(fraction[0] + s[0], fraction[1] + s[1]) for s in shifts]
        border = psf_border(factor, radius, moves)
        size = [(n - 2 * border - s - 1) // factor + 1 for n, s in zip(shape, start, strict=True)]
        if min(size) < 1:
            extent = 2 * border + 1
            raise ValueError(
                f"the scene {tuple(shape)} is smaller than the point spread function, {extent} x {extent} scene "
                f"pixels (radius {radius} x factor {factor} on either side); make it larger or the radius less"
            )
        bands = () if isinstance(mtf, MTF) else (len(mtfs),)
        super().__init__(Space((*bands, *shape)), Space((*bands, *size)))
        self.factor, self.start, self.border = factor, start, border
        # tiles of equal size, so that the last is not mostly empty
        self.tile = [-(-n // -(-n // tile)) for n in size]
        seen = (factor * (self.tile[0] - 1) + 2 * border + 1, factor * (self.tile[1] - 1) + 2 * border + 1)
        psfs = [m.psf(factor, radius, move) for m, move in zip(mtfs, moves, strict=True)]
        psfs = [torch.nn.functional.pad(psf, [border - psf.shape[0] // 2] * 4) for psf in psfs]
        self.blurs = torch.nn.ModuleList(Blur(psf, seen, "valid") for psf in psfs)  # type: ignore[assignment]
        self.bound = max(_bound(psf, factor) for psf in psfs)

    def _tiles(self) -> Iterator[tuple[Blur, Place, Place]]:
        """The blur of a tile and its place in the scene and in the image, band by band."""
        axes = []
        sizes, scenes, seens = self.codomain.shape[-2:], self.domain.shape[-2:], self.blurs[0].domain.shape
        for n, step, start, scene, seen in zip(sizes, self.tile, self.start, scenes, seens, strict=True):
            axis = []
            for i in range(0, n, step):
                begin = start + self.factor * i
                axis.append((slice(begin, min(begin + seen, scene)), slice(i, min(i + step, n))))
            axes.append(axis)
        for n, blur in enumerate(self.blurs):
            band = (..., n) if len(self.domain.shape) == 3 else (...,)
            for rows, image_rows in axes[0]:
                for columns, image_columns in axes[1]:
                    yield blur, (*band, rows, columns), (*band, image_rows, image_columns)

    def _forward(self, x: Tensor) -> Tensor:
        y = x.new_empty(*self.domain.batch(x), *self.codomain.shape)
        for blur, scene, image in self._tiles():
            part = _fitted(x[scene], blur.domain.shape)
            y[image] = _fitted(blur(part)[..., :: self.factor, :: self.factor], y[image].shape[-2:])
        return y

    def _adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(*self.codomain.batch(y), *self.domain.shape)
        for blur, scene, image in self._tiles():
            values = y[image]
            part = y.new_zeros(*values.shape[:-2], *blur.codomain.shape)
            h, w = (self.factor * n for n in values.shape[-2:])
            part[..., : h : self.factor, : w : self.factor] = values
            x[scene] += _fitted(blur.adjoint(part), x[scene].shape[-2:])
        return x

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        """From 64 image pixels on the bound that is reached as the image grows; smaller ones are measured."""
        return self.bound if min(self.codomain.shape[-2:]) >= 64 else super().norm(device, dtype)


def _bound(psf: Tensor, factor: int) -> float:
    """The norm on an endless scene: A A^H is Toeplitz, its symbol the mean of |H|^2 over what sampling makes one."""
    n = 8 * (psf.shape[-1] // 2) // factor * factor
    square = torch.fft.fft2(psf, (n, n)).abs().square()
    folded = square.reshape(factor, n // factor, factor, n // factor).mean((0, 2))
    return float(folded.max()) ** 0.5


def _fitted(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x cut to `shape`, or with zeros after its rows and columns: only pixels that are cut off later see them."""
    h, w = shape
    if x.shape[-2] < h or x.shape[-1] < w:
        return torch.nn.functional.pad(x, (0, w - x.shape[-1], 0, h - x.shape[-2]))
    return x[..., :h, :w]
