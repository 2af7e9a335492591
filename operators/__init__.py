"""Forward operators: how measurements come about."""

if __name__ != "invreg.operators":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.operators, not operators")

from invreg.operators import psf
from invreg.operators.blur import Blur
from invreg.operators.fourier import FourierSampling, random_lines
from invreg.operators.gradient import Gradient, Laplacian
from invreg.operators.likelihoods import LeastSquares, WeightedLeastSquares
from invreg.operators.mask import Mask, random_mask
from invreg.operators.resample import Downsample, Resize, Upsample
from invreg.operators.space_variant import ProductConvolution, TiledBlur
from invreg.operators.tomography import Parallel2D, ToeplitzNormal, XRay, fbp

__all__ = [
    "Blur",
    "Downsample",
    "FourierSampling",
    "Gradient",
    "Laplacian",
    "LeastSquares",
    "Mask",
    "Parallel2D",
    "ProductConvolution",
    "Resize",
    "TiledBlur",
    "ToeplitzNormal",
    "Upsample",
    "WeightedLeastSquares",
    "XRay",
    "fbp",
    "psf",
    "random_lines",
    "random_mask",
]
