"""Point-spread functions as kernels (size, size) of sum 1 with their centre at (size // 2, size // 2), for `Blur`.

Lengths are in pixels unless said otherwise; x points right and y up, against the rows, so that angles, in radians,
turn counter-clockwise from the row's direction. All are computed in float64 and given in `dtype`. All raise ValueError
on parameters outside the stated ranges.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def gaussian(
    sigma: float | tuple[float, float],
    angle: float = 0.0,
    *,
    size: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """exp(-(u / sigma_u)^2 / 2 - (v / sigma_v)^2 / 2) at the pixel centres; u lies along `angle`, v across it.

    One sigma > 0 for both, or (sigma_u, sigma_v). Default size: 4 standard deviations to each side. The variances of
    the kernel are those of the Gaussian to 3e-4 of a square pixel from sigma 0.7 on, and ever closer above.
    """
    along, across = (sigma, sigma) if isinstance(sigma, int | float) else sigma
    _positive(sigma=min(along, across))
    x, y = _coordinates(size or 2 * math.ceil(4 * max(along, across)) + 1)
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return _normal(torch.exp(-(u / along).square() / 2 - (v / across).square() / 2), dtype)


def disk(radius: float, *, size: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Defocus in geometrical optics: the share of a disk of `radius` > 0 that each pixel covers, exact areas."""
    _positive(radius=radius)
    return _normal(_disk_areas(radius, size or 2 * math.ceil(max(radius - 0.5, 0)) + 1), dtype)


def motion(length: float, angle: float = 0.0, *, size: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """A shift at constant speed along a straight line of `length` > 0: the share of the exposure in each pixel."""
    _positive(length=length)
    half = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64) * length / 2
    return trajectory(torch.stack([-half, half]), size=size, dtype=dtype)


def trajectory(points: Tensor, *, size: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """A path through the points (n >= 2, (x, y)), straight and at constant speed between two, in equal times.

    Each pixel holds the exact share of the exposure that the path spends in it. (0, 0) is the kernel's centre.
    """
    points = torch.as_tensor(points, dtype=torch.float64)
    if points.ndim != 2 or points.shape[0] < 2 or points.shape[1] != 2 or not bool(points.isfinite().all()):
        raise ValueError(f"trajectory takes finite points (n, 2) with n from 2 on; got {tuple(points.shape)}")
    reach = math.ceil(float(points.abs().max()) - 0.5 - 1e-9)
    size = size or 2 * reach + 1
    centre = size // 2
    if reach > min(centre, size - 1 - centre):
        raise ValueError(f"the path reaches {reach} pixels from the centre, beyond a kernel of {size}; leave size out")
    start, step = points[:-1, :, None], (points[1:] - points[:-1])[:, :, None]
    borders = torch.arange(size + 1, dtype=torch.float64) - centre - 0.5
    crossings = torch.where(step == 0, 0.0, ((borders - start) / step).clamp(0, 1)).flatten(1)
    ends = torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(len(crossings), 2)
    times = torch.cat([crossings, ends], dim=1).sort(dim=1).values
    middle = start + step * ((times[:, 1:] + times[:, :-1]) / 2)[:, None]
    column, up = torch.floor(middle + 0.5).long().unbind(1)
    index = (centre - up) * size + centre + column
    kernel = torch.zeros(size * size, dtype=torch.float64)
    kernel.index_add_(0, index.clamp(0, size * size - 1).flatten(), times.diff(dim=1).flatten())
    return _normal(kernel.reshape(size, size), dtype)


def shake(
    length: float, generator: torch.Generator, *, bend: float = math.pi, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A random path of `length` > 0 at constant speed about its mean: a hand that shakes the camera.

    Its heading starts anywhere and wanders as Brownian motion, by a standard deviation of `bend` >= 0 radians in all.
    """
    _positive(length=length)
    pieces = max(64, math.ceil(4 * length))
    turns = torch.randn(pieces, generator=generator, dtype=torch.float64, device=generator.device).cpu()
    first = torch.rand(1, generator=generator, dtype=torch.float64, device=generator.device).cpu()
    heading = 2 * math.pi * first + bend / math.sqrt(pieces) * turns.cumsum(0)
    steps = length / pieces * torch.stack([heading.cos(), heading.sin()], dim=1)
    points = torch.cat([steps.new_zeros(1, 2), steps.cumsum(0)])
    return trajectory(points - (points[1:] + points[:-1]).mean(0) / 2, dtype=dtype)


def airy(
    wavelength: float,
    f_number: float,
    pixel: float,
    *,
    obscuration: float = 0.0,
    size: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Diffraction by a circular pupil: (jinc(v) - e^2 jinc(e v))^2 at the pixel centres, jinc(v) = 2 J1(v) / v.

    v = pi r / (wavelength f_number) with r the distance from the centre; `wavelength` and the pixel pitch `pixel` in
    the same unit, `f_number` of the full aperture; `obscuration` e in [0, 1) is the ratio of the diameters of the
    central obstacle and of the pupil. The first zero lies at r = 1.2197 wavelength f_number if e = 0. It is sampled,
    not averaged over the pixels: that is the detector's part. The tail is long: default size 10 wavelength f_number
    to each side, beyond which 2 % of the light falls. Source: Born & Wolf, Principles of Optics, 8.5.2
    and 8.6.2.
    """
    scale = _focal_scale(wavelength, f_number, pixel, obscuration)
    x, y = _coordinates(size or _focal_size(scale))
    v = math.pi / scale * torch.hypot(x, y)
    return _normal((_jinc(v) - obscuration**2 * _jinc(obscuration * v)).square(), dtype)


def zernike(
    coefficients: Sequence[float],
    wavelength: float,
    f_number: float,
    pixel: float,
    *,
    obscuration: float = 0.0,
    size: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Diffraction by an aberrated pupil: |Fourier transform of exp(2 pi i sum_j a_j Z_j)|^2 at the pixel centres.

    `coefficients` a_1, a_2, ... (finite) are in waves: the root mean square over the full pupil of each of Noll's
    polynomials, from the piston on (2, 3 tilt to the right and up; 4 defocus; 5, 6 astigmatism; 7, 8 coma; 11
    spherical). A tilt of a waves moves the spot by 4 a wavelength f_number. The other parameters are those of `airy`,
    which is the limit without aberration. The pupil has 256 samples across or more, its edge by exact areas,
    and is transformed at the pixels directly, so that no pitch is favoured (Soummer et al., Opt. Express 15, 15935).
    """
    scale = _focal_scale(wavelength, f_number, pixel, obscuration)
    if not all(math.isfinite(a) for a in coefficients):
        raise ValueError(f"zernike takes finite coefficients, in waves; got {list(coefficients)}")
    size = size or _focal_size(scale)
    across = max(256, 2 * math.ceil(2 * size / scale))
    u = (torch.arange(across, dtype=torch.float64) - (across - 1) / 2) * 2 / across
    x, y = u.expand(across, across), -u[:, None].expand(across, across)
    phase = sum((a * zernike_polynomial(j, x, y) for j, a in enumerate(coefficients, 1) if a), torch.zeros_like(x))
    pupil = _disk_areas(across / 2, across, 0.5)
    if obscuration:
        pupil = pupil - _disk_areas(obscuration * across / 2, across, 0.5)
    field = torch.polar(pupil, 2 * math.pi * phase)
    places = torch.arange(size, dtype=torch.float64) - size // 2
    transform = torch.exp(-1j * math.pi / scale * places[:, None] * u)  # of rows as well: y runs down in both planes
    transform = transform / torch.sinc(places / (scale * across))[:, None]  # the samples are averages over squares
    return _normal((transform @ field @ transform.T).abs().square(), dtype)


def zernike_polynomial(noll: int, x: Tensor, y: Tensor) -> Tensor:
    """Noll's Zernike polynomial Z_j, j >= 1, at pupil coordinates x, y (radius 1): of mean square 1 over the disk.

    Source: Noll, J. Opt. Soc. Am. 66, 207 (1976), eqs. 1 and 2; outside the disk the polynomial is continued.
    """
    if noll < 1:
        raise ValueError(f"Noll's index starts at 1; got {noll}")
    n = (math.isqrt(8 * noll - 7) - 1) // 2
    place = noll - n * (n + 1) // 2  # 1 to n + 1 in the order of m
    m = 2 * (place // 2) if n % 2 == 0 else 2 * ((place - 1) // 2) + 1
    radius, angle = torch.hypot(x, y), torch.atan2(y, x)
    radial = torch.zeros_like(radius)
    for s in range((n - m) // 2 + 1):
        factor = math.comb(n - s, s) * math.comb(n - 2 * s, (n - m) // 2 - s)
        radial += (-1) ** s * factor * radius ** (n - 2 * s)
    if m == 0:
        return math.sqrt(n + 1) * radial
    wave = torch.cos(m * angle) if noll % 2 == 0 else torch.sin(m * angle)
    return math.sqrt(2 * (n + 1)) * radial * wave


def _coordinates(size: int) -> tuple[Tensor, Tensor]:
    if size < 1:
        raise ValueError(f"a kernel takes a size from 1 pixel on; got {size}")
    x = torch.arange(size, dtype=torch.float64) - size // 2
    return x.expand(size, size), -x[:, None].expand(size, size)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"a point-spread function takes {name} > 0; got {value}")


def _focal_scale(wavelength: float, f_number: float, pixel: float, obscuration: float) -> float:
    _positive(wavelength=wavelength, f_number=f_number, pixel=pixel)
    if not 0 <= obscuration < 1:
        raise ValueError(f"a pupil takes an obscuration in [0, 1), a ratio of diameters; got {obscuration}")
    return wavelength * f_number / pixel


def _focal_size(scale: float) -> int:
    return 2 * math.ceil(10 * scale) + 1


def _jinc(v: Tensor) -> Tensor:
    return torch.where(v == 0, 1.0, 2 * torch.special.bessel_j1(v) / v)


def _disk_areas(radius: float, size: int, offset: float = 0.0) -> Tensor:
    """How much of each unit square a disk about square size // 2, less `offset` of its side, covers: (size, size)."""
    edges = (torch.arange(size + 1, dtype=torch.float64) - size // 2 - 0.5 + offset).clamp(-radius, radius)
    a, b = edges.abs(), edges.abs()[:, None]
    x = torch.minimum(torch.sqrt(radius**2 - b * b), a)  # where the top of the rectangle leaves the disk
    quarter = b * x + _under_arc(a, radius) - _under_arc(x, radius)  # of the rectangle from the centre to (a, b)
    corner = edges.sign() * edges.sign()[:, None] * quarter
    return corner.diff(dim=0).diff(dim=1).clamp(min=0)


def _under_arc(x: Tensor, radius: float) -> Tensor:
    """The integral of sqrt(radius^2 - t^2) from 0 to x."""
    return (x * torch.sqrt((radius**2 - x * x).clamp(min=0)) + radius**2 * torch.asin(x / radius)) / 2


def _normal(kernel: Tensor, dtype: torch.dtype) -> Tensor:
    return (kernel / kernel.sum()).to(dtype)
