"""All corrections in order, from what the detector counted to line integrals."""

from dataclasses import replace
from typing import Literal

import numpy as np

from invreg.io.centre import find_centre
from invreg.io.errors import InputError
from invreg.io.flatfield import line_integrals, transmission
from invreg.io.pixels import dead_and_hot, fill
from invreg.io.rings import remove_stripes
from invreg.io.scan import Scan


def correct(
    scan: Scan,
    *,
    floor: float = 1e-3,
    bad_pixels: bool = True,
    rings: bool = False,
    centre: Literal["auto"] | float = "auto",
) -> Scan:
    """Line integrals from a scan of any kind, with what was done in `sources` and `warnings`.

    In this order: flat and dark correction, negative logarithm with the transmission no lower than `floor`,
    masked values and (bad_pixels) dead and hot pixels filled in along the detector, stripes taken out (rings),
    rotation centre found ("auto", unless the file tells it) or set. Raises InputError for counts without flats.
    """
    values, mask = scan.projections, scan.mask
    bad = np.zeros(values.shape, np.bool_) if mask is None else mask.copy()
    sources, warnings = dict(scan.sources), list(scan.warnings)
    if scan.kind == "counts":
        if scan.flats is None:
            raise InputError(
                f"{scan.name}: counts without flats; add flats to the file, or say "
                'kind="transmission" or kind="line integrals" if the values already are'
            )
        values, blind = transmission(values, scan.flats, scan.darks)
        if bad_pixels:
            dead, hot = dead_and_hot(scan.flats, scan.darks)
            sources["bad pixels"] = f"{int((dead | blind).sum())} dead, {int(hot.sum())} hot, by flats and darks"
            blind |= dead | hot
        bad |= blind
        frames = f"{scan.flats.shape[0]} flats, {0 if scan.darks is None else scan.darks.shape[0]} darks"
        sources["transmission"] = frames
    if scan.kind != "line integrals":
        values, clipped = line_integrals(values, floor)
        count = int((clipped & ~bad).sum())
        sources["line integrals"] = f"-log of the transmission, floor {floor:g}, {count} values below it"
        if count:
            warnings.append(
                f"{count} values of the transmission ({count / values.size:.2g} of all) are below {floor:g}"
            )
    bad |= ~np.isfinite(values)
    if bad.any():
        values = fill(values, bad)
        sources["filled"] = f"{int(bad.sum())} bad values interpolated along the detector"
    if rings:
        values = remove_stripes(values)
        sources["rings"] = "stripes of single bins taken out"
    axis = scan.centre
    if centre != "auto":
        axis, sources["centre"] = float(centre), "as told"
    elif axis is None and scan.fan is None and scan.cone is None:
        axis, sure, why = find_centre(values, scan.angles)
        sources["centre"] = f"computed: {why}"
        if not sure:
            warnings.append(f"rotation centre unsure: {why}")
    return replace(
        scan,
        projections=values,
        kind="line integrals",
        mask=bad if bad.any() else None,
        centre=axis,
        sources=sources,
        warnings=tuple(warnings),
    )
