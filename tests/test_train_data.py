"""A folder of images as training data: every format, the scaling, the split, what is skipped."""

import numpy as np
import pytest
import tifffile
import torch
from image_files import dicom_slice
from PIL import Image as Pillow

from invreg.io import InputError
from invreg.train.config import Data
from invreg.train.data import ImageFolder, View, draw, middle, resized

GREY = np.arange(8 * 6).reshape(8, 6)


def folder(path, **settings):
    return ImageFolder(Data(folder=str(path), **settings))


def only(path, **settings):
    """The image of the file named a*, whichever part it is in."""
    images = folder(path, **settings)
    item = next(i for i in (*images.train, *images.validation) if images.files[i[0]].name.startswith("a"))
    return images[item].numpy()


@pytest.fixture
def other(tmp_path):
    """A folder with one image, to which the test adds its own."""
    np.save(tmp_path / "z.npy", np.zeros((8, 6), np.float32))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "write", "largest", "tol"),
    [
        ("a.png", lambda p: Pillow.fromarray(GREY.astype(np.uint8)).save(p), 255, 0),
        ("a.jpg", lambda p: Pillow.fromarray(GREY.astype(np.uint8)).save(p, quality=100), 255, 1.5 / 255),
        ("a.tif", lambda p: tifffile.imwrite(p, (GREY * 1000).astype(np.uint16)), 65.535, 0),
        ("a.npy", lambda p: np.save(p, GREY.astype(np.uint8)), 255, 0),
        ("deep/below/a.npy", lambda p: np.save(p, (GREY / 64).astype(np.float64)), 64, 0),
        ("a.png", lambda p: Pillow.fromarray(np.dstack([GREY] * 3 + [GREY + 99]).astype(np.uint8)).save(p), 255, 0),
    ],
    ids=["png", "jpeg", "tiff", "npy", "npy of floats", "png with alpha"],
)  # fmt: skip
def test_formats_are_scaled_by_their_bits(other, name, write, largest, tol):
    path = other / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    assert only(other) == pytest.approx(GREY[None] / largest, abs=1e-6 + tol)


def test_dicom_in_hounsfield_units_needs_a_window(other):
    values = np.arange(48, dtype=np.uint16).reshape(8, 6) * 50
    dicom_slice(other / "a.dcm", 0, values)  # slope 1, intercept -1024
    with pytest.raises(InputError, match=r"a\.dcm: values from -1024 to 1326 HU.*data\.window=\[-1000,1000\]"):
        folder(other)
    found = only(other, window=[-1000, 1000])
    assert found[0] == pytest.approx(((values - 1024.0 + 1000) / 2000).clip(0, 1), abs=1e-6)


def test_colour_becomes_grey_by_its_luma_and_back(other):
    colour = np.random.default_rng(0).integers(0, 256, (8, 6, 3)).astype(np.uint8)
    Pillow.fromarray(colour).save(other / "a.png")
    assert only(other)[0] == pytest.approx(colour / 255 @ [0.299, 0.587, 0.114], abs=1e-6)
    assert only(other, channels=3) == pytest.approx(np.moveaxis(colour, 2, 0) / 255, abs=1e-6)
    (other / "a.png").unlink()
    np.save(other / "a.npy", (GREY / 64).astype(np.float32))
    assert only(other, channels=3) == pytest.approx(np.stack([GREY / 64] * 3), abs=1e-6)


def test_percentiles_are_of_each_image(other):
    values = 1e4 * np.random.default_rng(0).standard_normal((8, 6))
    np.save(other / "a.npy", values)
    low, high = np.percentile(values, [10, 90])
    expected = ((values - low) / (high - low)).clip(0, 1)
    assert only(other, percentiles=[10, 90])[0] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError, match=r"which no bit depth scales; say which values"):
        folder(other)


def test_files_are_split_and_their_slices_stay_together(tmp_path):
    for k in range(10):
        np.save(tmp_path / f"{k}.npy", np.full((3, 8, 8), k / 10, np.float32))
    images = folder(tmp_path, validation=0.3)
    held, trained = ({item[0] for item in part} for part in (images.validation, images.train))
    assert not held & trained and len(held) == 3 and len(trained) == 7
    assert len(images.validation) == 9 and len(images.train) == 21
    again = ImageFolder(Data(folder=str(tmp_path), validation=0.3), seed=0)
    assert again.validation == images.validation
    others = {tuple(ImageFolder(Data(folder=str(tmp_path), validation=0.3), seed=s).validation) for s in range(5)}
    assert len(others) > 1
    assert [float(images[(4, k)].mean()) for k in range(3)] == pytest.approx([0.4] * 3)


def test_the_cache_changes_nothing(tmp_path):
    for k in range(4):
        np.save(tmp_path / f"{k}.npy", np.random.default_rng(k).random((2, 8, 8)).astype(np.float32))
    kept, read = folder(tmp_path), folder(tmp_path, cache=0)
    assert kept._kept and not read._kept
    for item in (*kept.train, *kept.validation):
        assert torch.equal(kept[item], read[item])


def test_what_will_not_do_is_skipped_and_named(tmp_path):
    for k in range(3):
        np.save(tmp_path / f"good{k}.npy", np.zeros((16, 16), np.float32))
    np.save(tmp_path / "small.npy", np.zeros((16, 4), np.float32))
    np.save(tmp_path / "nan.npy", np.full((16, 16), np.nan, np.float32))
    np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "empty.png").touch()
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / ".hidden").write_text("not looked at")
    Pillow.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:45])
    images = ImageFolder(Data(folder=str(tmp_path)), smallest=8)
    assert len(images.files) == 3
    told = images.notes[1]
    assert told.startswith("6 of 9 files skipped: cut.png (") and "and 3 more" in told and "\n" not in told
    assert "3 images of 3 files" in images.notes[0]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_files_are_refused(tmp_path, count):
    (tmp_path / "notes.txt").write_text("nothing")
    for k in range(count):
        np.save(tmp_path / f"{k}.npy", np.zeros((8, 8), np.float32))
    with pytest.raises(InputError, match=rf"{count} files of images.*1 of {1 + count} files skipped: notes.txt"):
        folder(tmp_path)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"folder": "/nowhere"}, "/nowhere: no such folder"),
        ({}, "--data FOLDER"),
        ({"folder": ".", "window": [0, 1], "percentiles": [0, 100]}, "both given"),
    ],
)
def test_a_wrong_folder_is_told(settings, told):
    with pytest.raises(InputError, match=told):
        ImageFolder(Data(**settings))


def test_views_are_drawn_everywhere_and_in_all_eight_ways():
    image = torch.arange(20.0 * 30).reshape(1, 20, 30)
    generator = torch.Generator().manual_seed(0)
    drawn = [draw(image.shape, 8, generator) for _ in range(400)]
    assert {(v.turns, v.flip) for v in drawn} == {(t, f) for t in range(4) for f in (False, True)}
    assert {v.top for v in drawn} == set(range(13)) and {v.left for v in drawn} == set(range(23))
    for v in drawn[:20]:
        expected = np.rot90(image[0, v.top : v.top + 8, v.left : v.left + 8].numpy(), v.turns)
        assert np.array_equal(v(image)[0], expected[:, ::-1] if v.flip else expected)
    assert middle(image.shape, 8) == View(6, 11, 8)


def test_smaller_images_hold_averages():
    image = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    small = resized(image, 8)
    assert small.shape == (1, 8, 8) and float(small.mean()) == pytest.approx(float(image.mean()), abs=0.02)
    assert float(small.std()) < 0.4 * float(image.std())  # a sample would keep it
    assert resized(image, 32) is image
