"""Training of learned proximal networks: the gradient of a convex potential removes noise by proximal matching.

Source: Fang, Buchanan, Sulam, "What's in a Prior? Learned Proximal Networks for Inverse Problems", ICLR 2024. With the
matching loss the network tends to the proximal operator of -sigma^2 log p for images of density p.
"""

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field  # noqa: TID253
from torch import Tensor, nn

from invreg.io import InputError
from invreg.priors import ConvPotential, ImagePotential, Potential
from invreg.priors.icnn import gradient
from invreg.recipes.config import Section
from invreg.train import denoising
from invreg.train.report import Row
from invreg.train.tasks import Batch

STAGES = 4  # of the matching loss, each with half the width of the one before
SATURATED, LONG = 0.98, 200  # a matching loss above that for so many steps has no gradient to go on with

Strides = list[Annotated[int, Field(ge=1)]]
Numbers = Annotated[Strides, Field(min_length=1)]


class Network(Section):
    kind: Literal["any size", "one size"] = Field(
        "any size", description='"any size", or "one size" for the published network, for images of the patch\'s size'
    )
    widths: Numbers = Field([32, 16, 16], description="a list of channels, one a layer, such as [32, 16, 16]")
    strides: Strides = Field([2, 2], description="a list of strides, one a layer after the first, such as [2, 2]")
    kernel: int = Field(7, ge=1, description="pixels on a side of the first filters, odd")
    beta: float = Field(10.0, gt=0, description="the sharpness of the softplus, > 0")
    alpha: float = Field(0.01, ge=0, description="the weight of |x|^2 in the potential, 0 or more")


class Matching(Section):
    first: float = Field(0.5, ge=0, le=1, description="the share of the steps with the loss |f(y) - x|, 0 to 1")
    gamma: float = Field(0.08, gt=0, description="the least width of the matching loss for one pixel, > 0")


class Config(denoising.Config):
    task: str = "lpn"
    model: Network = Network()
    matching: Matching = Matching()


def matching(error: Tensor, gamma: float) -> Tensor:
    """1 - exp(-|error|^2 / gamma^2), the norm being over all but the first axis; the mean over that."""
    return -torch.expm1(-error.square().flatten(1).sum(1) / gamma**2).mean()


class ProximalTask(denoising.Denoising):
    """The potential whose gradient takes noisy patches to clean ones."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config = config
        self.pixels = config.data.channels * self.patch**2
        self.until = round(config.matching.first * config.train.steps)

    def model(self) -> Potential:
        try:
            return network(self.config.model_dump())
        except ValueError as error:
            raise InputError(f"model: {error}") from None

    def gamma(self, step: int) -> float:
        """The width of the matching loss of a step: 8, 4, 2 and 1 times the least, on equal shares of the steps."""
        stage = STAGES * (step - self.until) // max(self.train.steps - self.until, 1)
        return self.config.matching.gamma * math.sqrt(self.pixels) * 2 ** (STAGES - 1 - stage)

    def loss(self, model: nn.Module, batch: Batch, step: int) -> Tensor:
        error = gradient(model, batch[0], create_graph=True) - batch[1]
        return error.abs().mean() if step < self.until else matching(error, self.gamma(step))

    def after_step(self, model: nn.Module) -> None:
        assert isinstance(model, Potential)
        model.project()

    def hopeless(self, rows: list[Row]) -> str | None:
        last = rows[max(self.until, len(rows) - LONG) :]
        if len(last) < LONG or min(row["loss"] for row in last) <= SATURATED:
            return None
        return (
            f"the matching loss stayed above {SATURATED} for {LONG} steps, where it has no gradient; give "
            "matching.first a larger share of the steps, or take a larger matching.gamma"
        )

    def denoised(self, model: nn.Module, y: Tensor) -> Tensor:
        return gradient(model, y)


def make(config: Config) -> ProximalTask:
    """The task of these settings, read from its folder. Raises InputError for what will not do."""
    return ProximalTask(config)


def network(settings: dict[str, Any]) -> Potential:
    """The potential by the settings that its file tells."""
    m, channels, side = settings["model"], settings["data"]["channels"], settings["noise"]["patch"]
    if m["kind"] == "one size":
        return ConvPotential((channels, side, side), m["widths"][0], m["strides"], m["beta"], m["alpha"])
    sigma = settings["noise"]["sigma"]
    return ImagePotential(channels, m["widths"], m["strides"], m["kernel"], sigma, m["beta"], m["alpha"])
