"""A panchromatic and a multispectral image of one scene, as one linear operator."""

from collections.abc import Sequence

import torch
from torch import Tensor

from invreg.core import Linear, Space
from invreg.operators.imager import Imager, Pair
from invreg.operators.mtf import MTF


class PanMultispectral(Linear):
    """The pair of images that pan-sharpening starts from: (*batch, bands, H, W) -> (*batch, ratio^2 + bands, h, w).

    The last `bands` channels are the multispectral image, factor x ratio scene pixels to one of its own. The first
    ratio^2 hold the panchromatic image (ratio h, ratio w), of sum_n weights[n] scene[n] and `factor` scene pixels to
    one of its own: channel ratio i + j holds its pixels at row i and column j of each block of ratio x ratio. `split`
    takes the two apart, `join` puts them together. A block lies where the multispectral pixel does, unless `shifts`
    (`Imager`, in multispectral pixels) move the bands.

    `radius` is that of either point spread function in pixels of its own image, so the border of the scene is radius x
    factor x ratio, or more for shifts. Raises ValueError on wrong arguments, as `Imager` does.
    """

    weights: Tensor

    def __init__(
        self,
        shape: tuple[int, int],
        panchromatic: MTF,
        weights: Sequence[float],
        multispectral: Sequence[MTF],
        *,
        factor: int = 1,
        ratio: int = 4,
        radius: int = 8,
        shifts: Sequence[Pair] | None = None,
        tile: int = 512,
    ) -> None:
        if not isinstance(ratio, int) or ratio < 1:
            raise ValueError(f"the ratio of the two images must be a whole number from 1 on; got {ratio}")
        values = torch.as_tensor(list(weights), dtype=torch.float64)
        if len(values) != len(multispectral) or not bool((values >= 0).all()) or not 0 < float(values.sum()) < 1e300:
            raise ValueError(
                f"the panchromatic image takes one finite weight >= 0 for each of the {len(multispectral)} bands, "
                f"not all 0; got {tuple(weights)}"
            )
        bands = Imager(shape, multispectral, factor * ratio, radius=radius, shifts=shifts, tile=tile)
        _, h, w = bands.codomain.shape
        border = radius * factor
        cut = bands.border - border  # the border is wider for the coarser image
        inner = [ratio * factor * n + 2 * border for n in (h, w)]
        pan = Imager((inner[0], inner[1]), panchromatic, factor, radius=radius, tile=tile * ratio)
        super().__init__(Space((len(multispectral), *shape)), Space((ratio**2 + len(multispectral), h, w)))
        self.pan, self.bands, self.ratio = pan, bands, ratio
        self.rows, self.columns = (slice(cut, cut + n) for n in inner)
        self.register_buffer("weights", values)

    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(panchromatic (*batch, ratio h, ratio w), multispectral (*batch, bands, h, w)) of a pair."""
        self.codomain.check(y, self, "split of ")
        batch, r = self.codomain.batch(y), self.ratio
        _, h, w = self.codomain.shape
        # (i, j, h, w) -> (h, i, w, j)
        blocks = y[..., : r**2, :, :].reshape(*batch, r, r, h, w).movedim((-4, -3), (-3, -1))
        return blocks.reshape(*batch, r * h, r * w), y[..., r**2 :, :, :]

    def join(self, panchromatic: Tensor, multispectral: Tensor) -> Tensor:
        """The pair of (*batch, ratio h, ratio w) and (*batch, bands, h, w): what `split` takes apart."""
        _, h, w = self.codomain.shape
        r = self.ratio
        Space((r * h, r * w)).check(panchromatic, self, "the panchromatic image of ")
        self.bands.codomain.check(multispectral, self, "the multispectral image of ")
        batch = panchromatic.shape[:-2]
        blocks = panchromatic.reshape(*batch, h, r, w, r).movedim((-3, -1), (-4, -3))
        return torch.cat([blocks.reshape(*batch, r**2, h, w), multispectral], -3)

    def _forward(self, x: Tensor) -> Tensor:
        weighted = x.new_zeros(())
        for n, weight in enumerate(self.weights.to(x)):  # band by band, so that no second scene is made
            weighted = weighted + weight * x[..., n, self.rows, self.columns]
        return self.join(self.pan(weighted), self.bands(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        panchromatic, multispectral = self.split(y)
        x: Tensor = self.bands.adjoint(multispectral)
        scene = self.pan.adjoint(panchromatic)
        for n, weight in enumerate(self.weights.to(y)):
            x[..., n, self.rows, self.columns] += weight * scene
        return x
