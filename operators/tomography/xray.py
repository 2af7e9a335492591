"""The ray transform and its exact adjoint."""

import copy
import math
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from invreg.core import External, Linear, Space
from invreg.operators.tomography.geometry import Geometry2D, Views2D
from invreg.operators.tomography.geometry3d import Geometry3D, Views3D
from invreg.operators.tomography.visible import refuse_bad_views

Backend = Literal["numba", "triton", "astra"]


class Projector(Protocol):
    """A ray transform of contiguous tensors with one batch axis, on the devices of its backend."""

    def project(self, x: Tensor) -> Tensor: ...

    def backproject(self, y: Tensor) -> Tensor: ...


class XRay(External):
    """Line integrals over the rays of a geometry; the adjoint is the exact transpose.

    In a plane (*batch, h, w) -> (*batch, angle, detector), in space (*batch, depth, h, w) -> (*batch, angle, row,
    column), in the unit of the image times `geometry.unit`. The rotation axis is at the centre of the image; rows run
    down (against y), slices up along z. `pixel_size`, in `geometry.unit`, defaults to the distance of
    neighbouring rays at the axis; `slice_thickness` defaults to the pixel size. Backends, by default that of
    the tensor's device:

    - "numba", on the CPU (tensors elsewhere are copied there and back): averages over the detector bins by parallel.py,
      fan.py and, for upright detectors in space, cone.py and slices.py; joseph.py for any other views in space and
      for one slice in a cone beam, by Joseph's interpolation (1982) along the ray through the middle of each bin.
    - "triton", on a GPU, gathered in both directions: gpu_parallel.py for parallel rays in a plane, with the results
      of the CPU, and gpu.py for all others, with those of joseph.py.
    - "astra", on a GPU with astra-toolbox installed (GPL-3): its own kernels, whose pair is not exactly matched.

    The averages over bins are sharpened where bins are narrower than what pixels and interpolation spread, so beside
    the edge of an image without negative values they may fall below 0, by some 2 % of the largest.

    Raises ValueError for a source inside the image, a detector that the image's shadow misses in all views, sizes
    that do not go with the geometry's unit, and a backend that cannot do what is asked.
    """

    def __init__(
        self,
        geometry: Geometry2D | Geometry3D,
        shape: tuple[int, ...],
        pixel_size: float | None = None,
        *,
        slice_thickness: float | None = None,
        backend: Backend | None = None,
    ) -> None:
        super().__init__(Space(tuple(shape)), Space(geometry.shape))
        self.geometry = geometry
        self.pixel_size = geometry.bin_at_axis if pixel_size is None else float(pixel_size)
        self.slice_thickness = self.pixel_size if slice_thickness is None else float(slice_thickness)
        self.backend = backend
        if backend is not None and backend not in get_args(Backend):
            raise ValueError(f"unknown backend {backend!r}; known are {', '.join(get_args(Backend))}")
        refuse_bad_views(geometry, tuple(shape), self.pixel_size, self.slice_thickness)
        self._projectors: dict[str, Projector] = {}  # memos of what the arguments imply, made when first needed
        self._norm: float | None = None

    def subset(self, views: slice | list[int] | np.ndarray) -> "XRay":
        """The ray transform of some of the views, for ordered subsets: A.subset(slice(0, None, 10)), or indices.

        Raises ValueError for indices that are not of views, and where no view is left.
        """
        count = self.codomain.shape[0]
        try:
            index = np.arange(count)[views if isinstance(views, slice) else np.asarray(views)]
        except IndexError:
            index = np.empty(0, int)
        if index.ndim != 1 or not index.size:
            raise ValueError(
                f"subset takes a slice, a list of indices or one boolean a view, of {count} views and at least one of "
                f"them; got {views}"
            )
        made = copy.deepcopy(self)  # what a geometry must be holds for its views; they need not all see the image
        made.geometry = self.geometry.views(index)
        made.codomain = Space(made.geometry.shape)
        made._norm = None
        return made

    def projector(self, device: torch.device) -> Projector:
        """What computes the products of tensors on `device`."""
        backend = self.backend or default_backend(device)
        if backend not in self._projectors:
            views, shape = self.geometry.general(), self.domain.shape
            made = make_projector(views, shape, self.pixel_size, self.slice_thickness, backend, shape[0])
            self._projectors[backend] = made
        return self._projectors[backend]

    def _forward(self, x: Tensor) -> Tensor:
        y = self._run("project", x, self.domain)
        return y.reshape(*self.domain.batch(x), *self.codomain.shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        x = self._run("backproject", y, self.codomain)
        return x.reshape(*self.codomain.batch(y), *self.domain.shape)

    def _run(self, which: str, x: Tensor, space: Space) -> Tensor:
        if x.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{self} takes float32 or float64; got {x.dtype}: convert the tensor by .float()")
        projector = self.projector(x.device)
        flat = x.detach().reshape(math.prod(space.batch(x)), *space.shape).contiguous()
        if (self.backend or default_backend(x.device)) == "numba":
            flat = flat.cpu()
        return getattr(projector, which)(flat).to(x.device)

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        if self._norm is None:  # a memo: it costs tens of products and each solve asks for it
            self._norm = super().norm(device, dtype)
        return self._norm

    def normal(self, *, fft: bool = False) -> Linear:
        """A^T A: exact, or for Parallel2D with `fft` as a convolution, whose accuracy `ToeplitzNormal` states."""
        if not fft:
            return super().normal()
        from invreg.operators.tomography.normal import ToeplitzNormal

        return ToeplitzNormal(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_projectors": {}}  # tables are made again where they are needed


def default_backend(device: torch.device) -> Backend:
    """Triton for a CUDA device, numba for all others."""
    return "triton" if device.type == "cuda" else "numba"


def make_projector(
    views: Views2D | Views3D, shape: tuple[int, ...], pixel: float, thickness: float, backend: Backend, depth: int
) -> Projector:
    """What computes the products of a backend for these views of an image of `shape`.

    The products of parts of a volume add up to those of the whole: `depth` is how many slices that has.
    """
    if backend == "triton":
        if isinstance(views, Views2D) and views.parallel:
            from invreg.operators.tomography.gpu_parallel import TritonParallelProjector

            return TritonParallelProjector(views, shape, pixel)
        from invreg.operators.tomography.gpu import TritonProjector

        return TritonProjector(views, shape, pixel, thickness)
    if backend == "astra":
        from invreg.operators.tomography.astra import AstraProjector

        return AstraProjector(views, shape, pixel, thickness)
    if isinstance(views, Views2D):
        if views.parallel:
            from invreg.operators.tomography.parallel import ParallelProjector

            return ParallelProjector(views, shape, pixel)
        from invreg.operators.tomography.fan import FanProjector

        return FanProjector(views, shape, pixel)
    if views.upright and views.parallel:
        from invreg.operators.tomography.slices import SlicesProjector

        return SlicesProjector(views, shape, pixel, thickness)
    if views.upright and depth > 1:  # a slice alone has no neighbours, without which sharpened rows overshoot by 20 %
        from invreg.operators.tomography.cone import ConeProjector

        return ConeProjector(views, shape, pixel, thickness)
    from invreg.operators.tomography.joseph import JosephProjector

    return JosephProjector(views, shape, pixel, thickness)
