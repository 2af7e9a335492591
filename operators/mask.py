"""Missing pixels."""

import torch
from torch import Tensor

from invreg.core import Linear, Space


class Mask(Linear):
    """The pixels where `mask`, a boolean tensor (*shape), is true: (*batch, *shape) -> (*batch, *shape), 0 elsewhere.

    With `compact` those pixels alone, in row-major order: (*batch, count). The unit is kept, the adjoint fills with 0.
    A mask with a leading channel axis chooses for each channel. Missing values that are not numbers have to be set to 0
    where they are not wanted: without `compact` the mask multiplies. Raises ValueError on a mask that is not boolean or
    keeps nothing.
    """

    mask: Tensor
    places: Tensor

    def __init__(self, mask: Tensor, *, compact: bool = False) -> None:
        mask = torch.as_tensor(mask)
        if mask.dtype != torch.bool or not mask.ndim or not bool(mask.any()):
            found = f"{mask.dtype} {tuple(mask.shape)} with {int(mask.count_nonzero())} kept"
            raise ValueError(f"Mask takes a boolean tensor that keeps at least one pixel; got {found}")
        shape = tuple(mask.shape)
        super().__init__(Space(shape), Space((int(mask.sum()),)) if compact else Space(shape))
        self.compact = compact
        if compact:
            self.register_buffer("places", mask.flatten().nonzero()[:, 0])
        else:
            self.register_buffer("mask", mask.to(torch.float32))  # as a number it is five times as fast

    def _forward(self, x: Tensor) -> Tensor:
        if not self.compact:
            return x * self.mask.to(x.dtype)
        return x.flatten(-len(self.domain.shape)).index_select(-1, self.places)

    def _adjoint(self, y: Tensor) -> Tensor:
        if not self.compact:
            return self._forward(y)
        x = y.new_zeros(*y.shape[:-1], self.domain.size).index_copy(-1, self.places, y)
        return x.reshape(*y.shape[:-1], *self.domain.shape)

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        return 1.0


def random_mask(shape: tuple[int, ...], fraction: float, generator: torch.Generator) -> Tensor:
    """A boolean tensor with a `fraction` in (0, 1] of true pixels, their number rounded, at random places."""
    if not 0 < fraction <= 1:
        raise ValueError(f"random_mask takes a fraction in (0, 1] of pixels to keep; got {fraction}")
    mask = torch.zeros(shape, dtype=torch.bool, device=generator.device)
    order = torch.randperm(mask.numel(), generator=generator, device=generator.device)
    mask.view(-1)[order[: max(1, round(fraction * mask.numel()))]] = True
    return mask
