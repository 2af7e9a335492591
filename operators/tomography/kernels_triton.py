# mypy: disable-error-code="no-untyped-def"
"""Triton kernel of Joseph's ray transform (1982), a ray a lane.

A ray is followed along the axis along which its direction, in voxels, is longest (of equals the first of x, y, z). It
crosses the planes of voxel centres across that axis one by one, and each crossing is interpolated (bi)linearly there;
the sum weighs the length of the ray between two planes. Voxels outside the volume are zero.
"""

import triton
import triton.language as tl

from invreg.operators.tomography.kernels_triton_rays import (
    TABLE,
    bin_ray,
    bin_tile,
    by_axis,
    driving_axis,
    plane_length,
)


@triton.jit
def _inside(start, slope, count, low, high):
    """`low` and `high` narrowed to the planes where start + plane * slope is within a pixel or two of 0..count-1."""
    slope = tl.where(tl.abs(slope) < 1e-6, 1e-6, slope)
    first, last = (-2 - start) / slope, (count + 1 - start) / slope
    return tl.maximum(low, tl.minimum(first, last)), tl.minimum(high, tl.maximum(first, last))


@triton.jit
def _bilinear(plane, pb, pc, nb, nc, sc, mask, FLAT: tl.constexpr, INDEX: tl.constexpr):
    """The plane starting at `plane`, with axes of nb and nc voxels at strides 1 and sc, at (pb, pc)."""
    fb = tl.floor(pb)
    b = fb.to(tl.int32)
    wb = pb - fb
    left, right = mask & (b >= 0) & (b < nb), mask & (b >= -1) & (b < nb - 1)
    at = plane + b
    if not FLAT:
        fc = tl.floor(pc)
        c = fc.to(tl.int32)
        wc = pc - fc
        at += c.to(INDEX) * sc
        low, high = (c >= 0) & (c < nc), (c >= -1) & (c < nc - 1)
        above = (1 - wb) * tl.load(at + sc, left & high, 0) + wb * tl.load(at + sc + 1, right & high, 0)
        left, right = left & low, right & low
    value = (1 - wb) * tl.load(at, left, 0) + wb * tl.load(at + 1, right, 0)
    if not FLAT:
        value = (1 - wc) * value + wc * above
    return value


@triton.jit
def joseph(
    volume, turned, projections, table, views, rows, columns, depth, height, width,
    FLAT: tl.constexpr, PARALLEL: tl.constexpr, CURVED: tl.constexpr, UPRIGHT: tl.constexpr, STEEP: tl.constexpr,
    INDEX: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Volumes (batch, depth, height, width) to projections (batch, view, row, column), by tiles of bins.

    turned: the volumes with x and y exchanged, (batch, depth, width, height), in which rays along x are followed: so
    neighbouring columns read neighbours in memory.
    """
    view, image, row, column = bin_tile(views, rows, columns, ROWS, COLUMNS)
    seen = (row < rows) & (column < columns)
    t = table + view * TABLE
    unit = tl.load(t) * 0 + 1  # 1 in the precision of the table
    across, up = (column - 0.5 * (columns - 1)) * unit, (row - 0.5 * (rows - 1)) * unit
    ox, oy, oz, dx, dy, dz = bin_ray(t, across, up, PARALLEL, CURVED, UPRIGHT)
    by_x, by_z = driving_axis(dx, dy, dz, STEEP)
    oa, ob, oc = by_axis(by_x, by_z, ox, oy, oz, STEEP)
    da, db, dc = by_axis(by_x, by_z, dx, dy, dz, STEEP)
    na, nb, nc = by_axis(by_x, by_z, width, height, depth, STEEP)
    slice_size = tl.full((1, 1), 1, INDEX) * height * width
    sa, _, sc = by_axis(by_x, by_z, height, width, slice_size, STEEP)
    if STEEP:
        sc = tl.where(by_z, width, slice_size)
    mb, mc = db / da, dc / da
    ha, hb, hc = 0.5 * (na - 1), 0.5 * (nb - 1), 0.5 * (nc - 1)

    low, high = unit * 0 + 0 * da, unit * na
    low, high = _inside(tl.fma(-ha - oa, mb, ob) + hb, mb, nb, low, high)
    if not FLAT:
        low, high = _inside(tl.fma(-ha - oa, mc, oc) + hc, mc, nc, low, high)
    first = tl.min(tl.where(seen, low, na)).to(tl.int32)
    last = tl.max(tl.where(seen, high, 0)).to(tl.int32)
    start = tl.where(by_x, turned, volume) + image * depth * height * width
    total = tl.zeros((ROWS, COLUMNS), projections.dtype.element_ty)
    for plane in range(first, last):
        step = (plane - ha) - oa
        mask = (column < columns) & (plane < na)
        if not PARALLEL:
            mask = mask & (step * da >= 0)
        pb, pc = tl.fma(step, mb, ob) + hb, tl.fma(step, mc, oc) + hc
        total += _bilinear(start + plane * sa, pb, pc, nb, nc, sc, mask, FLAT, INDEX)
    flatness, pixel = tl.load(t + 26), tl.load(t + 27)
    total *= plane_length(dx, dy, dz, flatness, pixel, da)
    tl.store(projections + ((image * views + view) * rows + row) * columns + column, total, seen)
