"""Total variation, plain and space-variant."""

import torch
from torch import Tensor

from invreg.core import Precomposed
from invreg.operators import Gradient
from invreg.priors.norms import GroupL1, magnitude


class TV(Precomposed):
    """Isotropic total variation sum_i |(D x)_i|_2 of images (*batch, h, w), Neumann boundary.

    In the unit of the image (differences between neighbouring pixels, not divided by their distance).
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(GroupL1(), Gradient(shape))


class SpaceVariantTV(Precomposed):
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
