"""Filtered back-projection of parallel, fan and cone beams."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invreg.core import Space
from invreg.operators.arguments import refuse_not_finite
from invreg.operators.tomography.backproject import backproject_fan
from invreg.operators.tomography.filters import Filter, filtered, length_for, ramp
from invreg.operators.tomography.geometry import Array, FanBeam2D, Parallel2D
from invreg.operators.tomography.geometry3d import ConeBeam, Parallel3D, tilted_from_upright
from invreg.operators.tomography.redundancy import angle_weights, bins_lacking, offset_weights, parker_weights
from invreg.operators.tomography.visible import refuse_bad_views
from invreg.operators.tomography.xray import XRay

VIEWS_AT_ONCE = 32  # filtered views of a cone beam that are held in memory


def fbp(
    sinogram: Tensor,
    geometry: Parallel2D | FanBeam2D | Parallel3D,
    shape: tuple[int, ...],
    pixel_size: float | None = None,
    *,
    slice_thickness: float | None = None,
    filter: Filter = "ramp",
    A: XRay | None = None,
) -> Tensor:
    """Filtered back-projection of line integrals, (*batch, angle, detector) -> (*batch, h, w).

    For Parallel3D (*batch, angle, row, column) -> (*batch, depth, h, w). The result is in the unit of the sinogram
    per `geometry.unit` (attenuation per length); pixel_size and slice_thickness as in XRay. Views are weighted by
    the angle they stand for, so uneven angles are allowed; a missing wedge gets no weight. `A`, the ray transform of
    the same parallel geometry and image, saves making it again and tells the sizes and the backend. Fans on a short
    arc get Parker's weights; on a full turn a detector that is offset by more than a tenth of its width gets those of
    `offset_weights`. Differentiable by autograd for parallel rays only.

    Raises TypeError for a geometry of another kind, ValueError for an unknown filter, values that are not finite, an
    `A` of other shapes, and as XRay does. Source: Kak and Slaney (1988), chapter 3.
    """
    if not isinstance(geometry, Parallel2D | FanBeam2D | Parallel3D):
        raise TypeError(
            f"fbp takes a Parallel2D, FanBeam2D or Parallel3D; got {type(geometry).__name__}: use fdk for a ConeBeam, "
            "and CGLS with XRay for other views"
        )
    Space(geometry.shape).check(sinogram, "fbp")
    refuse_not_finite(sinogram, "fbp", "sinogram")
    if isinstance(geometry, FanBeam2D):
        pixel = geometry.bin_at_axis if pixel_size is None else float(pixel_size)
        refuse_bad_views(geometry, shape, pixel, pixel)
        return _divergent(sinogram.unsqueeze(-2), _as_cone(geometry), (1, *shape), pixel, pixel, filter).squeeze(-3)
    A = XRay(geometry, shape, pixel_size, slice_thickness=slice_thickness) if A is None else A
    if A.domain.shape != tuple(shape) or A.codomain.shape != geometry.shape:
        raise ValueError(f"fbp takes an A from {tuple(shape)} to {geometry.shape}; got {A}: leave it out or make it so")
    pad = bins_lacking(geometry.angles, geometry.positions, geometry.pitch)
    if any(pad):
        sinogram = sinogram * torch.as_tensor(offset_weights(geometry.positions)).to(sinogram)
        sinogram, geometry = torch.nn.functional.pad(sinogram, pad), _wider(geometry, pad)
        A = XRay(geometry, shape, A.pixel_size, slice_thickness=A.slice_thickness, backend=A.backend)
    bins, pitch = geometry.shape[-1], geometry.pitch
    n = length_for(bins)
    # the adjoint is sharpened to the width of a bin; back-projectors interpolate linearly between bins, which is
    # an average over one bin more and leaves less of the ramp's ringing at edges
    response = ramp(n, filter) * torch.sinc(torch.fft.rfftfreq(n, dtype=torch.float64))
    # the adjoint spreads a value over the pixel's area: pixel_size^2 / pitch for each unit of the sinogram,
    # and the ramp of unit sampling is per pitch; a detector row lower than a slice gives it its share
    share = float(geometry.row_pitch or pitch) / A.slice_thickness if isinstance(geometry, Parallel3D) else 1.0
    weights = torch.as_tensor(angle_weights(geometry.angles) * share / A.pixel_size**2)
    scaled = sinogram * weights.to(sinogram)[(..., *(None,) * (len(geometry.shape) - 1))]
    return A.adjoint(filtered(scaled, response))


def fdk(
    projections: Tensor,
    geometry: ConeBeam,
    shape: tuple[int, int, int],
    pixel_size: float | None = None,
    *,
    slice_thickness: float | None = None,
    filter: Filter = "ramp",
) -> Tensor:
    """Reconstruction of a circular cone beam, (*batch, angle, row, column) -> (*batch, depth, h, w).

    Source: Feldkamp, Davis and Kress (1984). Exact in the plane of the source's circle, approximate away from it. The
    detector is flat or a cylinder; a tilted one is first read as if it stood upright. Weights of short arcs and offset
    detectors, units and errors as in `fbp`; not differentiable. Raises ValueError for a helix, whose views do not lie
    in one plane: solve that with CGLS or PDHG and XRay, whose adjoint is exact.
    """
    refuse_helix(geometry)
    Space(geometry.shape).check(projections, "fdk")
    refuse_not_finite(projections, "fdk", "projections")
    pixel = geometry.bin_at_axis if pixel_size is None else float(pixel_size)
    thickness = pixel if slice_thickness is None else float(slice_thickness)
    refuse_bad_views(geometry, shape, pixel, thickness)
    return _divergent(projections, geometry, shape, pixel, thickness, filter)


def refuse_helix(geometry: ConeBeam) -> None:
    """Raise ValueError where the source does not stay in one plane, which FDK needs, TypeError where it is no cone."""
    if not isinstance(geometry, ConeBeam):
        raise TypeError(
            f"fdk takes a ConeBeam; got {type(geometry).__name__}: use fbp for parallel rays and fans, and CGLS with "
            "XRay for other views"
        )
    if geometry.heights is not None and np.ptp(geometry.heights) > 1e-9 * geometry.source_origin:
        raise ValueError(
            f"fdk takes a circle; the source of this geometry moves by {np.ptp(geometry.heights):.4g} {geometry.unit} "
            "along the axis: use CGLS(XRay(geometry, shape), projections) or PDHG, whose adjoint is exact"
        )


def _divergent(
    projections: Tensor, g: ConeBeam, shape: tuple[int, ...], pixel: float, thickness: float, filter: Filter
) -> Tensor:
    """Weight, filter and back-project (*batch, angle, row, column); a fan is a cone of one row."""
    if projections.requires_grad and torch.is_grad_enabled():
        raise RuntimeError(
            "filtered back-projection of a fan or cone beam is not differentiable: give it projections.detach(), or "
            "differentiate through XRay and its adjoint"
        )
    prepare = FanFilter(g, filter)
    flat = projections.reshape(-1, *g.shape)
    out = flat.new_empty(len(flat), *shape)
    for item, volume in zip(flat, out, strict=True):

        def views(part: slice, item: Tensor = item) -> Tensor:
            return prepare(item[part], part)

        backproject_fan(views, VIEWS_AT_ONCE, prepare.geometry, pixel, thickness, volume)
    return out.reshape(*projections.shape[: projections.ndim - 3], *shape)


class FanFilter:
    """What FDK does to the views of a cone before they are back-projected, some at a time.

    `geometry` is that of the result: upright where the detector was tilted, and wider on the short side of an offset
    detector, as what filtering spreads beyond that side's edge belongs to the image as well.
    """

    def __init__(self, g: ConeBeam, filter: Filter) -> None:
        self.places = tilted_from_upright(g) if any(g.tilt) else None
        g = replace(g, tilt=(0.0, 0.0, 0.0))
        self.pad = bins_lacking(g.angles, g.positions, g.pitch)
        share = offset_weights(g.fan_angles) if any(self.pad) else np.ones(g.columns)
        self.geometry = g = _wider(g, self.pad)
        fan = g.fan_angles
        R, D = g.source_detector, g.source_origin
        u, v = g.positions, g.row_positions[:, None]
        self.cosine = np.pad(share, self.pad) * (
            np.cos(fan) * (R / np.hypot(R, v)) if g.curved else R / np.hypot(np.hypot(R, u), v)
        )
        # the ramp of unit sampling is per distance of rays at the axis (on an arc: per angle, with the 1 / D of the
        # law for equal angles)
        scale = angle_weights(g.angles, 2 * np.pi) / (g.pitch * D / R)
        self.weights = parker_weights(g.angles, fan) * scale[:, None]
        self.response = ramp(length_for(g.columns), filter, g.pitch / R if g.curved else 0.0)

    def __call__(self, views: Tensor, part: slice) -> Tensor:
        """The views (view, row, column) of `part`, filtered."""
        if self.places is not None:
            views = _read_at(views, self.places)
        views = torch.nn.functional.pad(views, self.pad) * torch.as_tensor(self.cosine).to(views)
        return filtered(views * torch.as_tensor(self.weights[part]).to(views)[:, None], self.response)


def _wider(g: Any, pad: tuple[int, int]) -> Any:
    """A geometry with so many bins more before its first and behind its last."""
    name = "detectors" if isinstance(g, Parallel2D) else "columns"
    return replace(g, **{name: getattr(g, name) + sum(pad)}, centre=g.centre + pad[0])


def _as_cone(g: FanBeam2D) -> ConeBeam:
    return ConeBeam(
        g.angles, 1, g.detectors, g.pitch, g.pitch, g.centre, 0.0, g.unit, g.source_origin, g.source_detector,
        curved=g.curved,
    )  # fmt: skip


def _read_at(projections: Tensor, places: Array) -> Tensor:
    """Bilinear reading of (*batch, angle, row, column) at places (row, column, 2) in bins, 0 outside."""
    rows, columns = projections.shape[-2:]
    # grid_sample counts from -1 to 1 between the outer bins' middles, columns first
    size = torch.tensor([max(columns - 1, 1), max(rows - 1, 1)], dtype=torch.float64)
    grid = (torch.as_tensor(places[..., ::-1].copy()) / size * 2 - 1).to(projections)
    flat = projections.reshape(1, -1, rows, columns)
    return torch.nn.functional.grid_sample(flat, grid[None], align_corners=True).reshape(projections.shape)
