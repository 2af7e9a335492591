"""The network for space-variant weights: its scans, its loss, a short training, and its use."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from phantoms import ellipse_image, random_ellipses, scaled

from invreg.cli import main
from invreg.io import InputError, Scan, write
from invreg.operators import FanBeam2D, Parallel2D, XRay
from invreg.priors import ResidualUNet
from invreg.train.checkpoints import load_model
from invreg.train.scans import Geometry, Scans
from invreg.train.svtv_weights import elastic, steepness
from invreg.train.tasks import configured, find

N = 32
PARALLEL = {"kind": "parallel", "views": [12, 20], "detectors": 48, "size": N, "pixel": 1.0, "noise": [0.005, 0.02]}
FAN = {"kind": "fan", "views": 40, "range": 360.0, "detectors": 40, "pitch": 1.5, "source_origin": 60.0,
       "source_detector": 90.0, "size": N, "noise": 0.01}  # fmt: skip


def toml(path, settings):
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Thirty phantoms of ellipses and a geometry file."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "images").mkdir()
    for k in range(30):
        image = ellipse_image(scaled(random_ellipses(100 + k, 5), N / 2), (N, N))
        np.save(folder / "images" / f"{k}.npy", (image / max(1, image.max())).astype(np.float32))
    toml(folder / "scan.toml", PARALLEL)
    return folder


def words(place, out, *more):
    return ["train", "svtv-weights", "--data", str(place / "images"), "--geometry", str(place / "scan.toml"), "--out",
            str(place / out), "--quiet", "--set", "model.widths=[8,16]", "--set", "train.batch=4", "--set",
            "train.warmup=10", "--set", "train.precision=float32", "--set", "train.average=0.9", *more]  # fmt: skip


@pytest.fixture(scope="module")
def trained(place):
    """A folder with a network after some seconds of training."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    assert main(words(place, "net", "--steps", "250", "--set", "train.every=125", "--set", "train.rate=2e-3")) == 0
    torch.set_num_threads(before)
    return place / "net"


def history(out):
    with (out / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


# the network and the loss


def test_the_network_starts_as_the_identity_and_takes_any_size():
    net = ResidualUNet(2, (4, 8, 16))
    x = torch.randn(2, 2, 13, 22)
    assert torch.equal(net(x), x)


@pytest.mark.parametrize("wrong", [(0, (4,)), (1, ()), (1, (4, 0))])
def test_widths_are_checked(wrong):
    with pytest.raises(ValueError, match="from 1 on"):
        ResidualUNet(*wrong)


def test_the_network_does_not_mind_the_unit_and_sees_parts_as_the_whole():
    torch.manual_seed(0)
    net = ResidualUNet(1, (4, 8)).double()
    torch.nn.init.normal_(net.head.weight)
    x = torch.randn(1, 1, 64, 64, dtype=torch.float64)
    assert torch.allclose(net(1e-3 * x), 1e-3 * net(x), rtol=1e-10)
    part = net(x[..., 16:, 8:])  # aligned with the coarser grid
    assert torch.allclose(part[..., 24:-24, 24:-24], net(x)[..., 40:-24, 32:-24], rtol=1e-10)
    with pytest.raises(ValueError, match=r"takes \(batch, 1, h, w\)"):
        net(x[0])


def test_the_elastic_loss_is_its_formula():
    rng = np.random.default_rng(0)
    x, t = rng.random((2, 3, 1, 9, 7))

    def size(v):
        rows, columns = np.zeros_like(v), np.zeros_like(v)
        rows[..., :-1, :], columns[..., :-1] = np.diff(v, axis=-2), np.diff(v, axis=-1)
        return np.sqrt(rows**2 + columns**2 + 1e-6)

    image, edges = np.mean((x - t) ** 2), np.mean((size(x) - size(t)) ** 2)
    for alpha in (0, 0.3, 1):
        found = elastic(torch.from_numpy(x), torch.from_numpy(t), alpha)
        assert float(found) == pytest.approx(alpha * image + (1 - alpha) * edges, rel=1e-12)
    flat = torch.zeros(1, 5, 5, requires_grad=True)
    steepness(flat).sum().backward()
    assert bool(flat.grad.isfinite().all())


# the scans


@pytest.mark.parametrize("settings", [PARALLEL, FAN])
def test_noise_has_the_level_asked_for(settings):
    scans = Scans(Geometry.model_validate(settings))
    count = scans.geometry.counts[0]
    image = torch.from_numpy(ellipse_image(scaled(random_ellipses(0, 5), N / 2), (N, N))).float()[None]
    clean = scans.operator(count)(image)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    y = scans.measure(image, count, torch.tensor([0.05]), noise)
    assert float((y - clean).norm() / clean.norm()) == pytest.approx(0.05, rel=1e-4)
    angles = np.arange(count) * np.deg2rad(settings.get("range", 180.0)) / count
    if settings is FAN:
        g = FanBeam2D(angles, 40, 1.5, source_origin=60.0, source_detector=90.0)
        assert scans.operator(count).pixel_size == pytest.approx(40 * 1.5 * 60 / 90 / N)  # the image spans the detector
    else:
        g = Parallel2D(angles, 48)
    assert torch.equal(clean, XRay(g, (N, N), scans.operator(count).pixel_size)(image))
    first = scans.first_image(clean, count)
    assert float((first - image).norm() / image.norm()) < 0.5


def test_levels_lie_in_their_range():
    g = Geometry.model_validate(PARALLEL)
    assert [g.level(s) for s in (0, 0.5, 1)] == pytest.approx([0.005, 0.01, 0.02])
    assert [Geometry.model_validate(PARALLEL | {"noise": [0.0, 0.4]}).level(s) for s in (0, 0.5)] == [0, 0.2]
    assert Geometry.model_validate(FAN).level(0.7) == 0.01


@pytest.mark.parametrize("settings", [PARALLEL | {"detectors": 24}, FAN | {"pitch": 0.9, "pixel": 1.0}])
def test_only_what_every_view_sees_is_known(settings):
    """A pixel inside of the disc is hit in every view; the disc is no smaller than it must be."""
    scans = Scans(Geometry.model_validate(settings))
    mask, A = scans.seen().bool(), scans.operator(scans.geometry.counts[0])
    pixels = torch.eye(N * N).reshape(-1, N, N)
    hit = (A(pixels) > 0.05).any(2).all(1).reshape(N, N)
    assert not bool((mask & ~hit).any())
    assert 0.8 < float(mask.sum() / hit.sum()) <= 1


def test_an_item_depends_on_its_own_generator_only(place):
    config = configured("svtv-weights", place / "scan.toml", {"data.folder": ("--data", str(place / "images")),
                        "weights.patch": ("--set", 16)})  # fmt: skip
    task = find("svtv-weights").make(config)

    def batch(seeds):
        return task.batch([torch.Generator().manual_seed(s) for s in seeds], torch.device("cpu"))

    for whole, parts in zip(batch([1, 2, 3, 4]), zip(batch([1, 2]), batch([3, 4]), strict=True), strict=True):
        assert whole.shape == (4, 1, 16, 16)
        assert torch.allclose(whole, torch.cat(parts), atol=1e-6)
    assert not torch.equal(batch([1])[1], batch([2])[1])


# training and use


def test_training_lowers_the_loss_and_finds_edges_better_than_fbp(trained):
    rows = history(trained)
    losses = [row["loss"] for row in rows]
    assert np.mean(losses[-50:]) < 0.5 * np.mean(losses[:10])
    figures = rows[-1]
    assert figures["gradient error"] < 0.8 * figures["gradient error of FBP"]
    assert figures["image error"] < 0.8 * figures["image error of FBP"]
    for name in ("curves.png", "examples.png"):
        assert (trained / name).read_bytes().startswith(b"\x89PNG")


def test_edges_are_better_on_new_phantoms_by_an_own_measure(trained):
    net, about = load_model(trained / "model.safetensors", "svtv-weights")
    assert about["step"] == 250 and about["settings"]["scan"]["views"] == [12, 20]
    truth = np.stack([ellipse_image(scaled(random_ellipses(900 + k, 5), N / 2), (N, N)) for k in range(8)])
    scans = Scans(Geometry.model_validate(PARALLEL))
    x = torch.from_numpy(truth).float()
    noise = torch.randn((8, 16, 48), generator=torch.Generator().manual_seed(3))  # a number of views between both
    first = scans.first_image(scans.measure(x, 16, torch.full((8,), 0.01), noise), 16)

    def edges(images):
        return np.hypot(*(np.diff(images, axis=k)[:, : N - 1, : N - 1] for k in (1, 2)))

    errors = [np.linalg.norm(edges(z) - edges(truth)) for z in (first.numpy(), net(first[:, None])[:, 0].numpy())]
    assert errors[1] < 0.8 * errors[0]


def test_two_processes_give_what_one_gives(place):
    """To round-off: the sums over a batch are taken in another order."""
    more = ["--steps", "6", "--set", "train.every=3"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "invreg"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command + words(place, "two", *more), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert main(words(place, "one", *more)) == 0
    one, two = history(place / "one"), history(place / "two")
    assert len(one) == len(two) == 6 and one[-1].keys() == two[-1].keys()
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    a, b = (load_model(place / out / "model.safetensors", "svtv-weights")[0].state_dict() for out in ("one", "two"))
    assert all(torch.allclose(a[key], b[key], rtol=1e-3, atol=1e-5) for key in a)


def test_a_resumed_network_is_that_of_one_run(place, monkeypatch, capsys):
    from invreg.train.svtv_weights import EdgeTask

    more = ["--steps", "6", "--set", "train.every=2"]
    assert main(words(place, "whole", *more)) == 0
    calls, batch = [], EdgeTask.batch

    def press(task, draws, device):
        calls.append(0)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return batch(task, draws, device)

    with monkeypatch.context() as patched:
        patched.setattr(EdgeTask, "batch", press)
        assert main(words(place, "parts", *more)) == 3
    assert "interrupted after step 3 of 6; go on from step 2 with --resume" in capsys.readouterr().out
    assert main(words(place, "parts", *more, "--resume")) == 0
    for name in ("history.csv", "last.safetensors"):
        assert (place / "parts" / name).read_bytes() == (place / "whole" / name).read_bytes()


def test_the_command_line_says_what_it_did(place, trained, capsys):
    assert main(words(place, "told", "--steps", "2", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["code"] == 0 and told["steps"] == 2 and "model.safetensors" in told["files"]
    assert main(words(place, "told", "--steps", "2")) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(words(place, "told", "--steps", "2", "--resume")) == 0
    assert "trained for 2 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "cone"}, "scan.kind takes parallel or fan; got 'cone'"),
        ({"views": 1}, "scan.views takes how many views"),
        ({"views": []}, "scan.views takes how many views"),
        ({"noise": [0.2, 0.1]}, "scan.noise takes a range [low, high] with low <= high"),
        ({"noise": float("nan")}, "scan.noise takes"),
        ({"kind": "fan"}, "source_origin and source_detector too where it is fan"),
        ({"source_origin": 3.0}, "takes no source_origin where it is parallel"),
        ({"detectors": None}, "scan.detectors is missing; it takes how many bins"),
        ({"size": 4}, "scan.size takes pixels on a side of the image, 8 or more; got 4"),
        ({"angles": 3}, "there is no setting scan.angles"),
        (FAN | {"source_detector": 30.0}, "the geometry file"),
        ({"views": 2}, "steps"),
    ],
)
def test_a_wrong_geometry_file_is_told(place, settings, told, tmp_path, capsys):
    merged = {k: v for k, v in (PARALLEL | settings).items() if v is not None}
    text = toml(tmp_path / "scan.toml", merged)
    text.write_text(text.read_text().replace("NaN", "nan"))
    more = ["--geometry", str(text), "--set", "train.steps=0"] if told == "steps" else ["--geometry", str(text)]
    assert main([*words(place, "bad"), *more]) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert not (place / "bad").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--alpha", "2"], "--alpha: weights.alpha takes a number from 0"),
        (["--data", "/nowhere"], "/nowhere: no such folder"),
        (["--geometry", "/nowhere.toml"], "/nowhere.toml: there is no such geometry file"),
        (["--set", "train.stepps=3"], "no setting train.stepps (did you mean steps?)"),
        (["--set", "model.widths=[]"], "model.widths takes a list of channels"),
        (["--set", "weights.patch=64"], "weights.patch=64 is larger than the image, 32 pixels"),
        (["--set", "train"], "expected KEY=VALUE"),
    ],
)
def test_wrong_flags_are_told(place, more, told, capsys):
    assert main([*words(place, "bad"), *more]) == 2
    assert told in capsys.readouterr().err and not (place / "bad").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["train"], "say what to train: svtv-weights"),
        (["train", "svtv-weigths"], "no training task svtv-weigths (did you mean svtv-weights?)"),
        (["train", "svtv-weights"], "needs a geometry file"),
    ],
)
def test_what_is_lacking_is_told(line, told, capsys):
    assert main(line) == 2 and told in capsys.readouterr().err


@pytest.fixture(scope="module")
def scan(place):
    """A measurement of 16 views, in millimetres."""
    pixel = 0.5
    ellipses = scaled(random_ellipses(950, 5), pixel * N / 2)
    truth = torch.from_numpy(ellipse_image(ellipses, (N, N), pixel)).float()[None]
    g = Parallel2D(np.arange(16) * np.pi / 16, 48, pixel, None, "mm")
    y = XRay(g, (N, N), pixel)(truth)
    y += 0.01 * float(y.max()) * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    made = Scan(y.permute(1, 0, 2).numpy(), g.angles, "line integrals", pixel_size=pixel, unit="mm")
    write(place / "scan.h5", made)
    return place / "scan.h5"


def test_the_recipe_takes_its_edges_from_the_network(scan, trained, place, capsys):
    net = trained / "model.safetensors"
    line = ["reconstruct", str(scan), "--recipe", "svtv", "--quiet", "--lambda", "0.1"]
    assert main([*line, "--weights", str(net), "--out", str(place / "x")]) in (0, 3)
    out = capsys.readouterr().out
    assert "edges from model.safetensors" in out and "trained on" not in out
    assert main([*line, "--weights", str(net), "--views", "8", "--out", str(place / "y")]) in (0, 3)
    assert "trained on 12 to 20 views and not on 8" in capsys.readouterr().out
    again = [
        "reconstruct",
        str(scan),
        "--recipe",
        str(place / "x" / "recipe.toml"),
        "--quiet",
        "--out",
        str(place / "z"),
    ]
    assert main(again) in (0, 3)
    assert (place / "x" / "volume.tif").read_bytes() == (place / "z" / "volume.tif").read_bytes()


def test_a_network_that_will_not_do_is_refused_before_any_work(scan, trained, place, capsys):
    line = ["reconstruct", str(scan), "--quiet", "--out", str(place / "refused"), "--weights"]
    cases = {"/nowhere.safetensors": "no such file", str(trained / "last.safetensors"): "take model.safetensors"}
    for path, told in cases.items():
        assert main([*line, path, "--recipe", "svtv"]) == 2
        assert told in capsys.readouterr().err
    assert main([*line, str(trained / "model.safetensors"), "--recipe", "tv"]) == 2
    assert "prior.weights is for the recipes svtv and lpn" in capsys.readouterr().err
    assert not (place / "refused").exists()


def test_colour_networks_are_refused(scan, place, capsys):
    line = words(place, "colour", "--steps", "1", "--set", "data.channels=3", "--set", "weights.patch=16")
    assert main(line) == 0
    capsys.readouterr()
    net = str(place / "colour" / "model.safetensors")
    assert main(["reconstruct", str(scan), "--recipe", "svtv", "--weights", net, "--out", str(place / "no")]) == 2
    assert "a network of colour images" in capsys.readouterr().err


def test_tasks_are_found_by_name():
    with pytest.raises(InputError, match="there are svtv-weights"):
        find("other")
