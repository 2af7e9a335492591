"""Bad input, one by one, through the command line: one sentence, exit code 2, no traceback."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scans
import torch

from invreg import plan, prepare
from invreg.cli import main
from invreg.io.centre import truncation


@pytest.fixture
def refused(fake, tmp_path, capsys):
    """Run a reconstruction that must be refused; the sentence it is refused with."""

    def refused(file, *flags):
        before = set(tmp_path.iterdir())
        out = tmp_path / "out"
        code = main(["reconstruct", str(file), "--recipe", "fake", "--out", str(out), "--quiet", *flags])
        told = capsys.readouterr()
        assert code == 2, told
        assert told.err.count("\n") == 1 and told.err.startswith("invreg: ") and not told.out, told
        assert "Traceback" not in told.err and not fake.calls
        assert set(tmp_path.iterdir()) - before <= {out} and not (out / "volume.tif").exists()
        return told.err

    return refused


def changed(tmp_path, **datasets):
    return scans.write_scan(tmp_path / "scan.h5", **datasets)


# files


def test_missing_file(refused, tmp_path):
    assert "nothing.h5: no such file" in refused(tmp_path / "nothing.h5")


def test_empty_file(refused, tmp_path):
    (tmp_path / "scan.h5").touch()
    assert "empty" in refused(tmp_path / "scan.h5")


def test_truncated_hdf5(refused, tmp_path):
    whole = changed(tmp_path).read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    assert "half.h5" in (told := refused(tmp_path / "half.h5")) and "truncated" in told


def test_text_file_called_h5(refused, tmp_path):
    (tmp_path / "scan.h5").write_text("angle,value\n0,1\n")
    assert "text file" in refused(tmp_path / "scan.h5")


def test_hdf5_without_projections(refused, tmp_path):
    assert "/exchange/data is missing" in refused(changed(tmp_path, data=None))


# angles


def test_no_angles(refused, tmp_path):
    assert "no angles; give them with --angles or --angle-range" in refused(changed(tmp_path, theta=None))


def test_angles_given_by_hand_mend_it(fake, tmp_path):
    scan = changed(tmp_path, theta=None)
    assert main(["reconstruct", str(scan), "--recipe", "fake", "--angle-range", "0:180", "--quiet"]) == 0
    np.savetxt(tmp_path / "angles.txt", scans.degrees())
    flags = ["--angles", str(tmp_path / "angles.txt"), "--out", str(tmp_path / "by_file"), "--quiet"]
    assert main(["reconstruct", str(scan), "--recipe", "fake", *flags]) == 0
    one, other = (fake.calls[k].y for k in (0, 1))
    assert torch.equal(one, other)


def test_radians_taken_for_degrees(refused, tmp_path):
    told = refused(changed(tmp_path, theta=np.deg2rad(scans.degrees())))
    assert "look like radians" in told and "--angle-unit radians" in told


def test_radians_told_mend_it(fake, tmp_path):
    scan = changed(tmp_path, theta=np.deg2rad(scans.degrees()))
    assert main(["reconstruct", str(scan), "--recipe", "fake", "--angle-unit", "radians", "--quiet"]) == 0


def test_as_many_angles_as_projections(refused, tmp_path):
    told = refused(changed(tmp_path, theta=scans.degrees()[:-1]))
    assert f"{scans.VIEWS - 1} angles for {scans.VIEWS} projections" in told


def test_wrong_dimension_order(refused, tmp_path):
    a = scans.arrays()
    turned = {key: np.moveaxis(a[key], 0, 1) for key in ("data", "data_white", "data_dark")}
    told = refused(changed(tmp_path, **turned))
    assert "another order" in told and "(angle, row, detector)" in told


def test_a_single_view(refused, tmp_path):
    a = scans.arrays()
    assert "a single view" in refused(changed(tmp_path, data=a["data"][:1], theta=a["theta"][:1]))
    assert "a single view" in refused(changed(tmp_path), "--views", "1")


# values


def test_flats_all_zero(refused, tmp_path):
    assert "flats are all zero" in refused(changed(tmp_path, data_white=np.zeros((5, scans.ROWS, scans.BINS), "f4")))


def test_flats_saturated(refused, tmp_path):
    flats = np.full((5, scans.ROWS, scans.BINS), 65535, np.float32)
    assert "saturated" in refused(changed(tmp_path, data_white=flats))


def test_flats_brighter_than_the_detector_can_count(refused, tmp_path):
    a = scans.arrays()
    flats = a["data_white"].astype(np.uint32) * 5
    assert "count only to 65535" in refused(changed(tmp_path, data=a["data"].astype(np.uint16), data_white=flats))


def test_negative_counts(refused, tmp_path):
    data = scans.arrays()["data"]
    data[3, 1, 7] = -4
    assert "1 negative counts, down to -4" in refused(changed(tmp_path, data=data))


def test_no_counts_at_all(refused, tmp_path):
    data = np.zeros_like(scans.arrays()["data"])
    assert "no counts above 0 in the rows looked at" in refused(changed(tmp_path, data=data))


def test_many_nan_pixels(refused, tmp_path):
    data = scans.arrays()["data"]
    data[:10] = np.nan
    assert "NaN or infinite" in refused(changed(tmp_path, data=data))


def test_a_few_nan_and_inf_pixels_are_masked_and_counted_in_the_report(fake, tmp_path, capsys):
    data = scans.arrays()["data"]
    data[3, 1, 7], data[9, 2, 20], data[9, 3, 21] = np.nan, np.inf, -np.inf
    scan = changed(tmp_path, data=data)
    assert main(["reconstruct", str(scan), "--recipe", "fake", "--quiet", "--out", str(tmp_path / "out")]) == 0
    assert torch.isfinite(fake.calls[0].y).all()
    told = "3 values"
    assert told in capsys.readouterr().out and told in (tmp_path / "out" / "report.html").read_text()
    exact = torch.from_numpy(scans.line_integrals()).permute(1, 0, 2)
    assert (fake.calls[0].y - exact).abs().max() < 0.1  # filled with about what had been there


def test_bad_pixels_outside_the_rows_first_looked_at_are_counted_too(fake, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepare, "LOOK", 1)
    data = scans.arrays()["data"]
    data[3, 2, 7] = np.nan
    assert main(["reconstruct", str(changed(tmp_path, data=data)), "--recipe", "fake", "--quiet"]) == 0
    assert "1 values" in capsys.readouterr().out


# geometry


def narrow(tmp_path, bins):
    a, cut = scans.arrays(), slice((scans.BINS - bins) // 2, (scans.BINS + bins) // 2)
    return changed(tmp_path, **{key: a[key][..., cut] for key in ("data", "data_white", "data_dark")})


def test_a_detector_narrower_than_the_object(refused, tmp_path):
    told = refused(narrow(tmp_path, 20))
    assert "narrower than the object" in told and "--truncated" in told


def test_a_narrow_detector_is_taken_when_told_so_with_a_warning(fake, tmp_path, capsys):
    flags = ["--recipe", "fake", "--quiet", "--truncated", "--out", str(tmp_path / "out")]
    assert main(["reconstruct", str(narrow(tmp_path, 20)), *flags]) == 0
    told = "reaches past the detector"
    assert told in capsys.readouterr().out and told in (tmp_path / "out" / "report.html").read_text()


def test_a_wide_detector_gives_no_such_warning():
    assert truncation(scans.line_integrals()) < prepare.REACHING


def test_an_image_far_finer_than_the_detector(refused, tmp_path):
    assert "at most 192" in refused(changed(tmp_path), "--size", "400")


def test_rows_and_views_the_file_lacks(refused, tmp_path):
    scan = changed(tmp_path)
    assert "the file has 0:4" in refused(scan, "--rows", "2:9")
    assert f"the file has {scans.VIEWS}" in refused(scan, "--views", "99")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_no_gpu(refused, tmp_path):
    assert "invreg doctor" in refused(changed(tmp_path), "--device", "cuda")


# settings


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--recipe", "svtw"], "did you mean svtv?"),
        (["--recipe", "none.toml"], "no such recipe file"),
        (["--set", "solver.max_itr=3"], "no setting solver.max_itr (did you mean max_iter?)"),
        (["--set", "solvr.tol=3"], "did you mean solver?"),
        (["--set", "solver.max_iter=many"], "--set solver.max_iter: solver.max_iter takes"),
        (["--set", "correct.rings=1"], "takes true or false"),
        (["--lambda", "-1"], "a number > 0"),
        (["--lambda", "nan"], "a number > 0"),
        (["--rows", "3"], '"a:b"'),
        (["--views", "0"], "how many"),
        (["--size", "2.5"], "8 or more"),
        (["--device", "gpu"], "cpu, cuda or cuda:0"),
        (["--centre", "left"], '"auto"'),
    ],
)
def test_settings(refused, tmp_path, flags, said):
    assert said in refused(changed(tmp_path), *flags)


def test_all_errors_of_a_recipe_file_at_once(fake, tmp_path, capsys):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'recipe = "fakee"\nversion = 2\n[prior]\nlambda = -1\netta = 2\n'
        '[solver]\nmax_iter = "many"\n[imagee]\nsize = 3\n'
    )
    assert main(["reconstruct", str(changed(tmp_path)), "--recipe", str(recipe), "--quiet"]) == 2
    first, *lines = capsys.readouterr().err.splitlines()
    assert "6 settings are wrong" in first and len(lines) == 6 and all(str(recipe) in line for line in lines)
    told = "\n".join(lines)
    for word in ("did you mean fake?", "version takes 1", "prior.lambda", "did you mean eta?", "did you mean image?"):
        assert word in told
    recipe.write_text("recipe = \n")
    assert main(["reconstruct", str(tmp_path / "scan.h5"), "--recipe", str(recipe)]) == 2
    assert "not a recipe in TOML" in capsys.readouterr().err


# the machine


def test_out_of_disk_before_the_work(refused, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda path: usage)
    assert "the disk has" in refused(changed(tmp_path))


@pytest.mark.parametrize("when", ["in a batch", "at the end"])
def test_out_of_disk_in_the_middle(fake, tmp_path, monkeypatch, capsys, when):
    """Nothing is left half written, and the rows that are done are not lost."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*_):
        raise full

    scan, out = changed(tmp_path), tmp_path / "out"
    argv = ["reconstruct", str(scan), "--recipe", "fake", "--quiet", "--out", str(out), "--set", "compute.batch=2"]
    with monkeypatch.context() as patch:
        if when == "in a batch":
            write = Path.open
            patch.setattr(Path, "open", lambda p, *a, **k: fail() if p.name == "volume.f32" else write(p, *a, **k))
        else:
            patch.setattr(h5py, "File", lambda *a, **k: fail() if a[1:] == ("w",) else WHOLE(*a, **k))
        assert main(argv) == 2
    told = capsys.readouterr().err
    assert "no space left" in told.lower() and told.count("\n") == 1
    assert not any((out / name).exists() for name in ("volume.tif", "volume.h5", "report.html"))
    before = len(fake.calls)
    assert main([*argv, "--resume"]) == 0
    assert len(fake.calls) - before == (2 if when == "in a batch" else 0)


WHOLE = h5py.File


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 63.5 GiB"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["numpy", "cuda", "torch"],
)
def test_out_of_memory_takes_smaller_batches_first(fake, tmp_path, capsys, error):
    def behave(call):
        if call.rows > 1:
            raise error

    fake.behave = behave
    scan = changed(tmp_path)
    assert main(["reconstruct", str(scan), "--recipe", "fake", "--out", str(tmp_path / "out")]) == 0
    assert [call.rows for call in fake.calls] == [4, 2, 1, 1, 1, 1]
    assert "out of memory with 4 rows at once; going on with 2" in capsys.readouterr().err
    assert "batch = 1" in (tmp_path / "out" / "recipe.toml").read_text()


def test_out_of_memory_with_a_single_row(fake, tmp_path, capsys):
    def behave(call):
        raise MemoryError

    fake.behave = behave
    assert main(["reconstruct", str(changed(tmp_path)), "--recipe", "fake", "--quiet"]) == 2
    told = capsys.readouterr().err
    assert "out of memory with a single row" in told and "--size" in told and told.count("\n") == 1


def test_out_of_memory_while_reading(refused, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("Unable to allocate 63.5 GiB")

    monkeypatch.setattr(prepare, "read", fail)
    assert "63.5 GiB" in refused(changed(tmp_path))


def test_a_file_where_the_folder_should_be(refused, tmp_path):
    (tmp_path / "out").write_text("a file")
    assert "out" in (told := refused(changed(tmp_path))) and "--out" in told


def test_no_write_permission(refused, tmp_path, monkeypatch):
    def fail(self, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "mkdir", fail)
    assert "permission denied" in (told := refused(changed(tmp_path))) and "--out" in told


def test_one_sentence_in_a_process_of_its_own(tmp_path):
    (tmp_path / "scan.h5").write_text("no measurement")
    done = subprocess.run(
        [sys.executable, "-m", "invreg", "reconstruct", str(tmp_path / "scan.h5"), "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "text file" in done.stderr
    assert '"code": 2' in done.stdout
