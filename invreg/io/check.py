"""Looks at the values of a scan: refuses what cannot be right, marks and counts what is bad."""

from dataclasses import replace

import numpy as np

from invreg.io.errors import InputError
from invreg.io.scan import Scan

MANY = 0.01  # share of bad pixels above which a scan is refused


def check(scan: Scan, limit: float | None = None) -> Scan:
    """The scan with its bad pixels in the mask and in the warnings.

    limit: the largest count the detector can tell, None where unknown. Raises InputError for a single view, many
    values that are not finite, negative counts, and flats that are zero, saturated or not above the darks.
    """
    if scan.projections.shape[0] == 1:
        raise InputError(f"{scan.name}: a single view; a reconstruction needs at least two different angles")
    bad = ~np.isfinite(scan.projections)
    mask, warnings = scan.mask, []
    if bad.any():
        count, share = int(bad.sum()), bad.mean()
        if share > MANY:
            raise InputError(
                f"{scan.name}: {share:.1%} of the values are NaN or infinite; expected at most {MANY:.0%}: "
                "mend the file or leave the bad views or rows out"
            )
        mask = bad if mask is None else mask | bad
        warnings.append(f"{count} values ({share:.2g} of all) are NaN or infinite; they are masked")
    if scan.kind == "counts":
        _counts(scan, limit)
    return replace(scan, mask=mask, warnings=(*scan.warnings, *warnings))


def _counts(scan: Scan, limit: float | None) -> None:
    """Raise InputError where counts, flats or darks cannot be what a detector counted."""
    negative = int((np.isfinite(scan.projections) & (scan.projections < 0)).sum())  # -inf is masked elsewhere
    if negative:
        raise InputError(
            f"{scan.name}: {negative} negative counts, down to {np.nanmin(scan.projections):g}; counts are not "
            'negative: say kind="line integrals" if they are, or read signed 16-bit files as unsigned'
        )
    for key in ("flats", "darks"):
        frames = getattr(scan, key)
        if frames is not None and not np.isfinite(frames).all():
            raise InputError(f"{scan.name}: {int((~np.isfinite(frames)).sum())} values of the {key} are not finite")
    if scan.flats is None:
        return
    if not scan.flats.any():
        raise InputError(f"{scan.name}: the flats are all zero; the beam was off or they were not saved")
    top = float(scan.flats.max())
    if limit is not None and top > limit:
        raise InputError(
            f"{scan.name}: flats reach {top:g} where the projections can count only to {limit:g}; "
            "flats must be averaged, not summed, over frames of the same exposure"
        )
    share = float((scan.flats == top).mean())
    if share > MANY and top in (limit, *(2.0**bits - 1 for bits in (8, 10, 12, 14, 16))):
        raise InputError(
            f"{scan.name}: {share:.0%} of the flats' pixels are saturated at {top:g}; "
            "flats must be below saturation: measure them with less exposure"
        )
    dark = 0.0 if scan.darks is None else scan.darks.mean(0)
    low = float((scan.flats.mean(0) <= dark).mean())
    if low > 0.5:
        raise InputError(
            f"{scan.name}: in {low:.0%} of the pixels the flats are not above the darks; "
            "flats and darks may be exchanged"
        )
