"""A satellite's camera over a scene, from radiance to digital numbers, and the scene restored from them.

Pléiades-HR, panchromatic: blurred by telescope and detector, with noise that grows with the light, in 12 bits. Total
variation and the known noise undo it; only pixels that no blur takes beyond the edge are compared.
"""

import torch
from skimage import data

from invreg.core import solve
from invreg.metrics import psnr
from invreg.operators import INSTRUMENTS, Satellite, WeightedLeastSquares
from invreg.priors import TV, Box
from invreg.solvers import PDHG

picture = torch.from_numpy(data.camera()[80:256, 150:326] / 255.0).float()
scene = 20 + 180 * picture  # W m^-2 sr^-1 um^-1

satellite = Satellite("pleiades", (176, 176), "panchromatic", factor=1).float()
numbers = satellite.simulate(scene, torch.Generator().manual_seed(0))
print(f"{INSTRUMENTS['pleiades'].name}: pixels of {satellite.spacing} m, numbers up to {int(numbers.max())}")

measured = satellite.radiometry.radiance(numbers)
variance = satellite.radiometry.variance(measured)
border = satellite.A.border
inside = (slice(border, -border), slice(border, -border))
start = torch.full_like(scene, float(measured.mean()))
start[inside] = measured

objective = [WeightedLeastSquares(measured, 1 / variance) @ satellite.A, 0.1 * TV((176, 176)), Box(low=0.0)]
result = solve(PDHG(objective), start, tol=1e-3, max_iter=3000)
print(result)
print(f"as measured: PSNR {psnr(measured, scene[inside], data_range=180.0):.1f} dB")
print(f"restored: PSNR {psnr(result.x[inside], scene[inside], data_range=180.0):.1f} dB")
