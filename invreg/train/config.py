"""The settings that every training has; a task adds a section of its own and one of its network."""

from typing import Annotated, Literal

from pydantic import Field, field_validator  # noqa: TID253

from invreg.recipes.config import Section

Pair = Annotated[list[float], Field(min_length=2, max_length=2)]


class Data(Section):
    folder: str | None = Field(None, description="the folder of training images")
    channels: Literal[1, 3] = Field(1, description="1 (grey) or 3 (colour)")
    window: Pair | None = Field(None, description="two values of the files, [low, high], that become 0 and 1")
    percentiles: Pair | None = Field(
        None, description="two percentiles of each image, [low, high], that become 0 and 1"
    )
    validation: float = Field(0.1, gt=0, lt=1, description="the share of the files kept for validation, 0 to 1")
    cache: float = Field(2.0, ge=0, description="GiB of decoded images to keep in memory, 0 or more")

    @field_validator("window", "percentiles")
    @classmethod
    def _ordered(cls, pair: list[float] | None) -> list[float] | None:
        if pair is not None and not pair[0] < pair[1]:
            raise ValueError(f"takes [low, high] with low < high; got {pair}")
        return pair

    @field_validator("percentiles")
    @classmethod
    def _per_cent(cls, pair: list[float] | None) -> list[float] | None:
        if pair is not None and not 0 <= pair[0] < pair[1] <= 100:
            raise ValueError(f"takes two numbers from 0 to 100; got {pair}")
        return pair


class Training(Section):
    steps: int = Field(20000, ge=1, description="how many steps, 1 or more")
    batch: int = Field(16, ge=1, description="images a step, over all processes, 1 or more")
    rate: float = Field(5e-4, gt=0, description="the largest learning rate, > 0")
    warmup: int = Field(200, ge=0, description="steps in which the learning rate rises to it, 0 or more")
    decay: float = Field(1e-4, ge=0, description="weight decay, 0 or more")
    clip: float = Field(1.0, gt=0, description="the largest norm of a gradient, > 0")
    average: float = Field(0.999, ge=0, lt=1, description="decay of the moving average of the weights, 0 to 1")
    every: int = Field(500, ge=1, description="steps between validations, each with a checkpoint, 1 or more")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto, float32 or bfloat16")
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu, cuda or cuda:0")
    seed: int = Field(0, ge=0, lt=2**31, description="a whole number from 0 on")


class Config(Section):
    """What `train` needs; each task has a subclass."""

    version: Literal[1] = Field(1, description="1, the version of this layout")
    task: str = Field(description="the name of a task")
    data: Data = Data()
    train: Training = Training()
