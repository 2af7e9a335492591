"""A residual U-Net, which turns a first reconstruction into a better image."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualUNet(nn.Module):
    """x + U(x) for images x (batch, channel, h, w) of any size, with a U-Net U of blocks that end in concatenation.

    A block is two 3 x 3 convolutions with ReLU whose result is laid beside its input and mixed by a third. Each further
    entry of `widths` is a level of half the resolution: max-pooling down, nearest neighbours and a convolution up,
    skip connections concatenated. It starts as the identity. There are no biases and no normalisation, hence
    net(s x) = s net(x) for s > 0: the unit of an image does not matter, and a part of an image gives what the whole
    does there, up to the part's edge. Raises ValueError for widths or channels below 1.

    Source: the blocks are those of Morotti et al., arXiv 2404.16900, without batch normalisation; bias-free networks:
    Mohan, Kadkhodaie, Simoncelli, Fernandez-Granda, ICLR 2020.
    """

    def __init__(self, channels: int = 1, widths: tuple[int, ...] | list[int] = (64, 128, 256, 512)) -> None:
        super().__init__()
        if channels < 1 or not widths or min(widths) < 1:
            raise ValueError(f"ResidualUNet takes channels and one or more widths from 1 on; got {channels}, {widths}")
        self.channels, self.widths = channels, tuple(widths)
        first = [channels, *widths[:-1]]
        self.down = nn.ModuleList(_Block(n, m) for n, m in zip(first, widths, strict=True))
        pairs = list(pairwise(widths))
        self.rise = nn.ModuleList(_convolution(m, n) for n, m in pairs)
        self.up = nn.ModuleList(_Block(2 * n, n) for n, _ in pairs)
        self.head = nn.Conv2d(widths[0], channels, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(f"ResidualUNet takes (batch, {self.channels}, h, w); got {tuple(x.shape)}")
        h, w = x.shape[-2:]
        multiple = 2 ** (len(self.widths) - 1)
        z, skips = F.pad(x, (0, -w % multiple, 0, -h % multiple), mode="replicate"), []
        for level, block in enumerate(self.down):
            z = block(F.max_pool2d(z, 2) if level else z)
            skips.append(z)
        for level in reversed(range(len(self.up))):
            z = torch.relu(self.rise[level](F.interpolate(z, scale_factor=2, mode="nearest")))
            z = self.up[level](torch.cat([skips[level], z], 1))
        change: Tensor = self.head(z)
        return x + change[..., :h, :w]


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs)
        self.second = _convolution(outputs, outputs)
        self.mix = _convolution(inputs + outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.relu(self.second(torch.relu(self.first(x))))
        return torch.relu(self.mix(torch.cat([x, z], 1)))


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
