"""From counts to transmission to line integrals."""

import numpy as np
import numpy.typing as npt

from invreg.io.errors import InputError

Array = npt.NDArray[np.float32]


def transmission(counts: Array, flats: Array, darks: Array | None) -> tuple[Array, npt.NDArray[np.bool_]]:
    """(counts - dark) / (flat - dark), (angle, row, detector), and the pixels (row, detector) without beam.

    flats, darks: (n, row, detector), averaged over n; no darks count as zero. Where the flat is not above the
    dark the transmission is set to 1 and the pixel is told.
    """
    dark = np.float32(0) if darks is None else darks.mean(0)
    beam = flats.mean(0) - dark
    blind = ~(beam > 0)
    ratio = (counts - dark) / np.where(blind, 1, beam)
    ratio[:, blind] = 1
    return ratio.astype(np.float32, copy=False), blind


def line_integrals(transmitted: Array, floor: float) -> tuple[Array, npt.NDArray[np.bool_]]:
    """-log of the transmission, no value of which is taken below `floor`, and where that happened.

    The largest line integral is then -log(floor). NaN stays NaN. Raises InputError unless 0 < floor < 1.
    """
    if not 0 < floor < 1:
        raise InputError(f"the floor of the transmission is {floor:g}; expected a number between 0 and 1")
    clipped = transmitted < floor
    return -np.log(np.maximum(transmitted, np.float32(floor))), clipped
