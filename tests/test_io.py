"""Reading and writing: every format gives the same scan, and every bad file one clear sentence."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import io_files as files
import numpy as np
import pytest
import scipy.io
import tifffile

from invreg.io import InputError, Scan, header, read, reading, write, write_tiff, write_volume_hdf5
from invreg.operators.tomography.geometry import FanBeam2D, Parallel2D

SHARED = Path(os.environ.get("INVREG_SHARED_DATA", Path(__file__).parents[1].parent / "shared/data"))
DATA = Path(__file__).parents[1] / "data"

WHOLE = {  # with flats, darks, angles, pixel size; the ending says nothing
    "DataExchange": files.dataexchange,
    "NXtomo": files.nxtomo,
    "npz": files.npz,
    "MATLAB v5": files.matlab5,
    "MATLAB v7.3": files.matlab73,
}


@pytest.fixture(params=[*WHOLE, "folder of TIFFs", "our own"])
def whole(request, tmp_path):
    """A file of each format that holds the same measurement, and whether it knows its pixel size."""
    if request.param == "our own":
        write(tmp_path / "scan.bin", read(files.dataexchange(tmp_path / "other.h5")))
        return tmp_path / "scan.bin"
    if request.param == "folder of TIFFs":
        return files.tiff_folder(tmp_path / "scan")
    return WHOLE[request.param](tmp_path / "scan.bin")


def test_every_format_gives_the_same_scan(whole):
    a, scan = files.arrays(), read(whole)
    for key in ("projections", "flats", "darks"):
        value = getattr(scan, key)
        assert value.dtype == np.float32 and np.array_equal(value, a[key].astype(np.float32)), key
        assert scan.sources[key]
    np.testing.assert_allclose(scan.angles, np.deg2rad(a["angles"]), rtol=1e-12)
    assert scan.angles.dtype == np.float64 and scan.kind == "counts" and "degrees" in scan.sources["angles"]
    if whole.is_file():
        assert scan.unit == "mm" and scan.pixel_size == pytest.approx(files.PIXEL_MM)
    assert isinstance(scan.geometry, Parallel2D) and scan.geometry.pitch == scan.pixel_size


def test_rows_and_views_of_every_format(whole):
    every, part = read(whole), read(whole, rows=slice(1, 3), views=7)
    index = np.arange(7) * files.VIEWS // 7
    assert np.array_equal(part.projections, every.projections[index, 1:3])
    assert np.array_equal(part.angles, every.angles[index])
    assert np.array_equal(part.flats, every.flats[:, 1:3]) and np.array_equal(part.darks, every.darks[:, 1:3])
    some = read(whole, rows=slice(0, 3, 2), views=slice(3, None, 4))
    assert np.array_equal(some.projections, every.projections[3::4, ::2])


def test_header_of_every_format_knows_shapes_without_the_pixels(whole):
    told = header(whole)
    assert told.projections.shape == (files.VIEWS, files.ROWS, files.BINS) and told.projections.dtype == np.uint16
    assert told.flats.shape == (4, files.ROWS, files.BINS) and told.darks.shape[0] == 5
    assert told.angles.size == files.VIEWS and told.kind == "counts" and told.format
    assert "rotation centre" in told.missing and "flats" not in told.missing
    assert ("pixel size" in told.missing) == whole.is_dir()


def test_only_the_chosen_part_of_hdf5_is_read(tmp_path, monkeypatch):
    path, taken = files.dataexchange(tmp_path / "scan.h5"), []
    get = h5py.Dataset.__getitem__

    def watched(dataset, key, **rest):
        value = get(dataset, key, **rest)
        if dataset.ndim == 3:
            taken.append(np.size(value))
        return value

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    header(path)
    assert not taken
    read(path, rows=slice(0, 1), views=5)
    assert sum(taken) == (5 + 4 + 5) * files.BINS


def test_a_stack_in_one_tiff(tmp_path):
    scan = read(files.tiff_stack(tmp_path / "scan.tif"), kind="line integrals", views=4)
    assert np.array_equal(scan.projections, files.arrays()["projections"][::5].astype(np.float32))
    np.testing.assert_allclose(np.rad2deg(scan.angles), [0, 45, 90, 135])


@pytest.mark.parametrize("make", [files.htc, files.htc73])
def test_the_structure_of_the_helsinki_challenge(tmp_path, make):
    scan = read(make(tmp_path / "htc2022_ta_full.mat"))
    sinogram = np.linspace(0, 2, files.VIEWS * files.BINS).reshape(files.VIEWS, files.BINS)
    np.testing.assert_allclose(scan.projections[:, 0], sinogram, rtol=1e-6)
    assert scan.kind == "line integrals" and scan.fan == (410.66, 553.74) and scan.pixel_size == 0.2
    g = scan.geometry
    assert isinstance(g, FanBeam2D) and (g.source_origin, g.source_detector, g.pitch) == (410.66, 553.74, 0.2)
    np.testing.assert_allclose(np.rad2deg(g.angles), files.HTC["angles"])


def test_axes_in_another_order_when_the_file_says_so(tmp_path):
    a = files.arrays()
    path = files.dataexchange(tmp_path / "scan.h5", projections=a["projections"].transpose(1, 0, 2))
    with h5py.File(path, "r+") as file:
        file["exchange/data"].attrs["axes"] = "y:theta:x"
    assert np.array_equal(read(path, views=3, rows=slice(1, 2)).projections, a["projections"][[0, 6, 13], 1:2])


def test_own_format_keeps_everything(tmp_path):
    rng = np.random.default_rng(1)
    shape = (5, 2, 8)
    scan = Scan(
        rng.standard_normal(shape), rng.uniform(-9, 9, 5), "line integrals", rng.uniform(1, 2, (3, 2, 8)), None,
        0.7, "um", 3.25, rng.uniform(size=shape) < 0.1, (100.0, 250.5), {"rings": "three"}, ("one", "two"), "näme",
    )  # fmt: skip
    write(tmp_path / "scan.h5", scan)
    back = read(tmp_path / "scan.h5")
    for key in ("projections", "angles", "flats", "mask"):
        assert np.array_equal(getattr(back, key), getattr(scan, key)), key
    for key in ("kind", "darks", "pixel_size", "unit", "centre", "fan", "warnings", "name"):
        assert getattr(back, key) == getattr(scan, key), key
    assert back.sources["rings"] == "three"
    with h5py.File(tmp_path / "scan.h5") as file:  # self-describing
        assert file.attrs["format"] == "invreg scan" and file.attrs["version"] == 1
        assert file["angles"].attrs["units"] == "radians" and file["pixel_size"].attrs["units"] == "um"


def test_whole_counts_are_kept_as_integers_without_loss(tmp_path):
    scan = read(files.dataexchange(tmp_path / "a.h5"))
    write(tmp_path / "b.h5", scan)
    write(tmp_path / "c.h5", replace(scan, projections=scan.projections + 0.5))
    with h5py.File(tmp_path / "b.h5") as whole, h5py.File(tmp_path / "c.h5") as halves:
        assert whole["projections"].dtype == np.uint16 and halves["projections"].dtype == np.float32
    assert np.array_equal(read(tmp_path / "c.h5").projections, scan.projections + 0.5)


def test_angles_given_by_hand(tmp_path):
    path = files.dataexchange(tmp_path / "scan.h5", angles=None)
    spread = read(path, angle_range=(0, 180), views=5)
    np.testing.assert_allclose(np.rad2deg(spread.angles), [0, 36, 72, 108, 144])
    given = np.linspace(10, 150, files.VIEWS)
    np.testing.assert_allclose(read(path, angles=given).angles, np.deg2rad(given))
    np.testing.assert_allclose(read(path, angles=given / 60, angle_unit="radians").angles, given / 60)
    odd = files.dataexchange(tmp_path / "odd.h5", unit="grad")
    np.testing.assert_allclose(read(odd, angle_unit="degrees").angles, np.deg2rad(files.arrays()["angles"]))
    np.savetxt(tmp_path / "theta.txt", given)
    np.testing.assert_allclose(read(path, angles=tmp_path / "theta.txt").angles, np.deg2rad(given))


def test_a_file_without_unit_is_taken_for_what_it_surely_is(tmp_path):
    turn = np.arange(files.VIEWS) * np.pi / files.VIEWS
    scan = read(files.dataexchange(tmp_path / "rad.h5", unit=None, angles=turn))
    np.testing.assert_allclose(scan.angles, turn)
    assert any("taken as radians" in w and "angle_unit" in w for w in scan.warnings)
    scan = read(files.dataexchange(tmp_path / "deg.h5", unit=None))
    np.testing.assert_allclose(scan.angles, np.deg2rad(files.arrays()["angles"]))
    assert any("taken as degrees" in w for w in scan.warnings)


def test_a_guessed_kind_is_told(tmp_path):
    values = {"DataExchange float": np.linspace(0.2, 1, files.VIEWS * files.BINS), "large": np.linspace(0, 4, 320)}
    for (name, v), kind in zip(values.items(), ("transmission", "line integrals"), strict=True):
        data = v.reshape(files.VIEWS, 1, files.BINS)
        path = files.dataexchange(tmp_path / f"{name}.h5", projections=data, flats=None, darks=None)
        scan = read(path)
        assert scan.kind == kind and any(f"taken as {kind}" in w for w in scan.warnings)
        assert not read(path, kind="transmission").warnings


def test_sinogram_needs_line_integrals(tmp_path):
    scan = read(files.dataexchange(tmp_path / "scan.h5"))
    with pytest.raises(InputError, match=r"correct\(scan\)"):
        _ = scan.sinogram
    ready = replace(scan, kind="line integrals")
    assert ready.sinogram.shape == (files.ROWS, files.VIEWS, files.BINS)
    assert np.array_equal(ready.sinogram[1].numpy(), scan.projections[:, 1])


def test_a_few_bad_values_are_masked_and_counted(tmp_path):
    data = files.arrays()["projections"].astype(np.float32)
    data[3, 1, 7], data[4, 2, 1] = np.nan, np.inf
    scan = read(files.dataexchange(tmp_path / "scan.h5", projections=data))
    assert np.array_equal(scan.mask, ~np.isfinite(data)) and any("2 values" in w for w in scan.warnings)


# writing


def test_tiff_keeps_values_and_pixel_size(tmp_path):
    volume = np.random.default_rng(2).standard_normal((3, 5, 7)).astype(np.float32)
    write_tiff(tmp_path / "v.tif", volume, pixel_size=0.25, unit="um")
    with tifffile.TiffFile(tmp_path / "v.tif") as tiff:
        assert np.array_equal(tiff.asarray(), volume) and len(tiff.pages) == 3
        above, below = tiff.pages[0].tags["XResolution"].value
        assert above / below == 4 and tiff.imagej_metadata["unit"] == "um" and tiff.imagej_metadata["spacing"] == 0.25
    assert [p.name for p in tmp_path.iterdir()] == ["v.tif"]


def test_volume_in_hdf5_says_its_units(tmp_path):
    volume = np.random.default_rng(2).standard_normal((3, 5, 7)).astype(np.float32)
    write_volume_hdf5(tmp_path / "v.h5", volume, pixel_size=0.25, unit="mm")
    with h5py.File(tmp_path / "v.h5") as file:
        assert np.array_equal(file["volume"], volume) and file["volume"].attrs["units"] == "1/mm"
        assert file["volume"].attrs["pixel_size"] == 0.25


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    volume = np.zeros((2, 3, 4), np.float32)
    for name in ("v.tif", "v.h5"):
        (tmp_path / name).write_text("before")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile.TiffWriter, "write", full)
    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    for save, name in ((write_tiff, "v.tif"), (write_volume_hdf5, "v.h5")):
        with pytest.raises(InputError, match=r"v\..* cannot be written \(No space left on device\)"):
            save(tmp_path / name, volume)
        assert (tmp_path / name).read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.h5", "v.tif"]
    with pytest.raises(InputError, match="cannot be written"):
        write_volume_hdf5(tmp_path / "none" / "v.h5", volume)


# bad input

A = files.arrays()
BAD = {
    "no angles": ({"angles": None}, r"no angles; give them with angles="),
    "one angle missing": ({"angles": A["angles"][:-1]}, "19 angles for 20 projections"),
    "axes exchanged": ({"projections": A["projections"].transpose(1, 0, 2)}, r"axis 1 .* another order.*\(angle, row"),
    "axes reversed": ({"projections": A["projections"].T}, "axis 2 of the shape"),
    "radians labelled degrees": ({"angles": np.deg2rad(A["angles"])}, 'look like radians; say angle_unit="radians"'),
    "degrees labelled radians": ({"unit": "rad"}, "look like degrees"),
    "a small span without unit": ({"unit": None, "angles": A["angles"] / 80}, "few degrees or radians"),
    "an unknown unit": ({"unit": "grad?"}, "unknown unit of angle 'grad.'"),
    "NaN angle": ({"angles": np.where(A["angles"] == 9, np.nan, A["angles"])}, "angles are not finite"),
    "a single view": ({"projections": A["projections"][:1], "angles": A["angles"][:1]}, "a single view"),
    "no view": ({"projections": A["projections"][:0], "angles": A["angles"][:0]}, "none empty"),
    "a flat image": ({"projections": A["projections"][:, 0]}, "expected numbers of shape"),
    "text for numbers": ({"projections": np.full((2, 2, 2), b"x")}, "expected numbers"),
    "flats of another size": ({"flats": A["flats"][:, :, 1:]}, r"flats have shape \(4, 3, 15\); expected \(n, 3, 16\)"),
    "darks of another size": ({"darks": A["darks"][:, 1:]}, "darks have shape"),
    "flats all zero": ({"flats": 0 * A["flats"]}, "flats are all zero"),
    "flats saturated": ({"flats": np.maximum(A["flats"], 65535)}, "saturated at 65535"),
    "flats of 12 bits saturated": ({"flats": np.full(A["flats"].shape, 4095.0)}, "saturated at 4095"),
    "flats summed": ({"flats": A["flats"].astype(np.float32) * 10}, "count only to 65535"),
    "flats and darks exchanged": ({"flats": A["darks"], "darks": A["flats"]}, "flats are not above the darks"),
    "negative counts": ({"projections": A["projections"].astype(np.int16) - 3000}, "negative counts, down to"),
    "many NaN": ({"projections": np.where(A["projections"] < 4000, np.nan, A["projections"])}, "NaN or infinite"),
    "NaN flats": ({"flats": np.where(A["flats"] < 10100, np.nan, A["flats"])}, "of the flats are not finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_measurements(tmp_path, case):
    changed, said = BAD[case]
    path = files.dataexchange(tmp_path / "scan.h5", **changed)
    with pytest.raises(InputError, match=said) as caught:
        read(path)
    assert "\n" not in str(caught.value) and "scan" in str(caught.value)


def bad_file(path, kind):
    good = files.dataexchange(path.with_name("good.h5")).read_bytes()
    content = {
        "empty": b"",
        "text": b"angle,value\n0,1\n",
        "bytes": bytes(range(256)) * 4,
        "truncated HDF5": good[: len(good) // 2],
        "HDF5 signature only": good[:8],
        "damaged npz": b"PK\x03\x04" + b"\0" * 200,
        "damaged MATLAB": b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"\xff" * 300,
        "damaged TIFF": b"II*\0" + b"\xff" * 100,
    }
    path.write_bytes(content[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("empty", "the file is empty"),
        ("text", "this is a text file; expected HDF5"),
        ("bytes", "no known format"),
        ("truncated HDF5", "truncated: copy it again"),
        ("HDF5 signature only", "HDF5 file is"),
        ("damaged npz", "npz archive cannot be read"),
        ("damaged MATLAB", "MATLAB file cannot be read"),
        ("damaged TIFF", "TIFF file cannot be read"),
    ],
)
def test_bad_files(tmp_path, kind, said):
    with pytest.raises(InputError, match=said) as caught:
        read(bad_file(tmp_path / "scan.h5", kind))
    assert "\n" not in str(caught.value) and "scan.h5" in str(caught.value)


def test_files_that_hold_something_else(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nothing.h5")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no TIFF files"):
        read(tmp_path / "empty")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a/b"] = 1
    with pytest.raises(InputError, match=r"no known layout; found a at its root"):
        read(tmp_path / "other.h5")
    with h5py.File(tmp_path / "exchange.h5", "w") as file:
        file["exchange/theta"] = 1
    with pytest.raises(InputError, match="/exchange/data is missing; found only theta"):
        read(tmp_path / "exchange.h5")
    np.savez(tmp_path / "other.npz", image=np.zeros((3, 3)))
    with pytest.raises(InputError, match="no projections; found image, expected 'projections'"):
        read(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", projections=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="npz archive cannot be read"):
        read(tmp_path / "objects.npz")
    scipy.io.savemat(tmp_path / "htc.mat", {"CtDataFull": {"sinogram": np.zeros((2, 3)), "parameters": {"angles": 1}}})
    with pytest.raises(InputError, match="lacks some of angles, distanceSourceOrigin"):
        read(tmp_path / "htc.mat")
    with h5py.File(files.nxtomo(tmp_path / "nx.h5"), "r+") as file:
        file.copy("entry0000", "entry0001")
    with pytest.raises(InputError, match="several scans"):
        read(tmp_path / "nx.h5")
    folder = files.tiff_folder(tmp_path / "tiffs")
    tifffile.imwrite(folder / "proj_3.tif", np.zeros((4, 4), np.uint16))
    with pytest.raises(InputError, match=r"proj_3.tif: a page of shape \(4, 4\)"):
        read(folder)


def test_a_newer_version_of_our_format(tmp_path):
    write(tmp_path / "scan.h5", read(files.dataexchange(tmp_path / "other.h5")))
    with h5py.File(tmp_path / "scan.h5", "r+") as file:
        file.attrs["version"] = 9
    with pytest.raises(InputError, match=r"version 9 .* reads versions 1 to 2"):
        read(tmp_path / "scan.h5")


def test_wrong_arguments(tmp_path):
    path = files.dataexchange(tmp_path / "scan.h5")
    for arguments, said in (
        ({"rows": slice(2, 9)}, r"rows 2:9 asked for; the file has 0:3"),
        ({"rows": slice(2, 0, -1)}, "rising slice"),
        ({"views": 99}, "99 views asked for; the file has 20"),
        ({"views": 1}, "a single view"),
        ({"kind": "density"}, "must be one of counts"),
        ({"angles": [1.0], "angle_range": (0, 180)}, "one of them"),
        ({"angles": [1.0, 2.0]}, "2 angles for 20 projections"),
        ({"angles": tmp_path / "none.txt"}, "cannot be read"),
        ({"angles": path}, "not a list of angles"),
        ({"angle_range": (5, 5)}, "two different numbers"),
        ({"angle_unit": "turns"}, "expected degrees or radians"),
    ):
        with pytest.raises(InputError, match=said):
            read(path, **arguments)


def test_more_than_fits_into_memory_is_refused_before_reading(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:  # takes no room on disk
        file.create_dataset("exchange/data", shape=(4000, 40000, 40000), dtype="u2", chunks=(1, 64, 64))
        file["exchange/theta"] = np.arange(4000) * 180 / 4000
    assert header(tmp_path / "huge.h5").projections.shape == (4000, 40000, 40000)
    with pytest.raises(InputError, match="choose some with rows= or views="):
        read(tmp_path / "huge.h5")
    assert read(tmp_path / "huge.h5", rows=slice(7, 8), views=2).projections.shape == (2, 1, 40000)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = files.dataexchange(tmp_path / "scan.h5")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reading.Path, "open", denied)
    with pytest.raises(InputError, match="Permission denied"):
        read(path)


# what ships and what is shared


def test_importing_the_readers_loads_none_of_their_libraries():
    told = "import sys, invreg.io; print([m for m in ('h5py', 'tifffile', 'scipy', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True).stdout.strip() == "[]"


def test_shipped_measurements():
    tilts, thorax = read(DATA / "haadf.h5"), read(DATA / "thorax_lowdose.h5")
    assert tilts.projections.shape == (77, 2, 128) and tilts.kind == "line integrals" and tilts.unit == "nm"
    np.testing.assert_allclose(np.rad2deg(tilts.angles), np.arange(-76, 77, 2), atol=1e-9)
    mass = tilts.projections.sum(2)  # the same from every side, if it is a sinogram
    assert (mass.std(0) / mass.mean(0) < 0.015).all()
    assert thorax.projections.shape == (60, 2, 300) and thorax.kind == "counts" and thorax.unit == "mm"
    assert thorax.flats.shape == thorax.darks.shape == (10, 2, 300) and thorax.centre is None
    with h5py.File(DATA / "thorax_lowdose.h5") as file:
        assert file["truth"].shape == (2, 300, 300) and file["truth"].attrs["units"] == "1/mm"


def test_shipped_files_are_those_the_readme_names():
    told = (DATA / "README.md").read_text()
    for name in ("haadf.h5", "thorax_lowdose.h5"):
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() in told, name


def test_the_tooth():
    path = SHARED / "ct/tooth.h5"
    if not path.exists():
        pytest.skip(f"{path} is not here; set INVREG_SHARED_DATA")
    scan = read(path)
    assert scan.projections.shape == (181, 2, 640) and scan.kind == "counts"
    assert scan.flats.shape == scan.darks.shape == (10, 2, 640)
    np.testing.assert_allclose(np.rad2deg(scan.angles), np.arange(181) * 180 / 181)
