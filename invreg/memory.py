"""How the process asks the system for memory, and how much there is."""

import contextlib
import ctypes
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, KEEP = -1, -3, 1 << 30  # of glibc's <malloc.h>


def keep_freed() -> None:
    """Let glibc keep freed arrays of up to a GiB for the next ones; other C libraries are left as they are.

    A solver frees and asks for a dozen images a step, and fresh pages cost it an eighth of its time.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEEP)
        mallopt(M_MMAP_THRESHOLD, KEEP)


def free_memory(device: str) -> int:
    """Bytes that can be had now, on the CPU those the kernel and the control group leave."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not on Linux
        return 4 * 2**30
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        return free if limit == "max" else max(0, min(free, int(limit) - used))
    except (OSError, ValueError):
        return free


def budget(device: str, memory: float | None) -> float:
    """Bytes to work in: `memory` GiB, or half of what is free."""
    return memory * 2**30 if memory is not None else free_memory(device) / 2
