"""A convex network on patches, averaged such that the gradient stays a proximal map on images of any size."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from invreg.core import ShapeError
from invreg.priors.icnn import Potential


class PatchPotential(Potential):
    """sum_i psi(P_i x) / c over all square patches P_i x, `stride` apart, of images x (item, channel, h, w).

    Its gradient is the average of those of the patches, which is a proximal map only if each pixel lies in as many
    patches as any other, c = (patch / stride)^2: so patches reach beyond the image, where there are zeros, the
    lower end of the range. Reflections there would put pixels near the border into more patches than others, and to
    divide by how many there are leaves no gradient of anything. `stride` must divide `patch`, which is that of psi
    where its size is fixed; images must be no smaller than a patch. `chunk` patches go through psi at a time, and only
    their activations are held. The modulus is that of psi. Raises ValueError for other sizes, `ShapeError` for others
    of an image.
    """

    def __init__(self, psi: Potential, patch: int, stride: int, chunk: int = 64) -> None:
        super().__init__()
        self.psi, self.patch, self.stride, self.chunk = psi, patch, stride, chunk
        if not 1 <= stride <= patch or patch % stride or chunk < 1:
            raise ValueError(
                f"PatchPotential takes a stride that divides the patch and chunk >= 1; got patch {patch}, "
                f"stride {stride}, chunk {chunk}"
            )
        if len(self.psi.shape) != 3 or any(n not in (None, patch) for n in self.psi.shape[1:]):
            raise ValueError(f"PatchPotential with patch {patch} takes a psi of that size; got {self.psi.shape}")
        self.shape, self.modulus = (self.psi.shape[0], None, None), self.psi.modulus

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < self.patch:
            raise ShapeError(
                f"patches of {self.patch} x {self.patch} take images no smaller; got {tuple(x.shape)}: pad the image"
            )
        beyond = self.patch - self.stride
        # the last patches end where the image does, or up to a stride later
        ends = [(n - 1 + beyond) // self.stride * self.stride + self.patch - beyond - n for n in x.shape[-2:]]
        wide = F.pad(x, (beyond, ends[1], beyond, ends[0]))
        windows = wide.unfold(2, self.patch, self.stride).unfold(3, self.patch, self.stride)
        patches = windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        parts = [patches[at : at + self.chunk] for at in range(0, len(patches), self.chunk)]
        held = len(parts) == 1 or not torch.is_grad_enabled()
        values = [
            self.psi(part) if held else checkpoint(self.psi, part, use_reentrant=False, preserve_rng_state=False)
            for part in parts
        ]
        return torch.cat(values).reshape(len(x), -1).sum(1) / (self.patch // self.stride) ** 2
