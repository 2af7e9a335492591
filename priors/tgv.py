"""Second-order total generalised variation."""

import torch

from invreg.core import Sum
from invreg.operators import Component, Gradient, Mask, SymmetrisedGradient
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
        n = 1 + len(shape)
        super().__init__(*(a * GroupL1(ndim=n) @ K for a, K in ((alpha1, slopes), (alpha0, bends))))
        for term in self.terms:
            term.K.local = True  # type: ignore[union-attr]  # all its parts are, so PDHG keeps them in its inner problem
        self.image = image
