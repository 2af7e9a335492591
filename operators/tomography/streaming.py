"""Volumes that do not fit into memory: projected, back-projected and reconstructed by slabs of slices and of views.

Arrays are anything that is read and written by slices and has a shape: h5py data sets, numpy memory maps, tensors.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invreg.operators.arguments import refuse_not_finite
from invreg.operators.tomography.backproject import backproject_fan
from invreg.operators.tomography.filtered_backprojection import FanFilter, refuse_helix
from invreg.operators.tomography.filters import Filter
from invreg.operators.tomography.geometry3d import ConeBeam, Geometry3D, Views3D, tilted_from_upright
from invreg.operators.tomography.visible import shadows
from invreg.operators.tomography.xray import Backend, Projector, XRay, default_backend, make_projector

COPIES = 4  # arrays of the size of a slab, or of a group of views, that a projector holds at once
FILTERING = 14  # those of a group of views while it is filtered: spectra of twice the length, in complex numbers
MARGIN = 8  # detector rows and slices beyond a shadow that interpolation may reach

Progress = Callable[[float], object]


class TooLittleMemory(ValueError):
    """`max_memory` does not hold one slice and one view."""


@dataclass(frozen=True)
class Slab:
    """Some slices of a volume, the detector rows on which they may be seen, and the views of these rows alone."""

    slices: slice
    rows: slice
    views: Views3D


def project_by_slabs(
    volume: Any,
    projections: Any,
    geometry: Geometry3D,
    pixel_size: float | None = None,
    *,
    slice_thickness: float | None = None,
    max_memory: float,
    device: torch.device | str = "cpu",
    backend: Backend | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the projections (angle, row, column) of a volume (depth, h, w), as XRay gives them, float32.

    max_memory: bytes that the tensors of this work may take at once. progress is told the share done, up to 1. Raises
    TypeError for a geometry in a plane, ValueError where shapes do not fit, and where one slice and one view do not
    fit into max_memory.
    """
    A = XRay(geometry, volume.shape, pixel_size, slice_thickness=slice_thickness, backend=backend)
    _check(projections, geometry.shape, "projections")
    slabs, group = plan(A, max_memory)
    done = Share(progress, len(slabs) * geometry.shape[0])
    for number, slab in enumerate(slabs):
        x = _read(volume, slab.slices, device)
        for views in groups(geometry.shape[0], group):
            part = _products(A, slab, views, x.device).project(x[None])[0]
            done.add(len(part))
            if number == 0:
                _write(projections, (views,), part.new_zeros(len(part), *geometry.shape[1:]))
            else:
                part += _read(projections, (views, slab.rows), x.device)
            _write(projections, (views, slab.rows), part)


def backproject_by_slabs(
    projections: Any,
    volume: Any,
    geometry: Geometry3D,
    pixel_size: float | None = None,
    *,
    slice_thickness: float | None = None,
    max_memory: float,
    device: torch.device | str = "cpu",
    backend: Backend | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the adjoint's volume (depth, h, w) of projections (angle, row, column); arguments as `project_by_slabs`."""
    A = XRay(geometry, volume.shape, pixel_size, slice_thickness=slice_thickness, backend=backend)
    _check(projections, geometry.shape, "projections")
    slabs, group = plan(A, max_memory)
    done = Share(progress, len(slabs) * geometry.shape[0])
    for slab in slabs:
        x = torch.zeros(slab.slices.stop - slab.slices.start, *A.domain.shape[1:], device=device)
        for views in groups(geometry.shape[0], group):
            y = _read(projections, (views, slab.rows), device)
            x += _products(A, slab, views, x.device).backproject(y[None])[0]
            done.add(len(y))
        _write(volume, (slab.slices,), x)


def fdk_by_slabs(
    projections: Any,
    volume: Any,
    geometry: ConeBeam,
    pixel_size: float | None = None,
    *,
    slice_thickness: float | None = None,
    filter: Filter = "ramp",
    max_memory: float,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> None:
    """Write the FDK reconstruction (depth, h, w) of projections (angle, row, column).

    Each slab reads the detector rows of its shadow only. Errors as `fdk`, the other arguments as `project_by_slabs`.
    """
    refuse_helix(geometry)
    A = XRay(geometry, volume.shape, pixel_size, slice_thickness=slice_thickness)
    _check(projections, geometry.shape, "projections")
    slabs, group = plan(A, max_memory, FILTERING)
    done = Share(progress, len(slabs) * geometry.shape[0])
    height = 0.0 if geometry.heights is None else float(geometry.heights[0])
    parts = [slab.rows for slab in slabs]
    if any(geometry.tilt):
        parts = _read_upright(A, geometry, slabs)
        group = max(1, group * max(_count(slab.rows) for slab in slabs) // max(_count(rows) for rows in parts))
    for slab, rows in zip(slabs, parts, strict=True):
        assert geometry.row_centre is not None
        part = replace(
            geometry,
            rows=rows.stop - rows.start,
            row_centre=geometry.row_centre - rows.start,
            heights=np.full(geometry.angles.size, height - _middle(A, slab.slices)),
        )
        prepare = FanFilter(part, filter)
        x = torch.empty(slab.slices.stop - slab.slices.start, *A.domain.shape[1:], device=device)

        def views(part: slice, rows: slice = rows, prepare: FanFilter = prepare) -> Tensor:
            done.add(part.stop - part.start)
            y = _read(projections, (part, rows), device)
            refuse_not_finite(y, "fdk_by_slabs", "projections")
            return prepare(y, part)

        backproject_fan(views, group, prepare.geometry, A.pixel_size, A.slice_thickness, x)
        _write(volume, (slab.slices,), x)


def plan(A: XRay, max_memory: float, copies: int = COPIES) -> tuple[list[Slab], int]:
    """The slabs, and how many views at once, with which the work stays below `max_memory` bytes.

    As few slabs as a half of the memory allows, since every slab goes through all the views; the other half is
    that of the views, each of which is held `copies` times.
    """
    if not max_memory > 0:
        raise ValueError(f"max_memory must be a positive number of bytes; got {max_memory}")
    (depth, h, w), (count, rows, columns) = A.domain.shape, A.codomain.shape
    one_slice, one_row = COPIES * 4 * h * w, copies * 4 * columns
    thickest = int(min(depth, max_memory / (2 * one_slice)))
    slabs: list[Slab] = []
    if thickest >= 1:
        number = -(-depth // thickest)
        edges = np.linspace(0, depth, number + 1).round().astype(int)
        slabs = [_slab(A, int(low), int(high)) for low, high in itertools.pairwise(edges)]
    tallest = max((slab.rows.stop - slab.rows.start for slab in slabs), default=rows)
    group = int(min(count, max_memory / (2 * one_row * tallest)))
    if not slabs or group < 1:
        least = 2 * max(one_slice, one_row * tallest)
        raise TooLittleMemory(
            f"max_memory = {max_memory / 1e6:.4g} MB is too little for slices of {h} x {w} and views of "
            f"{rows} x {columns}; it takes at least {least / 1e6:.4g} MB"
        )
    return slabs, group


def groups(count: int, group: int) -> Iterator[slice]:
    """Consecutive views, `group` at a time."""
    for start in range(0, count, group):
        yield slice(start, min(start + group, count))


class Share:
    """What share of the work is done, told to `progress`."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def add(self, views: int) -> None:
        self.done += views
        if self.progress is not None:
            self.progress(self.done / self.total)


def _middle(A: XRay, slices: slice) -> float:
    """Height of the middle of some slices."""
    return ((slices.start + slices.stop - 1) / 2 - (A.domain.shape[0] - 1) / 2) * A.slice_thickness


def _slab(A: XRay, low: int, high: int) -> Slab:
    slices = slice(low, high)
    views = _lowered(A.geometry.general(), _middle(A, slices))
    h, w = A.domain.shape[1:]
    half = np.array([w * A.pixel_size, h * A.pixel_size, (high - low + 2) * A.slice_thickness]) / 2
    seen = shadows(views, half)[..., 1]
    first = max(0, int(np.floor(np.clip(seen[:, 0].min(), -1, views.rows))) - MARGIN)
    last = min(views.rows, int(np.ceil(np.clip(seen[:, 1].max(), -1, views.rows))) + 1 + MARGIN)
    rows = slice(first, max(last, first + 1)) if first < views.rows else slice(views.rows - 1, views.rows)
    middle = (rows.start + rows.stop - 1) / 2 - (views.rows - 1) / 2
    return Slab(slices, rows, replace(views, detector=views.detector + middle * views.v, rows=rows.stop - rows.start))


def _read_upright(A: XRay, geometry: ConeBeam, slabs: list[Slab]) -> list[slice]:
    """The rows of a tilted detector, and of the upright one that is read from it, which the slabs need."""
    places = tilted_from_upright(geometry)[..., 0]
    level = replace(geometry, tilt=(0.0, 0.0, 0.0))
    upright = XRay(level, A.domain.shape, A.pixel_size, slice_thickness=A.slice_thickness)
    out = []
    for slab in slabs:
        rows = _slab(upright, slab.slices.start, slab.slices.stop).rows
        low, high = (int(np.clip(edge, 0, geometry.rows)) for edge in (places[rows].min(), places[rows].max() + 2))
        out.append(slice(min(rows.start, low), max(rows.stop, high)))
    return out


def _count(part: slice) -> int:
    return int(part.stop - part.start)


def _lowered(views: Any, height: float) -> Views3D:
    """The same views with everything lower by `height`."""
    step = np.array([0.0, 0.0, height])
    source = views.source if views.parallel else views.source - step
    return replace(views, source=source, detector=views.detector - step)


def _products(A: XRay, slab: Slab, views: slice, device: torch.device) -> Projector:
    shape = (slab.slices.stop - slab.slices.start, *A.domain.shape[1:])
    backend = A.backend or default_backend(device)
    depth = A.domain.shape[0]
    return make_projector(slab.views.views(views), shape, A.pixel_size, A.slice_thickness, backend, depth)


def _read(array: Any, index: Any, device: torch.device | str) -> Tensor:
    part = array[index]
    return torch.as_tensor(part if isinstance(part, Tensor) else np.asarray(part, np.float32)).to(device, torch.float32)


def _write(array: Any, index: Any, part: Tensor) -> None:
    array[index] = part if isinstance(array, Tensor) else part.cpu().numpy()


def _check(array: Any, shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 3:
        raise TypeError("work by slabs takes a geometry in space; use XRay, or fbp, for one in a plane")
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} have shape {tuple(array.shape)}; the geometry has {shape}")
