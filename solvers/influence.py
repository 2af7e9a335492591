"""The influence of the measurement on its prediction: the trace of d(A x(y)) / dy, exact or from random probes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from invreg.core import Linear, Operator, total


class Probes(NamedTuple):
    """A measurement y and its perturbations y + step * signs, which an estimator is solved for together.

    measurements (1 + count, *y), y first; signs (count, *y) of -1 and 1.
    """

    measurements: Tensor
    signs: Tensor
    step: float

    @classmethod
    def of(cls, y: Tensor, count: int, step: float, generator: torch.Generator | None) -> "Probes":
        """Random signs; the same at every weight, so that scores are smooth in the weight. Raises ValueError."""
        if not y.is_floating_point():
            raise ValueError(f"the influence of a measurement is found for real floating-point ones; got {y.dtype}")
        if count < 1 or not step > 0:
            raise ValueError(f"probes take a count from 1 on and a step > 0; got {count} and {step}")
        generator = generator or torch.Generator(y.device).manual_seed(0)
        signs = 2.0 * torch.randint(0, 2, (count, *y.shape), generator=generator, device=y.device).to(y) - 1.0
        return cls(torch.cat([y[None], y + step * signs]), signs, step)

    def change(self, A: Operator, x: Tensor) -> Tensor:
        """Differences of A x over the step, (count, *y), for the estimates x (1 + count, *image) of `measurements`."""
        prediction = A(x)
        return (prediction[1:] - prediction[:1]) / self.step

    def influence(self, A: Operator, x: Tensor) -> float:
        """Monte-Carlo trace of d(A x) / dy: the mean of <signs, change>.

        Sources: Girard (Numer. Math. 56, 1, 1989) for linear estimators; Ramani, Blu and Unser (IEEE Trans. Image
        Process. 17, 1540, 2008) for any.
        """
        return float(total(self.signs * self.change(A, x), self.signs.ndim - 1).mean())


def tikhonov_influence(A: Linear) -> Callable[[float], float]:
    """weight -> trace of A (A^T A + weight I)^-1 A^T, exact, from the singular values of A made a dense matrix.

    For the estimator argmin |A x - y|^2 / 2 + weight |x|^2 / 2. Raises ValueError above 4096 unknowns.
    """
    if A.domain.size > 4096:
        raise ValueError(f"tikhonov_influence takes up to 4096 unknowns; {A} has {A.domain.size}: use probes")
    basis = torch.eye(A.domain.size, dtype=torch.float64).reshape(-1, *A.domain.shape)
    with torch.no_grad():
        squares = torch.linalg.svdvals(A(basis).reshape(A.domain.size, -1)).square()
    return lambda weight: float((squares / (squares + weight)).sum())
