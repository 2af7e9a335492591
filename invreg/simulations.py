"""What `invreg simulate` knows, as data: operators and noises with the parameters that each takes.

A parameter is (default, what it is). It takes what its default is: a word, a whole number, a number; None is a number
that follows from the image, "" a word that may be missing. Nothing is imported here, so that the help answers at once.
"""

_TURN = {
    "views": (180, "how many"),
    "detectors": (None, "bins; default as many as the image's diagonal needs"),
    "start": (0.0, "angle of the first view, degrees"),
    "centre": (None, "bin of the rotation axis; default the middle"),
    "values": ("", "HU where they are Hounsfield units and the file, such as NIfTI, does not say so"),
    "water": (0.0193, "attenuation of water in 1/mm, for images in Hounsfield units (default that at 70 keV)"),
    "peak": (None, "scale the image to this largest line integral (default 3, Hounsfield units are left as they are)"),
}
OPERATORS: dict[str, tuple[str, dict[str, tuple[object, str]]]] = {
    "parallel": (
        "CT with parallel rays; each slice of a volume is a row",
        _TURN
        | {
            "arc": (180.0, "degrees, the last view before its end"),
            "pitch": (None, "of bins, in the image's unit; default a pixel"),
        },
    ),
    "fan": (
        "CT with a point source and a flat detector",
        _TURN
        | {
            "arc": (360.0, "degrees, the last view before its end"),
            "pitch": (None, "of bins on the detector, in the image's unit; default a pixel at the axis"),
            "source_origin": (None, "from source to axis, in the image's unit; default twice the diagonal"),
            "source_detector": (None, "from source to detector; default three times the diagonal"),
        },
    ),
    "blur": (
        "convolution with a point spread function of sum 1",
        {
            "psf": ("gaussian", "gaussian, disk, motion, or a file with an image of it"),
            "sigma": (2.0, "standard deviation of gaussian, pixels"),
            "radius": (3.0, "of disk, pixels"),
            "length": (9.0, "of motion, pixels"),
            "angle": (0.0, "of motion, degrees from the rows, counter-clockwise"),
            "boundary": ("valid", "periodic, zero, reflect, or valid: only what the outside does not reach"),
        },
    ),
    "downsample": (
        "every factor-th pixel after an anti-alias kernel",
        {
            "factor": (2, "pixels to one"),
            "kernel": ("box", "box, linear, cubic or none"),
            "boundary": ("reflect", "reflect, periodic or zero"),
        },
    ),
    "satellite": (
        "an optical satellite instrument: its blur and sampling, in radiance (W m^-2 sr^-1 um^-1)",
        {
            "instrument": ("sentinel2", "sentinel2, pleiades, worldview3 or landsat8"),
            "product": ("multispectral", "multispectral, panchromatic or pair"),
            "factor": (2, "pixels of the image to one of the measurement along each axis"),
            "peak": (0.8, "brightest pixel of each band as a share of the radiance that saturates it"),
        },
    ),
    "inpainting": (
        "some pixels are lost",
        {
            "keep": (0.5, "share of the pixels that are kept, at random places"),
            "mask": ("", "a file with an image that is not 0 where pixels are kept"),
        },
    ),
}
NOISES: dict[str, tuple[str, dict[str, tuple[object, str]]]] = {
    "none": ("the exact measurement", {}),
    "gaussian": (
        "white, added to the measurement (for CT to the line integrals)",
        {
            "std": (None, "standard deviation"),
            "percent": (1.0, "standard deviation in percent of the measurement's root mean square"),
        },
    ),
    "poisson": (
        "photons; CT becomes counts with ten flats",
        {"photons": (1e4, "for CT a bin without object, else the brightest value of the measurement")},
    ),
    "poisson-gaussian": (
        "photons and the read noise of the detector; CT becomes counts with ten flats and darks",
        {
            "photons": (1e4, "as for poisson"),
            "read": (5.0, "standard deviation in photons"),
        },
    ),
    "instrument": ("that of the satellite: photons, read noise, rounding and saturation", {}),
}


def listing() -> str:
    """All of it, for the help."""
    lines = []
    for word, table in (("operators", OPERATORS), ("noises", NOISES)):
        lines.append(f"{word}, with their parameters and defaults:")
        for name, (summary, parameters) in table.items():
            lines.append(f"  {name}: {summary}")
            for key, (default, told) in parameters.items():
                lines.append(f"      {key if default in (None, '') else f'{key}={default}':24} {told}")
    return "\n".join(lines)
