"""The volume of a whole cone beam by Feldkamp, Davis and Kress."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from invreg.io import InputError
from invreg.memory import budget
from invreg.operators import XRay
from invreg.operators.tomography.streaming import TooLittleMemory, fdk_by_slabs
from invreg.recipes.base import Progress, Recipe, Reconstruction

if TYPE_CHECKING:
    from invreg.recipes.config import Config


def run(A: XRay, y: Any, config: "Config", std: Tensor, progress: Progress) -> Reconstruction:
    x = np.empty(A.domain.shape, np.float32)
    c = config.compute
    try:
        fdk_by_slabs(
            y,
            x,
            A.geometry,  # type: ignore[arg-type]
            A.pixel_size,
            slice_thickness=A.slice_thickness,
            filter=config.fbp.filter,
            max_memory=budget(c.device, c.memory) - x.nbytes,
            device=c.device,
            progress=lambda share: progress({"stage": "back-projection", "share": share}),
        )
    except TooLittleMemory as error:
        raise InputError(f"compute.memory: {error}") from None
    except ValueError as error:  # values that are not finite
        return Reconstruction(torch.full(A.domain.shape, math.nan), "nonfinite", f"broke down: {error}")
    told = f"cone-beam filtered back-projection (FDK, {config.fbp.filter} filter) in one pass"
    return Reconstruction(torch.from_numpy(x), "converged", told)


FDK_RECIPE = Recipe("fdk", "filtered back-projection of a whole cone beam: a slice for each row", run, volume=True)
