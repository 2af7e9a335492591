# mypy: disable-error-code="no-untyped-def"
"""Triton kernels of the transpose of Joseph's ray transform, a voxel a lane: a gather, deterministic without atomics.

In each view the bins are found whose rays may pass within a voxel of the lane's voxel across their driving axis. Their
weights are those of kernels_triton.py, which are zero for the bins found in vain.
"""

import triton
import triton.language as tl

from invreg.operators.tomography.kernels_triton_rays import (
    TABLE,
    bin_ray,
    bin_tile,
    by_axis,
    driving_axis,
    load_vector,
    plane_length,
)


@triton.jit
def weigh(
    projections, weighed, table, views, rows, columns,
    PARALLEL: tl.constexpr, CURVED: tl.constexpr, UPRIGHT: tl.constexpr, STEEP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Projections times the length of their rays from plane to plane: the first step of the adjoint."""
    view, image, row, column = bin_tile(views, rows, columns, ROWS, COLUMNS)
    t = table + view * TABLE
    unit = tl.load(t) * 0 + 1
    across, up = (column - 0.5 * (columns - 1)) * unit, (row - 0.5 * (rows - 1)) * unit
    _ox, _oy, _oz, dx, dy, dz = bin_ray(t, across, up, PARALLEL, CURVED, UPRIGHT)
    by_x, by_z = driving_axis(dx, dy, dz, STEEP)
    da, _db, _dc = by_axis(by_x, by_z, dx, dy, dz, STEEP)
    length = plane_length(dx, dy, dz, tl.load(t + 26), tl.load(t + 27), da)
    seen = (row < rows) & (column < columns)
    at = ((image * views + view) * rows + row) * columns + column
    tl.store(weighed + at, tl.load(projections + at, seen, 0) * length, seen)


@triton.jit
def _arctan(s, c):
    """Angle of (c, s), c > 0, within 2e-5: Abramowitz and Stegun 4.4.49 and the complement."""
    steep = tl.abs(s) > c
    x = tl.where(steep, c, tl.abs(s)) / tl.where(steep, tl.abs(s), c)
    x2 = x * x
    angle = x * (0.9998660 + x2 * (-0.3302995 + x2 * (0.1801410 + x2 * (-0.0851330 + x2 * 0.0208351))))
    angle = tl.where(steep, 1.5707964 - angle, angle)
    return tl.where(s < 0, -angle, angle)


@triton.jit
def _across(by_x, by_y, by_z, jx, jy, jz, STEEP: tl.constexpr):
    """Sum over the two axes across the driving one; the largest such sum where several may drive."""
    least = tl.where(by_x, jx, 1e30)
    least = tl.where(by_y, tl.minimum(least, jy), least)
    if STEEP:
        least = tl.where(by_z, tl.minimum(least, jz), least)
    return jx + jy + jz - least


@triton.jit
def _window(centre, reach, count):
    """First bin and the end of those strictly within `reach` of `centre`, cut to 0..count."""
    first = tl.floor(centre - reach) + 1
    end = tl.ceil(centre + reach)
    return tl.minimum(tl.maximum(first, 0), count).to(tl.int32), tl.maximum(tl.minimum(end, count), 0).to(tl.int32)


@triton.jit
def _bins(
    t, x, y, z, rows, columns,
    PARALLEL: tl.constexpr, CURVED: tl.constexpr, UPRIGHT: tl.constexpr, STEEP: tl.constexpr,
):  # fmt: skip
    """Windows of columns and rows that hold all rays passing within a voxel of (x, y, z) across their driving axis.

    In the frame of the detector, (A, B, L) = inverse(U, V, E) (point - O), a point is seen at A / L and B / L, and at
    A and B in parallel beams. A step of at most one voxel along two axes shifts it by no more than the numerators
    below over the nearest L that it reaches.
    """
    slack = 0.01  # bins, for round-off
    ox, oy, oz = load_vector(t)
    qx, qy, qz = x - ox, y - oy, z - oz
    ax, ay, az = load_vector(t + 16)
    bx, by, bz = load_vector(t + 19)
    gx, gy, gz = load_vector(t + 22)
    A = ax * qx + ay * qy
    B = bx * qx + by * qy + bz * qz
    L = gx * qx + gy * qy
    if not UPRIGHT:
        A += az * qz
        L += gz * qz
    if PARALLEL:
        dx, dy, dz = load_vector(t + 3)
    else:
        dx, dy, dz = qx, qy, qz
    # axes that drive the ray through the voxel, or one of its neighbours
    sx, sy, sz = tl.abs(dx), tl.abs(dy), tl.abs(dz)
    most = tl.maximum(sx, sy)
    if STEEP:
        most = tl.maximum(most, sz)
    margin = 4.0
    if PARALLEL:
        margin = 1e-5 * most
    by_x, by_y, by_z = sx >= most - margin, sy >= most - margin, sz >= most - margin
    if PARALLEL:
        everything, place, height = A < A, A, B
        reach = _across(by_x, by_y, by_z, tl.abs(ax), tl.abs(ay), tl.abs(az), STEEP)
        tall = _across(by_x, by_y, by_z, tl.abs(bx), tl.abs(by), tl.abs(bz), STEEP)
    elif CURVED:
        rho = tl.sqrt(ax * ax + gx * gx) + tl.sqrt(ay * ay + gy * gy) + tl.sqrt(az * az + gz * gz)
        away = tl.sqrt(A * A + L * L)
        turn = tl.load(t + 15)
        c, s = L / away, A / away
        near = away - rho
        jx, jy, jz = tl.abs(c * ax - s * gx), tl.abs(c * ay - s * gy), tl.abs(c * az - s * gz)
        crossed = _across(by_x, by_y, by_z, jx, jy, jz, STEEP)
        everything = near <= 2 * crossed
        near = tl.where(everything, 1.0, near)
        sine = crossed / near
        place = _arctan(s, tl.maximum(c, 1e-3)) / turn
        reach = sine * (1 + sine * sine) / turn + 3e-5 / turn  # the second for _arctan
        height = B / away
        tall = (_across(by_x, by_y, by_z, tl.abs(bx), tl.abs(by), tl.abs(bz), STEEP) + tl.abs(height) * rho) / near
        height -= tl.load(t + 25)
    else:
        rho = tl.abs(gx) + tl.abs(gy) + tl.abs(gz)
        everything = L <= rho
        away = tl.where(everything, 1.0, L)
        near = tl.where(everything, 1.0, L - rho)
        place, height = A / away, B / away
        jx, jy, jz = tl.abs(ax - place * gx), tl.abs(ay - place * gy), tl.abs(az - place * gz)
        reach = _across(by_x, by_y, by_z, jx, jy, jz, STEEP) / near
        jx, jy, jz = tl.abs(bx - height * gx), tl.abs(by - height * gy), tl.abs(bz - height * gz)
        tall = _across(by_x, by_y, by_z, jx, jy, jz, STEEP) / near
    reach, tall = tl.where(everything, 1e6, reach), tl.where(everything, 1e6, tall)
    first, end = _window(place + 0.5 * (columns - 1), reach + slack, columns)
    bottom, top = _window(height + 0.5 * (rows - 1), tall + slack, rows)
    if not PARALLEL:
        end = tl.where(L < -rho, first, end)
    return first, end, bottom, top


@triton.jit
def _rows(t, across, x, y, z, rows, CURVED: tl.constexpr):
    """The window of rows for one column, where UPRIGHT and not STEEP: its rays cross the voxel's plane side by side."""
    ox, oy, oz, dx, dy, dz = bin_ray(t, across, across * 0, False, CURVED, True)
    by_x = tl.abs(dx) >= tl.abs(dy)
    away = tl.where(by_x, x - ox, y - oy) / tl.where(by_x, dx, dy)  # at z = oz + away (dz + up vz)
    away = tl.where(away > 0, away, 1.0)
    vz = tl.load(t + 11)
    return _window(((z - oz) / away - dz) / vz + 0.5 * (rows - 1), 1 / tl.abs(away * vz) + 0.01, rows)


@triton.jit
def _weight(
    t, across, up, c, r, d, width, height, depth,
    FLAT: tl.constexpr, PARALLEL: tl.constexpr, CURVED: tl.constexpr, UPRIGHT: tl.constexpr, STEEP: tl.constexpr,
):  # fmt: skip
    """The weight of voxel (c, r, d) in `joseph`'s sum over the ray of a bin, none where not positive."""
    ox, oy, oz, dx, dy, dz = bin_ray(t, across, up, PARALLEL, CURVED, UPRIGHT)
    by_x, by_z = driving_axis(dx, dy, dz, STEEP)
    oa, ob, oc = by_axis(by_x, by_z, ox, oy, oz, STEEP)
    da, db, dc = by_axis(by_x, by_z, dx, dy, dz, STEEP)
    na, nb, nc = by_axis(by_x, by_z, width, height, depth, STEEP)
    va, vb, vc = by_axis(by_x, by_z, c, r, d, STEEP)
    ha, hb, hc = 0.5 * (na - 1), 0.5 * (nb - 1), 0.5 * (nc - 1)
    step = (va - ha) - oa
    near = 1 - tl.abs(tl.fma(step, db / da, ob) + hb - vb)
    if not PARALLEL:
        near = tl.where(step * da >= 0, near, 0)
    if not FLAT:
        near = tl.maximum(near, 0) * (1 - tl.abs(tl.fma(step, dc / da, oc) + hc - vc))
    return near


@triton.jit
def joseph_adjoint(
    volume, weighed, table, views, rows, columns, depth, height, width,
    FLAT: tl.constexpr, PARALLEL: tl.constexpr, CURVED: tl.constexpr, UPRIGHT: tl.constexpr, STEEP: tl.constexpr,
    SLICES: tl.constexpr, LINES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The transpose of `joseph`, of what `weigh` made, written to volume in tiles of SLICES x (LINES x COLUMNS)."""
    ROWWISE: tl.constexpr = UPRIGHT and not (STEEP or PARALLEL or FLAT)  # the rows of a column are found by themselves
    across_tiles, down_tiles = tl.cdiv(width, COLUMNS), tl.cdiv(height, LINES)
    program = tl.program_id(0)
    tiles = across_tiles * down_tiles * tl.cdiv(depth, SLICES)
    tile, image = program % tiles, (program // tiles).to(tl.int64)
    lane = tl.arange(0, LINES * COLUMNS)[None, :]
    c = (tile % across_tiles) * COLUMNS + lane % COLUMNS
    r = (tile // across_tiles % down_tiles) * LINES + lane // COLUMNS
    d = (tile // (across_tiles * down_tiles)) * SLICES + tl.arange(0, SLICES)[:, None]
    there = (c < width) & (r < height)
    inside = there & (d < depth)

    unit = tl.load(table) * 0 + 1  # 1 in the precision of the table
    x, y, z = (c - 0.5 * (width - 1)) * unit, (r - 0.5 * (height - 1)) * unit, (d - 0.5 * (depth - 1)) * unit
    total = tl.zeros((SLICES, LINES * COLUMNS), volume.dtype.element_ty)
    for view in range(views):
        t = table + view * TABLE
        sinogram = weighed + (image * views + view) * rows * columns
        first, end, bottom, top = _bins(t, x, y, z, rows, columns, PARALLEL, CURVED, UPRIGHT, STEEP)
        if FLAT:
            bottom, top = c * 0, c * 0 + 1
        tall = 0
        if not ROWWISE:
            tall = tl.max(tl.where(inside, top - bottom, 0))
        for i in range(tl.max(tl.where(there, end - first, 0))):
            column = first + i
            across = (column - 0.5 * (columns - 1)) * unit
            if ROWWISE:
                low, high = _rows(t, across, x, y, z, rows, CURVED)
                count = tl.max(tl.where(inside & (column < end), high - low, 0))
            else:
                low, high, count = bottom, top, tall
            for j in range(count):
                row = low + j
                up = (row - 0.5 * (rows - 1)) * unit
                weight = _weight(t, across, up, c, r, d, width, height, depth, FLAT, PARALLEL, CURVED, UPRIGHT, STEEP)
                mask = there & (column < end) & (row < high) & (weight > 0)
                total += weight * tl.load(sinogram + row * columns + column, mask, 0)
    tl.store(volume + ((image * depth + d) * height + r) * width + c, total, inside)
