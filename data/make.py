"""Makes the measurement files of this folder from their sources: python data/make.py SOURCES [OUT].

SOURCES is a folder with HAADF_Aligned.hspy (from the etspy 1.3.0 wheel) and ct_thorax_6x233x167.npz (README.md says
what that is). Needs astra-toolbox, so that the thorax is measured by a projector that is not ours.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from invreg.io import Scan, write

Array = npt.NDArray[Any]

# the tilt series: sections across the needle (x of the stack) and the detector bins around it
SECTIONS, NEEDLE, BINS, TILT_AXIS = (140, 155), slice(90, 171), slice(64, 192), 128.04

# the simulated scan
SLICES, SIZE, PIXEL = (1, 3), 300, 1.5  # of the six; pixels of the image and bins of the detector; mm
VIEWS, AXIS, WATER = 60, 150.8, 0.0193  # over half a turn; bin; attenuation of water at 70 keV, 1/mm
PHOTONS, DARK, READ = 40000.0, 100.0, 3.0  # a bin and view; counts; counts
FINER, SUB = 3, 4  # grid points a pixel and rays a bin, each way
DEAD, HOT = ((0, 71), (1, 222)), ((0, 240),)  # (row, bin)


def haadf(source: Path, out: Path) -> None:
    """Two sinograms of the aligned tilt series, less the detector's dark level and scaled to one mass at each tilt."""
    import h5py

    with h5py.File(source) as file:
        stack = file["Experiments/__unnamed__/data"][...].astype(np.float64)  # (tilt, y, x), tilt axis along x
    stack -= np.concatenate([stack[:, :64], stack[:, 192:]], axis=1).mean(1, keepdims=True)
    mass = stack[:, :, NEEDLE].sum((1, 2))  # the same from every side; the beam was not
    stack *= (mass.mean() / mass)[:, None, None]
    sections = stack[:, BINS, list(SECTIONS)].transpose(0, 2, 1)
    scan = Scan(
        sections.astype(np.float32),
        np.deg2rad(np.arange(-76.0, 77.0, 2.0)),
        kind="line integrals",
        pixel_size=3.36,
        unit="nm",
        centre=TILT_AXIS - BINS.start,
        sources={
            "projections": f"etspy 1.3.0, HAADF_Aligned.hspy, x = {SECTIONS}, y = {BINS.start} to {BINS.stop}, "
            "less the mean beside the needle, scaled to one mass; HAADF intensity, proportional to mass along the ray",
            "angles": "as in the source, -76 to 76 degrees",
            "centre": "computed from sections 100 to 168 together",
        },
        name="HAADF tilt series of a needle",
    )
    write(out, scan)


def attenuation(source: Path) -> Array:
    """Slices of a thorax in the middle of an empty image, (row, n, n) in 1/mm, n = SIZE * FINER, refined linearly."""
    from scipy.ndimage import zoom

    hu = np.load(source)["hu"][list(SLICES)].astype(np.float64)
    h, w = hu.shape[1:]
    image = np.zeros((len(hu), SIZE, SIZE))
    top, left = (SIZE - h) // 2, (SIZE - w) // 2
    image[:, top : top + h, left : left + w] = np.maximum(WATER * (1 + hu / 1000), 0)
    return np.stack([zoom(one, FINER, order=1, grid_mode=True, mode="nearest") for one in image])


def beams(fine: Array, angles: Array) -> Array:
    """Mean transmission of each bin, (angle, detector), over SUB rays of exact length through each fine pixel."""
    import astra

    half = SIZE * PIXEL / 2
    volume = astra.create_vol_geom(*fine.shape, -half, half, -half, half)
    geometry = astra.geom_2vec(astra.create_proj_geom("parallel", PIXEL / SUB, SIZE * SUB, angles))
    geometry["Vectors"][:, 2:4] -= (AXIS - (SIZE - 1) / 2) * SUB * geometry["Vectors"][:, 4:6]
    projector = astra.create_projector("line", geometry, volume)
    number, integrals = astra.create_sino(fine, projector)
    astra.data2d.delete(number)
    astra.projector.delete(projector)
    return np.exp(-integrals).reshape(angles.size, SIZE, SUB).mean(2)


def thorax(source: Path, out: Path) -> None:
    """A few-view scan with photon and read noise, an uneven beam, uneven, dead and hot pixels, and its truth."""
    import h5py

    rng = np.random.default_rng(60)
    fine, angles = attenuation(source), np.arange(VIEWS) * np.pi / VIEWS
    shape = (len(SLICES), SIZE)
    heel = 1 - 0.15 * np.linspace(-1, 1, SIZE) ** 2
    gain = rng.normal(1, 0.02, shape)
    for row, bin in DEAD:
        gain[row, bin] = 0
    dark = np.full(shape, DARK) + rng.normal(0, 2, shape)
    for row, bin in HOT:
        dark[row, bin] += 12000

    def count(share: Array) -> Array:
        photons = rng.poisson(PHOTONS * heel * share)
        return np.clip(np.rint(gain * photons + dark + rng.normal(0, READ, photons.shape)), 0, 65535)

    through = np.stack([beams(image, angles) for image in fine], axis=1)
    scan = Scan(
        count(through),
        angles,
        kind="counts",
        flats=count(np.ones((10, *shape))),
        darks=count(np.zeros((10, *shape))),
        pixel_size=PIXEL,
        unit="mm",
        sources={"projections": f"simulated: {PHOTONS:g} photons a bin, {VIEWS} views, astra line projector on a "
                 f"{FINER} times finer grid, {SUB} rays a bin"},
        name="low-dose scan of a thorax",
    )  # fmt: skip
    write(out, scan)
    truth = fine.reshape(-1, SIZE, FINER, SIZE, FINER).mean((2, 4)).astype(np.float16)
    with h5py.File(out, "r+") as file:
        stored = file.create_dataset("truth", data=truth, compression="gzip", shuffle=True, chunks=(1, SIZE, SIZE))
        stored.attrs.update({"units": "1/mm", "pixel_size": PIXEL, "pixel_size_units": "mm", "centre": AXIS})
        stored.attrs["axes"] = "row:height:width"


if __name__ == "__main__":
    sources, folder = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else Path(__file__).parent)
    haadf(sources / "HAADF_Aligned.hspy", folder / "haadf.h5")
    thorax(sources / "ct_thorax_6x233x167.npz", folder / "thorax_lowdose.h5")
