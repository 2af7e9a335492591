"""Space-variant total variation: a first image tells where edges are, and these cost less.

Source: Morotti, Evangelista, Sebastiani, Loli Piccolomini, arXiv 2404.16900, with the TV solution as pre-estimate, or
with the image of a network that `invreg train svtv-weights` has trained.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from invreg.io import InputError
from invreg.operators import XRay, fbp
from invreg.priors import TV, SpaceVariantTV
from invreg.recipes.base import Progress, Recipe, Reconstruction
from invreg.recipes.misfit import order_of
from invreg.recipes.tv import TRIAL_TOL, Problem, finish, first_image, first_weight, staged

if TYPE_CHECKING:
    from invreg.recipes.config import Config

PRE_ITER, PRE_TOL = 300, 1e-2  # enough for the edges of the pre-estimate
ETA = 0.2  # of the image's range: steps of half that size keep 95 % of the weight (p = 0.5), so streaks are no edges


def network(config: "Config") -> tuple[torch.nn.Module, dict[str, Any]] | None:
    """The network of `prior.weights` with what its file says. Raises InputError for any other file."""
    from invreg.train.checkpoints import load_model

    if config.prior.weights is None:
        return None
    model, about = load_model(config.prior.weights, "svtv-weights")
    if about["settings"]["data"]["channels"] != 1:
        raise InputError(f"{config.prior.weights}: a network of colour images; reconstructions are grey")
    return model, about


def run(A: XRay, y: Tensor, config: "Config", std: Tensor, progress: Progress) -> Reconstruction:
    history: list[dict[str, Any]] = []
    with torch.no_grad():
        x0 = first_image(A, y)
        found = network(config)
        if found is not None and bool(y.isfinite().all()):
            return _by_network(A, y, config, std, progress, x0, *found)
        plain = Problem(A, y, lambda rows: TV(A.domain.shape), std, "pre-estimate")
        report = staged(progress, history, "weight of pre-estimate", TRIAL_TOL)
        choice, _ = plain.choose(x0, first_weight(A, plain.std), report)
        report = staged(progress, history, "pre-estimate", PRE_TOL)
        state = plain.start(choice, x0)
        pre = plain.solve(choice.value, x0, state, (PRE_ITER, PRE_TOL), report, slice(None))
        if pre.status in ("interrupted", "nonfinite"):
            return Reconstruction(pre.x, pre.status, str(pre), history)
        problem = _weighted(A, y, config, std, pre.x, pre.x)
        return finish(problem, config, pre.x, progress, history, choice.value)


def _by_network(
    A: XRay,
    y: Tensor,
    config: "Config",
    std: Tensor,
    progress: Progress,
    x0: Tensor,
    model: torch.nn.Module,
    about: dict[str, Any],
) -> Reconstruction:
    """The solution whose edges are those of the network's image of the filtered back-projection."""
    scan = about["settings"]["scan"]
    first = fbp(y, A.geometry, A.domain.shape, A.pixel_size, filter=scan["filter"], A=A)
    model = model.to(y.device)
    edges = torch.cat([model(row[None, None])[0] for row in first])
    problem = _weighted(A, y, config, std, edges, x0)
    result = finish(problem, config, x0, progress, [], first_weight(A, problem.std))
    trained, views = scan["views"], A.codomain.shape[0]
    low, high = (trained, trained) if isinstance(trained, int) else (min(trained), max(trained))
    apart = "" if low <= views <= high else f", which was trained on {low} to {high} views and not on {views}"
    assert config.prior.weights is not None
    return replace(result, summary=f"{result.summary}; edges from {Path(config.prior.weights).name}{apart}")


def _weighted(A: XRay, y: Tensor, config: "Config", std: Tensor, edges: Tensor, image: Tensor) -> Problem:
    """The problem with weights from the edges of one image; "auto" takes the range of values from the other."""
    eta = config.prior.eta
    if eta == "auto":
        eta = ETA * float(torch.quantile(image.flatten()[:: 1 + image.numel() // 10**7], 0.999))
        eta = eta or 1.0  # an empty image has no edges
    weights = SpaceVariantTV.from_image(edges, eta, config.prior.p).f.weights
    order = order_of(config, A(image) - y, y) if config.misfit.kind == "sobolev" else None
    return Problem(A, y, lambda rows: SpaceVariantTV(weights[rows]), std, "space-variant total variation", order)


SVTV_RECIPE = Recipe(
    "svtv",
    "space-variant total variation: edges of a first solution cost less",
    run,
    misfits=True,
    weighted=True,
    check=network,
)
