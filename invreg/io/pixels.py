"""Dead and hot pixels: finding them in flats and darks, and filling them in."""

import numpy as np
import numpy.typing as npt


def dead_and_hot(
    flats: npt.NDArray[np.float32], darks: npt.NDArray[np.float32] | None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which pixels (row, detector) answer the beam far too weakly, and which count far too much without it.

    flats, darks: (n, row, detector). Dead: flat minus dark below a third of the median of the 15 bins around.
    Hot: dark above the median around by more than 10 robust standard deviations of the darks and by more than
    5 % of the beam.
    """
    from scipy.ndimage import median_filter

    dark = np.zeros(flats.shape[1:], np.float32) if darks is None else darks.mean(0)
    beam = flats.mean(0) - dark
    dead = beam < median_filter(beam, (1, 15), mode="mirror") / 3
    above = dark - median_filter(dark, (1, 15), mode="mirror")
    spread = 1.4826 * np.median(np.abs(above))
    return dead, above > np.maximum(10 * spread, 0.05 * np.median(beam))


def fill(values: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The bad values by linear interpolation along the last axis, the nearest good one at the ends.

    A line with no good value at all becomes zero. bad: the shape of the values, or what broadcasts to it.
    """
    out = values.copy()
    bad = np.broadcast_to(bad, values.shape)
    places = np.arange(values.shape[-1])
    for line in zip(*np.nonzero(bad.any(-1)), strict=True):
        wrong = bad[line]
        good = places[~wrong]
        out[line][wrong] = np.interp(places[wrong], good, values[line][good]) if good.size else 0
    return out
