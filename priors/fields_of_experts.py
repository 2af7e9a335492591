"""Fields of experts: learned filters, each with a smoothed absolute value of its own."""

import torch
from torch import Tensor

from invreg.core import Functional, total


class FieldsOfExperts(Functional):
    """sum_k w_k sum_i (sqrt((c_k * x)_i^2 + nu_k^2) - nu_k) of images (*batch, h, w), convex.

    filters c (count, size, size), size odd, applied as correlations with zeros outside the image; weights w > 0 and
    smoothings nu > 0 (count,). All may be tensors that autograd follows; `from_theta` makes them from one vector of
    parameters, 48 x (2 + 49) of them for 48 filters of 7 x 7. Raises ValueError for shapes and values outside of these.
    Sources: Roth and Black, Int. J. Comput. Vis. 82, 205, 2009; Chen, Ranftl and Pock, IEEE Trans. Image Process. 23,
    1060, 2014, for the bilevel learning of it.
    """

    filters: Tensor
    weights: Tensor
    smoothing: Tensor

    def __init__(self, filters: Tensor, weights: Tensor, smoothing: Tensor) -> None:
        super().__init__()
        if filters.ndim != 3 or filters.shape[1] != filters.shape[2] or filters.shape[1] % 2 == 0:
            raise ValueError(f"FieldsOfExperts takes filters (count, size, size), size odd; got {tuple(filters.shape)}")
        for name, value in (("weights", weights), ("smoothing", smoothing)):
            if value.shape != filters.shape[:1] or not bool(((value > 0) & value.isfinite()).all()):
                raise ValueError(f"FieldsOfExperts takes {len(filters)} finite {name} > 0; got {tuple(value.shape)}")
            self.register_buffer(name, value)
        self.register_buffer("filters", filters)

    @classmethod
    def from_theta(cls, theta: Tensor, count: int = 48, size: int = 7) -> "FieldsOfExperts":
        """From log w, log nu and the filters, theta (count (2 + size^2),)."""
        if theta.shape != (count * (2 + size**2),):
            raise ValueError(
                f"{count} filters of {size} x {size} take theta ({count * (2 + size**2)},); got {tuple(theta.shape)}"
            )
        weights, smoothing, filters = theta[:count], theta[count : 2 * count], theta[2 * count :]
        return cls(filters.reshape(count, size, size), weights.exp(), smoothing.exp())

    def forward(self, x: Tensor) -> Tensor:
        r, nu = self._responses(x), self.smoothing.to(x.dtype)[:, None, None]
        return total(self.weights.to(x.dtype)[:, None, None] * ((r.square() + nu.square()).sqrt() - nu), 3)

    def grad(self, x: Tensor) -> Tensor:
        r, nu = self._responses(x), self.smoothing.to(x.dtype)[:, None, None]
        slope = self.weights.to(x.dtype)[:, None, None] * r / (r.square() + nu.square()).sqrt()
        flat = slope.reshape(-1, *slope.shape[-3:])
        kernels, pad = self.filters.to(x.dtype)[:, None], self.filters.shape[-1] // 2
        return torch.nn.functional.conv_transpose2d(flat, kernels, padding=pad).reshape(x.shape)

    def lipschitz(self) -> float:
        """By |c_k * x| <= |c_k|_1 |x|, added over the filters."""
        norms = self.filters.abs().sum((1, 2)).square()
        return float((self.weights * norms / self.smoothing).sum())

    def _responses(self, x: Tensor) -> Tensor:
        """(*batch, count, h, w)."""
        kernels, pad = self.filters.to(x.dtype)[:, None], self.filters.shape[-1] // 2
        found = torch.nn.functional.conv2d(x.reshape(-1, 1, *x.shape[-2:]), kernels, padding=pad)
        return found.reshape(*x.shape[:-2], *found.shape[1:])
