"""Solvers: frozen values with a pure `init` and a pure `step`, run by one driver, `solve`."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

Status = Literal["converged", "max_iter", "nonfinite", "interrupted"]


class Solver(ABC):
    """A solver is a frozen dataclass of its terms and parameters.

    `init(x0)` makes a state, a NamedTuple of tensors and numbers whose field `x` is the estimate;
    `step(state)` makes the next one and writes to nothing. `certificate(state)` gives named (*batch,) tensors
    for the history; the first is the stopping criterion, compared with `tol`.
    """

    @abstractmethod
    def init(self, x0: Tensor) -> Any: ...

    @abstractmethod
    def step(self, state: Any) -> Any: ...

    @abstractmethod
    def certificate(self, state: Any) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Result:
    """The estimate `x`, why the solver stopped, after how many steps, its history and its state.

    Every item of a batch stops on its own certificate: `x` holds its estimate of that check, `converged` (*batch,)
    whether it did, `iters_each` (*batch,) after how many steps, or how many it was given. `iters` is the number of
    steps of the batch, `status` "nonfinite" where an item broke down and "converged" where all converged. `history`
    has one row (a dict) for each check: iter, seconds, and the worst item of each entry of the certificate, of the
    items that ran until then. `state`, the state of all items after the last
    step, given to `solve` as `x0` goes on where this run ended.
    """

    x: Tensor
    status: Status
    iters: int
    history: list[dict[str, float]]
    state: Any
    converged: Tensor
    iters_each: Tensor

    def check(self) -> "Result":
        """Raise `RuntimeError` in words unless converged; return self."""
        if self.status != "converged":
            raise RuntimeError(str(self))
        return self

    def save(self, path: str | Path) -> None:
        """Write the estimate, (h, w) or (row, h, w), as a float32 TIFF. Raises TypeError for a complex one."""
        if self.x.is_complex():
            raise TypeError(f"Result.save writes real images, x is {self.x.dtype}: invreg.io.write_tiff its x.abs()")
        from invreg.io import write_tiff  # the one place where core looks outside: a convenience of the result

        write_tiff(path, self.x.detach().cpu().numpy())

    def __str__(self) -> str:
        last = self.history[-1] if self.history else {}
        name = next((k for k in last if k not in ("iter", "seconds")), "criterion")
        reached = f"{name} {last.get(name, math.nan):.2e} after {self.iters} iterations"
        return {
            "converged": f"converged: {reached}",
            "max_iter": f"stopped at the limit, not converged: {reached}; raise max_iter or tol",
            "nonfinite": f"broke down: not a finite number after {self.iters} iterations; check the measurement",
            "interrupted": f"interrupted, not converged: {reached}",
        }[self.status]


def solve(
    solver: Solver,
    x0: Tensor | tuple[Any, ...],
    *,
    max_iter: int = 1000,
    tol: float = 1e-4,
    every: int = 20,
    record: Mapping[str, Callable[[Any], float]] | None = None,
    callback: Callable[[dict[str, float]], object] | None = None,
) -> Result:
    """Run `solver` from the image `x0`, or from a saved state, until its certificate is at most `tol`.

    The certificate, the entries of `record` (functions of the state) and `callback` (given the new row of the
    history) are evaluated after every `every` steps; nothing else waits for the device. Of a batch every item keeps
    the estimate at which its own certificate met `tol`, and one that is not a number does not stop the others. An
    interrupt (Ctrl-C) ends the run with the current estimate.
    """
    state: Any = solver.init(x0) if isinstance(x0, Tensor) else x0
    history: list[dict[str, float]] = []
    status: Status = "max_iter"
    iters, start = 0, time.perf_counter()
    items: _Items | None = None
    try:
        while iters < max_iter and status == "max_iter":
            for _ in range(min(every, max_iter - iters)):
                state = solver.step(state)
                iters += 1
            values = solver.certificate(state)
            items = _Items(state.x, next(iter(values.values()))) if items is None else items
            values = items.update(state.x, values, tol, iters)
            row = {"iter": float(iters), "seconds": time.perf_counter() - start}
            row |= {name: float(value.max()) for name, value in values.items()}
            row |= {name: float(f(state)) for name, f in (record or {}).items()}
            history.append(row)
            if bool((items.converged | items.broken).all()):
                status = "nonfinite" if bool(items.broken.any()) else "converged"
            if callback is not None:
                callback(row)
    except KeyboardInterrupt:
        status = "interrupted"
    if items is None:
        none = torch.zeros((), dtype=torch.bool)
        return Result(state.x, status, iters, history, state, none, torch.zeros((), dtype=torch.int64))
    if status == "max_iter" and bool(items.broken.any()):
        status = "nonfinite"
    x, each = items.end(state.x, iters)
    return Result(x, status, iters, history, state, items.converged, each)


class _Items:
    """Which items of a batch are done, and what they were then."""

    def __init__(self, x: Tensor, criterion: Tensor) -> None:
        self.converged = torch.zeros_like(criterion, dtype=torch.bool)
        self.broken = torch.zeros_like(self.converged)
        self.iters = torch.zeros_like(self.converged, dtype=torch.int64)
        self.x = x

    def update(self, x: Tensor, values: dict[str, Tensor], tol: float, iters: int) -> dict[str, Tensor]:
        """Look at a new estimate; the certificate of the items that ran until now, without those that broke down."""
        criterion = next(iter(values.values()))
        running = ~(self.converged | self.broken)
        self.iters = torch.where(running, iters, self.iters)
        self.broken = self.broken | (running & criterion.isnan())
        new = running & (criterion <= tol)
        self.converged = self.converged | new
        if bool(new.all()):
            self.x = x
        elif bool(new.any()):
            self.x = torch.where(self._over(new, x), x, self.x)
        shown = running & ~self.broken
        return {name: value[shown if bool(shown.any()) else running] for name, value in values.items()}

    def end(self, x: Tensor, iters: int) -> tuple[Tensor, Tensor]:
        """The estimates and the steps of each item."""
        each = torch.where(self.converged | self.broken, self.iters, iters)
        if bool(self.converged.all()):
            return self.x, each
        return torch.where(self._over(self.converged, x), self.x, x) if bool(self.converged.any()) else x, each

    @staticmethod
    def _over(mask: Tensor, x: Tensor) -> Tensor:
        return mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))
