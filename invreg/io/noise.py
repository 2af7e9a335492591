"""How noisy the line integrals are, from the flats or from the sinogram itself."""

import numpy as np
import numpy.typing as npt

from invreg.io.scan import Scan

FLOOR = 1e-3  # transmission below which no noise is propagated
_DIFFERENCE = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / np.sqrt(70)  # unit variance for white noise
_BLOCK = 32


def line_integral_std(scan: Scan) -> tuple[npt.NDArray[np.float32], str]:
    """Standard deviation of the noise in line integrals, (row,), and in words where it comes from.

    It is the root mean square over views and bins. With three flats or more, their variance against their mean
    gives the gain of the detector, the darks' variance its read noise, and both are propagated through the
    logarithm. Else it is read from the differences of fourth order along the detector, robustly (median of the
    absolute values over blocks of bins), which takes noise of neighbouring bins for independent.
    """
    enough = scan.flats is not None and scan.flats.shape[0] >= 3
    if enough and scan.kind != "transmission":
        return _from_flats(scan)
    values = scan.projections
    if scan.kind != "line integrals":
        floor = FLOOR * float(np.nanmax(values))
        values = -np.log(np.maximum(values, floor))
    std = sinogram_std(values)
    return std, f"standard deviation {_words(std)} from the differences of neighbouring bins"


def _from_flats(scan: Scan) -> tuple[npt.NDArray[np.float32], str]:
    """Photon noise from the flats, read noise from the darks, propagated to -log((P-D)/(F-D))."""
    assert scan.flats is not None
    flats = scan.flats.astype(np.float64)
    darks = np.zeros_like(flats[:1]) if scan.darks is None else scan.darks.astype(np.float64)
    dark, read = darks.mean(0), 0.0
    if darks.shape[0] >= 3:
        read = float(np.median(darks.var(0, ddof=1)))
    beam = flats.mean(0) - dark
    good = beam > 0.1 * np.median(beam)
    level = (flats * good).sum((1, 2), keepdims=True)  # the source flickers; a frame's level is not pixel noise
    spread = (flats * (level.mean() / level)).var(0, ddof=1)
    good &= spread <= np.quantile(spread[good], 0.99)  # pixels hit by a stray photon
    gain = max(float((spread - read)[good].sum() / beam[good].sum()), 0.0)
    if scan.kind == "counts":
        transmitted = (scan.projections - dark) / np.where(good, beam, 1)
    else:
        transmitted = np.exp(-scan.projections)
    signal = beam * np.clip(transmitted, FLOOR, None)
    variance = (gain * signal + read) / signal**2 + (gain * beam + read) / (flats.shape[0] * beam**2)
    use = np.broadcast_to(good, signal.shape) & np.isfinite(signal)
    std = np.sqrt(np.where(use, variance, 0).sum((0, 2)) / np.maximum(use.sum((0, 2)), 1)).astype(np.float32)
    reason = (
        f"standard deviation {_words(std)} from {flats.shape[0]} flats: {gain:.3g} counts of variance a count, "
        f"read noise {np.sqrt(read):.3g} counts"
    )
    return std, reason


def sinogram_std(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Standard deviation of white noise in (angle, row, detector), (row,), blind to what is smooth."""
    n = values.shape[2]
    if n < _DIFFERENCE.size:
        return np.zeros(values.shape[1], np.float32)
    high = sum(w * values[..., k : n - 4 + k].astype(np.float64) for k, w in enumerate(_DIFFERENCE))
    cuts = np.arange(_BLOCK, high.shape[2] - _BLOCK // 2, _BLOCK)
    blocks = np.split(np.abs(high), cuts, axis=2)
    squares = [(1.4826 * np.nanmedian(block, axis=(0, 2))) ** 2 for block in blocks]
    return np.sqrt(np.average(squares, axis=0, weights=[b.shape[2] for b in blocks])).astype(np.float32)


def _words(std: npt.NDArray[np.float32]) -> str:
    low, high = float(std.min()), float(std.max())
    return f"{low:.3g}" if high - low < 0.01 * high else f"{low:.3g} to {high:.3g}"
