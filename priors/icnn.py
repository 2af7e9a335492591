"""Potentials psi that are convex in the image by construction, whose gradients are proximal operators.

A continuous f is the proximal operator of some function, convex or not, if and only if f = grad psi with psi convex and
differentiable (Gribonval, Nikolova, J. Math. Imaging Vis. 62, 2020). Networks that are convex in their input: Amos, Xu,
Kolter, ICML 2017; their gradients as learned proximal operators: Fang, Buchanan, Sulam, ICLR 2024.

Layers that act on the image are free; those that act on earlier layers have weights >= 0, kept so by `project` after
each step of an optimiser; activations are convex, non-decreasing and smooth (softplus, and its square).
"""

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)
START = 0.1  # of the usual size have first weights that are to be small beside those of the identity
REACH = 6.0  # a dense potential starts as the identity of vectors within -6 to 6


class Potential(nn.Module):
    """psi(x) (batch,) for x (batch, *shape), convex in x, in the dtype of x.

    shape: of an item, None where a size is free. modulus: psi - modulus / 2 |x|^2 is convex too.
    """

    shape: tuple[int | None, ...]
    modulus: float

    @torch.no_grad()
    def project(self) -> None:
        """Set negative weights of layers that must have none to 0, in place."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and hasattr(module, "positive"):
                module.weight.clamp_(min=0)

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim != len(self.shape) + 1 or any(
            n not in (None, m) for n, m in zip(self.shape, x.shape[1:], strict=True)
        ):
            wanted = ", ".join("any" if n is None else str(n) for n in self.shape)
            raise ValueError(f"{type(self).__name__} takes (batch, {wanted}); got {tuple(x.shape)}")
        return x


class DensePotential(Potential):
    """A potential of vectors (batch, size): `layers` hidden layers of `hidden` units, each of which sees x too.

    The network of the Laplace experiment of Fang et al. (size 1, hidden 50, layers 4, beta 10). beta: sharpness of the
    softplus, log(1 + exp(beta t)) / beta. alpha: psi has the term alpha |x|^2.
    """

    def __init__(
        self, size: int = 1, hidden: int = 50, layers: int = 4, beta: float = 10.0, alpha: float = 0.0
    ) -> None:
        super().__init__()
        self.shape, self.modulus, self.alpha, self.beta = (size,), 2 * alpha, alpha, beta
        self.first = nn.Linear(size, hidden, bias=False)
        widths = [hidden] * layers + [1]
        main = [_positive(nn.Linear(hidden, width, bias=False)) for width in widths]
        skip = [nn.Linear(size, width) for width in widths]
        self.main, self.skip = nn.ModuleList(main), nn.ModuleList(skip)
        with torch.no_grad():
            for layer in main:
                layer.weight.uniform_(0, 2 * START / hidden)
            # the slope of a sum of softplus(x - b) is how many b lie below x: x itself, for b that are evenly spread
            skip[-2].weight.copy_(F.one_hot(torch.arange(hidden) % size, size))
            skip[-2].bias.copy_(-REACH * torch.linspace(-1, 1, hidden))
            main[-1].weight.fill_(2 * REACH * size / hidden)
            skip[-1].weight.fill_(-REACH)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(self._checked(x))
        for main, skip in zip(self.main, self.skip, strict=True):
            z = main(F.softplus(z, self.beta)) + skip(x)
        return z[:, 0].to(x.dtype) + self.alpha * x.square().sum(1)


class ConvPotential(Potential):
    """A potential of images of one size, with the layers of Fang et al.: convolutions, then two dense layers.

    shape: (channel, h, w), the sides multiples of the product of the strides. A convolution 3 x 3 of stride 1 is
    followed by one for each of `strides`, a dense layer of 64 units and one of a single unit. All but the first and the
    last also see the image, averaged to their resolution. Published: hidden 64, strides (2, 1, 2), beta 10, alpha 0.01
    for 28 x 28; hidden 256, strides (2, 1, 2, 1, 2), beta 100, alpha 1e-6 for 64 x 64 and 128 x 128.
    """

    def __init__(
        self,
        shape: tuple[int, int, int] = (1, 28, 28),
        hidden: int = 64,
        strides: Sequence[int] = (2, 1, 2),
        beta: float = 10.0,
        alpha: float = 0.01,
    ) -> None:
        super().__init__()
        channels, h, w = shape
        factor = math.prod(strides)
        if h % factor or w % factor:
            raise ValueError(f"ConvPotential takes sides that are multiples of {factor} (its strides); got {h} x {w}")
        self.shape, self.modulus = tuple(shape), 2 * alpha
        self.alpha, self.beta, self.strides = alpha, beta, tuple(strides)
        side, dense = (h // factor, w // factor), 64
        self.first = nn.Conv2d(channels, hidden, 3, padding=1)
        main = [_positive(nn.Conv2d(hidden, hidden, 3, stride, padding=1, bias=False)) for stride in strides]
        main.append(_positive(nn.Conv2d(hidden, dense, side, bias=False)))
        skip = [nn.Conv2d(channels, hidden, 3, stride, padding=1) for stride in strides]
        skip.append(nn.Conv2d(channels, dense, side))
        self.main, self.skip = nn.ModuleList(main), nn.ModuleList(skip)
        self.last = _positive(nn.Linear(dense, 1, bias=False))
        self._start_as_identity(main, skip)

    @torch.no_grad()
    def _start_as_identity(self, main: list[nn.Conv2d], skip: list[nn.Conv2d]) -> None:
        """For x in [0, 1]: the slope of the mean of softplus(x - b), b evenly from 0 to 1, is how many b lie below x.

        Later layers hand these on: their weights are means over channels, those of each pixel add up to one, and the
        biases keep them where softplus is a straight line.
        """
        hidden, channels = self.first.weight.shape[:2]
        assert self.first.bias is not None
        self.first.weight.mul_(START)
        self.first.weight[torch.arange(hidden), torch.arange(hidden) % channels, 1, 1] += 1
        self.first.bias.copy_(-torch.linspace(0, 1, hidden))
        for layer, seen, stride in zip(main, skip, (*self.strides, 0), strict=True):
            assert seen.bias is not None
            rise = torch.tensor([0.25, 0.5, 0.25]) * stride
            layer.weight.uniform_(0, 2 / hidden).mul_(rise[:, None] * rise if stride else 1)
            seen.weight.mul_(START)
            seen.bias.fill_(3 / self.beta)
        self.last.weight.fill_(channels / self.last.in_features)

    def forward(self, x: Tensor) -> Tensor:
        z, seen = self.first(self._checked(x)), x
        for main, skip, stride in zip(self.main, self.skip, (*self.strides, 1), strict=True):
            z = main(F.softplus(z, self.beta)) + skip(seen)
            seen = F.avg_pool2d(seen, stride) if stride > 1 else seen
        return self.last(F.softplus(z, self.beta).flatten(1))[:, 0].to(x.dtype) + self.alpha * _energy(x)


class ImagePotential(Potential):
    """A potential of images (batch, channels, h, w) of any size: convolutions, whose outcome is summed over the pixels.

    widths, strides: of each layer; the first has filters of `kernel` x `kernel` pixels and squares of softplus, so that
    grad psi is a sum of filters of filtered images, weighted by what later layers see around a pixel; these are 3 x 3
    with softplus, and see the image, averaged to their resolution, too. The quadratic part |Q x|^2 / 2 has free filters
    Q, which are those of the identity at first, and so is grad psi, nearly. beta: sharpness of the softplus.
    alpha: psi has the term alpha |x|^2.
    """

    def __init__(
        self,
        channels: int = 1,
        widths: Sequence[int] = (32, 32, 64),
        strides: Sequence[int] = (1, 2, 2),
        kernel: int = 5,
        beta: float = 10.0,
        alpha: float = 0.01,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"ImagePotential takes an odd kernel; got {kernel}")
        if len(widths) != len(strides) or not widths:
            raise ValueError(f"ImagePotential takes as many widths as strides; got {widths} and {strides}")
        self.shape, self.modulus = (channels, None, None), 2 * alpha
        self.alpha, self.beta, self.strides = alpha, beta, tuple(strides)
        self.first = nn.Conv2d(channels, widths[0], kernel, strides[0], padding=kernel // 2)
        pairs = list(zip(widths[:-1], widths[1:], strides[1:], strict=True))
        main = [_positive(nn.Conv2d(n, m, 3, stride, padding=1, bias=False)) for n, m, stride in pairs]
        self.main = nn.ModuleList(main)
        self.skip = nn.ModuleList(nn.Conv2d(channels, m, 3, stride, padding=1) for _, m, stride in pairs)
        self.last = _positive(nn.Conv2d(widths[-1], 1, 1, bias=False))
        self.quadratic = nn.Conv2d(channels, 8 * channels, kernel, padding=kernel // 2, bias=False)
        with torch.no_grad():
            for layer in main:
                layer.weight.uniform_(0, 2 / layer.weight[0].numel())
            self.last.weight.fill_(0.1 / widths[-1])
            self.quadratic.weight.mul_(START)
            for c in range(channels):
                self.quadratic.weight[c, c, kernel // 2, kernel // 2] = 1

    def forward(self, x: Tensor) -> Tensor:
        z = F.softplus(self.first(self._checked(x)), self.beta).square()
        seen = F.avg_pool2d(x, self.strides[0], ceil_mode=True) if self.strides[0] > 1 else x
        for main, skip, stride in zip(self.main, self.skip, self.strides[1:], strict=True):
            z = F.softplus(main(z) + skip(seen), self.beta)
            seen = F.avg_pool2d(seen, stride, ceil_mode=True) if stride > 1 else seen
        psi = self.last(z).to(x.dtype).sum((1, 2, 3)) + _energy(self.quadratic(x).to(x.dtype)) / 2
        return psi + self.alpha * _energy(x)


def gradient(psi: nn.Module, x: Tensor, create_graph: bool = False) -> Tensor:
    """grad psi(x), also where gradients are off; create_graph: so that it has derivatives itself, as training needs."""
    with torch.enable_grad():
        x = x if create_graph and x.requires_grad else x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(psi(x).sum(), x, create_graph=create_graph)
    return slope


def _energy(x: Tensor) -> Tensor:
    """|x|^2 (batch,)."""
    return x.square().flatten(1).sum(1)


def _positive(layer: Layer) -> Layer:
    """A layer whose weights `project` keeps from being negative; they start so."""
    layer.positive = True  # type: ignore[assignment]
    with torch.no_grad():
        layer.weight.abs_()
    return layer
