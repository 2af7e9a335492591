"""Filtered back-projection."""

import math
from typing import TYPE_CHECKING

from torch import Tensor

from invreg.operators import XRay, fbp
from invreg.recipes.base import Progress, Recipe, Reconstruction

if TYPE_CHECKING:
    from invreg.recipes.config import Config


def run(A: XRay, y: Tensor, config: "Config", std: Tensor, progress: Progress) -> Reconstruction:
    if not bool(y.isfinite().all()):
        x = y.new_full((*y.shape[:-2], *A.domain.shape), math.nan)
        return Reconstruction(x, "nonfinite", "broke down: not a finite number; check the measurement")
    x = fbp(y, A.geometry, A.domain.shape, A.pixel_size, filter=config.fbp.filter, A=A)
    return Reconstruction(x, "converged", f"filtered back-projection ({config.fbp.filter} filter) in one pass")


FBP_RECIPE = Recipe("fbp", "filtered back-projection: direct, for many views", run)
