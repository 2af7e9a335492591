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
THRESHOLD = 2.5  # of thresholding at first, in standard deviations of the noise
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
    """A potential of images (batch, channels, h, w) of any size, from half a `kernel` on: a sum over all pixels.

    The first layer has widths[0] filters w of `kernel` x `kernel` pixels, and for each the convex, even function
    a(t - b) + a(-t - b) of t = w * x, where a(t) = softplus(t)^2 / 2 + c softplus(t), c >= 0: its slope is a threshold
    between soft (c = 0) and hard (c = b). Further layers, of widths[1:] and `strides`, are convolutions 3 x 3 with
    softplus of it that see the image, averaged to their resolution, too. psi is a sum of all of these with weights
    >= 0, of |Q x|^2 / 2 with free filters Q, and of alpha |x|^2. The image goes on beyond its border as in a mirror.

    sigma: the standard deviation of the noise that grad psi removes. At first it does so as hard thresholding of the
    cosine transforms of all patches does, widths[0] of their coefficients being kept beside the mean. beta: sharpness
    of the softplus, in units of 1 / sigma.
    """

    def __init__(
        self,
        channels: int = 1,
        widths: Sequence[int] = (32, 16, 16),
        strides: Sequence[int] = (2, 2),
        kernel: int = 7,
        sigma: float = 0.1,
        beta: float = 10.0,
        alpha: float = 0.01,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"ImagePotential takes an odd kernel; got {kernel}")
        if len(widths) != len(strides) + 1:
            raise ValueError(f"ImagePotential takes a width more than strides; got {widths} and {strides}")
        if widths[0] > channels * (kernel**2 - 1):
            most = channels * (kernel**2 - 1)
            raise ValueError(
                f"ImagePotential with this kernel takes {most} for the first width at most; got {widths[0]}"
            )
        self.shape, self.modulus = (channels, None, None), 2 * alpha
        self.sigma, self.beta, self.alpha, self.margin = sigma, beta, alpha, kernel // 2
        self.strides = tuple(strides)
        self.first = nn.Conv2d(channels, widths[0], kernel, bias=False)
        self.threshold = nn.Parameter(torch.full((widths[0], 1, 1), THRESHOLD))
        self.hardness = nn.Parameter(torch.full((widths[0], 1, 1), THRESHOLD))
        layers = list(zip(widths[:-1], widths[1:], strides, strict=True))
        main = [_positive(nn.Conv2d(n, m, 3, stride, padding=1, bias=False)) for n, m, stride in layers]
        skip = [nn.Conv2d(channels, m, 3, stride, padding=1) for _, m, stride in layers]
        self.main, self.skip = nn.ModuleList(main), nn.ModuleList(skip)
        self.sums = nn.ParameterList(torch.full((n, 1, 1), 1 / kernel**2) for n in widths)
        self.quadratic = nn.Conv2d(channels, 8 * channels, kernel, bias=False)
        with torch.no_grad():
            waves = _cosines(channels, kernel)
            self.first.weight.copy_(waves[channels : channels + widths[0]] / sigma)
            self.quadratic.weight.mul_(START / 4)
            self.quadratic.weight[:channels] = waves[:channels] / kernel
            for layer, seen, total, k in zip(main, skip, list(self.sums)[1:], range(1, len(widths)), strict=True):
                layer.weight.uniform_(0, 2 / layer.weight[0].numel())
                seen.weight.mul_(1 / (3 * sigma))
                nn.init.zeros_(seen.bias)  # type: ignore[arg-type]
                total.fill_(START / 5 * math.prod(strides[:k]) ** 2 / widths[k])

    @torch.no_grad()
    def project(self) -> None:
        super().project()
        for parameter in (self.hardness, *self.sums):
            parameter.clamp_(min=0)

    def forward(self, x: Tensor) -> Tensor:
        seen, around = self._checked(x), _mirrored(x, self.margin)
        t = self.first(around)
        z = self._bent(t - self.threshold) + self._bent(-t - self.threshold)
        psi = _total(z, self.sums[0], x.dtype)
        for main, skip, total, stride in zip(self.main, self.skip, list(self.sums)[1:], self.strides, strict=True):
            z = F.softplus(main(z) + skip(seen), self.beta)
            psi = psi + _total(z, total, x.dtype)
            seen = F.avg_pool2d(seen, stride, ceil_mode=True) if stride > 1 else seen
        return self.sigma**2 * psi + _energy(self.quadratic(around).to(x.dtype)) / 2 + self.alpha * _energy(x)

    def _bent(self, t: Tensor) -> Tensor:
        z = F.softplus(t, self.beta)
        return z.square() / 2 + self.hardness * z


def _cosines(channels: int, size: int) -> Tensor:
    """The orthonormal cosine basis of patches (channels, size, size), constant elements first, then by frequency."""

    def basis(n: int) -> Tensor:
        waves = torch.cos(math.pi / n * torch.arange(n)[:, None] * (torch.arange(n) + 0.5)) * math.sqrt(2 / n)
        waves[0] /= math.sqrt(2)
        return waves

    waves = torch.einsum("kc,ui,vj->kuvcij", basis(channels), basis(size), basis(size)).flatten(0, 2)
    k, u, v = (axis.flatten() for axis in torch.meshgrid(*map(torch.arange, (channels, size, size)), indexing="ij"))
    return waves[torch.argsort((u**2 + v**2) * (1 + 3 * k), stable=True)]  # colour is smoother than brightness


def _mirrored(x: Tensor, margin: int) -> Tensor:
    """Images with `margin` pixels more on each side, the border pixels being repeated first."""
    for axis in (-2, -1):
        n = x.shape[axis]
        if n < margin:
            raise ValueError(f"ImagePotential with this kernel takes images from {margin} pixels on; got {n}")
        at = torch.arange(-margin, n + margin, device=x.device)
        x = x.index_select(axis, torch.minimum(torch.where(at < 0, -1 - at, at), 2 * n - 1 - at.clamp(min=0)))
    return x


def _total(z: Tensor, weights: Tensor, dtype: torch.dtype) -> Tensor:
    """The weighted sum over channels and pixels (batch,)."""
    return (z.to(dtype) * weights).flatten(1).sum(1)


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
