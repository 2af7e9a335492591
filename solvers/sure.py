"""The weight of least risk as Stein's unbiased estimate tells it, from the noise level and without the truth."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from invreg.core import Operator, Result, total
from invreg.solvers.choose import Choice
from invreg.solvers.influence import Probes
from invreg.solvers.weight_search import minimise


def sure(
    solve_at: Callable[[float, Any, Tensor], Result],
    A: Operator,
    y: Tensor,
    std: Tensor | float,
    start: float,
    *,
    through: Callable[[Tensor], Tensor] | None = None,
    probes: int = 1,
    step: float | None = None,
    generator: torch.Generator | None = None,
    state: Any = None,
    max_trials: int = 12,
) -> Choice:
    """The weight of least estimated risk E |B (A x - A x_true)|^2, B linear.

    risk = |B (A x - y)|^2 - tr(B S B^T) + 2 tr(B^T B d(A x)/dy S), S = std^2: its mean over the noise is the true one.

    solve_at(weight, state, measurements): estimates from (1 + probes, *y), of which the first is y; a short solve
    from the state of a near weight (None at first). All axes of y are one real measurement; std of its Gaussian
    noise, a number or a map that broadcasts against y. through: B, on (n, *y); default the identity, whose risk is
    that of the prediction (for a denoiser that of the image); a pseudo-inverse of A gives the risk of the image on
    the range of A^T. The traces are those along random signs, the derivative a difference quotient `step` long
    (default 2 / m^0.3 of the noise, m numbers in y). In the trials risks are a mean over the numbers of B y. The
    result's x is that of y, its state that of all measurements. Raises ValueError for a std that is not > 0.
    Sources: Stein (Ann. Stat. 9, 1135, 1981); Ramani, Blu and Unser (IEEE Trans. Image Process. 17, 1540, 2008);
    Eldar (IEEE Trans. Signal Process. 57, 471, 2009) for B; Deledalle et al. (SIAM J. Imaging Sci. 7, 2448, 2014)
    for the step.
    """
    noise = torch.as_tensor(std, dtype=y.dtype, device=y.device)
    if not bool(((noise > 0) & noise.isfinite()).all()):
        raise ValueError(f"sure takes a finite standard deviation > 0 of the noise; got {std}")
    level = float(noise.square().mean(dtype=torch.float64).sqrt())
    seen = Probes.of(y, probes, step or 2 * level / y.numel() ** 0.3, generator)
    B = through or (lambda v: v)
    variance_signs = B(noise.square() * seen.signs)
    numbers, ndim = variance_signs[0].numel(), variance_signs.ndim - 1
    if through is None:
        spread = float(noise.square().expand_as(y).sum(dtype=torch.float64))
    else:
        spread = float(total(B(noise * seen.signs).square(), ndim).mean())

    def score(weight: float, result: Result) -> dict[str, float]:
        misfit = A(result.x[:1]) - y[None]
        influence = float(total(variance_signs * B(seen.change(A, result.x)), ndim).mean())
        risk = (float(total(B(misfit).square(), ndim)) - spread + 2 * influence) / numbers
        return {"risk": risk, "residual": float(misfit.square().mean(dtype=torch.float64).sqrt())}

    return minimise(
        lambda weight, at: solve_at(weight, at, seen.measurements),
        score,
        start,
        "estimated risk",
        state=state,
        max_trials=max_trials,
    ).of_first()
