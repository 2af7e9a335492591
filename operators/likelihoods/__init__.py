"""Likelihoods: how far a prediction may be from the measurement, one for each kind of noise."""

from invreg.operators.likelihoods.ball import Ball
from invreg.operators.likelihoods.correlated import CorrelatedGaussian
from invreg.operators.likelihoods.gaussian import LeastSquares, WeightedLeastSquares
from invreg.operators.likelihoods.heteroscedastic import HeteroscedasticGaussian
from invreg.operators.likelihoods.poisson import Poisson, PoissonGaussian
from invreg.operators.likelihoods.robust import Huber, Laplace, StudentT
from invreg.operators.likelihoods.saturation import Saturated
from invreg.operators.likelihoods.sobolev import Sobolev
from invreg.operators.likelihoods.transmission import PoissonTransmission

__all__ = [
    "Ball",
    "CorrelatedGaussian",
    "HeteroscedasticGaussian",
    "Huber",
    "Laplace",
    "LeastSquares",
    "Poisson",
    "PoissonGaussian",
    "PoissonTransmission",
    "Saturated",
    "Sobolev",
    "StudentT",
    "WeightedLeastSquares",
]
