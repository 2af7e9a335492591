"""Differences against numpy on extended arrays, and closed-form norms."""

import numpy as np
import pytest
import torch
from members import uniform

from invreg.core import Linear
from invreg.operators import Gradient, Laplacian

PADS = {"neumann": {"mode": "edge"}, "periodic": {"mode": "wrap"}, "zero": {"mode": "constant"}}
SHAPES = [(7,), (1,), (5, 6), (2, 1), (3, 4, 5), (2, 1, 3, 2)]


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("boundary", PADS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_is_the_difference_to_the_next_pixel(shape, boundary, grad):
    x, spacing = uniform(3, *shape), tuple(0.5 + axis for axis in range(len(shape)))
    parts = []
    for axis, step in enumerate(spacing, 1):
        pad = [(0, int(a == axis)) for a in range(x.ndim)]
        parts.append(np.diff(np.pad(x.numpy(), pad, **PADS[boundary]), axis=axis) / step)
    with torch.set_grad_enabled(grad):
        y = Gradient(shape, spacing, boundary)(x)
    torch.testing.assert_close(y, torch.from_numpy(np.stack(parts, axis=1)), rtol=0, atol=1e-14)


@pytest.mark.parametrize("boundary", PADS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_laplacian_is_the_sum_of_second_differences(shape, boundary):
    x, spacing = uniform(3, *shape), tuple(0.5 + axis for axis in range(len(shape)))
    expected = np.zeros(x.shape)
    for axis, step in enumerate(spacing, 1):
        pad = [(int(a == axis),) * 2 for a in range(x.ndim)]
        expected += np.diff(np.pad(x.numpy(), pad, **PADS[boundary]), 2, axis=axis) / step**2
    torch.testing.assert_close(Laplacian(shape, spacing, boundary)(x), torch.from_numpy(expected), rtol=0, atol=1e-13)


@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
def test_laplacian_is_minus_the_normal_operator_of_the_gradient(boundary):
    x, spacing = uniform(6, 7), (0.5, 2.0)
    D = Gradient((6, 7), spacing, boundary)
    torch.testing.assert_close(Laplacian((6, 7), spacing, boundary)(x), -D.adjoint(D(x)), rtol=0, atol=1e-13)


@pytest.mark.parametrize("make", [Gradient, Laplacian])
@pytest.mark.parametrize("boundary", PADS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_norms_are_exact(make, boundary, shape):
    A = make(shape, tuple(0.5 + axis for axis in range(len(shape))), boundary)
    basis = torch.eye(A.domain.size, dtype=torch.float64).reshape(-1, *shape)
    true = float(torch.linalg.matrix_norm(A(basis).reshape(A.domain.size, -1), ord=2))
    assert A.norm() == pytest.approx(true, rel=1e-12, abs=1e-12)


def test_norms_of_large_images_agree_with_lanczos():
    for A in (Gradient((300, 200), (1.0, 0.5), "zero"), Laplacian((101, 303), boundary="periodic")):
        assert A.norm() <= Linear.norm(A) <= 1.02 * A.norm()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gradient(()), "one or more sizes"),
        (lambda: Gradient((3, 0)), r"from 1 on; got \(3, 0\)"),
        (lambda: Gradient((3, 3), 0.0), "Gradient takes one spacing > 0.*got 0.0"),
        (lambda: Laplacian((3, 3), (1.0, 2.0, 3.0)), r"Laplacian takes one spacing.*each of the 2 axes; got \(1.0"),
        (lambda: Gradient((3, 3), boundary="dirichlet"), "'neumann', 'periodic', 'zero'; got 'dirichlet'"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
