"""The contract of latent priors: a decoder is an operator that knows its way back."""

import torch
from members import LATENTS, NONLINEAR, Member, every

from invreg.core import Functional, inner
from invreg.operators import Gradient, LeastSquares


@every(LATENTS)
def test_encode_undoes_decode(case: Member, device, dtype, generator):
    G = case.build(device, dtype)
    z = G.domain.random(2, 3, generator=generator, dtype=dtype)
    tol = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(G.encode(G(z)), z, rtol=tol, atol=tol)


@every(LATENTS)
def test_the_term_is_a_functional_on_codes(case: Member, device, generator):
    G = case.build(device)
    z = G.domain.random(2, 3, generator=generator, dtype=torch.float64)
    assert isinstance(G.term, Functional) and G.term.ndim == len(G.domain.shape)
    assert G.term(z).shape == (2, 3)


@every(LATENTS)
def test_an_operator_after_the_decoder_has_the_chain_rule(case: Member, device, generator):
    G = case.build(device)
    A = Gradient(G.codomain.shape)
    y = A.codomain.random(generator=generator, dtype=torch.float64)
    objective = LeastSquares(y, ndim=3) @ (A @ G)
    z, u = (G.domain.random(2, generator=generator, dtype=torch.float64) for _ in range(2))
    h = 1e-6
    slope = (objective(z + h * u) - objective(z - h * u)) / (2 * h)
    torch.testing.assert_close(inner(objective.grad(z), u, 2), slope, rtol=1e-6, atol=1e-6)


def test_latents_pass_the_contract_of_operators():
    assert all(case in NONLINEAR for case in LATENTS)
