"""Twenty problems of total variation on which solvers are compared: ten to choose by, ten to report on."""

import math
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))
from phantoms import SHEPP_LOGAN, ellipse_image, random_ellipses, scaled

from invreg.core import Linear, Precomposed
from invreg.operators import Blur, FanBeam2D, LeastSquares, Parallel2D, XRay, fbp
from invreg.priors import TV, NonNegative, SpaceVariantTV


@dataclass(frozen=True, eq=False)
class Problem:
    """|A x - y|^2 / 2 + weight TV(x), x >= 0, from x = 0.

    kind: parallel, fan or blur; `views` is for a blur the standard deviation of its Gaussian in pixels. noise: of |y|.
    strength: the weight in units of the noise's standard deviation after A^T. unit: largest value of the image.
    variant: space-variant weights from a filtered backprojection (for a blur from the measurement).
    """

    kind: str
    size: int
    views: int
    noise: float
    strength: float
    variant: bool
    unit: float = 1.0
    seed: int = 0

    def __str__(self) -> str:
        what = f"sigma {self.views}" if self.kind == "blur" else f"{self.views} views"
        prior = "SV-TV" if self.variant else "TV"
        return f"{self.kind} {self.size}, {what}, {100 * self.noise:g} %, {self.strength:g} {prior}"

    @cached_property
    def A(self) -> Linear:
        n = self.size
        if self.kind == "blur":
            t = torch.arange(-4 * self.views, 4 * self.views + 1, dtype=torch.float32)
            line = torch.exp(-0.5 * (t / self.views) ** 2)
            kernel = torch.outer(line, line)
            return Blur(kernel / kernel.sum(), (n, n), "reflect")
        if self.kind == "fan":
            angles = np.arange(self.views) * 2 * math.pi / self.views
            return XRay(FanBeam2D(angles, round(1.53 * n), 1.5, source_origin=2 * n, source_detector=3 * n), (n, n))
        return XRay(Parallel2D(np.arange(self.views) * math.pi / self.views, math.ceil(1.42 * n)), (n, n))

    @cached_property
    def truth(self) -> Tensor:
        ellipses = SHEPP_LOGAN if self.seed == 0 else random_ellipses(self.seed, 12)
        image = ellipse_image(scaled(ellipses, self.size / 2), (self.size, self.size))
        return self.unit * torch.from_numpy(image).float()

    @cached_property
    def y(self) -> Tensor:
        y = self.A(self.truth)
        e = torch.randn(y.shape, generator=torch.Generator().manual_seed(self.seed))
        return y + self.noise * y.norm() / e.norm() * e

    @cached_property
    def objective(self) -> tuple[Precomposed, Precomposed, NonNegative]:
        shape = (self.size, self.size)
        std = self.noise * float(self.A(self.truth).square().mean().sqrt())
        weight = self.strength * std * (1.0 if self.kind == "blur" else self.views**0.5)
        prior = TV(shape)
        if self.variant:
            pre = self.y if self.kind == "blur" else fbp(self.y, self.A.geometry, shape, A=self.A)
            prior = SpaceVariantTV.from_image(pre, 0.1 * self.unit)
        return LeastSquares(self.y) @ self.A, weight * prior, NonNegative()


CHOOSE = [
    Problem("parallel", 128, 60, 0.01, 1.0, True),
    Problem("parallel", 256, 90, 0.003, 0.3, False, seed=1),
    Problem("parallel", 192, 180, 0.03, 3.0, True, 1000.0, seed=2),
    Problem("parallel", 128, 120, 0.05, 0.1, False, seed=3),
    Problem("fan", 128, 60, 0.01, 10.0, True, seed=4),
    Problem("fan", 192, 180, 0.003, 1.0, False, 0.01, seed=5),
    Problem("fan", 256, 120, 0.02, 0.3, True),
    Problem("blur", 128, 2, 0.01, 0.1, False, seed=6),
    Problem("blur", 256, 1, 0.03, 1.0, True, 255.0, seed=7),
    Problem("parallel", 512, 60, 0.01, 3.0, False, seed=8),
]
REPORT = [
    Problem("parallel", 512, 60, 0.01, 2.0, True),
    Problem("parallel", 256, 60, 0.03, 10.0, False, seed=11),
    Problem("parallel", 128, 180, 0.003, 0.03, True, seed=12),
    Problem("parallel", 192, 120, 0.05, 1.0, False, 0.02, seed=13),
    Problem("fan", 256, 90, 0.01, 1.0, False, seed=14),
    Problem("fan", 192, 60, 0.05, 3.0, True, 4095.0, seed=15),
    Problem("fan", 128, 180, 0.003, 0.1, False, seed=16),
    Problem("fan", 512, 90, 0.01, 1.0, True, seed=17),
    Problem("blur", 192, 3, 0.003, 0.3, True, seed=18),
    Problem("blur", 256, 2, 0.05, 3.0, False),
]
