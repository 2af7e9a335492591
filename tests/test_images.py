"""Images of every format against the library of that format, and what is wrong with them in one sentence."""

import gzip
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import image_files as files
import numpy as np
import pytest
import scanner_files
import tifffile

from invreg.cli import main
from invreg.io import Image, InputError, read, read_image, write_image, write_tiff

# DICOM


def test_a_dicom_series_is_sorted_by_position_and_in_hounsfield_units(tmp_path):
    image = read_image(files.dicom_series(tmp_path / "series"))
    assert image.values.dtype == np.float32 and image.axes == "depth:height:width"
    np.testing.assert_allclose(image.values, files.hounsfield(), rtol=1e-6)
    assert image.quantity == "HU" and image.unit == "mm" and image.spacing == pytest.approx(files.SPACING, abs=1e-5)
    meta = image.metadata
    assert meta["modality"] == "CT" and meta["position"] == [-10, 4, 7] and meta["bits"] == 12
    assert "Nobody" not in str(image) and not image.warnings


def test_one_dicom_file(tmp_path):
    image = read_image(files.dicom_slice(tmp_path / "slice.bin", 2))
    np.testing.assert_allclose(image.values, files.hounsfield()[2], rtol=1e-6)
    assert image.spacing == files.SPACING[1:] and image.axes == "height:width"
    signed = np.array([[-5, 7], [2, -9]], np.int16)
    path = files.dicom_slice(tmp_path / "mr", 0, signed, Modality="MR", PixelRepresentation=1, BitsStored=16,
                             HighBit=15, RescaleSlope=None, RescaleIntercept=None)  # fmt: skip
    image = read_image(path)
    assert np.array_equal(image.values, signed) and image.quantity == ""
    image = read_image(files.dicom_slice(tmp_path / "ct", 0, RescaleSlope=None, RescaleIntercept=None))
    assert "no rescale intercept" in image.warnings[0]


def test_a_real_slice_as_pydicom_rescales_it():
    pydicom = pytest.importorskip("pydicom")
    from pydicom.pixels import apply_rescale

    path = Path(pydicom.__file__).parent / "data/test_files/CT_small.dcm"
    if not path.exists():
        pytest.skip("this pydicom comes without its test files")
    theirs, image = pydicom.dcmread(path), read_image(path)
    np.testing.assert_allclose(image.values, apply_rescale(theirs.pixel_array, theirs))
    assert image.values.shape == (128, 128) and image.spacing == pytest.approx((0.661468, 0.661468))
    assert image.quantity == "HU" and -1100 < image.values.min() < -800


def test_gantry_tilt_is_told(tmp_path):
    for k in range(4):
        files.dicom_slice(tmp_path / f"{k}", k, ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                          ImagePositionPatient=[0, 0.5 * k, 2.0 * k])  # fmt: skip
    image = read_image(tmp_path)
    assert image.spacing[0] == 2 and "0.5 mm aside" in image.warnings[0]


DICOM = {
    "another series": (
        {"SeriesInstanceUID": "1.2.9", "SeriesDescription": "scout"},
        r"2 series in one folder, head \(4",
    ),
    "another size": ({"values": np.zeros((8, 5), np.uint16)}, "shape is .8, 5., in .* .8, 6."),
    "another spacing": ({"PixelSpacing": [0.7, 0.8]}, "spacing is"),
    "the same place": ({"ImagePositionPatient": [-10, 4, 7]}, "lie in the same place"),
    "a gap": ({"ImagePositionPatient": [-10, -20, 40]}, "slices (are missing|lie unevenly)"),
    "no position": ({"ImagePositionPatient": None}, "cannot be put in order"),
    "no pixels": ({"PixelData": None, "Rows": None}, "object without an image"),
    "frames": ({"NumberOfFrames": 4}, "many frames in one file"),
    "colour": ({"SamplesPerPixel": 3}, "colour image"),
    "too few bytes": ({"PixelData": b"\0" * 40}, "pixels cannot be decoded"),
}


@pytest.mark.parametrize("case", DICOM)
def test_bad_dicom_series(tmp_path, case):
    changed, said = DICOM[case]
    folder = files.dicom_series(tmp_path)
    files.dicom_slice(folder / "IM003", 2, **changed)
    with pytest.raises(InputError, match=said) as caught:
        read_image(folder)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_missing_slice_and_a_truncated_one(tmp_path):
    folder = files.dicom_series(tmp_path / "a")
    (folder / "IM003").unlink()
    with pytest.raises(InputError, match=r"1 slices are missing: .* are 5 mm apart, others 2.5 mm"):
        read_image(folder)
    path = files.dicom_slice(tmp_path / "slice", 0)
    for size in (140, 400, path.stat().st_size - 10):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(InputError, match=r"slice: .*(cannot be|without an image)"):
            read_image(path)


# NIfTI


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 5), (6, 8, 5, 3)])
def test_nifti_there_and_back(tmp_path, ending, shape):
    nibabel = pytest.importorskip("nibabel")
    stored = np.random.default_rng(1).integers(-900, 900, shape).astype(np.int16)
    affine = np.array([[-0.9, 0, 0.1, 5], [0, 0.7, 0, -3], [0, 0, 2.5, 11], [0, 0, 0, 1]])
    one = nibabel.Nifti1Image(stored, affine)
    one.header.set_xyzt_units("mm", "sec")
    one.header.set_slope_inter(0.5, 10)
    one.to_filename(tmp_path / f"a{ending}")
    image = read_image(tmp_path / f"a{ending}")
    theirs = nibabel.load(tmp_path / f"a{ending}")
    np.testing.assert_allclose(image.values, theirs.get_fdata().T, rtol=1e-6)
    assert image.axes == ":".join(("time", "depth", "height", "width")[-len(shape) :]) and image.unit == "mm"
    assert image.spacing == pytest.approx(theirs.header.get_zooms()[: min(3, len(shape))][::-1])
    assert np.array_equal(image.metadata["affine"], theirs.affine) and image.name == "a"
    write_image(tmp_path / f"b{ending}", replace(image, values=2 * image.values))
    back = nibabel.load(tmp_path / f"b{ending}")
    np.testing.assert_allclose(back.get_fdata(), 2 * theirs.get_fdata(), rtol=1e-6)
    assert np.array_equal(back.affine, theirs.affine) and back.header.get_xyzt_units()[0] == "mm"
    assert back.header["sform_code"] == theirs.header["sform_code"]


def test_nifti_2_without_units_and_bad_ones(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "a.nii"
    nibabel.Nifti2Image(np.arange(12.0).reshape(3, 4), np.eye(4)).to_filename(path)
    image = read_image(path)
    assert np.array_equal(image.values, np.arange(12.0).reshape(3, 4).T) and "mm was taken" in image.warnings[0]
    assert image.values.dtype == np.float64
    for data in (path.read_bytes()[:500], path.read_bytes()[:-8], gzip.compress(path.read_bytes())[:-40]):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a.nii: this .* (cannot be read|no image)") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)


# FITS


def test_fits_scaling_blanks_header_and_back(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    stored = np.arange(20, dtype=np.int16).reshape(4, 5)
    hdu = fits.PrimaryHDU(stored)
    hdu.header.update({"BUNIT": "adu", "CRVAL1": 83.6, "CTYPE1": "RA---TAN", "OBJECT": "M42"})
    hdu.header["BLANK"] = 7
    hdu.writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", mode="update", do_not_scale_image_data=True) as file:
        file[0].header.update({"BSCALE": 2.0, "BZERO": 100.0})
    image = read_image(tmp_path / "a.fits")
    expected = np.where(stored == 7, np.nan, 2.0 * stored + 100)
    assert np.array_equal(image.values, expected, equal_nan=True) and image.quantity == "adu"
    assert "1 values (0.05 of all) are not finite" in image.warnings[0]
    assert image.metadata["header"]["OBJECT"] == "M42" and image.metadata["rows"] == "from the bottom"
    (tmp_path / "a.bin").write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    assert np.array_equal(read_image(tmp_path / "a.bin").values, expected, equal_nan=True)
    write_image(tmp_path / "b.fits", replace(image, values=image.values + 1))
    with fits.open(tmp_path / "b.fits") as file:
        assert np.array_equal(file[0].data, expected + 1, equal_nan=True)
        assert file[0].header["CRVAL1"] == 83.6 and "BZERO" not in file[0].header


def test_fits_with_its_image_in_an_extension_and_bad_ones(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    a, b = np.ones((3, 4), np.float32), np.zeros((3, 4), np.float32)
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(a, name="SCI"), fits.ImageHDU(b, name="ERR")]).writeto(path)
    image = read_image(path)
    assert np.array_equal(image.values, a) and "image 1 of the file is read; others are ERR (2)" in image.warnings
    fits.PrimaryHDU(a).writeto(path, overwrite=True)
    for size in (2000, 2890):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(InputError, match=r"a.fits: this FITS file cannot be read"):
            read_image(path)
    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=[1.0])])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    with pytest.raises(InputError, match="only tables or nothing"):
        read_image(path)


# GeoTIFF, TIFF


def geotiff(path, values, transform, **options):
    rasterio = pytest.importorskip("rasterio")
    bands = values[None] if values.ndim == 2 else values
    shape = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", transform=transform, **shape, **options) as file:
        file.write(bands)
    return path


theirs = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # inside rasterio


@theirs
@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("compress", ["none", "lzw", "deflate"])
def test_geotiff_there_and_back(tmp_path, interleave, compress):
    rasterio = pytest.importorskip("rasterio")
    values = np.random.default_rng(2).integers(1, 4000, (3, 20, 30)).astype(np.uint16)
    values[1, 4, 5] = 0
    place = rasterio.transform.from_origin(399960, 4500000, 10, 12)
    path = geotiff(
        tmp_path / "a.tif", values, place, crs="EPSG:32633", nodata=0, interleave=interleave, compress=compress
    )
    image = read_image(path)
    assert image.axes == "channel:height:width" and image.spacing == (12, 10) and image.unit == "m"
    assert np.isnan(image.values[1, 4, 5]) and "1 values are marked as no data (0)" in image.warnings[0]
    assert np.array_equal(np.nan_to_num(image.values), values) and image.metadata["epsg"] == 32633
    assert image.metadata["bits"] == 16 and image.format == "GeoTIFF"
    write_image(tmp_path / "b.tif", image)
    with rasterio.open(path) as before, rasterio.open(tmp_path / "b.tif") as after:
        assert after.crs == before.crs and after.transform == before.transform and after.nodata == 0
        assert np.array_equal(after.read(), values) and after.dtypes[0] == "float32"


@theirs
def test_the_same_ground_with_finer_and_coarser_pixels(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    values = np.ones((20, 30), np.float32)
    place = rasterio.transform.from_origin(10.5, 45.0, 0.25, 0.5)
    turned = place * rasterio.Affine.rotation(20)
    for k, transform in enumerate((place, turned)):
        for area in ("Area", "Point"):
            path = geotiff(tmp_path / f"{k}{area}.tif", values, transform, crs="EPSG:4326")
            with rasterio.open(path, "r+") as file:
                file.update_tags(AREA_OR_POINT=area)
            image = read_image(path)
            assert image.unit == "degree" and image.metadata["epsg"] == 4326
            for shape in ((40, 60), (10, 10)):
                write_image(tmp_path / "b.tif", replace(image, values=np.ones(shape, np.float32)))
                with rasterio.open(path) as before, rasterio.open(tmp_path / "b.tif") as after:
                    corners = [[f.transform * (c * f.width, r * f.height) for c, r in ((0, 0), (1, 0), (0, 1))]
                               for f in (before, after)]  # fmt: skip
                np.testing.assert_allclose(*corners, atol=1e-9)


def test_plain_tiffs(tmp_path):
    colour = np.random.default_rng(3).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", colour, photometric="rgb")
    image = read_image(tmp_path / "rgb.tif")
    assert np.array_equal(image.values, np.moveaxis(colour, 2, 0)) and image.metadata == {"bits": 8}
    stack = np.random.default_rng(3).standard_normal((4, 5, 6)).astype(np.float32)
    write_tiff(tmp_path / "stack.tif", stack, pixel_size=0.25, unit="um")
    image = read_image(tmp_path / "stack.tif")
    assert np.array_equal(image.values, stack) and image.spacing == (0.25,) * 3 and image.unit == "um"
    assert image.axes == "depth:height:width"
    write_image(tmp_path / "again.tif", image)
    again = read_image(tmp_path / "again.tif")
    assert np.array_equal(again.values, stack) and again.spacing == image.spacing and again.unit == "um"


# pictures, camera raw, Zeiss volumes


def test_pictures(tmp_path):
    from PIL import Image as Pillow
    from skimage import io

    rng = np.random.default_rng(4)
    grey, colour = rng.integers(0, 256, (9, 7)).astype(np.uint8), rng.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    deep = rng.integers(0, 65536, (9, 7)).astype(np.uint16)
    for name, values in (("grey", grey), ("colour", colour), ("deep", deep)):
        io.imsave(tmp_path / f"{name}.png", values, check_contrast=False)
        image = read_image(tmp_path / f"{name}.png")
        expected = np.moveaxis(values, 2, 0) if values.ndim == 3 else values
        assert np.array_equal(image.values, expected) and image.metadata["bits"] == 8 * values.dtype.itemsize
    assert image.metadata["encoding"] == "linear"
    np.testing.assert_allclose(image.linear, deep / 65535, rtol=1e-6)
    Pillow.fromarray(np.dstack([colour, grey])).save(tmp_path / "clear.png")
    image = read_image(tmp_path / "clear.png")
    assert np.array_equal(image.values, np.moveaxis(colour, 2, 0)) and "transparency" in image.warnings[0]
    Pillow.fromarray(grey).save(tmp_path / "a.jpg", quality=95)
    with Pillow.open(tmp_path / "a.jpg") as theirs:
        assert np.array_equal(read_image(tmp_path / "a.jpg").values, np.asarray(theirs))
    assert read_image(tmp_path / "a.jpg").metadata["encoding"] == "sRGB"


def test_sixteen_bits_of_colour_are_kept(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    deep = np.random.default_rng(4).integers(0, 65536, (9, 7, 3)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(deep))
    assert np.array_equal(read_image(tmp_path / "a.png").values, np.moveaxis(deep, 2, 0))


def test_srgb_is_undone(tmp_path):
    image = Image(np.array([[0.0, 10, 128, 188, 255]]), "height:width", metadata={"bits": 8, "encoding": "sRGB"})
    np.testing.assert_allclose(image.linear, [[0, 0.003035, 0.215861, 0.502886, 1]], atol=1e-6)  # IEC 61966-2-1
    with pytest.raises(InputError, match="does not tell how many bits"):
        _ = replace(image, metadata={}).linear


def test_camera_raw(tmp_path):
    pytest.importorskip("rawpy")
    mosaic = np.random.default_rng(5).integers(64, 1024, (64, 96)).astype(np.uint16)
    image = read_image(files.dng(tmp_path / "a.dng", mosaic))
    assert np.array_equal(image.values, mosaic) and image.quantity == "counts"
    assert image.metadata["pattern"] == "RGGB" and image.metadata["white"] == 1023
    assert image.metadata["black"] == [64] * 4
    image = read_image(files.dng(tmp_path / "b.bin", mosaic, pattern=b"\2\1\1\0", black=32))
    assert image.metadata["pattern"] == "BGGR" and image.metadata["black"] == [32] * 4
    data = (tmp_path / "a.dng").read_bytes()
    (tmp_path / "a.dng").write_bytes(b"FUJIFILMCCD-RAW" + data[15:200])
    with pytest.raises(InputError, match=r"a.dng: this raw file cannot be read"):
        read_image(tmp_path / "a.dng")


def test_zeiss_volume(tmp_path):
    path = scanner_files.zeiss(tmp_path / "a.txm", AcquisitionMode=np.int32(1).tobytes())
    image = read_image(path)
    assert image.values.shape == (12, 24, 32) and image.spacing == pytest.approx((150,) * 3) and image.unit == "um"
    with pytest.raises(InputError, match="this is no image of a known format"):
        read_image(scanner_files.zeiss(tmp_path / "a.txrm"))


# what is wrong


def _cut_files(folder):
    """One file of each format, by its name."""
    nibabel, fits = pytest.importorskip("nibabel"), pytest.importorskip("astropy.io.fits")
    rng = np.random.default_rng(6)
    files.dicom_slice(folder / "dicom", 0)
    for name in ("a.nii", "a.nii.gz"):
        nibabel.Nifti1Image(rng.standard_normal((6, 5, 4)), np.eye(4)).to_filename(folder / name)
    fits.PrimaryHDU(rng.integers(0, 99, (6, 5)).astype(np.int16)).writeto(folder / "a.fits")
    tifffile.imwrite(folder / "a.tif", rng.standard_normal((6, 5)), compression="zlib")
    from skimage import io

    for name in ("a.png", "a.jpg"):
        io.imsave(folder / name, rng.integers(0, 256, (40, 50)).astype(np.uint8), check_contrast=False)
    scanner_files.zeiss(folder / "a.txm", AcquisitionMode=np.int32(1).tobytes())
    return sorted(folder.iterdir())


def test_no_cut_of_a_file_gives_anything_but_a_sentence(tmp_path):
    (tmp_path / "whole").mkdir()
    for path in _cut_files(tmp_path / "whole"):
        data, cut = path.read_bytes(), tmp_path / f"cut_{path.name}"
        whole = read_image(path).values
        for size in np.unique(np.geomspace(1, len(data) - 1, 25).astype(int)):
            cut.write_bytes(data[:size])
            try:
                image = read_image(cut)  # a header that is whole may be followed by nothing that counts
            except InputError as error:
                assert "\n" not in str(error) and "cut_" in str(error), path
            else:
                assert image.values.shape == whole.shape, (path, size)


def test_one_sentence_on_the_command_line_whatever_a_library_logs(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.random.default_rng(6).standard_normal((60, 50)), compression="zlib")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:235])
    words = ["simulate", str(tmp_path / "cut.tif"), "--operator", "blur", "--out", str(tmp_path / "out.h5")]
    done = subprocess.run([sys.executable, "-m", "invreg", *words], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "cannot be read" in done.stderr, done.stderr


def test_images_that_are_none(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (tmp_path / "half.tif").write_bytes(b"II*\0" + b"\xff" * 100)
    (tmp_path / "folder").mkdir()
    for name, said in (
        ("none", "no such file or folder"),
        ("empty", "the file is empty"),
        ("text.png", "no image of a known format; expected DICOM"),
        ("half.png", "this picture cannot be read"),
        ("half.tif", "this TIFF file cannot be read"),
        ("folder", "no image of a known format"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value) and name in str(caught.value)


def test_impossible_images(tmp_path):
    for arguments, said in (
        ((np.zeros((2, 3)), "depth:height:width"), "an image of shape"),
        ((np.zeros((0, 3)), "height:width"), "none may be empty"),
        ((np.zeros((2, 3), complex), "height:width"), "expected real numbers"),
        ((np.zeros((2, 3)), "height:width", "", (1.0,)), "apart along height, width"),
        ((np.zeros((2, 3)), "height:width", "", (1.0, 0.0)), "expected lengths > 0"),
    ):
        with pytest.raises(InputError, match=said):
            Image(*arguments)
    image = Image(np.zeros((2, 3)), "height:width")
    with pytest.raises(InputError, match=r"takes an Image, .* got ndarray"):
        write_image(tmp_path / "a.tif", image.values)
    with pytest.raises(InputError, match="choose one of these names"):
        write_image(tmp_path / "a.png", image)
    with pytest.raises(InputError, match="cannot be written"):
        write_image(tmp_path / "none/a.tif", image)


@pytest.mark.parametrize(
    ("library", "make"),
    [
        ("pydicom", lambda p: files.dicom_slice(p, 0)),
        ("nibabel", lambda p: p.write_bytes(bytes(344) + b"n+1\0")),
        ("astropy", lambda p: p.write_bytes(b"SIMPLE  =                    T")),
        ("rawpy", lambda p: p.write_bytes(b"FUJIFILMCCD-RAW")),
    ],
)
def test_a_library_that_is_not_installed(tmp_path, monkeypatch, library, make):
    make(tmp_path / "file")
    for name in [n for n in sys.modules if n.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=rf"file: .* needs the library {library}; pip install 'invreg\[files\]'"):
        read_image(tmp_path / "file")


def test_a_measurement_is_asked_for_but_an_image_given(tmp_path, capsys):
    path = files.dicom_slice(tmp_path / "slice", 0)
    with pytest.raises(InputError, match="this is an image"):
        read(path)
    assert main(["reconstruct", str(path)]) == 2
    assert "invreg simulate" in capsys.readouterr().err


def test_info_of_an_image(tmp_path, capsys):
    assert main(["info", str(files.dicom_series(tmp_path / "series"))]) == 0
    told = capsys.readouterr().out
    for word in ("DICOM, 5 files", "5 x 8 x 6", "HU", "2.5 x 0.7 x 0.9 mm"):
        assert word in told, word
    assert main(["info", str(tmp_path / "series"), "--json"]) == 0
    assert '"axes": "depth:height:width"' in capsys.readouterr().out
