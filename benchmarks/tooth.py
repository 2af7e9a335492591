"""Few views of a real scan against all of them: FBP, CGLS, TV and space-variant TV on the tooth.

    python benchmarks/tooth.py TOOTH.h5 [--views 45 30 20] [--picture FILE.png]

The reference is the FBP of all 181 views. PSNR (range: the 99.9 % quantile of the reference) and SSIM are taken
inside the object (the largest region of the smoothed reference above Otsu's threshold, holes filled), means over
the rows. Every recipe runs with its default settings. This scan was not held out: see docs/benchmarks.md.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from skimage.filters import threshold_otsu

import invreg.io
from invreg.metrics import psnr, ssim
from invreg.operators import XRay, fbp
from invreg.recipes import RECIPES
from invreg.recipes.config import Config


def object_mask(image: np.ndarray) -> np.ndarray:
    smooth = ndimage.gaussian_filter(image, 3)
    labels, _ = ndimage.label(smooth > threshold_otsu(smooth))
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return ndimage.binary_fill_holes(largest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--views", type=int, nargs="+", default=[45, 30, 20])
    parser.add_argument("--picture", type=Path, help="draw row 0 of FBP, TV and the reference here")
    args = parser.parse_args()
    raw = invreg.io.read(args.file)
    full = invreg.io.correct(raw)
    n = full.geometry.detectors
    reference = fbp(full.sinogram, full.geometry, (n, n)).numpy()
    masks = [object_mask(image) for image in reference]
    ranges = [float(np.quantile(image, 0.999)) for image in reference]
    print(f"reference: FBP of {full.geometry.angles.size} views, centre {full.geometry.centre:.2f}")
    print("| views | method | PSNR dB | SSIM | lambda | seconds | how it ended |\n|---|---|---|---|---|---|---|")
    shown = {f"FBP, {full.geometry.angles.size} views": reference[0]}
    for count in args.views:
        part = invreg.io.read(args.file, views=count)
        std, _ = invreg.io.line_integral_std(part)
        scan = invreg.io.correct(part, centre=full.geometry.centre)
        A = XRay(scan.geometry, (n, n))
        A.adjoint(A(torch.zeros(n, n)))  # compiled before the clock starts
        for name in ("fbp", "cgls", "tv", "svtv"):
            start = time.perf_counter()
            done = RECIPES[name].run(A, scan.sinogram, Config(), torch.as_tensor(std), lambda row: None)
            seconds = time.perf_counter() - start
            images = done.x.numpy()
            shown[f"{name.upper()}, {count} views"] = images[0]
            triples = list(zip(images, reference, masks, ranges, strict=True))
            p = np.mean([psnr(x, r, data_range=d, mask=m) for x, r, m, d in triples])
            s = np.mean([ssim(x, r, data_range=d, mask=m) for x, r, m, d in triples])
            weight = f"{done.weight.value:.3g}" if done.weight else ""
            print(f"| {count} | {name} | {p:.2f} | {s:.4f} | {weight} | {seconds:.1f} | {done.summary} |", flush=True)
    if args.picture:
        most = f"{args.views[0]} views"
        chosen = [
            (f"FBP, {most}", shown[f"FBP, {most}"]),
            (f"TV, {most}", shown[f"TV, {most}"]),
            *list(shown.items())[:1],
        ]
        draw(args.picture, chosen, masks[0], ranges[0])


def draw(path: Path, images: list[tuple[str, np.ndarray]], mask: np.ndarray, high: float) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows, columns = (slice(max(0, m.min() - 15), m.max() + 15) for m in np.nonzero(mask))
    figure, axes = plt.subplots(1, len(images), figsize=(4 * len(images), 4.9), layout="constrained")
    for axis, (title, image) in zip(axes, images, strict=True):
        axis.imshow(image[rows, columns], cmap="gray", vmin=-0.1 * high, vmax=1.1 * high)
        axis.set_title(title)
        axis.axis("off")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
