"""Scans of known scanners: every number and every pixel where the maker's formulas put it, and bad files refused."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import scanner_files as files
import tifffile
import torch

from invreg.cli import main
from invreg.io import InputError, correct, header, read, write
from invreg.io.cone import Cone, from_vectors
from invreg.io.select import binned, central_slice, cropped, rows, views
from invreg.operators import ConeBeam, FanBeam2D, Views3D, fdk


def shadow(scan, point=None):
    """(view, 2): row and column of a point's shadow by what the docstring of Cone says, without its vectors."""
    c, (n, height, width) = scan.cone, scan.projections.shape
    if point is None:  # z counts from the source, which is at -0.4 mm in the walnut's file
        point = files.POINT + (0 if c.vectors is None else [0, 0, 0.4])
        point = point * (1e3 if scan.unit == "um" else 1)
    out = []
    for a in scan.angles:
        u, forward, up = files.along(a)
        source = -c.axis_offset * u - c.source_origin * forward
        middle = source + c.source_detector * forward + c.offset_u * u + c.offset_v * up
        vector = np.concatenate([source, middle, scan.pixel_size * u, c.row_pitch * up])
        out.append(files.spot(vector, height, width, point))
    assert len(out) == n
    return np.array(out)


def by_vectors(scan):
    _, height, width = scan.projections.shape
    return np.array([files.spot(v, height, width) for v in scan.cone.vectors])


@pytest.mark.parametrize("raw", [False, True])
def test_nikon(tmp_path, raw):
    path = files.nikon(tmp_path / "SophiaBeads_12_averaged", raw=raw)
    scan = read(path)
    assert scan.projections.shape == (files.VIEWS, files.ROWS, files.COLUMNS) and scan.kind == "transmission"
    assert (scan.pixel_size, scan.unit, scan.name) == (0.5, "mm", "beads")
    assert scan.projections.max() == 1.0  # WhiteLevel
    np.testing.assert_allclose(np.rad2deg(scan.angles), 20 + 30 * np.arange(12) - 180, atol=1e-9)
    c = scan.cone
    assert (c.source_origin, c.source_detector, c.row_pitch, c.axis_offset) == (60, 200, 0.4, -0.3)
    assert (c.offset_u, c.offset_v, c.tilt, c.vectors) == (0, 0, 0, None) and not c.roll
    assert scan.centre == pytest.approx(15.5 - 0.3 * 200 / 60 / 0.5)
    np.testing.assert_allclose(files.found(scan.projections), shadow(scan), atol=1e-3)
    by_folder = read(path.parent)
    assert np.array_equal(by_folder.projections, scan.projections) and by_folder.name == scan.name


def test_nikon_axis_by_its_top_and_bottom(tmp_path):
    changed = {"ObjectOffsetX": None, "ObjectRoll": None, "CentreOfRotationTop": 1.2, "ObjectTilt": 2.0}
    c = read(files.nikon(tmp_path, **changed)).cone
    assert c.axis_offset == pytest.approx(-1.1 * 60 / 200)
    assert c.roll == pytest.approx(-np.arctan(0.2 / (24 * 0.4))) and c.tilt == pytest.approx(np.deg2rad(2))
    told = header(files.nikon(tmp_path, DetectorOffsetX=1.5, DetectorOffsetY=-2.0))
    assert (told.cone.offset_u, told.cone.offset_v) == (-1.5, -2.0) and "not published" in told.notes[0]


def test_walnut(tmp_path):
    scan = read(files.walnut(tmp_path / "Walnut1/Projections/tubeV2"))
    assert scan.projections.shape == (files.VIEWS, files.ROWS, files.COLUMNS) and scan.kind == "counts"
    assert scan.flats.shape == (2, files.ROWS, files.COLUMNS) and scan.darks.shape[0] == 1
    assert "repeats the first" in scan.warnings[0] and scan.unit == "mm" and scan.pixel_size == pytest.approx(0.5)
    # columns were from right to left: the flat, which rose along them, falls
    assert np.array_equal(scan.flats[0], np.tile(50000 + 10 * np.arange(32)[::-1], (24, 1)))
    np.testing.assert_allclose(scan.angles, 0.3 - 2 * np.pi * np.arange(12) / 12, atol=1e-9)
    c = scan.cone
    assert c.source_origin == pytest.approx(60) and c.source_detector == pytest.approx(200)
    assert c.row_pitch == pytest.approx(0.4) and c.offset_v == pytest.approx(0.4)
    wobble = np.mean(0.02 * np.cos(np.arange(12)))
    assert c.offset_u == pytest.approx(0.6 - wobble) and c.axis_offset == pytest.approx(-wobble)
    np.testing.assert_allclose(files.found(scan.projections), by_vectors(scan), atol=1e-3)
    np.testing.assert_allclose(shadow(scan), by_vectors(scan), atol=0.15)  # but for the wobble
    part = read(tmp_path / "Walnut1/Projections/tubeV2", rows=slice(6, 18), views=4)
    np.testing.assert_allclose(files.found(part.projections), by_vectors(part), atol=1e-3)


def test_helsinki(tmp_path):
    scan = read(files.heltomo(tmp_path / "walnut"))
    assert scan.projections.shape == (12, 140, 150) and scan.kind == "transmission"
    assert scan.projections[:, 0, 0] == pytest.approx(1) and scan.projections[:, 139, 149] == pytest.approx(
        0.25, rel=1e-3
    )
    assert scan.cone.source_origin == pytest.approx(210660) and scan.cone.source_detector == pytest.approx(553740)
    assert (scan.pixel_size, scan.unit, scan.cone.row_pitch) == (50, "um", 50)
    np.testing.assert_allclose(np.rad2deg(scan.angles), 30 * np.arange(12))
    assert np.array_equal(read(tmp_path / "walnut/20201111_walnut_.txt", rows=slice(130, 131)).projections,
                          scan.projections[:, 130:131])  # fmt: skip


@pytest.mark.parametrize("shifted", [False, True])
def test_zeiss(tmp_path, shifted):
    scan = read(files.zeiss(tmp_path / "scan.txrm", shifted=shifted))
    assert scan.projections.shape == (files.VIEWS, files.ROWS, files.COLUMNS)
    np.testing.assert_allclose(np.rad2deg(scan.angles), 30 - 15 * np.arange(12), atol=1e-5)
    c = scan.cone
    assert c.source_origin == pytest.approx(60e3) and c.source_detector == pytest.approx(200e3)
    assert scan.unit == "um" and scan.pixel_size == pytest.approx(500) and c.row_pitch == scan.pixel_size
    if shifted:  # the beam is divided out before the shift
        assert scan.kind == "transmission" and "up to 2 pixels" in scan.warnings[0] and scan.flats is None
        sent = scan.projections
    else:
        assert scan.kind == "counts" and scan.flats.shape == (1, files.ROWS, files.COLUMNS)
        sent = scan.projections / scan.flats
    assert np.median(sent) == pytest.approx(1, abs=1e-3)
    dark = np.where(sent < 0.9995, sent, 1)
    np.testing.assert_allclose(files.found(dark), shadow(scan, 1e3 * files.POINT), atol=0.02)
    part = read(tmp_path / "scan.txrm", rows=slice(3, 9), views=slice(2, 5))
    assert np.array_equal(part.projections, scan.projections[2:5, 3:9])


def test_zeiss_with_parallel_rays_and_an_unfinished_scan(tmp_path):
    told = header(files.zeiss(tmp_path / "a.txrm", parallel=True, ImagesTaken=np.uint32(7).tobytes()))
    assert told.cone is None and told.pixel_size == 500 and told.unit == "um" and told.projections.shape[0] == 7
    assert "7 of 12 projections were taken" in told.notes and "rotation centre" in told.missing


def test_vectors_in_every_orientation_give_the_same_scan():
    straight = files.nikon_vectors()
    straight[:, 6:] *= -1
    angles, pitch, cone, turn = from_vectors(straight)
    assert turn == (slice(None), slice(None)) and pitch == pytest.approx(0.5)
    for signs in ((1, -1), (-1, 1), (-1, -1)):
        turned = straight.copy()
        turned[:, 6:] *= np.repeat(signs, 3)
        a, p, c, t = from_vectors(turned)
        assert p == pytest.approx(pitch) and t == tuple(
            slice(None, None, -1) if s < 0 else slice(None) for s in signs[::-1]
        )
        np.testing.assert_allclose(a, angles)
        np.testing.assert_allclose(c.vectors, straight, atol=1e-12)
        for key in ("source_origin", "source_detector", "row_pitch", "offset_u", "offset_v", "axis_offset"):
            assert getattr(c, key) == pytest.approx(getattr(cone, key), abs=1e-9), key


@pytest.mark.parametrize("make", [files.nikon, files.walnut, files.heltomo, files.zeiss])
def test_rows_and_views_of_every_scanner(tmp_path, make):
    path = make(tmp_path / "scan")
    whole = read(path)
    for lines in (slice(2, 3), slice(3, 15, 4), slice(1, None)):
        part = read(path, rows=lines, views=slice(1, 9, 3))
        assert np.array_equal(part.projections, whole.projections[1:9:3, lines])
        assert np.array_equal(part.angles, whole.angles[1:9:3])
        np.testing.assert_allclose(shadow(part), shadow(rows(views(whole, slice(1, 9, 3)), lines)), atol=1e-9)


# parts


@pytest.fixture(params=["nikon", "walnut", "zeiss"])
def scan(request, tmp_path):
    return read(getattr(files, request.param)(tmp_path / "scan"))


def test_the_cone_goes_along_with_parts_of_a_scan(scan):
    """The same point falls on the same place of a cropped, binned or thinned detector."""
    whole = shadow(scan)
    r, c = 4, 5
    for part, expected in (
        (rows(scan, slice(r, 20)), whole - [r, 0]),
        (rows(scan, slice(0, 24, 2)), whole / [2, 1]),
        (cropped(scan, c, 30), whole - [0, c]),
        (binned(scan, 2, 4), (whole - [1.5, 0.5]) / [4, 2]),
        (binned(scan, 5, 7), (whole - [3, 2]) / [7, 5]),
        (views(scan, 4), whole[::3]),
    ):
        np.testing.assert_allclose(shadow(part), expected, atol=1e-9)
        if scan.cone.vectors is not None:
            np.testing.assert_allclose(by_vectors(part) - shadow(part), 0, atol=0.15)
        if scan.centre is not None:
            assert part.centre == pytest.approx(part.cone.centre(part.projections.shape[2], part.pixel_size))


def test_the_central_slice_is_a_fan(scan):
    """A point in the plane of the source falls on the same bin of the fan as on the cone's detector."""
    fan = central_slice(scan)
    row = round(scan.cone.central_row(files.ROWS))
    assert np.array_equal(fan.projections[:, 0], scan.projections[:, row]) and fan.cone is None
    g = fan.geometry
    assert isinstance(g, FanBeam2D) and g.centre == pytest.approx(15.5 if scan.centre is None else scan.centre)
    assert (g.source_origin, g.source_detector) == (scan.cone.source_origin, scan.cone.source_detector)
    point = np.array([1.1, -0.7, 0.0]) * (1e3 if scan.unit == "um" else 1)
    bins = []
    for a in g.angles:
        u, forward, _ = files.along(a)
        bins.append(g.centre + point @ u * g.source_detector / (g.source_origin + point @ forward) / g.pitch)
    height = replace(scan, cone=replace(scan.cone, offset_v=0.0))  # the plane of the source made that of the object
    np.testing.assert_allclose(bins, shadow(height, point)[:, 1], atol=2e-3)  # second order in 0.3 / 60


def test_the_geometry_of_a_cone_has_its_rays(scan):
    """By source and detector in space, for straight and for leaning axes."""
    g = scan.geometry
    assert isinstance(g, Views3D if scan.cone.vectors is not None else ConeBeam)
    views3d = g.general()
    rows, columns = (np.arange(n, dtype=float) for n in scan.projections.shape[1:])
    if scan.cone.vectors is not None:
        assert np.array_equal(np.hstack([views3d.source, views3d.detector, views3d.u, views3d.v]), scan.cone.vectors)
        return
    lean = replace(scan, cone=replace(scan.cone, roll=1e-9))
    for general in (views3d, lean.geometry):  # the second by way of the general case
        places = general.general().points(rows, columns)
        for k, a in enumerate(scan.angles):
            c, (u, forward, up) = scan.cone, files.along(a)
            source = -c.axis_offset * u - c.source_origin * forward
            middle = source + c.source_detector * forward + c.offset_u * u + c.offset_v * up
            expected = (
                middle
                + (columns - columns.mean())[None, :, None] * scan.pixel_size * u
                + (rows - rows.mean())[:, None, None] * c.row_pitch * up
            )
            np.testing.assert_allclose(general.general().source[k], source, atol=1e-6 * c.source_detector)
            np.testing.assert_allclose(places[k], expected, atol=1e-6 * c.source_detector)


@pytest.mark.parametrize("make", [files.nikon, files.zeiss])
def test_fdk_puts_the_point_where_it_is(tmp_path, make):
    """From the maker's files to a volume: sense of rotation, mirrored columns, order of rows, offsets and units."""
    scan = correct(read(make(tmp_path / "scan")))
    voxel = 0.1 * (1e3 if scan.unit == "um" else 1)
    volume = fdk(torch.from_numpy(scan.projections), scan.geometry, (15, 41, 41), voxel)
    x, y, z = np.round(files.POINT / 0.1)
    assert np.unravel_index(int(volume.argmax()), volume.shape) == (7 + z, 20 - y, 20 + x)


def test_a_leaning_axis(tmp_path):
    """The axis of the geometry, z, seen from the detector leans as the settings say."""
    scan = read(files.nikon(tmp_path, ObjectRoll=3.0, ObjectTilt=-2.0))
    g = scan.geometry
    for k, a in enumerate(scan.angles):
        frame = np.stack(
            [g.u[k] / 0.5, np.cross(g.v[k], g.u[k]) / 0.2, g.v[k] / 0.4]
        )  # across, along, up in the object
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
        axis = frame @ [0, 0, 1]
        np.testing.assert_allclose(axis[0] / axis[2], np.tan(np.deg2rad(3)) / np.cos(np.deg2rad(-2)), rtol=1e-9)
        np.testing.assert_allclose(axis[1] / axis[2], np.tan(np.deg2rad(-2)), rtol=1e-9)
        distance = (g.detector[k] - g.source[k]) @ frame[1]
        assert distance == pytest.approx(200) and abs(g.detector[k] @ frame[1] - 140) < 1e-9
        assert np.arctan2(frame[0, 1], frame[0, 0]) == pytest.approx(np.angle(np.exp(1j * a)), abs=5e-3)


def test_own_format_keeps_the_cone(scan, tmp_path):
    write(tmp_path / "scan.h5", scan)
    back = read(tmp_path / "scan.h5")
    for key in Cone.__dataclass_fields__:
        assert np.array_equal(getattr(back.cone, key), getattr(scan.cone, key)), key
    assert np.array_equal(back.angles, scan.angles) and back.centre == scan.centre


@pytest.mark.parametrize("make", [files.nikon, files.walnut, files.heltomo])
def test_info_tells_the_beam_and_takes_the_central_row(tmp_path, capsys, make):
    make(tmp_path / "scan")
    assert main(["info", str(tmp_path / "scan")]) == 0
    told = capsys.readouterr().out
    assert "cone, source " in told and "only the central row" in told and "as a fan beam" in told
    assert main(["info", str(tmp_path / "scan"), "--rows", "0:2"]) == 2
    told = capsys.readouterr().err
    assert "rows of a cone are not slices" in told and told.count("\n") == 1 and "--rows " in told


# bad input


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"SrcToObject": None}, "SrcToObject is missing"),
        ({"SrcToObject": "far"}, "SrcToObject is 'far'; expected a finite number"),
        ({"SrcToObject": "nan"}, "expected a finite number"),
        ({"DetectorPixelSizeX": 0}, "expected a number above 0"),
        ({"WhiteLevel": -1}, "WhiteLevel is -1"),
        ({"SrcToDetector": 50}, "the detector is the further one"),
        ({"Projections": 13}, "12 projections beside it"),
        ({"DetectorPixelsX": 31}, "images of .* pixels"),
    ],
)
def test_bad_nikon_settings(tmp_path, changed, said):
    with pytest.raises(InputError, match=said) as caught:
        read(files.nikon(tmp_path, **changed))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_damaged_nikon_scans(tmp_path):
    path = files.nikon(tmp_path / "a", raw=True)
    (path.parent / "beads_0003.raw").write_bytes(b"12")
    with pytest.raises(InputError, match=r"beads_0003.raw: 2 bytes; expected 1536"):
        read(path)
    path = files.nikon(tmp_path / "b")
    path.write_text(path.read_text()[:60])
    with pytest.raises(InputError, match="is missing; the file may be cut off"):
        read(path)
    (path.parent / "other.xtekct").write_text("[XTekCT]")
    with pytest.raises(InputError, match=r"several scans \(beads.xtekct, other.xtekct\)"):
        read(path.parent)


def test_damaged_walnuts(tmp_path):
    folder = files.walnut(tmp_path)
    table = folder / "scan_geom_corrected.geom"
    good = table.read_text().splitlines()
    for text, said in (
        ("\n".join(good[:-1]), "13 images scan_.* and 12 lines in scan_geom_corrected.geom"),
        ("\n".join(good).replace(" ", "x", 1), "not a table of scan vectors"),
        ("\n".join(line.rpartition(" ")[0] for line in good), "expected 12 finite numbers a view"),
        ("\n".join(good).replace(good[2].split()[0], "nan"), "expected 12 finite numbers"),
        ("\n".join(" ".join([*line.split()[:6], *6 * ["0"]]) for line in good), "not of a plane"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=said) as caught:
            read(folder)
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    table.write_text("\n".join(good))
    (folder / "scan_000004.tif").unlink()
    with pytest.raises(InputError, match="expected one line an image"):
        read(folder)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"DistanceUnit": "inch"}, "unknown unit of length 'inch'"),
        ({"PixelSizeUnit": None}, "PixelSizeUnit is missing"),
        ({"GeometryType": "Helix"}, "only Cone is known"),
        ({"NumberImages": 7}, "12 images .* NumberImages says 7"),
        ({"AngleInterval": "inf"}, "AngleInterval is 'inf'"),
        ({"DistanceSourceOrigin": 600}, "exchange them"),
    ],
)
def test_bad_helsinki_settings(tmp_path, changed, said):
    with pytest.raises(InputError, match=said):
        read(files.heltomo(tmp_path, **changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"Angles": None}, "the stream ImageInfo/Angles is missing"),
        ({"Angles": b"1234"}, "holds 1 numbers, expected 12"),
        ({"Angles": np.full(12, np.nan, "<f4").tobytes()}, "not finite"),
        ({"DataType": np.uint32(3).tobytes()}, "and type 3; expected some, of type 5 or 10"),
        ({"ImageWidth": np.uint32(0).tobytes()}, "images of shape"),
        ({"AcquisitionMode": np.int32(1).tobytes()}, "a reconstructed volume"),
        ({"PixelSize": np.float32(0).tobytes()}, "pixels of 0 um"),
        ({"Image3": b"12"}, "ImageData1/Image3 holds 1 numbers"),
        ({"Image3": None}, "ImageData1/Image3 is missing"),
    ],
)
def test_bad_zeiss_files(tmp_path, changed, said):
    with pytest.raises(InputError, match=said) as caught:
        read(files.zeiss(tmp_path / "scan.txrm", **changed))
    assert "\n" not in str(caught.value) and "scan.txrm" in str(caught.value)


def test_a_truncated_zeiss_file_and_no_library(tmp_path, monkeypatch):
    path = files.zeiss(tmp_path / "scan.txrm")
    whole = path.read_bytes()
    for part in (whole[:100], whole[: len(whole) // 2], whole[:-600]):
        path.write_bytes(part)
        with pytest.raises(InputError, match=r"scan.txrm: .*copy (it|the file) again"):
            read(path)
    monkeypatch.setitem(sys.modules, "olefile", None)
    with pytest.raises(InputError, match=r"needs the library olefile; pip install 'invreg\[files\]'"):
        read(path)


def test_a_black_corner(tmp_path):
    folder = files.heltomo(tmp_path)
    tifffile.imwrite(folder / "20201111_walnut_0002.tif", np.zeros((140, 150), np.uint16))
    with pytest.raises(InputError, match="holds no counts"):
        read(folder)


def test_a_source_that_never_sees_the_detector_has_no_slice(scan):
    high = replace(scan, cone=replace(scan.cone, offset_v=30e3))
    with pytest.raises(InputError, match="has no slice"):
        central_slice(high)
    with pytest.raises(InputError, match="no cone beam"):
        central_slice(replace(scan, cone=None))
    with pytest.raises(InputError, match="expected 0 < source to axis"):
        replace(scan.cone, source_origin=1e9)
    with pytest.raises(InputError, match="not finite"):
        replace(scan.cone, tilt=np.nan)
