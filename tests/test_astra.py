"""The ray transform by ASTRA: what can be seen of it without a GPU, and on a device its results beside ours."""

import sys

import numpy as np
import pytest
import torch
from test_astra_geometry import ANGLES, FAN, PLANES, SPACES, blobs
from test_gpu import CASES

from invreg.operators import FanBeam2D, XRay, to_astra
from invreg.operators.tomography import astra as backend


@pytest.fixture
def astra():
    return pytest.importorskip("astra", exc_type=ImportError)


def test_without_astra_it_is_told_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "astra", None)
    with pytest.raises(RuntimeError, match=r'^backend "astra" needs the package astra-toolbox \(GPL-3\).*backend out$'):
        XRay(PLANES["fan"], (64, 64), 0.7, backend="astra")(torch.zeros(64, 64))


def test_without_a_device_it_is_told_in_one_sentence(astra, monkeypatch):
    monkeypatch.setattr(astra, "use_cuda", lambda: False)
    with pytest.raises(RuntimeError, match=r'^backend "astra" needs a CUDA device, and ASTRA finds none: .* out$'):
        XRay(PLANES["fan"], (64, 64), 0.7, backend="astra")(torch.zeros(64, 64))


@pytest.mark.parametrize("name", ["fan", "free"])
def test_images_and_sinograms_reach_astra(name, astra, monkeypatch):
    """With ASTRA's kernels for the CPU in place of those for CUDA: order, signs and scale of both directions."""
    monkeypatch.setattr(astra, "use_cuda", lambda: True)
    monkeypatch.setitem(backend.KINDS, True, "line_fanflat")
    geometry = PLANES[name].general()
    image, integral = blobs((70, 64), 0.7)
    A = XRay(geometry, (70, 64), 0.7, backend="astra")
    x = torch.from_numpy(image)
    y = A(torch.stack([x, 2 * x]))
    rays = geometry.points(np.arange(60.0)) - geometry.source[:, None]
    expected = integral(geometry.points(np.arange(60.0)), rays / np.linalg.norm(rays, axis=-1, keepdims=True))
    assert np.linalg.norm(y[0] - expected) < 0.01 * np.linalg.norm(expected)
    torch.testing.assert_close(y[1], 2 * y[0])
    u = torch.randn(70, 64, generator=torch.Generator().manual_seed(1))
    v = torch.randn(A.codomain.shape, generator=torch.Generator().manual_seed(2))
    Au = A(u)
    assert abs((Au * v).sum() - (u * A.adjoint(v)).sum()) < 1e-5 * torch.linalg.norm(Au) * torch.linalg.norm(v)
    assert A(u.double()).dtype == torch.float64


@pytest.mark.parametrize("geometry", SPACES.values(), ids=SPACES)
def test_mirrored_views_see_the_mirrored_point_in_the_same_column_and_the_mirrored_row(geometry, astra):
    from astra.experimental import projectPoint

    there = to_astra(geometry)
    for view in range(len(ANGLES)):
        column, row = projectPoint(there, 3.0, 5.0, -2.0, view)
        mirrored = projectPoint(backend.mirrored(there), 3.0, -5.0, -2.0, view)
        np.testing.assert_allclose(mirrored, (column, geometry.rows - 1 - row), rtol=0, atol=1e-9)


def test_an_arc_in_a_plane_is_refused(astra, monkeypatch):
    monkeypatch.setattr(astra, "use_cuda", lambda: True)
    with pytest.raises(ValueError, match="no curved detector in a plane"):
        XRay(FanBeam2D(ANGLES, 60, 1.3, curved=True, **FAN), (64, 64), 0.7, backend="astra")(torch.zeros(64, 64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", [name for name in CASES if name != "arc"])
def test_astra_and_triton_agree_on_a_smooth_object(name, astra):
    """In sign, order and scale, forward and back: two discretisations of the same integrals."""
    geometry, shape = CASES[name]
    axes = [torch.linspace(-1, 1, n) for n in shape]
    grid = torch.meshgrid(*axes, indexing="ij")
    x = torch.exp(-8 * sum((g - 0.2 * (i + 1)) ** 2 for i, g in enumerate(grid))).cuda()  # no symmetry
    ours, theirs = (XRay(geometry, shape, 1.0, backend=b) for b in ("triton", "astra"))
    y = ours(x)
    assert torch.linalg.norm(theirs(x) - y) < 0.01 * torch.linalg.norm(y)
    back = ours.adjoint(y)
    assert torch.linalg.norm(theirs.adjoint(y) - back) < 0.03 * torch.linalg.norm(back)
