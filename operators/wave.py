"""Acoustic waves in two dimensions: from the velocity of a medium to the traces that receivers record."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from invreg.core import Operator, Space
from invreg.operators import wave_steps
from invreg.operators.arguments import image_shape

COURANT = math.sqrt(3 / 8)  # fourth-order differences: the largest stable c dt / spacing
REFLECTION = 1e-3  # by a layer, of waves that meet it head on, before discretisation


def ricker(frequency: float, dt: float, steps: int, delay: float | None = None) -> Tensor:
    """(1 - 2 q) exp(-q), q = (pi frequency (t - delay))^2, at t = 0, dt, ...: (steps,), float64.

    `frequency` in Hz is that of the greatest amplitude; `delay` in s, 1.5 / frequency by default.
    """
    t = torch.arange(steps, dtype=torch.float64) * dt - (1.5 / frequency if delay is None else delay)
    q = (math.pi * frequency * t) ** 2
    return (1 - 2 * q) * torch.exp(-q)


class AcousticWave2D(Operator):
    """c -> traces of u, (1/c^2) u_tt = Laplace(u) + s(t) delta(x - source), from rest; open on all sides.

    Velocities c (*batch, h, w) in m/s on a grid of `spacing` m; traces (*batch, shot, receiver, time) of u at
    t = 0, dt, ... (s), as many as the `wavelet` s (steps,) has values. In a uniform medium u is s convolved with
    1 / (2 pi sqrt(t^2 - r^2/c^2)), t > r/c. `sources` (shot, 2) and `receivers` (receiver, 2) are (row, column) of
    nodes. The velocity is the unknown, since bounds and start models are velocities.

    Differences are of second order in time and fourth in space: take ten nodes for the shortest wavelength, and
    c dt / spacing at most sqrt(3/8). Beyond the grid the medium goes on as at its edge, for `absorbing` nodes of a
    convolutional perfectly matched layer (Pasalic and McGarry, SEG 2010).

    `vjp` and forward-mode derivatives are exact for the discrete steps; there are no second derivatives. The vjp
    recomputes the wave fields in segments, of which it keeps one of at most 256 MiB a shot, and costs as much as three
    or four forwards. On the CPU every thread computes a shot at a time in numba; on other devices torch computes all.
    Raises ValueError for senseless arguments, and for velocities that are not finite or not stable.
    """

    wavelet: Tensor
    sources: Tensor
    receivers: Tensor
    columns: Tensor
    rows: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        spacing: float,
        dt: float,
        wavelet: Tensor,
        sources: Any,
        receivers: Any,
        absorbing: int = 12,
    ) -> None:
        shape = image_shape(shape, "AcousticWave2D")
        if min(shape) < 4:
            raise ValueError(f"AcousticWave2D takes a grid of at least 4 x 4 nodes; got {shape}")
        for name, value in (("spacing", spacing), ("dt", dt)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"AcousticWave2D takes a positive {name}; got {value}")
        if int(absorbing) != absorbing or absorbing < 1:
            raise ValueError(f"AcousticWave2D takes one or more absorbing nodes, a whole number; got {absorbing}")
        wavelet = torch.as_tensor(wavelet)
        if wavelet.ndim != 1 or len(wavelet) < 2 or not wavelet.is_floating_point() or not wavelet.isfinite().all():
            raise ValueError(
                "AcousticWave2D takes a wavelet of two or more finite real values, one a time step; "
                f"got {wavelet.dtype} {tuple(wavelet.shape)}"
            )
        sources, receivers = _nodes(sources, "sources", shape), _nodes(receivers, "receivers", shape)
        super().__init__(Space(shape), Space((len(sources), len(receivers), len(wavelet))))
        self.spacing, self.dt, self.absorbing = float(spacing), float(dt), int(absorbing)
        self.register_buffer("wavelet", wavelet)
        self.register_buffer("sources", sources)
        self.register_buffer("receivers", receivers)
        self.register_buffer("columns", _layers(shape[1], self.absorbing, wavelet))
        self.register_buffer("rows", _layers(shape[0], self.absorbing, wavelet))

    @property
    def fastest(self) -> float:
        """The greatest velocity (m/s) for which the steps are stable."""
        return COURANT * self.spacing / self.dt

    def _forward(self, x: Tensor) -> Tensor:
        greatest = float(x.detach().abs().max()) if x.numel() else 0.0
        if not greatest <= self.fastest:
            raise ValueError(
                f"AcousticWave2D with a spacing of {self.spacing:g} m and dt of {self.dt:g} s is stable for finite "
                f"velocities up to {self.fastest:.5g} m/s; the greatest is {greatest:.5g}: take a smaller dt, or bound "
                "the velocity"
            )
        width = self.absorbing
        j, i = (torch.arange(-width, n + width, device=x.device).clamp(0, n - 1) for n in self.domain.shape[::-1])
        m = (x * (self.dt / self.spacing)).square().index_select(-2, i).index_select(-1, j)
        traces = _Traces.apply(m.reshape(math.prod(self.domain.batch(x)), len(i), len(j)), self)
        return traces.reshape(*self.domain.batch(x), *self.codomain.shape)

    def setup(self) -> wave_steps.Setup:
        sources, receivers = self.sources + self.absorbing, self.receivers + self.absorbing
        return wave_steps.Setup(self.wavelet, sources, receivers, self.absorbing, self.columns, self.rows)


def _nodes(nodes: Any, name: str, shape: tuple[int, int]) -> Tensor:
    nodes = torch.as_tensor(nodes)
    ok = nodes.ndim == 2 and len(nodes) > 0 and nodes.shape[1] == 2 and not nodes.is_floating_point()
    if not ok or bool((nodes < 0).any() | (nodes >= torch.tensor(shape)).any()):
        raise ValueError(
            f"AcousticWave2D takes {name} (n, 2), whole numbers (row, column) within {shape}; "
            f"got {nodes.tolist() if nodes.numel() < 10 else (nodes.dtype, tuple(nodes.shape))}"
        )
    return nodes.long()


def _layers(n: int, width: int, wavelet: Tensor) -> Tensor:
    """a and b of the recursive convolution, (2, width + n + width): damping d^2, d the depth, frequency shift 1 - d.

    The damping is that for waves of a Courant number of a half, the shift pi times the mean frequency of the wavelet.
    """
    position = torch.arange(n + 2 * width, dtype=torch.float64)
    outside = torch.maximum(width - position, position - (width + n - 1)).clamp(min=0)
    depth = outside / width
    power = torch.fft.rfft(wavelet.double()).abs().square()
    frequency = torch.fft.rfftfreq(len(wavelet), dtype=torch.float64)
    mean = float((power * frequency).sum() / power.sum().clamp(min=1e-300))
    damping = -1.5 * math.log(REFLECTION) * 0.5 / width * depth**2
    shift = math.pi * mean * (1 - depth)
    b = torch.where(depth > 0, torch.exp(-damping - shift), 0.0)
    a = torch.where(depth > 0, damping / (damping + shift), 0.0) * (b - 1)
    return torch.stack([a, b]).to(wavelet.dtype)


class _Traces(torch.autograd.Function):
    """m -> traces, with its derivative and the transpose of that."""

    @staticmethod
    def forward(m: Tensor, A: AcousticWave2D) -> Tensor:
        return wave_steps.traces(m.detach(), A.setup())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        m, ctx.A = inputs
        ctx.save_for_backward(m)
        ctx.save_for_forward(m)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None]:
        return _Linearised.apply(ctx.saved_tensors[0], v, ctx.A, True), None

    @staticmethod
    def jvp(ctx: Any, dm: Tensor, *_: None) -> Tensor:
        return _Linearised.apply(ctx.saved_tensors[0], dm, ctx.A, False)


class _Linearised(torch.autograd.Function):
    """The derivative at m or its transpose on `t`, each the backward pass of the other; none with respect to m."""

    @staticmethod
    def forward(m: Tensor, t: Tensor, A: AcousticWave2D, transposed: bool) -> Tensor:
        act = wave_steps.transposed if transposed else wave_steps.derivative
        return act(m.detach(), t.detach(), A.setup())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        m, _, ctx.A, ctx.transposed = inputs
        ctx.save_for_backward(m)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[None, Tensor, None, None]:
        if ctx.needs_input_grad[0]:
            raise NotImplementedError("AcousticWave2D has no second derivatives; take solvers.GaussNewton or LBFGS")
        return None, _Linearised.apply(ctx.saved_tensors[0], v, ctx.A, not ctx.transposed), None, None
