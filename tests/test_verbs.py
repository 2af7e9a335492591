"""The verbs beside reconstruct: info, plan, doctor."""

import json
import signal

import pytest
import scans

from invreg import doctor, plan, prepare
from invreg.cli import main


@pytest.fixture
def scan(tmp_path):
    return scans.write_scan(tmp_path / "scan.h5")


def test_info_tells_what_is_there_and_what_is_missing(scan, capsys):
    picture = scan.parent / "look.png"
    assert main(["info", str(scan), "--json", "--plot", str(picture)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["shape"] == [scans.VIEWS, scans.ROWS, scans.BINS] and told["axes"][0] == "angle"
    assert told["kind"] == "counts" and told["missing"] == ["rotation centre"] and told["problem"] is None
    assert told["rotation centre"] == pytest.approx(scans.CENTRE, abs=0.25)
    assert told["angles"] == pytest.approx([0, 175]) and told["pixel size"] == pytest.approx(scans.PIXEL)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000
    assert main(["info", str(scan)]) == 0
    words = capsys.readouterr().out
    assert "36 angles x 4 rows x 48 detector bins" in words and "0.05 mm" in words


def test_info_tells_the_header_of_a_scan_that_cannot_be_reconstructed(tmp_path, capsys):
    scan = scans.write_scan(tmp_path / "scan.h5", theta=None)
    assert main(["info", str(scan)]) == 2
    told = capsys.readouterr()
    assert "36 angles x 4 rows" in told.out and "angles" in told.out.partition("missing")[2]
    assert "--angle-range" in told.err and told.err.count("\n") == 1


def test_plan_reads_no_array(scan, capsys, monkeypatch):
    monkeypatch.setattr(prepare, "read", None)
    assert main(["plan", str(scan), "--json"]) == 0
    small = json.loads(capsys.readouterr().out)
    assert (small["rows"], small["views"], small["size"]) == (scans.ROWS, scans.VIEWS, scans.BINS)
    assert small["bytes_volume"] == 4 * scans.ROWS * scans.BINS**2 and small["seconds"] > 0
    assert main(["plan", str(scan), "--json", "--size", "96", "--set", "compute.batch=1", "--rows", "0:1"]) == 0
    large = json.loads(capsys.readouterr().out)
    assert large["bytes_volume"] == small["bytes_volume"] and large["batch"] == 1
    assert main(["plan", str(scan)]) == 0
    assert "assumes" in capsys.readouterr().out


def test_batches_fit_the_memory():
    one = plan.row_bytes("tv", 100, 256, 256)
    for gib, rows in ((0.5 * one / 2**30, 1), (3.5 * one / 2**30, 3), (1e3, plan.MOST["cpu"])):
        assert plan.batch_rows("tv", 100, 256, 256, "cpu", gib, 1000) == rows


def test_doctor_survives_broken_packages(monkeypatch, capsys):
    probes = {
        "fine": "print('1.0')",
        "absent": "import there_is_no_such_package",
        "broken": "raise OSError('libsomething.so.1 is missing')",
        "deadly": "import os, signal; os.kill(os.getpid(), signal.SIGFPE)",
    }
    monkeypatch.setattr(doctor, "NEEDED", {"fine": "print('1.0')"})
    monkeypatch.setattr(doctor, "OPTIONAL", probes)
    assert main(["doctor", "--json"]) == 0
    told = {c["name"]: c for c in json.loads(capsys.readouterr().out)["checks"]}
    assert told["fine"]["works"] and told["fine"]["detail"] == "1.0"
    assert "there_is_no_such_package is not installed" in told["absent"]["detail"]
    assert "libsomething.so.1" in told["broken"]["detail"]
    assert f"code {-signal.SIGFPE}" in told["deadly"]["detail"]
    monkeypatch.setattr(doctor, "NEEDED", probes)
    assert main(["doctor"]) == 1
    assert "FAIL" in capsys.readouterr().out
