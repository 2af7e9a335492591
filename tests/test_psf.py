"""Point-spread functions against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special

from invreg.operators import psf
from invreg.operators.psf import zernike_polynomial

DOUBLE = torch.float64


def _moments(kernel: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean (x, y) and covariance of a kernel, x to the right and y up from its centre."""
    k, c = kernel.double().numpy(), kernel.shape[0] // 2
    x, y = np.meshgrid(np.arange(k.shape[1]) - c, c - np.arange(k.shape[0]))
    mean = np.array([(k * x).sum(), (k * y).sum()])
    x, y = x - mean[0], y - mean[1]
    return mean, np.array([[(k * x * x).sum(), (k * x * y).sum()], [(k * x * y).sum(), (k * y * y).sum()]])


ALL = {
    "gaussian": lambda **more: psf.gaussian((2.0, 1.0), 0.4, **more),
    "disk": lambda **more: psf.disk(3.2, **more),
    "motion": lambda **more: psf.motion(7.5, 0.4, **more),
    "trajectory": lambda **more: psf.trajectory(torch.tensor([[0.0, 0.0], [2.2, 1.0], [2.0, -3.0]]), **more),
    "shake": lambda **more: psf.shake(12.0, torch.Generator().manual_seed(0), **more),
    "airy": lambda **more: psf.airy(0.55, 8.0, 2.0, obscuration=0.3, **more),
    "zernike": lambda **more: psf.zernike([0, 0, 0, 0.1], 0.55, 8.0, 2.0, **more),
}


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_kernels_are_square_odd_and_sum_to_one(make):
    kernel = make(dtype=DOUBLE)
    assert kernel.dtype == DOUBLE and kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
    assert float(kernel.min()) >= 0 and float(kernel.sum()) == pytest.approx(1, abs=1e-14)
    assert make().dtype == torch.float32


@pytest.mark.parametrize("size", [24, 31])
@pytest.mark.parametrize("make", [ALL[name] for name in ("gaussian", "disk", "motion", "airy", "zernike")])
def test_a_stated_size_keeps_the_centre(make, size):
    kernel, natural = make(size=size, dtype=DOUBLE), make(dtype=DOUBLE)
    assert kernel.shape == (size, size)
    shifts = [n // 2 - min(size // 2, natural.shape[0] // 2) for n in (size, natural.shape[0])]
    n = min(size - shifts[0], natural.shape[0] - shifts[1])
    ours, reference = (k[s : s + n, s : s + n] for k, s in zip((kernel, natural), shifts, strict=True))
    torch.testing.assert_close(ours / ours.sum(), reference / reference.sum(), rtol=1e-9, atol=1e-12)


def test_gaussian_moments_and_angle():
    mean, covariance = _moments(psf.gaussian((3.0, 1.2), angle=0.5, size=61, dtype=DOUBLE))
    turn = np.array([[math.cos(0.5), -math.sin(0.5)], [math.sin(0.5), math.cos(0.5)]])
    np.testing.assert_allclose(mean, 0, atol=1e-14)
    np.testing.assert_allclose(covariance, turn @ np.diag([9.0, 1.44]) @ turn.T, atol=1e-9)
    _, covariance = _moments(psf.gaussian(0.7, dtype=DOUBLE))
    np.testing.assert_allclose(covariance, 0.49 * np.eye(2), atol=3e-3)


@pytest.mark.parametrize("radius", [0.3, 0.5, 1.0, 2.37, 6.0])
def test_disk_is_the_area_of_each_pixel_that_it_covers(radius):
    kernel = psf.disk(radius, dtype=DOUBLE).numpy()
    c = kernel.shape[0] // 2
    assert c < radius + 0.5  # no empty rim

    def height(x: float, low: float) -> float:
        top = math.sqrt(max(radius**2 - x * x, 0))
        return max(min(top, low + 1) - max(-top, low), 0)

    for i, j in [(c, c), (c, 0), (0, c), (c // 2, c // 3), (0, 0)]:
        edges = j - c - 0.5, c - i - 0.5
        bends = [x for e in (edges[1], edges[1] + 1) for x in _crossings(radius, e) if abs(x - edges[0] - 0.5) < 0.5]
        bends += [x for x in (-radius, radius) if abs(x - edges[0] - 0.5) < 0.5]
        exact = integrate.quad(height, edges[0], edges[0] + 1, args=(edges[1],), points=bends or None)[0]
        assert kernel[i, j] * math.pi * radius**2 == pytest.approx(exact, abs=1e-9)


def _crossings(radius: float, y: float) -> list[float]:
    x = math.sqrt(max(radius**2 - y * y, 0))
    return [-x, x]


def test_motion_along_the_axes_and_the_diagonal():
    row = torch.tensor([0.5, 1, 1, 1, 0.5], dtype=DOUBLE) / 4
    expected = torch.zeros(5, 5, dtype=DOUBLE)
    expected[2] = row
    torch.testing.assert_close(psf.motion(4.0, dtype=DOUBLE), expected)
    torch.testing.assert_close(psf.motion(4.0, math.pi / 2, dtype=DOUBLE), expected.T)
    diagonal = psf.motion(3 * math.sqrt(2), math.pi / 4, dtype=DOUBLE)
    torch.testing.assert_close(diagonal.flip(0).diagonal(), torch.full((3,), 1 / 3, dtype=DOUBLE))


@pytest.mark.parametrize("angle", [0.3, -1.2, 2.0])
def test_motion_agrees_with_many_points_on_the_line(angle):
    kernel = psf.motion(9.3, angle, dtype=DOUBLE).numpy()
    t, c = (np.arange(400000) + 0.5) / 400000 - 0.5, kernel.shape[0] // 2
    x, y = 9.3 * t * math.cos(angle), 9.3 * t * math.sin(angle)
    counted = np.zeros_like(kernel)
    np.add.at(counted, (c - np.floor(y + 0.5).astype(int), c + np.floor(x + 0.5).astype(int)), 1 / t.size)
    np.testing.assert_allclose(kernel, counted, atol=1e-5)


def test_trajectory_spends_equal_times_between_points():
    points = torch.tensor([[0.0, 0.0], [0.0, 0.0], [2.0, 0.0]])  # rests, then moves two pixels to the right
    kernel = psf.trajectory(points, dtype=DOUBLE)
    torch.testing.assert_close(kernel[2], torch.tensor([0, 0, 0.5 + 0.125, 0.25, 0.125], dtype=DOUBLE))


def test_shake_is_drawn_from_its_generator_about_its_mean():
    kernel, again, other = (psf.shake(15.0, torch.Generator().manual_seed(s), dtype=DOUBLE) for s in (3, 3, 4))
    assert torch.equal(kernel, again) and not (kernel.shape == other.shape and torch.equal(kernel, other))
    np.testing.assert_allclose(_moments(kernel)[0], 0, atol=0.2)  # pixels round each place
    straight = psf.shake(15.0, torch.Generator().manual_seed(3), bend=0.0, dtype=DOUBLE)
    assert np.linalg.eigvalsh(_moments(straight)[1])[1] == pytest.approx(15**2 / 12, rel=0.02)


@pytest.mark.parametrize("obscuration", [0.0, 0.35])
def test_airy_has_the_zeros_and_the_energy_of_the_closed_form(obscuration):
    scale = 20.0  # pixels in one wavelength times f-number: fine enough to look for zeros
    kernel = psf.airy(0.5, 8.0, 0.2, obscuration=obscuration, size=2001, dtype=DOUBLE)
    profile = kernel[1000, 1000:].numpy()
    dark = [i for i in range(1, 60) if profile[i] < profile[i - 1] and profile[i] < profile[i + 1]]
    first = 3.8317059702075125 / math.pi
    if obscuration:  # J1(v) = e J1(e v)
        v = np.linspace(1, 4, 300001)
        first = (
            v[np.flatnonzero(np.diff(np.sign(special.j1(v) - obscuration * special.j1(obscuration * v))))[0]] / math.pi
        )
    assert dark[0] == round(first * scale) and (obscuration or dark[1] == round(2.2331 * scale))
    if not obscuration:  # Rayleigh's 1 - J0^2 - J1^2 within a radius, of all the light
        x = np.arange(2001) - 1000
        inside = kernel.numpy()[np.hypot(x[:, None], x) < first * scale].sum()
        within = 1 - special.j0(math.pi * first) ** 2 - special.j1(math.pi * first) ** 2
        assert inside == pytest.approx(within, rel=5e-3)  # the kernel ends at 50 wavelengths times f-number


@pytest.mark.parametrize("obscuration", [0.0, 0.4])
def test_a_pupil_without_aberration_gives_airy(obscuration):
    for pixel in (0.7, 2.0, 3.1):
        optics = {"wavelength": 0.55, "f_number": 8.0, "pixel": pixel, "obscuration": obscuration, "size": 41}
        ours, exact = psf.zernike([], **optics, dtype=DOUBLE), psf.airy(**optics, dtype=DOUBLE)
        torch.testing.assert_close(ours, exact, rtol=0, atol=3e-5 * float(exact.max()))


def test_zernike_polynomials_are_orthonormal_over_the_disk():
    radii, weights = np.polynomial.legendre.leggauss(20)  # exact for the degrees met
    radii, weights = (radii + 1) / 2, weights / 2
    angles = 2 * math.pi * np.arange(40) / 40
    r, a = np.meshgrid(radii, angles)
    x, y = torch.from_numpy(r * np.cos(a)), torch.from_numpy(r * np.sin(a))
    modes = np.stack([zernike_polynomial(j, x, y).numpy() for j in range(1, 37)])
    gram = np.einsum("iar,jar,r->ij", modes, modes, 2 * weights * radii) / 40
    np.testing.assert_allclose(gram, np.eye(36), atol=1e-12)


@pytest.mark.parametrize(
    ("noll", "polynomial"),
    [
        (1, lambda x, y: 1 + 0 * x),
        (2, lambda x, y: 2 * x),
        (3, lambda x, y: 2 * y),
        (4, lambda x, y: math.sqrt(3) * (2 * (x * x + y * y) - 1)),
        (5, lambda x, y: 2 * math.sqrt(6) * x * y),
        (6, lambda x, y: math.sqrt(6) * (x * x - y * y)),
        (7, lambda x, y: math.sqrt(8) * y * (3 * (x * x + y * y) - 2)),
        (8, lambda x, y: math.sqrt(8) * x * (3 * (x * x + y * y) - 2)),
        (9, lambda x, y: math.sqrt(8) * (3 * x * x * y - y**3)),
        (10, lambda x, y: math.sqrt(8) * (x**3 - 3 * x * y * y)),
        (11, lambda x, y: math.sqrt(5) * (6 * (x * x + y * y) ** 2 - 6 * (x * x + y * y) + 1)),
    ],
)
def test_zernike_polynomials_are_those_of_nolls_table(noll, polynomial):
    x, y = 2 * torch.rand(2, 50, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)) - 1
    torch.testing.assert_close(zernike_polynomial(noll, x, y), polynomial(x, y), rtol=1e-12, atol=1e-12)


def test_the_strehl_ratio_is_that_of_marechal():
    optics = {"wavelength": 0.55, "f_number": 8.0, "pixel": 0.5, "size": 301}
    perfect = psf.zernike([], **optics, dtype=DOUBLE).max()
    for mode in (4, 6, 8, 11):
        waves = 0.04
        aberrated = psf.zernike([0] * (mode - 1) + [waves], **optics, dtype=DOUBLE)
        strehl = float(aberrated[150, 150] / perfect)
        assert strehl == pytest.approx(math.exp(-((2 * math.pi * waves) ** 2)), rel=2e-3)


def test_tilts_move_the_spot_right_and_up():
    optics = {"wavelength": 0.5, "f_number": 8.0, "pixel": 1.0, "size": 61}  # wavelength times f-number is 4 pixels
    spot = psf.zernike([0, 0.5], **optics, dtype=DOUBLE)
    assert divmod(int(spot.argmax()), 61) == (30, 38)
    spot = psf.zernike([0, 0, 0.5], **optics, dtype=DOUBLE)
    assert divmod(int(spot.argmax()), 61) == (22, 30)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: psf.gaussian(0.0), "sigma > 0; got 0.0"),
        (lambda: psf.gaussian((1.0, -2.0)), "sigma > 0; got -2.0"),
        (lambda: psf.gaussian(math.nan), "sigma > 0; got nan"),
        (lambda: psf.gaussian(1.0, size=-3), "size from 1 pixel on; got -3"),
        (lambda: psf.disk(-1.0), "radius > 0; got -1.0"),
        (lambda: psf.motion(0.0), "length > 0; got 0.0"),
        (lambda: psf.motion(9.0, size=5), "reaches 4 pixels from the centre, beyond a kernel of 5"),
        (lambda: psf.trajectory(torch.zeros(1, 2)), r"points \(n, 2\) with n from 2 on; got \(1, 2\)"),
        (lambda: psf.airy(0.5, 0.0, 1.0), "f_number > 0; got 0.0"),
        (lambda: psf.airy(0.5, 8.0, 1.0, obscuration=1.0), r"obscuration in \[0, 1\).*got 1.0"),
        (lambda: psf.zernike([math.inf], 0.5, 8.0, 1.0), "finite coefficients"),
        (lambda: zernike_polynomial(0, torch.zeros(1), torch.zeros(1)), "starts at 1; got 0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
