"""Sampling of the Fourier transform, as in magnetic resonance imaging on a Cartesian grid."""

import math

import torch
from torch import Tensor

from invreg.core import Linear, Space


class FourierSampling(Linear):
    """x -> M F x of complex images (*batch, *shape): a mask (*shape) times the unitary Fourier transform of all axes.

    With complex `sensitivities` (coils, *shape), x -> M F (s_c x) for each coil c: (*batch, coils, *shape). The mask is
    boolean or of real weights; where it is 0 so is the measurement. `centred`: the origin of the image and frequency
    0 lie at index n // 2 of each axis, as in fastMRI and BART; at index 0 otherwise, as torch.fft has it. The unit is
    kept. What it holds has the precision of the sensitivities, else of the mask, else float32.
    Raises ValueError where mask and sensitivities are not that.
    """

    sampling: Tensor
    image: Tensor | None

    def __init__(self, mask: Tensor, sensitivities: Tensor | None = None, *, centred: bool = True) -> None:
        mask = torch.as_tensor(mask)
        if mask.is_complex() or not mask.numel() or not mask.ndim or not bool(mask.isfinite().all()):
            found = f"{mask.dtype} {tuple(mask.shape)}"
            raise ValueError(f"FourierSampling takes a boolean or finite real mask (*shape); got {found}")
        shape = tuple(mask.shape)
        _check_sensitivities(sensitivities, shape)
        coils = () if sensitivities is None else (len(sensitivities),)
        super().__init__(Space(shape, complex=True), Space((*coils, *shape), complex=True))
        self.axes, self.coils = tuple(range(-mask.ndim, 0)), len(coils) == 1
        held = mask if sensitivities is None else sensitivities.real
        dtype = held.dtype if held.is_floating_point() else torch.float32
        sampling, image = mask.to(torch.complex128), sensitivities
        if centred:  # the shifts of both origins as phases: no pixel is moved
            phases, constant = _shifts(shape, mask.device)
            sampling = sampling * phases * constant
            image = phases if sensitivities is None else sensitivities * phases
        # as pairs of reals: `.to(dtype)` of a module would drop the imaginary part
        self.register_buffer("sampling", torch.view_as_real(sampling).to(dtype))
        self.register_buffer("image", None if image is None else torch.view_as_real(image).to(dtype))

    def _forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(-1 - len(self.axes)) if self.coils else x
        if self.image is not None:
            x = x * torch.view_as_complex(self.image).to(x.dtype)
        return _transform(x, self.axes).mul_(torch.view_as_complex(self.sampling).to(x.dtype))

    def _adjoint(self, y: Tensor) -> Tensor:
        x = _transform(y * torch.view_as_complex(self.sampling).to(y.dtype).conj(), self.axes, inverse=True)
        if self.image is not None:
            x = x.mul_(torch.view_as_complex(self.image).to(y.dtype).conj())
        return x.sum(-1 - len(self.axes)) if self.coils else x

    def norm(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> float:
        """Closed form for a single coil: the largest modulus of the mask."""
        if self.coils:
            return super().norm(device, dtype)
        return float(torch.linalg.vector_norm(self.sampling.double(), dim=-1).max())


def random_lines(
    shape: tuple[int, int], acceleration: float, generator: torch.Generator, *, centre: float = 0.08
) -> Tensor:
    """A boolean mask (h, w) of columns: the middle `centre` of them in [0, 1] and others at random, w / acceleration.

    For a centred transform; `torch.fft.ifftshift` of it for one that is not. Raises ValueError on an acceleration < 1
    or one at which the centre leaves no room.
    """
    width = shape[1]
    count, middle = round(width / acceleration) if acceleration >= 1 else 0, round(centre * width)
    if not 1 <= count <= width or not 0 <= middle <= count:
        raise ValueError(
            f"random_lines takes an acceleration from 1 on and a centre of at most 1 / acceleration of the {width} "
            f"columns; got {acceleration} and {centre}"
        )
    first = width // 2 - middle // 2
    others = torch.cat([torch.arange(first), torch.arange(first + middle, width)]).to(generator.device)
    order = torch.randperm(len(others), generator=generator, device=generator.device)
    line = torch.zeros(width, dtype=torch.bool, device=generator.device)
    line[first : first + middle] = True
    line[others[order[: count - middle]]] = True
    return line.expand(shape).clone()


def _check_sensitivities(sensitivities: Tensor | None, shape: tuple[int, ...]) -> None:
    if sensitivities is None:
        return
    fits = sensitivities.is_complex() and tuple(sensitivities.shape[1:]) == shape and len(sensitivities) > 0
    if not fits or not bool(sensitivities.isfinite().all()):
        found = f"{sensitivities.dtype} {tuple(sensitivities.shape)}"
        raise ValueError(f"FourierSampling takes finite complex sensitivities (coils, *{shape}); got {found}")


def _shifts(shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, complex]:
    """exp(-2 pi i (j - c)(k - c) / n) = constant phase[j] phase[k] exp(-2 pi i j k / n), with c = n // 2, by axis."""
    phases, turns = torch.ones(shape, dtype=torch.complex128, device=device), 0.0
    for axis, n in zip(range(-len(shape), 0), shape, strict=True):
        angle = 2 * math.pi * ((torch.arange(n, device=device) * (n // 2)) % n).double() / n
        phases = phases * torch.polar(torch.ones_like(angle), angle).reshape(-1, *(1,) * (-1 - axis))
        turns -= (n // 2) ** 2 % n / n
    return phases, complex(math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns))


def _transform(x: Tensor, axes: tuple[int, ...], inverse: bool = False) -> Tensor:
    if not x.numel():  # refused by the FFT
        return x.clone()
    return torch.fft.ifftn(x, dim=axes, norm="ortho") if inverse else torch.fft.fftn(x, dim=axes, norm="ortho")
