"""From the name of an operator and its parameters, as a measurement file has them, to the operator."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

if TYPE_CHECKING:
    from invreg.core import Linear

Parameters = dict[str, Any]
Arrays = dict[str, npt.NDArray[Any]]


def _blur(shape: tuple[int, ...], parameters: Parameters, arrays: Arrays) -> "Linear":
    import torch

    from invreg.operators import Blur

    return Blur(torch.as_tensor(arrays["kernel"]), (shape[-2], shape[-1]), parameters["boundary"])


def _downsample(shape: tuple[int, ...], parameters: Parameters, arrays: Arrays) -> "Linear":
    from invreg.operators import Downsample

    boundary = parameters["boundary"]
    return Downsample((shape[-2], shape[-1]), parameters["factor"], parameters["kernel"], boundary=boundary)


def _inpainting(shape: tuple[int, ...], parameters: Parameters, arrays: Arrays) -> "Linear":
    import torch

    from invreg.operators import Mask

    return Mask(torch.as_tensor(arrays["mask"]))


def _satellite(shape: tuple[int, ...], parameters: Parameters, arrays: Arrays) -> "Linear":
    from invreg.operators import Satellite

    p = parameters
    return Satellite(p["instrument"], (shape[-2], shape[-1]), p["product"], factor=p["factor"]).A


# name: builder from the shape of the image, the parameters and the arrays; CT is read as a scan
MODELS: dict[str, Callable[[tuple[int, ...], Parameters, Arrays], "Linear"]] = {
    "blur": _blur,
    "downsample": _downsample,
    "inpainting": _inpainting,
    "satellite": _satellite,
}
