"""invreg tune: the weight of a recipe's prior by a rule, or learned from measurements that carry their truth."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from invreg import prepare
from invreg.core import Result
from invreg.io import InputError
from invreg.operators import LeastSquares, XRay
from invreg.priors import TV, SmoothTV
from invreg.progress import Clock
from invreg.recipes import RECIPES
from invreg.recipes.tv import first_weight
from invreg.solvers import MAID, Choice, Variational, gcv, lcurve, sure
from invreg.solvers.bilevel import descend

if TYPE_CHECKING:  # pydantic comes with it
    from invreg.recipes.config import Config

Method = Literal["discrepancy", "gcv", "sure", "lcurve", "maid"]
METHODS: tuple[Method, ...] = ("discrepancy", "gcv", "sure", "lcurve", "maid")
TRIAL_ITER, TRIAL_TOL = 300, 2e-3  # of the recipe's own solver, for the trials
SPAN = 100.0  # of the weights that the L-curve looks at, on both sides of the start
# of learning: the smoothing next to the largest value, the ridge next to |A|^2; the slope in log lambda of the log of
# the squared error, below which less than about 0.01 dB is to be gained; the longest step in log lambda; the gradient
# of the first solve, next to its start; steps of the lower problem
SMOOTHING, RIDGE, FLAT, REACH, EASY, LEARN_STEPS = 1e-2, 1e-3, 2e-2, 2.0, 1e-3, 20_000


@dataclass(frozen=True)
class Tuned:
    """The weight chosen from a row of a file, why, and what was tried."""

    file: str
    row: int
    weight: float
    reason: str
    trials: list[dict[str, float]]


@dataclass(frozen=True)
class Row:
    """One row of a measurement: y (1, angle, detector), std (1,) of its noise, truth (1, h, w) or None.

    counted: y are logarithms of photons, whose noise differs from ray to ray.
    """

    file: str
    number: int
    A: XRay
    y: Tensor
    std: Tensor
    truth: Tensor | None
    counted: bool

    @property
    def std_of_rays(self) -> Tensor:
        """(1, angle, detector): the variance of -log(photons) is 1 / photons, so exp(y), scaled to that of `std`."""
        share = (self.y / 2).exp() if self.counted else torch.ones_like(self.y)
        return self.std[:, None, None] * share / share.square().mean().sqrt()


def tune(configs: list["Config"], method: Method) -> list[Tuned]:
    """The weight for each of several files, `config.data.file`, from the middle one of its rows.

    maid: one weight for all, learned from the truth that they carry. Raises InputError for input that will not do.
    """
    recipe = RECIPES[configs[0].recipe]
    if not recipe.weighted:
        known = ", ".join(r.name for r in RECIPES.values() if r.weighted)
        raise InputError(f"--recipe {recipe.name} has no weight of a prior to choose; those that have one are {known}")
    if method == "maid" and recipe.name != "tv":
        raise InputError(f"--method maid learns the weight of tv; got --recipe {recipe.name}: take another method")
    with torch.no_grad():
        rows = [_row(config) for config in configs]
        if method == "maid":
            return _learned(rows)
        return [_chosen(config, row, method) for config, row in zip(configs, rows, strict=True)]


def _row(config: "Config") -> Row:
    clock = Clock()
    seen = prepare.survey(config, clock)
    middle = (seen.rows[0] + seen.rows[1] - 1) // 2
    A, y, std, _ = prepare.batch(config, seen, middle, middle + 1, clock)
    if not bool(y.isfinite().all()):
        raise InputError(
            f"{seen.path}: row {middle} holds values that are not finite; mend them or choose other --rows"
        )
    true = prepare.truth(seen, middle)
    if true is not None and not np.isfinite(true).all():
        raise InputError(f"{seen.path}: the truth of row {middle} holds values that are not finite; mend them")
    return Row(
        str(seen.path),
        middle,
        A,
        y,
        std,
        None if true is None else torch.from_numpy(true[None]).to(y),
        seen.raw.kind != "line integrals",
    )


def _chosen(config: "Config", row: Row, method: Method) -> Tuned:
    if method == "discrepancy":  # which the recipe itself knows
        weight = RECIPES[config.recipe].run(row.A, row.y, _with(config, "auto"), row.std, _silent).weight
        assert weight is not None
        return Tuned(row.file, row.number, weight.value, weight.reason, weight.trials)
    level = float(row.std)
    known = math.isfinite(level) and level > 0
    if method == "sure" and not known:
        raise InputError(f"{row.file}: the noise level is unknown ({level:g}), which --method sure needs; take gcv")
    start = first_weight(row.A, row.std if known else row.y.square().mean().sqrt()[None] / 100)

    def solve_at(weight: float, state: Any, measurements: Tensor) -> Result:
        y = measurements.reshape(-1, *row.y.shape[1:])
        found = RECIPES[config.recipe].run(row.A, y, _with(config, weight), row.std.expand(len(y)), _silent)
        x = found.x.reshape(*measurements.shape[:-2], *found.x.shape[1:])
        ended = torch.tensor(found.status == "converged").expand(x.shape[:-2])
        return Result(x, found.status, 0, [], None, ended, torch.zeros(x.shape[:-2]))  # type: ignore[arg-type]

    if method == "gcv":
        choice = gcv(solve_at, row.A, row.y, start)
    elif method == "sure":
        choice = sure(solve_at, row.A, row.y, row.std_of_rays, start)
    else:
        choice = _corner(row, solve_at, start)
    if choice.result.status in ("nonfinite", "interrupted"):
        raise InputError(
            f"{row.file}: the solve at lambda {choice.trials[-1]['weight']:.3g} ended as {choice.result.status}"
        )
    return Tuned(row.file, row.number, choice.value, choice.reason, choice.trials)


def _corner(row: Row, solve_at: Any, start: float) -> Choice:
    variation = TV(row.A.domain.shape)

    def norms(x: Tensor) -> tuple[float, float]:
        return float((row.A(x) - row.y).square().sum()), float(variation(x).sum())

    return lcurve(lambda weight, state: solve_at(weight, state, row.y), norms, start / SPAN, start * SPAN)


def _learned(rows: list[Row]) -> list[Tuned]:
    """The weight of total variation, smoothed a little, with which the rows come closest to their truths."""
    first = rows[0]
    for row in rows:
        if row.truth is None:
            raise InputError(
                f"{row.file}: no truth is stored, which --method maid learns from; simulate --keep-truth does"
            )
        if not _alike(row.A, first.A):
            raise InputError(
                f"{row.file}: not the geometry of {first.file}; --method maid takes files of one geometry and size"
            )
    # in double precision: the last steps gain less than the round-off of float32
    truth = torch.cat([row.truth for row in rows if row.truth is not None]).double()
    size, peak = float(truth.square().sum((1, 2)).mean()), float(truth.abs().max())
    if peak == 0:
        raise InputError(f"{first.file}: the truth is zero everywhere; there is nothing to learn from it")
    A, shape = first.A, first.A.domain.shape

    def prior(theta: Tensor) -> SmoothTV:
        return SmoothTV(shape, theta[0].exp(), SMOOTHING * peak)

    y = torch.cat([row.y for row in rows]).double()
    lower = Variational(LeastSquares(y) @ A, prior, ridge=RIDGE * A.norm() ** 2)
    start = truth.new_tensor([math.log(first_weight(A, torch.cat([row.std for row in rows]).clamp(min=1e-12)))])
    zero = torch.zeros_like(truth)
    rough = descend(lower, zero, start, EASY * float(lower.grad_x(zero, start).norm()), LEARN_STEPS)
    unit = max(float((rough.x - truth).square().sum((1, 2)).mean()), 1e-12 * size)
    upper = (2 / unit) * LeastSquares(truth)  # 1 at the start
    learner = MAID(lower, upper, eps=0.03 * size**0.5, delta=0.03 / unit**0.5, beta=10.0, reach=REACH)
    found = learner.run(start, rough.x, max_iter=20, relative=FLAT, max_lower_steps=LEARN_STEPS)
    if not math.isfinite(float(found.theta)) or found.status == "nonfinite":
        raise InputError(f"{first.file}: learning broke down at what is no finite number; check the measurement")
    weight = float(found.theta.exp())
    error = math.sqrt(learner.value(found.x) * unit / size)
    reason = (
        f"learned from {len(rows)} truth{'s' * (len(rows) > 1)} in {len(found.history)} steps ({found.status}): the "
        f"relative error of the image is {error:.3g}"
    )
    trials = [
        {
            "weight": float(r["theta"].exp()),
            "error": math.sqrt(r["upper"] * unit / size),
            "slope": r["gradient"],
            "eps": r["eps"],
            "lower_steps": r["lower_steps"],
        }
        for r in found.history
    ]
    return [Tuned(row.file, row.number, weight, reason, trials) for row in rows]


def _alike(a: XRay, b: XRay) -> bool:
    one, other = vars(a.geometry), vars(b.geometry)
    same = type(a.geometry) is type(b.geometry) and all(np.array_equal(one[key], other[key]) for key in one)
    return same and (a.domain, a.pixel_size) == (b.domain, b.pixel_size)


def _with(config: "Config", weight: float | Literal["auto"]) -> "Config":
    """The settings with a weight; trials are solved shortly."""
    update: dict[str, Any] = {"prior": config.prior.model_copy(update={"weight": weight})}
    if weight != "auto":
        limits = {"max_iter": config.solver.max_iter or TRIAL_ITER, "tol": config.solver.tol or TRIAL_TOL}
        update["solver"] = config.solver.model_copy(update=limits)
    return config.model_copy(update=update)


def _silent(row: Any) -> None:
    """A trial that is not shown."""


def write_recipe(path: Path, config: "Config", tuned: list[Tuned], method: Method, *, force: bool = False) -> float:
    """Write the settings with the weight (of several, their geometric mean), which is returned. Raises InputError."""
    from invreg.io.writing import check_folder, replaced
    from invreg.recipes.config import dump

    check_out(path, force)
    check_folder(path)
    weight = math.exp(sum(math.log(t.weight) for t in tuned) / len(tuned))
    data = config.data.model_copy(
        update={"file": None, "angles": config.data.angles and str(Path(config.data.angles).resolve())}
    )
    found = config.model_copy(update={"prior": config.prior.model_copy(update={"weight": weight}), "data": data})
    names = ", ".join(Path(t.file).name for t in tuned)
    how = (
        f"by {method} from {names}"
        if len(tuned) == 1 or method == "maid"
        else f"by {method}, geometric mean of {names}"
    )
    head = f"invreg tune: the weight {how}\ninvreg reconstruct FILE --recipe {path.name}"
    with replaced(path) as part:
        part.write_text(dump(found, {"prior.lambda": f"{method}"}, head))
    return weight


def check_out(path: Path, force: bool) -> None:
    """Raises InputError for a recipe that would replace another, or has another ending."""
    if path.suffix != ".toml":
        raise InputError(f"--out {path}: a recipe is written as TOML; choose a name that ends in .toml")
    if path.exists() and not force:
        raise InputError(f"{path}: exists already; use --force to replace it or choose another --out")
