"""From a flat fan beam to parallel rays."""

from dataclasses import replace

import numpy as np

from invreg.io.errors import InputError
from invreg.io.scan import Scan


def to_parallel(scan: Scan) -> Scan:
    """The line integrals along parallel rays of a full turn of a flat fan beam, by cubic interpolation.

    The fan's ray of view b and bin u from the middle leaves the source at the angle g = atan(u / source_detector) and
    is the parallel ray of angle b - g at source_origin * sin(g) from the axis (Kak and Slaney 1988, section 3.4.1).
    There are as many views and bins after as before, evenly spread over the turn and as wide as the bins look at the
    axis. An unknown axis is taken as the middle of the detector. Flats and darks, which belong to the old bins, are
    left behind. Raises InputError for parallel rays, for anything but finite line integrals, and where the views
    leave more than three steps of a full turn out.
    """
    from scipy.ndimage import map_coordinates

    if scan.fan is None:
        raise InputError(f"{scan.name}: the rays are parallel already")
    if scan.kind != "line integrals" or not np.isfinite(scan.projections).all():
        raise InputError(f"{scan.name} has no finite line integrals; use invreg.io.correct(scan) first")
    turn = 2 * np.pi
    beta = np.mod(scan.angles + 1e-7, turn) - 1e-7  # so that a whole turn is none
    first = np.argsort(beta)
    first = first[np.diff(beta[first], prepend=-1) > 1e-6]  # views may repeat, as the last often does
    beta = beta[first]
    steps = np.diff(beta, append=beta[0] + turn)
    if steps.max() > 3 * np.median(steps):
        raise InputError(
            f"{scan.name}: the views of this fan beam leave {np.rad2deg(steps.max()):.3g} degrees of the turn out; "
            "only a full turn can be rebinned to parallel rays"
        )
    near, far = scan.fan
    views, bins = beta.size, scan.projections.shape[2]
    axis = (bins - 1) / 2 if scan.centre is None else scan.centre
    pitch = scan.pixel_size * near / far
    gamma = np.arcsin(np.clip((np.arange(bins) - axis) * pitch / near, -1, 1))
    theta = np.arange(views) * turn / views
    wanted = np.mod(theta[:, None] + gamma - beta[0], turn)  # from the first view on
    source = np.interp(wanted, np.append(beta - beta[0], turn), np.arange(views + 1.0))
    bin = np.broadcast_to(axis + far * np.tan(gamma) / scan.pixel_size, source.shape)
    pad = 8  # views, so that the interpolation does not see the seam
    out = np.empty((views, scan.projections.shape[1], bins), np.float32)
    for row in range(out.shape[1]):
        turned = np.pad(scan.projections[first, row].astype(np.float64), ((pad, pad), (0, 0)), mode="wrap")
        out[:, row] = map_coordinates(turned, [source + pad, bin], order=3, mode="nearest")
    return replace(
        scan,
        projections=out,
        angles=theta,
        flats=None,
        darks=None,
        mask=None,
        fan=None,
        centre=axis,
        pixel_size=pitch,
        sources=scan.sources | {"rebinned": f"from a fan beam, {near:g} and {far:g} {scan.unit} from the source"},
    )
