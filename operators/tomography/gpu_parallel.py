"""The parallel-beam ray transform on a GPU: the sums and tables of parallel.py, by kernels_triton_parallel.py."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invreg.operators.tomography.geometry import Views2D
from invreg.operators.tomography.gpu import OPTIONS, on, ready
from invreg.operators.tomography.parallel import ParallelProjector

Array = npt.NDArray[Any]

# views or rows, and places along the detector or the rows, a program
SUM = {"VIEWS": 8, "PLACES": 128}
SPREAD = {"ROWS": 4, "PLACES": 128}
LANES = 128


class TritonParallelProjector:
    """Images (batch, h, w) to sinograms (batch, angle, detector) and back, on the tensor's CUDA device.

    The discretisation is that of ParallelProjector, and so are the results up to round-off. Raises RuntimeError where
    Triton or a CUDA device is missing.
    """

    def __init__(self, views: Views2D, shape: tuple[int, ...], pixel: float) -> None:
        self.shape, self.codomain = tuple(map(int, shape)), tuple(map(int, views.shape))  # no numpy: Triton refuses it
        self.halves = [_Half(half) for half in ParallelProjector(views, self.shape, pixel).halves]

    def project(self, x: Tensor) -> Tensor:
        kernels = ready(x.device).parallel
        y = x.new_empty(len(x), *self.codomain)
        with on(x.device):
            for half in self.halves if len(x) else []:
                half.project(kernels, (x.mT if half.transposed else x).contiguous(), y)
        return y

    def backproject(self, y: Tensor) -> Tensor:
        kernels = ready(y.device).parallel
        parts = []
        with on(y.device):
            for half in self.halves if len(y) else []:
                part = half.backproject(kernels, y)
                parts.append(part.mT if half.transposed else part)
        return sum(parts[1:], start=parts[0]).contiguous() if parts else y.new_empty(0, *self.shape)


class _Half:
    """The views nearer to one axis, as parallel.py has them, with their tables on each device."""

    def __init__(self, half: Any) -> None:
        self.half, self.transposed = half, half.transposed
        self.margin, self.size = half.margin_size()
        self.count, self.bins = half.centre.shape
        self._tables: dict[
            tuple[torch.device, torch.dtype], dict[str, Tensor]
        ] = {}  # memos of what the arguments imply

    def project(self, kernels: Any, x: Tensor, y: Tensor) -> None:
        t = self.tables(x)
        q = x.new_empty(len(x), self.count, self.size)
        programs = _cut(self.count, SUM["VIEWS"]) * _cut(self.size, SUM["PLACES"]) * len(x)
        kernels.shear_sum[(programs,)](
            x,
            q,
            t["shift"],
            t["slope"],
            self.count,
            self.half.rows,
            self.half.length,
            self.margin,
            self.size,
            **SUM,
            **OPTIONS,
        )
        programs = self.count * _cut(self.bins, LANES) * len(x)
        kernels.resample[(programs,)](
            q, y, t["first"], t["weights"], t["chosen"], self.count, self.bins, y.shape[1], self.size,
            TAPS=self.half.taps, BINS=LANES, **OPTIONS,
        )  # fmt: skip

    def backproject(self, kernels: Any, y: Tensor) -> Tensor:
        t = self.tables(y)
        q = y.new_empty(len(y), self.count, self.size)
        x = y.new_empty(len(y), self.half.rows, self.half.length)
        programs = self.count * _cut(self.size, LANES) * len(y)
        kernels.resample_adjoint[(programs,)](
            q, y, t["first"], t["weights"], t["start"], t["chosen"], self.count, self.bins, y.shape[1], self.size,
            self.most, TAPS=self.half.taps, PLACES=LANES, **OPTIONS,
        )  # fmt: skip
        programs = _cut(self.half.rows, SPREAD["ROWS"]) * _cut(self.half.length, SPREAD["PLACES"]) * len(y)
        kernels.shear_spread[(programs,)](
            x,
            q,
            t["shift"],
            t["slope"],
            self.count,
            self.half.rows,
            self.half.length,
            self.margin,
            self.size,
            **SPREAD,
            **OPTIONS,
        )
        return x

    def tables(self, like: Tensor) -> dict[str, Tensor]:
        key = like.device, like.dtype
        if key not in self._tables:
            first, weights = self.half.tables(torch.empty(0, dtype=like.dtype).numpy().dtype)
            start, self.most = reaching(first, weights, self.size)
            arrays = {
                "shift": self.half.shift,
                "slope": self.half.slope,
                "first": first,
                "weights": np.ascontiguousarray(weights.transpose(0, 2, 1)),
                "start": start,
                "chosen": self.half.views.astype(np.int32),
            }
            self._tables[key] = {name: torch.from_numpy(array).to(like.device) for name, array in arrays.items()}
        return self._tables[key]


def reaching(first: Array, weights: Array, size: int) -> tuple[Array, int]:
    """Of each view and index of its buffer the first bin whose taps reach it, (view, size), and how many do at most.

    The taps of bin b are first[b], first[b] + 1, ...; those of the bins that see the image rise or fall with b.
    """
    views, bins, taps = weights.shape
    start, most = np.full((views, size), bins, np.int32), 0
    places = np.arange(size)
    for v in range(views):
        seen = np.flatnonzero(weights[v].any(axis=1))
        if not seen.size:
            continue
        ends = first[v, seen]
        falling = ends[0] > ends[-1]
        ends = ends[::-1] if falling else ends
        low, high = np.searchsorted(ends, places - taps, "right"), np.searchsorted(ends, places, "right")
        start[v] = seen[0] + (seen.size - high if falling else low)
        most = max(most, int((high - low).max()))
    return start, most


def _cut(count: int, size: int) -> int:
    return -(-count // size)
