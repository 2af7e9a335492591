"""Training of an ordinary denoiser by the squared error: what plug-and-play methods use without a prior behind it."""

from typing import Annotated, Any

from pydantic import Field  # noqa: TID253
from torch import Tensor, nn

from invreg.priors import ResidualUNet
from invreg.recipes.config import Section
from invreg.train import denoising
from invreg.train.tasks import Batch


class Network(Section):
    widths: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = Field(
        [64, 128, 256, 512], description="a list of channels, one a level, such as [64, 128, 256, 512]"
    )


class Config(denoising.Config):
    task: str = "denoiser"
    model: Network = Network()


class DenoiserTask(denoising.Denoising):
    """A residual U-Net that takes noisy patches to clean ones."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.channels, self.widths = config.data.channels, config.model.widths

    def model(self) -> nn.Module:
        return ResidualUNet(self.channels, self.widths)

    def loss(self, model: nn.Module, batch: Batch, step: int) -> Tensor:
        return (model(batch[0]) - batch[1]).square().mean()

    def denoised(self, model: nn.Module, y: Tensor) -> Tensor:
        made: Tensor = model(y)
        return made


def make(config: Config) -> DenoiserTask:
    """The task of these settings, read from its folder. Raises InputError for what will not do."""
    return DenoiserTask(config)


def network(settings: dict[str, Any]) -> nn.Module:
    """The network by the settings that its file tells."""
    return ResidualUNet(settings["data"]["channels"], settings["model"]["widths"])
