"""Forward operators: how measurements come about."""

if __name__ != "invreg.operators":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.operators, not operators")

from invreg.operators.gradient import Gradient
from invreg.operators.likelihoods import LeastSquares, WeightedLeastSquares
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
    "ConeBeam",
    "FanBeam2D",
    "Gradient",
    "LeastSquares",
    "Parallel2D",
    "Parallel3D",
    "ToeplitzNormal",
    "Views2D",
    "Views3D",
    "WeightedLeastSquares",
    "XRay",
    "fbp",
    "fdk",
    "helix",
]
