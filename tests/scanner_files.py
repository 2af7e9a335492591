"""Small cone-beam scans as the makers of scanners write them, each with a bright spot where its formulas put it."""

from pathlib import Path

import numpy as np
import tifffile
from ole_file import write_ole

VIEWS, ROWS, COLUMNS = 12, 24, 32
POINT = np.array([1.1, -0.7, 0.2])  # mm, of the object when its angle is 0
NEAR, FAR, PITCH, ROW_PITCH = 60.0, 200.0, 0.5, 0.4  # mm
WHITE = 60000.0


def along(angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """To the right, away from the source, and up."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c, s, 0]), np.array([-s, c, 0]), np.array([0, 0, 1.0])


def spot(vector: np.ndarray, rows: int, columns: int, point: np.ndarray = POINT) -> tuple[float, float]:
    """Row and column of a point's shadow, for twelve numbers as ASTRA's cone_vec has them."""
    source, middle, u, v = vector.reshape(4, 3)
    _, a, b = np.linalg.solve(np.stack([point - source, -u, -v], axis=1), middle - source)
    return b + (rows - 1) / 2, a + (columns - 1) / 2


def spots(vectors: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Counts (view, row, column): WHITE with a linearly spread shadow."""
    images = np.full((len(vectors), rows, columns), WHITE)
    for image, vector in zip(images, vectors, strict=True):
        r, c = spot(vector, rows, columns)
        i, j = int(r), int(c)
        share = np.outer([1 - r + i, r - i], [1 - c + j, c - j])
        image[i : i + 2, j : j + 2] -= 30000 * share
    return np.round(images).astype(np.uint16)


def found(images: np.ndarray) -> np.ndarray:
    """(view, 2): row and column of the shadow in each image, the centre of mass of what is missing."""
    missing = images.max((1, 2), keepdims=True) - images.astype(np.float64)
    r, c = np.indices(images.shape[1:])
    return np.stack([(missing * r).sum((1, 2)), (missing * c).sum((1, 2))], 1) / missing.sum((1, 2))[:, None]


XTEKCT = {
    "Name": "beads", "Projections": VIEWS, "DetectorPixelsX": COLUMNS, "DetectorPixelsY": ROWS,
    "DetectorPixelSizeX": PITCH, "DetectorPixelSizeY": ROW_PITCH, "SrcToObject": NEAR, "SrcToDetector": FAR,
    "InitialAngle": 20.0, "AngularStep": 30.0, "WhiteLevel": WHITE, "ObjectOffsetX": 0.3, "DetectorOffsetX": 0.0,
    "DetectorOffsetY": 0.0, "ObjectTilt": 0.0, "ObjectRoll": 0.0, "CentreOfRotationTop": 1.0,
    "CentreOfRotationBottom": 1.0, "InputFolderName": "",
}  # fmt: skip


def nikon_vectors() -> np.ndarray:
    """As the Core Imaging Library takes the settings: columns from right to left, rows from the top."""
    out = []
    for k in range(VIEWS):
        u, forward, up = along(np.deg2rad(20.0 + 30.0 * k - 180))
        source = 0.3 * u - NEAR * forward
        out.append([source, source + FAR * forward, -PITCH * u, -ROW_PITCH * up])
    return np.array(out).reshape(VIEWS, 12)


def nikon(folder: Path, raw: bool = False, **changed: object) -> Path:
    """beads.xtekct with beads_0001.tif to beads_0012.tif beside it; `changed` settings, None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, image in enumerate(spots(nikon_vectors(), ROWS, COLUMNS)):
        if raw:
            image.astype("<u2").tofile(folder / f"beads_{k + 1:04}.raw")
        else:
            tifffile.imwrite(folder / f"beads_{k + 1:04}.tif", image)
    lines = [f"{key}={value}" for key, value in (XTEKCT | changed).items() if value is not None]
    (folder / "beads.xtekct").write_text("[XTekCT]\n" + "\n".join(lines) + "\n[Xrays]\nXraykV=150\n")
    return folder / "beads.xtekct"


def walnut_vectors() -> np.ndarray:
    """The source below the detector's middle, columns from right to left, rows from the top; a wobble."""
    out = []
    for k in range(VIEWS + 1):
        u, forward, up = along(0.3 - 2 * np.pi * k / VIEWS)
        source = -NEAR * forward - 0.4 * up + 0.02 * np.cos(k) * u
        out.append([source, (FAR - NEAR) * forward + 0.6 * u, -PITCH * u, -ROW_PITCH * up])
    return np.array(out).reshape(VIEWS + 1, 12)


def walnut(folder: Path) -> Path:
    """One orbit: the images on their side and backwards, one more than there are views."""
    folder.mkdir(parents=True, exist_ok=True)
    vectors = walnut_vectors()
    upright = spots(vectors, ROWS, COLUMNS)
    for k, image in enumerate(upright[VIEWS - 1 :: -1]):
        tifffile.imwrite(folder / f"scan_{k:06}.tif", np.flipud(image.T))
    tifffile.imwrite(folder / f"scan_{VIEWS:06}.tif", np.flipud(upright[0].T))
    flat = np.tile(50000 + 10 * np.arange(COLUMNS), (ROWS, 1)).astype(np.uint16)
    for name, image in (("di000000", flat // 100), ("io000000", flat), ("io000001", flat + 20)):
        tifffile.imwrite(folder / f"{name}.tif", np.flipud(image.T))
    np.savetxt(folder / "scan_geom_corrected.geom", vectors)
    np.savetxt(folder / "scan_geom_original.geom", vectors + 1)
    return folder


HELTOMO = {
    "ProjectName": "20201111_walnut_", "GeometryType": "Cone", "DistanceSourceDetector": 553.74,
    "DistanceSourceOrigin": 210.66, "DistanceUnit": "mm", "NumberImages": VIEWS, "AngleFirst": 0, "AngleInterval": 30,
    "AngleLast": 330, "DetectorType": "EID", "Binning": "1x1", "PixelSize": 50, "PixelSizeUnit": "um",
}  # fmt: skip


def heltomo(folder: Path, **changed: object) -> Path:
    """The settings with the images 20201111_walnut_0001.tif, ..., whose corner is as bright as the view's number."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{key}={value}" for key, value in (HELTOMO | changed).items() if value is not None]
    (folder / "20201111_walnut_.txt").write_text("[GENERAL]\n" + "\n".join(lines))
    for k in range(VIEWS):
        image = np.full((140, 150), 4000 + 100 * k, np.uint16)
        image[130:, 135:] //= 4
        tifffile.imwrite(folder / f"20201111_walnut_{k + 1:04}.tif", image)
    return folder


SHIFTS = np.arange(VIEWS) % 3 - 1  # pixels, both ways


def zeiss_vectors(parallel: bool = False) -> np.ndarray:
    """As the Core Imaging Library takes the settings: rows from the bottom, angles against the sign of the file's."""
    out = []
    for k in range(VIEWS):
        u, forward, up = along(np.deg2rad(30.0 - 15.0 * k))
        far = 1e6 if parallel else 1.0
        out.append([-NEAR * far * forward, (FAR - NEAR) * forward, PITCH * u, PITCH * up])
    return np.array(out).reshape(VIEWS, 12)


def zeiss(path: Path, parallel: bool = False, shifted: bool = False, **changed: bytes | None) -> Path:
    """`changed` streams by the last word of their paths; None leaves one out."""
    counts = spots(zeiss_vectors(parallel), ROWS, COLUMNS)
    flat = np.tile(np.linspace(1.0, 1.2, COLUMNS), (ROWS, 1)) * np.linspace(1.1, 1, ROWS)[:, None] / 1.4
    if shifted:
        counts = np.stack([np.roll(c, (-s, -2 * s), (0, 1)) for c, s in zip(counts, SHIFTS, strict=True)])
    counts = np.round(counts * flat).astype("<u2")
    pixel = PITCH * 1e3 * (1 if parallel else NEAR / FAR)
    streams = {
        "ImageInfo/NoOfImages": np.uint32(VIEWS), "ImageInfo/ImagesTaken": np.uint32(VIEWS),
        "ImageInfo/ImageWidth": np.uint32(COLUMNS), "ImageInfo/ImageHeight": np.uint32(ROWS),
        "ImageInfo/DataType": np.uint32(5), "ImageInfo/PixelSize": np.float32(pixel),
        "ImageInfo/Angles": (15.0 * np.arange(VIEWS) - 30).astype("<f4"),
        "ImageInfo/XrayGeometry": np.int32(0 if parallel else 1), "ImageInfo/AcquisitionMode": np.int32(0),
        "ImageInfo/StoRADistance": np.full(VIEWS, -NEAR, "<f4"),
        "ImageInfo/DtoRADistance": np.full(VIEWS, FAR - NEAR, "<f4"),
        "ReferenceData/DataType": np.uint32(10), "ReferenceData/Image": (WHITE * flat).astype("<f4"),
    }  # fmt: skip
    if shifted:
        streams |= {"Alignment/X-Shifts": (2.0 * SHIFTS).astype("<f4"), "Alignment/Y-Shifts": SHIFTS.astype("<f4")}
    streams |= {f"ImageData1/Image{k + 1}": image for k, image in enumerate(counts)}
    data = {key: value.tobytes() for key, value in streams.items()}
    by_word = {key.rpartition("/")[2]: key for key in data if key.startswith(("ImageInfo", "ImageData"))}
    for word, value in changed.items():
        data.pop(by_word[word])
        data |= {by_word[word]: value} if value is not None else {}
    return write_ole(path, data)
