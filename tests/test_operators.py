"""The contract of operators: laws that hold for every member, in both precisions, on every device."""

import pickle

import pytest
import torch
from members import LINEAR, NONLINEAR, Cube, Dense, Member, every
from torch import Tensor

from invreg.core import BlockDiagonal, Linear, Operator, ShapeError, Stack, inner
from invreg.operators import FourierSampling, Gradient

BATCH = (2, 3)


def _size(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x.detach().to(torch.complex128)))


def _close(a: Tensor, b: Tensor, scale: Tensor | None = None) -> bool:
    """Equal up to round-off, measured against the size of `scale` (default b)."""
    tol = 2e-6 if a.real.dtype == torch.float32 else 1e-13
    return a.shape == b.shape and _size(a - b) <= tol * max(_size(b if scale is None else scale), 1e-30)


def _pair(A: Operator, generator: torch.Generator, dtype: torch.dtype, *batch: int) -> tuple[Tensor, Tensor]:
    return tuple(space.random(*batch, generator=generator, dtype=dtype) for space in (A.domain, A.codomain))


def _dense(A: Linear, device: torch.device) -> Tensor:
    kind = torch.complex128 if A.domain.complex else torch.float64
    basis = torch.eye(A.domain.size, dtype=kind, device=device).reshape(-1, *A.domain.shape)
    return A(basis).reshape(A.domain.size, -1).T


@every(LINEAR, "adjointness")
def test_adjointness(case: Member, device, dtype, generator):
    A = case.build(device, dtype)
    x, y = _pair(A, generator, dtype, *BATCH)
    Ax, Aty = A(x), A.adjoint(y)
    left, right = inner(Ax, y, len(A.codomain.shape)), inner(x, Aty, len(A.domain.shape))
    scale = torch.linalg.vector_norm(Ax.flatten(2), dim=-1) * torch.linalg.vector_norm(y.flatten(2), dim=-1)
    tol = 1e-5 if dtype == torch.float32 else 1e-12
    assert bool(((left - right).abs() <= tol * scale).all())
    assert torch.equal(A.H(y), Aty)


@every(LINEAR)
def test_adjoint_is_the_conjugate_transpose(case: Member, device):
    A = case.build(device)
    kind = torch.complex128 if A.codomain.complex else torch.float64
    basis = torch.eye(A.codomain.size, dtype=kind, device=device).reshape(-1, *A.codomain.shape)
    transpose = A.adjoint(basis).reshape(A.codomain.size, -1).T
    torch.testing.assert_close(transpose, _dense(A, device).mH, rtol=1e-12, atol=1e-12)


@every(LINEAR)
def test_linearity(case: Member, device, dtype, generator):
    A = case.build(device, dtype)
    (x, y), (u, v) = (_pair(A, generator, dtype, *BATCH) for _ in range(2))
    assert _close(A(2.5 * x - 0.7 * u), 2.5 * A(x) - 0.7 * A(u))
    assert _close(A.adjoint(2.5 * y - 0.7 * v), 2.5 * A.adjoint(y) - 0.7 * A.adjoint(v))
    if A.domain.complex:
        assert _close(A(1j * x), 1j * A(x))


@every(LINEAR + NONLINEAR)
def test_batch_axes_are_independent(case: Member, device, dtype, generator):
    A = case.build(device, dtype)
    x, y = _pair(A, generator, dtype, *BATCH)
    maps = [(A, x), (A.adjoint, y)] if isinstance(A, Linear) else [(A, x)]
    for f, t in maps:
        together = f(t)
        assert together.shape[:2] == BATCH
        for i in range(BATCH[0]):
            for j in range(BATCH[1]):
                assert _close(together[i, j], f(t[i, j]))


@every(LINEAR + NONLINEAR, "empty batches")
def test_empty_batches(case: Member, device, dtype, generator):
    A = case.build(device, dtype)
    x, y = _pair(A, generator, dtype, 0, 3)
    assert A(x).shape == y.shape
    assert not isinstance(A, Linear) or A.adjoint(y).shape == x.shape


@every(LINEAR + NONLINEAR)
def test_dtype_device_and_shape_are_kept(case: Member, device, dtype, generator):
    A = case.build(device, dtype)
    x, y = _pair(A, generator, dtype, *BATCH)
    Ax = A(x)
    assert (Ax.dtype, Ax.device, Ax.shape) == (y.dtype, y.device, y.shape)
    if isinstance(A, Linear):
        Aty = A.adjoint(y)
        assert (Aty.dtype, Aty.device, Aty.shape) == (x.dtype, x.device, x.shape)


@every(LINEAR + NONLINEAR)
def test_purity(case: Member, device, dtype, generator):
    A = case.build(device, dtype)
    before = {name: value.clone() for name, value in A.state_dict().items()}
    x, y = _pair(A, generator, dtype, *BATCH)
    maps = [(A, x), (A.adjoint, y)] if isinstance(A, Linear) else [(A, x)]
    for f, t in maps:
        kept = t.clone()
        first = f(t)
        answer = first.clone()
        f(7 * t)  # a call in between must leave nothing behind
        second = f(t)
        assert torch.equal(first, answer) and torch.equal(second, answer)
        assert torch.equal(t, kept) and not t.requires_grad and not second.requires_grad
        first.zero_()  # the answer does not share memory with the argument
        assert torch.equal(t, kept)
    assert all(torch.equal(value, before[name]) for name, value in A.state_dict().items())


@every(LINEAR + NONLINEAR)
def test_memory_layout_and_grad_mode_do_not_matter(case: Member, device, dtype, generator):
    A = case.build(device, dtype)
    x, y = _pair(A, generator, dtype, *BATCH)
    maps = [(A, x), (A.adjoint, y)] if isinstance(A, Linear) else [(A, x)]
    for f, t in maps:
        strided = t.transpose(-1, 0).contiguous().transpose(-1, 0)
        assert _close(f(strided), f(t))
        with torch.no_grad():
            assert _close(f(t), f(t.clone().requires_grad_()))


@every(LINEAR)
def test_autograd_is_the_adjoint_to_any_order(case: Member, device, dtype, generator):
    A = case.build(device, dtype)
    x, v = _pair(A, generator, dtype, *BATCH)
    x.requires_grad_(), v.requires_grad_()
    (back,) = torch.autograd.grad(A(x), x, v, create_graph=True)
    assert _close(back, A.adjoint(v))
    (forth,) = torch.autograd.grad(back, v, x)  # the pullback is linear in v, and its transpose is A again
    assert _close(forth, A(x))
    (again,) = torch.autograd.grad(A.adjoint(v), v, x)
    assert _close(again, A(x))


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")  # torch's own, on its first jvp
@every(LINEAR + NONLINEAR)
def test_functional_transforms(case: Member, device, dtype, generator):
    A = case.build(device, dtype)
    x, v = _pair(A, generator, dtype, *BATCH)
    out, pull = torch.func.vjp(A, x)
    assert _close(out, A(x)) and _close(pull(v)[0], A.vjp(x, v))
    if isinstance(A, Linear) and "forward mode" not in case.lacks:
        u = A.domain.random(*BATCH, generator=generator, dtype=dtype)
        assert _close(torch.func.jvp(A, (x,), (u,))[1], A(u))


@every(NONLINEAR)
def test_vjp_against_finite_differences(case: Member, device, generator):
    A = case.build(device)
    x, v = _pair(A, generator, torch.float64, *BATCH)
    u = A.domain.random(*BATCH, generator=generator, dtype=torch.float64)
    h = 1e-5
    forward = inner(A(x + h * u) - A(x - h * u), v, len(A.codomain.shape)) / (2 * h)
    torch.testing.assert_close(inner(u, A.vjp(x, v), len(A.domain.shape)), forward, rtol=1e-7, atol=1e-7)


@every(LINEAR + NONLINEAR, "pickling")
def test_pickling(case: Member, device, dtype, generator):
    A = case.build(device, dtype)
    x, _ = _pair(A, generator, dtype)
    expected = A.vjp(x, A(x))  # before the copy is made: what a call leaves behind must pickle too
    copy = pickle.loads(pickle.dumps(A))
    assert torch.equal(copy.vjp(x, copy(x)), expected)


@every(LINEAR + NONLINEAR)
def test_wrong_shape_says_who_takes_got(case: Member, device, generator):
    A = case.build(device, torch.float32)
    x, y = _pair(A, generator, torch.float32)
    maps = [(A, x, A.domain), (A.adjoint, y, A.codomain)] if isinstance(A, Linear) else [(A, x, A.domain)]
    for f, t, space in maps:
        wrong_kind = t.real if t.is_complex() else t.to(torch.complex64)
        for bad in (torch.cat([t, t], dim=-1), t[0], t.real.int(), wrong_kind):
            with pytest.raises(ShapeError) as error:
                f(bad)
            message = str(error.value)
            assert type(A).__name__ in message
            assert ", ".join(["*batch", *map(str, space.shape)]) in message
            assert f"got {bad.dtype} {tuple(bad.shape)}" in message


@every(LINEAR, "double adjoint")
def test_adjoint_of_the_adjoint_is_the_operator(case: Member, device):
    A = case.build(device)
    assert A.H.H is A
    assert (A.H.domain, A.H.codomain) == (A.codomain, A.domain)


@every(LINEAR)
def test_norm_is_the_largest_singular_value_from_above(case: Member, device, dtype):
    A = case.build(device, dtype)
    true = float(torch.linalg.matrix_norm(_dense(case.build(device), device), ord=2))
    for norm in (A.norm(device, dtype), A.norm()):
        assert true * (1 - 1e-6) <= norm <= 1.02 * true


@every(LINEAR)
def test_normal_is_the_adjoint_after_the_operator(case: Member, device, dtype, generator):
    A = case.build(device, dtype)
    x, _ = _pair(A, generator, dtype, *BATCH)
    assert _close(A.normal()(x), A.adjoint(A(x)))


@pytest.mark.parametrize("shape", [(200, 200), (400, 7), (1, 300)], ids=str)
def test_lanczos_is_not_below_the_norm_of_large_operators(shape):
    D = Gradient(shape)
    estimate = Linear.norm(D)
    assert D.norm() <= estimate <= 1.02 * D.norm()  # the closed form holds at any size


def test_algebra_is_that_of_matrices(generator):
    device = torch.device("cpu")
    A, B, C = Dense(6, 4), Dense(6, 4), Dense(4, 5)
    B.matrix = B.matrix[::-1].copy()
    a, b, c = (_dense(M, device) for M in (A, B, C))
    for built, expected in [
        (A + B, a + b),
        (A - 2 * B, a - 2 * b),
        (-A, -a),
        ((A + B) @ C, (a + b) @ c),
        ((A @ C).H, (a @ c).T),
        ((3 * A).H @ B, 3 * a.T @ b),
        (Stack(A, B), torch.cat([a, b])),
        (Stack(A, B).H @ Stack(B, A), a.T @ b + b.T @ a),
        (Stack(A, C.H, axis=None), torch.cat([a, c.T])),
        (BlockDiagonal(A, B), torch.block_diag(a, b)),
    ]:
        torch.testing.assert_close(_dense(built, device), expected, rtol=1e-12, atol=1e-12)


def test_algebra_refuses_what_does_not_fit():
    A, D = Dense(6, 4), Gradient((7, 5))
    with pytest.raises(ShapeError, match=r"Dense.* @ Gradient.*gives.*takes"):
        A @ D
    with pytest.raises(ShapeError, match="different spaces"):
        A + D
    with pytest.raises(ShapeError, match="does not fit"):
        Stack(A, D)
    with pytest.raises(ShapeError, match="does not fit"):
        Stack(FourierSampling(torch.ones(4, 5)), FourierSampling(torch.ones(4, 6)), axis=None)
    with pytest.raises(ShapeError, match=r"BlockDiagonal: Gradient.* does not fit Dense"):
        BlockDiagonal(A, D)
    with pytest.raises(TypeError):
        A @ torch.zeros(4)
    with pytest.raises(TypeError):
        2 * Cube((4, 5))
