"""Least squares by conjugate gradients, stopped at the noise level."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from invreg.core import inner
from invreg.operators import XRay
from invreg.recipes.base import Progress, Recipe, Reconstruction
from invreg.solvers import CGLS

if TYPE_CHECKING:
    from invreg.recipes.config import Config

MAX_ITER = 100


def run(A: XRay, y: Tensor, config: "Config", std: Tensor, progress: Progress) -> Reconstruction:
    """Iterate until the residual is as large as the noise (the discrepancy principle), row by row."""
    solver = CGLS(A, y)
    state = solver.init(y.new_zeros(len(y), *A.domain.shape))
    target = y[0].numel() ** 0.5 * std.double().to(y.device)
    limit = config.solver.max_iter or MAX_ITER
    x, history, status = state.x, [], "max_iter"
    done = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    try:
        for k in range(1, limit + 1):
            state = solver.step(state)
            x = torch.where(done[:, None, None], x, state.x)
            residual = inner(state.residual, state.residual, 2).sqrt()
            done = done | (residual <= target)
            worst = float((residual / target).max())
            history.append({"iter": k, "residual": worst, "stage": "least squares"})
            progress(history[-1])
            if bool(done.all()):
                status = "converged"
                break
    except KeyboardInterrupt:
        status = "interrupted"
    if not bool(x.isfinite().all()):
        status = "nonfinite"
    summary = {
        "converged": f"converged: the residual fell to the noise level after {len(history)} iterations",
        "max_iter": f"stopped after {limit} iterations, not converged: the residual is {worst:.2f} times the noise",
        "nonfinite": "broke down: not a finite number; check the measurement",
        "interrupted": f"interrupted after {len(history)} iterations",
    }[status]
    return Reconstruction(x, status, summary, history)


CGLS_RECIPE = Recipe("cgls", "least squares, iterated until the residual is as large as the noise", run)
