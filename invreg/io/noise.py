"""How noisy the line integrals are, from the flats and from the sinogram itself."""

from typing import Any

import numpy as np
import numpy.typing as npt

from invreg.io.centre import EDGE, angular_bases, inside, truncation
from invreg.io.scan import Scan

Array = npt.NDArray[Any]

FLOOR = 1e-3  # transmission below which no noise is propagated
VIEWS, WAVES = 120, 20  # as many are enough to see how well the views fit together
_DIFFERENCE = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / np.sqrt(70)  # unit variance for white noise
_BLOCK = 32


def line_integral_std(scan: Scan) -> tuple[npt.NDArray[np.float32], str]:
    """Standard deviation of what no object explains in the line integrals, (row,), and in words where it comes from.

    The root mean square over views and bins. With three flats or more, their variance against their mean gives the
    gain of the detector, the darks' variance its read noise, and both are propagated through the logarithm; without
    them the differences of neighbouring bins tell the noise (`by_bins`). For parallel views with a known axis
    `by_consistency` adds how badly they fit together, from a flickering source, drift or vibration.
    """
    values = _integrals(scan)
    if scan.flats is not None and scan.flats.shape[0] >= 3 and scan.kind != "transmission":
        std, reason = _from_flats(scan)
    else:
        std = by_bins(values)
        reason = f"standard deviation {_words(std)} from the differences of neighbouring bins"
    if scan.fan is not None or scan.cone is not None or scan.centre is None or not np.isfinite(values).all():
        return std, reason
    together = by_consistency(values, scan.angles, scan.centre, std)
    if together is None or (together.mean() < 1.1 * std.mean() and scan.flats is not None):
        return std, reason
    how = "flats alone" if scan.flats is not None else "neighbouring bins alone"
    return together, f"standard deviation {_words(together)} from how the views fit together ({_words(std)} from {how})"


def _integrals(scan: Scan) -> npt.NDArray[np.float32]:
    """Line integrals from values of any kind, well enough to tell their noise, without the bad pixels."""
    values = scan.projections
    if scan.kind == "counts" and scan.flats is not None:
        dark = 0 if scan.darks is None else scan.darks.mean(0)
        beam = scan.flats.mean(0) - dark
        values = (values - dark) / np.where(beam > 0, beam, np.nan)
    elif scan.kind != "line integrals":
        values = values / np.nanmax(values)
    if scan.kind != "line integrals":
        values = -np.log(np.maximum(values, FLOOR))
    return values


def _from_flats(scan: Scan) -> tuple[npt.NDArray[np.float32], str]:
    """Photon noise from the flats, read noise from the darks, propagated to -log((P-D)/(F-D))."""
    import torch

    from invreg.operators import detector_noise

    assert scan.flats is not None
    flats = scan.flats.astype(np.float64)
    darks = np.zeros_like(flats[:1]) if scan.darks is None else scan.darks.astype(np.float64)
    dark = darks.mean(0)
    beam = flats.mean(0) - dark
    good = beam > 0.1 * np.median(beam)
    detector = detector_noise(torch.from_numpy(flats), torch.from_numpy(darks))
    gain, read = detector.gain, detector.read**2
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


def by_bins(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Standard deviation of white noise in line integrals (angle, row, detector), (row,), from neighbouring bins.

    Differences of fourth order, robustly: the median of their absolute values over blocks of bins. Too high where
    an object is all edges.
    """
    n = values.shape[2]
    if n < _DIFFERENCE.size:
        return np.zeros(values.shape[1], np.float32)
    high = sum(w * values[..., k : n - 4 + k].astype(np.float64) for k, w in enumerate(_DIFFERENCE))
    cuts = np.arange(_BLOCK, high.shape[2] - _BLOCK // 2, _BLOCK)
    blocks = np.split(np.abs(high), cuts, axis=2)
    squares = [(1.4826 * np.nanmedian(block, axis=(0, 2))) ** 2 for block in blocks]
    return np.sqrt(np.average(squares, axis=0, weights=[b.shape[2] for b in blocks])).astype(np.float32)


def by_consistency(
    values: npt.NDArray[np.float32], angles: Array, centre: float, white: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32] | None:
    """Standard deviation of what no object inside the detector can produce in the line integrals, (row,).

    values: (angle, row, detector). For the waves that the views resolve it is what the angular orders of an object of
    this size leave over (see `centre.consistency`); for the finer ones the noise is taken for white, of standard
    deviation `white` (row,) or that of the finest resolved waves if it is less. None for a wider object, and where
    the views are too few.
    """
    if truncation(values) > EDGE:
        return None
    n, step = values.shape[2], -(-len(values) // VIEWS)
    waves, power = _unexplained(values[::step], angles[::step], centre)
    if waves.size < 6:
        return None
    resolved = np.arange(waves[-1] + 1)
    fine = np.minimum(white.astype(np.float64) ** 2, power[-6:].mean(0))
    total = np.stack([np.interp(resolved, waves, row) for row in power.T]).sum(1) + (n - waves[-1]) * fine
    return np.sqrt(total / (n + 1)).astype(np.float32)


def _unexplained(values: Array, angles: Array, centre: float) -> tuple[Array, Array]:
    """Some waves (over twice the detector) and the variance that each would have if it were white, (wave, row)."""
    n = values.shape[2]
    first, last = inside(values)
    radius = 1.05 * max(last - centre, centre - first) + 2
    both = np.concatenate([angles, angles + np.pi])
    reach = int((0.4 * both.size - 4) * n / (np.pi * radius))
    if reach < 1:
        return np.empty(0), np.empty((0, values.shape[1]))
    waves = np.unique(np.geomspace(1, min(reach, n // 2), WAVES).astype(int))
    spectrum = np.fft.rfft(values.astype(np.float64), 2 * n, axis=2)
    power = []
    bases = angular_bases(both, [int(np.ceil(np.pi * k / n * radius)) + 3 for k in waves])
    for k, basis in zip(waves, bases, strict=True):
        view = spectrum[:, :, k] * np.exp(1j * np.pi * k / n * centre)
        pair = np.concatenate([view, view.conj()])
        rest = (np.abs(pair) ** 2).sum(0) - (np.abs(basis.conj().T @ pair) ** 2).sum(0)
        power.append(rest / (both.size - basis.shape[1]) / n)
    return waves, np.array(power)


def _words(std: npt.NDArray[np.float32]) -> str:
    low, high = float(std.min()), float(std.max())
    return f"{low:.3g}" if high - low < 0.01 * high else f"{low:.3g} to {high:.3g}"
