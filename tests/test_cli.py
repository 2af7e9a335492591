"""The command line: flags, exit codes, what it leaves behind, and going on after a kill."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
import scans
import tifffile

from invreg import cli, prepare
from invreg.cli import main
from invreg.metrics import relative_error
from invreg.report import RESULTS


@pytest.fixture
def scan(tmp_path):
    return scans.write_scan(tmp_path / "scan.h5")


def run(scan, *flags, out="out"):
    return main(["reconstruct", str(scan), "--recipe", "fake", "--quiet", "--out", str(scan.parent / out), *flags])


def volume(scan, out="out"):
    return tifffile.imread(scan.parent / out / "volume.tif")


def in_a_process(scan):
    """The command line with the recipe of the tests, which an environment variable may make a deadly one."""
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv.pop(1)); import scans;"
        "from invreg.cli import main; from invreg.recipes import RECIPES;"
        "fake = scans.Fake(); RECIPES['fake'] = scans.as_recipe(fake); last = os.environ.get('KILLED_IN_CALL');"
        "fake.behave = lambda call: os.kill(os.getpid(), signal.SIGKILL) if str(call.index) == last else None;"
        "code = main(); print(len(fake.calls)); sys.exit(code)"
    )
    flags = ["reconstruct", str(scan), "--recipe", "fake", "--out", str(scan.parent / "out")]
    return [sys.executable, "-c", code, str(Path(__file__).parent), *flags]


# flags and help


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from invreg.cli import main; code = main(['--help']);"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'rich') if m in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
    for word in (*cli.VERBS, "exit codes", "--version", "--json"):
        assert word in done.stdout


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert cli.VERBS[verb].summary in capsys.readouterr().out.replace("\n", " ")


def test_flags_in_any_order():
    words = [["--recipe", "tv"], ["scan.h5"], ["--json"], ["--rows", "1:2"], ["--lambda=0.1"], ["reconstruct"]]
    orders = [words, words[::-1], [*words[3:], *words[:3]], [words[5], *words[:5]]]
    parsed = [vars(cli._parse([word for part in order for word in part])) for order in orders]
    assert parsed[0]["rows"] == "1:2" and parsed[0]["json"] and all(p == parsed[0] for p in parsed)


def test_values_may_look_like_verbs_and_flags():
    args = vars(cli._parse(["--out", "plan", "reconstruct", "x.h5", "--angle-range", "-76:78", "--lambda", "-1"]))
    assert [args[key] for key in ("verb", "out", "angle_range", "lambda")] == ["reconstruct", "plan", "-76:78", "-1"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["reconstruct", "x.h5", "--veiws", "3"], "unknown flag --veiws; did you mean --views?"),
        (["recontruct", "x.h5"], "there is no verb recontruct; did you mean reconstruct?"),
        (["scan.h5"], "there is no verb scan.h5; say what to do with it, such as invreg info scan.h5"),
        (["info", "a.h5", "b.h5"], "unknown argument b.h5"),
        (["info"], "no FILE given"),
        (["reconstruct", "x.h5", "--rows"], "expected one argument"),
        (["reconstruct", "x.h5", "--set", "solver.tol"], "expected KEY=VALUE"),
    ],
)
def test_usage_errors(argv, said, capsys):
    assert main(argv) == 2
    told = capsys.readouterr()
    assert told.err.startswith("invreg: ") and said in told.err and told.err.count("\n") == 1 and not told.out


def test_no_arguments_show_the_help_and_fail(capsys):
    assert main([]) == 2
    assert "reconstruct" in capsys.readouterr().out


def test_version_and_json(capsys):
    assert main(["--version"]) == 0
    number = capsys.readouterr().out.split()[1]
    assert main(["--json", "--version"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": number}
    assert re.fullmatch(r"\d+\.\d+\.\d+", number)


def test_recipes_are_listed(fake, capsys):
    assert main(["recipes"]) == 0
    told = capsys.readouterr().out
    assert "a recipe of the tests" in told and "solver.max_iter" in told and "prior.lambda" in told
    assert main(["recipes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["correct.bin"]["default"] == 1


# the job


def test_reconstruct_leaves_everything_behind(fake, scan, capsys):
    assert run(scan, "--centre", str(scans.CENTRE)) == 0
    told = capsys.readouterr().out
    assert "converged" in told and "lambda 0.02: its residual" in told and "solve" in told
    out = scan.parent / "out"
    assert sorted(p.name for p in out.iterdir()) == sorted(RESULTS)  # and nothing temporary
    with tifffile.TiffFile(out / "volume.tif") as file:
        image = file.asarray()
        per, over = file.pages[0].tags["XResolution"].value
        assert file.imagej_metadata["unit"] == "mm"
    assert image.dtype == np.float32 and image.shape == (scans.ROWS, scans.BINS, scans.BINS)
    assert per / over == pytest.approx(1 / scans.PIXEL, rel=1e-4)
    # filtered back-projection of exact line integrals: right up to the streaks of 36 views, units and rows included
    assert relative_error(image, scans.truth()) < 0.2
    means = image[:, 20:28, 20:28].mean((1, 2))
    assert means / means[0] == pytest.approx(1 + 0.1 * np.arange(scans.ROWS), rel=1e-3)
    with h5py.File(out / "volume.h5") as file:
        assert np.array_equal(file["volume"], image) and file["volume"].attrs["units"] == "1/mm"
        assert file["volume"].attrs["pixel_size"] == pytest.approx(scans.PIXEL)
        assert [s.decode() for s in file["status"]] == ["converged"] * scans.ROWS
        assert list(file["row"]) == list(range(scans.ROWS)) and file.attrs["lambda"] == 0.02
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["gap"]) for r in rows] == [0.1, 0.01, 0.001] and rows[0]["end"] == str(scans.ROWS)


def test_json_tells_the_same(fake, scan, capsys):
    assert run(scan, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["code"] == 0 and told["weight"] == 0.02 and told["rows"] == [0, scans.ROWS]
    assert told["gap"] == pytest.approx(1e-3) and set(told["seconds"]) >= {"import", "read", "solve", "write"}


def test_recipe_file_gives_the_run_again(fake, scan):
    assert run(scan, "--views", "18", "--rows", "1:3", "--size", "40") == 0
    recipe = scan.parent / "out" / "recipe.toml"
    table = tomllib.loads(recipe.read_text())
    assert table["data"] == {"file": "../scan.h5", "rows": "1:3", "views": 18} and table["image"]["size"] == 40
    assert isinstance(table["correct"]["centre"], float)
    assert "chosen: 0.02" in recipe.read_text()
    again = ["reconstruct", str(scan), "--recipe", str(recipe), "--quiet", "--out", str(scan.parent / "again")]
    assert main(again) == 0
    assert np.array_equal(volume(scan), volume(scan, "again"))
    # FILE may be left out: the path in the recipe counts from the recipe's folder, not the working one
    assert main([*again[:1], *again[2:], "--force"]) == 0
    assert np.array_equal(volume(scan), volume(scan, "again"))


def test_flags_and_set_win_over_the_recipe_file(fake, scan):
    recipe = scan.parent / "mine.toml"
    recipe.write_text('recipe = "fake"\n[solver]\nmax_iter = 5\ntol = 0.5\n[prior]\nlambda = 0.3\n')
    flags = ["--set", "solver.max_iter=7", "--lambda", "0.4", "--set=correct.floor=0.01"]
    assert main(["reconstruct", str(scan), "--recipe", str(recipe), "--quiet", *flags]) == 0
    config = fake.calls[0].config
    assert (config.solver.max_iter, config.solver.tol, config.prior.weight, config.correct.floor) == (7, 0.5, 0.4, 0.01)
    assert (scan.parent / "scan_invreg" / "report.html").exists()  # the default folder


def test_size_spans_the_detector(fake, scan):
    assert run(scan, "--size", "24", "--centre", str(scans.CENTRE)) == 0
    assert relative_error(volume(scan), scans.truth(24)) < 0.2
    with h5py.File(scan.parent / "out" / "volume.h5") as file:
        assert file["volume"].attrs["pixel_size"] == pytest.approx(2 * scans.PIXEL)


def test_only_the_rows_asked_for_are_read(fake, scan, monkeypatch):
    read, asked = prepare.read, []
    monkeypatch.setattr(prepare, "read", lambda *a, rows, **k: asked.append(rows) or read(*a, rows=rows, **k))
    assert run(scan, "--rows", "1:3") == 0
    assert all(1 <= rows.start and rows.stop <= 3 for rows in asked)
    assert len(volume(scan)) == 2 and fake.calls[0].rows == 2


def test_the_weight_is_chosen_once(fake, scan):
    assert run(scan, "--set", "compute.batch=1") == 0
    assert [call.config.prior.weight for call in fake.calls] == ["auto", 0.02, 0.02, 0.02]
    assert all(call.std.shape == (1,) and 0 <= float(call.std[0]) < 0.01 for call in fake.calls)


def test_not_converged_is_exit_code_3_with_the_gap(fake, scan, capsys):
    fake.status = "max_iter"
    assert run(scan) == 3
    assert "max_iter: gap 1.0e-03" in capsys.readouterr().out
    assert run(scan, "--force", "--set", "compute.batch=3") == 3
    assert "2 of 2 batches did not converge, gap at most 1.0e-03" in capsys.readouterr().out


def test_broken_down_is_exit_code_1(fake, scan):
    fake.behave = lambda call: "nonfinite" if call.index == 1 else None
    assert run(scan, "--set", "compute.batch=2") == 1
    with h5py.File(scan.parent / "out" / "volume.h5") as file:
        assert [s.decode() for s in file["status"]] == ["converged"] * 2 + ["nonfinite"] * 2


def test_a_fault_is_exit_code_1_with_its_traceback(fake, scan, capsys):
    def fault(call):
        raise ZeroDivisionError("of the test")

    fake.behave = fault
    assert run(scan) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told and told.splitlines()[-1].startswith("invreg: failed: ZeroDivisionError: of the test")


def test_results_are_replaced_only_with_force(fake, scan, capsys):
    assert run(scan) == 0
    before = (scan.parent / "out" / "volume.tif").stat().st_mtime_ns
    assert run(scan) == 2
    assert "--force" in capsys.readouterr().err and len(fake.calls) == 1
    assert (scan.parent / "out" / "volume.tif").stat().st_mtime_ns == before
    assert run(scan, "--force") == 0
    assert (scan.parent / "out" / "volume.tif").stat().st_mtime_ns > before


# interrupts and resuming

BY_ONE = ("--set", "compute.batch=1")


def test_resume_goes_on_at_the_row_where_it_was(fake, scan, capsys):
    def stop(call):
        if call.index == 2:
            raise ZeroDivisionError

    fake.behave = stop
    assert run(scan, *BY_ONE) == 1
    assert not (scan.parent / "out" / "volume.tif").exists()
    fake.behave = lambda call: None
    capsys.readouterr()
    assert run(scan, *BY_ONE) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(scan, *BY_ONE, "--resume") == 0
    assert len(fake.calls) == 3 + 2 and fake.calls[3].config.prior.weight == 0.02
    assert run(scan, *BY_ONE, out="whole") == 0
    assert np.array_equal(volume(scan), volume(scan, "whole"))
    assert not (scan.parent / "out" / "unfinished").exists()


def test_resume_refuses_another_run(fake, scan, capsys):
    def stop(call):
        if call.index == 1:
            raise ZeroDivisionError

    fake.behave = stop
    assert run(scan, *BY_ONE) == 1
    capsys.readouterr()
    assert run(scan, *BY_ONE, "--resume", "--lambda", "0.5") == 2
    told = capsys.readouterr().err
    assert "prior.lambda = auto, this one 0.5" in told and told.count("\n") == 1
    scans.write_scan(scan, data=scans.arrays()["data"] * np.float32(1.01))
    assert run(scan, *BY_ONE, "--resume") == 2
    assert "another measurement" in capsys.readouterr().err
    assert run(scan, *BY_ONE, "--force") == 0


@pytest.mark.parametrize("inside", [True, False], ids=["in the solver", "between batches"])
def test_an_interrupt_writes_what_there_is(fake, scan, inside, capsys):
    def stop(call):
        if call.index == 2:
            if inside:
                return "interrupted"
            raise KeyboardInterrupt
        return None

    fake.behave = stop
    assert run(scan, *BY_ONE) == 3
    assert "interrupted" in (told := capsys.readouterr().out) and "--resume" in told
    assert len(volume(scan)) == (3 if inside else 2)
    fake.behave = lambda call: None
    assert run(scan, *BY_ONE, "--resume") == 0
    assert len(fake.calls) == 3 + 2  # the interrupted row is solved again
    assert run(scan, *BY_ONE, out="whole") == 0
    assert np.array_equal(volume(scan), volume(scan, "whole"))


def test_an_interrupted_choice_of_the_weight_is_made_again(fake, scan):
    fake.behave = lambda call: "interrupted" if call.index == 0 else None
    assert run(scan, *BY_ONE) == 3 and volume(scan).ndim == 2  # a single page
    assert run(scan, *BY_ONE, "--resume") == 0 and len(volume(scan)) == scans.ROWS
    assert [call.config.prior.weight for call in fake.calls] == ["auto", "auto", 0.02, 0.02, 0.02]


def test_an_interrupt_before_anything_says_so(fake, scan, capsys):
    def stop(call):
        raise KeyboardInterrupt

    fake.behave = stop
    assert run(scan) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not (scan.parent / "out" / "volume.tif").exists()


def test_killed_and_resumed_in_another_process(scan):
    """A true kill: the process dies at once in its third row, and another one ends the work."""
    out = scan.parent / "out"
    command = [*in_a_process(scan), *BY_ONE, "--resume"]
    dies = subprocess.run(command, env={**os.environ, "KILLED_IN_CALL": "2"}, capture_output=True)
    assert dies.returncode == -signal.SIGKILL and not (out / "volume.tif").exists()
    ends = subprocess.run(command, capture_output=True, text=True)
    assert ends.returncode == 0, ends.stderr
    assert ends.stdout.splitlines()[-1] == "2" and "going on at row 2 of 0:4" in ends.stderr
    assert len(tifffile.imread(out / "volume.tif")) == scans.ROWS


def test_progress_on_a_terminal_and_off(scan):
    command = [*in_a_process(scan), "--force"]
    plain = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "rows 0:4 of 0:4  solve  iter 10  gap 1.0e-01" in plain.stderr and "\x1b" not in plain.stderr
    ours, theirs = os.openpty()
    done = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    told = b""
    try:
        while chunk := os.read(ours, 65536):
            told += chunk
    except OSError:  # how the other end says that it is closed
        pass
    os.close(ours)
    assert done.wait() == 0 and b"\x1b[" in told and b"gap" in told
