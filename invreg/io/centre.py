"""Where the rotation axis falls on the detector, by independent methods that have to agree."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ROWS, VIEWS, WAVES, ORDERS = 8, 180, 40, 64  # as many are enough, and keep the search to a second
EDGE = 0.05  # share of the peak at the detector's ends from which on an object counts as truncated


def find_centre(sinogram: npt.NDArray[np.float32], angles: Array) -> tuple[float, bool, str]:
    """Bin of the axis (0 is the middle of the first), whether it is sure, and in words why.

    sinogram: line integrals (angle, row, detector) of parallel rays, finite. For an object inside the detector the
    value is that of `consistency`, for a wider one that of `mirrored`. It is sure where a second method agrees
    within half a bin or its own uncertainty: the other of the two, or `centre_of_mass`.
    """
    rows = np.unique(np.linspace(0, sinogram.shape[1] - 1, ROWS).astype(int))
    order = np.argsort(angles, kind="stable")
    order = order[:: -(-order.size // VIEWS)]
    p, a = sinogram[np.ix_(order, rows)].astype(np.float64), angles[order]
    cut = truncation(sinogram) > EDGE
    found: dict[str, tuple[float, float] | None] = {}
    if cut:
        found["mirrored views"] = guess = mirrored(p, a)
        found["consistency of the views"] = around(p, a, guess[0] if guess else (sinogram.shape[2] - 1) / 2)
    else:
        p = without_air(p)
        found = {
            "consistency of the views": consistency(p, a),
            "mirrored views": mirrored(p, a),
            "centre of mass": centre_of_mass(p, a),
        }
    known = {name: told for name, told in found.items() if told is not None and told[1] < 1}
    if not known:
        middle = (sinogram.shape[2] - 1) / 2
        return middle, False, f"{middle:.2f}, the middle of the detector, as no method finds it; set centre= to change"
    (best, spread), *others = known.values()
    told = ", ".join(f"{c:.2f} (± {error:.2f}) by {name}" for name, (c, error) in known.items())
    if spread > (0.1 if cut else 0.2):
        return best, False, f"{told}; the views tell it badly, set centre= if you know it"
    worst = 0.2 if cut else 1
    if not any(error < worst and abs(c - best) <= max(0.5, 2 * error) for c, error in others):
        return best, False, f"{told}; no two methods agree within half a bin, set centre= if you know it"
    return best, True, told


def truncation(sinogram: npt.NDArray[np.float32]) -> float:
    """How much of an object (angle, row, detector) reaches the ends of the detector, as a share of its peak.

    The larger end of each view, the upper quartile over views: 0 where the object always fits.
    """
    width = max(2, sinogram.shape[2] // 100)
    ends = np.maximum(sinogram[..., :width].mean(-1), sinogram[..., -width:].mean(-1))
    return float(np.quantile(ends, 0.75) / max(float(np.quantile(sinogram, 0.995)), 1e-30))


def inside(p: Array) -> tuple[int, int]:
    """The first and last bin that an object reaches in any view. p: (angle, row, detector)."""
    profile = np.quantile(np.abs(p), 0.98, axis=(0, 1))
    bins = np.flatnonzero(profile > EDGE * profile.max())
    return (int(bins[0]), int(bins[-1])) if bins.size else (0, p.shape[2] - 1)


def without_air(p: Array) -> Array:
    """The views (angle, row, detector) less their level beside the object, where there are bins enough to tell."""
    first, last = inside(p)
    air = np.concatenate([p[..., : max(first - 2, 0)], p[..., last + 3 :]], axis=2)
    return p - air.mean(2, keepdims=True) if air.shape[2] >= 8 else p


def consistency(p: Array, angles: Array) -> tuple[float, float]:
    """The axis about which views and mirrored views together best look like one object, and its uncertainty.

    The Fourier transform of a sinogram over 2 pi, P(k, v), of an object of radius R around the axis vanishes for
    angular orders |k| > 2 pi R |v| (Rattey and Lindgren 1981; used for the axis by Vo et al. 2014). For each wave v
    the views and their mirror images are fitted with the orders below, at their true angles, so that few, missing
    and uneven views do no harm. The misfit is a cosine of the axis' place, whose logarithms add up over v.

    p: (angle, row, detector) of an object inside the detector. The uncertainty is how far the odd or the even
    waves alone would move the axis.
    """
    n = p.shape[2]
    first, last = inside(p)
    radius = 0.65 * (last - first) + 2
    grid = np.arange(0.1 * n, 0.9 * n, 0.1)
    spectrum = np.fft.rfft(p, 2 * n, axis=2)
    rows = [_misfit(basis, spectrum[:, :, k], 2 * np.pi * k / (2 * n) * grid) for k, basis in _waves(n, angles, radius)]
    return _halves(grid, np.array(rows))


def around(p: Array, angles: Array, guess: float) -> tuple[float, float]:
    """As `consistency` for an object wider than the detector, within four bins of a guess.

    What lies in a smooth window around each place is fitted with the orders of an object twice as wide.
    """
    n = p.shape[2]
    grid = guess + np.arange(-4, 4.01, 0.25)
    reach = min(grid[0], n - 1 - grid[-1])
    if reach < 8:
        return guess, np.inf
    waves = _waves(n, angles, 2 * reach)
    columns = []
    for c in grid:
        window = np.sin(np.pi / 2 * np.clip(1 - np.abs(np.arange(n) - c) / reach, 0, None)) ** 2
        spectrum = np.fft.rfft((p - p.mean(2, keepdims=True)) * window, 2 * n, axis=2)
        columns.append([_misfit(b, spectrum[:, :, k], np.array([np.pi * k / n * c]))[0] for k, b in waves])
    return _halves(grid, np.array(columns).T)


def _halves(grid: Array, misfit: Array) -> tuple[float, float]:
    """The lowest place of the sum over waves, and how far that of the odd or even waves is from it."""
    if len(misfit) < 4:
        return float(grid[grid.size // 2]), np.inf
    best, even, odd = (_lowest(grid, part.sum(0)) for part in (misfit, misfit[::2], misfit[1::2]))
    return best, max(abs(best - even), abs(best - odd))


def _waves(n: int, angles: Array, radius: float) -> list[tuple[int, npt.NDArray[np.complex128]]]:
    """The waves (over twice the detector) that these views can tell, and the basis of orders for each."""
    both = np.concatenate([angles, angles + np.pi])
    orders = [(k, int(np.ceil(np.pi * k / n * radius)) + 3) for k in range(1, n // 2)]  # a few to spare
    orders = [(k, m) for k, m in orders if 2 * m + 1 < 0.95 * both.size and m < ORDERS]
    orders = orders[:: max(1, -(-len(orders) // WAVES))]
    bases = angular_bases(both, [m for _, m in orders])
    return [(k, basis) for (k, _), basis in zip(orders, bases, strict=True)]


def _misfit(basis: npt.NDArray[np.complex128], view: npt.NDArray[np.complex128], phase: Array) -> Array:
    """Log of the share of views (angle, row) and mirrored views that the basis leaves over, for each shift's phase."""
    count = len(view)
    one, two = basis[:count].conj().T @ view, basis[count:].conj().T @ view.conj()
    fitted = (
        (np.abs(one) ** 2).sum() + (np.abs(two) ** 2).sum() + 2 * ((two.conj() * one).sum() * np.exp(2j * phase)).real
    )
    total = 2 * (np.abs(view) ** 2).sum() + 1e-300
    return (2 * count - basis.shape[1]) * np.log(np.maximum(1 - fitted / total, 1e-12))


def angular_bases(angles: Array, orders: list[int]) -> list[npt.NDArray[np.complex128]]:
    """For each of some rising m orthonormal columns that span exp(i k angle), |k| <= m.

    One QR factorisation serves all, as its first columns span those of the lower orders. What the angles do not tell
    apart from lower orders is left out.
    """
    if not orders:
        return []
    sizes = np.array([0, *(k for m in range(1, orders[-1] + 1) for k in (m, m))])
    signs = np.resize([1, -1], sizes.size)
    columns, triangle = np.linalg.qr(np.exp(1j * np.outer(angles, sizes * signs)))
    apart = np.abs(np.diag(triangle)) > 1e-3 * np.sqrt(angles.size)
    columns, sizes = columns[:, apart[: columns.shape[1]]], sizes[: apart.size][apart]
    return [columns[:, : np.searchsorted(sizes, m, side="right")] for m in orders]


def _lowest(grid: Array, values: Array) -> float:
    """The lowest place of sampled values, by a parabola through the lowest sample and its neighbours."""
    i = int(values.argmin())
    if not 0 < i < values.size - 1:
        return float(grid[i])
    left, middle, right = values[i - 1 : i + 2]
    return float(grid[i] + (grid[1] - grid[0]) * (left - right) / (2 * (left - 2 * middle + right)))


def mirrored(p: Array, angles: Array) -> tuple[float, float] | None:
    """The axis from views half a turn apart, one of them mirrored, and its uncertainty; works on truncated objects.

    p: (angle, row, detector), angles rising. Views at half a turn are interpolated, or over the gap at the end of a
    half turn extrapolated from either side, by parabolas; the uncertainty is what straight lines would make of it.
    None where the views leave a wider gap.
    """
    from scipy.ndimage import gaussian_filter1d

    if angles.size < 6:
        return None
    n, step = p.shape[2], float(np.median(np.diff(angles)))
    gap = angles[0] + np.pi - angles[-1]
    where = angles[angles >= angles[0] + np.pi] if gap <= 0 else np.array([angles[-1] + gap / 2])
    if gap > 3 * step:
        return None
    smooth = gaussian_filter1d(p, max(0.2 * n * step, 0.5), axis=2)  # what moves further than this in one step
    found = [_mirror(smooth, angles, where[:: -(-where.size // 16)], degree) for degree in (2, 1)]
    return found[0], 0.3 * abs(found[0] - found[1])


def _mirror(p: Array, angles: Array, where: Array, degree: int) -> float:
    n = p.shape[2]
    near = np.concatenate([_at(p, angles, t, degree) for t in where])
    far = np.concatenate([_at(p, angles, t - np.pi, degree) for t in where])[:, ::-1]
    lags = np.arange(-(n // 2), n // 2 + 1)
    misfit = np.empty(lags.size)
    for i, lag in enumerate(lags):
        one, two = near[:, max(lag, 0) : n + min(lag, 0)], far[:, max(-lag, 0) : n - max(lag, 0)]
        one, two = one - one.mean(1, keepdims=True), two - two.mean(1, keepdims=True)
        misfit[i] = ((one - two) ** 2).sum() / max((one**2).sum() + (two**2).sum(), 1e-30)
    return (n - 1 + _lowest(lags.astype(np.float64), misfit)) / 2


def _at(p: Array, angles: Array, t: float, degree: int) -> Array:
    """The view at angle t, (row, detector), by a polynomial through the three nearest views."""
    nearest = np.argsort(np.abs(angles - t))[:3]
    basis = np.vander(angles[nearest] - t, degree + 1)
    return np.tensordot(np.linalg.pinv(basis)[-1], p[nearest], 1)


def centre_of_mass(p: Array, angles: Array) -> tuple[float, float] | None:
    """The axis from the centre of mass of the views, which goes round it in a sine, and its standard error.

    p: (angle, row, detector) of an object inside the detector. None where a view has no mass.
    """
    total = p.sum((1, 2))
    if angles.size < 4 or not (total > 0).all():
        return None
    places = (p.sum(1) * np.arange(p.shape[2])).sum(1) / total
    basis = np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], axis=1)
    fit, *_ = np.linalg.lstsq(basis, places, rcond=None)
    variance = ((places - basis @ fit) ** 2).sum() / (angles.size - 3)
    return float(fit[0]), float(np.sqrt(variance * np.linalg.pinv(basis.T @ basis)[0, 0]))
