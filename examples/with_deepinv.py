"""Both ways between deepinv and invreg: its FISTA on our ray transform, and our PDHG on its blur.

Needs the extra `interop`. The physics made from an operator is fast, exact in its adjoint and differentiable; a
physics of deepinv joins an objective of invreg, whose solver says how far its result is from the minimum.
"""

import math

import deepinv
import numpy as np
import torch
from skimage import data
from skimage.transform import resize

from invreg.adapters.deepinv import from_noise, from_physics, to_fidelity, to_physics
from invreg.core import solve
from invreg.metrics import psnr
from invreg.operators import LeastSquares, Parallel2D, XRay
from invreg.priors import TV
from invreg.solvers import PDHG

phantom = torch.from_numpy(resize(data.shepp_logan_phantom(), (96, 96), anti_aliasing=True)).float()[None, None]
noise = deepinv.physics.GaussianNoise(0.002, rng=torch.Generator().manual_seed(0))

# ours to theirs: operator, likelihood (made of each measurement that deepinv passes) and prior
A = XRay(Parallel2D(np.linspace(0, math.pi, 40, endpoint=False), detectors=140), shape=(96, 96))
physics = to_physics((1 / A.norm()) * A, noise)  # deepinv takes steps near 1 from A^H y: scale the operator to norm 1
y = physics(phantom)
algorithm = deepinv.optim.FISTA(
    data_fidelity=to_fidelity(LeastSquares),
    prior=deepinv.optim.TVPrior(n_it_max=30),
    lambda_reg=2e-4,
    stepsize=0.99,
    max_iter=60,
)
with torch.no_grad():
    x = algorithm(y, physics)
print(f"back-projection: PSNR {psnr(physics.A_adjoint(y), phantom, data_range=1.0):.1f} dB")
print(f"FISTA of deepinv on the ray transform of invreg: PSNR {psnr(x, phantom, data_range=1.0):.1f} dB")

# theirs to ours: the physics as an operator on images (h, w), and the likelihood of its noise
kernel = deepinv.physics.functional.blur.gaussian_blur(sigma=1.5)
blur = deepinv.physics.BlurFFT(img_size=(1, 96, 96), filter=kernel, noise_model=noise)
B, y = from_physics(blur, (96, 96)), blur(phantom)[0, 0]
result = solve(PDHG([from_noise(noise, y, ndim=2) @ B, 2e-4 * TV((96, 96))]), torch.zeros_like(y), tol=1e-2)
error = (result.x - phantom[0, 0]).norm() / (y - phantom[0, 0]).norm()
print(f"PDHG of invreg on the blur of deepinv {result}; {100 * float(error):.0f} % of the error of the blurred image")
