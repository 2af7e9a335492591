"""Compressed sensing by random convolution: a few random samples of an image scattered over all of the plane."""

import torch
from torch import Tensor

from invreg.core import Space
from invreg.operators.arguments import image_shape
from invreg.operators.semi_orthogonal import SemiOrthogonal
from invreg.operators.transfer import complex_like, to_image, to_spectrum


class RandomConvolution(SemiOrthogonal):
    """x -> S H D x, (*batch, h, w) -> (*batch, count): random signs D, a random all-pass filter H, random pixels S.

    H is periodic with a transfer function of modulus 1 and random phase, and S keeps `count` of the h w pixels, so
    A A^T = 1 and each datum is a weighted sum of all pixels. The unit is kept: noise of one standard deviation in the
    data is as large as in the image. All that is random is drawn from `generator`. The transfer function is kept in
    float64; move the operator to the precision of the images (`.to(dtype)`) to spare a conversion a call.
    Raises ValueError for a count that is not in 1 ... h w. Source: Romberg, SIAM J. Imaging Sci. 2 (2009).
    """

    signs: Tensor
    transfer: Tensor
    places: Tensor

    def __init__(self, shape: tuple[int, int], count: int, generator: torch.Generator) -> None:
        shape = image_shape(shape, "RandomConvolution")
        pixels = shape[0] * shape[1]
        if not 1 <= count <= pixels:
            raise ValueError(f"RandomConvolution takes 1 to {pixels} data of an image {shape}; got {count}")
        super().__init__(Space(shape), Space((count,)))
        device = generator.device
        signs = torch.randint(2, shape, generator=generator, device=device) * 2.0 - 1
        noise = torch.randn(shape, generator=generator, device=device, dtype=torch.float64)
        spectrum = torch.fft.rfft2(noise)  # of a real image: with its phases alone H stays real
        order = torch.randperm(pixels, generator=generator, device=device)
        self.register_buffer("signs", signs)
        self.register_buffer("transfer", torch.view_as_real(spectrum / spectrum.abs()))
        self.register_buffer("places", order[:count].sort().values)

    def _forward(self, x: Tensor) -> Tensor:
        spectrum = to_spectrum(x * self.signs.to(x.dtype), self.domain.shape)
        scattered = to_image(spectrum * complex_like(self.transfer, spectrum), self.domain.shape)
        return scattered.flatten(-2).index_select(-1, self.places)

    def _adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(*y.shape[:-1], self.domain.size).index_copy(-1, self.places, y)
        spectrum = to_spectrum(x.reshape(*y.shape[:-1], *self.domain.shape), self.domain.shape)
        gathered = to_image(spectrum * complex_like(self.transfer, spectrum).conj(), self.domain.shape)
        return gathered * self.signs.to(y.dtype)

    def peak(self) -> float:
        kernel = torch.fft.irfft2(torch.view_as_complex(self.transfer.double()), s=self.domain.shape)
        return float(kernel.abs().sum())
