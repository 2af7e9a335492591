"""A real scan: few views by total variation against the same views by FBP and CGLS, all views being the reference."""

import os
from pathlib import Path

import pytest
import torch

import invreg.io
from invreg.metrics import psnr, ssim
from invreg.operators import XRay, fbp
from invreg.recipes import RECIPES
from invreg.recipes.config import Config

TOOTH = Path(os.environ.get("INVREG_SHARED_DATA", "../shared/data")) / "ct" / "tooth.h5"


@pytest.mark.skipif(not TOOTH.exists(), reason=f"the tooth scan is not at {TOOTH}; set INVREG_SHARED_DATA")
def test_few_views_of_the_tooth():
    row, n = slice(0, 1), 320
    full = invreg.io.correct(invreg.io.read(TOOTH, rows=row))
    pixel = full.geometry.detectors / n
    reference = fbp(full.sinogram, full.geometry, (n, n), pixel)[0].numpy()
    inside = reference > 0.3 * reference.max()
    raw = invreg.io.read(TOOTH, rows=row, views=20)
    scan = invreg.io.correct(raw, centre=full.centre)
    A, std = XRay(scan.geometry, (n, n), pixel), torch.as_tensor(invreg.io.line_integral_std(raw)[0])
    settings = Config.model_validate({"solver": {"tol": 1e-2}})
    scores = {}
    for name in ("fbp", "cgls", "tv", "svtv"):
        x = RECIPES[name].run(A, scan.sinogram, settings, std, lambda row: None).x[0].numpy()
        span = float(reference.max())
        scores[name] = (
            psnr(x, reference, data_range=span, mask=inside),
            ssim(x, reference, data_range=span, mask=inside),
        )
    for ours in ("tv", "svtv"):
        for plain in ("fbp", "cgls"):
            assert scores[ours][0] > scores[plain][0] + 1
            assert scores[ours][1] > scores[plain][1] + 0.05
