# mypy: disable-error-code="no-untyped-def"
"""Triton kernels of the parallel-beam ray transform: sheared row sums and a resampling, as kernels_parallel.py says.

All arrays are contiguous. For the views nearer to one axis, whose number is `views`, and an image (rows, length):

    q (batch, view, size)            the sums at integer T, at index margin + T
    shift, slope (view,)             the shift of row r is shift + r * slope, in float64
    first (view, bin)                where the taps of a bin begin in q
    weights (view, tap, bin)
    start (view, size)               the first bin whose taps reach an index, for the adjoint
    chosen (view,)                   the views' places in the sinogram (batch, total, bin)

Each of the four is a gather, so that the adjoint is deterministic too.
"""

import triton
import triton.language as tl


@triton.jit
def _fraction(row, shift, slope, like):
    """Whole and fractional part of the shift of `row`, the second in the precision of `like`."""
    d = tl.fma(slope * 0 + row, slope, shift)
    whole = tl.floor(d)
    return whole.to(tl.int32), (d - whole).to(like.dtype.element_ty)


@triton.jit
def shear_sum(image, q, shift, slope, views, rows, length, margin, size, VIEWS: tl.constexpr, PLACES: tl.constexpr):
    """q of images (batch, rows, length), by tiles of VIEWS x PLACES."""
    across_tiles = tl.cdiv(size, PLACES)
    tiles = across_tiles * tl.cdiv(views, VIEWS)
    program = tl.program_id(0)
    tile, item = program % tiles, (program // tiles).to(tl.int64)
    view = (tile // across_tiles) * VIEWS + tl.arange(0, VIEWS)
    place = (tile % across_tiles) * PLACES + tl.arange(0, PLACES)
    known = view < views
    s, m = tl.load(shift + view, known, 0), tl.load(slope + view, known, 0)

    # no row is shifted further than the first and the last
    low, high = (tile % across_tiles) * PLACES - margin, (tile % across_tiles) * PLACES + PLACES - margin
    reach = tl.max(tl.abs(s), 0) + 2
    count = tl.where((high + reach < 0) | (low - reach > length), 0, rows)
    image += item * rows * length
    total = tl.zeros((VIEWS, PLACES), image.dtype.element_ty)
    for row in range(count):
        k, w = _fraction(row, s, m, image)
        at = (place - margin)[None, :] - k[:, None]
        here = tl.load(image + row * length + at, (at >= 0) & (at < length), 0)
        before = tl.load(image + row * length + at - 1, (at >= 1) & (at <= length), 0)
        total += (1 - w)[:, None] * here + w[:, None] * before
    tl.store(
        q + (item * views + view[:, None]) * size + place[None, :], total, known[:, None] & (place < size)[None, :]
    )


@triton.jit
def shear_spread(image, q, shift, slope, views, rows, length, margin, size, ROWS: tl.constexpr, PLACES: tl.constexpr):
    """The transpose of `shear_sum`, written to the images by tiles of ROWS x PLACES."""
    across_tiles = tl.cdiv(length, PLACES)
    tiles = across_tiles * tl.cdiv(rows, ROWS)
    program = tl.program_id(0)
    tile, item = program % tiles, (program // tiles).to(tl.int64)
    row = (tile // across_tiles) * ROWS + tl.arange(0, ROWS)
    place = (tile % across_tiles) * PLACES + tl.arange(0, PLACES)
    inside = (row < rows)[:, None] & (place < length)[None, :]
    total = tl.zeros((ROWS, PLACES), image.dtype.element_ty)
    for view in range(views):
        k, w = _fraction(row, tl.load(shift + view), tl.load(slope + view), image)
        at = q + (item * views + view) * size + (margin + place)[None, :] + k[:, None]
        total += (1 - w)[:, None] * tl.load(at, inside, 0) + w[:, None] * tl.load(at + 1, inside, 0)
    tl.store(image + (item * rows + row[:, None]) * length + place[None, :], total, inside)


@triton.jit
def resample(
    q, sinogram, first, weights, chosen, views, bins, total_views, size, TAPS: tl.constexpr, BINS: tl.constexpr
):
    """Write the views' part of the sinogram, by tiles of BINS."""
    tiles = tl.cdiv(bins, BINS)
    program = tl.program_id(0)
    view, item = (program // tiles) % views, (program // (tiles * views)).to(tl.int64)
    b = (program % tiles) * BINS + tl.arange(0, BINS)
    seen = b < bins
    at = q + (item * views + view) * size + tl.load(first + view * bins + b, seen, 0)
    total = tl.zeros((BINS,), q.dtype.element_ty)
    for tap in range(TAPS):
        weight = tl.load(weights + (view * TAPS + tap) * bins + b, seen, 0)
        total += weight * tl.load(at + tap, seen, 0)
    tl.store(sinogram + (item * total_views + tl.load(chosen + view)) * bins + b, total, seen)


@triton.jit
def resample_adjoint(
    q, sinogram, first, weights, start, chosen, views, bins, total_views, size, most,
    TAPS: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    """The transpose of `resample`, written to q by tiles of PLACES; `most` bins reach an index."""
    tiles = tl.cdiv(size, PLACES)
    program = tl.program_id(0)
    view, item = (program // tiles) % views, (program // (tiles * views)).to(tl.int64)
    place = (program % tiles) * PLACES + tl.arange(0, PLACES)
    inside = place < size
    b = tl.load(start + view * size + place, inside, 0)
    values = sinogram + (item * total_views + tl.load(chosen + view)) * bins
    total = tl.zeros((PLACES,), q.dtype.element_ty)
    for _ in range(most):
        known = inside & (b < bins)
        tap = place - tl.load(first + view * bins + b, known, 0)
        known = known & (tap >= 0) & (tap < TAPS)
        weight = tl.load(weights + (view * TAPS + tap) * bins + b, known, 0)
        total += weight * tl.load(values + b, known, 0)
        b += 1
    tl.store(q + (item * views + view) * size + place, total, inside)
