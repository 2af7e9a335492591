"""The total variation family: plain and vectorial, Huber, space-variant and directional."""

import math
from functools import partial

import torch
from torch import Tensor

from invreg.core import Linear, Precomposed, ShapeError, positive_weight
from invreg.priors import tv_gpu
from invreg.priors.group_nuclear import GroupNuclear
from invreg.priors.jacobian import Array, Jacobian
from invreg.priors.norms import GroupHuber, GroupL1, magnitude

NORMS = ("isotropic", "anisotropic", "nuclear")
TOL, MAX_ITER = 1e-6, 20_000  # of the proximal map


class _Variation(Precomposed):
    """f(K x), a norm f of the differences K x of an image, with its dual step in one pass over memory.

    `prox` is `tv_denoise` to the relative gap `tol`, or to where round-off lets it fall no further.
    """

    f: GroupL1
    K: Linear

    def __init__(self, f: GroupL1, K: Linear, tol: float) -> None:
        super().__init__(f, K)
        if not 0 <= tol < math.inf:
            raise ValueError(f"{type(self).__name__} takes a relative gap tol >= 0 of its proximal map; got {tol}")
        self.tol = tol

    def __rmul__(self, weight: Tensor | float) -> "_Variation":
        return _Variation(positive_weight(self, weight) * self.f, self.K, self.tol)

    def prox(self, x: Tensor, step: Tensor | float) -> Tensor:
        from invreg.priors.denoise import tv_denoise

        return tv_denoise(x, step, prior=self, tol=self.tol, max_iter=MAX_ITER)[0]

    def ascend(self, u: Tensor, x: Tensor, step: Tensor) -> Tensor:
        recorded = torch.is_grad_enabled() and (x.requires_grad or u.requires_grad)
        K = None if recorded else self.kernels(x)
        if K is None:
            if not recorded and isinstance(self.K, Jacobian) and tv_gpu.fits(self.f, self.K, x):
                return tv_gpu.ascend(self.f, self.K, u, x, step)
            return super().ascend(u, x, step)
        from invreg.priors.kernels_cpu import ascend

        batch = K.domain.batch(x)
        out = torch.empty_like(u, memory_format=torch.contiguous_format)
        maps, inverse, soft = self.radii(K, batch, x.dtype), K.inverses(x), self.soft
        steps = step.expand(batch).reshape(-1).tolist()
        items = zip(K.images(x), K.fields(u), maps, steps, K.fields(out), strict=True)
        K.in_bands(
            [
                partial(ascend, image, dual, inverse, radius, s, s * soft, self.isotropic, to)
                for image, dual, radius, s, to in items
            ]
        )
        return out

    def kernels(self, x: Tensor) -> Jacobian | None:
        """The operator K where the kernels of the CPU take it with this f and an x of this kind, else None."""
        own = type(self.K) is Jacobian and not isinstance(self.f, GroupNuclear)
        return self.K if own and isinstance(self.K, Jacobian) and self.K.fused(x) else None

    @property
    def soft(self) -> float:
        return self.f.alpha if isinstance(self.f, GroupHuber) else 0.0

    @property
    def isotropic(self) -> bool:
        """One length over all axes, not one along each."""
        return isinstance(self.K, Jacobian) and self.f.ndim == len(self.K.shape) + 1

    def radii(self, K: Jacobian, batch: tuple[int, ...], dtype: torch.dtype) -> Array:
        """The weights as the kernels take them, (item, depth, h, w) or (item, 1, 1, 1)."""
        w = torch.ones((1,) * (self.f.ndim - 1)) if self.f.weights is None else self.f.weights
        lead, trail = w.shape[: w.ndim + 1 - self.f.ndim], w.shape[w.ndim - len(K.shape) :]
        w = w.to(dtype).reshape(*lead, *trail)  # without the axis of ones of an anisotropic norm
        flat = math.prod(trail) == 1
        shape, box = ((1,) * len(trail), (1, 1, 1)) if flat else (K.shape, K.box)
        try:
            return w.expand(*batch, *shape).reshape(-1, *box).contiguous().numpy()
        except RuntimeError:
            raise ShapeError(
                f"total variation with weights {tuple(w.shape)} takes images of the same batch and size; "
                f"got {(*batch, *K.shape)}"
            ) from None


def _norm(name: str, huber: float, weights: Tensor | None, axes: int, channels: int | None, complex: bool) -> GroupL1:
    """The norm of a field; of an anisotropic and a nuclear one the field has an axis for the differences."""
    if name not in NORMS:
        raise ValueError(f"total variation takes norm {', '.join(map(repr, NORMS))}; got {name!r}")
    if not 0 <= huber < math.inf:
        raise ValueError(f"total variation takes a finite huber >= 0; got {huber}")
    if name != "isotropic" and weights is not None:
        weights = weights.unsqueeze(-axes - 1)
    if name == "nuclear":
        if axes != 2 or channels is None or huber or complex:
            raise ValueError(
                'norm "nuclear" takes real images (*batch, channel, h, w) with channels=..., and no huber; got '
                f"{axes} axes, channels={channels}, huber={huber}, complex={complex}"
            )
        return GroupNuclear(weights)
    ndim = axes + 1 if name == "isotropic" else axes + 2
    return GroupHuber(huber, weights, ndim=ndim) if huber else GroupL1(weights, ndim=ndim)


class TV(_Variation):
    """Total variation sum_i |(D x)_i| of images (*batch, h, w), signals, volumes or films: (*batch, *shape).

    D are the forward differences, Neumann boundary, divided by `spacing`: one for all axes or one for each, so that
    (dt, 1, 1) weighs time by 1 / dt; with 1 the unit is that of the image. `norm`: "isotropic" |.|_2 over the axes,
    "anisotropic" the sum of |.| along each. `channels`: of images (*batch, channels, *shape), such as colours or
    energies, |.|_2 taken over the channels too; with "nuclear", for two axes, the nuclear norm of their Jacobian.
    `huber` alpha >= 0, in the unit of D x: lengths below it count |.|^2 / (2 alpha), which smooths instead of making
    steps, those above |.| - alpha / 2. `complex`: of complex images, real and imaginary part being two channels.
    `tol`: the relative gap of the proximal map, for which see `tv_denoise`. Raises ValueError on other arguments.

    Sources: Rudin, Osher, Fatemi (1992); channels: Bresson and Chan (2008); nuclear: Lefkimmiatis et al. (2015).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        spacing: float | tuple[float, ...] = 1.0,
        *,
        norm: str = "isotropic",
        huber: float = 0.0,
        channels: int | None = None,
        complex: bool = False,
        tol: float = TOL,
    ) -> None:
        f = _norm(norm, huber, None, len(shape), channels, complex)
        super().__init__(f, Jacobian(shape, spacing, channels, apart=norm != "isotropic", complex=complex), tol)


class SpaceVariantTV(_Variation):
    """TV_w(x) = sum_i w_i |(D x)_i| with a map of weights w >= 0, kept fixed, shared by the channels.

    `weights` (*batch, *shape), of which the last `ndim` axes are the image's: 3 for volumes and films. They are small
    on the edges of a pre-estimate and 1 where it is flat, so that edges are not flattened and the problem stays convex.
    The other arguments are those of TV. Raises ValueError for weights that are negative or not finite.
    Source: Morotti et al., arXiv 2404.16900.
    """

    def __init__(
        self,
        weights: Tensor,
        spacing: float | tuple[float, ...] = 1.0,
        *,
        ndim: int = 2,
        norm: str = "isotropic",
        huber: float = 0.0,
        channels: int | None = None,
        tol: float = TOL,
    ) -> None:
        shape = _trailing(weights, ndim, "SpaceVariantTV takes weights")
        f = _norm(norm, huber, weights, ndim, channels, False)
        super().__init__(f, Jacobian(shape, spacing, channels, apart=norm != "isotropic"), tol)

    @classmethod
    def from_image(
        cls,
        x0: Tensor,
        eta: float,
        p: float = 0.0,
        spacing: float | tuple[float, ...] = 1.0,
        *,
        ndim: int = 2,
        channels: int | None = None,
    ) -> "SpaceVariantTV":
        """Weights (eta / sqrt(eta^2 + |D x0|^2))^(1 - p) of a pre-estimate x0 (*batch, [channels,] *shape).

        `eta` > 0, in the unit of D x0, is the size of a step between pixels that counts as an edge: it must
        lie above the steps of noise and streaks in x0, or these are protected as if they were edges (which is
        worse than plain TV). p in [0, 1]; p = 1 is plain TV. Raises ValueError otherwise.
        """
        if not eta > 0 or not 0 <= p <= 1:
            raise ValueError(f"SpaceVariantTV.from_image takes eta > 0 and 0 <= p <= 1; got eta={eta}, p={p}")
        shape = _trailing(x0, ndim, "SpaceVariantTV.from_image takes a pre-estimate")
        size = magnitude(Jacobian(shape, spacing, channels)(x0), ndim + 1)
        weights = (eta / torch.hypot(size, torch.full_like(size, eta))) ** (1 - p)
        return cls(weights, spacing, ndim=ndim, channels=channels)


class DirectionalTV(_Variation):
    """dTV(x) = sum_i |(I - xi_i xi_i^T) (D x)_i|_2: differences along the vectors xi_i cost less, or nothing.

    `directions` xi (*batch, axes, *shape) with |xi_i|_2 <= 1, of which the last `ndim` axes are the image's: across the
    edges of an image of the same object, of another contrast, whose parallel edges so become free (parallel level
    sets). Where xi is 0 it is total variation. The other arguments are those of TV; all channels have the same
    directions. Raises ValueError for directions longer than 1 or not finite.
    Source: Ehrhardt and Betcke, SIAM J. Imaging Sci. 9 (2016).
    """

    def __init__(
        self,
        directions: Tensor,
        spacing: float | tuple[float, ...] = 1.0,
        *,
        ndim: int = 2,
        huber: float = 0.0,
        channels: int | None = None,
        tol: float = TOL,
    ) -> None:
        shape = _trailing(directions, ndim, "DirectionalTV takes directions")
        if directions.ndim <= ndim or directions.shape[-ndim - 1] != ndim:
            raise ValueError(
                f"DirectionalTV takes directions (*batch, {ndim}, *shape), ndim={ndim}; got {tuple(directions.shape)}"
            )
        if not bool((magnitude(directions, ndim + 1) <= 1 + 1e-5).all()):
            raise ValueError("DirectionalTV takes directions of lengths up to 1; got some longer or not finite")
        f = _norm("isotropic", huber, None, ndim, channels, False)
        super().__init__(f, _Directed(directions, shape, spacing, channels), tol)

    @classmethod
    def from_image(
        cls,
        reference: Tensor,
        eta: float,
        spacing: float | tuple[float, ...] = 1.0,
        *,
        ndim: int = 2,
        huber: float = 0.0,
        channels: int | None = None,
    ) -> "DirectionalTV":
        """Directions D v / sqrt(eta^2 + |D v|^2) of a reference v (*batch, *shape).

        `eta` > 0, in the unit of D v, is the size of a step between its pixels that counts as an edge: above those of
        its noise. Raises ValueError otherwise.
        """
        if not 0 < eta < math.inf:
            raise ValueError(f"DirectionalTV.from_image takes a finite eta > 0; got {eta}")
        shape = _trailing(reference, ndim, "DirectionalTV.from_image takes a reference")
        slope = Jacobian(shape, spacing)(reference)
        size = magnitude(slope, ndim + 1)
        directions = slope / torch.hypot(size, torch.full_like(size, eta)).unsqueeze(-ndim - 1)
        return cls(directions, spacing, ndim=ndim, huber=huber, channels=channels)


class _Directed(Jacobian):
    """Differences less their parts along directions xi: (I - xi xi^T) D, the same for each channel."""

    directions: Tensor

    def __init__(
        self, directions: Tensor, shape: tuple[int, ...], spacing: float | tuple[float, ...], channels: int | None
    ) -> None:
        super().__init__(shape, spacing, channels)
        self.register_buffer("directions", directions)

    def _forward(self, x: Tensor) -> Tensor:
        return self._across(super()._forward(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return super()._adjoint(self._across(y))

    def _across(self, u: Tensor) -> Tensor:
        axes = len(self.shape)
        field = u.reshape(*self.codomain.batch(u), self.channels, axes, *self.shape)
        xi = self.directions.to(u.dtype).unsqueeze(-axes - 2)
        along = (xi * field).sum(-axes - 1, keepdim=True)
        return (field - xi * along).flatten(-axes - 2, -axes - 1)


def _trailing(x: Tensor, ndim: int, takes: str) -> tuple[int, ...]:
    if not 1 <= ndim <= x.ndim:
        raise ValueError(f"{takes} (*batch, *shape) of ndim={ndim} trailing axes, from 1 on; got {tuple(x.shape)}")
    return tuple(x.shape[x.ndim - ndim :])
