"""Work by slabs and groups of views gives what the whole gives, and stays within its memory."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from invreg.operators import ConeBeam, Parallel3D, XRay, fdk, helix
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


def test_what_is_refused(file):
    small = np.zeros((3, *CONE.shape[1:]), np.float32)
    with pytest.raises(ValueError, match=r"projections have shape \(3, 20, 24\); the geometry has \(12, 20, 24\)"):
        project_by_slabs(np.zeros(SHAPE, np.float32), small, CONE, 1.0, max_memory=MEMORY)
    with pytest.raises(ValueError, match=r"max_memory = 0.001 MB is too little for slices of 14 x 16 .* at least"):
        backproject_by_slabs(np.zeros(CONE.shape), np.zeros(SHAPE), CONE, 1.0, max_memory=1e3)
    with pytest.raises(ValueError, match="fdk takes a circle"):
        fdk_by_slabs(np.zeros(CONE.shape), np.zeros(SHAPE), GEOMETRIES["helix"], 1.0, max_memory=MEMORY)
