"""What tasks share that train on images of a folder and the same images with white Gaussian noise."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from pydantic import Field  # noqa: TID253
from torch import Tensor, nn

from invreg.recipes.config import Section
from invreg.train import config as settings
from invreg.train.data import ImageFolder, draw, middle
from invreg.train.loop import seed
from invreg.train.tasks import Batch, Task

SHOWN, VALIDATED = 3, 32  # validation images that are drawn, and that are measured


class Noise(Section):
    sigma: float = Field(0.1, gt=0, description="the standard deviation of the noise, > 0, images being from 0 to 1")
    patch: int = Field(64, ge=8, description="pixels on a side of a training patch, 8 or more")


class Config(settings.Config):
    noise: Noise = Noise()


class Denoising(Task):
    """Patches of the images of a folder, (item, channel, patch, patch), and noise on them."""

    def __init__(self, config: Config) -> None:
        self.sigma, self.patch, self.train = config.noise.sigma, config.noise.patch, config.train
        self.images = ImageFolder(config.data, smallest=self.patch, seed=config.train.seed)
        self.notes = self.images.notes

    @abstractmethod
    def denoised(self, model: nn.Module, y: Tensor) -> Tensor:
        """What the network makes of noisy images."""

    def batch(self, draws: Sequence[torch.Generator], device: torch.device) -> Batch:
        """Noisy patches and clean ones."""
        items, clean = self.images.train, []
        for generator in draws:
            image = self.images[items[int(torch.randint(len(items), (), generator=generator))]]
            clean.append(draw(image.shape, self.patch, generator)(image))
        return self._noisy(clean, draws, device)

    def _noisy(self, clean: list[Tensor], draws: Sequence[torch.Generator], device: torch.device) -> Batch:
        x = torch.stack(clean)
        noise = torch.stack([torch.randn(x.shape[1:], generator=generator) for generator in draws])
        return (x + self.sigma * noise).to(device), x.to(device)

    def _held(self, device: torch.device) -> Batch:
        """The middles of validation images with their noise, the same each time."""
        items = self.images.validation
        count = min(VALIDATED, len(items))
        images = [self.images[items[k * len(items) // count]] for k in range(count)]
        draws = [torch.Generator().manual_seed(seed(self.train.seed, -1, k)) for k in range(count)]
        return self._noisy([middle(image.shape, self.patch)(image) for image in images], draws, device)

    def validate(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        """Peak signal-to-noise ratios in dB, means over the validation images: of the network and of its input."""
        y, x = self._held(device)
        made = torch.cat([self.denoised(model, part) for part in y.split(self.train.batch)])
        return {"PSNR": _psnr(made, x), "PSNR of the noisy": _psnr(y, x)}

    def examples(self, model: nn.Module, device: torch.device) -> list[dict[str, Tensor]]:
        y, x = (part[:SHOWN] for part in self._held(device))
        rows = zip(y.mean(1), self.denoised(model, y).mean(1), x.mean(1), strict=True)
        return [{"noisy": a, "network": b, "truth": c} for a, b, c in rows]


def _psnr(x: Tensor, truth: Tensor) -> float:
    return float(-10 * (x - truth).square().flatten(1).mean(1).log10().mean())
