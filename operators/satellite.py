"""The whole chain of an optical satellite instrument: from a scene's radiance to digital numbers."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from invreg.operators.imager import Imager, Pair
from invreg.operators.instruments import INSTRUMENTS, Band, Instrument
from invreg.operators.pansharpening import PanMultispectral
from invreg.operators.radiometry import Radiometry

Product = Literal["multispectral", "panchromatic", "pair"]


class Satellite(nn.Module):
    """An instrument over scenes of one size: its linear part `A` and its `radiometry`.

    instrument: an `Instrument` or a name of `INSTRUMENTS`. shape: (H, W) of the scene. factor: scene pixels to one
    of the (finer) image along each axis, so that one is `spacing` metres wide. radius, shifts and tile as in
    `Imager`. product:
    - "multispectral": scenes (*batch, bands, H, W), A an `Imager` of the bands;
    - "panchromatic": scenes (*batch, H, W), A an `Imager`;
    - "pair": scenes (*batch, bands, H, W), A a `PanMultispectral`.

    Scenes are in W m^-2 sr^-1 um^-1, and so is A(scene), which solvers work with. Raises ValueError on wrong arguments.
    """

    def __init__(
        self,
        instrument: Instrument | str,
        shape: tuple[int, int],
        product: Product = "multispectral",
        *,
        factor: int = 2,
        radius: int = 8,
        shifts: Sequence[Pair] | None = None,
        tile: int = 512,
    ) -> None:
        super().__init__()
        if isinstance(instrument, str):
            if instrument not in INSTRUMENTS:
                raise ValueError(f"instruments are {', '.join(map(repr, INSTRUMENTS))}; got {instrument!r}")
            instrument = INSTRUMENTS[instrument]
        pan, bands = instrument.panchromatic, instrument.bands
        if product not in ("multispectral", "panchromatic", "pair"):
            raise ValueError(f"products are 'multispectral', 'panchromatic' and 'pair'; got {product!r}")
        mtfs = [band.mtf for band in bands]
        if product == "multispectral":
            self.A: Imager | PanMultispectral = Imager(shape, mtfs, factor, radius=radius, shifts=shifts, tile=tile)
            self.radiometry = _radiometry(bands)
            self.spacing = bands[0].gsd / factor
            return
        if pan is None:
            raise ValueError(f"{instrument.name} has no panchromatic band; ask for the product 'multispectral'")
        self.spacing = pan.gsd / factor
        if product == "panchromatic":
            self.A = Imager(shape, pan.mtf, factor, radius=radius, shifts=shifts, tile=tile)
            self.radiometry = Radiometry(pan.gain, pan.noise, bits=pan.bits)
            return
        ratio = instrument.ratio
        self.A = PanMultispectral(
            shape,
            pan.mtf,
            instrument.weights,
            mtfs,
            factor=factor,
            ratio=ratio,
            radius=radius,
            shifts=shifts,
            tile=tile,
        )
        self.radiometry = _radiometry([pan] * ratio**2 + list(bands))

    def simulate(self, scene: Tensor, generator: torch.Generator) -> Tensor:
        """Digital numbers of a scene, of the shape of A(scene): A, noise, gain, rounding and saturation."""
        return self.radiometry.simulate(self.A(scene), generator)


def _radiometry(bands: Sequence[Band]) -> Radiometry:
    return Radiometry([band.gain for band in bands], [band.noise for band in bands], bits=bands[0].bits)
