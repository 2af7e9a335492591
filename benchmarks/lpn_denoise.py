"""Denoising by trained networks beside total variation, on the middles of images that none of them has seen.

    python benchmarks/lpn_denoise.py FOLDER --sigma 0.05 --networks lpn-natural-0.05 [--window [-1000,1000]]

The weight of total variation is the best of a grid on these very images, so that it is favoured.
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from invreg import weights
from invreg.priors import tv_denoise
from invreg.priors.icnn import gradient
from invreg.recipes.config import value
from invreg.train.checkpoints import load_model, read
from invreg.train.config import Data
from invreg.train.data import ImageFolder, middle

GRID = np.geomspace(0.3, 1.2, 8)  # weights of total variation, in sigma


def psnr(x: Tensor, truth: Tensor) -> float:
    """In dB, the mean over images (item, h, w)."""
    return float(-10 * (x - truth).square().mean((1, 2)).log10().mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--sigma", type=float, required=True)
    parser.add_argument("--networks", nargs="*", default=[], metavar="NAME|FILE")
    parser.add_argument("--side", type=int, default=160, help="pixels on a side of the middles (default 160)")
    parser.add_argument("--images", type=int, default=24, help="evenly over the folder (default 24)")
    parser.add_argument("--window", type=value, help="values of the files that become 0 and 1, such as [-1000,1000]")
    args = parser.parse_args()
    images = ImageFolder(Data(folder=args.folder, window=args.window), smallest=args.side)
    items = sorted(images.train + images.validation)
    count = min(args.images, len(items))
    chosen = [images[items[k * len(items) // count]] for k in range(count)]
    truth = torch.stack([middle(image.shape, args.side)(image)[0] for image in chosen])
    noisy = truth + args.sigma * torch.randn(truth.shape, generator=torch.Generator().manual_seed(7))
    print(f"| {count} images of {args.side} x {args.side}, sigma {args.sigma:g} | PSNR in dB |\n|---|---|")
    print(f"| noisy | {psnr(noisy, truth):.2f} |")
    found = {w: psnr(tv_denoise(noisy, w * args.sigma, tol=1e-3, max_iter=300)[0], truth) for w in GRID}
    best = max(found, key=lambda w: found[w])
    print(f"| total variation, weight {best:.2f} sigma | {found[best]:.2f} |", flush=True)
    for name in args.networks:
        file = weights.path(name)
        task = read(file)[1]["task"]
        net, _ = load_model(file, task)
        with torch.no_grad():
            made = [gradient(net, y[None, None]) if task == "lpn" else net(y[None, None]) for y in noisy]
        print(f"| {name} | {psnr(torch.cat(made)[:, 0], truth):.2f} |", flush=True)


if __name__ == "__main__":
    main()
