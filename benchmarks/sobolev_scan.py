"""`invreg reconstruct --misfit sobolev` on scans whose noise is correlated along the detector.

    python benchmarks/sobolev_scan.py [FOLDER [LAMBDA]]

Ellipses (exact averages over the bins), 60 parallel views over 180 degrees, 128 bins, 2 rows. The noise, 1.5 % of the
largest line integral, has the spectrum (1 + xi^2)^-s along the detector, xi in radians a bin, or is white noise that
the detector spread over neighbouring bins, or that was sharpened to undo such a spread. Prints Markdown: PSNR over the
rows by least squares and by Sobolev misfits; with a star where a run did not converge. The scans are left in FOLDER.
The weight of the prior is chosen by the recipe, or LAMBDA for all.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from skimage.io import imread

from invreg.operators import Parallel2D, Sobolev

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from phantoms import ellipse_image, ellipse_sinogram, random_ellipses, scaled

BINS, VIEWS, ROWS, NOISE = 128, 60, 2, 0.015


def scans() -> Iterator[tuple[str, float | None, np.ndarray, np.ndarray]]:
    """Name of the noise, its s if it has one, line integrals (angle, row, bin) with it, and the images (row, h, w)."""
    g = Parallel2D(np.arange(VIEWS) * np.pi / VIEWS, BINS)
    objects = [scaled(random_ellipses(row, 12), 0.45 * BINS) for row in range(ROWS)]
    truth = np.stack([ellipse_image(o, (BINS, BINS)) for o in objects])
    clean = np.stack([ellipse_sinogram(o, g, average_bins=True) for o in objects], axis=1)
    rng, generator = np.random.default_rng(1), torch.Generator().manual_seed(2)
    zero = torch.zeros(clean.shape, dtype=torch.float64)
    noises: list[tuple[str, float | None, np.ndarray]] = []
    for s in (-0.7, 1.0):
        law = Sobolev(zero, s, length=float(BINS), boundary="cosine", axes=-1, ndim=3, std=1.0)
        noises.append((f"s = {s:g}", s, law.sample(zero, generator).numpy()))
    white = rng.standard_normal((*clean.shape[:2], BINS + 8))
    for name, kernel in (
        ("spread (1/4, 1/2, 1/4)", [0.25, 0.5, 0.25]),
        ("sharpened (-1/4, 3/2, -1/4)", [-0.25, 1.5, -0.25]),
    ):
        noises.append((name, None, np.apply_along_axis(np.convolve, -1, white, kernel, "same")[..., 4:-4]))
    for name, s, noise in noises:
        yield name, s, (clean + NOISE * clean.max() * noise / noise.std()).astype(np.float32), truth


def reconstruct(file: Path, recipe: str, *flags: str) -> tuple[np.ndarray, dict]:
    command = [
        sys.executable,
        "-m",
        "invreg",
        "reconstruct",
        str(file),
        "--recipe",
        recipe,
        "--json",
        "--force",
        *flags,
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if not run.stdout.strip():
        sys.exit(run.stderr)
    done = json.loads(run.stdout)
    return imread(Path(done["out"]) / "volume.tif"), done


def main() -> None:
    print("| noise | recipe | least squares | s = auto | s = the noise's | s found |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else scratch)
        fixed = ["--lambda", sys.argv[2]] if len(sys.argv) > 2 else []
        for name, s, y, truth in scans():
            file = folder / f"noise {name.replace('/', ' ')}.npz"
            np.savez(file, projections=y, angles=np.arange(VIEWS) * 180.0 / VIEWS)
            for recipe in ("tv", "svtv") if s == -0.7 else ("tv",):
                cells, found = [], ""
                for order in (None, "auto", s):
                    flags = ["--kind", "line integrals", "--centre", str((BINS - 1) / 2), *fixed]
                    if order is not None:
                        flags += ["--misfit", "sobolev", "--s", str(order)]
                    elif cells:
                        cells.append("")
                        continue
                    image, done = reconstruct(file, recipe, *flags)
                    error = np.square(image - truth).mean() / np.ptp(truth) ** 2
                    cells.append(f"{-10 * np.log10(error):.2f}" + "*" * (done["code"] != 0))
                    if order == "auto":
                        found = done["misfit"]["reason"].partition(" from")[0]
                print(f"| {name} | {recipe} | " + " | ".join(cells) + f" | {found} |", flush=True)


if __name__ == "__main__":
    main()
