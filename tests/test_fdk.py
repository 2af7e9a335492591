"""Whole cone beams through the command line: from a file of counts to a volume with the right values."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tifffile
from test_filtered_backprojection import balls

from invreg import prepare, reconstruct
from invreg.cli import main
from invreg.io import Scan, write
from invreg.io.cone import Cone

VIEWS, ROWS, BINS = 180, 60, 74
PITCH, ROW_PITCH = 1.5, 1.2  # mm on the detector, magnified 1.5 times
CENTRES = np.array([[3.0, -8.0, 4.0], [-10.0, 6.0, -7.0]])
RADII, VALUES = np.array([9.0, 7.0]), np.array([0.05, 0.08])
ANGLES = np.arange(VIEWS) * 2 * np.pi / VIEWS
CONE = Cone(192.0, 288.0, ROW_PITCH, offset_v=1.8)


def scan(angles=ANGLES, cone=CONE, columns=BINS, centre=None) -> Scan:
    """Counts through two balls, with the flats and darks of an uneven detector, and a dead pixel."""
    blank = np.zeros((angles.size, ROWS, columns))
    shape = Scan(blank, angles, "line integrals", None, None, PITCH, "mm", centre, cone=cone)
    beam = 3e4 * (1 + 0.2 * np.cos(np.arange(columns) / 9) + 0.1 * np.sin(np.arange(ROWS) / 7)[:, None])
    counts = 100 + beam * np.exp(-balls(shape.geometry, CENTRES, RADII, VALUES).numpy())
    flats, darks = np.repeat(beam[None] + 100, 3, 0), np.full((2, ROWS, columns), 100.0)
    counts[:, 31, 40], flats[:, 31, 40] = 100, 100
    return replace(shape, projections=counts, kind="counts", flats=flats, darks=darks)


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "balls.h5", scan())
    return tmp_path / "balls.h5"


def run(path, *flags, code=0):
    out = path.parent / "out"
    argv = ["reconstruct", str(path), "--recipe", "fdk", "--quiet", "--force", "--out", str(out), *flags]
    assert main(argv) == code
    return out


def volume(out):
    with h5py.File(out / "volume.h5") as file:
        a = file["volume"].attrs
        assert np.array_equal(file["volume"], tifffile.imread(out / "volume.tif"))
        return file["volume"][()], float(a["pixel_size"]), float(a["slice_thickness"]), file["row"][()]


def check(x, pixel, thickness, rows, cone=CONE, most=0.02):
    """The balls are where they should be, with their values, and nothing is beside them."""
    z = (rows - cone.central_row(ROWS)) * thickness
    y, xs = ((np.arange(n) - (n - 1) / 2) * pixel for n in x.shape[1:])
    away = [
        np.sqrt((xs - c[0]) ** 2 + (-y[:, None] - c[1]) ** 2 + (z[:, None, None] - c[2]) ** 2) - r
        for c, r in zip(CENTRES, RADII, strict=True)
    ]
    for value, distance in zip(VALUES, away, strict=True):
        part = x[distance < -2] / value
        assert part.size > 150 and abs(part.mean() - 1) < most and part.std() < 0.05, (part.mean(), part.std())
    assert abs(x[np.minimum(*away) > 3].mean()) < 0.02 * VALUES[0]


def test_the_volume_of_a_cone(path):
    out = run(path)
    x, pixel, thickness, rows = volume(out)
    assert x.shape == (ROWS, BINS, BINS) and list(rows) == list(range(ROWS))
    assert pixel == pytest.approx(PITCH / 1.5) and thickness == pytest.approx(ROW_PITCH / 1.5)
    check(x, pixel, thickness, rows)
    with tifffile.TiffFile(out / "volume.tif") as file:
        assert file.imagej_metadata["spacing"] == pytest.approx(thickness) and file.imagej_metadata["unit"] == "mm"
    told = (out / "report.html").read_text()
    assert "thickness of a slice" in told and "Residual" in told and 'class="note"' not in told
    assert (out / "preview.png").stat().st_size > 20_000
    # the recipe that is left behind gives the run again
    again = ["reconstruct", str(path), "--recipe", str(out / "recipe.toml"), "--quiet", "--out", str(out / "again")]
    assert main(again) == 0 and np.array_equal(volume(out / "again")[0], x)


@pytest.mark.parametrize(
    "changed",
    [
        {"cone": replace(CONE, axis_offset=2.0, offset_u=-1.0)},
        {"columns": 52, "centre": 12.0},
        {"angles": 0.3 + np.linspace(0, np.pi + 0.4, 120)},
        {"cone": replace(CONE, source_origin=120.0, source_detector=180.0, offset_v=-4.0)},
    ],
    ids=["axis beside the middle", "offset detector", "short scan", "wide cone"],
)
def test_other_cones(changed, tmp_path):
    write(tmp_path / "balls.h5", scan(**changed))
    out = run(tmp_path / "balls.h5")
    whole = volume(out)
    check(*whole, cone=changed.get("cone", CONE))
    assert 'class="note"' not in (out / "report.html").read_text()
    parts = volume(run(tmp_path / "balls.h5", "--set", "compute.memory=0.004"))[0]
    assert np.abs(parts - whole[0]).max() < 2e-6


def test_slices_views_bins_and_memory(path):
    whole = volume(run(path))[0]
    some, _, _, rows = volume(run(path, "--rows", "20:33"))
    assert list(rows) == list(range(20, 33)) and np.abs(some - whole[20:33]).max() < 2e-6
    out = run(path, "--rows", "40:44")  # without the row in the plane of the source
    assert np.abs(volume(out)[0] - whole[40:44]).max() < 2e-6 and "Residual" not in (out / "report.html").read_text()
    batches = volume(run(path, "--set", "compute.batch=7", "--set", "compute.memory=0.004"))[0]
    assert np.abs(batches - whole).max() < 2e-6
    rings = volume(run(path, "--set", "correct.rings=true", "--set", "compute.memory=0.004"))[0]
    assert np.abs(rings - volume(run(path, "--set", "correct.rings=true"))[0]).max() < 2e-6
    coarse = run(path, "--set", "correct.bin=2", "--views", "90")
    assert volume(coarse)[0].shape == (ROWS, 37, 37)
    check(*volume(coarse), most=0.04)


def test_a_run_goes_on_where_it_was(path, monkeypatch):
    whole = volume(run(path))[0]
    kept, slices = [], prepare.Survey.slices

    def stop(seen, first, end):
        if len(kept) == 2:
            raise ZeroDivisionError
        kept.append(first)
        return slices(seen, first, end)

    flags = ["reconstruct", str(path), "--recipe", "fdk", "--quiet", "--out", str(path.parent / "resumed")]
    flags += ["--set", "compute.batch=25"]
    with monkeypatch.context() as patch:
        patch.setattr(prepare.Survey, "slices", stop)
        assert main(flags) == 1 and kept == [0, 25]
    assert main([*flags, "--resume"]) == 0
    assert np.abs(volume(path.parent / "resumed")[0] - whole).max() < 2e-6


def test_plan_and_info_tell_the_volume(path, capsys):
    assert main(["plan", str(path), "--recipe", "fdk", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["size"], told["batch"]) == (ROWS, BINS, ROWS)
    assert told["bytes_volume"] == 4 * ROWS * BINS**2
    assert main(["info", str(path)]) == 0
    assert "only the central row 28 is taken" in (said := capsys.readouterr().out) and "--recipe fdk" in said
    assert "the geometry of the cone" in said
    assert main(["info", str(path), "--recipe", "fdk", "--plot", str(path.parent / "look.png")]) == 0
    assert "central row" not in capsys.readouterr().out and (path.parent / "look.png").exists()


def helix():
    g = scan().geometry.general()
    rise = np.arange(VIEWS)[:, None] * [0, 0, 0.05]
    return replace(CONE, vectors=np.hstack([g.source + rise, g.detector + rise, g.u, g.v]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cone": helix()}, "each view of this one has its own place"),
        ({"cone": replace(CONE, roll=0.02)}, "leans by 1.15 degrees"),
        ({"cone": None}, "a scan of parallel rays; use fbp"),
        ({"cone": None, "fan": (192.0, 288.0)}, "a scan of a fan beam; use fbp"),
        ({"cone": replace(CONE, offset_v=200.0)}, "no slice that can be reconstructed by itself"),
        ({"cone": replace(CONE, source_origin=30.0, source_detector=45.0)}, "the source stands inside the image"),
    ],
    ids=["helix", "leaning axis", "parallel", "fan", "beside the source", "source in the image"],
)
@pytest.mark.parametrize("verb", ["reconstruct", "plan"])
def test_what_fdk_refuses(verb, changed, said, tmp_path, capsys):
    write(tmp_path / "scan.h5", replace(scan(), **changed))
    code = main([verb, str(tmp_path / "scan.h5"), "--recipe", "fdk"])
    if verb == "plan" and ("source" in said or "by itself" in said):
        return  # told once the rows are looked at
    told = capsys.readouterr().err
    assert code == 2 and said in told and told.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--rows", "50:70"], "the file has 0:60"),
        (["--set", "compute.memory=0.0001"], "compute.memory: max_memory"),
        (["--size", "400"], "at most 296"),
    ],
)
def test_settings_that_will_not_do(flags, said, path, capsys):
    run(path, *flags, code=2)
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def test_out_of_memory_takes_fewer_slices(path, monkeypatch):
    seen, fdk = [], reconstruct.RECIPES["fdk"]

    def small(A, *others):
        seen.append(A.domain.shape[0])
        if seen[-1] > 20:
            raise MemoryError
        return fdk.run(A, *others)

    monkeypatch.setitem(reconstruct.RECIPES, "fdk", replace(fdk, run=small))
    out = run(path)
    assert seen == [60, 30, 15, 15, 15, 15]
    check(*volume(out))
