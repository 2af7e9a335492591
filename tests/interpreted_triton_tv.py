"""The dual step on a GPU in Triton's interpreter; test_tv_kernels.py runs this file in a process of its own."""

import pytest
import torch

from invreg.priors import TV, GroupHuber, GroupL1, Jacobian, tv_gpu


@pytest.mark.parametrize(
    ("shape", "dtype", "weights", "alpha"),
    [
        ((5, 18), torch.float64, "none", 0.3),
        ((5, 18), torch.float32, "map", 0.3),
        ((1, 16), torch.float64, "one", 0.0),
        ((9, 20), torch.float64, "map", 0.0),
    ],
)
def test_the_step_is_that_of_the_cpu(shape, dtype, weights, alpha, monkeypatch):
    monkeypatch.setattr(tv_gpu, "TILE", {"ROWS": 4, "COLUMNS": 16})
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, *shape, dtype=dtype, generator=generator)
    u = torch.randn(2, 2, *shape, dtype=dtype, generator=generator)
    step = torch.tensor([0.1, 0.7], dtype=torch.float64)
    maps = {"none": None, "one": torch.tensor([[[0.4]], [[1.2]]]), "map": torch.rand(2, *shape, generator=generator)}
    radius = maps[weights]
    if weights == "map":
        radius[0, 0, 0] = 0
    prior = TV(shape, (1.0, 2.0), huber=alpha)
    prior.f = GroupHuber(alpha, radius) if alpha else GroupL1(radius)
    expected = prior.ascend(u, x, step)
    assert isinstance(prior.K, Jacobian)
    got = tv_gpu.ascend(prior.f, prior.K, u, x, step)
    assert got.dtype == dtype
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-14)
