"""Forward operators: how measurements come about."""

if __name__ != "invreg.operators":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.operators, not operators")

from invreg.operators.blur import Blur
from invreg.operators.gradient import Gradient
from invreg.operators.imager import Imager
from invreg.operators.instruments import INSTRUMENTS, Band, Instrument
from invreg.operators.likelihoods import LeastSquares, WeightedLeastSquares
from invreg.operators.mtf import MTF
from invreg.operators.pansharpening import PanMultispectral
from invreg.operators.radiometry import Radiometry, noise_from_snr
from invreg.operators.satellite import Satellite
from invreg.operators.tomography import Parallel2D, ToeplitzNormal, XRay, fbp

__all__ = [
    "INSTRUMENTS",
    "MTF",
    "Band",
    "Blur",
    "Gradient",
    "Imager",
    "Instrument",
    "LeastSquares",
    "PanMultispectral",
    "Parallel2D",
    "Radiometry",
    "Satellite",
    "ToeplitzNormal",
    "WeightedLeastSquares",
    "XRay",
    "fbp",
    "noise_from_snr",
]
