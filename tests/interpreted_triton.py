"""The GPU's kernels in Triton's interpreter; test_gpu.py runs this file with TRITON_INTERPRET=1 in its own process."""

import numpy as np
import pytest
import torch
from joseph_dense import joseph_matrix
from test_astra_geometry import PLANES as GEOMETRIES
from test_astra_geometry import blobs

from invreg.operators import ConeBeam, FanBeam2D, Parallel2D, Parallel3D, XRay, helix
from invreg.operators.tomography import gpu
from invreg.operators.tomography.joseph import JosephProjector

ANGLES = np.array([np.pi / 4, 2.5])
CONE = {"pitch": 1.5, "row_pitch": 1.2, "source_origin": 20, "source_detector": 30}
STEEP = {"pitch": 2.4, "row_pitch": 3.0, "row_centre": 4.4, "source_origin": 9, "source_detector": 14}

PLANES = {
    "fan": FanBeam2D(ANGLES, 15, 1.3, 6.6, source_origin=20, source_detector=30),
    "arc": FanBeam2D(ANGLES, 15, 1.3, 6.6, source_origin=20, source_detector=30, curved=True),
    "near": FanBeam2D(ANGLES, 13, 3.8, 5.6, source_origin=7, source_detector=12),
    "near arc": FanBeam2D(ANGLES, 13, 1.8, 5.6, source_origin=7, source_detector=12, curved=True),
}
SPACES = {
    "parallel": Parallel3D(ANGLES, 3, 7, 1.0, 1.2, 2.7),
    "cone": ConeBeam(ANGLES, 3, 6, centre=2.3, **CONE),
    "tilted": ConeBeam(ANGLES, 3, 6, centre=2.3, tilt=(0.1, -0.2, 0.15), **CONE),
    "helix": ConeBeam(ANGLES, 3, 6, centre=2.3, heights=helix(ANGLES, 4.0), **CONE),
    "cylinder": ConeBeam(ANGLES, 3, 6, centre=2.3, row_centre=0.8, curved=True, **CONE),
    "steep": ConeBeam(ANGLES, 7, 4, **STEEP),
    "steep cylinder": ConeBeam(ANGLES, 7, 4, curved=True, **STEEP),
}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """The interpreter takes as long for a few lanes as for many: tiles as large as the images, but more than one."""
    tiles = {"aligned": {"ROWS": 4, "COLUMNS": 8}, "free": {"ROWS": 8, "COLUMNS": 4}}
    monkeypatch.setattr(gpu, "RAYS", {"plane": {"ROWS": 1, "COLUMNS": 8}, **tiles})
    tile, flat = {"SLICES": 4, "LINES": 4, "COLUMNS": 8}, {"SLICES": 1, "LINES": 8, "COLUMNS": 8}
    monkeypatch.setattr(gpu, "VOXELS", {"plane": flat, "aligned": tile, "free": tile})


def compare(geometry, shape, pixel, thickness, dtype, batch=1):
    """Both directions against the dense matrix."""
    matrix = joseph_matrix(geometry, shape, pixel, thickness)
    A = XRay(geometry, shape, pixel, slice_thickness=thickness, backend="triton")
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(batch, *shape, dtype=dtype, generator=generator)
    y = torch.rand(batch, *geometry.shape, dtype=dtype, generator=generator)
    accuracy = 3e-6 if dtype == torch.float32 else 1e-14
    for got, expected in (
        (A(x), x.reshape(batch, -1).double().numpy() @ matrix.T),
        (A.adjoint(y), y.reshape(batch, -1).double().numpy() @ matrix),
    ):
        assert got.dtype == dtype
        np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=0, atol=accuracy * expected.max())


@pytest.mark.parametrize("geometry", PLANES.values(), ids=PLANES)
def test_the_plane_is_joseph_s_interpolation(geometry):
    compare(geometry, (9, 7), 0.9, None, torch.float64)


@pytest.mark.parametrize("name", ["fan", "free"])
def test_smooth_objects_have_their_exact_line_integrals(name, monkeypatch):
    monkeypatch.setitem(gpu.RAYS, "plane", {"ROWS": 1, "COLUMNS": 64})
    image, integral = blobs((70, 64), 0.7)
    views = GEOMETRIES[name].general()
    places = views.points(np.arange(60.0))
    rays = places - views.source[:, None]
    expected = integral(places, rays / np.linalg.norm(rays, axis=-1, keepdims=True))
    got = XRay(views, (70, 64), 0.7, backend="triton")(torch.from_numpy(image)).numpy()
    # linear interpolation adds h^2 / 6 to the variance s^2 of a Gaussian: h^2 / (12 s^2) of its height, where s > 2.2
    assert np.linalg.norm(got - expected) < 0.7**2 / 12 / 2.2**2 * np.linalg.norm(expected)


@pytest.mark.parametrize("geometry", SPACES.values(), ids=SPACES)
def test_the_space_is_joseph_s_interpolation(geometry):
    compare(geometry, (3, 5, 4), 1.1, 0.8, torch.float64)


def test_two_images_in_single_precision():
    compare(PLANES["fan"], (9, 8), 0.9, None, torch.float32, batch=2)
    compare(SPACES["tilted"], (3, 5, 4), 1.1, 1.4, torch.float32, batch=2)


@pytest.mark.parametrize("pitch", [0.8, 2.5], ids=["sharpened", "averaged"])
@pytest.mark.parametrize("turn", [1, -1], ids=["rising", "falling"])
def test_parallel_rays_are_those_of_the_cpu(pitch, turn):
    """Bins at rising and falling places, some beyond the image; rows and columns, one image and two."""
    angles = np.array([0.1, np.pi / 4, 1.4, 2.5]) + (0 if turn > 0 else np.pi)
    for dtype, accuracy, g in (
        (torch.float32, 1e-6, Parallel2D(angles, 23, pitch, 8.6)),
        (torch.float64, 1e-13, Parallel2D(angles[:2], 23, pitch, 8.6)),
    ):
        x = torch.rand(2, 12, 9, dtype=dtype, generator=torch.Generator().manual_seed(1))
        cpu, gpu = (XRay(g, (12, 9), 0.9, backend=name) for name in ("numba", "triton"))
        y = cpu(x)
        torch.testing.assert_close(gpu(x), y, rtol=0, atol=accuracy * float(y.max()))
        back = cpu.adjoint(y)
        torch.testing.assert_close(gpu.adjoint(y), back, rtol=0, atol=accuracy * float(back.max()))


def test_the_gpu_agrees_with_the_cpu():
    geometry, shape = SPACES["helix"], (3, 5, 6)
    x = torch.rand(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    cpu = JosephProjector(geometry.general(), shape, 1.1, 0.8)
    gpu = XRay(geometry, shape, 1.1, slice_thickness=0.8, backend="triton")
    y = cpu.project(x)
    torch.testing.assert_close(gpu(x), y, rtol=0, atol=1e-13)
    torch.testing.assert_close(gpu.adjoint(y), cpu.backproject(y), rtol=0, atol=1e-12)
