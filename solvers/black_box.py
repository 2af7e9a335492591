"""Parameters by trials alone: random search and tree-structured Parzen estimators."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor


def search(
    score: Callable[[Tensor], float],
    low: Tensor,
    high: Tensor,
    *,
    budget: int,
    method: Literal["random", "tpe"] = "random",
    seed: int = 0,
) -> tuple[Tensor, list[tuple[Tensor, float]]]:
    """The theta (p,) of least score of `budget` in the box [low, high], and all (theta, score) in their order.

    random: uniform draws (Bergstra and Bengio, J. Mach. Learn. Res. 13, 281, 2012). tpe: by the package optuna
    (Bergstra et al., NIPS 2011), pip install "invreg[tune]"; raises ImportError without it. For positive parameters
    let theta be their logarithms. A score that is not a number counts as infinite. Raises ValueError for a box or a
    budget of nothing.
    """
    if low.shape != high.shape or low.ndim != 1 or not bool((low < high).all()) or budget < 1:
        raise ValueError(
            f"search takes low < high, both (p,), and a budget from 1 on; got {low.tolist()}, {high.tolist()}, {budget}"
        )
    if method not in ("random", "tpe"):
        raise ValueError(f"search takes the method random or tpe; got {method!r}")
    tried: list[tuple[Tensor, float]] = []

    def scored(theta: Tensor) -> float:
        value = score(theta)
        tried.append((theta, math.inf if math.isnan(value) else value))
        return tried[-1][1]

    if method == "random":
        generator = torch.Generator(low.device).manual_seed(seed)
        for _ in range(budget):
            scored(low + (high - low) * torch.rand(low.shape, generator=generator, dtype=low.dtype, device=low.device))
    else:
        _tpe(scored, low, high, budget, seed)
    return min(tried, key=lambda pair: pair[1])[0], tried


def _tpe(scored: Callable[[Tensor], float], low: Tensor, high: Tensor, budget: int, seed: int) -> None:
    try:
        import optuna
    except ImportError:
        raise ImportError('the search by tpe needs the package optuna: pip install "invreg[tune]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(5, budget)))

    def objective(trial: optuna.Trial) -> float:
        drawn = [
            trial.suggest_float(str(i), float(a), float(b)) for i, (a, b) in enumerate(zip(low, high, strict=True))
        ]
        return min(scored(torch.tensor(drawn).to(low)), 1e300)  # optuna takes no infinities

    study.optimize(objective, n_trials=budget)
