"""Satellite images: sampling against analytic scenes, pairs, noise, digital numbers and presets."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from test_mtf import SHARP, SOFT, ZERO, line

from invreg.core import solve
from invreg.operators import (
    INSTRUMENTS,
    MTF,
    Imager,
    PanMultispectral,
    Radiometry,
    Satellite,
    WeightedLeastSquares,
    noise_from_snr,
)
from invreg.operators.mtf import ground_sampling
from invreg.solvers import CGLS

SHARED = Path(os.environ.get("INVREG_SHARED_DATA", Path(__file__).parents[1].parent / "shared/data"))

# Sampling


def waves(shape: tuple[int, int], factor: int, shift: tuple[float, float], H: MTF | None = None) -> torch.Tensor:
    """A band-limited scene, moved by `shift` image pixels, and seen through H where it is given."""
    rows, columns = (torch.arange(n, dtype=torch.float64) / factor for n in shape)
    scene = torch.zeros(shape, dtype=torch.float64)
    for amplitude, f, g in ((1.0, 0.0, 0.0), (0.4, 0.25, 0.125), (0.3, -0.375, 0.25), (0.2, 0.4375, 0.0)):
        angle = f * (rows[:, None] + shift[0]) + g * (columns[None] + shift[1])
        gain = 1.0 if H is None else float(H(line(f), line(g)))
        scene += gain * amplitude * torch.cos(2 * math.pi * angle + 0.7)
    return scene


@pytest.mark.parametrize("factor, phase", [(1, None), (2, None), (3, (0.0, 2.4)), (4, (1.0, 1.0))])
def test_waves_come_out_scaled_and_in_their_place(factor, phase):
    shape, radius, shifts = (22 * factor, 25 * factor), 8, [(0.0, 0.0), (0.3, -1.25)]
    A = Imager(shape, [SHARP, SOFT], factor, radius=radius, phase=phase, shifts=shifts)
    seen = A(waves(shape, factor, (0, 0)).expand(2, *shape))
    offset = ((factor - 1) / 2,) * 2 if phase is None else phase
    for band, mtf, shift in zip(seen, (SHARP, SOFT), shifts, strict=True):
        place = [(A.border + o) / factor + s for o, s in zip(offset, shift, strict=True)]
        expected = waves(tuple(band.shape), 1, (place[0], place[1]), mtf)
        assert_allclose(band, expected, atol=1e-12)


@pytest.mark.parametrize("factor, phase, start", [(1, (0, 0), (0, 0)), (3, (1, 1), (1, 1)), (4, (0, 3), (0, 3))])
def test_image_is_the_convolution_and_every_so_many_pixels(factor, phase, start):
    from scipy.signal import convolve2d

    shape = (12 * factor + 5, 14 * factor + 1)
    A = Imager(shape, SHARP, factor, radius=3, phase=phase, tile=3)
    scene = np.random.default_rng(0).standard_normal(shape)
    expected = convolve2d(scene, SHARP.psf(factor, 3).numpy(), "valid")[start[0] :: factor, start[1] :: factor]
    assert_allclose(A(torch.from_numpy(scene)), expected, atol=1e-13)


def test_energy_is_kept():
    A = Imager((70, 70), SHARP, 2)
    assert_allclose(A(torch.full((70, 70), 3.0, dtype=torch.float64)), 3.0, rtol=1e-12)
    points = torch.zeros(4, 70, 70, dtype=torch.float64)  # the detector sees each point of the ground once
    for n, (i, j) in enumerate(((34, 34), (34, 35), (35, 34), (35, 35))):
        points[n, i, j] = 1
    assert_allclose(A(points).sum((1, 2)), 0.25, rtol=1e-10)


@pytest.mark.parametrize("mtf", [SOFT, SHARP], ids=["nyquist", "instrument"])
def test_mtf_measured_on_a_slanted_edge(mtf):
    factor, slope, fine = 4, 0.08, 0.1
    h, w = 400, 336
    start = w / 2 - slope * h / 2
    columns, place = np.arange(w), start + slope * np.arange(h)
    scene = np.clip(columns[None] + 0.5 - place[:, None], 0, 1)  # the share of a scene pixel right of the edge
    image = Imager((h, w), mtf, factor, radius=8)(torch.from_numpy(scene)).numpy()
    # rows of the image pixels, in scene pixels: ISO 12233
    centre = 8 * factor + (factor - 1) / 2
    rows, across = (centre + factor * np.arange(n) for n in image.shape)
    distance = (across[None] - (start + slope * rows[:, None])) / factor
    bins = np.round(distance / fine).astype(int).ravel()
    keep = np.abs(bins) <= 120
    low = bins[keep] + 120
    edge = np.bincount(low, image.ravel()[keep]) / np.bincount(low)
    spread = np.diff(edge)
    for f in (0.0625, 0.125, 0.25, 0.375, 0.5):
        measured = abs((spread * np.exp(-2j * np.pi * f * fine * np.arange(spread.size))).sum())
        # the bins and their differences, and the scene's pixels, each a box
        measured /= np.sinc(f * fine) * np.sinc(f / factor)
        assert abs(measured - float(mtf(ZERO, line(f)))) < 0.006


@pytest.mark.parametrize("tile", [1, 7, 12])
def test_tiles_equal_the_whole(tile):
    generator = torch.Generator().manual_seed(1)
    options = {"radius": 3, "shifts": [(0.0, 0.0), (0.4, 0.1)], "phase": (1.0, 0.2)}
    whole, tiled = (Imager((61, 50), [SOFT, SHARP], 2, tile=t, **options) for t in (1000, tile))
    x = whole.domain.random(2, generator=generator, dtype=torch.float64)
    y = whole.codomain.random(2, generator=generator, dtype=torch.float64)
    assert_allclose(tiled(x), whole(x), atol=1e-14)
    assert_allclose(tiled.adjoint(y), whole.adjoint(y), atol=1e-14)
    assert_allclose(tiled.float()(x.float()), whole(x), atol=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_norm_of_large_images(factor):
    A = Imager(((64 + 16) * factor,) * 2, SHARP, factor)
    measured = super(Imager, A).norm() / 1.005
    assert measured <= A.norm() * (1 + 1e-9) <= 1.01 * measured


# Panchromatic and multispectral


def _pair(**options) -> PanMultispectral:
    return PanMultispectral((160, 168), SHARP, [0.5, 0.3, 0.2], [SOFT] * 3, ratio=4, radius=4, factor=2, **options)


def test_pair_is_its_two_images():
    A = _pair(tile=3)
    x = A.domain.random(2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pan, bands = A.split(A(x))
    assert (A.codomain.shape, pan.shape, bands.shape) == ((19, 12, 13), (2, 48, 52), (2, 3, 12, 13))
    assert torch.equal(A.join(pan, bands), A(x))
    assert_allclose(bands, Imager((160, 168), [SOFT] * 3, 8, radius=4)(x), atol=1e-14)
    border = 4 * 8 - 4 * 2  # the multispectral border is wider
    grey = (x * line(0.5, 0.3, 0.2)[:, None, None]).sum(1)[:, border:-border, border:-border]
    assert_allclose(pan, Imager(tuple(grey.shape[1:]), SHARP, 2, radius=4)(grey)[:, :48, :52], atol=1e-14)


def test_pair_lies_on_one_another():
    ramp = torch.arange(160, dtype=torch.float64)[:, None] + 3 * torch.arange(168, dtype=torch.float64)
    A = _pair()
    pan, bands = A.split(A(ramp.expand(3, 160, 168)))
    blocks = pan.reshape(12, 4, 13, 4).mean((1, 3))
    assert_allclose(blocks, bands[0], rtol=1e-12)  # symmetric functions leave a ramp as it is


def test_pair_sharpens():
    from skimage import data

    picture = torch.from_numpy(data.astronaut()[:160, 100:268].transpose(2, 0, 1) / 255.0)
    A = _pair()
    pan, bands = A.split(A(picture))
    inside = (..., slice(32, 128), slice(32, 136))  # what the multispectral pixels cover

    def error(x: torch.Tensor) -> float:
        return float((x - picture[inside]).square().mean())

    spread = bands.repeat_interleave(8, -2).repeat_interleave(8, -1)
    start = torch.full_like(picture, 0.5)
    start[inside] = spread
    result = solve(CGLS(A, A.join(pan, bands)), start, max_iter=30, tol=0.0)
    assert error(result.x[inside]) < 0.25 * error(spread)  # 6 dB


# Radiometry


def test_noise_from_two_points():
    a, b = noise_from_snr((128.0, 154.0), (32.0, 70.0))
    assert_allclose([32 / math.sqrt(a + 32 * b), 128 / math.sqrt(a + 128 * b)], [70, 154], rtol=1e-12)
    assert_allclose(noise_from_snr((4.0, 10.0), (16.0, 20.0)), (0, 0.04), atol=1e-15)  # photons alone
    a, b = noise_from_snr((4.0, 10.0), (16.0, 40.0))  # the same noise everywhere
    assert_allclose((a, b), (0.16, 0), atol=1e-15)


def test_noise_has_the_stated_variance():
    a, b = (0.5, 2.0), (0.03, 0.01)
    radiometry = Radiometry([4.0, 0.8], list(zip(a, b, strict=True)), bits=12)  # steps of 1/4 and 5/4
    n, levels = 400_000, (10.0, 300.0)
    for level in levels:
        signal = torch.full((2, 1, n), level, dtype=torch.float64)
        numbers = radiometry.simulate(signal, torch.Generator().manual_seed(3))
        assert torch.equal(numbers, numbers.round())
        measured = radiometry.radiance(numbers)
        for k, gain in enumerate((4.0, 0.8)):
            expected = a[k] + b[k] * level + 1 / (12 * gain**2)
            assert_allclose(float(radiometry.variance(signal)[k, 0, 0]), expected, rtol=1e-12)
            assert_allclose(float(measured[k].var()), expected, rtol=5 * math.sqrt(2 / n))
            assert abs(float(measured[k].mean()) - level) < 5 * math.sqrt(expected / n)


def test_noise_suits_a_likelihood():
    radiometry = Radiometry([4.0, 2.0], [(0.5, 0.03), (1.0, 0.0)], bits=12)
    truth = 20 + 100 * torch.rand(2, 200, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    measured = radiometry.radiance(radiometry.simulate(truth, torch.Generator().manual_seed(1)))
    a, b = radiometry.noise()
    misfit = WeightedLeastSquares(measured, 1 / (a + b * truth), ndim=3)(truth)
    assert abs(float(misfit) - 40_000) < 5 * math.sqrt(40_000)  # half of chi-square with 80 000 degrees


def test_numbers_saturate():
    radiometry = Radiometry(2.0, (0.0, 0.0), bits=8, offset=10.0)
    signal = torch.tensor([[-50.0, 0.0, 0.2, 0.3, 122.4, 122.6, 1e6]], requires_grad=True)
    numbers = radiometry.digitise(signal)
    assert numbers.tolist() == [[0, 10, 10, 11, 255, 255, 255]]
    assert radiometry.saturated(numbers).tolist() == [[False] * 4 + [True] * 3]
    assert_allclose(radiometry.radiance(numbers).detach()[0, 1:5], [0, 0, 0.5, 122.5])
    (gradient,) = torch.autograd.grad(numbers.sum(), signal)
    assert not bool(gradient.any())
    assert radiometry.to(torch.float32).simulate(signal.detach(), torch.Generator()).dtype == torch.float32


# Instruments


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_instrument_is_complete(name):
    instrument = INSTRUMENTS[name]
    bands = [*instrument.bands, *([] if instrument.panchromatic is None else [instrument.panchromatic])]
    for band in bands:
        a, b = band.noise
        for radiance, ratio in band.snr:
            assert_allclose(radiance / math.sqrt(a + b * radiance), ratio, rtol=1e-9)
        assert all(0.03 < value < 2 / math.pi for value in band.mtf.nyquist)
        assert max(radiance for radiance, _ in band.snr) < band.saturation
    assert len(instrument.weights) == (0 if instrument.panchromatic is None else len(instrument.bands))
    assert not instrument.weights or math.isclose(sum(instrument.weights), 1)
    assert instrument.sources and instrument.guesses  # none of them is public throughout


def test_sampling_distances_follow_from_the_optics():
    assert_allclose(ground_sampling(617e3, 15.92, 8e-6), 0.31, rtol=1e-3)
    assert_allclose(ground_sampling(705e3, 0.8451, 36e-6), INSTRUMENTS["landsat8"].bands[0].gsd, rtol=2e-3)
    ratios = {"sentinel2": 1, "pleiades": 4, "worldview3": 4, "landsat8": 2}
    assert {name: instrument.ratio for name, instrument in INSTRUMENTS.items()} == ratios


def test_satellite_reaches_its_signal_to_noise_ratio():
    satellite = Satellite("sentinel2", (432, 432), factor=2)
    levels = line(128, 128, 108, 103)
    scene = levels[:, None, None].expand(4, 432, 432)
    numbers = satellite.simulate(scene, torch.Generator().manual_seed(0))
    assert numbers.shape == (4, 200, 200) and int(numbers.max()) < 4096
    measured = satellite.radiometry.radiance(numbers).flatten(1)
    assert_allclose(measured.mean(1) / measured.std(1), [154, 168, 142, 174], rtol=0.02)


def test_satellite_products():
    for product, scene, image in (
        ("panchromatic", (90, 90), (29, 29)),
        ("multispectral", (8, 90, 90), (8, 29, 29)),
        ("pair", (8, 144, 144), (24, 6, 6)),
    ):
        satellite = Satellite("worldview3", scene[-2:], product, radius=8 if product != "pair" else 6)
        numbers = satellite.simulate(torch.full(scene, 120.0), torch.Generator().manual_seed(0))
        assert numbers.shape == satellite.A.codomain.shape
        assert numbers.shape[:-2] == image[:-2]
    assert math.isclose(satellite.spacing, 0.155, rel_tol=1e-3)


def test_real_scene():
    path = SHARED / "starter" / "landsat_rmnp.png"
    if not path.exists():
        pytest.skip(f"{path} is not here; set INVREG_SHARED_DATA")
    from skimage.io import imread

    scene = torch.from_numpy(imread(path)).movedim(-1, 0).double()
    scene = torch.cat([scene, scene.mean(0, keepdim=True)])
    satellite = Satellite("sentinel2", tuple(scene.shape[1:]))
    seen = satellite.A(scene)
    numbers = satellite.simulate(scene, torch.Generator().manual_seed(0))
    error = satellite.radiometry.radiance(numbers) - seen
    assert_allclose((error.square() / satellite.radiometry.variance(seen)).mean((1, 2)), 1, atol=0.04)
    assert_allclose(seen.mean((1, 2)), scene[:, 16:-16, 16:-16].mean((1, 2)), rtol=0.01)
    assert bool((seen.std((1, 2)) < scene.std((1, 2))).all())


# Wrong input


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Imager((64, 64), SOFT, 0), "factor of an Imager must be a whole number from 1 on; got 0"),
        (lambda: Imager((64, 64), SOFT, 2, tile=0), "tile of an Imager.*got 0"),
        (lambda: Imager((64, 32), SOFT, 2), r"scene \(64, 32\) is smaller than the point spread function, 33 x 33"),
        (lambda: Imager((64, 64), SOFT, 2, phase=(2.0, 0.0)), r"phase must be two numbers in \[0, factor = 2\)"),
        (lambda: Imager((64, 64), [SOFT], 2, shifts=[(0, 0)] * 2), "one MTF and one shift a band; got 1 and 2"),
        (lambda: Imager((64, 64), SOFT, 2, shifts=[(math.nan, 0)]), "a shift is two numbers of pixels.*got"),
        (lambda: Imager((64, 64, 3), SOFT, 2), r"Imager takes the shape \(h, w\)"),
        (lambda: Imager((64, 64), [], 2), "one MTF and one shift a band; got 0 and 0"),
        (lambda: PanMultispectral((99, 99), SOFT, [0.5], [SOFT] * 2), "each of the 2 bands"),
        (lambda: PanMultispectral((99, 99), SOFT, [-1, 2], [SOFT] * 2), "finite weight >= 0"),
        (lambda: PanMultispectral((99, 99), SOFT, [1, 2], [SOFT] * 2, ratio=0), "ratio of the two images.*got 0"),
        (
            lambda: noise_from_snr((10.0, -5.0), (20.0, 9.0)),
            "both positive and finite; got radiance 10.0 with ratio -5.0",
        ),
        (lambda: noise_from_snr((10.0, 5.0), (10.0, 9.0)), "two different radiances; got 10.0 twice"),
        (lambda: noise_from_snr((10.0, 50.0), (20.0, 55.0)), "negative variance in the dark"),
        (lambda: noise_from_snr((10.0, 50.0), (20.0, 150.0)), "less noise where there is more light"),
        (lambda: Radiometry(1.0, (0.1, 0.1), bits=0), "bits must be a whole number from 1 to 24.*got 0"),
        (lambda: Radiometry([1.0, 1.0], [(0.1, 0.1)], bits=8), "sequences of as many"),
        (lambda: Radiometry(0.0, (0.1, 0.1), bits=8), "gains must be positive"),
        (lambda: Radiometry(1.0, (-0.1, 0.1), bits=8), "takes a and b from 0 on"),
        (lambda: Radiometry(1.0, (0.1, 0.1), bits=8, offset=300), r"offset must lie in \[0, 255\)"),
        (lambda: Radiometry([1.0] * 3, [(0.1, 0)] * 3, bits=8).digitise(torch.zeros(4, 5, 5)), r"\(\*batch, 3, h, w\)"),
        (lambda: Satellite("spot", (64, 64)), "instruments are 'sentinel2'.*got 'spot'"),
        (lambda: Satellite("sentinel2", (64, 64), "pair"), "no panchromatic band"),
        (lambda: Satellite("pleiades", (64, 64), "both"), "products are.*got 'both'"),
    ],
)
def test_wrong_input(make, words):
    with pytest.raises(ValueError, match=words) as error:
        make()
    assert "\n" not in str(error.value)
