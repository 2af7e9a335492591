"""The ray transform on a GPU by Joseph's interpolation: tables of the views, and launches of the Triton kernels."""

import math
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invreg.operators.tomography.geometry import Views2D
from invreg.operators.tomography.geometry3d import Views3D

Array = npt.NDArray[Any]

# bins and voxels a program: 128 threads, which in "aligned" views take eight rows or slices each and share what belongs
# to the column
RAYS = {
    "plane": {"ROWS": 1, "COLUMNS": 128},
    "aligned": {"ROWS": 8, "COLUMNS": 128},
    "free": {"ROWS": 4, "COLUMNS": 32},
}
VOXELS = {
    "plane": {"SLICES": 1, "LINES": 4, "COLUMNS": 32},
    "aligned": {"SLICES": 8, "LINES": 4, "COLUMNS": 32},
    "free": {"SLICES": 2, "LINES": 2, "COLUMNS": 32},
}

OPTIONS = {"enable_fp_fusion": True}  # the default until Triton 3.9, which asks to have it said


class TritonProjector:
    """Images (batch, *shape) to sinograms (batch, *views.shape) and back, on the tensor's CUDA device.

    The discretisation is Joseph's, with zeros around the image. float64 is computed in float64; the adjoint takes the
    weights of the forward. Each direction needs as much memory again as what it is given. Raises RuntimeError where
    Triton or a CUDA device is missing.
    """

    def __init__(self, views: Views2D | Views3D, shape: tuple[int, ...], pixel: float, thickness: float) -> None:
        self.shape, self.codomain = tuple(map(int, shape)), tuple(map(int, views.shape))  # no numpy: Triton refuses it
        self.flat = isinstance(views, Views2D)
        self.volume = (1, *self.shape)[-3:]
        self.panel = (1, *self.codomain[1:])[-2:]
        space = lifted(views) if isinstance(views, Views2D) else views
        self.table = views_table(space, pixel, pixel if self.flat else thickness)
        self.flags = {
            "FLAT": self.flat,
            "PARALLEL": views.parallel,
            "CURVED": views.curved,
            "UPRIGHT": space.upright,
            "STEEP": not self.flat and (not space.upright or steep(space, pixel / thickness)),
        }
        aligned = space.upright and not self.flags["STEEP"]
        self.kind = "plane" if self.flat else "aligned" if aligned else "free"
        self._tables: dict[tuple[torch.device, torch.dtype], Tensor] = {}  # memos of what the arguments imply

    def project(self, x: Tensor) -> Tensor:
        import triton.language as tl

        kernels, table = ready(x.device).forward, self.table_on(x)
        y = x.new_empty(len(x), *self.codomain)
        sizes = {"INDEX": tl.int32 if math.prod(self.volume) < 2**31 else tl.int64, **RAYS[self.kind]}
        with on(x.device):
            if programs := self._tiles(y):
                kernels.joseph[(programs,)](
                    x,
                    x.mT.contiguous(),
                    y,
                    table,
                    self.codomain[0],
                    *self.panel,
                    *self.volume,
                    **self.flags,
                    **sizes,
                    **OPTIONS,
                )
        return y

    def backproject(self, y: Tensor) -> Tensor:
        kernels, table = ready(y.device).adjoint, self.table_on(y)
        x, weighed, tile = y.new_empty(len(y), *self.shape), torch.empty_like(y), VOXELS[self.kind]
        flags = {name: flag for name, flag in self.flags.items() if name != "FLAT"}
        voxels = math.prod(-(-n // size) for n, size in zip(self.volume, tile.values(), strict=True))
        with on(y.device):
            if programs := self._tiles(y):
                kernels.weigh[(programs,)](
                    y, weighed, table, self.codomain[0], *self.panel, **flags, **RAYS[self.kind], **OPTIONS
                )
                kernels.joseph_adjoint[(voxels * len(y),)](
                    x, weighed, table, self.codomain[0], *self.panel, *self.volume, **self.flags, **tile, **OPTIONS
                )
        return x

    def table_on(self, x: Tensor) -> Tensor:
        """The numbers of the views in the device and precision of `x`."""
        key = x.device, x.dtype
        if key not in self._tables:
            self._tables[key] = torch.from_numpy(self.table).to(*key)
        return self._tables[key]

    def _tiles(self, y: Tensor) -> int:
        """How many programs the bins of `y` take."""
        tiles = [-(-n // size) for n, size in zip(self.panel, RAYS[self.kind].values(), strict=True)]
        return math.prod(tiles) * self.codomain[0] * len(y)


class Kernels(NamedTuple):
    """The modules of Triton kernels."""

    forward: Any
    adjoint: Any
    parallel: Any


def ready(device: torch.device) -> Any:
    """The modules of the kernels. Raises RuntimeError, in one sentence, where they cannot run on `device`."""
    try:
        import triton

        from invreg.operators.tomography import kernels_triton, kernels_triton_adjoint, kernels_triton_parallel
    except ImportError as error:
        raise RuntimeError(
            f'backend "triton" needs the package triton, which does not load here ({error}): install it, or leave '
            "backend out and give a tensor on the CPU"
        ) from None
    if device.type != "cuda" and isinstance(kernels_triton.joseph, triton.JITFunction):
        raise RuntimeError(
            f'backend "triton" runs on a CUDA device and the tensor is on {device}: move it and the operator to '
            '"cuda", or leave backend out'
        )
    return Kernels(kernels_triton, kernels_triton_adjoint, kernels_triton_parallel)


def on(device: torch.device) -> Any:
    """Make `device` the current one, where kernels are launched."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def lifted(views: Views2D) -> Views3D:
    """The plane as the middle of a space one slice thick, with one row of bins."""
    source, detector, u = (np.pad(v, ((0, 0), (0, 1))) for v in (views.source, views.detector, views.axis))
    v = np.broadcast_to([0.0, 0.0, 1.0], u.shape)
    return Views3D(source, detector, u, v, 1, views.detectors, views.unit, views.parallel, views.curved)


def views_table(views: Views3D, pixel: float, thickness: float) -> Array:
    """The numbers of each view as kernels_triton_rays.py lists them, (view, 28)."""
    scale = np.array([1 / pixel, -1 / pixel, 1 / thickness])
    source, detector, u, v = views.source, views.detector, views.u, views.v
    gap = turn = rise = 0.0
    if views.parallel:
        origin, ray, across = detector, source, u
    elif views.curved:
        # the arc is about the point of the cylinder's axis at the height of the detector's middle
        rise = ((detector - source) * v).sum(1, keepdims=True) / (v * v).sum(1, keepdims=True)
        gap = rise * v
        ray = detector - source - gap
        radius = np.linalg.norm(ray, axis=1, keepdims=True)
        turn = np.linalg.norm(u, axis=1, keepdims=True) / radius
        origin, across = source, u / turn
    else:
        origin, ray, across = source, detector - source, u
    inverse = np.linalg.inv(np.stack([across, v, ray], axis=2) * scale[:, None])
    table = np.zeros((len(source), 28))
    for place, vectors in ((0, origin), (3, ray), (6, across), (9, v), (12, gap)):
        table[:, place : place + 3] = vectors * scale
    table[:, 15:16], table[:, 16:25], table[:, 25:26] = turn, inverse.reshape(-1, 9), rise
    table[:, 26], table[:, 27] = thickness / pixel, pixel
    return table


def steep(views: Views3D, slices: float) -> bool:
    """Whether an upright ray crosses more slices than columns and rows of voxels; `slices` of one height in a pixel."""
    if views.parallel:
        return False
    ends = np.array([0.0, views.rows - 1.0])  # where the rays of each column rise most
    rays = views.points(ends, np.arange(float(views.columns))) - views.source[:, None, None]
    run, rise = np.abs(rays[..., :2]).max(-1), np.abs(rays[..., 2])
    return bool((rise * slices > (1 - 1e-6) * run).any())
