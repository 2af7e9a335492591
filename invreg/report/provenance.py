"""Where a result came from: versions and machine."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("invreg", "torch", "numpy", "scipy", "scikit-image", "numba", "h5py", "tifffile", "matplotlib")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that take part, without importing them."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine(device: str) -> str:
    """Processor, usable cores and device in words."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not on Linux, or not on such a processor
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = f"{name}, {cores} cores, {platform.system()}"
    if device.startswith("cuda"):
        import torch

        told += f", {torch.cuda.get_device_name(device)}"
    return told
