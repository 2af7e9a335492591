"""Training of the network whose image tells space-variant total variation where edges are.

Source: Morotti, Evangelista, Sebastiani, Loli Piccolomini, arXiv 2404.16900: a filtered back-projection in, the image
out, trained with an "elastic" loss of the image and of the size of its gradient.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field  # noqa: TID253
from torch import Tensor, nn

from invreg.io import InputError
from invreg.operators import Gradient
from invreg.priors import ResidualUNet
from invreg.priors.norms import magnitude
from invreg.recipes.config import Section
from invreg.train import config as settings
from invreg.train.data import ImageFolder, draw, middle, resized
from invreg.train.loop import seed
from invreg.train.scans import Geometry, Scans
from invreg.train.tasks import Batch, Task

SHOWN, VALIDATED = 3, 32  # validation images that are drawn, and that are measured
SMOOTH = 1e-6  # added to squared gradients, so that their root has a derivative at 0; a thousandth of the image's range


class Network(Section):
    widths: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = Field(
        [64, 128, 256, 512], description="a list of channels, one a level, such as [64, 128, 256, 512]"
    )


class Weights(Section):
    alpha: float = Field(0.5, ge=0, le=1, description="a number from 0 (loss of the gradient only) to 1 (of the image)")
    patch: int | None = Field(None, ge=8, description="pixels on a side of a training patch, 8 or more; default all")


class Config(settings.Config):
    task: str = "svtv-weights"
    model: Network = Network()
    weights: Weights = Weights()
    scan: Geometry


def elastic(x: Tensor, truth: Tensor, alpha: float) -> Tensor:
    """alpha |x - truth|^2 + (1 - alpha) | |D x| - |D truth| |^2, mean over the pixels of (*batch, h, w)."""
    image = (x - truth).square().mean() if alpha else x.new_zeros(())
    return alpha * image + (1 - alpha) * (steepness(x) - steepness(truth)).square().mean()


def steepness(x: Tensor) -> Tensor:
    """|D x| of images (*batch, h, w), smoothed about 0."""
    return (Gradient((x.shape[-2], x.shape[-1]))(x).square().sum(-3) + SMOOTH).sqrt()


class EdgeTask(Task):
    """Images of a folder, their simulated scans, and the loss of the network's image of these."""

    def __init__(self, config: Config) -> None:
        self.config, self.scans = config, Scans(config.scan)
        self.size, self.patch = config.scan.size, config.weights.patch
        if self.patch is not None and self.patch > self.size:
            raise InputError(f"weights.patch={self.patch} is larger than the image, {self.size} pixels on a side")
        self.images = ImageFolder(config.data, smallest=max(8, self.size // 2), seed=config.train.seed)
        self.notes = self.images.notes
        self.mask = self.scans.seen()

    def model(self) -> nn.Module:
        return ResidualUNet(self.config.data.channels, self.config.model.widths)

    def batch(self, draws: Sequence[torch.Generator], device: torch.device) -> tuple[Tensor, Tensor]:
        """Filtered back-projections and truths, (item, channel, side, side)."""
        items = self.images.train
        truths, views, shares = [], [], []
        counts = self.scans.geometry.counts
        for generator in draws:
            image = self.images[items[int(torch.randint(len(items), (), generator=generator))]]
            part = draw(image.shape, min(image.shape[-2:]), generator)
            truths.append(resized(part(image), self.size) * self.mask)
            views.append(counts[int(torch.randint(len(counts), (), generator=generator))])
            shares.append(float(torch.rand((), generator=generator)))
        inputs, truth = self._scanned(torch.stack(truths).to(device), views, shares, draws)
        if self.patch is None:
            return inputs, truth
        parts = [draw(truth.shape, self.patch, generator) for generator in draws]
        return tuple(torch.stack([p(x) for p, x in zip(parts, xs, strict=True)]) for xs in (inputs, truth))  # type: ignore[return-value]

    def _scanned(
        self, truth: Tensor, views: list[int], shares: list[float], draws: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """What is reconstructed from the scans of (item, channel, size, size), and that itself."""
        inputs = torch.empty_like(truth)
        channels = truth.shape[1]
        for count in dict.fromkeys(views):
            chosen = [k for k, n in enumerate(views) if n == count]
            shape = (channels, *self.scans.operator(count).codomain.shape)
            noise = torch.stack([torch.randn(shape, generator=draws[k]) for k in chosen]).to(truth.device)
            levels = torch.tensor([self.scans.geometry.level(shares[k]) for k in chosen]).to(truth.device)
            y = self.scans.measure(
                truth[chosen].flatten(0, 1), count, levels.repeat_interleave(channels), noise.flatten(0, 1)
            )
            inputs[chosen] = self.scans.first_image(y, count).unflatten(0, (-1, channels))
        return inputs, truth

    def loss(self, model: nn.Module, batch: Batch, step: int) -> Tensor:
        return elastic(model(batch[0]), batch[1], self.config.weights.alpha)

    def _held(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Validation images and their scans, the same each time: views in turn, noise over its range."""
        items = self.images.validation
        items = [items[k * len(items) // min(VALIDATED, len(items))] for k in range(min(VALIDATED, len(items)))]
        draws = [torch.Generator().manual_seed(seed(self.config.train.seed, -1, k)) for k in range(len(items))]
        truth = []
        for item in items:
            image = self.images[item]
            truth.append(resized(middle(image.shape, min(image.shape[-2:]))(image), self.size) * self.mask)
        counts = self.scans.geometry.counts
        views = [counts[k % len(counts)] for k in range(len(items))]
        shares = [(k + 0.5) / len(items) for k in range(len(items))]
        return self._scanned(torch.stack(truth).to(device), views, shares, draws)

    def validate(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        """Relative errors of |D x| and of x, and those of the filtered back-projections; the loss."""
        inputs, truth = self._held(device)
        made = torch.cat([model(x) for x in inputs.split(self.config.train.batch)])

        def error(x: Tensor, t: Tensor) -> float:
            return float(torch.linalg.vector_norm(x - t) / torch.linalg.vector_norm(t))

        D = Gradient((self.size, self.size))
        edges, first, true = (magnitude(D(x)) for x in (made, inputs, truth))
        return {
            "gradient error": error(edges, true),
            "image error": error(made, truth),
            "gradient error of FBP": error(first, true),
            "image error of FBP": error(inputs, truth),
            "validation loss": float(elastic(made, truth, self.config.weights.alpha)),
        }

    def examples(self, model: nn.Module, device: torch.device) -> list[dict[str, Tensor]]:
        inputs, truth = (x[:SHOWN] for x in self._held(device))
        counts = self.scans.geometry.counts
        rows = zip(inputs[:, 0], model(inputs)[:, 0], truth[:, 0], strict=True)
        return [
            {f"FBP of {counts[k % len(counts)]} views": a, "network": b, "truth": c} for k, (a, b, c) in enumerate(rows)
        ]


def make(config: Config) -> EdgeTask:
    """The task of these settings, read from its folder. Raises InputError for what will not do."""
    return EdgeTask(config)


def network(settings: dict[str, Any]) -> nn.Module:
    """The network by the settings that its file tells."""
    return ResidualUNet(settings["data"]["channels"], settings["model"]["widths"])
