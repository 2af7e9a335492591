# mypy: disable-error-code="no-untyped-def"
"""Triton kernel of the dual step of total variation of images: differences, ascent and projection in one pass."""

import triton
import triton.language as tl


@triton.jit
def ascend(
    x, u, out, radius, table, height, width,
    FLAT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out = a w / max(w + step * huber, |a|) of a = u + step D x with the radius w, by tiles of ROWS x COLUMNS.

    x (batch, height, width); u, out (batch, 2, height, width); radius as x, or (batch,) if FLAT.
    table (batch, 3): step over each spacing, and step * huber.
    """
    across_tiles = tl.cdiv(width, COLUMNS)
    tiles = across_tiles * tl.cdiv(height, ROWS)
    program = tl.program_id(0)
    tile, item = program % tiles, (program // tiles).to(tl.int64)
    row = (tile // across_tiles) * ROWS + tl.arange(0, ROWS)[:, None]
    column = (tile % across_tiles) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (row < height) & (column < width)
    size = height * width
    at = row * width + column
    image, field = x + item * size + at, item * 2 * size + at
    here = tl.load(image, inside, 0)
    # the last differences are 0
    below = tl.load(image + width, inside & (row < height - 1), 0)
    right = tl.load(image + 1, inside & (column < width - 1), 0)
    down = tl.where(row < height - 1, below - here, 0)
    across = tl.where(column < width - 1, right - here, 0)
    table += 3 * item
    a = tl.load(u + field, inside, 0) + tl.load(table) * down
    b = tl.load(u + field + size, inside, 0) + tl.load(table + 1) * across
    limit = tl.load(radius + item) if FLAT else tl.load(radius + item * size + at, inside, 0)
    least = tl.maximum(limit + tl.load(table + 2), 1e-37)
    scale = limit / tl.maximum(tl.sqrt(a * a + b * b), least)
    tl.store(out + field, scale * a, inside)
    tl.store(out + field + size, scale * b, inside)
