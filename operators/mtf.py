"""Modulation transfer functions of an imaging chain, stage by stage, and the point spread function they make.

Frequencies are in cycles per pixel of the image, so the Nyquist frequency is 1/2. A pair of numbers is (along track,
across track), which is (down the rows, along the columns): the lines of a push-broom image follow each other in time.
Source of the stages: Holst, Electro-Optical Imaging System Performance; Boreman, Modulation Transfer Function.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Stage = Callable[[Tensor, Tensor], Tensor]


def _between(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Raise ValueError unless low <= value < high; NaN is refused."""
    if not low <= value < high:
        limit = f"at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g})"
        raise ValueError(f"{name} must be a finite number {limit}{unit and f' ({unit})'}; got {value}")


@dataclass(frozen=True)
class Optics:
    """Incoherent transfer function of an annular pupil with defocus, isotropic; negative where it reverses contrast.

    cutoff: aperture x pitch / (wavelength x focal length), in cycles per pixel. obscuration: diameter of the central
    obstacle over that of the pupil, in [0, 1). defocus: W020, the path difference at the rim, in wavelengths.

    In focus it is the overlap of two annuli in closed form (O'Neill, J. Opt. Soc. Am. 46, 285, 1956, with his
    erratum). Out of focus it is (Hopkins, Proc. R. Soc. A 231, 91, 1955) the integral of cos(4 pi W s x) over that
    overlap, s the shift in radii of the pupil and x the place along it: by quadrature, to 1e-4 up to one wavelength.
    """

    cutoff: float
    obscuration: float = 0.0
    defocus: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.cutoff < math.inf:
            raise ValueError(f"the cutoff of the optics must be positive, in cycles per pixel; got {self.cutoff}")
        _between("obscuration", self.obscuration, 0, 1, "ratio of diameters")
        if not math.isfinite(self.defocus):
            raise ValueError(f"defocus must be a finite number of wavelengths; got {self.defocus}")

    def __call__(self, along: Tensor, across: Tensor) -> Tensor:
        nu = (torch.hypot(along, across) / self.cutoff).clamp(max=1.0)
        return _annulus(nu, self.obscuration) if self.defocus == 0 else self._defocused(nu)

    def _defocused(self, nu: Tensor) -> Tensor:
        places, nodes = 2048, 1024
        s = torch.linspace(0, 2, places + 1, dtype=torch.float64)[:, None]
        # the height of the overlap has a square root at its ends, which the midpoint rule in an angle takes out
        angle = (torch.arange(nodes, dtype=torch.float64) + 0.5) * (math.pi / nodes)
        half = 1 - s / 2
        x = half * torch.cos(angle)
        dx = half * torch.sin(angle)
        left, right = x + s / 2, x - s / 2
        outer = (1 - torch.maximum(left.square(), right.square())).clamp(min=0).sqrt()
        inner = (self.obscuration**2 - torch.minimum(left.square(), right.square())).clamp(min=0).sqrt()
        height = 2 * (outer - inner).clamp(min=0)
        table = (height * torch.cos(4 * math.pi * self.defocus * s * x) * dx).sum(1)
        table = table / table[0]
        at = nu * places
        low = at.floor().long().clamp(max=places - 1)
        return torch.lerp(table[low], table[low + 1], at - low)


def _annulus(nu: Tensor, obscuration: float) -> Tensor:
    d = 2 * nu
    overlap = _lens(1.0, 1.0, d)
    if obscuration > 0:
        overlap = overlap - 2 * _lens(1.0, obscuration, d) + _lens(obscuration, obscuration, d)
    return overlap / (math.pi * (1 - obscuration**2))


def _lens(R: float, r: float, d: Tensor) -> Tensor:
    """Area common to two discs of radii R >= r whose centres are d apart."""
    apart = d.clamp(min=max(R - r, 1e-300), max=R + r)
    to_small = ((apart**2 + r**2 - R**2) / (2 * apart * r)).clamp(-1, 1)
    to_large = ((apart**2 + R**2 - r**2) / (2 * apart * R)).clamp(-1, 1)
    kite = (R + r - apart) * (apart + r - R) * (apart - r + R) * (apart + r + R)
    lens = r**2 * torch.acos(to_small) + R**2 * torch.acos(to_large) - 0.5 * kite.clamp(min=0).sqrt()
    return torch.where(d <= R - r, math.pi * r**2, torch.where(d >= R + r, 0.0, lens))


@dataclass(frozen=True)
class Box:
    """Averaging over a rectangle of `along` by `across` pixels: sinc(along f) sinc(across g).

    The detector's integration, with 1 x 1 where its elements touch; motion during the integration or between the
    clock strokes of a time-delay detector, with 0 across.
    """

    along: float = 1.0
    across: float = 1.0

    def __post_init__(self) -> None:
        _between("the length of a box along track", self.along, 0, math.inf, "pixels")
        _between("the length of a box across track", self.across, 0, math.inf, "pixels")

    def __call__(self, along: Tensor, across: Tensor) -> Tensor:
        return torch.sinc(self.along * along) * torch.sinc(self.across * across)


@dataclass(frozen=True)
class Diffusion:
    """Spreading of the charge before it is collected, isotropic.

    "gaussian": exp(-2 (pi length f)^2), length the standard deviation; "exponential": 1 / (1 + (2 pi length f)^2),
    whose line spread function is exp(-|x| / length). `length` in pixels.
    """

    length: float
    profile: Literal["gaussian", "exponential"] = "gaussian"

    def __post_init__(self) -> None:
        _between("the diffusion length", self.length, 0, math.inf, "pixels")
        if self.profile not in ("gaussian", "exponential"):
            raise ValueError(f"the diffusion profile is 'gaussian' or 'exponential'; got {self.profile!r}")

    def __call__(self, along: Tensor, across: Tensor) -> Tensor:
        square = (2 * math.pi * self.length) ** 2 * (along.square() + across.square())
        return torch.exp(-0.5 * square) if self.profile == "gaussian" else 1 / (1 + square)


@dataclass(frozen=True)
class Decay:
    """All that is not named, as one Gaussian: exp(-along (f / f_N)^2 - across (g / f_N)^2), f_N = 1/2."""

    along: float
    across: float

    def __post_init__(self) -> None:
        _between("the decay along track", self.along, 0, math.inf)
        _between("the decay across track", self.across, 0, math.inf)

    def __call__(self, along: Tensor, across: Tensor) -> Tensor:
        return torch.exp(-4 * (self.along * along.square() + self.across * across.square()))


@dataclass(frozen=True)
class MTF:
    """The product of named stages, each a function (along, across) -> value of frequencies in cycles per pixel.

    `mtf(along, across)` takes float64 tensors that broadcast; its value at zero must be 1. It is the optical transfer
    function of a symmetric chain: real, and negative where contrast is reversed.
    """

    stages: Mapping[str, Stage]

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("an MTF takes at least one stage; got none")
        zero = torch.zeros((), dtype=torch.float64)
        for name, stage in self.stages.items():
            if not abs(float(stage(zero, zero)) - 1) < 1e-9:
                raise ValueError(f"the stage {name!r} of an MTF must be 1 at zero; got {float(stage(zero, zero))}")

    def __call__(self, along: Tensor, across: Tensor) -> Tensor:
        values = torch.ones_like(along + across)
        for stage in self.stages.values():
            values = values * stage(along, across)
        return values

    @property
    def nyquist(self) -> tuple[float, float]:
        """The values at the Nyquist frequency along and across track."""
        half, zero = torch.tensor([0.5, 0.0], dtype=torch.float64)
        return float(self(half, zero)), float(self(zero, half))

    @classmethod
    def from_nyquist(cls, along: float, across: float, detector: float = 1.0) -> "MTF":
        """The chain with these values at the Nyquist frequency: a detector `detector` pixels wide, and `Decay`.

        One parameter an axis, solved for: exp(-c) = value / sinc(detector / 2). The point spread function is compact.
        Raises ValueError on a value outside (0, sinc(detector / 2)], which is 2/pi for the default.
        """
        _between("the width of the detector", detector, 0, 2, "pixels")
        limit = float(torch.sinc(torch.tensor(detector / 2, dtype=torch.float64)))
        for axis, value in (("along", along), ("across", across)):
            if not 0 < value <= limit:
                raise ValueError(
                    f"the MTF at Nyquist {axis} track must lie in (0, {limit:.4f}], the upper limit being that of a "
                    f"detector {detector:g} pixels wide; got {value}"
                )
        decay = Decay(math.log(limit / along), math.log(limit / across))
        return cls({"detector": Box(detector, detector), "decay": decay})

    @classmethod
    def from_instrument(
        cls,
        aperture: float,
        focal_length: float,
        wavelength: float,
        pitch: float,
        *,
        obscuration: float = 0.0,
        defocus: float = 0.0,
        smear: float = 0.0,
        diffusion: float = 0.0,
    ) -> "MTF":
        """Optics x detector x smear x charge diffusion.

        aperture, focal_length, wavelength and pitch of the detector in metres; obscuration as ratio of diameters;
        defocus in wavelengths (W020); smear in pixels along track; diffusion in pixels (Gaussian).
        """
        lengths = {"aperture": aperture, "focal length": focal_length, "wavelength": wavelength, "pitch": pitch}
        for name, value in lengths.items():
            if not 0 < value < math.inf:
                raise ValueError(f"the {name} of an instrument must be a positive number of metres; got {value}")
        if wavelength >= pitch:
            raise ValueError(
                f"the wavelength must be below the pitch of the detector, {pitch:g} m, in metres; got {wavelength:g}"
            )
        return cls(
            {
                "optics": Optics(aperture * pitch / (wavelength * focal_length), obscuration, defocus),
                "detector": Box(),
                "smear": Box(smear, 0.0),
                "diffusion": Diffusion(diffusion),
            }
        )

    def psf(self, factor: int = 1, radius: int = 8, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
        """The point spread function on a grid `factor` times as fine as the image: float64, sum 1.

        Shape (2 r + 1, 2 r + 1) with r = radius x factor: it ends `radius` pixels from its centre. Its transfer
        function is that of the chain exactly at the multiples of 1 / (2 radius) cycles per pixel, so at zero and at
        Nyquist, and interpolates between them; what a longer function would have beyond the end is folded in. Chains
        of frequencies above factor / 2 are cut there, so small values may be negative.

        shift: the result reads the scene `shift` pixels (down the rows, along the columns) further on. It moves the
        function the other way, and makes r larger by what it needs: ceil(factor x max |shift| + 1/2) - 1.
        """
        if not all(isinstance(value, int) and value >= 1 for value in (factor, radius)):
            raise ValueError(f"factor and radius of a PSF must be whole numbers from 1; got {factor} and {radius}")
        r = psf_border(factor, radius, [shift])
        period = 2 * radius * factor
        f = torch.fft.fftfreq(period, 1 / factor, dtype=torch.float64)
        values = self(f[:, None], f[None, :])
        if not bool(values.isfinite().all()):
            raise ValueError("the MTF must be finite; got NaN or infinity from one of its stages")
        phase = 2 * math.pi * (f[:, None] * shift[0] + f[None, :] * shift[1])
        periodic = torch.fft.ifft2(torch.polar(torch.ones_like(phase), phase) * values).real
        place = torch.arange(-r, r + 1)
        psf = periodic[place % period][:, place % period]
        # one period about its centre; the sample that the end of the period cuts belongs in part to either end
        rows, columns = ((period / 2 + 0.5 - (place + factor * s).abs()).clamp(0, 1) for s in shift)
        return psf * rows[:, None] * columns


def psf_border(factor: int, radius: int, shifts: Iterable[tuple[float, float]]) -> int:
    """How far a point spread function with the largest of these shifts reaches, in samples."""
    largest = 0.0
    for shift in shifts:
        if len(shift) != 2 or not all(abs(s) <= radius for s in shift):
            raise ValueError(f"a shift is two numbers of pixels, at most the radius of the PSF, {radius}; got {shift}")
        largest = max(largest, *map(abs, shift))
    return radius * factor + math.ceil(factor * largest + 0.5 - 1e-9) - 1


def ground_sampling(altitude: float, focal_length: float, pitch: float) -> float:
    """The ground sampling distance at nadir, pitch x altitude / focal length, all in metres."""
    for name, value in {"altitude": altitude, "focal length": focal_length, "pitch": pitch}.items():
        if not 0 < value < math.inf:
            raise ValueError(f"the {name} of an instrument must be a positive number of metres; got {value}")
    return pitch * altitude / focal_length
