"""A measurement file made from an image, read back with its operator, and solved: half of the pixels are lost.

The first step is the command

    invreg simulate camera.tif --operator inpainting keep=0.5 --noise gaussian std=0.02 --out lost.h5 --keep-truth
"""

import torch
from skimage import data

from invreg.cli import main
from invreg.core import solve
from invreg.io import Image, read_measurement, write_image
from invreg.metrics import psnr
from invreg.operators import LeastSquares
from invreg.priors import TV, Box
from invreg.solvers import PDHG

write_image("camera.tif", Image(data.camera()[60:220, 140:300] / 255, "height:width"))
told = "simulate camera.tif --operator inpainting keep=0.5 --noise gaussian std=0.02 --out lost.h5 --keep-truth --force"
assert main(told.split()) == 0

m = read_measurement("lost.h5")
A, y = m.A.float(), m.y.float()
std = m.noise["std"]
plain = torch.where(torch.from_numpy(m.arrays["mask"]), y, y.sum() / m.arrays["mask"].sum())  # lost pixels are grey

objective = [LeastSquares(y) @ A, 1.2 * std * TV(A.domain.shape), Box(0.0, 1.0)]
result = solve(PDHG(objective), plain, tol=1e-2, max_iter=1500)
print(result)
truth = torch.from_numpy(m.truth).float()
for name, image in (("lost pixels grey", plain), ("total variation", result.x)):
    print(f"{name}: PSNR {psnr(image, truth, data_range=1.0):.1f} dB")
