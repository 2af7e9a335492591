"""Training of learned proximal networks: the loss and its widths, a short training, resuming, what is refused."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from phantoms import ellipse_image, random_ellipses, scaled

from invreg.cli import main
from invreg.priors import ConvPotential, ImagePotential, ResidualUNet
from invreg.priors.icnn import gradient
from invreg.train import lpn
from invreg.train.checkpoints import load_model
from invreg.train.tasks import configured, find

N, SIGMA = 32, 0.15


def phantom(seed):
    image = ellipse_image(scaled(random_ellipses(seed, 5), N / 2), (N, N))
    return (image / max(1, image.max())).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Thirty phantoms of ellipses, grey."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "images").mkdir()
    for k in range(30):
        np.save(folder / "images" / f"{k}.npy", phantom(100 + k))
    return folder


def words(place, out, *more):
    return ["train", "lpn", "--data", str(place / "images"), "--out", str(place / out), "--quiet", "--sigma",
            str(SIGMA), "--patch", "16", "--set", "model.widths=[8,8]", "--set", "model.strides=[2]", "--set",
            "model.kernel=3", "--set", "train.batch=4", "--set", "train.warmup=10", "--set",
            "train.precision=float32", "--set", "train.average=0.9", *more]  # fmt: skip


@pytest.fixture(scope="module")
def trained(place):
    """A folder with a network after some seconds of training."""
    more = ["--steps", "400", "--set", "train.every=200", "--set", "train.rate=5e-3", "--set", "train.batch=8"]
    assert main(words(place, "net", *more)) == 0
    return place / "net"


def history(out):
    with (out / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def task(place, **over):
    flags = {"data.folder": ("--data", str(place / "images")), "noise.patch": ("--patch", 16)}
    return find("lpn").make(configured("lpn", None, flags | {k: ("--set", v) for k, v in over.items()}))


def test_the_matching_loss_is_its_formula():
    error = np.random.default_rng(0).normal(size=(5, 2, 3, 4))
    for gamma in (0.5, 3.0, 20.0):
        expected = np.mean(1 - np.exp(-np.sum(error**2, (1, 2, 3)) / gamma**2))
        assert float(lpn.matching(torch.from_numpy(error), gamma)) == pytest.approx(expected, rel=1e-12)


def test_the_width_is_halved_three_times_down_to_the_least(place):
    made = task(place, **{"train.steps": 100, "matching.first": 0.2, "data.channels": 3})
    assert made.until == 20
    widths = [made.gamma(step) / (0.08 * np.sqrt(3 * 16 * 16)) for step in (20, 39, 40, 59, 60, 79, 80, 99)]
    assert widths == pytest.approx([8, 8, 4, 4, 2, 2, 1, 1])


def test_the_loss_is_absolute_first_and_matching_then(place):
    made = task(place, **{"train.steps": 10, "train.precision": "float32"})
    model = made.model()
    batch = made.batch([torch.Generator().manual_seed(k) for k in range(3)], torch.device("cpu"))
    error = gradient(model, batch[0]) - batch[1]
    assert float(made.loss(model, batch, 4).detach()) == pytest.approx(float(error.abs().mean()), rel=1e-5)
    expected = float(1 - torch.exp(-error.square().sum((1, 2, 3)) / made.gamma(9) ** 2).mean())
    assert float(made.loss(model, batch, 9).detach()) == pytest.approx(expected, rel=1e-4)


def test_the_noise_has_its_deviation_and_an_item_its_own_generator(place):
    made = task(place, **{"noise.sigma": 0.2})

    def batch(seeds):
        return made.batch([torch.Generator().manual_seed(s) for s in seeds], torch.device("cpu"))

    y, x = batch(range(64))
    assert float((y - x).std()) == pytest.approx(0.2, rel=0.02)
    assert torch.equal(batch([5, 6])[0], y[5:7])


def test_training_removes_noise_and_leaves_a_convex_potential(trained):
    rows = history(trained)
    assert rows[-1]["PSNR of the noisy"] == pytest.approx(-20 * np.log10(SIGMA), abs=0.3)
    assert rows[-1]["PSNR"] > rows[-1]["PSNR of the noisy"] + 3
    psi, about = load_model(trained / "model.safetensors", "lpn")
    assert about["settings"]["noise"] == {"sigma": SIGMA, "patch": 16}
    assert isinstance(psi, ImagePotential) and psi.shape == (1, None, None)
    before = {name: p.clone() for name, p in psi.state_dict().items()}
    psi.project()
    assert all(torch.equal(p, before[name]) for name, p in psi.state_dict().items())


def test_it_removes_noise_from_new_phantoms_by_an_own_measure(trained):
    psi, _ = load_model(trained / "model.safetensors", "lpn")
    truth = np.stack([phantom(900 + k) for k in range(8)])
    noisy = truth + SIGMA * np.random.default_rng(0).normal(size=truth.shape).astype(np.float32)
    made = gradient(psi, torch.from_numpy(noisy)[:, None])[:, 0].numpy()
    assert np.mean((made - truth) ** 2) < 0.5 * np.mean((noisy - truth) ** 2)


def test_a_resumed_network_is_that_of_one_run(place, monkeypatch, capsys):
    more = ["--steps", "6", "--set", "train.every=2"]
    assert main(words(place, "whole", *more)) == 0
    calls, loss = [], lpn.ProximalTask.loss

    def press(task, model, batch, step):
        calls.append(step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return loss(task, model, batch, step)

    with monkeypatch.context() as patched:
        patched.setattr(lpn.ProximalTask, "loss", press)
        assert main(words(place, "parts", *more)) == 3
    assert main(words(place, "parts", *more, "--resume")) == 0
    for name in ("history.csv", "last.safetensors"):
        assert (place / "parts" / name).read_bytes() == (place / "whole" / name).read_bytes()


def test_two_processes_give_what_one_gives(place):
    """To round-off: the sums over a batch are taken in another order."""
    more = ["--steps", "6", "--set", "train.every=3"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "invreg"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command + words(place, "two", *more), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert main(words(place, "one", *more)) == 0
    for a, b in zip(history(place / "one"), history(place / "two"), strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_a_saturated_loss_ends_the_training(place, monkeypatch, capsys):
    monkeypatch.setattr(lpn, "LONG", 5)
    more = ["--steps", "20", "--set", "matching.gamma=1e-4", "--set", "matching.first=0.25"]
    assert main(words(place, "stuck", *more)) == 1
    told = capsys.readouterr().out
    assert "stopped at step 10: the matching loss stayed above 0.98 for 5 steps" in told and "matching.first" in told


@pytest.mark.parametrize(
    ("more", "kind", "shape"),
    [
        (["--set", 'model.kind="one size"', "--set", "model.strides=[2,1]"], ConvPotential, (1, 16, 16)),
        (["--set", "data.channels=3"], ImagePotential, (3, None, None)),
    ],
)
def test_other_networks(place, more, kind, shape):
    out = "-".join(map(str, shape))
    assert main(words(place, out, "--steps", "2", *more)) == 0
    psi, _ = load_model(place / out / "model.safetensors", "lpn")
    assert isinstance(psi, kind) and psi.shape == shape
    assert (place / out / "examples.png").read_bytes().startswith(b"\x89PNG")


def test_a_denoiser_is_trained_on_the_same_data(place):
    more = ["--sigma", str(SIGMA), "--patch", "16", "--set", "model.widths=[8,16]", "--set", "train.precision=float32"]
    more += ["--steps", "150", "--set", "train.batch=8", "--set", "train.rate=5e-3", "--set", "train.average=0.9"]
    out = place / "denoiser"
    line = ["train", "denoiser", "--data", str(place / "images"), "--out", str(out), "--quiet"]
    assert main([*line, *more, "--set", "train.every=150", "--set", "train.warmup=10"]) == 0
    assert history(out)[-1]["PSNR"] > history(out)[-1]["PSNR of the noisy"] + 3
    net, _ = load_model(out / "model.safetensors", "denoiser")
    assert isinstance(net, ResidualUNet) and net.widths == (8, 16)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--sigma", "0"], "--sigma: noise.sigma takes the standard deviation of the noise, > 0"),
        (["--patch", "64"], "0 files of images to train on"),
        (["--set", "model.strides=[1,2]"], "model: ImagePotential takes a width more than strides"),
        (["--set", "model.kernel=4"], "odd"),
        (["--set", 'model.kind="one size"', "--patch", "18", "--set", "model.strides=[2,2]"], "multiples of 4"),
        (["--geometry", "scan.toml"], "lpn takes no --geometry"),
        (["--alpha", "0.5"], "there is no setting weights"),
    ],
)
def test_wrong_settings_are_told(place, more, told, capsys):
    assert main([*words(place, "bad"), *more]) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert not (place / "bad").exists()
