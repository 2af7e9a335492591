"""Forward operators: how measurements come about."""

if __name__ != "invreg.operators":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.operators, not operators")

from invreg.operators.gradient import Gradient
from invreg.operators.likelihoods import (
    Ball,
    CorrelatedGaussian,
    HeteroscedasticGaussian,
    Huber,
    Laplace,
    LeastSquares,
    Poisson,
    PoissonGaussian,
    PoissonTransmission,
    Saturated,
    StudentT,
    WeightedLeastSquares,
)
from invreg.operators.noise_levels import affine_noise, white_noise_std
from invreg.operators.photon_transfer import detector_noise
from invreg.operators.tomography import Parallel2D, ToeplitzNormal, XRay, fbp

__all__ = [
    "Ball",
    "CorrelatedGaussian",
    "Gradient",
    "HeteroscedasticGaussian",
    "Huber",
    "Laplace",
    "LeastSquares",
    "Parallel2D",
    "Poisson",
    "PoissonGaussian",
    "PoissonTransmission",
    "Saturated",
    "StudentT",
    "ToeplitzNormal",
    "WeightedLeastSquares",
    "XRay",
    "affine_noise",
    "detector_noise",
    "fbp",
    "white_noise_std",
]
