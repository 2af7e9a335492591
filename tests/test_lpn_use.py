"""A learned prior on the command line: the recipe lpn and invreg prior inspect, with networks that are known."""

import csv
import json

import numpy as np
import pytest
import scans
import torch
from phantoms import ellipse_image, random_ellipses, scaled
from test_recipes import STD, scan

from invreg.cli import main
from invreg.inspect_prior import FILES, inspect, line
from invreg.priors import LPN, DensePotential, ResidualUNet
from invreg.recipes import RECIPES
from invreg.recipes.config import Config
from invreg.train.checkpoints import load_model, save_model
from invreg.train.tasks import configured

SIDE, SIGMA = 16, 0.1


def settings(**over):
    return configured("lpn", None, {key.replace("__", "."): ("test", value) for key, value in over.items()})


def smoothing(path, **over):
    """A network file whose f is linear: half an image and half of it smoothed twice, so R punishes what is rough."""
    from invreg.train.lpn import network

    small = {"model__widths": [4], "model__strides": [], "model__kernel": 3, "model__alpha": 0.01}
    small |= {"noise__sigma": SIGMA, "noise__patch": SIDE, "data__folder": "x"}
    config = settings(**(small | over)).model_dump()
    psi = network(config)
    if config["model"]["kind"] == "any size":
        with torch.no_grad():
            psi.sums[0].zero_()
            psi.quadratic.weight.zero_()
            psi.quadratic.weight[0, 0, 1, 1] = 0.5**0.5
            psi.quadratic.weight[1, 0] = 0.47**0.5 * torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    save_model(path, psi, {"task": "lpn", "holds": "network", "settings": config})
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lpn")
    smoothing(folder / "net.safetensors")
    scans.write_scan(folder / "scan.h5", **scans.arrays(1.0))
    (folder / "images").mkdir()
    for k in range(6):
        image = ellipse_image(scaled(random_ellipses(100 + k, 5), SIDE / 2), (SIDE, SIDE))
        np.save(folder / "images" / f"{k}.npy", (image / image.max()).astype(np.float32))
    return folder


def run(place, **prior):
    A, truth, y = scan(20)
    config = Config.model_validate(
        {
            "recipe": "lpn",
            "prior": {"weights": str(place / "net.safetensors"), **prior},
            "solver": {"tol": 1e-5, "max_iter": 2000},
        }
    )
    return A, truth, y, RECIPES["lpn"].run(A, y, config, STD, lambda row: None)


def test_the_recipe_gives_a_stationary_point_of_its_objective(place):
    """A^T (A x - y) + lambda (f^-1(x) - x) = 0, by an inversion that the solver never makes."""
    A, truth, y, result = run(place)
    assert result.status == "converged" and "change" in result.history[-1]
    low, high = result.image_range
    psi, _ = load_model(place / "net.safetensors", "lpn")
    prior = LPN(psi.double(), SIGMA, low, high)
    x, B = result.x.double(), A.double()
    slope = B.adjoint(B(x) - y.double())
    start = B.adjoint(y.double())
    assert float((slope + result.weight.value * prior.grad(x)).norm() / start.norm()) < 1e-3
    # the weight is noise^2 / sigma^2 in the unit of the images, with the noise a little above that of the rays
    noise = SIGMA * high * result.weight.value**0.5
    assert float(STD.square().mean().sqrt()) < noise < 2 * float(STD.max())
    assert "noise^2 / sigma^2" in result.weight.reason and "are 0 and 1" in result.summary
    # the values of the images: within a fifth of the largest true one
    assert low == 0 and high == pytest.approx(float(torch.quantile(truth, 0.999)), rel=0.2)


def test_what_is_given_is_used(place):
    _, _, _, weak = run(place, weight=0.3, range=[0.0, 2.0])
    _, _, _, strong = run(place, weight=300.0, range=[0.0, 2.0])
    assert weak.weight is None and weak.image_range == (0.0, 2.0)
    rough, smooth = (float(r.x.diff(dim=-1).square().sum()) for r in (weak, strong))
    assert rough > 2 * smooth


def test_measurements_that_are_not_finite_end_in_words(place):
    A, _, y = scan(20)
    y[0, 3, 4] = torch.nan
    config = Config.model_validate({"recipe": "lpn", "prior": {"weights": str(place / "net.safetensors")}})
    result = RECIPES["lpn"].run(A, y, config, STD, lambda row: None)
    assert result.status == "nonfinite" and "check the measurement" in result.summary


def words(place, out, *more):
    return ["reconstruct", str(place / "scan.h5"), "--recipe", "lpn", "--out", str(out), "--quiet", *more]


def test_the_command_line_goes_from_file_to_report(place, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(words(place, out, "--weights", str(place / "net.safetensors"), "--set", "compute.batch=3")) == 0
    told = capsys.readouterr().out
    assert "lambda" in told and "converged" in told
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["objective"]) < np.inf for row in rows) and float(rows[-1]["change"]) <= 1e-3
    recipe = (out / "recipe.toml").read_text()
    assert "net.safetensors" in recipe and "range = " in recipe
    # the second batch of rows has the scale of the first
    ranges = {line.partition(", to which")[2] for line in (out / "report.html").read_text().split("prior of net")[1:]}
    assert len({r.partition("are 0 and 1")[0] for r in ranges}) == 1
    assert (
        main(
            [
                "reconstruct",
                str(place / "scan.h5"),
                "--recipe",
                str(out / "recipe.toml"),
                "--out",
                str(tmp_path / "again"),
                "--quiet",
            ]
        )
        == 0
    )
    import tifffile

    volumes = [tifffile.imread(folder / "volume.tif") for folder in (out, tmp_path / "again")]
    np.testing.assert_allclose(volumes[1], volumes[0], atol=1e-6)
    assert float(np.abs(volumes[0] - scans.truth()).mean()) < 0.1 * scans.truth().max()


def test_networks_of_one_size_work_by_patches(place, tmp_path, capsys):
    net = smoothing(tmp_path / "patches.safetensors", model__kind="one size", model__strides=[2])
    more = "--weights", str(net), "--rows", "1:2", "--set", "solver.max_iter=5", "--lambda", "1"
    assert main(words(place, tmp_path / "out", *more)) in (0, 3)
    assert main(words(place, tmp_path / "small", *more, "--size", "12")) == 2
    told = capsys.readouterr().err
    assert f"patches have {SIDE} x {SIDE} pixels, the image only 12 x 12" in told and "--size 16" in told


def wrong_files(place, folder):
    good = (place / "net.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(good[: len(good) // 2])
    torch.save({"a": torch.ones(2)}, folder / "pickle.pt")
    smoothing(folder / "colour.safetensors", data__channels=3)
    other = {"task": "svtv-weights", "holds": "network", "settings": {}}
    save_model(folder / "unet.safetensors", ResidualUNet(1, (4, 8)), other)
    return {
        "missing.safetensors": "cannot be read",
        "cut.safetensors": "truncated",
        "pickle.pt": "this is a pickle",
        "colour.safetensors": "3 channels; reconstructions are grey",
        "unet.safetensors": "a network of svtv-weights; expected one of lpn",
    }


def test_networks_that_do_not_fit_are_refused_in_a_sentence(place, tmp_path, capsys):
    for name, sentence in wrong_files(place, tmp_path).items():
        assert main(words(place, tmp_path / "out", "--weights", str(tmp_path / name))) == 2
        told = capsys.readouterr().err
        assert sentence in told and told.count("\n") == 1, told
    assert main(words(place, tmp_path / "out")) == 2
    assert "--weights NET" in capsys.readouterr().err
    net = str(place / "net.safetensors")
    assert main(words(place, tmp_path / "out", "--weights", net, "--set", "prior.range=[1,0]")) == 2
    assert "low < high" in capsys.readouterr().err
    assert main(["reconstruct", str(place / "scan.h5"), "--recipe", "tv", "--weights", net, "--quiet"]) == 2
    assert "svtv and lpn" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# looking into a prior


def test_the_probe_measures_a_known_prior(place):
    """f linear: R(x) = x^T (M^-1 - 1) x / 2, by a dense matrix."""
    psi, _ = load_model(place / "net.safetensors", "lpn")
    psi = psi.double()
    prior = LPN(psi, SIGMA)
    images = torch.stack([torch.from_numpy(np.load(f)).double() for f in sorted((place / "images").iterdir())])
    found = inspect(prior, images, [])
    n = SIDE**2
    M = prior.prox(torch.eye(n, dtype=torch.float64).reshape(n, SIDE, SIDE), 1.0).reshape(n, n)
    curvature = torch.linalg.inv(M) - torch.eye(n, dtype=torch.float64)

    def R(x):
        flat = x.reshape(len(x), n)
        return 0.5 * (flat @ curvature * flat).sum(1).numpy()

    a, b = images[:3], images.flip(0)[:3]
    rows = {(row.probe, row.level): row for row in found.rows}
    # a convex R lies below the chord, by a quarter of R(a - b) at its middle
    chord = R(0.5 * (a + b)) - 0.5 * (R(a) + R(b))
    assert rows["mixture", 0.5].rise == pytest.approx(chord.mean(), rel=1e-6)
    assert rows["mixture", 0.5].higher == 0 and chord.max() < 0
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0), dtype=images.dtype)
    rises = R((images + 0.2 * noise).clamp(0, 1)) - R(images)
    assert rows["noise", 0.2].rise == pytest.approx(rises.mean(), rel=1e-6)
    assert rows["noise", 0.2].higher == pytest.approx(100 * (rises > 0).mean())
    assert rows["blur", 2.0].rise < 0 and rows["blur", 2.0].higher == 0  # smooth is what this one likes
    assert all(row.failed == 0 and row.residual < 1e-7 for row in found.rows)


def test_images_without_a_preimage_are_counted_and_left_out():
    """f of a dense potential without a quadratic term takes values in a bounded interval only."""
    psi = DensePotential(4, hidden=8, layers=1).double().requires_grad_(False)

    class AsImage(torch.nn.Module):
        shape, modulus = (1, 2, 2), 0.0

        def forward(self, x):
            return psi(x.flatten(1))

    images = torch.rand(4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images[0] = 1e3
    found = inspect(LPN(AsImage()), images, [])
    still = next(row for row in found.rows if (row.probe, row.level) == ("noise", 0.0))
    blurred = next(row for row in found.rows if (row.probe, row.level) == ("blur", 0.5))
    assert blurred.failed == 1 and np.isfinite(blurred.rise) and still.residual < 1e-6


def test_a_prior_of_numbers_is_drawn_as_a_line():
    psi = DensePotential(1).double().requires_grad_(False)
    found = line(LPN(psi, 1.0))
    y, f, value = found.values()
    assert y[0] == -4 and y[-1] == 4 and (np.diff(f) >= 0).all() and value.min() == 0
    # R' = f^-1 - 1: the slope of R over f is y - f
    slopes = np.diff(value) / np.diff(f)
    np.testing.assert_allclose(slopes, 0.5 * (y[1:] + y[:-1] - f[1:] - f[:-1]), atol=1e-3)


def test_inspect_writes_a_picture_and_tables(place, tmp_path, capsys):
    out = tmp_path / "seen"
    command = [
        "prior",
        "inspect",
        str(place / "net.safetensors"),
        "--data",
        str(place / "images"),
        "--out",
        str(out),
        "--quiet",
    ]
    assert main(command) == 0
    assert "6 images of 16 x 16 pixels" in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == sorted(FILES)
    assert (out / "prior.png").read_bytes().startswith(b"\x89PNG")
    with (out / "prior.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15 and {row["probe"] for row in rows} == {"noise", "blur", "mixture"}
    assert main(command) == 2
    assert "holds prior.png already" in capsys.readouterr().err
    assert main([*command, "--force", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 6 and told["sigma"] == SIGMA and len(told["rows"]) == 15


def test_inspect_refuses_in_a_sentence(place, tmp_path, capsys):
    start = ["prior", "inspect"]
    images = ["--data", str(place / "images"), "--out", str(tmp_path / "out"), "--quiet"]
    wrong = wrong_files(place, tmp_path)
    del wrong["colour.safetensors"]
    for name, sentence in wrong.items():
        assert main([*start, str(tmp_path / name), *images]) == 2
        assert sentence in capsys.readouterr().err
    net = str(place / "net.safetensors")
    assert main(["prior", net]) == 2
    assert "expected invreg prior inspect WEIGHTS" in capsys.readouterr().err
    assert main([*start, net, "--out", str(tmp_path / "out")]) == 2
    assert "--data FOLDER" in capsys.readouterr().err
    larger = smoothing(tmp_path / "larger.safetensors", noise__patch=32)
    assert main([*start, str(larger), *images]) == 2
    assert "fewer than 32" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
