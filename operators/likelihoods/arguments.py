"""What every likelihood asks of its arguments, said in one sentence each."""

import math

import torch
from torch import Tensor


def measurement(who: str, y: Tensor, ndim: int, low: float = -math.inf) -> Tensor:
    """`y`, if it is a tensor of finite real floating-point values >= `low` with at least `ndim` axes."""
    if not y.is_floating_point() or y.ndim < ndim or y.numel() == 0:
        raise ValueError(
            f"{who} takes a measurement y of real floating-point values with at least {ndim} axes and one value; "
            f"got {y.dtype} {tuple(y.shape)}"
        )
    if not bool(y.isfinite().all()):
        raise ValueError(
            f"{who} takes a finite measurement y; {int((~y.isfinite()).sum())} of {y.numel()} values are not: "
            "fill them in, and give them the weight 0 in WeightedLeastSquares"
        )
    if bool((y < low).any()):
        raise ValueError(f"{who} takes counts y >= {low:g}; the least is {float(y.min()):g}: take no offset from them")
    return y


def parameter(
    who: str,
    name: str,
    value: Tensor | float,
    y: Tensor,
    ndim: int,
    *,
    low: float = -math.inf,
    above: float = -math.inf,
) -> Tensor:
    """`value` with the dtype of y and axes to broadcast against it; ValueError unless finite, >= low and > above.

    A number, one value for each batch item of y, (*batch,), or one for each datum, (*shape) or the shape of y.
    """
    tensor = torch.as_tensor(value, dtype=y.dtype, device=y.device)
    batch, shape = y.shape[: y.ndim - ndim], y.shape[y.ndim - ndim :]
    if tensor.shape not in ((), shape, y.shape, batch):
        raise ValueError(
            f"{who} takes `{name}` as a number, for each batch item {tuple(batch)} or for each datum {tuple(shape)}; "
            f"got {tuple(tensor.shape)}"
        )
    if not bool((tensor.isfinite() & (tensor >= low) & (tensor > above)).all()):
        bound = f" > {above:g}" if above > -math.inf else f" >= {low:g}" if low > -math.inf else ""
        worst = tensor[~tensor.isfinite()] if not bool(tensor.isfinite().all()) else tensor.min()
        raise ValueError(f"{who} takes finite `{name}`{bound}; got {float(worst.flatten()[0]):g}")
    if tensor.ndim and tensor.shape not in (shape, y.shape):
        tensor = tensor.reshape(*batch, *(1,) * ndim)
    return tensor


def half_of_the_data(y: Tensor, ndim: int) -> Tensor:
    """n / 2 for each item of the batch, (*batch,): the expected value of half a chi-squared variable.

    A complex datum counts as two, its real and imaginary parts.
    """
    size = math.prod(y.shape[y.ndim - ndim :]) * (2 if y.is_complex() else 1)
    return torch.full(y.shape[: y.ndim - ndim], size / 2, dtype=torch.float64, device=y.device)


def normal(prediction: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise of the shape, precision and device of `prediction`; of a complex one in each part."""
    noise = torch.randn(prediction.shape, generator=generator, dtype=prediction.dtype, device=prediction.device)
    return noise * math.sqrt(2) if noise.is_complex() else noise  # torch gives the parts a variance of 1/2


def uniform(prediction: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform noise in (0, 1], of the shape, precision and device of `prediction`."""
    return 1 - torch.rand(prediction.shape, generator=generator, dtype=prediction.dtype, device=prediction.device)
