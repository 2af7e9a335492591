"""Corrections against constructed truth: analytic ellipses, known beams, stripes, bad pixels and noise."""

import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from phantoms import ellipse_sinogram, random_ellipses, scaled

from invreg.io import InputError, Scan, correct, line_integral_std, read
from invreg.io.centre import find_centre, truncation
from invreg.io.flatfield import line_integrals, transmission
from invreg.io.noise import by_bins, by_consistency
from invreg.io.pixels import dead_and_hot, fill
from invreg.io.rings import remove_stripes
from invreg.io.select import binned, cropped, rows, views
from invreg.operators.tomography import fbp
from invreg.operators.tomography.geometry import FanBeam2D, Parallel2D

SHARED = Path(os.environ.get("INVREG_SHARED_DATA", Path(__file__).parents[1].parent / "shared/data"))
DATA = Path(__file__).parents[1] / "data"


def ellipses(
    seed=0, count=90, bins=160, radius=60.0, centre=85.3, span=180.0, noise=0.0, level=1.5, row_count=1
) -> tuple[np.ndarray, np.ndarray]:
    """Line integrals (angle, row, detector) of random ellipses with peak `level`, white noise as a share, angles."""
    rng = np.random.default_rng(seed)
    g = Parallel2D(np.deg2rad(np.arange(count) * span / count), bins, 1.0, centre)
    objects = [scaled(random_ellipses(seed + r, 12), radius) for r in range(row_count)]
    p = np.stack([ellipse_sinogram(e, g, average_bins=True) for e in objects], 1)
    p *= level / p.max()
    return (p + noise * level * rng.standard_normal(p.shape)).astype(np.float32), g.angles


def counted(p, angles, photons=2e4, seed=0, flat_count=20, dark_count=20, **fields) -> Scan:
    """Counts behind line integrals p: photon noise of that many photons, gain 0.5 a photon, read noise 3 counts."""
    rng = np.random.default_rng(seed)
    beam = photons * (1 - 0.3 * np.linspace(-1, 1, p.shape[2]) ** 2)
    gain, dark = 0.5 * rng.normal(1, 0.02, p.shape[1:]), rng.normal(100, 2, p.shape[1:])

    def count(share):
        return gain * rng.poisson(beam * share) + dark + rng.normal(0, 3, share.shape)

    flats, darks = (count(k * np.ones((n, *p.shape[1:]))) for k, n in ((1, flat_count), (0, dark_count)))
    return Scan(count(np.exp(-p.astype(np.float64))), angles, "counts", flats, darks, **fields)


# counts to line integrals


def test_flat_and_dark_correction_is_exact_without_noise():
    p, angles = ellipses(row_count=2)
    rng = np.random.default_rng(1)
    beam, dark = rng.uniform(1e4, 2e4, (1, *p.shape[1:])), rng.uniform(50, 150, (1, *p.shape[1:]))
    counts = (beam * np.exp(-p) + dark).astype(np.float32)
    flats, darks = (np.repeat(v, 3, 0).astype(np.float32) for v in (beam + dark, dark))
    t, blind = transmission(counts, flats, darks)
    assert not blind.any()
    np.testing.assert_allclose(t, np.exp(-p), rtol=1e-4)
    np.testing.assert_allclose(line_integrals(t, 1e-3)[0], p, atol=1e-4)
    np.testing.assert_allclose(correct(Scan(counts, angles, "counts", flats, darks)).projections, p, atol=1e-4)
    without = transmission(counts, flats, None)[0]
    np.testing.assert_allclose(without, counts / flats[0], rtol=1e-6)


def test_logarithm_stops_at_the_floor_and_counts():
    t = np.array([[[1.0, 0.5, 1e-3, 1e-4, 0.0, -0.2, np.nan]]], np.float32)
    p, clipped = line_integrals(t, 1e-3)
    np.testing.assert_allclose(p[0, 0, :6], [0, np.log(2), *4 * [np.log(1000)]], rtol=1e-6)
    assert clipped.sum() == 3 and np.isnan(p[0, 0, 6])
    for floor in (0.0, 1.0, np.nan):
        with pytest.raises(InputError, match="between 0 and 1"):
            line_integrals(t, floor)
    scan = correct(Scan(np.repeat(t, 3, 0), np.arange(3.0), "transmission"), floor=1e-3, centre=3)
    assert (
        any("9 values of the transmission" in w for w in scan.warnings)
        and "floor 0.001" in scan.sources["line integrals"]
    )


def test_counts_without_flats_are_refused():
    with pytest.raises(InputError, match=r'counts without flats.*kind="transmission"'):
        correct(Scan(np.ones((3, 1, 8)), np.arange(3.0), "counts"))


def test_correct_keeps_line_integrals_and_says_what_it_did():
    p, angles = ellipses()
    scan = Scan(p, angles, "line integrals", centre=85.3)
    done = correct(scan)
    assert np.array_equal(done.projections, p) and done.centre == 85.3 and done.mask is None
    assert torch.equal(done.sinogram[0], torch.from_numpy(p[:, 0]))
    raw = counted(p, angles)
    done = correct(raw)
    assert done.kind == "line integrals" and done.flats is raw.flats and raw.kind == "counts"
    assert {"transmission", "line integrals", "bad pixels", "centre"} <= set(done.sources)
    assert correct(raw, centre=80.0).centre == 80.0


# bad pixels


def test_dead_and_hot_pixels_are_found_and_no_others():
    p, angles = ellipses(row_count=3)
    scan = counted(p, angles, seed=4)
    flats, darks = scan.flats.copy(), scan.darks.copy()
    dead, hot = np.zeros((2, *p.shape[1:]), bool)
    dead[[0, 1, 1], [40, 0, 99]], hot[[1, 2], [70, 159]] = True, True
    flats[:, dead] = darks[:, dead]
    flats[:, hot] += 5000
    darks[:, hot] += 5000
    found_dead, found_hot = dead_and_hot(flats, darks)
    assert np.array_equal(found_dead, dead) and np.array_equal(found_hot, hot)
    found_dead, found_hot = dead_and_hot(scan.flats, scan.darks)
    assert not found_dead.any() and not found_hot.any()


def test_bad_pixels_are_filled_with_about_what_had_been_there():
    p, angles = ellipses(row_count=2)
    scan = counted(p, angles, photons=1e6)
    projections, flats = scan.projections.copy(), scan.flats.copy()
    flats[:, 0, 40] = scan.darks[:, 0, 40]
    projections[:, 0, 40] = scan.darks[0, 0, 40]
    projections[5, 1, 60:62] = np.nan
    bad = correct(replace(scan, projections=projections, flats=flats), centre=85.3)
    expected = np.zeros(p.shape, bool)
    expected[:, 0, 40] = expected[5, 1, 60:62] = True
    assert np.array_equal(bad.mask, expected) and "1 dead, 0 hot" in bad.sources["bad pixels"]
    assert f"{expected.sum()} bad values" in bad.sources["filled"]
    assert np.abs(bad.projections - p)[expected].max() < 0.15 and np.isfinite(bad.projections).all()
    np.testing.assert_allclose(bad.projections[~expected], correct(scan, centre=85.3).projections[~expected])


def test_filling_is_linear_and_takes_the_nearest_at_the_ends():
    line = np.array([9.0, 1, 9, 9, 4, 9], np.float32)[None, None]
    bad = np.array([1, 0, 1, 1, 0, 1], bool)[None, None]
    np.testing.assert_allclose(fill(line, bad)[0, 0], [1, 1, 2, 3, 4, 4])
    assert not fill(line, np.ones_like(bad)).any() and line[0, 0, 0] == 9


# stripes


@pytest.mark.parametrize("count", [180, 60])
def test_stripes_fall_to_less_than_half_and_noise_stays(count):
    truth, _ = ellipses(count=count, bins=320, radius=120, centre=170.3)
    noisy, _ = ellipses(count=count, bins=320, radius=120, centre=170.3, noise=0.005)
    rng = np.random.default_rng(3)
    stripes = np.zeros(320, np.float32)
    stripes[rng.choice(320, 20, replace=False)] = rng.normal(0, 0.06, 20)
    before, after = np.linalg.norm(noisy + stripes - truth), np.linalg.norm(remove_stripes(noisy + stripes) - truth)
    noise = np.linalg.norm(noisy - truth)
    assert after**2 - noise**2 < 0.25 * (before**2 - noise**2)  # the stripes' own energy
    assert np.linalg.norm(remove_stripes(noisy) - noisy) < 0.15 * noise  # without stripes nearly nothing happens


def test_rings_in_the_image_fade():
    truth, angles = ellipses(count=180, radius=60, noise=0.002)
    stripes = np.zeros(160, np.float32)
    stripes[[60, 75, 101]] = [0.1, -0.08, 0.12]
    scan = Scan(truth + stripes, angles, "line integrals", centre=85.3)

    def image(values):
        return fbp(torch.from_numpy(values[:, 0]), scan.geometry, (160, 160))

    clean = image(truth)
    rings = (image(scan.projections) - clean).norm()
    assert (image(correct(scan, rings=True).projections) - clean).norm() < 0.3 * rings


# rotation centre


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("case", "within"),
    [
        ({}, 0.1),
        ({"centre": 70.25}, 0.1),
        ({"span": 360.0, "count": 91}, 0.1),
        ({"count": 30, "noise": 0.003}, 0.25),
        ({"count": 20, "noise": 0.003}, 0.25),
    ],
    ids=["half turn", "off the middle", "full turn", "30 views", "20 views"],
)
def test_centre_of_whole_objects(seed, case, within):
    settings = {"noise": 0.01, "centre": 85.3} | case
    p, angles = ellipses(seed, row_count=2, **settings)
    found, sure, why = find_centre(p, angles)
    assert sure and abs(found - settings["centre"]) < within, why


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bins", [160, 120])
def test_centre_of_truncated_objects_in_half_a_turn(seed, bins):
    """An object of radius 110 on a detector of half-width 80 or 60."""
    p, angles = ellipses(seed, count=180, bins=bins, radius=110.0, centre=bins / 2 + 5.3, noise=0.005, row_count=2)
    assert truncation(p) > 0.1
    found, sure, why = find_centre(p, angles)
    assert abs(found - bins / 2 - 5.3) < 0.25 if sure else "±" in why, (found, why)
    assert abs(found - bins / 2 - 5.3) < 0.25, why


def test_centre_does_not_mind_a_flickering_source():
    p, angles = ellipses(noise=0.005)
    flicker = 0.03 * np.random.default_rng(0).standard_normal((len(p), 1, 1)).astype(np.float32)
    found, sure, why = find_centre(p + flicker, angles)
    assert sure and abs(found - 85.3) < 0.15, why


@pytest.mark.parametrize("seed", range(3))
def test_centre_is_unsure_where_the_views_cannot_tell(seed):
    quarter, angles = ellipses(seed, count=45, span=90.0, noise=0.01)
    found, sure, why = find_centre(quarter, angles)
    assert not sure and "set centre=" in why
    done = correct(Scan(quarter, angles, "line integrals"))
    assert any("rotation centre unsure" in w for w in done.warnings) and done.centre == found
    for nothing in (np.zeros((60, 1, 100), np.float32), np.ones((3, 1, 9), np.float32)):
        found, sure, why = find_centre(nothing, np.arange(len(nothing)) * np.pi / len(nothing))
        assert not sure and np.isfinite(found), why
    noise = np.random.default_rng(seed).standard_normal((60, 1, 100)).astype(np.float32)
    assert not find_centre(noise, np.arange(60) * np.pi / 60)[1]


def tooth(**choice):
    path = SHARED / "ct/tooth.h5"
    if not path.exists():
        pytest.skip(f"{path} is not here; set INVREG_SHARED_DATA")
    return read(path, **choice)


@pytest.mark.parametrize("count", [181, 90, 45, 30, 20])
def test_centre_of_the_tooth_with_few_views(count):
    """Near 296; filtered back-projections of all views are least negative at 295.9."""
    done = correct(tooth(views=count))
    assert abs(done.centre - 295.9) < 0.25 and not done.warnings, done.sources["centre"]


@pytest.mark.parametrize("part", [slice(200, 400), slice(180, 390)])
def test_centre_of_a_part_of_the_tooth(part):
    done = cropped(correct(tooth(), centre=0.0), part.start, part.stop)
    assert truncation(done.projections) > 0.05
    found, sure, why = find_centre(done.projections, done.angles)
    assert sure and abs(found + part.start - 295.9) < 0.25, why


def test_centre_of_the_shipped_scan_is_the_true_one():
    scan = correct(read(DATA / "thorax_lowdose.h5"))
    with h5py.File(DATA / "thorax_lowdose.h5") as file:
        true = file["truth"].attrs["centre"]
    assert abs(scan.centre - true) < 0.1 and "2 dead, 1 hot" in scan.sources["bad pixels"]


# noise


@pytest.mark.parametrize("photons", [5e3, 1e5])
def test_noise_from_the_flats_is_the_true_one(photons):
    p, angles = ellipses(count=180, row_count=3, level=2.0)
    p[:, 2] *= 2  # one row is noisier
    scan = counted(p, angles, photons)
    done = correct(scan, floor=1e-4, centre=85.3)
    true = (done.projections - p).std((0, 2))
    for one in (scan, done):
        std, why = line_integral_std(one)
        np.testing.assert_allclose(std, true, rtol=0.05)
        assert "from 20 flats" in why


def test_gain_and_read_noise_in_words():
    p, angles = ellipses(count=20)
    _, why = line_integral_std(counted(p, angles, photons=300.0, flat_count=60, dark_count=60))
    assert float(why.split("flats: ")[1].split()[0]) == pytest.approx(0.5, rel=0.05), why
    assert float(why.split("read noise ")[1].split()[0]) == pytest.approx(3, rel=0.05), why


@pytest.mark.parametrize("count", [180, 30])
def test_noise_from_the_sinogram_is_the_true_one(count):
    p, angles = ellipses(count=count, bins=320, radius=120, centre=170.3, row_count=2, noise=0.01)
    true = np.full(2, 0.015)
    np.testing.assert_allclose(by_bins(p), true, rtol=0.15)
    np.testing.assert_allclose(by_consistency(p, angles, 170.3, by_bins(p)), true, rtol=0.1)
    std, why = line_integral_std(Scan(p, angles, "line integrals"))
    assert np.array_equal(std, by_bins(p)) and "neighbouring bins" in why


def test_noise_from_how_views_fit_together_sees_a_flickering_source():
    exact, angles = ellipses(count=90, bins=320, radius=120, centre=170.3)
    p = ellipses(count=90, bins=320, radius=120, centre=170.3, noise=0.01)[0]
    p = p * (1 + 0.04 * np.random.default_rng(0).standard_normal((90, 1, 1))).astype(np.float32)
    true = np.sqrt(((p - exact) ** 2).mean())
    std, why = line_integral_std(Scan(p, angles, "line integrals", centre=170.3))
    assert std[0] == pytest.approx(true, rel=0.1) and "fit together" in why
    assert by_bins(p)[0] < 0.9 * true  # which the bins alone do not show


# choosing


def whole() -> Scan:
    p, angles = ellipses(count=12, bins=30, radius=12, centre=15.25, row_count=4)
    mask = np.zeros(p.shape, bool)
    mask[3, 1, 4] = True
    return replace(counted(p, angles), centre=15.25, pixel_size=0.5, unit="mm", mask=mask)


def test_rows_views_and_crops_take_everything_along():
    scan = whole()
    some = rows(scan, slice(1, 3))
    assert np.array_equal(some.flats, scan.flats[:, 1:3]) and some.mask.sum() == 1 and some.centre == 15.25
    few = views(scan, 4)
    assert np.array_equal(few.angles, scan.angles[::3]) and np.array_equal(few.mask, scan.mask[::3])
    assert few.flats is scan.flats and np.array_equal(views(scan, [5, 2]).projections, scan.projections[[5, 2]])
    part = cropped(scan, 5, 25)
    assert part.centre == 10.25 and part.geometry.positions == pytest.approx(scan.geometry.positions[5:25])
    assert np.array_equal(part.darks, scan.darks[..., 5:25])
    for choose in (lambda: rows(scan, slice(9, 12)), lambda: views(scan, 13), lambda: cropped(scan, 8, 31)):
        with pytest.raises(InputError):
            choose()


def test_bins_are_means_at_the_right_places():
    scan = whole()
    half = binned(scan, 4)
    assert half.projections.shape == (12, 4, 7) and half.pixel_size == 2.0 and half.flats.shape == (20, 4, 7)
    middles = scan.geometry.positions[:28].reshape(7, 4).mean(1)
    np.testing.assert_allclose(half.geometry.positions, middles, atol=1e-12)
    np.testing.assert_allclose(half.projections[0, 0, 2], scan.projections[0, 0, 8:12].mean(), rtol=1e-6)
    np.testing.assert_allclose(half.projections[3, 1, 1], scan.projections[3, 1, 5:8].mean(), rtol=1e-6)  # masked one
    assert half.mask is None and binned(scan, 1, 2).projections.shape == (12, 2, 30)
    with pytest.raises(InputError):
        binned(scan, 31)


def test_binned_line_integrals_are_those_of_wide_bins():
    coarse = Parallel2D(np.arange(5.0), 40, 4.0, 20.1)
    fine = Parallel2D(np.arange(5.0), 160, 1.0, 20.1 * 4 + 1.5)
    e = scaled(np.array([[1.0, 0.1, 0.2, 0.5, 0.4, 0.3]]), 60.0)
    p = ellipse_sinogram(e, fine, average_bins=True)[:, None]
    scan = binned(Scan(p, np.arange(5.0), "line integrals", centre=fine.centre), 4)
    assert scan.centre == pytest.approx(20.1) and scan.geometry.pitch == 4
    np.testing.assert_allclose(scan.projections[:, 0], ellipse_sinogram(e, coarse, average_bins=True), atol=1e-4)


# fan beam


def fan_integrals(e, g: FanBeam2D) -> np.ndarray:
    """Exact line integrals (angle, detector) of ellipses along the rays from the source to the middle of each bin."""
    a = g.angles[:, None]
    source = g.source_origin * np.stack([np.sin(a), -np.cos(a)])
    along = g.source_detector * np.stack([-np.sin(a), np.cos(a)])
    d = along + (np.arange(g.detectors) - g.centre) * g.pitch * np.stack([np.cos(a), np.sin(a)])
    d = d / np.linalg.norm(d, axis=0)
    p = np.zeros(g.shape)
    for value, cx, cy, half_a, half_b, phi in e:
        turn = np.array([[np.cos(phi), np.sin(phi)], [-np.sin(phi), np.cos(phi)]]) / [[half_a], [half_b]]
        o, v = (np.tensordot(turn, w, 1) for w in (source - np.array([cx, cy])[:, None, None], d))
        vv, ov, oo = (v * v).sum(0), (o * v).sum(0), (o * o).sum(0)
        p += value * 2 * np.sqrt(np.clip(ov**2 - vv * (oo - 1), 0, None)) / vv
    return p


def test_a_fan_far_away_is_parallel():
    angles = np.arange(90) * 2 * np.pi / 90
    fan, parallel = FanBeam2D(angles, 80, 1.0, 39.5, "mm", 1e5, 1e5), Parallel2D(angles, 80, 1.0, 39.5, "mm")
    e = scaled(random_ellipses(1, 5), 30.0)
    exact = ellipse_sinogram(e, parallel)
    assert np.linalg.norm(fan_integrals(e, fan) - exact) < 2e-3 * np.linalg.norm(exact)
