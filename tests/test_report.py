"""The report: in one file, with all that it promises, and its pictures true to the values."""

import io
import math
import re
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest
import scans
from matplotlib.image import imread

from invreg.cli import main
from invreg.io import correct, read, write
from invreg.metrics import psnr
from invreg.report import figures


@pytest.fixture
def page(fake, tmp_path):
    def page(*flags, file=None):
        file = file or scans.write_scan(tmp_path / "scan.h5")
        argv = ["reconstruct", str(file), "--recipe", "fake", "--quiet", "--out", str(tmp_path / "out")]
        assert main([*argv, *flags]) == 0
        return (tmp_path / "out" / "report.html").read_text()

    return page


class Reader(HTMLParser):
    """Collects headings, text, addresses, and whether every tag is closed in its turn."""

    VOID = ("meta", "img", "br", "hr", "path", "use")

    def __init__(self, source):
        super().__init__()
        self.open, self.addresses, self.headings, self.words = [], [], [], []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


def test_one_file_that_needs_nothing_else(page):
    read = Reader(page())
    outside = [a for a in read.addresses if not a.startswith(("data:image/png;base64,", "#"))]
    assert not outside
    assert "@import" not in " ".join(read.words) and "url(http" not in " ".join(read.words)


def test_everything_that_is_promised(page):
    read = Reader(page("--centre", str(scans.CENTRE)))
    told = " ".join(read.words)
    assert read.headings == [
        "scan.h5",
        "Reconstruction",
        "Measurement",
        "Corrections",
        "Rotation axis",
        "Weight of the prior",
        "Convergence",
        "Residual",
        "Settings, versions, time",
    ]
    assert "Converged: gap 1.0e-03 after 30 iterations" in told
    for part in ("import", "read", "correct", "compile", "solve", "write"):
        assert re.search(rf"{part} \d+\.\d s", told)
    for word in ("torch 2.", "λ = 0.02: its residual", "λ = 0.01", "λ = 0.04", 'recipe = "fake"', "0.05 mm", "1/mm"):
        assert word in told
    assert all(f"axis at bin {scans.CENTRE + step:.2f}" in told for step in (-1, 0, 1))


def test_names_in_files_cannot_break_the_page(page, tmp_path):
    file = scans.write_scan(tmp_path / "a<b>&amp;.h5")
    assert Reader(page(file=file)).headings[0] == "a<b>&amp;.h5"


def test_no_weight_no_section(page):
    assert "Weight of the prior" not in Reader(page("--lambda", "0.3")).headings


def test_truth_is_shown_and_measured(page, tmp_path):
    """Our own format may carry the truth, here on a grid twice as fine and wider than the detector."""
    scan = correct(read(scans.write_scan(tmp_path / "scan.h5")), centre=scans.CENTRE)
    write(tmp_path / "own.h5", scan)
    fine = np.pad(scans.truth(2 * scans.BINS), ((0, 0), (6, 6), (6, 6)))
    with h5py.File(tmp_path / "own.h5", "r+") as file:
        file["truth"] = fine.astype(np.float32)
        file["truth"].attrs["pixel_size"] = scans.PIXEL / 2
    told = " ".join(Reader(page(file=tmp_path / "own.h5")).words)
    assert "Reconstruction minus truth" in told
    with h5py.File(tmp_path / "out" / "volume.h5") as file:
        image = file["volume"][scans.ROWS // 2]
    truth = scans.truth()[scans.ROWS // 2]
    expected = psnr(image, truth, data_range=truth.max() - truth.min())
    found = float(re.search(r"PSNR (\d+\.\d+) dB", told)[1])
    assert found == pytest.approx(expected, abs=0.15)  # printed to a tenth
    # a coarser grid that the truth's does not divide into
    told = " ".join(Reader(page("--size", "40", "--force", file=tmp_path / "own.h5")).words)
    with h5py.File(tmp_path / "out" / "volume.h5") as file:
        image = file["volume"][scans.ROWS // 2]
    truth = scans.truth(40)[scans.ROWS // 2]
    expected = psnr(image, truth, data_range=truth.max() - truth.min())
    assert float(re.search(r"PSNR (\d+\.\d+) dB", told)[1]) == pytest.approx(expected, abs=1.0)


def test_pictures_show_the_values():
    image = np.array([[0.0, 1.0], [2.0, 4.0]])
    grey = imread(io.BytesIO(figures.png(image, 0.0, 2.0)))[..., 0]
    assert grey == pytest.approx(np.array([[0, 0.5], [1, 1]]), abs=1 / 128)


def test_shrinking_averages():
    image = np.arange(48.0).reshape(6, 8)
    assert np.array_equal(figures.shrunk(image, 4), image.reshape(3, 2, 4, 2).mean((1, 3)))
    assert np.array_equal(figures.shrunk(image, 8), image)


@pytest.mark.parametrize(("length", "nice"), [(1, 1), (1.9, 1), (2, 2), (4.99, 2), (5, 5), (999, 500), (0.03, 0.02)])
def test_nice_lengths(length, nice):
    assert figures.nice(length) == pytest.approx(nice)


def test_window_is_never_empty():
    for image in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), -3.0)):
        low, high = figures.window(image)
        assert math.isfinite(low) and low < high


def test_charts_take_the_colour_of_the_text():
    x = np.arange(1.0, 9)
    svg = figures.chart([("gap", x, 10.0**-x)], x="iteration", y="gap", log="y", lines={"target": 1e-4})
    assert svg.startswith("<svg") and "currentColor" in svg and "#010203" not in svg and "iteration" in svg
