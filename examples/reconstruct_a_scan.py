"""From a measurement file to an image in Python: the same work as `invreg reconstruct FILE --rows 0:1 --recipe tv`.

Writes slice.tif into the working folder and says how near it is to the truth the file carries.
"""

from pathlib import Path

import h5py

from invreg.core import solve
from invreg.io import correct, line_integral_std, read
from invreg.metrics import psnr
from invreg.operators import LeastSquares, XRay, fbp
from invreg.priors import TV, NonNegative
from invreg.solvers import PDHG

FILE = Path(__file__).parent.parent / "data" / "thorax_lowdose.h5"

# a measurement: counts with flats and darks become line integrals, and the rotation axis is found
scan = correct(read(FILE, rows=slice(0, 1)))
noise = float(line_integral_std(scan)[0][0])
print(f"{scan.name}: {scan.projections.shape} (angle, row, detector), noise {noise:.3g}, axis at bin {scan.centre:.1f}")

# the image has 150 pixels on a side that span the 300 bins of the detector, so its pixels are twice as large
A = XRay(scan.geometry, shape=(150, 150), pixel_size=2 * scan.pixel_size)
x0 = fbp(scan.sinogram, scan.geometry, A.domain.shape, A=A, filter="hann").clamp(min=0)

# what is minimised: the misfit to the measurement, the variation of the image, and no negative values
objective = [LeastSquares(scan.sinogram) @ A, 0.3 * TV(A.domain.shape), NonNegative()]
result = solve(PDHG(objective), x0, tol=1e-2, max_iter=2000)
print(result)  # whether it converged, and how far
result.save("slice.tif")

residual = float((A(result.x) - scan.sinogram).square().mean().sqrt())
print(f"residual {residual:.3g}: {residual / noise:.2f} times the noise")
with h5py.File(FILE) as file:
    truth = file["truth"][0].astype("float32").reshape(150, 2, 150, 2).mean((1, 3))
span = float(truth.max() - truth.min())
for name, image in (("filtered back-projection", x0), ("total variation", result.x)):
    print(f"{name}: PSNR {psnr(image[0], truth, data_range=span):.1f} dB")
