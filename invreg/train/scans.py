"""Simulated scans of training images, as a geometry file describes them."""

import math
from functools import cache
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator  # noqa: TID253
from torch import Tensor

from invreg.io import InputError
from invreg.operators import FanBeam2D, Parallel2D, XRay, fbp
from invreg.recipes.config import Section

Count = Annotated[int, Field(ge=2)]
Level = Annotated[float, Field(ge=0, lt=1)]


class Geometry(Section):
    """A geometry file: scans of one detector with one of several numbers of views and a range of noise."""

    kind: Literal["parallel", "fan"] = Field(description="parallel or fan")
    views: Count | Annotated[list[Count], Field(min_length=1)] = Field(
        description="how many views, 2 or more, or a list of such numbers, one of which each scan has"
    )
    range: float = Field(180.0, gt=0, le=360, description="degrees over which views are evenly spread, up to 360")
    detectors: int = Field(ge=2, description="how many bins, 2 or more")
    pitch: float = Field(1.0, gt=0, description="the distance of bins, > 0")
    source_origin: float | None = Field(None, gt=0, description="from the source to the rotation axis, of a fan, > 0")
    source_detector: float | None = Field(None, gt=0, description="from the source to the detector, of a fan, > 0")
    size: int = Field(ge=8, description="pixels on a side of the image, 8 or more")
    pixel: float | None = Field(
        None, gt=0, description="the pixel's side, > 0; default that at which the image spans the detector"
    )
    noise: Level | Annotated[list[Level], Field(min_length=2, max_length=2)] = Field(
        description="|noise| / |measurement|, from 0 to 1, or a range [low, high] of it"
    )
    pre_estimate: Literal["fbp"] = Field("fbp", description="fbp, what is the network's input")
    filter: Literal["ramp", "shepp-logan", "cosine", "hann"] = Field(
        "ramp", description="ramp, shepp-logan, cosine or hann"
    )

    @field_validator("noise")
    @classmethod
    def _ordered(cls, level: float | list[float]) -> float | list[float]:
        if isinstance(level, list) and level[0] > level[1]:
            raise ValueError(f"takes a range [low, high] with low <= high; got {level}")
        return level

    @model_validator(mode="after")
    def _distances(self) -> "Geometry":
        given = [key for key in ("source_origin", "source_detector") if getattr(self, key) is not None]
        if self.kind == "fan" and len(given) < 2:
            raise ValueError("takes source_origin and source_detector too where it is fan")
        if self.kind == "parallel" and given:
            raise ValueError(f"takes no {given[0]} where it is parallel")
        return self

    @property
    def counts(self) -> list[int]:
        """The numbers of views."""
        return self.views if isinstance(self.views, list) else [self.views]

    def level(self, share: float) -> float:
        """The noise at a share (0 to 1) of its range, evenly on a logarithmic scale unless it begins at 0."""
        low, high = self.noise if isinstance(self.noise, list) else (self.noise, self.noise)
        return low * (high / low) ** share if low > 0 else high * share


class Scans:
    """The ray transforms of a geometry file, made when first needed, and their measurements of images.

    Raises InputError for lengths that do not go together.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.operator = cache(self._operator)
        try:
            self.operator(geometry.counts[0])
        except ValueError as error:  # distances that cannot be those of a scan
            raise InputError(f"the geometry file: {error}") from None

    def _operator(self, views: int) -> XRay:
        g = self.geometry
        angles = np.deg2rad(np.arange(views) * g.range / views)
        made: Parallel2D | FanBeam2D
        if g.source_origin is not None and g.source_detector is not None:
            lengths = {"source_origin": g.source_origin, "source_detector": g.source_detector}
            made = FanBeam2D(angles, g.detectors, g.pitch, **lengths)
        else:
            made = Parallel2D(angles, g.detectors, g.pitch)
        return XRay(made, (g.size, g.size), g.pixel or made.bin_at_axis * g.detectors / g.size)

    def seen(self) -> Tensor:
        """(size, size), 1 in the disc that every view sees whole and 0 outside, where nothing is known."""
        A = self.operator(self.geometry.counts[0])
        g, n = A.geometry, self.geometry.size
        reach = abs(float(g.positions[0]))
        if isinstance(g, FanBeam2D):
            reach = g.source_origin * math.sin(float(np.abs(g.fan_angles).max()))
        place = (torch.arange(n) - (n - 1) / 2) * A.pixel_size
        return (torch.hypot(place[:, None], place) <= reach).float()

    def measure(self, images: Tensor, views: int, levels: Tensor, noise: Tensor) -> Tensor:
        """Line integrals (item, angle, detector) of images (item, size, size), noise being `levels` (item,) of them.

        noise: standard normal numbers of the shape of the result.
        """
        y = self.operator(views)(images)
        size = torch.linalg.vector_norm(y, dim=(1, 2)) / torch.linalg.vector_norm(noise, dim=(1, 2))
        return y + (levels * size)[:, None, None] * noise

    def first_image(self, y: Tensor, views: int) -> Tensor:
        """The filtered back-projection (item, size, size) of measurements."""
        A = self.operator(views)
        return fbp(y, A.geometry, A.domain.shape, A.pixel_size, filter=self.geometry.filter, A=A)
