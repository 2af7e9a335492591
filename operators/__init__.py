"""Forward operators: how measurements come about."""

if __name__ != "invreg.operators":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.operators, not operators")

from invreg.operators import psf
from invreg.operators.blur import Blur
from invreg.operators.gradient import Gradient
from invreg.operators.likelihoods import LeastSquares, WeightedLeastSquares
from invreg.operators.space_variant import ProductConvolution, TiledBlur
from invreg.operators.tomography import Parallel2D, ToeplitzNormal, XRay, fbp

__all__ = [
    "Blur",
    "Gradient",
    "LeastSquares",
    "Parallel2D",
    "ProductConvolution",
    "TiledBlur",
    "ToeplitzNormal",
    "WeightedLeastSquares",
    "XRay",
    "fbp",
    "psf",
]
