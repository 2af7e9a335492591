"""What a recipe is and what it gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from invreg.io import InputError
from invreg.operators import XRay

if TYPE_CHECKING:  # pydantic comes with it
    from invreg.recipes.config import Config

Progress = Callable[[Mapping[str, Any]], object]


@dataclass(frozen=True)
class Weight:
    """The weight of the prior: its value and why; the trials; images (h, w) of one row at neighbouring values."""

    value: float
    reason: str
    trials: list[dict[str, float]] = field(default_factory=list)
    neighbours: list[tuple[float, Tensor]] = field(default_factory=list)


@dataclass(frozen=True)
class Order:
    """The order s of a Sobolev misfit along the detector, and why."""

    s: float
    reason: str


@dataclass(frozen=True)
class Reconstruction:
    """Images (row, h, w), why the solver stopped (status as in `Result`, and in words), its history and weight.

    order: of the Sobolev misfit, None by least squares. image_range: the values that are 0 and 1 to a learned prior.
    """

    x: Tensor
    status: str
    summary: str
    history: list[dict[str, Any]] = field(default_factory=list)
    weight: Weight | None = None
    gap: float | None = None
    order: Order | None = None
    image_range: tuple[float, float] | None = None


def without_network(config: "Config") -> None:
    """The check of recipes that use no network."""
    if config.prior.weights is not None:
        raise InputError(f"prior.weights is for the recipes svtv and lpn; the recipe is {config.recipe}")


@dataclass(frozen=True)
class Recipe:
    """`run(A, y, config, std, progress)`: y (row, angle, detector) line integrals, std (row,) of their noise.

    `progress` is given each new row of the history with its `stage` in words.
    misfits: it takes a misfit other than least squares.
    check: raises InputError for settings that this recipe cannot follow, before any work.
    volume: it reconstructs cone beams as a whole. A is then of the slices, in space, and y (angle, row, column) is
    read by slices of views and rows.
    weighted: it has a prior with a weight, `config.prior.weight`.
    """

    name: str
    summary: str
    run: Callable[[XRay, Any, "Config", Tensor, Progress], Reconstruction]
    misfits: bool = False
    volume: bool = False
    check: Callable[["Config"], object] = without_network
    weighted: bool = False
