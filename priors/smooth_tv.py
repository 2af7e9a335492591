"""Smoothed total variation, which has a gradient."""

import torch
from torch import Tensor

from invreg.core import Functional, total
from invreg.operators import Gradient


class SmoothTV(Functional):
    """sum_i w_i (sqrt(|(D x)_i|^2 + nu^2) - nu) of images (*batch, h, w), D as in `TV`.

    weights w > 0: a number, a map (h, w) or (*batch, h, w); smoothing nu > 0, a number: steps between pixels far below
    it cost their square, those above it their size. Both may be tensors that autograd follows, so that they can be
    learned (`solvers.Variational`). Raises ValueError for values that are not finite and > 0. Source: Acar and Vogel,
    Inverse Problems 10, 1217, 1994.
    """

    weights: Tensor
    smoothing: Tensor

    def __init__(self, shape: tuple[int, int], weights: Tensor | float = 1.0, smoothing: Tensor | float = 1e-2) -> None:
        super().__init__()
        for name, value in (("weights", weights), ("smoothing", smoothing)):
            tensor = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64)
            if not bool(((tensor > 0) & tensor.isfinite()).all()):
                raise ValueError(f"SmoothTV takes finite {name} > 0; got some that are not")
            self.register_buffer(name, tensor)
        if self.smoothing.ndim:
            raise ValueError(f"SmoothTV takes one number as smoothing; got a tensor {tuple(self.smoothing.shape)}")
        self.D = Gradient(shape)

    def forward(self, x: Tensor) -> Tensor:
        nu = self.smoothing.to(x.dtype)
        return total((self._sizes(self.D(x)) - nu) * self.weights.to(x.dtype), 2)

    def grad(self, x: Tensor) -> Tensor:
        d = self.D(x)
        return self.D.adjoint(d * (self.weights.to(x.dtype) / self._sizes(d)).unsqueeze(-3))

    def lipschitz(self) -> float:
        return float(self.weights.max()) * 8 / float(self.smoothing)  # |D|^2 <= 8

    def _sizes(self, d: Tensor) -> Tensor:
        return (d.square().sum(-3) + self.smoothing.to(d.dtype).square()).sqrt()
