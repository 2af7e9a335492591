"""One entry for every class of the rooms; the contract tests run on each by themselves.

A new class is one line here. `lacks` names the laws (operators) or methods (functionals) that do not apply,
with the reason; `needs` names an adapter whose package is optional, without which the entry is skipped with a word.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from invreg.core import BlockDiagonal, External, Functional, Latent, Linear, Operator, Solver, Space, Stack, Sum
from invreg.operators import (
    MTF,
    AcousticWave2D,
    Ball,
    BesselPotential,
    Blur,
    Component,
    ConeBeam,
    CorrelatedGaussian,
    Downsample,
    FanBeam2D,
    FourierSampling,
    Gradient,
    HeteroscedasticGaussian,
    Huber,
    Imager,
    Laplace,
    Laplacian,
    LeastSquares,
    Mask,
    PanMultispectral,
    Parallel2D,
    Parallel3D,
    Poisson,
    PoissonGaussian,
    PoissonTransmission,
    PolychromaticXRay,
    ProductConvolution,
    RandomConvolution,
    Resize,
    Saturated,
    Sobolev,
    StudentT,
    SymmetrisedGradient,
    TiledBlur,
    ToeplitzNormal,
    Upsample,
    Views2D,
    Views3D,
    Wavelet,
    WeightedLeastSquares,
    XRay,
)
from invreg.priors import (
    L1,
    LPN,
    TGV,
    TV,
    Box,
    DirectionalTV,
    FieldsOfExperts,
    GroupHuber,
    GroupL1,
    GroupNuclear,
    ImagePotential,
    Jacobian,
    NonNegative,
    NuclearNorm,
    PatchPotential,
    Potential,
    Simplex,
    SmoothTV,
    SpaceVariantTV,
    SquaredL2,
    Through,
)
from invreg.solvers import (
    ADMM,
    CG,
    CGLS,
    FISTA,
    LBFGS,
    LSQR,
    PDHG,
    SPDHG,
    CondatVu,
    GaussNewton,
    Landweber,
    NewtonCG,
    PnPADMM,
    PnPPGD,
)


@dataclass(frozen=True)
class Member:
    name: str
    make: Callable[[], Any]
    lacks: dict[str, str] = field(default_factory=dict)
    needs: str | None = None

    def build(self, device: torch.device, dtype: torch.dtype = torch.float64) -> Any:
        if self.needs is not None:
            pytest.importorskip(f"invreg.adapters.{self.needs}", exc_type=ImportError)
        if dtype == torch.float64 and "float64" in self.lacks:
            pytest.skip(self.lacks["float64"])
        return self.make().to(device, dtype)


def every(members: list[Member], *laws: str) -> pytest.MarkDecorator:
    """Parametrize a test over the members to which all the laws apply."""
    chosen = [m for m in members if not set(laws) & set(m.lacks)]
    return pytest.mark.parametrize("case", chosen, ids=lambda m: m.name)


def uniform(*shape: int, low: float = 0.0, high: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


# Members of the tests alone: what the rooms have no example of yet.


class Dense(External):
    """A matrix applied by numpy."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(Space((columns,)), Space((rows,)))
        self.matrix = np.random.default_rng(0).standard_normal((rows, columns))

    def _times(self, matrix: np.ndarray, x: Tensor) -> Tensor:
        return torch.from_numpy(x.cpu().numpy() @ matrix.T.astype(x.cpu().numpy().dtype)).to(x.device)

    def _forward(self, x: Tensor) -> Tensor:
        return self._times(self.matrix, x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._times(self.matrix.T, y)


class Fourier(Linear):
    """A masked unitary 2-D Fourier transform, complex to complex."""

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(Space(shape, complex=True), Space(shape, complex=True))
        self.register_buffer("mask", uniform(*shape))

    def _forward(self, x: Tensor) -> Tensor:  # MKL refuses empty batches
        return self.mask * torch.fft.fft2(x, norm="ortho") if x.numel() else x.clone()

    def _adjoint(self, y: Tensor) -> Tensor:
        return torch.fft.ifft2(self.mask * y, norm="ortho") if y.numel() else y.clone()


class Cube(Operator):
    """x -> x^3 + x, pixel by pixel."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(Space(shape), Space(shape))

    def _forward(self, x: Tensor) -> Tensor:
        return x**3 + x


class Subspace(Latent):
    """A decoder onto the span of a few orthonormal images."""

    def __init__(self, shape: tuple[int, int], size: int) -> None:
        y = torch.zeros(size, 1, dtype=torch.float64)
        super().__init__(Space((size, 1)), Space(shape), LeastSquares(y))
        basis = torch.linalg.qr(uniform(math.prod(shape), size, low=-1))[0]
        self.register_buffer("basis", basis)

    def _forward(self, z: Tensor) -> Tensor:
        return (self.basis @ z).reshape(*z.shape[:-2], *self.codomain.shape)

    def encode(self, x: Tensor) -> Tensor:
        return self.basis.T @ x.reshape(*x.shape[:-2], -1, 1)


def _rays(*angles: float) -> XRay:
    geometry = Parallel2D(np.array(angles), detectors=11, pitch=0.8, centre=4.6)
    return XRay(geometry, shape=(8, 9), pixel_size=0.9)


def _coils(*shape: int) -> Tensor:
    return torch.complex(uniform(*shape, low=-1), uniform(*shape, low=-1, seed=1))


def _fan(centre: float | None = None, curved: bool = False) -> XRay:
    geometry = FanBeam2D(np.array([0.1, 0.8, 2.0, -1.6]), 12, 1.1, centre, "mm", 12.0, 17.0, curved)
    return XRay(geometry, shape=(8, 9), pixel_size=0.9)


def _views() -> XRay:
    source = np.array([[-9.0, 1.0], [5.0, 6.0]])
    detector, axis = np.array([[8.0, -1.0], [-6.0, -4.0]]), np.array([[0.2, 1.1], [-0.8, 0.9]])
    return XRay(Views2D(source, detector, axis, detectors=10), shape=(7, 6), pixel_size=1.0)


def _cone(angles: tuple[float, ...] = (0.0, 0.4, 2.5, 4.0), **options: Any) -> XRay:
    g = ConeBeam(np.array(angles), 5, 7, 2.2, source_origin=14.0, source_detector=26.0, **options)
    return XRay(g, shape=(4, 5, 6), pixel_size=1.0, slice_thickness=1.3)


def _steep() -> XRay:
    """From below, beside and above the volume."""
    source = np.array([[0.5, -1.0, -9.0], [9.0, 2.0, 1.0], [-3.0, 4.0, 8.0]])
    u = np.array([[1.5, 0.3, 0.0], [0.2, 1.5, 0.1], [1.4, 0.0, 0.6]])
    v = np.array([[-0.2, 1.4, 0.3], [0.0, 0.1, 1.3], [0.3, 1.2, 0.0]])
    return XRay(Views3D(source, -source, u, v, 5, 6), shape=(4, 5, 6), pixel_size=1.0)


def _wave() -> AcousticWave2D:
    wavelet = 300 * uniform(12, low=-1)
    return AcousticWave2D((5, 6), 1.0, 0.02, wavelet, [(1, 2), (4, 4)], [(2, 2), (0, 5), (4, 3)], absorbing=3)


def _polychromatic() -> PolychromaticXRay:
    return PolychromaticXRay(_rays(0.0, 0.4, 2.0), uniform(4), 0.2 * uniform(4, 2))


def _blur() -> Any:
    import deepinv

    from invreg.adapters.deepinv import from_physics

    kernel = torch.tensor([[0.1, 0.2, 0.0], [0.3, 0.3, 0.1], [0.0, 0.0, 0.0]])[None, None]
    return from_physics(deepinv.physics.Blur(filter=kernel, padding="circular"), (2, 6, 5))


def _deepinv_tomography() -> Any:
    import deepinv

    from invreg.adapters.deepinv import from_physics

    return from_physics(deepinv.physics.Tomography(angles=5, img_width=6, normalize=False), (1, 6, 6))


def _inpainting() -> Any:
    import deepinv

    from invreg.adapters.deepinv import from_physics

    mask = (uniform(1, 6, 5) < 0.6).double()
    return from_physics(deepinv.physics.Inpainting(img_size=(1, 6, 5), mask=mask), (6, 5))


def _physics(name: str, shape: tuple[int, ...], **kwargs: Any) -> Any:
    import deepinv

    from invreg.adapters.deepinv import from_physics

    return from_physics(getattr(deepinv.physics, name)(**kwargs), shape)


def _deepinv_nonlinear() -> Any:
    import deepinv

    from invreg.adapters.deepinv import from_physics

    return from_physics(deepinv.physics.Physics(A=lambda x, **_: x[..., 1:] * x[..., :-1]), (1, 4, 5))


def _odl_weighted() -> Any:
    import odl

    from invreg.adapters.odl import from_operator, to_operator

    spaces = odl.rn((4,), weighting=2.0), odl.rn((6,), weighting=5.0)
    return from_operator(to_operator(Dense(6, 4), *spaces))


def _odl_gradient() -> Any:
    import odl

    from invreg.adapters.odl import from_operator

    return from_operator(odl.Gradient(odl.uniform_discr([0, 0], [2, 1], (4, 5))))


def _odl_rays() -> Any:
    import odl
    from odl.applications.tomo import RayTransform

    from invreg.adapters.odl import from_operator, to_geometry

    space = odl.uniform_discr([-3, -2], [3, 2], (12, 8), dtype="float32")
    geometry = to_geometry(Parallel2D(np.array([0.1, 0.9, 2.0]), detectors=15, pitch=0.5))
    return from_operator(RayTransform(space, geometry, impl="astra_cpu"))


def _imager(**options: Any) -> Imager:
    mtfs = [MTF.from_nyquist(0.15, 0.3), MTF.from_instrument(1.1, 15.9, 0.6e-6, 8e-6, obscuration=0.3)]
    return Imager((11, 10), mtfs, 2, radius=1, shifts=[(0.0, 0.0), (0.2, -0.1)], **options)


def _pan(**options: Any) -> PanMultispectral:
    mtfs = [MTF.from_nyquist(0.15, 0.3), MTF.from_nyquist(0.3, 0.2)]
    return PanMultispectral((10, 13), MTF.from_nyquist(0.1, 0.1), [0.3, 0.7], mtfs, ratio=2, radius=1, **options)


_PHYSICS = {"pickling": "physics hold lambdas", "empty batches": "deepinv refuses them"}
_LAMBDAS = {"pickling": _PHYSICS["pickling"]}
_GRID = _PHYSICS | {
    "float64": "its interpolation grid stays in float32",
    "forward mode": "torch before 2.15 has no forward derivative of grid_sample",
}

_ASTRA = {"float64": "ASTRA computes in float32", "pickling": "ODL's back end keeps a lock"}

_FOUR = np.array([0.0, 0.4, 1.7, 2.9])

LINEAR = [
    Member("XRay", lambda: _rays(0.0, 0.4, 1.2, 1.5707963, 2.0, 2.9, -0.3)),
    Member("XRay, one view", lambda: _rays(2.5)),
    Member("XRay, fan", _fan),
    Member("XRay, fan, curved", lambda: _fan(curved=True)),
    Member("XRay, fan, offset", lambda: _fan(centre=1.2)),
    Member("XRay, views", _views),
    Member("XRay, cone", _cone),
    Member("XRay, cone, offset", lambda: _cone(centre=1.7, row_centre=3.4)),
    Member("XRay, cone, tilted", lambda: _cone(tilt=(0.1, -0.2, 0.3))),
    Member("XRay, cone, curved", lambda: _cone(curved=True, row_pitch=1.1)),
    Member("XRay, helix", lambda: _cone(heights=np.array([-4.0, -1.0, 1.0, 6.0]))),
    Member("XRay, rows and slices", lambda: XRay(Parallel3D(_FOUR, 3, 8, row_pitch=1.7, row_centre=0.8), (4, 5, 6))),
    Member("XRay, steep", _steep),
    Member("ToeplitzNormal", lambda: ToeplitzNormal(XRay(Parallel2D(np.array([0.2, 1.1, 2.0]), 14), (7, 6)))),
    Member("Gradient", lambda: Gradient((7, 5))),
    Member("Gradient, spacing", lambda: Gradient((4, 6), spacing=0.25)),
    Member("BesselPotential", lambda: BesselPotential((5, 6), 0.7, length=(2.0, 3.0))),
    Member("BesselPotential, cosine", lambda: BesselPotential((3, 4, 5), -0.5, boundary="cosine")),
    Member("BesselPotential, one axis", lambda: BesselPotential((4, 7), 1.0, alpha=0.2, axes=-2)),
    Member("Blur, periodic", lambda: Blur(uniform(3, 4, low=-1), (7, 6))),
    Member("Blur, periodic, wrapped", lambda: Blur(uniform(6, 9), (5, 5))),
    Member("Blur, zero", lambda: Blur(uniform(3, 4, low=-1), (7, 6), "zero")),
    Member("Blur, zero, kernel beyond the image", lambda: Blur(uniform(1, 14), (3, 4), "zero")),
    Member("Blur, reflect", lambda: Blur(uniform(3, 4, low=-1), (7, 6), "reflect")),
    Member("Blur, reflect, kernel beyond the image", lambda: Blur(uniform(13, 2), (3, 5), "reflect")),
    Member("Blur, valid", lambda: Blur(uniform(3, 4, low=-1), (7, 6), "valid")),
    Member("Imager", lambda: _imager()),
    Member("Imager, one band", lambda: Imager((9, 12), MTF.from_nyquist(0.2, 0.1), 3, radius=1)),
    Member("Imager, tiles", lambda: _imager(tile=2)),
    Member("Imager, phase", lambda: _imager(phase=(1.0, 0.5))),
    Member("PanMultispectral", lambda: _pan()),
    Member("PanMultispectral, tiles", lambda: _pan(tile=2, shifts=[(0.1, 0.0), (0.0, -0.4)])),
    Member("ProductConvolution", lambda: ProductConvolution(uniform(3, 2, 4), uniform(3, 7, 6, low=-1))),
    Member("ProductConvolution, valid", lambda: ProductConvolution(uniform(2, 3, 3), uniform(2, 5, 6), "valid")),
    Member("TiledBlur", lambda: TiledBlur(uniform(3, 2, 4, 3, low=-1), (10, 7))),
    Member("TiledBlur, one tile", lambda: TiledBlur(uniform(1, 1, 3, 3), (5, 4))),
    Member("TiledBlur, valid", lambda: TiledBlur(uniform(2, 5, 3, 2), (6, 5), "valid")),
    Member("Gradient, periodic", lambda: Gradient((5, 6), (0.5, 2.0), "periodic")),
    Member("Gradient, zero", lambda: Gradient((5, 6), boundary="zero")),
    Member("Gradient, signal", lambda: Gradient((9,), 0.1)),
    Member("Gradient, volume", lambda: Gradient((3, 2, 4), (1.0, 2.0, 0.5), "periodic")),
    Member("Jacobian", lambda: Jacobian((5, 6), (1.0, 0.5))),
    Member("Jacobian, channels", lambda: Jacobian((3, 4, 2), (1.0, 0.5, 2.0), 2)),
    Member("Jacobian, apart", lambda: Jacobian((4, 5), channels=2, apart=True)),
    Member("Jacobian, complex", lambda: Jacobian((4, 5), complex=True)),
    Member("Gradient, complex", lambda: Gradient((5, 6), (1.0, 0.5), complex=True)),
    Member("Laplacian", lambda: Laplacian((6, 5), (1.0, 0.5))),
    Member("Laplacian, periodic", lambda: Laplacian((3, 1, 5), boundary="periodic")),
    Member("Laplacian, zero", lambda: Laplacian((7,), 2.0, "zero")),
    Member("Laplacian, complex", lambda: Laplacian((5, 6), boundary="periodic", complex=True)),
    Member("SymmetrisedGradient", lambda: SymmetrisedGradient((6, 5))),
    Member("SymmetrisedGradient, volume", lambda: SymmetrisedGradient((3, 1, 4))),
    Member("SymmetrisedGradient, complex", lambda: SymmetrisedGradient((4, 3), complex=True)),
    Member("Component", lambda: Component((3, 4, 5), 1)),
    Member("Component, some", lambda: Component((4, 5, 3), slice(1, 3))),
    Member("Component, complex", lambda: Component((2, 4), -1, complex=True)),
    Member("Wavelet", lambda: Wavelet((8, 12), "db3", 2)),
    Member("Wavelet, filter beyond the image", lambda: Wavelet((4, 8), "sym4", 2)),
    Member("Wavelet, volume", lambda: Wavelet((4, 2, 6), "haar", 1)),
    Member("Wavelet, complex", lambda: Wavelet((8, 4), "db2", 2, complex=True)),
    Member("Downsample, box", lambda: Downsample((7, 6), 2)),
    Member("Downsample, phase", lambda: Downsample((7, 8), 3, "linear", (0.3, 2.0), "zero")),
    Member("Downsample, none", lambda: Downsample((7, 8), 3, "none", (1, 2))),
    Member("Downsample, kernel beyond the image", lambda: Downsample((5, 4), 4, "cubic", boundary="periodic")),
    Member("Upsample", lambda: Upsample((3, 2), 3, "cubic")),
    Member("Resize, smaller", lambda: Resize((7, 6), (5, 2))),
    Member("Resize, larger", lambda: Resize((3, 4), (5, 4))),
    Member("Mask", lambda: Mask(uniform(4, 5) > 0.4)),
    Member("Mask, compact", lambda: Mask(uniform(2, 3, 5) > 0.4, compact=True)),
    Member("RandomConvolution", lambda: RandomConvolution((4, 5), 7, torch.Generator().manual_seed(0))),
    Member("FourierSampling", lambda: FourierSampling(uniform(4, 5))),
    Member("FourierSampling, not centred", lambda: FourierSampling(uniform(4, 5) > 0.5, centred=False)),
    Member("FourierSampling, coils", lambda: FourierSampling(uniform(4, 3) > 0.3, _coils(2, 4, 3))),
    Member("FourierSampling, volume", lambda: FourierSampling(uniform(3, 2, 4), _coils(2, 3, 2, 4), centred=False)),
    Member("External", lambda: Dense(6, 4)),
    Member("complex", lambda: Fourier((4, 5))),
    Member("Adjoint", lambda: Gradient((7, 5)).H, {"double adjoint": "adjoints are made when asked for"}),
    Member("normal", lambda: Gradient((7, 5)).normal()),
    Member("ComposedLinear", lambda: Dense(3, 6) @ Dense(6, 4)),
    Member("Scaled", lambda: -2.5 * Gradient((7, 5))),
    Member("SumOf", lambda: Dense(6, 4) + 0.5 * Dense(6, 4)),
    Member("difference", lambda: Dense(6, 4) - 3 * Dense(6, 4)),
    Member("Stack", lambda: Stack(Dense(6, 4), Dense(3, 4))),
    Member("Stack, axis", lambda: Stack(Gradient((7, 5)), 2 * Gradient((7, 5)), axis=-3)),
    Member("Stack, different codomains", lambda: Stack(Gradient((4, 5)), Mask(uniform(4, 5) > 0.4), axis=None)),
    Member("BlockDiagonal", lambda: BlockDiagonal(Blur(uniform(2, 3), (4, 5), "valid"), Resize((4, 5), (3, 3)))),
    Member("FromLinearPhysics, blur", _blur, _PHYSICS, needs="deepinv"),
    Member("FromLinearPhysics, one channel", _inpainting, _PHYSICS, needs="deepinv"),
    Member("FromLinearPhysics, tomography", _deepinv_tomography, _GRID, needs="deepinv"),
    # those that we leave to deepinv: docs/operators.md
    Member("Decolorize", lambda: _physics("Decolorize", (3, 4, 5)), _LAMBDAS, needs="deepinv"),
    Member("Demosaicing", lambda: _physics("Demosaicing", (3, 4, 6), img_size=(3, 4, 6)), _LAMBDAS, needs="deepinv"),
    Member(
        "SinglePixelCamera",
        lambda: _physics("SinglePixelCamera", (1, 4, 4), m=7, img_size=(1, 4, 4)),
        _LAMBDAS,
        needs="deepinv",
    ),
    Member("FromODL, weighted", _odl_weighted, needs="odl"),
    Member("FromODL, product space", _odl_gradient, needs="odl"),
    Member("FromODL, ASTRA", _odl_rays, _ASTRA, needs="odl"),
]

LATENTS = [
    Member("Subspace", lambda: Subspace((5, 4), 3)),
]

NONLINEAR = [
    Member("Cube", lambda: Cube((4, 5))),
    Member("Composed", lambda: Cube((2, 4, 5)) @ Gradient((4, 5))),
    Member("Composed, linear last", lambda: Gradient((4, 5)) @ Cube((4, 5))),
    Member("AcousticWave2D", _wave),
    Member("PolychromaticXRay", _polychromatic),
    Member("FromPhysics", _deepinv_nonlinear, _PHYSICS, needs="deepinv"),
    *LATENTS,
]

_KINK = "not differentiable"
_SMOOTH_ONLY = {"prox": "no closed form", "conj_prox": "no closed form", "conj": "no closed form"}
_NO_CONJUGATE = {"conj": "a minimum over fields", "moreau": "conj_prox is that identity of an iterative prox"}
_NO_CLOSED_FORM = _NO_CONJUGATE | {"grad": _KINK, "lipschitz": _KINK}
_NO_GRAD = {"grad": _KINK, "lipschitz": _KINK}
_SHAPE = (5, 4)


def _from_prior(name: str, **kwargs: Any) -> Any:
    import deepinv

    from invreg.adapters.deepinv import from_prior

    return from_prior(getattr(deepinv.optim.prior, name)(**kwargs))


def _denoise() -> Any:
    import deepinv

    from invreg.adapters.deepinv import from_denoiser

    return from_denoiser(deepinv.models.MedianFilter(kernel_size=3), sigma=0.1)


def _from_fidelity(name: str) -> Any:
    import deepinv

    from invreg.adapters.deepinv import from_fidelity

    return from_fidelity(getattr(deepinv.optim, name)(), uniform(*FIELD, low=-1, seed=1))


def _from_functional(name: str, *args: Any) -> Any:
    import odl

    from invreg.adapters.odl import from_functional

    return from_functional(getattr(odl.functionals, name)(odl.rn(_SHAPE, weighting=2.5), *args))


def _measured() -> LeastSquares:
    return LeastSquares(uniform(*_SHAPE, low=-1, seed=1), std=0.1)


def _weighted() -> WeightedLeastSquares:
    weights = uniform(*_SHAPE, high=3, seed=2)
    weights[1, 2] = 0
    return WeightedLeastSquares(uniform(*_SHAPE, low=-1, seed=1), weights)


def _experts() -> FieldsOfExperts:
    return FieldsOfExperts(uniform(4, 3, 3, low=-1), uniform(4, low=0.5, seed=1), uniform(4, low=0.2, seed=2))


def _zero_somewhere() -> Tensor:
    weights = uniform(*_SHAPE, seed=3)
    weights[0, 0] = 0
    return weights


@dataclass(frozen=True)
class Term(Member):
    """A functional; `shape` is that of one of its arguments, `inside` brings any into where it has a gradient,
    `longest` is the longest step of its prox.
    """

    shape: tuple[int, ...] = _SHAPE
    inside: Callable[[Tensor], Tensor] = lambda x: x
    complex: bool = False
    longest: float = math.inf

    def step(self, step: Any) -> Any:
        """A step of the prox, or steps, no longer than the longest."""
        return step.clamp(max=self.longest) if isinstance(step, Tensor) else min(step, self.longest)


FIELD = (2, *_SHAPE)
_NO_CONJ = {"conj": "deepinv has none", "lipschitz": "deepinv has none"}
_NO_LIPSCHITZ = {"lipschitz": "ODL's are often nan"}
_BOX_OF_ODL = _NO_GRAD | {"conj": "ODL has none"}
_PROX_ONLY = _NO_CONJ | {"forward": "implicit", "grad": "implicit", "firmness": "not a proximal map"}

_Y = uniform(*_SHAPE, low=-1, seed=1)
_COUNTS = uniform(*_SHAPE, low=0.2, high=3, seed=8)
_MAP = uniform(*_SHAPE, low=0.3, high=2, seed=9)
_DARK = {"lipschitz": "infinite curvature at p = 0 without a background"}
_NOT_CONVEX = {
    "convexity": "not convex",
    "firmness": "its proximal map may jump",
    "conj": "not convex",
    "conj_prox": "not convex",
}
_LEARNED = _NOT_CONVEX | {"lipschitz": "that of the inverse of a network"}
_NO_PROX = {
    "convexity": "not convex",
    "prox": "no closed form, not convex",
    "conj": "not convex",
    "conj_prox": "not convex",
}
_PADDED = dict.fromkeys(("prox", "conj", "conj_prox", "firmness"), "not diagonal: its gradient is")


def _spectrum(f: Tensor, g: Tensor) -> Tensor:
    return 0.1 + torch.exp(-30 * (f * f + 2 * g * g)) + 0.1 * torch.sin(2 * math.pi * f) * torch.sin(2 * math.pi * g)


def convex_network(psi: Potential) -> Potential:
    """psi with random weights, large enough for a gradient that is no contraction."""
    generator = torch.Generator().manual_seed(2)
    for p in psi.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=torch.float64) * 0.8 / max(p[0].numel(), 1) ** 0.5
    for layer in (m for m in psi.modules() if hasattr(m, "positive")):
        layer.weight.data.abs_()
    return psi.requires_grad_(False)


def _network(channels: int = 1) -> Potential:
    return convex_network(ImagePotential(channels, (3, 4), (1,), kernel=3, beta=4.0, alpha=0.05))


LIKELIHOODS: list[Term] = [
    Term("LeastSquares", _measured),
    Term("WeightedLeastSquares", _weighted),
    Term("WeightedLeastSquares, affine", lambda: WeightedLeastSquares.from_affine_noise(_Y, 0.3, 0.2)),
    Term("CorrelatedGaussian", lambda: CorrelatedGaussian(_Y, _spectrum)),
    Term("CorrelatedGaussian, odd", lambda: CorrelatedGaussian(uniform(3, 5), _spectrum), shape=(3, 5)),
    Term("Sobolev", lambda: Sobolev(_Y, 0.7, length=(2.0, 3.0), std=0.3)),
    Term("Sobolev, homogeneous", lambda: Sobolev(uniform(3, 5), -1.0, alpha=0.0, normalise=True, std=0.3),
         shape=(3, 5)),
    Term("Sobolev, cosine", lambda: Sobolev(_Y, 1.2, boundary="cosine", normalise=True, std=0.3)),
    Term("Sobolev, cosine, one axis", lambda: Sobolev(_Y, -0.6, boundary="cosine", alpha=0.3, axes=-2, std=0.3)),
    Term("HeteroscedasticGaussian", lambda: HeteroscedasticGaussian(_Y, 0.3, 0.2), _NO_PROX, inside=torch.abs),
    Term("HeteroscedasticGaussian, saturated", lambda: HeteroscedasticGaussian(_Y, 0.3, 0.2, saturated=_Y > 0.5),
         _NO_PROX, inside=torch.abs),
    Term("Poisson", lambda: Poisson(_COUNTS), _DARK, inside=lambda x: x.abs() + 0.3),
    Term("Poisson, background", lambda: Poisson(_COUNTS, background=_MAP), inside=torch.abs),
    Term("PoissonGaussian", lambda: PoissonGaussian(_COUNTS, gain=0.8, read=0.5, offset=0.1), inside=torch.abs),
    Term("PoissonTransmission", lambda: PoissonTransmission(_COUNTS, incident=2.0 * _MAP), inside=torch.abs),
    Term("PoissonTransmission, background", lambda: PoissonTransmission(_COUNTS, incident=2.0, background=_MAP),
         _NO_PROX, inside=torch.abs),
    Term("Laplace", lambda: Laplace(_Y, scale=_MAP), _NO_GRAD),
    Term("Huber", lambda: Huber(_Y, std=_MAP, delta=0.7)),
    Term("StudentT", lambda: StudentT(_Y, dof=3.0, scale=_MAP), _NOT_CONVEX),
    Term("Saturated", lambda: Saturated(_weighted(), 0.4)),
    Term("Saturated, Laplace", lambda: Saturated(Laplace(_Y), 0.4), _NO_GRAD),
    Term("Saturated, StudentT", lambda: Saturated(StudentT(_Y, dof=3.0), 0.4), _NOT_CONVEX),
    Term("Ball", lambda: Ball(_Y, 1.3), _NO_GRAD),
]  # fmt: skip

FUNCTIONALS: list[Term] = [
    *LIKELIHOODS,
    Term("Sobolev, padded", lambda: Sobolev(_Y, 0.4, boundary="padded", axes=-1), _PADDED),
    Term("Sobolev, padded, both axes", lambda: Sobolev(_Y, -0.5, boundary="padded"), _PADDED),
    Term("LeastSquares, complex", lambda: LeastSquares(_coils(*_SHAPE)), complex=True),
    Term("WeightedLeastSquares, complex", lambda: WeightedLeastSquares(_coils(*_SHAPE), _MAP), complex=True),
    Term("GroupL1, complex", lambda: GroupL1(_zero_somewhere()), _NO_GRAD, shape=FIELD, complex=True),
    Term("TV, complex", lambda: TV((2, 2), complex=True, tol=0.0), _NO_CLOSED_FORM, shape=(2, 2), complex=True),
    Term("Weighted, complex", lambda: 2.5 * LeastSquares(_coils(*_SHAPE)), complex=True),
    Term("GroupL1", GroupL1, _NO_GRAD, shape=FIELD),
    Term("GroupL1, one component", GroupL1, _NO_GRAD, shape=(1, *_SHAPE)),
    Term("GroupL1, weights", lambda: GroupL1(_zero_somewhere()), _NO_GRAD, shape=FIELD),
    Term("Box", lambda: Box(-0.3, 0.8), _NO_GRAD),
    Term("Box, one side", lambda: Box(high=0.2), _NO_GRAD),
    Term("NonNegative", NonNegative, _NO_GRAD),
    Term("Box, volume", lambda: Box(-0.3, 0.8, ndim=3), _NO_GRAD, shape=FIELD),
    Term("L1", L1, _NO_GRAD),
    Term("L1, weights", lambda: L1(_zero_somewhere()), _NO_GRAD),
    Term("L1, signal", lambda: L1(ndim=1), _NO_GRAD, shape=(7,)),
    Term("L1, complex", lambda: L1(uniform(*FIELD), ndim=3), _NO_GRAD, shape=FIELD, complex=True),
    Term("SquaredL2", SquaredL2),
    Term("SquaredL2, complex", lambda: SquaredL2(ndim=3), shape=FIELD, complex=True),
    Term("NuclearNorm", NuclearNorm, _NO_GRAD, shape=(3, *_SHAPE)),
    Term("NuclearNorm, more frames than pixels", NuclearNorm, _NO_GRAD, shape=(5, 1, 3)),
    Term("NuclearNorm, complex", lambda: NuclearNorm(ndim=2), _NO_GRAD, shape=(3, 7), complex=True),
    Term("Simplex", Simplex, _NO_GRAD, shape=(3, *_SHAPE)),
    Term("Simplex, size", lambda: Simplex(2.5, ndim=2), _NO_GRAD, shape=(4, 3)),
    Term("TGV", lambda: TGV(_SHAPE), _SMOOTH_ONLY | {"grad": _KINK, "lipschitz": _KINK}, shape=(3, *_SHAPE)),
    Term(
        "Through, component", lambda: Through(NonNegative(), Component((3, *_SHAPE), 0)), _NO_GRAD, shape=(3, *_SHAPE)
    ),
    Term("Through, wavelet", lambda: Through(L1(), Wavelet((4, 6), "db2", 1)), _NO_GRAD, shape=(4, 6)),
    Term("Through, smooth", lambda: Through(_measured(), Component((2, *_SHAPE), 1)), shape=FIELD),
    Term("SmoothTV", lambda: SmoothTV(_SHAPE, smoothing=0.3), _SMOOTH_ONLY),
    Term("SmoothTV, weights", lambda: SmoothTV(_SHAPE, _MAP, 0.3), _SMOOTH_ONLY),
    Term("FieldsOfExperts", _experts, _SMOOTH_ONLY),
    Term("GroupL1, volume", lambda: GroupL1(uniform(2, *_SHAPE), ndim=4), _NO_GRAD, shape=(3, 2, *_SHAPE)),
    Term("GroupHuber", lambda: GroupHuber(0.4, _zero_somewhere()), shape=FIELD),
    Term("GroupHuber, complex", lambda: GroupHuber(0.4), shape=FIELD, complex=True),
    Term("GroupNuclear", lambda: GroupNuclear(_zero_somewhere()[None]), _NO_GRAD, shape=(3, 2, *_SHAPE)),
    Term("TV", lambda: TV((3, 2), tol=0.0), _NO_CLOSED_FORM, shape=(3, 2)),
    Term("TV, anisotropic", lambda: TV((3, 2), (1.0, 2.0), norm="anisotropic", tol=0.0), _NO_CLOSED_FORM, shape=(3, 2)),
    Term("TV, Huber", lambda: TV((3, 2), huber=0.4, tol=0.0), _NO_CONJUGATE, shape=(3, 2)),
    Term("TV, volume", lambda: TV((2, 1, 2), 0.7, tol=0.0), _NO_CLOSED_FORM, shape=(2, 1, 2)),
    Term("TV, channels", lambda: TV((2, 2), channels=3, tol=0.0), _NO_CLOSED_FORM, shape=(3, 2, 2)),
    Term("TV, nuclear", lambda: TV((2, 2), norm="nuclear", channels=2, tol=0.0), _NO_CLOSED_FORM, shape=(2, 2, 2)),
    Term("SpaceVariantTV", lambda: SpaceVariantTV(uniform(3, 2), tol=0.0), _NO_CLOSED_FORM, shape=(3, 2)),
    Term(
        "DirectionalTV", lambda: DirectionalTV(0.7 * uniform(2, 2, 2, low=-1), tol=0.0), _NO_CLOSED_FORM, shape=(2, 2)
    ),
    Term("LPN, channels", lambda: LPN(_network(2), low=-0.5, high=1.0), _LEARNED, shape=(2, 1, 3), longest=1.0),
    Term("LPN, patches", lambda: LPN(PatchPotential(_network(), 2, 1)), _LEARNED, shape=(2, 3), longest=1.0),
    Term("Weighted, smooth", lambda: 2.5 * _measured()),
    Term("Weighted, prox", lambda: 0.3 * GroupL1(_zero_somewhere()), _NO_GRAD, shape=FIELD),
    Term("Sum", lambda: Sum(_measured(), 3.0 * _weighted()), _SMOOTH_ONLY),
    Term("Precomposed", lambda: LeastSquares(uniform(*FIELD), ndim=3) @ Gradient(_SHAPE), _SMOOTH_ONLY),
    Term("FromPrior, L1", lambda: _from_prior("L1Prior"), _NO_CONJ, "deepinv", FIELD),
    Term("FromPrior, Tikhonov", lambda: _from_prior("Tikhonov"), _NO_CONJ, "deepinv", FIELD),
    Term("Denoise", _denoise, _PROX_ONLY, "deepinv", FIELD),
    Term("FromFidelity, L1", lambda: _from_fidelity("L1"), _NO_CONJ, "deepinv", FIELD),
    Term("FromODLFunctional, smooth", lambda: _from_functional("L2NormSquared"), _NO_LIPSCHITZ, "odl"),
    Term("FromODLFunctional, L1", lambda: _from_functional("L1Norm"), _NO_LIPSCHITZ, "odl"),
    Term("FromODLFunctional, box", lambda: _from_functional("IndicatorBox", -0.3, 0.8), _BOX_OF_ODL, "odl"),
]


@dataclass(frozen=True)
class Method:
    """A solver on min_x sum w (A x - y)^2 / 2 + sum_i r_i |(D x)_i| over low <= x <= high, small and in float64.

    y may have batch axes; the weights w and radii r are those of one item.
    """

    name: str
    solver: Callable[["Method"], Solver]
    y: Tensor
    weights: Tensor
    radius: Tensor
    low: float = -math.inf
    high: float = math.inf
    lacks: dict[str, str] = field(default_factory=dict)
    needs: str | None = None
    A: Linear = field(default_factory=lambda: _rays(0.0, 0.4, 1.2, 1.5707963, 2.0, 2.9, -0.3).double())
    D: Linear = field(default_factory=lambda: Gradient((8, 9)))

    def make(self) -> Solver:
        return self.solver(self)

    def start(self) -> Tensor:
        return torch.zeros(*self.y.shape[:-2], *self.A.domain.shape, dtype=torch.float64)

    @staticmethod
    def dense(A: Linear) -> np.ndarray:
        basis = torch.eye(A.domain.size, dtype=torch.float64).reshape(-1, *A.domain.shape)
        return A(basis).reshape(A.domain.size, -1).T.numpy()


def _terms(case: Method) -> list[Functional]:
    terms: list[Functional] = [
        WeightedLeastSquares(case.y, case.weights.to(case.y).expand_as(case.y)) @ case.A,
        GroupL1(case.radius.to(case.y)) @ case.D,
    ]
    bounded = math.isfinite(case.low) or math.isfinite(case.high)
    return [*terms, Box(case.low, case.high)] if bounded else terms


def _pdhg(case: Method) -> Solver:
    return PDHG(_terms(case))


def _admm(case: Method) -> Solver:
    return ADMM(_terms(case))


def _condat_vu(case: Method) -> Solver:
    return CondatVu(_terms(case))


def _fista(case: Method) -> Solver:
    return FISTA([_terms(case)[0], *_terms(case)[2:]])


def _pnp(solver: type[PnPPGD] | type[PnPADMM]) -> Callable[[Method], Solver]:
    """The bounds in the place of a learned prior."""
    return lambda case: solver([_terms(case)[0], *_terms(case)[2:]])


def _spdhg(case: Method) -> Solver:
    """By single views, each a block of its own."""
    others = _terms(case)[1:]
    parts = [case.A.subset([i]) for i in range(7)]
    weights = case.weights.to(case.y).expand_as(case.y)
    rows = [
        WeightedLeastSquares(case.y[..., i : i + 1, :], weights[..., i : i + 1, :]) @ A for i, A in enumerate(parts)
    ]
    return SPDHG([*rows, *others], torch.Generator().manual_seed(3))


def _cg(case: Method) -> Solver:
    return CG(case.A.normal(), case.A.adjoint(case.y))


_KERNEL = torch.tensor([[0.1, 0.2, 0.1], [0.0, 1.0, -0.1], [0.2, 0.1, 0.0]], dtype=torch.float64)


def _smooth(case: Method) -> Functional:
    return WeightedLeastSquares(case.y, case.weights.to(case.y).expand_as(case.y)) @ case.A


def _landweber(case: Method, metric: Linear | None = None) -> Solver:
    return Landweber(WeightedLeastSquares(case.y, case.weights.to(case.y).expand_as(case.y)) @ case.A, metric=metric)


_SHARP = Blur(torch.tensor([[0.0, 0.1, 0.05], [0.1, 0.6, 0.1], [0.0, 0.1, 0.0]], dtype=torch.float64), (8, 9))
_ALL = torch.ones(7, 11, dtype=torch.float64)
_IMAGE = torch.ones(8, 9, dtype=torch.float64)
_VIEWS = 2 * uniform(7, 11, seed=4)
_WEIGHTS = 3 * uniform(7, 11, seed=5)

_NO_GAP = {"gap": "the size of a gradient does not bound the objective"}

SOLVERS = [
    Method("PDHG, TV", _pdhg, _VIEWS, _ALL, 0.1 * _IMAGE),
    Method("PDHG, bounds", _pdhg, _VIEWS, _ALL, 0.3 * _IMAGE, low=0.0, high=0.35),
    Method("PDHG, weights", _pdhg, _VIEWS, 3 * uniform(7, 11, seed=5), 0.2 * uniform(8, 9, seed=6), low=0.0),
    Method("ADMM, TV", _admm, _VIEWS, _ALL, 0.1 * _IMAGE),
    Method("ADMM, bounds", _admm, _VIEWS, _ALL, 0.3 * _IMAGE, low=0.0, high=0.35),
    Method("ADMM, weights", _admm, _VIEWS, _WEIGHTS, 0.2 * uniform(8, 9, seed=6), low=0.0),
    Method("CondatVu, TV", _condat_vu, _VIEWS, _ALL, 0.1 * _IMAGE),
    Method("CondatVu, bounds", _condat_vu, _VIEWS, _ALL, 0.3 * _IMAGE, low=0.0, high=0.35),
    Method("FISTA, bounds", _fista, _VIEWS, _ALL, 0 * _IMAGE, low=0.0, high=0.35),
    Method("SPDHG, TV", _spdhg, _VIEWS, _ALL, 0.1 * _IMAGE),
    Method("SPDHG, bounds", _spdhg, _VIEWS, _ALL, 0.3 * _IMAGE, low=0.0, high=0.35),
    # the ray transform's small singular values, squared, would take it too many steps
    Method("CG", _cg, uniform(8, 9, seed=4), _IMAGE, 0 * _IMAGE, lacks=_NO_GAP, A=Blur(_KERNEL, (8, 9), "reflect")),
    Method("CGLS", lambda case: CGLS(case.A, case.y), _VIEWS, _ALL, 0 * _IMAGE, lacks=_NO_GAP),
    # on the ray transform, of singular values 1e-4 and 1e-9, LSQR goes below what L-BFGS-B finds
    Method("LSQR", lambda case: LSQR(case.A, case.y), uniform(8, 9, seed=4), _IMAGE, 0 * _IMAGE, lacks=_NO_GAP,
           A=Blur(_KERNEL, (8, 9), "reflect")),
    Method("GaussNewton", lambda case: GaussNewton([_smooth(case)]), 2 * uniform(8, 9, seed=4), _IMAGE, 0 * _IMAGE,
           lacks=_NO_GAP, A=_SHARP),
    Method("NewtonCG", lambda case: NewtonCG([_smooth(case)]), 2 * uniform(8, 9, seed=4), _IMAGE, 0 * _IMAGE,
           lacks=_NO_GAP, A=_SHARP),
    Method("LBFGS", lambda case: LBFGS([_smooth(case)]), 2 * uniform(8, 9, seed=4), _IMAGE, 0 * _IMAGE,
           lacks=_NO_GAP, A=_SHARP),
    Method("LBFGS, bounds", lambda case: LBFGS([_smooth(case)], low=case.low, high=case.high, first=0.1),
           _VIEWS, _WEIGHTS, 0 * _IMAGE, low=0.0, high=0.35, lacks=_NO_GAP),
    Method("Landweber", _landweber, 2 * uniform(8, 9, seed=4), _IMAGE, 0 * _IMAGE, lacks=_NO_GAP, A=_SHARP),
    Method("Landweber, metric", lambda case: _landweber(case, BesselPotential((8, 9), 0.3)),
           2 * uniform(8, 9, seed=4), 1 + uniform(8, 9, seed=5), 0 * _IMAGE, lacks=_NO_GAP, A=_SHARP),
    Method("PnPPGD", _pnp(PnPPGD), 2 * uniform(8, 9, seed=4), 1 + uniform(8, 9, seed=5), 0 * _IMAGE, low=0.0, high=1.6,
           lacks=_NO_GAP, A=_SHARP),
    Method("PnPADMM", _pnp(PnPADMM), 2 * uniform(8, 9, seed=4), 1 + uniform(8, 9, seed=5), 0 * _IMAGE, low=0.0,
           high=1.6, lacks=_NO_GAP, A=_SHARP),
    Method("PnPADMM, periodic", _pnp(PnPADMM), 2 * uniform(8, 9, seed=4), _IMAGE, 0 * _IMAGE, low=0.0, high=1.6,
           lacks=_NO_GAP, A=_SHARP),
]  # fmt: skip
