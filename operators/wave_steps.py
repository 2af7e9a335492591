"""The time steps of the acoustic wave equation and their derivative, shot by shot in numba or all at once in torch.

The discretisation is that of `kernels_wave`. m is (batch, rows, columns), layers included; traces (batch, shot,
receiver, time).
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from invreg.operators.tomography.threads import run

HALO = 2
MEMORY = 2**28  # bytes of wave fields that a shot may keep for its gradient


class Setup(NamedTuple):
    """What stays the same from one medium to another; a and b (2, n) of the layers along columns and along rows."""

    wavelet: Tensor
    sources: Tensor
    receivers: Tensor
    width: int
    columns: Tensor
    rows: Tensor

    def length(self, m: Tensor) -> int:
        """Steps in a segment of the gradient: what it keeps at once."""
        return max(1, min(len(self.wavelet) - 1, MEMORY // (m.shape[-2] * m.shape[-1] * m.element_size())))


def traces(m: Tensor, s: Setup) -> Tensor:
    if m.device.type != "cpu":
        return Fields(m, s).run()
    return _on_cpu("run", m, s)


def derivative(m: Tensor, dm: Tensor, s: Setup) -> Tensor:
    """The derivative of the traces along dm."""
    if m.device.type != "cpu":
        return Fields(m, s).run(dm)
    return _on_cpu("run_derivative", m, s, dm)


def transposed(m: Tensor, v: Tensor, s: Setup) -> Tensor:
    """The transpose of the derivative, applied to traces v."""
    if m.device.type != "cpu":
        return Fields(m, s).run_transposed(v)
    return _on_cpu("run_transposed", m, s, v)


def _on_cpu(kind: str, m: Tensor, s: Setup, other: Tensor | None = None) -> Tensor:
    from invreg.operators import kernels_wave

    def in_halo(t: Tensor) -> Any:
        return torch.nn.functional.pad(t, (HALO,) * 4).numpy()

    batch, shots, steps = len(m), len(s.sources), len(s.wavelet)
    back = kind == "run_transposed"
    shape = (m.shape[-2] + 2 * HALO, m.shape[-1] + 2 * HALO) if back else (len(s.receivers), steps)
    out = m.new_empty(batch, shots, *shape)
    media, wavelet, receivers = in_halo(m), s.wavelet.to(m.dtype).numpy(), (s.receivers + HALO).numpy()
    profiles = [t.to(m.dtype).expand(m.shape[-2:]) for t in (*s.columns, *s.rows[..., None])]
    layers = in_halo(torch.stack(profiles))
    others = None if other is None else other.contiguous().numpy() if back else in_halo(other)
    kernel, tasks = getattr(kernels_wave, kind), []
    for i in range(batch):
        for k, (row, column) in enumerate((s.sources + HALO).tolist()):
            arguments = [media[i], wavelet, row, column, layers, s.width, receivers]
            if others is not None:
                arguments += [others[i, k], s.length(m)] if back else [others[i]]
            tasks.append(partial(kernel, *arguments, out[i, k].numpy()))
    run(tasks)
    return out.sum(1)[:, HALO:-HALO, HALO:-HALO] if back else out


def _first(u: Tensor, axis: int) -> Tensor:
    f = torch.nn.functional.pad(u, (2, 2) if axis == -1 else (0, 0, 2, 2))
    n = u.shape[axis]
    before, after = f.narrow(axis, 1, n), f.narrow(axis, 3, n)
    return 2 / 3 * (after - before) - (f.narrow(axis, 4, n) - f.narrow(axis, 0, n)) / 12


def _second(u: Tensor, axis: int) -> Tensor:
    f = torch.nn.functional.pad(u, (2, 2) if axis == -1 else (0, 0, 2, 2))
    n = u.shape[axis]
    near, far = f.narrow(axis, 1, n) + f.narrow(axis, 3, n), f.narrow(axis, 0, n) + f.narrow(axis, 4, n)
    return 4 / 3 * near - far / 12 - 5 / 2 * u


class _State(NamedTuple):
    """u[n - 1], u[n] (or in reverse u[n + 1], u[n]) and the memory (p, z) of the layers along each axis."""

    before: Tensor
    now: Tensor
    memory: tuple[tuple[Tensor, Tensor], ...]


class Fields:
    """All shots of all media side by side, (batch, shot, rows, columns), on any device."""

    def __init__(self, m: Tensor, s: Setup) -> None:
        self.m, self.s = m[:, None], s
        self.wavelet = s.wavelet.to(m.dtype)
        a, b = s.columns.to(m.dtype)
        c, d = s.rows.to(m.dtype)[..., None]
        self.layers = ((-1, a, b), (-2, c, d))
        self.shots = torch.arange(len(s.sources), device=m.device)

    def rest(self) -> _State:
        u = self.m.new_zeros(len(self.m), len(self.s.sources), *self.m.shape[-2:])
        return _State(u, u, ((u, u), (u, u)))

    def laplacian(self, state: _State) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
        w, memory = torch.zeros_like(state.now), []
        for (axis, a, b), (p, z) in zip(self.layers, state.memory, strict=True):
            p = b * p + a * _first(state.now, axis)
            curve = _second(state.now, axis) + _first(p, axis)
            z = b * z + a * curve
            w = w + curve + z
            memory.append((p, z))
        return w, tuple(memory)

    def step(self, state: _State, n: int) -> tuple[_State, Tensor]:
        w, memory = self.laplacian(state)
        w[:, self.shots, self.s.sources[:, 0], self.s.sources[:, 1]] += self.wavelet[n]
        return _State(state.now, 2 * state.now - state.before + self.m * w, memory), w

    def record(self, u: Tensor) -> Tensor:
        return u[:, :, self.s.receivers[:, 0], self.s.receivers[:, 1]]

    def run(self, dm: Tensor | None = None) -> Tensor:
        state = moved = self.rest()
        recorded = [self.record(state.now)]
        for n in range(len(self.wavelet) - 1):
            state, w = self.step(state, n)
            if dm is not None:
                dw, memory = self.laplacian(moved)
                ahead = 2 * moved.now - moved.before + self.m * dw + dm[:, None] * w
                moved = _State(moved.now, ahead, memory)
            recorded.append(self.record(state.now if dm is None else moved.now))
        return torch.stack(recorded, -1)

    def run_transposed(self, v: Tensor) -> Tensor:
        steps, length = len(self.wavelet) - 1, self.s.length(self.m)
        state = self.rest()
        kept = [state]
        for n in range((steps - 1) // length * length):
            state, _ = self.step(state, n)
            if (n + 1) % length == 0:
                kept.append(state)
        gradient = torch.zeros_like(self.m)
        adjoint = self.rest()
        adjoint = adjoint._replace(now=self.inject(adjoint.now, v[..., steps]))
        for start in range((steps - 1) // length * length, -1, -length):
            state, fields = kept.pop(), []
            for n in range(start, min(start + length, steps)):
                state, w = self.step(state, n)
                fields.append(w)
            for n in range(min(start + length, steps) - 1, start - 1, -1):
                gradient += (adjoint.now * fields.pop()).sum(1, keepdim=True)
                out, memory = self.laplacian_transposed(self.m * adjoint.now, adjoint.memory)
                ahead = 2 * adjoint.now - adjoint.before + out
                adjoint = _State(adjoint.now, self.inject(ahead, v[..., n]), memory)
        return gradient[:, 0]

    def laplacian_transposed(
        self, q: Tensor, memory: tuple[tuple[Tensor, Tensor], ...]
    ) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
        out, new = torch.zeros_like(q), []
        for (axis, a, b), (p, z) in zip(self.layers, memory, strict=True):
            z = q + b * z
            e = q + a * z
            p = b * p - _first(e, axis)
            out = out + _second(e, axis) - _first(a * p, axis)
            new.append((p, z))
        return out, tuple(new)

    def inject(self, u: Tensor, v: Tensor) -> Tensor:
        """u + the values v (batch, shot, receiver) at the receivers, of which some may share a node."""
        place = self.s.receivers[:, 0] * u.shape[-1] + self.s.receivers[:, 1]
        return u.flatten(-2).index_add(-1, place, v).reshape(u.shape)
