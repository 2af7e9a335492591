"""Total variation, plain and space-variant."""

from functools import partial

import torch
from torch import Tensor

from invreg.core import Precomposed, positive_weight
from invreg.operators import Gradient
from invreg.operators.tomography.threads import run
from invreg.priors.norms import GroupL1, magnitude


class _Variation(Precomposed):
    """sum_i r_i |(D x)_i|_2 of images (*batch, h, w): a GroupL1 of the gradient, with its dual step in one pass."""

    f: GroupL1

    def __rmul__(self, weight: Tensor | float) -> "_Variation":
        return _Variation(positive_weight(self, weight) * self.f, self.K)

    def ascend(self, u: Tensor, x: Tensor, step: Tensor) -> Tensor:
        if (
            x.device.type != "cpu"
            or x.is_complex()
            or (torch.is_grad_enabled() and (x.requires_grad or u.requires_grad))
        ):
            return super().ascend(u, x, step)
        from invreg.priors.kernels_cpu import ascend

        h, w = self.K.domain.shape
        batch = x.shape[:-2]
        radius = torch.ones(1, 1) if self.f.weights is None else self.f.weights
        radius = radius.to(x.dtype).reshape(*radius.shape[:-2], *(radius.shape[-2:] or (1, 1)))
        radius = radius.expand(*batch, *radius.shape[-2:]).reshape(-1, *radius.shape[-2:])
        out = torch.empty_like(u, memory_format=torch.contiguous_format)
        rows = max(16, -(-h // torch.get_num_threads()))
        arrays = (x.reshape(-1, h, w), u.reshape(-1, 2, h, w), radius.contiguous(), out.view(-1, 2, h, w))
        items = zip(*(a.detach().contiguous().numpy() for a in arrays), step.expand(batch).reshape(-1), strict=True)
        run(
            [
                partial(ascend, image, dual, float(s), limit, to, i, min(i + rows, h))
                for image, dual, limit, to, s in items
                for i in range(0, h, rows)
            ]
        )
        return out


class TV(_Variation):
    """Isotropic total variation sum_i |(D x)_i|_2 of images (*batch, h, w), Neumann boundary.

    In the unit of the image (differences between neighbouring pixels, not divided by their distance). `complex`: of
    complex images, one length for both components with their real and imaginary parts.
    """

    def __init__(self, shape: tuple[int, int], *, complex: bool = False) -> None:
        super().__init__(GroupL1(), Gradient(shape, complex=complex))


class SpaceVariantTV(_Variation):
    """TV_w(x) = sum_i w_i |(D x)_i|_2 with a map of weights (*batch, h, w) or (h, w) in [0, 1], kept fixed.

    The weights are small on the edges of a pre-estimate and 1 where it is flat, so that edges are not
    flattened and the problem stays convex. Source: Morotti et al., arXiv 2404.16900.
    """

    def __init__(self, weights: Tensor) -> None:
        super().__init__(GroupL1(weights), Gradient((weights.shape[-2], weights.shape[-1])))

    @classmethod
    def from_image(cls, x0: Tensor, eta: float, p: float = 0.0) -> "SpaceVariantTV":
        """Weights (eta / sqrt(eta^2 + |D x0|^2))^(1 - p) of a pre-estimate x0 (*batch, h, w).

        `eta` > 0, in the unit of the image, is the size of a step between pixels that counts as an edge: it must
        lie above the steps of noise and streaks in x0, or these are protected as if they were edges (which is
        worse than plain TV). p in [0, 1]; p = 1 is plain TV. Raises ValueError otherwise.
        """
        if not eta > 0 or not 0 <= p <= 1:
            raise ValueError(f"SpaceVariantTV.from_image takes eta > 0 and 0 <= p <= 1; got eta={eta}, p={p}")
        size = magnitude(Gradient((x0.shape[-2], x0.shape[-1]))(x0))
        return cls((eta / torch.hypot(size, torch.full_like(size, eta))) ** (1 - p))
