"""FDK of the three-dimensional Shepp-Logan phantom and of a CT volume, from a cone beam on a circle.

    python benchmarks/fdk.py --size 256 --views 360
    python benchmarks/fdk.py --volume example_ct.nii.gz --figure docs/fdk.png

The phantom's projections are its exact line integrals at the middle of the bins. Those of the volume, in Hounsfield
units (NIfTI, DICOM: what invreg.io reads), are computed by XRay and get the noise of 1e5 photons a bin. Prints the root
mean square error by height above the plane of the source, where FDK is exact, and the time; the figure shows truth,
reconstruction and difference in three planes. An example volume is in the source distribution of totalsegmentator
2.18.0 (Apache-2.0): pip download --no-deps --no-binary :all: totalsegmentator==2.18.0.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from phantoms import SHEPP_LOGAN_3D, ellipsoid_projections, ellipsoid_volume, scaled

from invreg.io import read_image
from invreg.operators import ConeBeam, XRay, fdk

PHOTONS = 1e5
WATER = 0.02  # attenuation per millimetre


def cone(extent: np.ndarray, pixel: float, views: int) -> ConeBeam:
    """A full turn about a volume of some extent (x, y, z) in mm, bins of a voxel at the axis, that sees all of it."""
    radius = np.hypot(*extent[:2]) / 2
    near, far = 4 * radius, 6 * radius
    columns = 2 * int(np.ceil(1.04 * radius / pixel))
    rows = int(np.ceil(extent[2] / pixel * near / (near - radius)))
    angles = np.arange(views) * 2 * np.pi / views
    return ConeBeam(angles, rows, columns, pixel * far / near, unit="mm", source_origin=near, source_detector=far)


def phantom(size: int, views: int) -> None:
    pixel = 256 / size
    g = cone(np.full(3, 256.0), pixel, views)
    ellipsoids = scaled(SHEPP_LOGAN_3D, 128.0)
    truth = ellipsoid_volume(ellipsoids, (size,) * 3, pixel, pixel)
    y = torch.from_numpy(ellipsoid_projections(ellipsoids, g.general())).float()
    start = time.perf_counter()
    x = fdk(y, g, (size,) * 3, pixel).numpy()
    seconds = time.perf_counter() - start
    print(f"Shepp-Logan, {size}³ from {views} views of {g.rows} x {g.columns}: {seconds:.1f} s")
    report(x, truth, pixel, 1.0, "")


def volume(path: Path, views: int, figure: Path | None) -> None:
    image = read_image(path)
    hounsfield = np.asarray(image.values, np.float32)
    thickness, pixel = (float(image.spacing[k]) for k in (0, 2))
    truth = np.maximum(hounsfield / 1000 + 1, 0) * WATER
    g = cone(np.array(truth.shape[::-1]) * [pixel, pixel, thickness], pixel, views)
    A = XRay(g, truth.shape, pixel, slice_thickness=thickness)
    start = time.perf_counter()
    y = A(torch.from_numpy(truth))
    forward = time.perf_counter() - start
    generator = torch.Generator().manual_seed(0)
    counts = torch.poisson(PHOTONS * torch.exp(-y), generator=generator).clamp(min=1)
    y = -torch.log(counts / PHOTONS)
    start = time.perf_counter()
    x = fdk(y, g, truth.shape, pixel, slice_thickness=thickness, filter="shepp-logan").numpy()
    seconds = time.perf_counter() - start
    measured = f"{path.name}, {truth.shape} from {views} views of {g.rows} x {g.columns}"
    print(f"{measured}: FDK {seconds:.1f} s, XRay {forward:.1f} s")
    report(x, truth, thickness, 1000 / WATER, " HU")
    if figure is not None:
        draw(x / WATER * 1000 - 1000, hounsfield, thickness / pixel, figure)


def report(x: np.ndarray, truth: np.ndarray, thickness: float, scale: float, unit: str) -> None:
    height = np.abs(np.arange(len(x)) - (len(x) - 1) / 2) * thickness
    top = height.max()
    print("| height above the source's plane | RMSE |\n|---|---|")
    for low, high in ((0.0, 0.1), (0.1, 0.4), (0.4, 0.7), (0.7, 1.01)):
        part = (height >= low * top) & (height < high * top)
        error = scale * np.sqrt(((x[part] - truth[part]) ** 2).mean())
        print(f"| {low * top:.0f} to {high * top:.0f} | {error:.3g}{unit} |")


def draw(x: np.ndarray, truth: np.ndarray, stretch: float, path: Path) -> None:
    from matplotlib.figure import Figure

    d, h, w = (n // 2 for n in truth.shape)
    fig = Figure(figsize=(9, 8.6), layout="constrained")
    axes = fig.subplots(3, 3)
    for column, (name, v) in enumerate((("CT volume", truth), ("FDK", x), ("difference", x - truth))):
        cuts = (("axial", v[d], 1.0), ("coronal", v[::-1, h], stretch), ("sagittal", v[::-1, :, w], stretch))
        for row, (plane, cut, aspect) in enumerate(cuts):
            low, high = (-150, 150) if column == 2 else (-1000, 600)
            shown = axes[row, column].imshow(cut, cmap="gray", vmin=low, vmax=high, aspect=aspect)
            axes[row, column].set(xticks=[], yticks=[])
            axes[row, column].set_title(f"{name}, {plane}" if row == 0 else plane, fontsize=9)
            if row == 0:
                fig.colorbar(shown, ax=axes[:, column], orientation="horizontal", label="HU", shrink=0.8)
    fig.savefig(path, dpi=80, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="voxels on a side of the phantom")
    parser.add_argument("--views", type=int, default=360)
    parser.add_argument("--volume", type=Path, help="a CT volume in Hounsfield units, in place of the phantom")
    parser.add_argument("--figure", type=Path, help="where to draw the volume's planes")
    args = parser.parse_args()
    if args.volume is None:
        phantom(args.size, args.views)
    else:
        volume(args.volume, args.views, args.figure)


if __name__ == "__main__":
    main()
