"""invreg tune: a weight that is found again, a recipe that is taken, and errors in one sentence."""

import json
import math

import h5py
import numpy as np
import pytest
import scans
import tifffile
import torch

from invreg import tune
from invreg.cli import main
from invreg.operators import LeastSquares
from invreg.operators.tomography import fbp
from invreg.priors import SmoothTV
from invreg.recipes import RECIPES, Recipe, Reconstruction, Weight
from invreg.recipes.tv import first_weight
from invreg.solvers import Variational
from invreg.solvers.bilevel import descend
from invreg.verbs import tune as verb

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def scan(tmp_path):
    return scans.write_scan(tmp_path / "scan.h5", **scans.arrays(noise=1.0))


@pytest.fixture
def quick(monkeypatch):
    """A linear recipe: filtered back-projection, shrunk and smoothed more the greater its weight."""

    def run(A, y, config, std, progress):
        weight = config.prior.weight
        if weight == "auto":
            return Reconstruction(y, "converged", "", weight=Weight(0.5, "as large as the noise", [{"weight": 0.5}]))
        x = fbp(y, A.geometry, A.domain.shape, A.pixel_size, A=A)
        f = torch.fft.fftfreq(x.shape[-1]) ** 2
        low = 1 / (1 + weight * (f[:, None] + f[None]))
        return Reconstruction(torch.fft.ifft2(low * torch.fft.fft2(x)).real, "converged", "")

    monkeypatch.setitem(RECIPES, "quick", Recipe("quick", "of the tests", run, weighted=True))


def told(capsys, *args) -> dict:
    assert main(["tune", *map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("method", ["discrepancy", "gcv", "sure", "lcurve"])
def test_a_weight_for_each_file_and_a_recipe(method, scan, quick, tmp_path, capsys):
    other = scans.write_scan(tmp_path / "other.h5", **scans.arrays(noise=3.0))
    out = tmp_path / "found.toml"
    found = told(capsys, scan, other, "--recipe", "quick", "--method", method, "--out", out)
    weights = [one["weight"] for one in found["files"]]
    assert [one["file"] for one in found["files"]] == [str(scan), str(other)]
    assert found["lambda"] == pytest.approx(math.sqrt(weights[0] * weights[1]), rel=1e-12)
    assert all(one["weight"] in [t["weight"] for t in one["trials"]] for one in found["files"])
    assert all(one["row"] == 1 and one["reason"] for one in found["files"])
    text = out.read_text()
    assert f"lambda = {found['lambda']!r}" in text and "scan.h5, other.h5" in text and "\nfile" not in text
    assert main(["plan", str(scan), "--recipe", str(out)]) == 0
    if method in ("gcv", "sure"):
        assert weights[1] > weights[0], "three times the noise asks for more"


def test_the_recipe_is_taken_by_reconstruct(scan, tmp_path, capsys):
    """Total variation itself; the weight of the report is that of the recipe."""
    out = tmp_path / "found.toml"
    given = (scan, "--size", "24", "--views", "12", "--set", "solver.max_iter=60", "--set", "solver.tol=0.5")
    found = told(capsys, *given, "--method", "gcv", "--out", out)
    made = ["reconstruct", str(scan), "--recipe", str(out), "--rows", "1:2", "--out", str(tmp_path / "result")]
    assert main([*made, "--json", "--quiet"]) in (0, 3)
    assert f"lambda = {found['lambda']!r}" in (tmp_path / "result" / "recipe.toml").read_text()
    assert (found["method"], found["recipe"]) == ("gcv", "tv")


def simulated(tmp_path, name, seed, *more):
    image = tmp_path / f"{name}.tif"
    rng = np.random.default_rng(seed)
    x = np.zeros((24, 24), np.float32)
    for top, left, h, w in rng.integers(4, 10, (3, 4)):
        x[top : top + h, left : left + w] += 0.5
    tifffile.imwrite(image, x)
    path = tmp_path / f"{name}.h5"
    words = ["--operator", "parallel", "views=16", "--noise", "gaussian", "percent=3", "--out", str(path)]
    assert main(["simulate", str(image), *words, *more]) == 0
    return path


@pytest.mark.parametrize("factor", [1 / 20, 20])
def test_one_weight_is_learned_for_all(factor, tmp_path, capsys, monkeypatch):
    """From a start far too small or too large: within 0.02 dB of the best of a grid, by the smoothed problem.

    The grid is solved far more exactly than PSNR needs: at a gradient of 1e-4 of the first one it is off by 0.1 dB.
    """
    files = [simulated(tmp_path, name, k, "--keep-truth") for k, name in enumerate("ab")]
    capsys.readouterr()
    rows, usual, row_of = [], [], tune._row
    monkeypatch.setattr(tune, "_row", lambda config: rows.append(row_of(config)) or rows[-1])
    monkeypatch.setattr(tune, "first_weight", lambda A, std: usual.append(first_weight(A, std)) or factor * usual[0])
    found = told(capsys, *files, "--method", "maid")
    (learned,) = {one["weight"] for one in found["files"]}
    assert "learned from 2 truths" in found["files"][0]["reason"] and "(converged)" in found["files"][0]["reason"]
    assert found["files"][0]["trials"][-1]["lower_steps"] < 5000
    A = rows[0].A
    y, truth = torch.cat([row.y for row in rows]).double(), torch.cat([row.truth for row in rows]).double()

    def quality(weight: float) -> float:
        prior = SmoothTV(A.domain.shape, weight, 1e-2 * float(truth.max()))
        lower = Variational(LeastSquares(y) @ A, lambda theta: prior, ridge=1e-3 * A.norm() ** 2)
        zero, theta = torch.zeros_like(truth), torch.zeros(1, dtype=torch.float64)
        x = descend(lower, zero, theta, 1e-7 * float(lower.grad_x(zero, theta).norm()), 5000).x
        return float(-10 * (x - truth).square().mean().log10())  # of all together, as is learned

    best = max(quality(usual[0] * 2.0**k) for k in np.arange(-3, 1.5, 0.25))
    assert quality(factor * usual[0]) < best - 0.5, "the start was good enough: nothing is shown"
    assert quality(learned) > best - 0.02, best


def refused(capsys, *args) -> str:
    assert main(["tune", *map(str, args)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1, message
    return message


def test_what_is_refused(scan, tmp_path, capsys):
    assert "no weight of a prior" in refused(capsys, scan, "--recipe", "fbp")
    assert "tv, svtv" in refused(capsys, scan, "--recipe", "cgls")
    assert "no truth is stored" in refused(capsys, scan, "--method", "maid")
    assert "learns the weight of tv" in refused(capsys, scan, "--method", "maid", "--recipe", "svtv")
    assert "there is no such method" in refused(capsys, scan, "--method", "best")
    assert "no FILE given" in refused(capsys)
    assert "ends in .toml" in refused(capsys, scan, "--out", tmp_path / "x.json")
    there = tmp_path / "there.toml"
    there.write_text("kept")
    assert "exists already" in refused(capsys, scan, "--out", there) and there.read_text() == "kept"
    assert "none.h5" in refused(capsys, tmp_path / "none.h5")


def test_a_noise_level_that_is_unknown_is_said(scan, quick, capsys, monkeypatch):
    batch = tune.prepare.batch

    def unknown(*args):
        A, y, std, warnings = batch(*args)
        return A, y, std * math.nan, warnings

    monkeypatch.setattr(tune.prepare, "batch", unknown)
    assert "noise level is unknown" in refused(capsys, scan, "--recipe", "quick", "--method", "sure")


def test_values_that_are_not_finite_are_said(tmp_path, capsys):
    file = simulated(tmp_path, "a", 0, "--keep-truth")
    with h5py.File(file, "r+") as f:
        truth = f["truth"][()]
        truth[...] = np.nan
        f["truth"][...] = truth
    capsys.readouterr()
    assert "the truth of row 0 holds values that are not finite" in refused(capsys, file, "--method", "maid")


def test_files_of_other_geometries_are_refused(tmp_path, capsys):
    files = [simulated(tmp_path, "a", 0, "--keep-truth"), simulated(tmp_path, "b", 1, "--keep-truth")]
    capsys.readouterr()
    with h5py.File(files[1], "r+") as f:
        angles = next(f[key] for key in f if "angle" in key)
        angles[...] = angles[()] * 0.99
    assert "not the geometry of" in refused(capsys, *files, "--method", "maid")


def test_the_methods_of_the_command_line_are_those_there_are():
    assert verb.METHODS == tune.METHODS


def test_the_noise_of_counted_rays_follows_their_number():
    """The spread of -log(photons) of many draws, ray by ray."""
    generator = torch.Generator().manual_seed(0)
    exact = torch.tensor([[[0.0, 1.0, 2.0, 3.0]]])
    photons = 1e4 * torch.exp(-exact)
    drawn = -torch.log(torch.poisson(photons.expand(4000, 1, 4), generator) / 1e4)
    spread = drawn.std(0)[None]
    row = tune.Row("", 0, None, exact, spread.square().mean().sqrt()[None], None, True)
    torch.testing.assert_close(row.std_of_rays, spread, rtol=0.05, atol=0)
