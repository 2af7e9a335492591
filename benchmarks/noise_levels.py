"""Noise levels found in photographs with noise of known parameters added, beside scikit-image.

    python benchmarks/noise_levels.py FOLDER

FOLDER holds photographs (in subfolders too), of which every twelfth of the first 360 by path is taken, as the mean of
its colours with grey values 0 to 255. Prints Markdown: found over true standard deviation of white noise, and found
over true variance of affine noise at three signals. scikit-image needs PyWavelets, and is left out without it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from skimage.io import imread
from torch import Tensor

from invreg.operators import HeteroscedasticGaussian, affine_noise, white_noise_std

SIGNALS = (20.0, 100.0, 200.0)


def load(folder: Path) -> list[Tensor]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif"))[:360:12]
    images = [torch.from_numpy(imread(p).astype(np.float64)) for p in paths]
    return [image.mean(-1) if image.ndim == 3 else image for image in images]


def ratios(images: list[Tensor], std: float, estimate: Callable[[Tensor], float]) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    return np.array([estimate(image + std * torch.randn(image.shape, generator=generator).double()) / std
                     for image in images])  # fmt: skip


def peers() -> dict[str, Callable[[Tensor], float]]:
    found: dict[str, Callable[[Tensor], float]] = {"invreg": lambda image: float(white_noise_std(image))}
    try:
        import pywt  # noqa: F401
        from skimage.restoration import estimate_sigma
    except ImportError:
        return found
    return found | {"scikit-image": lambda image: float(estimate_sigma(image.numpy()))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    images = load(parser.parse_args().folder)
    print(
        f"{len(images)} photographs\n\n| std | method | least | median | 90 % | greatest |\n|---|---|---|---|---|---|"
    )
    for std in (2.0, 5.0, 10.0, 20.0, 40.0):
        for name, estimate in peers().items():
            cells = np.percentile(ratios(images, std, estimate), [0, 50, 90, 100])
            print(f"| {std:g} | {name} | " + " | ".join(f"{c:.2f}" for c in cells) + " |")
    print("\n| constant, slope | signal | median | 90 % |\n|---|---|---|---|")
    for constant, slope in ((1.0, 0.1), (4.0, 1.0), (100.0, 5.0)):
        generator = torch.Generator().manual_seed(0)
        noisy = [HeteroscedasticGaussian(image, constant, slope).sample(image, generator) for image in images]
        found = [affine_noise(image) for image in noisy]
        for signal in SIGNALS:
            ratio = [float(f.constant + f.slope * signal) / (constant + slope * signal) for f in found]
            print(f"| {constant:g}, {slope:g} | {signal:g} | {np.median(ratio):.2f} | {np.percentile(ratio, 90):.2f} |")


if __name__ == "__main__":
    main()
