"""What the order of a Sobolev misfit is good for: noise of its colour, early stopping, shifted waves, scans."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from phantoms import ellipse_sinogram
from scans import BINS, CENTRE, PIXEL, degrees, ellipses, truth

from invreg.cli import main
from invreg.core import solve
from invreg.operators import BesselPotential, Blur, Parallel2D, Sobolev, psf
from invreg.priors import TV
from invreg.solvers import ADMM, PDHG, Landweber

F64 = torch.float64


def photograph(n: int) -> torch.Tensor:
    from skimage.data import camera
    from skimage.transform import resize

    return torch.from_numpy(resize(camera(), (n, n), anti_aliasing=True)).double()


def psnr(x: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return -10 * (x - truth).square().mean((-1, -2)).log10()


def test_denoising_is_best_by_the_misfit_of_the_noise():
    n, weights = 64, 0.05 * 1.4 ** torch.arange(-4.0, 4.0, dtype=F64)
    image, zero = photograph(n), torch.zeros(n, n, dtype=F64)
    best = {}
    for colour in (-0.5, 0.0):
        noise = Sobolev(zero, colour, std=1.0).sample(zero, torch.Generator().manual_seed(0))
        y = (image + 0.12 * image.norm() / noise.norm() * noise).float()
        for s in (-0.5, -0.25, 0.0, 0.25, 0.5):
            solver = PDHG([Sobolev(y, s, normalise=True), weights * TV((n, n))])
            x = solve(solver, y.expand(len(weights), n, n).clone(), max_iter=150, tol=2e-3).x
            values = psnr(x, image)
            assert 0 < int(values.argmax()) < len(weights) - 1  # each order at its best weight
            best[colour, s] = float(values.max())
    for colour in (-0.5, 0.0):
        order = max((-0.5, -0.25, 0.0, 0.25, 0.5), key=lambda s: best[colour, s])
        assert abs(order - colour) <= 0.25, best
    assert all(best[-0.5, s] < max(best[-0.5, -0.5], best[-0.5, -0.25]) - 0.5 for s in (0.25, 0.5)), best


@pytest.mark.parametrize(("boundary", "s"), [("periodic", -0.5), ("cosine", 0.4)])
def test_admm_and_pdhg_agree_on_denoising_by_total_variation(boundary, s):
    n = 16
    y = photograph(n) + 0.07 * torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=F64)
    terms = [Sobolev(y, s, boundary=boundary, normalise=True), 0.05 * TV((n, n))]
    one, two = (solve(solver(terms), y, max_iter=20000, tol=1e-6) for solver in (PDHG, ADMM))
    assert one.status == two.status == "converged"
    torch.testing.assert_close(two.x, one.x, rtol=0, atol=2e-3)
    values = [float((terms[0] + terms[1])(r.x)) for r in (one, two)]
    assert values[0] == pytest.approx(values[1], rel=2e-6)


def test_negative_orders_bear_too_many_iterations():
    n = 64
    image, A = photograph(n).float(), Blur(psf.gaussian(2.0).float(), (n, n))
    noise = torch.randn(n, n, generator=torch.Generator().manual_seed(0))
    y = A(image) + 0.05 * image.norm() / noise.norm() * noise
    after = {}
    for s in (-0.25, 0.0, 0.25):
        tau = 1 / (BesselPotential((n, n), -s / 2) @ A).norm() ** 2
        result = solve(Landweber(Sobolev(y, s) @ A, tau), torch.zeros(n, n), max_iter=100, tol=0.0, every=100)
        after[s] = float(psnr(result.x, image))
    assert after[-0.25] > after[0.0] + 0.5 and after[0.0] > after[0.25] + 0.5, after


def test_the_basin_of_a_shifted_wave_widens_as_the_order_falls():
    """In periods of a Ricker wave of 5 Hz over 4 s, against values of an independent computation."""
    t = 4 * (torch.arange(2048, dtype=F64) / 2048 - 0.5)
    shifts = torch.linspace(0, 1, 1001, dtype=F64)

    def ricker(t: torch.Tensor) -> torch.Tensor:
        a = (torch.pi * 5 * t).square()
        return (1 - 2 * a) * (-a).exp()

    for s, expected in ((1.0, 0.37), (0.0, 0.43), (-0.5, 0.48), (-1.0, 0.55), (-2.0, 1.11)):
        f = Sobolev(ricker(t), s, length=4.0, ndim=1)
        value = f(ricker(t - shifts[:, None]))
        falls = ((value / value.max()).diff() < -1e-8).nonzero()
        assert 5 * float(shifts[falls[0]]) == pytest.approx(expected, abs=0.0101)


# the command line


def write_scan(path: Path, colour: float, rows: int = 1, level: float = 0.03) -> Path:
    """Line integrals whose noise, `level` of the largest, has the order `colour` along the detector."""
    g = Parallel2D(np.deg2rad(degrees()), BINS, PIXEL, CENTRE, "mm")
    clean = np.stack([ellipse_sinogram(ellipses(r), g, average_bins=True) for r in range(rows)], axis=1)
    zero = torch.zeros(clean.shape, dtype=F64)
    law = Sobolev(zero, colour, length=float(BINS), boundary="cosine", axes=-1, ndim=3, std=level * clean.max())
    y = clean + law.sample(zero, torch.Generator().manual_seed(0)).numpy()
    np.savez(path, projections=y.astype(np.float32), angles=degrees(), pixel_size=PIXEL, unit="mm")
    return path


KNOWN = ("--kind", "line integrals", "--centre", CENTRE)


def run(capsys, scan: Path, out: Path, *flags: object) -> tuple[dict, np.ndarray]:
    import tifffile

    code = main(["reconstruct", *map(str, (scan, "--json", "--out", out, *KNOWN, *flags))])
    assert code in (0, 3)  # 3: stopped at the few iterations that it is given here
    return json.loads(capsys.readouterr().out), np.atleast_3d(tifffile.imread(out / "volume.tif").T).T


def test_reconstruct_with_the_colour_of_blue_noise(tmp_path, capsys):
    scan = write_scan(tmp_path / "scan.npz", -0.7, rows=2)
    # of one weight: where the noise is blue the discrepancy hardly tells weights apart
    short = ("--lambda", "3e-4", "--set", "solver.max_iter=300", "--set", "solver.tol=0.01")
    plain, first = run(capsys, scan, tmp_path / "plain", *short)
    auto, second = run(capsys, scan, tmp_path / "auto", "--misfit", "sobolev", "--set", "compute.batch=1", *short)
    assert plain["misfit"] is None and auto["misfit"]["s"] == pytest.approx(-0.7, abs=0.3)
    assert "from the spectrum of a least-squares residual" in auto["misfit"]["reason"]
    errors = [np.linalg.norm(image - truth()[:2]) for image in (first, second)]
    assert errors[1] < 0.95 * errors[0]
    recipe = (tmp_path / "auto" / "recipe.toml").read_text()
    assert tomllib.loads(recipe)["misfit"] == {"kind": "sobolev", "s": "auto"}
    assert f"chosen: {auto['misfit']['s']!r}" in recipe
    assert "order s of the Sobolev misfit" in (tmp_path / "auto" / "report.html").read_text()


def test_red_noise_is_left_to_least_squares_unless_told(tmp_path, capsys):
    scan, few = write_scan(tmp_path / "scan.npz", 1.0), ("--set", "solver.max_iter=20", "--set", "solver.tol=1")
    done, _ = run(capsys, scan, tmp_path / "auto", "--recipe", "svtv", "--misfit", "sobolev", *few)
    assert done["misfit"]["s"] == 0 and "red noise" in done["misfit"]["reason"]
    done, _ = run(capsys, scan, tmp_path / "told", "--misfit", "sobolev", "--s", "0.8", "--lambda", "0.1", *few)
    assert done["misfit"] == {"s": 0.8, "reason": "given"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--recipe", "fbp", "--misfit", "sobolev"), "recipes tv and svtv, not with fbp"),
        (("--recipe", "cgls", "--misfit", "sobolev"), "recipes tv and svtv, not with cgls"),
        (("--misfit", "sobolev", "--s", "1.5"), "--s: misfit.s takes .* a number < 1.5, .* got 1.5"),
        (("--misfit", "sobolev", "--s", "nan"), "--s: misfit.s takes .* got nan"),
        (("--misfit", "sobolev", "--s", "blue"), "got 'blue'"),
        (("--s", "0.5"), "least squares has no order s = 0.5; add --misfit sobolev"),
        (("--misfit", "laplace"), "--misfit: misfit.kind takes least squares, .* or sobolev.* got 'laplace'"),
    ],
)
def test_wrong_misfits_are_refused_in_one_sentence(tmp_path, capsys, flags, words):
    scan = write_scan(tmp_path / "scan.npz", 0.0)
    assert main(["reconstruct", *map(str, (scan, "--out", tmp_path / "out", *KNOWN, *flags))]) == 2
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1 and re.search(words, told) and not (tmp_path / "out").exists()
