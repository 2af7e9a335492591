"""Work by slabs and groups of views gives what the whole gives, and stays within its memory."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from invreg.operators import ConeBeam, Parallel2D, Parallel3D, XRay, fdk, helix
from invreg.operators.tomography.streaming import backproject_by_slabs, fdk_by_slabs, plan, project_by_slabs

ANGLES = np.arange(12) * 2 * np.pi / 12
CONE = ConeBeam(ANGLES, 20, 24, 1.5, row_centre=8.5, source_origin=40.0, source_detector=60.0)
GEOMETRIES = {
    "circle": CONE,
    "helix": replace(CONE, heights=helix(ANGLES, 9.0)),
    "tilted": replace(CONE, tilt=(0.1, 0.05, -0.1)),
    "parallel": Parallel3D(ANGLES, 17, 24),
}
SHAPE = (17, 14, 16)
MEMORY = 2 * 4 * 4 * 24 * 20 * 5  # five views of all rows and about ten slices


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "arrays.h5", "w") as opened:
        yield opened


@pytest.mark.parametrize("name", GEOMETRIES)
def test_products_by_slabs_are_those_of_the_whole(name, file):
    g = GEOMETRIES[name]
    A = XRay(g, SHAPE, 1.0)
    slabs, group = plan(A, MEMORY)
    assert len(slabs) > 1 and 1 < group < 12
    rng = np.random.default_rng(0)
    volume = file.create_dataset("volume", data=rng.standard_normal(SHAPE).astype(np.float32))
    projections = file.create_dataset("projections", g.shape, np.float32, fillvalue=np.nan)
    told = []
    project_by_slabs(volume, projections, g, 1.0, max_memory=MEMORY, progress=told.append)
    whole = A(torch.from_numpy(volume[:]))
    np.testing.assert_allclose(projections[:], whole.numpy(), atol=2e-5 * float(whole.abs().max()))
    assert told == sorted(told) and told[-1] == 1
    back = file.create_dataset("back", SHAPE, np.float32)
    backproject_by_slabs(projections, back, g, 1.0, max_memory=MEMORY)
    whole = A.adjoint(torch.from_numpy(projections[:]))
    np.testing.assert_allclose(back[:], whole.numpy(), atol=2e-5 * float(whole.abs().max()))


@pytest.mark.parametrize("g", [CONE, GEOMETRIES["tilted"], replace(CONE, curved=True)], ids=["flat", "tilted", "arc"])
def test_fdk_by_slabs_is_that_of_the_whole(g, file):
    rng = np.random.default_rng(0)
    projections = file.create_dataset("projections", data=rng.standard_normal(g.shape).astype(np.float32))
    volume = file.create_dataset("volume", SHAPE, np.float32)
    fdk_by_slabs(projections, volume, g, 1.0, slice_thickness=1.5, filter="hann", max_memory=MEMORY)
    whole = fdk(torch.from_numpy(projections[:]), g, SHAPE, 1.0, slice_thickness=1.5, filter="hann")
    np.testing.assert_allclose(volume[:], whole.numpy(), atol=2e-5 * float(whole.abs().max()))


def test_tensors_and_all_the_memory():
    rng = np.random.default_rng(1)
    volume, y = torch.from_numpy(rng.standard_normal(SHAPE)).float(), torch.empty(CONE.shape)
    A = XRay(CONE, SHAPE, 1.0)
    for memory in (MEMORY, np.inf):
        project_by_slabs(volume, y, CONE, 1.0, max_memory=memory)
        torch.testing.assert_close(y, A(volume), rtol=1e-5, atol=1e-4)
        back = torch.empty(SHAPE, dtype=torch.float64)
        backproject_by_slabs(y, back, CONE, 1.0, max_memory=memory)
        torch.testing.assert_close(back.float(), A.adjoint(y), rtol=1e-5, atol=1e-3)


def test_slabs_of_one_slice_add_up():
    volume, y = np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32), np.empty(CONE.shape, np.float32)
    memory = 2 * 4 * 4 * 24 * 20
    assert 1 in [slab.slices.stop - slab.slices.start for slab in plan(XRay(CONE, SHAPE, 1.0), memory)[0]]
    project_by_slabs(volume, y, CONE, 1.0, max_memory=memory)
    np.testing.assert_allclose(y, XRay(CONE, SHAPE, 1.0)(torch.from_numpy(volume)).numpy(), atol=1e-4)


def test_small_bins_far_away_are_seen_by_the_rows_of_their_shadow():
    """Bins of a micrometre at a metre: a slab is read in few rows, not all."""
    g = ConeBeam(ANGLES, 400, 24, 1e-6, unit="m", source_origin=1.0, source_detector=1.1)
    slabs, _ = plan(XRay(g, (200, 8, 8)), 1e5)
    assert len(slabs) == 5 and all(slab.rows.stop - slab.rows.start < 80 for slab in slabs)


def test_what_is_refused(file):
    for memory in (0.0, np.nan):
        with pytest.raises(ValueError, match="max_memory must be a positive number of bytes; got"):
            plan(XRay(CONE, SHAPE, 1.0), memory)
    small = np.zeros((3, *CONE.shape[1:]), np.float32)
    with pytest.raises(ValueError, match=r"projections have shape \(3, 20, 24\); the geometry has \(12, 20, 24\)"):
        project_by_slabs(np.zeros(SHAPE, np.float32), small, CONE, 1.0, max_memory=MEMORY)
    with pytest.raises(ValueError, match=r"max_memory = 0.001 MB is too little for slices of 14 x 16 .* at least"):
        backproject_by_slabs(np.zeros(CONE.shape), np.zeros(SHAPE), CONE, 1.0, max_memory=1e3)
    with pytest.raises(TypeError, match="takes a geometry in space; use XRay"):
        project_by_slabs(np.zeros((9, 9)), np.zeros((12, 24)), Parallel2D(ANGLES, 24), max_memory=MEMORY)
    with pytest.raises(ValueError, match="takes finite projections; 12 of the 5760 values are not"):
        broken = np.full(CONE.shape, np.nan)
        broken[..., 1:] = 0
        broken[:, 1:] = 0
        fdk_by_slabs(broken, np.zeros(SHAPE), CONE, 1.0, max_memory=1e9)
    with pytest.raises(ValueError, match="fdk takes a circle"):
        fdk_by_slabs(np.zeros(CONE.shape), np.zeros(SHAPE), GEOMETRIES["helix"], 1.0, max_memory=MEMORY)
