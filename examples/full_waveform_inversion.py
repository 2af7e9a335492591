"""Full waveform inversion: the velocity of the ground between two boreholes, from the waves that cross it.

Shots in the left borehole, receivers in the right one. The traces are fitted by L-BFGS, first in the Sobolev misfit of
order -1 along time, which weighs low frequencies and so forgives a start that is late or early, then by least squares.
"""

import torch

from invreg.core import solve
from invreg.metrics import psnr
from invreg.operators import AcousticWave2D, LeastSquares, Sobolev, ricker
from invreg.solvers import LBFGS

shape, spacing, dt = (40, 32), 10.0, 2e-3  # m, s
rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(32.0), indexing="ij")
start = 2000 + 8 * rows  # m/s
slow = torch.exp(-((rows - 13) ** 2 + (columns - 13) ** 2) / 40)
fast = torch.exp(-((rows - 27) ** 2 + (columns - 19) ** 2) / 50)
true = start - 250 * slow + 300 * fast

sources = [(row, 1) for row in range(3, 40, 6)]
receivers = [(row, 30) for row in range(1, 40, 2)]
A = AcousticWave2D(shape, spacing, dt, ricker(15.0, dt, 170).float(), sources, receivers)
traces = A(true)
measured = traces + 0.01 * traces.abs().max() * torch.randn(traces.shape, generator=torch.Generator().manual_seed(0))

x = start
for misfit in (Sobolev(measured, -1, length=170 * dt, alpha=100.0**2, axes=-1, ndim=3), LeastSquares(measured, ndim=3)):
    misfit = (1 / misfit(A(start))) * misfit
    result = solve(LBFGS([misfit @ A], low=1500.0, high=3000.0, first=30.0), x, max_iter=12, tol=1e-3, every=12)
    print(result)
    x = result.x

print(f"start: PSNR {psnr(start, true, data_range=500.0):.1f} dB")
print(f"inverted: PSNR {psnr(x, true, data_range=500.0):.1f} dB")
