# mypy: disable-error-code="no-untyped-def"
"""Triton kernels of Joseph's ray transform (1982): a ray a lane forward, a voxel a lane in the adjoint.

A ray is followed along the axis along which its direction, in voxels, is longest (of equals the first of x, y, z). It
crosses the planes of voxel centres across that axis one by one, and each crossing is interpolated (bi)linearly there;
the sum weighs the length of the ray between two planes. Voxels outside the volume are zero. The adjoint finds, in each
view, the bins whose rays may pass within a voxel of the lane's voxel and takes their weights from the same
expressions, with explicit fused multiply-adds so that the compiler has no choice of rounding: gathers both ways, no
atomics.

Coordinates are centred and count voxels: X = x / pixel, Y = -y / pixel, Z = z / thickness. Geometry comes as TABLE
numbers a view (`views_table` in gpu.py):

    0 O    the source, or with PARALLEL the middle of the detector
    3 E    from there to the middle of the detector, or the direction of the rays (CURVED: from the arc's centre)
    6 U    the step from column to column (CURVED: the radius along it)
    9 V    the step from row to row
   12 G    CURVED: from the source to the arc's centre
   15      CURVED: the angle from column to column
   16, 19, 22   the rows of the inverse of (U, V, E)
   25      CURVED: G in steps of V
   26, 27  flatness, the length of a step in Z over that in X, and the length of a step in X

Tiles have two axes: rows and columns of bins; slices and places in them. Where UPRIGHT and not STEEP, what belongs to
a column or a place alone has one element along the first axis, and costs nothing for the others.
"""

import triton
import triton.language as tl

TABLE = tl.constexpr(28)


@triton.jit
def _vector(t):
    return tl.load(t), tl.load(t + 1), tl.load(t + 2)


@triton.jit
def _combine(t, across, up, along, UPRIGHT: tl.constexpr):
    """across * U + up * V + along; where UPRIGHT, V has no X and Y and U no Z."""
    ux, uy, uz = _vector(t + 6)
    vx, vy, vz = _vector(t + 9)
    x, y, z = along
    x, y = tl.fma(across, ux, x), tl.fma(across, uy, y)
    if not UPRIGHT:
        x, y, z = tl.fma(up, vx, x), tl.fma(up, vy, y), tl.fma(across, uz, z)
    return x, y, tl.fma(up, vz, z)


@triton.jit
def _ray(t, across, up, PARALLEL: tl.constexpr, CURVED: tl.constexpr, UPRIGHT: tl.constexpr):
    """A point and the direction of the rays of bins, given in steps from the middle of the detector."""
    px, py, pz = _vector(t)
    ray = _vector(t + 3)
    if PARALLEL:
        px, py, pz = _combine(t, across, up, (px, py, pz), UPRIGHT)
        ex, ey, ez = ray
        dx, dy, dz = ex + px * 0, ey + px * 0, ez + px * 0  # one a column, as in other beams
    else:
        if CURVED:
            ex, ey, ez = ray
            gx, gy, gz = _vector(t + 12)
            turn = tl.cos(across * tl.load(t + 15))
            ray = (tl.fma(turn, ex, gx), tl.fma(turn, ey, gy), tl.fma(turn, ez, gz))
            across = tl.sin(across * tl.load(t + 15))
        dx, dy, dz = _combine(t, across, up, ray, UPRIGHT)
    return px, py, pz, dx, dy, dz


@triton.jit
def _driving(dx, dy, dz, STEEP: tl.constexpr):
    """Whether x and whether z drive the ray."""
    by_x = tl.abs(dx) >= tl.abs(dy)
    by_z = by_x & False
    if STEEP:
        by_z = (tl.abs(dz) > tl.abs(dx)) & (tl.abs(dz) > tl.abs(dy))
        by_x = by_x & (by_z == 0)
    return by_x, by_z


@triton.jit
def _order(by_x, by_z, x, y, z, STEEP: tl.constexpr):
    """What belongs to the driving axis and to the two across it, of what belongs to x, y and z."""
    a, b, c = tl.where(by_x, x, y), tl.where(by_x, y, x), z
    if STEEP:
        a, c = tl.where(by_z, z, a), tl.where(by_z, y, z)
    return a, b, c


@triton.jit
def _length(dx, dy, dz, flatness, pixel, da):
    """Length of the ray from plane to plane; a step in Z is `flatness` times as long as one in X."""
    lz = dz * flatness
    return pixel * tl.sqrt(dx * dx + dy * dy + lz * lz) / tl.abs(da)


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
def _tile(views, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The program's view, image, and rows (ROWS, 1) and columns (1, COLUMNS) of bins."""
    across_tiles = tl.cdiv(columns, COLUMNS)
    tiles = across_tiles * tl.cdiv(rows, ROWS)
    program = tl.program_id(0)
    tile, slab = program % tiles, program // tiles  # slab: of one view of one image
    row = (tile // across_tiles) * ROWS + tl.arange(0, ROWS)[:, None]
    column = (tile % across_tiles) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    return slab % views, (slab // views).to(tl.int64), row, column


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
    view, image, row, column = _tile(views, rows, columns, ROWS, COLUMNS)
    seen = (row < rows) & (column < columns)
    t = table + view * TABLE
    unit = tl.load(t) * 0 + 1  # 1 in the precision of the table
    across, up = (column - 0.5 * (columns - 1)) * unit, (row - 0.5 * (rows - 1)) * unit
    ox, oy, oz, dx, dy, dz = _ray(t, across, up, PARALLEL, CURVED, UPRIGHT)
    by_x, by_z = _driving(dx, dy, dz, STEEP)
    oa, ob, oc = _order(by_x, by_z, ox, oy, oz, STEEP)
    da, db, dc = _order(by_x, by_z, dx, dy, dz, STEEP)
    na, nb, nc = _order(by_x, by_z, width, height, depth, STEEP)
    slice_size = tl.full((1, 1), 1, INDEX) * height * width
    sa, _, sc = _order(by_x, by_z, height, width, slice_size, STEEP)
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
    total *= _length(dx, dy, dz, flatness, pixel, da)
    tl.store(projections + ((image * views + view) * rows + row) * columns + column, total, seen)


@triton.jit
def weigh(
    projections, weighed, table, views, rows, columns,
    PARALLEL: tl.constexpr, CURVED: tl.constexpr, UPRIGHT: tl.constexpr, STEEP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Projections times the length of their rays from plane to plane: the first step of the adjoint."""
    view, image, row, column = _tile(views, rows, columns, ROWS, COLUMNS)
    t = table + view * TABLE
    unit = tl.load(t) * 0 + 1
    across, up = (column - 0.5 * (columns - 1)) * unit, (row - 0.5 * (rows - 1)) * unit
    _ox, _oy, _oz, dx, dy, dz = _ray(t, across, up, PARALLEL, CURVED, UPRIGHT)
    by_x, by_z = _driving(dx, dy, dz, STEEP)
    da, _db, _dc = _order(by_x, by_z, dx, dy, dz, STEEP)
    length = _length(dx, dy, dz, tl.load(t + 26), tl.load(t + 27), da)
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
    ox, oy, oz = _vector(t)
    qx, qy, qz = x - ox, y - oy, z - oz
    ax, ay, az = _vector(t + 16)
    bx, by, bz = _vector(t + 19)
    gx, gy, gz = _vector(t + 22)
    A = ax * qx + ay * qy
    B = bx * qx + by * qy + bz * qz
    L = gx * qx + gy * qy
    if not UPRIGHT:
        A += az * qz
        L += gz * qz
    if PARALLEL:
        dx, dy, dz = _vector(t + 3)
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
    ox, oy, oz, dx, dy, dz = _ray(t, across, across * 0, False, CURVED, True)
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
    ox, oy, oz, dx, dy, dz = _ray(t, across, up, PARALLEL, CURVED, UPRIGHT)
    by_x, by_z = _driving(dx, dy, dz, STEEP)
    oa, ob, oc = _order(by_x, by_z, ox, oy, oz, STEEP)
    da, db, dc = _order(by_x, by_z, dx, dy, dz, STEEP)
    na, nb, nc = _order(by_x, by_z, width, height, depth, STEEP)
    va, vb, vc = _order(by_x, by_z, c, r, d, STEEP)
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
        high = tl.max(tl.where(inside, top - bottom, 0))
        for i in range(tl.max(tl.where(there, end - first, 0))):
            column = first + i
            across = (column - 0.5 * (columns - 1)) * unit
            if ROWWISE:
                bottom, top = _rows(t, across, x, y, z, rows, CURVED)
                high = tl.max(tl.where(inside & (column < end), top - bottom, 0))
            for j in range(high):
                row = bottom + j
                up = (row - 0.5 * (rows - 1)) * unit
                weight = _weight(t, across, up, c, r, d, width, height, depth, FLAT, PARALLEL, CURVED, UPRIGHT, STEEP)
                mask = there & (column < end) & (row < top) & (weight > 0)
                total += weight * tl.load(sinogram + row * columns + column, mask, 0)
    tl.store(volume + ((image * depth + d) * height + r) * width + c, total, inside)
