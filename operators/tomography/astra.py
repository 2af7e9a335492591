"""The ray transform by the CUDA kernels of the ASTRA toolbox (GPL-3, found at run time), on tensors in place."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from invreg.operators.tomography.astra_geometry import to_astra
from invreg.operators.tomography.geometry import Views2D
from invreg.operators.tomography.geometry3d import Views3D

KINDS = {True: "cuda", False: "cuda3d"}  # of ASTRA's projectors, in a plane and in space


class AstraProjector:
    """Images (batch, *shape) to sinograms (batch, *views.shape) and back, one image at a time, in float32.

    ASTRA's results are line integrals in the unit of its lengths, and its back-projection weighs like their transpose,
    voxel volume over bin area where the voxel is: no factor is left. But it interpolates in the projections, so that
    the pair is matched only approximately. The rows of 3-D volumes run along y there and against it here: the views
    are mirrored instead of the volume. Projections in space are copied once, to ASTRA's order of axes.

    Raises RuntimeError without ASTRA 2.5 or a CUDA device, and ValueError for a curved detector in a plane.
    """

    def __init__(self, views: Views2D | Views3D, shape: tuple[int, ...], pixel: float, thickness: float) -> None:
        self.shape, self.codomain = shape, views.shape
        self.flat = isinstance(views, Views2D)
        self.astra = loaded()
        self.rays = to_astra(views) if self.flat else mirrored(to_astra(views))
        *_, h, w = shape
        half = [w * pixel / 2, h * pixel / 2] + [n * thickness / 2 for n in shape[:-2]]
        window = [sign * size for size in half for sign in (-1, 1)]
        self.volume = self.astra.create_vol_geom(h, w, *shape[:-2], *window)

    def project(self, x: Tensor) -> Tensor:
        out = x.new_empty(self._order(self.codomain), dtype=torch.float32)
        y = x.new_empty(len(x), *self.codomain)
        for image, sinogram in zip(x, y, strict=True):
            self._run("direct_FP", image.float(), out)
            sinogram.copy_(out if self.flat else out.flip(0).transpose(0, 1))
        return y

    def backproject(self, y: Tensor) -> Tensor:
        out = y.new_empty(self.shape, dtype=torch.float32)
        x = y.new_empty(len(y), *self.shape)
        for sinogram, image in zip(y, x, strict=True):
            given = sinogram if self.flat else sinogram.transpose(0, 1).flip(0)
            self._run("direct_BP", given.float().contiguous(), out)
            image.copy_(out)
        return x

    def _order(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """ASTRA's projections are (row, view, column)."""
        return shape if self.flat else (shape[1], shape[0], shape[2])

    def _run(self, which: str, given: Tensor, out: Tensor) -> None:
        if given.is_cuda:
            self.astra.set_gpu_index(given.device.index)
            torch.cuda.current_stream(given.device).synchronize()  # ASTRA works on a stream of its own
        module = self.astra.projector if self.flat else self.astra.projector3d
        projector = self.astra.create_projector(KINDS[self.flat], self.rays, self.volume)
        try:
            getattr(module, which)(projector, given, out=out)
        finally:
            module.delete(projector)


def loaded() -> Any:
    """The package astra. Raises RuntimeError, in one sentence, where it cannot serve."""
    try:
        import astra
    except ImportError as error:
        raise RuntimeError(
            f'backend "astra" needs the package astra-toolbox (GPL-3), which does not load here ({error}): pip install '
            "astra-toolbox, or leave backend out"
        ) from None
    if not hasattr(astra.projector, "direct_FP"):
        raise RuntimeError(f'backend "astra" needs astra-toolbox 2.5 or later; found {astra.__version__}')
    if not astra.use_cuda():
        raise RuntimeError('backend "astra" needs a CUDA device, and ASTRA finds none: leave backend out')
    return astra


def mirrored(rays: dict[str, Any]) -> dict[str, Any]:
    """The same views of the volume mirrored along y, rows of bins in reverse so that the detector keeps its hand.

    The hand decides to which side ASTRA's arcs bend.
    """
    signs = np.ones(rays["Vectors"].shape[1])
    signs[[1, 4, 7, 9, 11]] = -1  # y of all four vectors, and then the step from row to row
    return {**rays, "Vectors": rays["Vectors"] * signs}
