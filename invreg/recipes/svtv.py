"""Space-variant total variation: a total-variation solution tells where edges are, and these cost less.

Source: Morotti, Evangelista, Sebastiani, Loli Piccolomini, arXiv 2404.16900, with the TV solution as pre-estimate.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from invreg.operators import XRay
from invreg.priors import TV, SpaceVariantTV
from invreg.recipes.base import Progress, Recipe, Reconstruction
from invreg.recipes.misfit import order_of
from invreg.recipes.tv import TRIAL_TOL, Problem, finish, first_image, first_weight, staged

if TYPE_CHECKING:
    from invreg.recipes.config import Config

PRE_ITER, PRE_TOL = 300, 1e-2  # enough for the edges of the pre-estimate
ETA = 0.2  # of the image's range: steps of half that size keep 95 % of the weight (p = 0.5), so streaks are no edges


def run(A: XRay, y: Tensor, config: "Config", std: Tensor, progress: Progress) -> Reconstruction:
    history: list[dict[str, Any]] = []
    with torch.no_grad():
        x0 = first_image(A, y)
        plain = Problem(A, y, lambda rows: TV(A.domain.shape), std, "pre-estimate")
        report = staged(progress, history, "weight of pre-estimate", TRIAL_TOL)
        choice, _ = plain.choose(x0, first_weight(A, plain.std), report)
        report = staged(progress, history, "pre-estimate", PRE_TOL)
        state = plain.start(choice, x0)
        pre = plain.solve(choice.value, x0, state, (PRE_ITER, PRE_TOL), report, slice(None))
        if pre.status in ("interrupted", "nonfinite"):
            return Reconstruction(pre.x, pre.status, str(pre), history)
        eta = config.prior.eta
        if eta == "auto":
            eta = ETA * float(torch.quantile(pre.x.flatten()[:: 1 + pre.x.numel() // 10**7], 0.999))
            eta = eta or 1.0  # an empty image has no edges
        weights = SpaceVariantTV.from_image(pre.x, eta, config.prior.p).f.weights
        order = order_of(config, A(pre.x) - y, y) if config.misfit.kind == "sobolev" else None
        problem = Problem(A, y, lambda rows: SpaceVariantTV(weights[rows]), std, "space-variant total variation", order)
        return finish(problem, config, pre.x, progress, history, choice.value)


SVTV_RECIPE = Recipe("svtv", "space-variant total variation: edges of a first solution cost less", run, misfits=True)
