"""The squared l2 norm."""

import math

from torch import Tensor

from invreg.core import Functional, inner, over_batch


class SquaredL2(Functional):
    """|x|^2 / 2 over the last `ndim` axes of a real or complex x (*batch, *shape).

    Tikhonov regularisation is `SquaredL2(ndim=3) @ Gradient(shape)` for images, or with a Laplacian or none; with
    the operator as its `K`, `solvers.CGLS` needs no iterations on duals.
    """

    def __init__(self, *, ndim: int = 2) -> None:
        super().__init__()
        self.ndim = ndim

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * inner(x, x, self.ndim)

    def grad(self, x: Tensor) -> Tensor:
        return x.clone()

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        return x / (1 + over_batch(step, x, self.ndim))

    def conj(self, u: Tensor, bound: Tensor | float = math.inf) -> Tensor:
        return 0.5 * inner(u, u, self.ndim)

    def conj_prox(self, u: Tensor, step: Tensor | float) -> Tensor:
        return u / (1 + over_batch(step, u, self.ndim))

    def lipschitz(self) -> float:
        return 1.0
