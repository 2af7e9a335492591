"""Forward operators: how measurements come about."""

if __name__ != "invreg.operators":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.operators, not operators")

from invreg.operators import psf
from invreg.operators.blur import Blur
from invreg.operators.fourier import FourierSampling, random_lines
from invreg.operators.gradient import Gradient, Laplacian
from invreg.operators.imager import Imager
from invreg.operators.instruments import INSTRUMENTS, Band, Instrument
from invreg.operators.likelihoods import LeastSquares, WeightedLeastSquares
from invreg.operators.mask import Mask, random_mask
from invreg.operators.mtf import MTF
from invreg.operators.pansharpening import PanMultispectral
from invreg.operators.radiometry import Radiometry, noise_from_snr
from invreg.operators.resample import Downsample, Resize, Upsample
from invreg.operators.satellite import Satellite
from invreg.operators.space_variant import ProductConvolution, TiledBlur
from invreg.operators.tomography import (
    ConeBeam,
    FanBeam2D,
    Parallel2D,
    Parallel3D,
    ToeplitzNormal,
    Views2D,
    Views3D,
    XRay,
    fbp,
    fdk,
    helix,
)

__all__ = [
    "INSTRUMENTS",
    "MTF",
    "Band",
    "Blur",
    "ConeBeam",
    "Downsample",
    "FanBeam2D",
    "FourierSampling",
    "Gradient",
    "Imager",
    "Instrument",
    "Laplacian",
    "LeastSquares",
    "Mask",
    "PanMultispectral",
    "Parallel2D",
    "Parallel3D",
    "ProductConvolution",
    "Radiometry",
    "Resize",
    "Satellite",
    "TiledBlur",
    "ToeplitzNormal",
    "Upsample",
    "Views2D",
    "Views3D",
    "WeightedLeastSquares",
    "XRay",
    "fbp",
    "fdk",
    "helix",
    "noise_from_snr",
    "psf",
    "random_lines",
    "random_mask",
]
