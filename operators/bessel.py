"""Bessel potentials: powers of alpha - Laplacian."""

import torch
from torch import Tensor

from invreg.core import Linear, Space
from invreg.operators.spectral import basis, bessel


class BesselPotential(Linear):
    """(alpha - Laplacian)^-r of real tensors (*batch, *shape) along `axes` (default all), self-adjoint and positive.

    Each frequency xi, in radians per unit of `length` (the side of the image, one for all axes or one for each), is
    multiplied by (alpha + |xi|^2)^-r, alpha > 0. r > 0 smooths: applied to a gradient it makes of it the gradient in
    H^r (`Landweber` takes it as `metric`). `boundary`: "periodic", or "cosine" for images reflected at their edges.
    Raises ValueError on arguments outside of these.
    """

    weights: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        r: float,
        length: float | tuple[float, ...] = 1.0,
        *,
        alpha: float = 1.0,
        boundary: str = "periodic",
        axes: int | tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(Space(tuple(shape)), Space(tuple(shape)))
        if boundary == "padded" or not alpha > 0:
            raise ValueError(
                f"BesselPotential takes boundary 'periodic' or 'cosine' and alpha > 0; got {boundary!r}, {alpha}"
            )
        every = tuple(range(-len(shape), 0))
        self.basis = basis("BesselPotential", boundary, every if axes is None else axes, tuple(shape), len(shape))
        weights = bessel("BesselPotential", self.basis, -r, alpha, length, torch.device("cpu"))
        self.register_buffer("weights", weights)

    def _forward(self, x: Tensor) -> Tensor:
        if not x.numel():  # refused by the FFT
            return x.clone()
        return self.basis.back(self.weights.to(x) * self.basis.forward(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        """Closed form: the largest multiplier."""
        return float(self.weights.max())
