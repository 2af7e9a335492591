"""invreg simulate: the measurement and its noise against independent computations, files there and back, bad input."""

import json

import h5py
import image_files
import numpy as np
import pytest
import tifffile
import torch
from phantoms import ellipse_image, ellipse_sinogram, scaled
from scipy.signal import convolve2d

from invreg.cli import main
from invreg.io import InputError, correct, read, read_measurement
from invreg.operators import FanBeam2D, Parallel2D
from invreg.simulations import NOISES, OPERATORS

N = 64
ELLIPSES = np.array([[0.5, 0.0, 0.05, 0.6, 0.5, 0.3], [0.4, 0.2, 0.1, 0.2, 0.15, 0.0]])


@pytest.fixture
def disc(tmp_path):
    """Two ellipses as a TIFF of 64 x 64 pixels of 0.5 mm, and their description in mm."""
    from invreg.io import Image, write_image

    e = scaled(ELLIPSES, 0.45 * N * 0.5)
    image = ellipse_image(e, (N, N), 0.5).astype(np.float32)
    write_image(tmp_path / "disc.tif", Image(image, "height:width", "", (0.5, 0.5), "mm"))
    return tmp_path / "disc.tif", e, image


@pytest.fixture
def photo(tmp_path):
    """A smooth image with an edge, 48 x 40, floats above 0."""
    y, x = np.mgrid[:48, :40]
    image = (1 + np.sin(x / 5) * np.cos(y / 7) + (x > 20)).astype(np.float32)
    tifffile.imwrite(tmp_path / "photo.tif", image)
    return tmp_path / "photo.tif", image


def made(path, *words, out="out.h5"):
    target = path.parent / out
    assert main(["simulate", str(path), "--out", str(target), "--keep-truth", *words]) == 0
    return target


# CT


def test_parallel_ct_has_the_line_integrals_of_the_object(disc):
    path, e, image = disc
    file = made(path, "--operator", "parallel", "views=40", "start=10", "peak=2")
    scan = read(file)
    assert scan.kind == "line integrals" and scan.unit == "mm" and scan.pixel_size == 0.5 and scan.centre is not None
    np.testing.assert_allclose(np.rad2deg(scan.angles), 10 + 4.5 * np.arange(40))
    g = scan.geometry
    assert isinstance(g, Parallel2D) and g.detectors >= N * np.sqrt(2)
    exact = ellipse_sinogram(e, g)
    scale = 2 / exact.max()
    assert scan.projections.max() == pytest.approx(2, abs=1e-5)
    assert np.linalg.norm(scan.projections[:, 0] - exact * scale) < 0.02 * np.linalg.norm(exact * scale)
    assert "was multiplied by" in scan.warnings[0]
    with h5py.File(file) as stored:
        assert stored["truth"].attrs["units"] == "1/mm" and stored["truth"].attrs["pixel_size"] == 0.5
        np.testing.assert_allclose(stored["truth"][0], image * scale, rtol=0.01, atol=1e-6)
        assert json.loads(stored["operator"].attrs["parameters"])["views"] == 40
        assert stored["simulation"].attrs["seed"] == 0 and "invreg" in stored["simulation"].attrs["program"]


def test_photons_are_counted(disc):
    words = ("--operator", "parallel", "views=60")
    exact = read(made(disc[0], *words, out="exact.h5")).projections
    scan = read(made(disc[0], *words, "--noise", "poisson", "photons=500"))
    assert scan.kind == "counts" and scan.flats.shape[0] == 10 and scan.darks is None
    mean = 500 * np.exp(-exact.astype(np.float64))
    chi = (scan.projections - mean) ** 2 / mean
    assert abs(chi.mean() - 1) < 5 * np.sqrt(2.1 / chi.size) and abs((scan.projections - mean).mean()) < 1
    assert abs(scan.flats.mean() - 500) < 5 * np.sqrt(500 / scan.flats.size)
    assert scan.flats.var() == pytest.approx(500, rel=0.15)


def test_read_noise_and_darks(disc):
    scan = read(made(disc[0], "--operator", "parallel", "--noise", "poisson-gaussian", "photons=300", "read=20"))
    assert scan.darks.shape == scan.flats.shape and scan.darks.mean() == pytest.approx(200, abs=3)
    assert scan.darks.std() == pytest.approx(20, rel=0.1)
    assert scan.flats.var() == pytest.approx(300 + 400, rel=0.15)


def test_what_is_simulated_is_reconstructed(disc, capsys):
    file = made(disc[0], "--operator", "parallel", "views=90", "--noise", "poisson", "photons=1e5")
    out = disc[0].parent / "result"
    assert main(["reconstruct", str(file), "--recipe", "fbp", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["metrics"]["relative error"] < 0.2, told["metrics"]


def test_a_series_in_hounsfield_units_becomes_a_scan_of_its_slices(tmp_path):
    for k in range(3):
        water = np.full((16, 16), 24, np.uint16)  # air
        water[4:12, 4:12] = 1024 + 100 * k
        image_files.dicom_slice(tmp_path / f"{k}", k, water, PixelSpacing=[0.7, 0.7], RescaleSlope=1)
    out = tmp_path / "scan.h5"
    flags = ["--rows", "1:3", "--out", str(out), "--keep-truth"]
    assert main(["simulate", str(tmp_path), "--operator", "parallel", "views=8", *flags]) == 0
    scan = read(out)
    assert scan.projections.shape[:2] == (8, 2) and not scan.warnings and scan.pixel_size == pytest.approx(0.7)
    along_rows = np.median(scan.projections[0, :, 9:15], axis=1)  # in the middle, through 8 pixels
    np.testing.assert_allclose(along_rows, 8 * 0.7 * 0.0193 * np.array([1.1, 1.2]), rtol=2e-3)


def test_fan_ct_has_the_line_integrals_of_the_object(disc):
    pytest.importorskip("invreg.operators.tomography.fan")
    file = made(disc[0], "--operator", "fan", "views=30", "source_origin=60", "source_detector=100", "peak=2")
    g = read(file).geometry
    assert isinstance(g, FanBeam2D) and (g.source_origin, g.source_detector) == (60, 100)
    assert g.pitch == pytest.approx(0.5 * 100 / 60)
    exact = np.empty(g.shape)
    for j, (gamma, _) in enumerate(zip(g.fan_angles, g.positions, strict=True)):
        for i, a in enumerate(g.angles):
            s = g.source_origin * np.sin(gamma)
            ray = Parallel2D(np.array([a - gamma, 9.0]), 1, 1.0, -s, "mm")
            exact[i, j] = ellipse_sinogram(disc[1], ray)[0, 0]
    sinogram = read(file).projections[:, 0]
    assert np.linalg.norm(sinogram / 2 - exact / exact.max()) < 0.05 * np.linalg.norm(exact / exact.max())


# other operators


def test_blur_is_the_valid_part_of_scipys_convolution(photo):
    path, image = photo
    m = read_measurement(made(path, "--operator", "blur", "psf=motion", "length=7", "angle=30"))
    kernel = m.arrays["kernel"]
    assert kernel.sum() == pytest.approx(1) and m.operator == "blur" and m.shape == (48, 40)
    np.testing.assert_allclose(m.values, convolve2d(image, kernel, mode="valid"), rtol=1e-4)
    np.testing.assert_allclose(m.A(torch.from_numpy(m.truth)), m.values, rtol=1e-5)
    assert (
        np.array_equal(m.truth, image) and m.noise == {"name": "none"} and torch.equal(m.y, torch.from_numpy(m.values))
    )


def test_downsampling_by_boxes_is_the_mean_of_blocks(photo):
    path, image = photo
    m = read_measurement(made(path, "--operator", "downsample", "factor=4"))
    np.testing.assert_allclose(m.values, image.reshape(12, 4, 10, 4).mean((1, 3)), rtol=1e-5)
    assert m.A.domain.shape == (48, 40) and m.parameters["factor"] == 4


def test_lost_pixels(photo):
    path, image = photo
    m = read_measurement(made(path, "--operator", "inpainting", "keep=0.3", "--noise", "gaussian", "std=0.1"))
    kept = m.arrays["mask"]
    assert kept.sum() == round(0.3 * image.size) and not m.values[~kept].any()
    assert (m.values - image)[kept].std() == pytest.approx(0.1, rel=0.1)
    tifffile.imwrite(path.parent / "mask.tif", (image > 1).astype(np.uint8))
    m = read_measurement(made(path, "--operator", "inpainting", f"mask={path.parent / 'mask.tif'}", out="b.h5"))
    assert np.array_equal(m.values, np.where(image > 1, image, 0))


@pytest.mark.parametrize("product", ["multispectral", "panchromatic", "pair"])
def test_a_satellite_image_has_the_noise_of_its_instrument(tmp_path, product):
    tifffile.imwrite(tmp_path / "flat.tif", np.full((320, 320), 3.0, np.float32))
    words = (
        "--operator",
        "satellite",
        "instrument=pleiades",
        f"product={product}",
        "peak=0.3",
        "--noise",
        "instrument",
    )
    m = read_measurement(made(tmp_path / "flat.tif", *words))
    exact = m.A(torch.from_numpy(m.truth)).numpy()
    assert m.values.shape == exact.shape and m.noise["name"] == "instrument"
    expected = 0.3 * np.array(m.noise["saturation"])[-len(m.truth.reshape(-1, 320, 320)) :]
    np.testing.assert_allclose(m.truth.reshape(len(expected), -1).mean(1), expected, rtol=1e-5)
    a, b = (np.reshape(m.noise[key], (-1, 1, 1)) for key in "ab")
    assert len(a) == len(m.noise["saturation"]) == (exact.shape[0] if exact.ndim == 3 else 1)
    ratio = (m.values - exact) ** 2 / (a + b * exact)
    assert abs(ratio.mean() - 1) < 4 * np.sqrt(2 / ratio.size)


def test_satellites_that_do_not_fit(refused, tmp_path):
    tifffile.imwrite(tmp_path / "three.tif", np.ones((3, 160, 160), np.float32), photometric="minisblack")
    words = ("--operator", "satellite", "instrument=sentinel2")
    assert "3 channels; sentinel2 takes 4, or one for all" in refused(*words, image=tmp_path / "three.tif")
    assert "instruments are 'sentinel2'" in refused("--operator", "satellite", "instrument=spot")
    assert "has no panchromatic band" in refused(*words, "product=pair", image=tmp_path / "three.tif")
    assert "--operator satellite: " in refused(*words, "factor=40")  # the image is too small for its blur
    assert "only --operator satellite" in refused("--operator", "blur", "--noise", "instrument")
    assert "only --operator satellite" in refused("--operator", "parallel", "--noise", "instrument")


def test_pictures_are_measured_in_proportion_to_light_channel_by_channel(tmp_path):
    from skimage import io

    colour = np.full((8, 10, 3), 128, np.uint8)
    io.imsave(tmp_path / "a.png", colour, check_contrast=False)
    m = read_measurement(made(tmp_path / "a.png", "--operator", "downsample"))
    assert m.values.shape == (3, 4, 5)
    np.testing.assert_allclose(m.values, 0.215861, rtol=1e-4)  # of 128 in sRGB


def test_noise_has_the_moments_it_is_asked_for(photo):
    path, _ = photo
    words = ("--operator", "blur", "boundary=periodic")
    exact = read_measurement(made(path, *words, out="exact.h5")).values.astype(np.float64)

    def noise(*told):
        m = read_measurement(made(path, *words, "--noise", *told, out=f"{told}.h5"))
        return m, m.values - exact

    m, r = noise("gaussian", "percent=5")
    assert m.noise["std"] == pytest.approx(0.05 * np.sqrt((exact**2).mean()))
    assert r.std() == pytest.approx(m.noise["std"], rel=0.06)
    m, r = noise("poisson", "photons=200")
    assert m.noise["value"] == pytest.approx(exact.max() / 200)
    counts = m.values / m.noise["value"]
    np.testing.assert_allclose(counts, counts.round(), atol=1e-3)
    assert (r**2 / exact).mean() == pytest.approx(m.noise["value"], rel=0.1)
    m, r = noise("poisson-gaussian", "photons=200", "read=9")
    assert m.noise["std"] == pytest.approx(9 * m.noise["value"])
    assert (r**2 - exact * m.noise["value"]).mean() == pytest.approx(m.noise["std"] ** 2, rel=0.15)


def test_the_seed_decides(photo):
    words = ("--operator", "downsample", "--noise", "gaussian")
    files = [made(photo[0], *words, "--seed", seed, out=f"{k}.h5") for k, seed in enumerate("112")]
    one, same, other = (read_measurement(f).values for f in files)
    assert np.array_equal(one, same) and not np.array_equal(one, other)


# an image with its PSF


@pytest.mark.parametrize("name", ["blurred_psf.tif", "psf.tif"])
def test_an_image_with_a_psf_beside_it(tmp_path, photo, name):
    image = photo[1]
    kernel = np.outer([1, 2, 4, 2, 1], [1, 3, 1]).astype(np.float32)
    tifffile.imwrite(
        tmp_path / "blurred.tif", convolve2d(image, kernel / kernel.sum(), mode="valid").astype(np.float32)
    )
    tifffile.imwrite(tmp_path / name, kernel)
    m = read_measurement(tmp_path / "blurred.tif")
    assert m.operator == "blur" and m.shape == image.shape and m.arrays["kernel"].sum() == pytest.approx(1)
    np.testing.assert_allclose(m.A(torch.from_numpy(image)), m.y, rtol=1e-5)
    again = read_measurement(tmp_path / "blurred.tif", psf=tmp_path / name)
    assert np.array_equal(again.values, m.values)


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (np.zeros((3, 3), np.float32), "values from 0 to 0; expected light"),
        (np.array([[1, -1, 1]], np.float32), "from -1 to 1; expected light"),
        (np.full((3, 3), np.nan, np.float32), "expected light, >= 0"),
        (np.ones((2, 3, 3), np.float32), "expected a grey image"),
        (np.eye(1, 9, 1, dtype=np.float32), "around row 0.0 and column 1.0"),
    ],
)
def test_bad_psf_files(photo, kernel, said):
    path = photo[0]
    tifffile.imwrite(path.parent / "psf.tif", kernel, photometric="minisblack")
    with pytest.raises(InputError, match=said) as caught:
        read_measurement(path)
    assert "psf.tif" in str(caught.value)


def test_several_psf_files(photo):
    path = photo[0]
    for name in ("psf.tif", "psf.png"):
        (path.parent / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"several PSF files beside it \(psf.png, psf.tif\); say which by psf="):
        read_measurement(path)


def test_a_scan_is_a_measurement_too(disc):
    file = made(disc[0], "--operator", "parallel", "views=30", "peak=2")
    m = read_measurement(file)
    assert m.operator == "x-ray" and m.values.shape[1:] == m.A.codomain.shape
    assert np.array_equal(m.values, correct(read(file)).projections.transpose(1, 0, 2))


# bad input


@pytest.fixture
def refused(photo, capsys):
    def refused(*words, out="new.h5", image=photo[0]):
        capsys.readouterr()
        folder = photo[0].parent
        before = sorted(folder.iterdir())
        assert main(["simulate", str(image), "--out", str(folder / out), *words]) == 2
        told = capsys.readouterr()
        assert told.err.count("\n") == 1 and told.err.startswith("invreg: ") and not told.out, told
        assert sorted(folder.iterdir()) == before
        return told.err

    return refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--operator", "blurr"], "no such operator; did you mean blur?"),
        (["--operator", "x"], "known are parallel, fan, blur"),
        (["--operator", "blur", "sgima=2"], "no parameter sgima; did you mean sigma?"),
        (["--operator", "blur", "sigma=wide"], "--operator blur sigma: takes a number; got 'wide'"),
        (["--operator", "blur", "sigma=nan"], "takes a finite number"),
        (["--operator", "blur", "sigma=-1"], "sigma"),
        (["--operator", "blur", "boundary=mirror"], "boundary"),
        (["--operator", "blur", "sigma=11"], "kernel inside the image"),
        (["--operator", "blur", "psf=none.tif"], "'none.tif' is neither gaussian, disk, motion nor a file"),
        (["--operator", "downsample", "factor=2.5"], "takes a whole number"),
        (["--operator", "downsample", "factor=99"], "whole factor from 1 to the size of the image"),
        (["--operator", "inpainting", "keep=0"], "fraction in (0, 1]"),
        (["--operator", "parallel", "views=1"], "a scan takes two or more"),
        (["--operator", "parallel", "peak=-1"], "expected above 0"),
        (["--operator", "parallel", "pitch=-1"], "pitch: -1; expected more than 0"),
        (["--operator", "fan", "source_origin=3"], "inside the image's circle"),
        (["--operator", "fan", "source_origin=0"], "source_origin: 0; expected more than 0"),
        (["--operator", "parallel", "detectors=0"], "detectors: 0; expected more than 0"),
        (["--operator", "parallel", "detectors=3.5"], "detectors: 3.5; expected a whole number"),
        (["--operator", "parallel", "pitch=1um"], "pitch: takes a number; got '1um'"),
        (["--operator", "parallel", "arc=0"], "arc: 0 degrees"),
        (["--operator", "parallel", "values=hu"], "'hu'; expected HU"),
        (["--operator", "parallel", "views=1000000000"], "are free; take fewer views"),
        (["--operator", "fan", "detectors=1000000000000"], "are free; take fewer views"),
        (["--operator", "blur", "sigma=1e9"], "the kernel would reach 4e+09 pixels"),
        (["--operator", "blur", "psf=disk", "radius=1e9"], "the kernel would reach"),
        (["--operator", "blur", "psf=motion", "length=1e9"], "the kernel would reach"),
        (["--operator", "satellite", "peak=-1"], "peak: -1; expected more than 0"),
        (["--operator", "blur", "--seed=-1"], "--seed -1; expected a whole number"),
        (["--operator", "blur", "--noise", "gaussian", "std=wide"], "std: takes a number; got 'wide'"),
        (["--operator", "blur", "--noise", "gaussian", "percent=-3"], "percent: -3; expected 0 or more"),
        (["--operator", "blur", "--noise", "poison"], "did you mean poisson?"),
        (["--operator", "blur", "--noise", "poisson", "photons=0"], "expected 0 < photons"),
        (["--operator", "blur", "--noise", "gaussian", "std=-1"], "expected 0 or more"),
        (["--operator", "blur", "--noise", "gaussian", "std=1", "percent=2"], "expected one of them"),
        (["--operator", "blur", "--rows", "0:9"], "expected A:B within 0:1"),
        (["--operator", "blur", "stray"], "stray is no KEY=VALUE"),
        (["--operator", "blur", "--force", "--keep-truth", "--bogus"], "unknown flag --bogus"),
        ([], "no --operator given"),
    ],
)
def test_wrong_words(refused, words, said):
    assert said in refused(*words)


def test_images_that_cannot_be_measured(refused, photo, tmp_path):
    bad = photo[1].copy()
    bad[3, 4] = np.nan
    tifffile.imwrite(tmp_path / "bad.tif", bad)
    tifffile.imwrite(tmp_path / "negative.tif", photo[1] - 2)
    tifffile.imwrite(tmp_path / "black.tif", 0 * photo[1])
    assert "1 values (0.00052 of all) are not finite" in refused("--operator", "blur", image=tmp_path / "bad.tif")
    assert "0 or more" in refused("--operator", "parallel", image=tmp_path / "negative.tif")
    assert "largest line integral is 0" in refused("--operator", "parallel", image=tmp_path / "black.tif")
    said = refused("--operator", "downsample", "--noise", "poisson", image=tmp_path / "negative.tif")
    assert "photons need an image >= 0" in said
    assert "no such file" in refused("--operator", "blur", image=tmp_path / "none.tif")


def test_nothing_is_replaced_without_force(refused, photo):
    file = made(photo[0], "--operator", "blur", out="there.h5")
    before = file.read_bytes()
    assert "exists already; use --force" in refused("--operator", "downsample", out="there.h5")
    assert file.read_bytes() == before
    made(photo[0], "--operator", "downsample", "--force", out="there.h5")
    assert read_measurement(file).operator == "downsample"


def test_damaged_measurements(photo, capsys):
    file = made(photo[0], "--operator", "blur")
    assert main(["reconstruct", str(file)]) == 2
    assert "a measurement of blur, no scan" in capsys.readouterr().err
    assert main(["info", str(file)]) == 0
    assert "blur" in capsys.readouterr().out
    with h5py.File(file, "r+") as stored:
        del stored["operator/kernel"]
    with pytest.raises(InputError, match="the operator blur lacks 'kernel'"):
        _ = read_measurement(file).A
    with h5py.File(file, "r+") as stored:
        stored["operator"].attrs["name"] = "magic"
    with pytest.raises(InputError, match="unknown operator 'magic'"):
        _ = read_measurement(file).A
    with h5py.File(file, "r+") as stored:
        stored.attrs["version"] = 7
    with pytest.raises(InputError, match="version 7 of the layout"):
        read_measurement(file)
    with h5py.File(file, "r+") as stored:
        stored.attrs["version"] = 1
        del stored["values"]
    with pytest.raises(InputError, match="values missing"):
        read_measurement(file)


def test_the_help_names_everything(capsys):
    assert main(["simulate", "--help"]) == 0
    told = capsys.readouterr().out
    for table in (OPERATORS, NOISES):
        for name, (_, parameters) in table.items():
            assert f"  {name}: " in told and all(key in told for key in parameters), name


def test_names_of_new_files(refused, photo):
    for out in ("new.tif", "new", photo[0].name):  # --force does not write over the image
        assert "ends in .h5 or .hdf5" in refused("--operator", "blur", "--force", out=out)
    assert "there is no folder" in refused("--operator", "blur", out="none/new.h5")


def test_hounsfield_units_that_the_file_does_not_tell(tmp_path):
    from invreg.io import Image, write_image

    values = np.array([[-1000.0, 0.0], [0.0, 1000.0]], np.float32).repeat(8, 0).repeat(8, 1)
    write_image(tmp_path / "ct.nii", Image(values[None], "depth:height:width", spacing=(1, 0.5, 0.5), unit="mm"))
    words = ["--operator", "parallel", "values=HU", "water=0.02", "--keep-truth", "--out", str(tmp_path / "a.h5")]
    assert main(["simulate", str(tmp_path / "ct.nii"), *words]) == 0
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_allclose(file["truth"][0], 0.02 * (1 + values / 1000), atol=1e-7)


def test_angles_that_look_like_radians(photo, tmp_path, capsys):
    words = ["--operator", "parallel", "views=8", "arc=3.14159", "--out", str(tmp_path / "a.h5")]
    assert main(["simulate", str(photo[0]), *words]) == 0
    assert "span 3.14159 degrees" in capsys.readouterr().out


def test_a_scan_without_photons_says_so(photo, tmp_path, capsys):
    words = ["--operator", "parallel", "views=8", "peak=50", "--noise", "poisson", "photons=1"]
    assert main(["simulate", str(photo[0]), *words, "--out", str(tmp_path / "a.h5")]) == 0
    assert "of the bins counted nothing" in capsys.readouterr().out


def test_what_is_told_of_images(photo, tmp_path, capsys):
    file = made(photo[0], "--operator", "blur", "sigma=1", "--noise", "gaussian", "std=0.0123456789")
    capsys.readouterr()
    assert main(["info", str(file)]) == 0
    assert "noise: gaussian, std=0.01235\n" in capsys.readouterr().out
    assert main(["info", str(photo[0])]) == 0  # one page of TIFF is an image, not a scan of one view
    assert "48 x 40 (height:width)" in capsys.readouterr().out
    assert main(["info", str(photo[0]), "--plot", str(tmp_path / "a.png")]) == 2
    assert "only scans are drawn" in capsys.readouterr().err and not (tmp_path / "a.png").exists()
