"""Public satellite instruments as data: what is published, with its source, and what is a guess.

Radiances are in W m^-2 sr^-1 um^-1. A value named in `guesses` of its instrument is ours, chosen to be plausible; one
named in `recalled` is published but was not read again when this was written. All others are as in the sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from invreg.operators.mtf import MTF, ground_sampling
from invreg.operators.radiometry import Point, noise_from_snr


@dataclass(frozen=True)
class Band:
    """One band: ground sampling distance at nadir (m), MTF, two points (radiance, signal-to-noise ratio), full scale.

    `saturation` is the radiance of the largest digital number of `bits` bits; the number at no light is 0.
    """

    name: str
    gsd: float
    mtf: MTF
    snr: tuple[Point, Point]
    saturation: float
    bits: int

    @property
    def noise(self) -> tuple[float, float]:
        """(a, b) of the variance a + b L of the noise."""
        return noise_from_snr(*self.snr)

    @property
    def gain(self) -> float:
        """Digital numbers per unit of radiance."""
        return (2**self.bits - 1) / self.saturation


@dataclass(frozen=True)
class Instrument:
    """Bands of one sampling distance and, where there is one, the panchromatic band with its weights over them."""

    name: str
    bands: tuple[Band, ...]
    panchromatic: Band | None
    weights: tuple[float, ...]
    sources: Mapping[str, str]
    guesses: Mapping[str, str]
    recalled: Mapping[str, str]

    @property
    def ratio(self) -> int:
        """Panchromatic pixels to a multispectral one along each axis; 1 without a panchromatic band."""
        return 1 if self.panchromatic is None else round(self.bands[0].gsd / self.panchromatic.gsd)


def _anchored(radiance: float, ratio: float) -> tuple[Point, Point]:
    """A published point, and a guess: 0.45 of the ratio at a quarter of the radiance, near the 0.5 of photons alone."""
    return (radiance / 4, 0.45 * ratio), (radiance, ratio)


_S2_MTF = MTF.from_nyquist(0.225, 0.225)

SENTINEL2 = Instrument(
    name="Sentinel-2 MSI, 10 m bands",
    bands=(
        Band("B2", 10.0, _S2_MTF, _anchored(128.0, 154.0), 615.5, 12),
        Band("B3", 10.0, _S2_MTF, _anchored(128.0, 168.0), 559.0, 12),
        Band("B4", 10.0, _S2_MTF, _anchored(108.0, 142.0), 484.1, 12),
        Band("B8", 10.0, _S2_MTF, _anchored(103.0, 174.0), 307.8, 12),
    ),
    panchromatic=None,
    weights=(),
    sources={
        "snr at the reference radiance": "Copernicus SentiWiki, S2 Mission, table of spectral bands and SNR (S2A, S2B)",
        "mtf": "Copernicus SentiWiki, S2 Mission, radiometric performance: 0.15 to 0.30 at Nyquist for the 10 m bands",
        "gsd": "ESA, Sentinel-2 MSI User Guide, Spatial Resolution",
        "bits": "ESA, Sentinel-2 MSI User Guide, Radiometric Resolution: 12 bits",
    },
    guesses={
        "mtf": "0.225, the middle of the requirement, for each band and axis; measured functions are on SentiWiki",
        "second snr point": "0.45 of the ratio at a quarter of the reference radiance",
        "offset": "0",
    },
    recalled={"saturation": "the largest radiance of the sensibility range, SentiWiki, same table"},
)

_XS = ((0.285, "B0"), (0.285, "B1"), (0.29, "B2"), (0.285, "B3"))

PLEIADES = Instrument(
    name="Pléiades-HR (products resampled to 0.5 m and 2 m)",
    bands=tuple(Band(name, 2.8, MTF.from_nyquist(v, v), _anchored(100.0, 130.0), 400.0, 12) for v, name in _XS),
    panchromatic=Band("PA", 0.7, MTF.from_nyquist(0.09, 0.09), _anchored(100.0, 90.0), 400.0, 12),
    weights=(0.15, 0.3, 0.35, 0.2),
    sources={
        "gsd": "ISPRS Archives XXXV-B1 (Istanbul, 2004), Pléiades-HR, section 4.7: 0.7 m and 2.8 m at nadir",
        "panchromatic mtf": "ISPRS Archives XXXV-B1 (Istanbul, 2004), Pléiades-HR, section on restoration: 0.09 at "
        "Nyquist for the instrument (0.2 after restoration on the ground)",
        "panchromatic snr": "the same: 90 at nominal radiance, of the restored image",
        "multispectral mtf": "the filters for PHR1B of public MATLAB pan-sharpening toolboxes",
    },
    guesses={
        "reference radiance": "100 for each band",
        "second snr point": "0.45 of the ratio at a quarter of the reference radiance",
        "saturation": "400 for each band",
        "weights": "from the overlap of the bands, by eye",
        "offset": "0",
    },
    recalled={
        "multispectral snr": "130 at the reference radiance, requirement of CNES",
        "bits": "12, Airbus, Pléiades Imagery User Guide",
    },
)

_WV3_FOCAL = 15.92
_WV3_MS = (0.325, 0.355, 0.360, 0.350, 0.365, 0.360, 0.335, 0.315)
_WV3_NAMES = ("coastal", "blue", "green", "yellow", "red", "red edge", "NIR1", "NIR2")

WORLDVIEW3 = Instrument(
    name="WorldView-3",
    bands=tuple(
        Band(name, 1.24, MTF.from_nyquist(v, v), _anchored(100.0, 150.0), 500.0, 11)
        for v, name in zip(_WV3_MS, _WV3_NAMES, strict=True)
    ),
    panchromatic=Band(
        "pan",
        ground_sampling(617e3, _WV3_FOCAL, 8e-6),
        MTF.from_instrument(1.1, _WV3_FOCAL, 0.625e-6, 8e-6, obscuration=0.3, smear=1.0, diffusion=0.15),
        _anchored(100.0, 100.0),
        500.0,
        11,
    ),
    weights=(0.0, 0.15, 0.2, 0.15, 0.2, 0.2, 0.1, 0.0),
    sources={
        "altitude, gsd": "International Charter, WorldView-3: 617 km; eoPortal, WorldView-3: 0.31 m and 1.24 m",
        "wavelength": "International Charter, WorldView-3 mission page: 450 to 800 nm, whose middle is taken",
        "pitch": "GCMD, instrument WV60 (WorldView-1), same maker and line: 8 um",
        "multispectral mtf": "the filters for WV3 of public MATLAB pan-sharpening toolboxes",
    },
    guesses={
        "focal length": "15.92 m, from 0.31 m at 617 km and the pitch",
        "obscuration": "0.3",
        "smear": "one line, that of continuous motion through one time-delay stage",
        "diffusion": "0.15 pixels",
        "snr": "100 (pan) and 150 at a radiance of 100, and 0.45 of it at a quarter",
        "saturation": "500 for each band",
        "weights": "from the overlap of the bands, by eye",
        "offset": "0",
    },
    recalled={"aperture": "1.1 m, eoPortal, WorldView-3", "bits": "11, eoPortal, WorldView-3"},
)

_OLI_MTF = MTF.from_instrument(0.135, 0.8451, 0.56e-6, 36e-6, smear=1.0, diffusion=0.2)

LANDSAT8 = Instrument(
    name="Landsat 8 OLI",
    bands=(
        Band("blue", 30.0, _OLI_MTF, ((40.0, 130.0), (190.0, 360.0)), 581.0, 12),
        Band("green", 30.0, _OLI_MTF, ((30.0, 100.0), (194.0, 390.0)), 544.0, 12),
        Band("red", 30.0, _OLI_MTF, ((22.0, 90.0), (150.0, 340.0)), 462.0, 12),
        Band("NIR", 30.0, _OLI_MTF, ((14.0, 90.0), (150.0, 460.0)), 281.0, 12),
    ),
    panchromatic=Band(
        "pan",
        15.0,
        MTF.from_instrument(0.135, 0.8451, 0.59e-6, 18e-6, smear=1.0, diffusion=0.2),
        ((23.0, 80.0), (156.0, 230.0)),
        515.0,
        12,
    ),
    weights=(0.1, 0.45, 0.45, 0.0),
    sources={
        "gsd": "USGS, Landsat 8 band designations: 30 m and 15 m",
        "wavelength": "USGS, Landsat 8 band designations: pan 500 to 680 nm, whose middle is taken",
        "focal length, pitch, bits": "NASA instrupy, example Landsat 8 OLI: 845.1 mm, 36 um, 12 bits",
    },
    guesses={
        "smear": "one line",
        "diffusion": "0.2 pixels",
        "wavelength": "560 nm for the four bands together",
        "weights": "from the overlap of the bands, by eye",
        "offset": "0",
    },
    recalled={
        "aperture": "0.135 m, Knight and Kvaran, Remote Sensing 6 (2014)",
        "snr": "requirements at typical and high radiance, Irons, Dwyer and Barsi, Remote Sens. Environ. 122 (2012)",
        "saturation": "the required largest radiances, Morfitt et al., Remote Sensing 7 (2015)",
    },
)

INSTRUMENTS: Mapping[str, Instrument] = {
    "sentinel2": SENTINEL2,
    "pleiades": PLEIADES,
    "worldview3": WORLDVIEW3,
    "landsat8": LANDSAT8,
}
