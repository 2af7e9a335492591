"""A shaken photograph made sharp: blur that knows nothing of what lies outside, and total variation.

The picture shows the inside of a larger scene. With the boundary "valid" the scene is sought out to where light
still reaches the picture, so that its edges leave no ripples.
"""

import torch
from skimage import data

from invreg.core import solve
from invreg.metrics import psnr
from invreg.operators import Blur, LeastSquares, psf
from invreg.priors import TV, Box
from invreg.solvers import PDHG

generator = torch.Generator().manual_seed(0)
scene = torch.from_numpy(data.camera()[60:220, 140:300]).float() / 255

# a shake of 14 pixels in all, and noise of half a per cent
A = Blur(psf.shake(14.0, generator), tuple(scene.shape), "valid")
y = A(scene)
y = y + 0.005 * torch.randn(y.shape, generator=generator)

objective = [LeastSquares(y) @ A, 2e-4 * TV(A.domain.shape), Box(0.0, 1.0)]
result = solve(PDHG(objective), A.adjoint(y).clamp(0, 1), tol=1e-2, max_iter=1500)
print(result)

top, left = ((n - m) // 2 for n, m in zip(scene.shape, y.shape, strict=True))
inside = (slice(top, top + y.shape[0]), slice(left, left + y.shape[1]))
for name, image in (("the photograph", y), ("total variation", result.x[inside])):
    print(f"{name}: PSNR {psnr(image, scene[inside], data_range=1.0):.1f} dB")
