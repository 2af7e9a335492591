"""A map of weights of total variation, learned from pairs by MAID, against one weight and against TPE on the map.

A flat field divides out the vignetting of a lens and leaves noise that grows from the middle to the corners. How, the
solver is not told: it has four pictures without noise to learn from, and four others to be judged by. The map has 8 x 8
logarithms between which it is interpolated.
"""

import numpy as np
import torch
from skimage import data
from skimage.transform import resize
from torch import Tensor

from invreg.metrics import psnr
from invreg.operators import LeastSquares
from invreg.priors import SmoothTV
from invreg.solvers import MAID, Variational, search
from invreg.solvers.bilevel import descend

SIZE, MAP = 48, 8


def pictures(*images: np.ndarray) -> Tensor:
    """The middle squares as (n, SIZE, SIZE), values from 0 to 1."""
    found = []
    for image in images:
        grey = image.mean(-1) if image.ndim == 3 else image.astype(float)
        top, left = ((n - min(grey.shape)) // 2 for n in grey.shape)
        square = grey[top : top + min(grey.shape), left : left + min(grey.shape)]
        found.append(resize(square / 255, (SIZE, SIZE), anti_aliasing=True))
    return torch.from_numpy(np.stack(found))


def prior(theta: Tensor) -> SmoothTV:
    """Of a single logarithm, or of MAP x MAP."""
    side = int(len(theta) ** 0.5)
    square = theta.reshape(1, 1, side, side)
    logarithms = torch.nn.functional.interpolate(square, (SIZE, SIZE), mode="bilinear", align_corners=True)
    return SmoothTV((SIZE, SIZE), logarithms[0, 0].exp(), 0.01)


class Pairs:
    """Truths with their noisy pictures; `steps` of the lower problem so far."""

    def __init__(self, truth: Tensor, seed: int) -> None:
        across = torch.linspace(-1, 1, SIZE, dtype=truth.dtype)
        std = 0.02 + 0.06 * (across[:, None] ** 2 + across**2)  # 0.02 in the middle, 0.14 in the corners
        noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(seed), dtype=truth.dtype)
        self.truth, self.y, self.steps = truth, truth + std * noise, 0
        self.lower = Variational(LeastSquares(self.y), prior, strength=1.0)

    def solve(self, theta: Tensor) -> Tensor:
        found = descend(self.lower, self.y, theta, 1e-3 * float(self.y.norm()), 5000)
        self.steps += found.steps
        return found.x

    def error(self, theta: Tensor) -> float:
        return float((self.solve(theta) - self.truth).square().mean())

    def quality(self, x: Tensor) -> float:
        return float(np.mean([psnr(a, b, data_range=1.0) for a, b in zip(x, self.truth, strict=True)]))


known = Pairs(pictures(data.camera(), data.astronaut(), data.coffee(), data.brick()), 0)
others = Pairs(pictures(data.chelsea(), data.rocket(), data.coins(), data.moon()), 1)

# one weight: the best of a grid for the known pairs, and the best for those it is judged by, which nobody could know
grid = torch.arange(-5.0, -0.5, 0.125, dtype=torch.float64)[:, None]
single = min(grid, key=known.error)
oracle = min(grid, key=others.error)

# the map, from that weight everywhere
start = single.repeat(MAP**2)
unit = known.error(start) * SIZE**2  # so that f starts at 1
learner = MAID(known.lower, (2 / unit) * LeastSquares(known.truth), eps=0.1, delta=0.1 / unit**0.5, beta=50.0)
found = learner.run(start, known.solve(start), max_iter=40, relative=1e-2)
cost = found.lower_steps + found.cg_steps

# the same map by trials within a factor of e^2 of that weight, until they have cost as much
known.steps = 0
known.error(start)
trials = max(1, cost // known.steps)
tpe, _ = search(known.error, start - 2, start + 2, budget=trials, method="tpe")

print(f"MAID: {found.status} after {len(found.history)} steps, {cost} lower and CG steps; TPE: {trials} trials")
print(f"noisy: PSNR {others.quality(others.y):.1f} dB")
for name, theta in (("one weight", single), ("the best one weight", oracle), ("map by TPE", tpe)):
    print(f"{name}: {others.quality(others.solve(theta)):.2f} dB (known pairs {known.quality(known.solve(theta)):.2f})")
print(f"map by MAID: {others.quality(others.solve(found.theta)):.2f} dB (known pairs {known.quality(found.x):.2f})")
weights = prior(found.theta).weights
print(f"weight in the middle {float(weights[SIZE // 2, SIZE // 2]):.3f}, in a corner {float(weights[0, 0]):.3f}")
print(f"map by MAID: PSNR {others.quality(others.solve(found.theta)):.1f} dB")
