"""A learned proximal network as the prior, by plug-and-play ADMM.

Source: Fang, Buchanan, Sulam, "What's in a Prior? Learned Proximal Networks for Inverse Problems", ICLR 2024.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from invreg import weights
from invreg.core import solve
from invreg.io import InputError
from invreg.operators import LeastSquares, XRay
from invreg.priors import LPN, PatchPotential
from invreg.recipes.base import Progress, Recipe, Reconstruction, Weight
from invreg.recipes.tv import GRID_ERROR, first_image, staged
from invreg.solvers import PnPADMM

if TYPE_CHECKING:
    from invreg.recipes.config import Config

MAX_ITER, TOL, EVERY = 200, 1e-3, 5  # the largest relative change of the image, and between its two copies
TOP = 0.999  # the quantile of a first image that is 1 to the network: above are a few pixels of noise


def network(config: "Config") -> tuple[torch.nn.Module, dict[str, Any]]:
    """The potential of `prior.weights`, a file or the name of a network of invreg, with what its file says.

    Raises InputError for any other file, or none.
    """
    from invreg.train.checkpoints import load_model

    if config.prior.weights is None:
        raise InputError(
            "the recipe lpn takes a network: --weights NET, a file that invreg train lpn writes, or one of invreg: "
            + ", ".join(weights.names())
        )
    psi, about = load_model(weights.path(config.prior.weights), "lpn")
    channels = about["settings"]["data"]["channels"]
    if channels != 1:
        raise InputError(
            f"{config.prior.weights}: a network of images of {channels} channels; reconstructions are grey, of 1"
        )
    return psi, about


def run(A: XRay, y: Tensor, config: "Config", std: Tensor, progress: Progress) -> Reconstruction:
    """min_x |A x - y|^2 / 2 + lambda R(x) for the R of the network, in the unit of the images."""
    psi, about = network(config)
    psi = _fitted(psi.to(y.device), A.domain.shape, str(config.prior.weights))
    sigma = about["settings"]["noise"]["sigma"]
    with torch.no_grad():
        x0 = first_image(A, y)
        low, high = _range(config, x0)
        chosen = _weight(A, y, config, std, sigma * (high - low))
        solver = PnPADMM([LeastSquares(y) @ A, LPN(psi, sigma, low, high)], rho=chosen.value, strict=False)
        history: list[dict[str, Any]] = []
        limits = (config.solver.max_iter or MAX_ITER, config.solver.tol or TOL)
        report = staged(progress, history, "learned prior", limits[1])
        result = solve(solver, x0, max_iter=limits[0], tol=limits[1], every=EVERY, callback=report)
    bound = A.norm() ** 2
    proof = "" if chosen.value > bound else f"; convergence is proven for lambda above |A|^2 = {bound:.3g} only"
    weight = chosen if config.prior.weight == "auto" else None
    told = f"prior of {Path(str(config.prior.weights)).name}, to which {low:.4g} and {high:.4g} are 0 and 1"
    return Reconstruction(result.x, result.status, f"{result}; {told}{proof}", history, weight, image_range=(low, high))


def _fitted(psi: torch.nn.Module, shape: tuple[int, ...], name: str) -> torch.nn.Module:
    """A potential for images of this shape: by patches, half a side apart, where its own is fixed to another one."""
    sides: tuple[int | None, ...] = psi.shape[1:]  # type: ignore[index, assignment]
    if sides in ((None, None), shape):
        return psi
    patch = sides[0]
    if patch is None or sides[1] != patch or patch % 2:
        raise InputError(f"{name}: a network of images of {sides}; expected square patches of an even side")
    if min(shape) < patch:
        raise InputError(
            f"{name}: its patches have {patch} x {patch} pixels, the image only {shape[0]} x {shape[1]}; "
            f"take --size {patch} or more, or a network of smaller patches"
        )
    return PatchPotential(psi, patch, patch // 2)


def _range(config: "Config", x0: Tensor) -> tuple[float, float]:
    """The values that are 0 and 1 to the network: as given, or 0 and what few pixels of a first image exceed."""
    if config.prior.range != "auto":
        low, high = config.prior.range
        return low, high
    top = float(torch.quantile(x0.flatten()[:: 1 + x0.numel() // 10**7], TOP))
    return 0.0, top if 0 < top < math.inf else 1.0  # an empty image


def _weight(A: XRay, y: Tensor, config: "Config", std: Tensor, sigma: float) -> Weight:
    """R is -sigma^2 log p for images of density p, so the most probable image has lambda = noise^2 / sigma^2.

    The noise is that of the measurement, over all rows, and the error of the grid, as in the recipe tv.
    """
    if config.prior.weight != "auto":
        return Weight(config.prior.weight, "given")
    finite = y.nan_to_num(0.0, 0.0, 0.0)
    grid = GRID_ERROR / max(A.domain.shape) * float(finite.square().mean().sqrt())
    noise = math.hypot(float(std.square().mean().sqrt()), grid) or 1e-12
    return Weight(
        (noise / sigma) ** 2,
        f"noise^2 / sigma^2 with noise {noise:.3g} (the grid's error in it) and the network's sigma {sigma:.3g}, which "
        "makes the most probable image",
    )


LPN_RECIPE = Recipe("lpn", "a learned proximal network: what it was trained on looks like", run, check=network)
