"""Forward operators: how measurements come about."""

if __name__ != "invreg.operators":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.operators, not operators")

from invreg.operators import psf
from invreg.operators.bessel import BesselPotential
from invreg.operators.blur import Blur
from invreg.operators.fourier import FourierSampling, random_lines
from invreg.operators.gradient import Gradient, Laplacian
from invreg.operators.imager import Imager
from invreg.operators.instruments import INSTRUMENTS, Band, Instrument
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
    Sobolev,
    StudentT,
    WeightedLeastSquares,
)
from invreg.operators.mask import Mask, random_mask
from invreg.operators.mtf import MTF
from invreg.operators.noise_colour import SobolevOrder, sobolev_order
from invreg.operators.noise_levels import affine_noise, white_noise_std
from invreg.operators.pansharpening import PanMultispectral
from invreg.operators.photon_transfer import detector_noise
from invreg.operators.polychromatic import PolychromaticXRay
from invreg.operators.radiometry import Radiometry, noise_from_snr
from invreg.operators.random_convolution import RandomConvolution
from invreg.operators.resample import Downsample, Resize, Upsample
from invreg.operators.satellite import Satellite
from invreg.operators.semi_orthogonal import Component, SemiOrthogonal
from invreg.operators.space_variant import ProductConvolution, TiledBlur
from invreg.operators.symmetrised_gradient import SymmetrisedGradient
from invreg.operators.tomography import (
    ConeBeam,
    FanBeam2D,
    Parallel2D,
    Parallel3D,
    ToeplitzNormal,
    Views2D,
    Views3D,
    XRay,
    backproject_by_slabs,
    fbp,
    fdk,
    fdk_by_slabs,
    from_astra,
    helix,
    project_by_slabs,
    to_astra,
)
from invreg.operators.tomography import plot as plot_geometry
from invreg.operators.wave import AcousticWave2D, ricker
from invreg.operators.wavelet import Wavelet

__all__ = [
    "INSTRUMENTS",
    "MTF",
    "AcousticWave2D",
    "Ball",
    "Band",
    "BesselPotential",
    "Blur",
    "Component",
    "ConeBeam",
    "CorrelatedGaussian",
    "Downsample",
    "FanBeam2D",
    "FourierSampling",
    "Gradient",
    "HeteroscedasticGaussian",
    "Huber",
    "Imager",
    "Instrument",
    "Laplace",
    "Laplacian",
    "LeastSquares",
    "Mask",
    "PanMultispectral",
    "Parallel2D",
    "Parallel3D",
    "Poisson",
    "PoissonGaussian",
    "PoissonTransmission",
    "PolychromaticXRay",
    "ProductConvolution",
    "Radiometry",
    "RandomConvolution",
    "Resize",
    "Satellite",
    "Saturated",
    "SemiOrthogonal",
    "Sobolev",
    "SobolevOrder",
    "StudentT",
    "SymmetrisedGradient",
    "TiledBlur",
    "ToeplitzNormal",
    "Upsample",
    "Views2D",
    "Views3D",
    "Wavelet",
    "WeightedLeastSquares",
    "XRay",
    "affine_noise",
    "backproject_by_slabs",
    "detector_noise",
    "fbp",
    "fdk",
    "fdk_by_slabs",
    "from_astra",
    "helix",
    "noise_from_snr",
    "plot_geometry",
    "project_by_slabs",
    "psf",
    "random_lines",
    "random_mask",
    "ricker",
    "sobolev_order",
    "to_astra",
    "white_noise_std",
]
