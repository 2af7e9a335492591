"""A pool of threads for kernels that release the GIL, as many as torch uses.

Numba's own parallel loops would keep a second set of spinning threads beside torch's; these sleep.
"""

import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

_pool: ThreadPoolExecutor | None = None
_size = 0


def _forget() -> None:  # threads do not survive a fork
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget)


def run(tasks: Sequence[Callable[[], None]]) -> None:
    """Call all tasks, which must be independent, on `torch.get_num_threads()` threads."""
    global _pool, _size
    threads = torch.get_num_threads()
    if threads == 1 or len(tasks) == 1:
        for task in tasks:
            task()
        return
    if _pool is None or _size != threads:
        _pool, _size = ThreadPoolExecutor(threads, thread_name_prefix="invreg"), threads
    for _ in _pool.map(lambda task: task(), tasks):
        pass


_local = threading.local()


def workspace(shapes: tuple[tuple[int, ...], ...], dtype: np.dtype[Any]) -> list[npt.NDArray[Any]]:
    """Uninitialised arrays in memory that this thread keeps: fresh memory costs as much as the arithmetic.

    They hold until the next call in the same thread.
    """
    made: dict[Any, list[npt.NDArray[Any]]] = _local.__dict__.setdefault("made", {})
    if (shapes, dtype) not in made:
        sizes = [math.prod(shape) for shape in shapes]
        starts = np.cumsum([0, *(-(-size // 16) * 16 for size in sizes)])
        needed = int(starts[-1]) * dtype.itemsize
        if getattr(_local, "memory", None) is None or _local.memory.nbytes < needed:
            _local.memory = np.empty(needed, np.uint8)
            made.clear()  # they would keep the smaller memory
        memory = _local.memory[:needed].view(dtype)
        made[shapes, dtype] = [
            memory[start : start + size].reshape(shape)
            for start, size, shape in zip(starts, sizes, shapes, strict=False)
        ]
    return made[shapes, dtype]
