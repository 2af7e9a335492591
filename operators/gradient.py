"""The discrete gradient of an image."""

import math

import torch
from torch import Tensor

from invreg.core import Linear, Space


class Gradient(Linear):
    """Forward differences with a Neumann boundary (the last one of each axis is 0), divided by `spacing`.

    (*batch, h, w) -> (*batch, 2, h, w); component 0 runs down the rows, 1 along the columns. With spacing 1
    the unit is that of the image per pixel. The norm is at most sqrt(8) / spacing, reached as the image grows.
    """

    def __init__(self, shape: tuple[int, int], spacing: float = 1.0) -> None:
        super().__init__(Space(shape), Space((2, *shape)))
        self.spacing = spacing

    def _forward(self, x: Tensor) -> Tensor:
        if x.requires_grad or torch.is_grad_enabled():
            down = torch.nn.functional.pad(x.diff(dim=-2), (0, 0, 0, 1))
            across = torch.nn.functional.pad(x.diff(dim=-1), (0, 1))
            return torch.stack([down, across], dim=-3) / self.spacing
        g = x.new_empty(*x.shape[:-2], 2, *x.shape[-2:])
        torch.sub(x[..., 1:, :], x[..., :-1, :], out=g[..., 0, :-1, :])
        torch.sub(x[..., :, 1:], x[..., :, :-1], out=g[..., 1, :, :-1])
        g[..., 0, -1, :] = 0
        g[..., 1, :, -1] = 0
        return g if self.spacing == 1.0 else g.div_(self.spacing)

    def _adjoint(self, y: Tensor) -> Tensor:
        x = torch.zeros_like(y[..., 0, :, :])
        down, across = y[..., 0, :-1, :], y[..., 1, :, :-1]
        x[..., :-1, :] -= down
        x[..., 1:, :] += down
        x[..., :, :-1] -= across
        x[..., :, 1:] += across
        return x if self.spacing == 1.0 else x / self.spacing

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        """Closed form: 2 sqrt(cos^2(pi/2h) + cos^2(pi/2w)) / spacing, the top of the Neumann spectrum."""
        h, w = self.domain.shape
        return 2 * math.hypot(math.cos(math.pi / (2 * h)), math.cos(math.pi / (2 * w))) / self.spacing
