"""Second-order total generalised variation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from invreg.core import External, Linear, Precomposed, Sum, positive_weight
from invreg.operators import Component, Gradient, Mask, SymmetrisedGradient
from invreg.operators.tomography.threads import run
from invreg.priors.jacobian import BAND, Array
from invreg.priors.norms import GroupL1


class TGV(Sum):
    """alpha1 sum_i |(D x - w)_i|_2 + alpha0 sum_i |(E w)_i|_F of a stack (x, w), an image and a vector field.

    Its minimum over the field w is TGV^2 of the image (Bredies, Kunisch, Pock 2010, eq. 3.1 to 3.3): small for images
    of plane and curved pieces, which total variation breaks into steps; 0 for affine ones. D are forward differences,
    E symmetrised backward ones; at the last pixel of an axis, where D is 0, w along it is free. `shape` has one or
    more axes; the stack is (*batch, 1 + axes, *shape), w along the first axis being component 1.

    Solvers find image and field together, so terms on the image go through `image`:

        tgv = TGV((h, w))
        terms = [LeastSquares(y) @ A @ tgv.image, 0.1 * tgv, Through(NonNegative(), tgv.image)]
        x = tgv.image(solve(PDHG(terms), torch.zeros(tgv.image.domain.shape)).x)

    alpha0 > 0 is a length in pixels, times alpha1: with a large one the pieces are flat but for one plane, with a small
    one they may bend at will. Raises ValueError unless both are finite and > 0.
    """

    image: Component

    def __init__(self, shape: tuple[int, ...], alpha0: float = 2.0, alpha1: float = 1.0) -> None:
        if not 0 < alpha0 < float("inf") or not 0 < alpha1 < float("inf"):
            raise ValueError(f"TGV takes finite alpha0 > 0 and alpha1 > 0; got alpha0={alpha0}, alpha1={alpha1}")
        E = SymmetrisedGradient(shape)
        stack = (1 + len(shape), *shape)
        image, field = Component(stack, 0), Component(stack, slice(1, None))
        known = torch.ones(E.domain.shape, dtype=torch.bool)
        for axis in range(len(shape)):
            known[axis].select(axis, -1).fill_(False)
        slopes, bends = Gradient(shape) @ image - Mask(known) @ field, E @ field
        f = GroupL1(ndim=1 + len(shape))
        super().__init__(_Level(alpha1 * f, _Fused(slopes, "slopes")), _Level(alpha0 * f, _Fused(bends, "bends")))
        self.image = image


class _Fused(External):
    """One of the two operators of TGV: on the CPU, of real images, by the kernels named in kernels_tgv.py."""

    local = True  # all its parts are, so PDHG keeps it in its inner problem

    def __init__(self, parts: Linear, name: str) -> None:
        super().__init__(parts.domain, parts.codomain)
        self.parts, self.kernel = parts, name

    def _forward(self, x: Tensor) -> Tensor:
        return self.run(self.kernel, (x,), self.codomain.shape) if self.fits(x) else self.parts(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        fits = self.fits(y)
        return self.run(f"{self.kernel}_adjoint", (y,), self.domain.shape) if fits else self.parts.adjoint(y)

    def fits(self, x: Tensor) -> bool:
        """Whether the kernels take this tensor."""
        real = x.dtype in (torch.float32, torch.float64)
        return x.device.type == "cpu" and real and len(self.domain.shape) == 3

    def run(self, name: str, fields: tuple[Tensor, ...], shape: tuple[int, ...], *numbers: list[float]) -> Tensor:
        """A kernel on `fields`, (*batch, ...) of one batch, and on `numbers`, one a batch item."""
        from invreg.priors import kernels_tgv

        batch = fields[0].shape[:-3]
        out = fields[0].new_empty(*batch, *shape)
        kernel: Callable[..., Any] = getattr(kernels_tgv, name)
        arrays: list[Array] = [f.detach().contiguous().numpy().reshape(-1, *f.shape[-3:]) for f in fields]
        items = [
            partial(kernel, *item) for item in zip(*arrays, *numbers, out.numpy().reshape(-1, *shape), strict=True)
        ]
        rows = shape[-2]
        band = max(BAND, -(-rows // torch.get_num_threads()))
        run([partial(f, at, min(at + band, rows)) for f in items for at in range(0, rows, band)])
        return out


class _Level(Precomposed):
    """One of the two terms of TGV, with its dual step in one pass over memory."""

    f: GroupL1
    K: _Fused

    def __rmul__(self, weight: Tensor | float) -> "_Level":
        return _Level(positive_weight(self, weight) * self.f, self.K)

    def ascend(self, u: Tensor, x: Tensor, step: Tensor) -> Tensor:
        weights, batch = self.f.weights, x.shape[:-3]
        recorded = torch.is_grad_enabled() and (x.requires_grad or u.requires_grad)
        flat = weights is not None and weights.shape[-2:].numel() == 1
        if recorded or not flat or not self.K.fits(x) or weights is None:
            return super().ascend(u, x, step)
        radii = weights.reshape(weights.shape[:-2]).expand(batch).reshape(-1).tolist()
        steps = step.expand(batch).reshape(-1).tolist()
        shape = self.K.codomain.shape
        return self.K.run(f"ascend_{self.K.kernel}", (x, u.expand(*batch, *shape)), shape, steps, radii)
