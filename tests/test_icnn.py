"""Potentials: convex, smooth, their gradients symmetric and near the identity at first."""

import numpy as np
import pytest
import scipy.fft
import torch

from invreg.priors import ConvPotential, DensePotential, ImagePotential
from invreg.priors.icnn import gradient

MADE = {
    "dense": lambda: DensePotential(3, 10, 2, alpha=0.05),
    "one size": lambda: ConvPotential((1, 8, 8), 6, (2, 1, 2), 10, 0.01),
    "one size, colour": lambda: ConvPotential((3, 8, 8), 6, (2, 1), 100, 1e-3),
    "any size": lambda: ImagePotential(1, (4, 5, 6), (2, 2), 5),
    "any size, colour": lambda: ImagePotential(3, (8, 5), (2,), 3, 0.2, beta=100),
}


@pytest.fixture(params=MADE)
def psi(request):
    """In float64, with weights far from the first ones, negative ones projected away."""
    torch.manual_seed(0)
    made = MADE[request.param]().double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * p.abs().mean() * torch.randn_like(p))
    made.project()
    return made


def images(psi, count, sides=(7, 9)):
    """Values about 0 to 1, also outside."""
    sizes = iter(sides)
    shape = [next(sizes) if n is None else n for n in psi.shape]
    return 0.5 + 0.7 * torch.randn(count, *shape, dtype=torch.float64)


def test_it_is_as_convex_as_it_says(psi):
    x, y = images(psi, 40), images(psi, 40)
    apart = (x - y).square().flatten(1).sum(1)
    for share in (0.1, 0.5, 0.8):
        bend = share * psi(x) + (1 - share) * psi(y) - psi(share * x + (1 - share) * y)
        least = psi.modulus / 2 * share * (1 - share) * apart
        assert bool((bend >= least - 1e-10 * psi(x).abs()).all())
    assert bool((bend > 1.01 * least).any())  # the network bends too


def test_without_projection_it_need_not_be_convex():
    torch.manual_seed(0)
    psi = MADE["any size"]().double()
    with torch.no_grad():
        for total in psi.sums:
            total.fill_(-1)
        psi.quadratic.weight.zero_()
    x, y = images(psi, 20), images(psi, 20)
    assert bool((psi(x) / 2 + psi(y) / 2 < psi((x + y) / 2)).any())
    psi.project()
    assert all(bool((total == 0).all()) for total in psi.sums)


def test_the_jacobian_of_the_gradient_is_symmetric_and_at_least_the_modulus(psi):
    x = images(psi, 1, (6, 6))
    n = x.numel()
    J = torch.autograd.functional.jacobian(lambda v: gradient(psi, v, create_graph=True), x).reshape(n, n)
    assert torch.allclose(J, J.T, atol=1e-12 * float(J.abs().max()))
    assert float(torch.linalg.eigvalsh(J).min()) >= psi.modulus - 1e-12


def test_the_gradient_is_that_of_differences(psi):
    x, v = images(psi, 2), images(psi, 2)
    slope = (gradient(psi, x) * v).flatten(1).sum(1)
    step = 1e-5
    assert torch.allclose((psi(x + step * v) - psi(x - step * v)) / (2 * step), slope, rtol=1e-6, atol=1e-7)


def test_the_gradient_has_no_graph_unless_asked_and_minds_no_mode(psi):
    x = images(psi, 2)
    with torch.no_grad():
        plain = gradient(psi, x)
    assert not plain.requires_grad and not x.requires_grad
    graph = gradient(psi, x, create_graph=True)
    assert graph.requires_grad and torch.equal(graph.detach(), plain)


def test_items_and_types(psi):
    x = images(psi, 3)
    values = psi(x)
    assert values.shape == (3,) and torch.allclose(values[1:], psi(x[1:]))
    assert psi.float()(x.float()).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert psi(x.float()).dtype == torch.float32


@pytest.mark.parametrize(
    "made",
    [lambda: DensePotential(3, 60, 2), ConvPotential, lambda: ConvPotential((3, 16, 16), 64, (2, 1))],
    ids=["dense", "one size", "one size, colour"],
)
def test_it_starts_near_the_identity(made):
    torch.manual_seed(1)
    psi = made().double()
    x = torch.rand(8, *psi.shape, dtype=torch.float64)
    assert float(torch.linalg.vector_norm(gradient(psi, x) - x) / torch.linalg.vector_norm(x)) < 0.4
    psi.project()  # changes nothing yet
    assert all(bool((layer.weight >= 0).all()) for layer in psi.main)


@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_starts_as_thresholding_of_the_cosine_transforms_of_all_patches(channels):
    """Against transforms of scipy, patch by patch."""
    n, sigma = 3, 0.2
    psi = ImagePotential(channels, (channels * (n * n - 1),), (), n, sigma, beta=1e5, alpha=0).double()
    with torch.no_grad():
        psi.quadratic.weight[channels:] = 0  # those that are to break the symmetry
    x = np.random.default_rng(0).random((channels, 6, 7))
    padded = np.pad(x, ((0, 0), (n - 1, n - 1), (n - 1, n - 1)), mode="symmetric")
    total = np.zeros_like(padded)
    for i in range(padded.shape[1] - n + 1):
        for j in range(padded.shape[2] - n + 1):
            c = scipy.fft.dctn(padded[:, i : i + n, j : j + n], norm="ortho")
            c[:, 1:] *= np.abs(c[:, 1:]) > 2.5 * sigma
            c[:, 0, 1:] *= np.abs(c[:, 0, 1:]) > 2.5 * sigma
            total[:, i : i + n, j : j + n] += scipy.fft.idctn(c, norm="ortho") / n**2
    expected = total[:, n - 1 : 1 - n, n - 1 : 1 - n]
    found = gradient(psi, torch.from_numpy(x)[None])[0].numpy()
    assert found == pytest.approx(expected, abs=1e-6)
    assert np.abs(found - x).max() > 0.1


def test_any_size_sees_parts_as_the_whole():
    torch.manual_seed(0)
    psi = ImagePotential(1, (4, 5, 6), (2, 2), 5).double()
    x = torch.rand(1, 1, 64, 48, dtype=torch.float64)
    assert torch.allclose(gradient(psi, x[..., 16:, 8:])[..., 20:-20, 16:-20], gradient(psi, x)[..., 36:-20, 24:-20])


def test_the_published_networks_have_their_numbers_of_weights():
    """That for 28 x 28 has 64 more, biases of its first layer, which only the published ones for photographs have."""
    count = [sum(p.numel() for p in psi.parameters()) for psi in (
        DensePotential(), ConvPotential(), ConvPotential((1, 64, 64), 256, (2, 1, 2, 1, 2), 100, 1e-6))]  # fmt: skip
    assert count == [10502, 317056 + 64, 4017281 - 1]  # less a bias of the last layer, which no gradient sees


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match=r"multiples of 4 \(its strides\); got 30 x 28"):
        ConvPotential((1, 30, 28))
    with pytest.raises(ValueError, match=r"a width more than strides; got \(4, 4\) and \(1, 2\)"):
        ImagePotential(1, (4, 4), (1, 2))
    with pytest.raises(ValueError, match="an odd kernel; got 4"):
        ImagePotential(1, (4,), (), 4)
    with pytest.raises(ValueError, match="takes 8 for the first width at most; got 9"):
        ImagePotential(1, (9,), (), 3)
    with pytest.raises(ValueError, match="images from 3 pixels on; got 2"):
        ImagePotential()(torch.zeros(1, 1, 8, 2))
    with pytest.raises(ValueError, match=r"ImagePotential takes \(batch, 1, any, any\); got \(1, 3, 8, 8\)"):
        ImagePotential()(torch.zeros(1, 3, 8, 8))
