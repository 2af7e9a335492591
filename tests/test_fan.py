"""Fan-beam files through the whole job, from the file to the volume, without rebinning."""

import json

import h5py
import numpy as np
import pytest
import scipy.io
from phantoms import ellipse_image, random_ellipses, scaled
from test_corrections import fan_integrals

from invreg.cli import main
from invreg.io import Scan, write
from invreg.metrics import psnr
from invreg.operators.tomography.geometry import FanBeam2D

E = scaled(random_ellipses(3, 8), 13.0)
FULL = np.arange(360) * np.pi / 180


def fan(angles=FULL, detectors=200, centre=None):
    return FanBeam2D(angles, detectors, 0.2, centre, "mm", 410.66, 553.74)


def wide(angles=FULL, detectors=200, centre=None):
    """A fan of 30 degrees."""
    return FanBeam2D(angles, detectors, 0.2, centre, "mm", 56.0, 75.0)


def write_scan(path, g, noise=0.0):
    """Rays through four places of each bin, averaged, with white noise; no flats."""
    fine = FanBeam2D(
        g.angles, 4 * g.detectors, g.pitch / 4, 4 * g.centre + 1.5, g.unit, g.source_origin, g.source_detector
    )
    p = fan_integrals(E, fine).reshape(*g.shape, 4).mean(2)
    p += noise * np.random.default_rng(7).standard_normal(p.shape)
    fan = g.source_origin, g.source_detector
    write(path, Scan(p[:, None], g.angles, "line integrals", None, None, g.pitch, g.unit, g.centre, None, fan))
    return path


def reconstructed(path, *flags):
    out = path.parent / f"{path.stem}_{len(flags)}"
    assert main(["reconstruct", str(path), "--quiet", "--out", str(out), *flags]) == 0
    with h5py.File(out / "volume.h5") as file:
        return file["volume"][0], float(file["volume"].attrs["pixel_size"]), (out / "report.html").read_text()


def truth(image, pixel):
    return ellipse_image(E, image.shape, pixel)


def error(image, pixel):
    return np.linalg.norm(image - truth(image, pixel)) / np.linalg.norm(truth(image, pixel))


def test_a_helsinki_challenge_file_is_reconstructed(tmp_path):
    g = fan(np.arange(361) * np.pi / 180, centre=99.5)  # the last view repeats the first
    parameters = {
        "angles": np.rad2deg(g.angles),
        "distanceSourceOrigin": g.source_origin,
        "distanceSourceDetector": g.source_detector,
        "pixelSize": 0.05,
        "pixelSizePost": g.pitch,
        "geometricMagnification": g.source_detector / g.source_origin,
    }
    struct = {"type": "2D", "sinogram": fan_integrals(E, g), "parameters": parameters}
    scipy.io.savemat(tmp_path / "htc.mat", {"CtDataFull": struct})
    image, pixel, told = reconstructed(tmp_path / "htc.mat", "--recipe", "fbp")
    assert image.shape == (200, 200) and pixel == pytest.approx(g.bin_at_axis)
    assert error(image, pixel) < 0.1 and 'class="note"' not in told


SCANS = {
    "full turn": fan(),
    "wide fan": wide(),
    "short scan": wide(np.deg2rad(30 + np.arange(214.0))),
    "axis beside the middle": fan(centre=96.3),
    "offset detector": fan(detectors=130, centre=18.0),
    "offset to the other side": wide(detectors=130, centre=111.0),
}


@pytest.mark.parametrize("name", SCANS)
def test_every_fan_is_reconstructed_without_a_warning(name, tmp_path):
    g = SCANS[name]
    image, pixel, told = reconstructed(write_scan(tmp_path / "scan.h5", g), "--recipe", "fbp")
    assert image.shape[0] == (223 if "offset" in name else 200) and pixel == pytest.approx(g.bin_at_axis)

    assert error(image, pixel) < 0.1 and 'class="note"' not in told


@pytest.mark.parametrize(("recipe", "most"), [("fbp", 0.35), ("cgls", 0.25), ("tv", 0.1)])
def test_every_recipe_takes_an_offset_fan_of_few_views(recipe, most, tmp_path):
    g = fan(FULL[::6], 130, 18.0)
    flags = ["--recipe", recipe, "--size", "112", "--set", "correct.bin=2"]
    image, pixel, _ = reconstructed(write_scan(tmp_path / "scan.h5", g, 0.02), *flags)

    assert image.shape == (112, 112) and error(image, pixel) < most


def test_the_weight_of_the_prior_is_chosen_on_a_fan(tmp_path):
    path = write_scan(tmp_path / "scan.h5", fan(FULL[::12]), 0.05)
    values = {}
    for flags in (["--recipe", "fbp"], ["--recipe", "tv", "--size", "200"]):
        image, pixel, _ = reconstructed(path, *flags)
        true = truth(image, pixel)
        values[flags[1]] = psnr(image, true, data_range=float(np.ptp(true)))

    assert values["tv"] > values["fbp"] + 5


@pytest.mark.parametrize(
    ("g", "said"),
    [
        (wide(np.deg2rad(np.arange(180.0))), "no ray of some bins of the fan falls in a wedge of 31 degrees"),
        (fan(FULL[:200], 130, 18.0), "no ray of some bins of the fan falls in a wedge of 161 degrees"),
    ],
    ids=["half a turn", "an offset detector on less than a turn"],
)
def test_lines_that_are_not_measured_are_said(g, said, tmp_path):
    flags = ["--recipe", "fbp", "--truncated"]
    assert said in reconstructed(write_scan(tmp_path / "scan.h5", g), *flags)[2]


def test_plan_knows_the_size_of_the_image(tmp_path, capsys):
    path = write_scan(tmp_path / "scan.h5", fan(FULL[::6], 130, 18.0))
    for flags, size in (([], 223), (["--set", "correct.bin=2"], 112), (["--centre", "64.5"], 130)):
        assert main(["plan", str(path), "--json", *flags]) == 0
        assert json.loads(capsys.readouterr().out)["size"] == size
    assert reconstructed(path, "--recipe", "fbp", "--set", "correct.bin=2")[0].shape == (112, 112)


def test_a_given_axis_is_used(tmp_path):
    path = write_scan(tmp_path / "scan.h5", fan(centre=96.3))
    with h5py.File(path, "r+") as file:
        del file["centre"]
    assert error(*reconstructed(path, "--recipe", "fbp", "--centre", "96.3")[:2]) < 0.1
    assert error(*reconstructed(path, "--recipe", "fbp")[:2]) > 0.1


@pytest.mark.parametrize(
    ("g", "said"),
    [
        (fan(detectors=90), "narrower than the object"),
        (FanBeam2D(FULL, 200, 0.2, None, "mm", 16.0, 17.0), "the source stands inside the image"),
    ],
    ids=["truncated", "source in the image"],
)
def test_fans_that_cannot_be(g, said, tmp_path, capsys):
    path = write_scan(tmp_path / "scan.h5", g)
    assert main(["reconstruct", str(path), "--quiet", "--recipe", "fbp"]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
