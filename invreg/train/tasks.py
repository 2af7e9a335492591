"""What a task of training is, and finding one by its name."""

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from invreg.io import InputError
from invreg.recipes.config import overridden, read_toml
from invreg.train import TASKS
from invreg.train.config import Config
from invreg.train.report import Row

Batch = tuple[Tensor, ...]


class Task(Protocol):
    """A network, what it is trained on, and how good it is; a task derives from this.

    notes: what a user should know of the data. A batch is a tuple of tensors (item, ...) on the device it was made for.
    Steps count from 0.
    """

    notes: list[str]

    def model(self) -> nn.Module:
        """The network with its first weights, drawn from torch's generator, which the loop seeds."""
        ...

    def batch(self, draws: Sequence[torch.Generator], device: torch.device) -> Batch:
        """One item for each generator, from which alone it draws: so no item depends on the others."""
        ...

    def loss(self, model: nn.Module, batch: Batch, step: int) -> Tensor:
        """The mean loss of a batch at a step; it calls the model once."""
        ...

    def after_step(self, model: nn.Module) -> None:
        """What is done to the network after each step of the optimiser, such as a projection of its weights.

        On a convex set that the first weights of `model` lie in: then the moving average lies in it too.
        """
        return

    def hopeless(self, rows: list[Row]) -> str | None:
        """Why training need not go on, by the rows of all steps so far; None where it should."""
        return None

    def validate(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        """Figures on images that are not trained on, by name."""
        ...

    def examples(self, model: nn.Module, device: torch.device) -> list[dict[str, Tensor]]:
        """Some validation images to show: rows of named images (h, w)."""
        ...


class TaskModule(Protocol):
    """A file of a task: its settings, how it is made of them, and its network by its settings as plain data."""

    Config: type[Config]

    def make(self, config: Any) -> Task: ...

    def network(self, settings: dict[str, Any]) -> nn.Module: ...


def configured(name: str, geometry: Path | None, overrides: dict[str, tuple[str, Any]]) -> Config:
    """The settings of a task: its defaults, [scan] from a geometry file, and overrides {key: (where from, value)}.

    Raises InputError that lists every error with its file or flag, key, what it takes and what it got, and where a
    task needs a geometry file and has none, or has no use for one.
    """
    model = find(name).Config
    if (geometry is None) == ("scan" in model.model_fields):
        needs = "needs a geometry file: --geometry scan.toml" if geometry is None else "takes no --geometry"
        raise InputError(f"{name} {needs}; see docs/training.md")
    if geometry is None:
        return overridden(model, {}, "the settings", overrides)
    hint = "docs/training.md says what it holds"
    table = {"scan": read_toml(geometry, "geometry", "give a path to one", hint)}
    return overridden(model, table, str(geometry), overrides)


def find(name: str) -> TaskModule:
    """The file of a task. Raises InputError for a name that is none."""
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(f"there is no training task {name}{hint}; there are {', '.join(TASKS)}")
    return importlib.import_module(TASKS[name][0])  # type: ignore[return-value]
