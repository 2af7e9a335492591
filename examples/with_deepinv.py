"""Our ray transform in another library's algorithm: deepinv's FISTA with its own total variation.

Needs the extra `interop`. The physics made from an operator is fast, exact in its adjoint and differentiable.
"""

import math

import deepinv
import numpy as np
import torch
from skimage import data
from skimage.transform import resize

from invreg.adapters.deepinv import to_physics
from invreg.metrics import psnr
from invreg.operators import Parallel2D, XRay

phantom = torch.from_numpy(resize(data.shepp_logan_phantom(), (96, 96), anti_aliasing=True)).float()[None, None]
geometry = Parallel2D(np.linspace(0, math.pi, 40, endpoint=False), detectors=140)
A = XRay(geometry, shape=(96, 96))

# deepinv's algorithms take steps near 1 from A^H y, so the operator is scaled to norm 1
physics = to_physics((1 / A.norm()) * A)
generator = torch.Generator().manual_seed(0)
y = physics(phantom)
y = y + 0.002 * torch.randn(y.shape, generator=generator)

algorithm = deepinv.optim.FISTA(
    data_fidelity=deepinv.optim.L2(),
    prior=deepinv.optim.TVPrior(n_it_max=30),
    lambda_reg=2e-4,
    stepsize=0.99,
    max_iter=60,
)
with torch.no_grad():
    x = algorithm(y, physics)
print(f"back-projection: PSNR {psnr(physics.A_adjoint(y), phantom, data_range=1.0):.1f} dB")
print(f"FISTA of deepinv on the ray transform of invreg: PSNR {psnr(x, phantom, data_range=1.0):.1f} dB")
