# mypy: disable-error-code="no-untyped-def"
"""What the Triton kernels of Joseph's ray transform share: rays of bins, and the axis along which they are followed.

Both directions take their weights from these expressions, with explicit fused multiply-adds, so that the compiler has
no choice of rounding and the pair is matched.

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
def load_vector(t):
    return tl.load(t), tl.load(t + 1), tl.load(t + 2)


@triton.jit
def _combine(t, across, up, along, UPRIGHT: tl.constexpr):
    """across * U + up * V + along; where UPRIGHT, V has no X and Y and U no Z."""
    ux, uy, uz = load_vector(t + 6)
    vx, vy, vz = load_vector(t + 9)
    x, y, z = along
    x, y = tl.fma(across, ux, x), tl.fma(across, uy, y)
    if not UPRIGHT:
        x, y, z = tl.fma(up, vx, x), tl.fma(up, vy, y), tl.fma(across, uz, z)
    return x, y, tl.fma(up, vz, z)


@triton.jit
def bin_ray(t, across, up, PARALLEL: tl.constexpr, CURVED: tl.constexpr, UPRIGHT: tl.constexpr):
    """A point and the direction of the rays of bins, given in steps from the middle of the detector."""
    px, py, pz = load_vector(t)
    ray = load_vector(t + 3)
    if PARALLEL:
        px, py, pz = _combine(t, across, up, (px, py, pz), UPRIGHT)
        ex, ey, ez = ray
        dx, dy, dz = ex + px * 0, ey + px * 0, ez + px * 0  # one a column, as in other beams
    else:
        if CURVED:
            ex, ey, ez = ray
            gx, gy, gz = load_vector(t + 12)
            turn = tl.cos(across * tl.load(t + 15))
            ray = (tl.fma(turn, ex, gx), tl.fma(turn, ey, gy), tl.fma(turn, ez, gz))
            across = tl.sin(across * tl.load(t + 15))
        dx, dy, dz = _combine(t, across, up, ray, UPRIGHT)
    return px, py, pz, dx, dy, dz


@triton.jit
def driving_axis(dx, dy, dz, STEEP: tl.constexpr):
    """Whether x and whether z drive the ray."""
    by_x = tl.abs(dx) >= tl.abs(dy)
    by_z = by_x & False
    if STEEP:
        by_z = (tl.abs(dz) > tl.abs(dx)) & (tl.abs(dz) > tl.abs(dy))
        by_x = by_x & (by_z == 0)
    return by_x, by_z


@triton.jit
def by_axis(by_x, by_z, x, y, z, STEEP: tl.constexpr):
    """What belongs to the driving axis and to the two across it, of what belongs to x, y and z."""
    a, b, c = tl.where(by_x, x, y), tl.where(by_x, y, x), z
    if STEEP:
        a, c = tl.where(by_z, z, a), tl.where(by_z, y, z)
    return a, b, c


@triton.jit
def plane_length(dx, dy, dz, flatness, pixel, da):
    """Length of the ray from plane to plane; a step in Z is `flatness` times as long as one in X."""
    lz = dz * flatness
    return pixel * tl.sqrt(dx * dx + dy * dy + lz * lz) / tl.abs(da)


@triton.jit
def bin_tile(views, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The program's view, image, and rows (ROWS, 1) and columns (1, COLUMNS) of bins."""
    across_tiles = tl.cdiv(columns, COLUMNS)
    tiles = across_tiles * tl.cdiv(rows, ROWS)
    program = tl.program_id(0)
    tile, slab = program % tiles, program // tiles  # slab: of one view of one image
    row = (tile // across_tiles) * ROWS + tl.arange(0, ROWS)[:, None]
    column = (tile % across_tiles) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    return slab % views, (slab // views).to(tl.int64), row, column
