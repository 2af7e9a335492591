"""Ray transforms on a GPU: invreg's Triton kernels beside ASTRA's CUDA kernels.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --cases parallel fan

Wall time of one product, both peers in turn and synchronised, the least of at least five turns after a first that
compiles; float32 tensors that stay on the device. The floors: what reading and writing image and sinogram once takes
at the measured speed of a copy, and what the interpolation alone takes (two multiply-adds for each pixel and view in
a plane, four in space) at that of a float32 matrix product; the share is the larger floor over our time. The
adjoint mismatch is |<Ax, y> - <x, A'y>| / (|Ax| |y|) on zero-mean noise. Prints Markdown.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from invreg.operators import ConeBeam, FanBeam2D, Parallel2D, XRay


def scan(name: str) -> tuple[Parallel2D | FanBeam2D | ConeBeam, tuple[int, ...]]:
    """A geometry in pixels, its magnification 1.5, and the shape of the image."""

    def angles(count: int, turn: float = 2 * np.pi) -> np.ndarray:
        return np.arange(count) * turn / count

    if name == "parallel":
        return Parallel2D(angles(180, np.pi), 725), (512, 512)
    if name == "fan":
        far = {"source_origin": 2048.0, "source_detector": 3072.0}
        return FanBeam2D(angles(720), 1568, 1.5, **far), (1024, 1024)
    n = int(name.removeprefix("cone"))
    far = {"source_origin": 2.0 * n, "source_detector": 3.0 * n}
    return ConeBeam(angles(720), n, n, 1.5, **far), (n, n, n)


def seconds(run: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def least(runs: list[Callable[[], object]], turns: int = 5) -> list[float]:
    """The least time of each, in turn; the first turn does not count."""
    return np.min([[seconds(run) for run in runs] for _ in range(turns + 1)][1:], axis=0).tolist()


def limits() -> tuple[float, float]:
    """Bytes a second of a copy (read and written), and float32 operations a second of a matrix product."""
    torch.backends.cuda.matmul.allow_tf32 = False
    block, matrix = torch.empty(2**28, device="cuda"), torch.randn(8192, 8192, device="cuda")
    other = torch.empty_like(block)
    copy, product = least([lambda: other.copy_(block), lambda: matrix @ matrix])
    return 8 * block.numel() / copy, 2 * 8192**3 / product


def inner(a: Tensor, b: Tensor) -> float:
    return sum(float((u.double() * v.double()).sum()) for u, v in zip(a, b, strict=True))


def mismatch(A: XRay, x: Tensor, y: Tensor) -> float:
    Ax = A(x)
    return abs(inner(Ax, y) - inner(x, A.adjoint(y))) / math.sqrt(inner(Ax, Ax) * inner(y, y))


def rows(name: str, peers: list[str], bandwidth: float, arithmetic: float) -> list[str]:
    """The lines of the table for one case, forward and adjoint."""
    geometry, shape = scan(name)
    generator = torch.Generator("cuda").manual_seed(0)
    x = torch.randn(shape, device="cuda", generator=generator)
    y = torch.randn(geometry.shape, device="cuda", generator=generator)
    maps = [XRay(geometry, shape, 1.0, backend=peer) for peer in peers]
    errors = [mismatch(A, x, y) for A in maps]
    memory = 4 * (x.numel() + y.numel()) / bandwidth
    sums = 4 * (len(shape) - 1) * x.numel() * geometry.shape[0] / arithmetic
    lines = []
    for what, runs in (
        ("forward", [lambda A=A: A(x) for A in maps]),
        ("adjoint", [lambda A=A: A.adjoint(y) for A in maps]),
    ):
        times = least(runs)
        cells = [f"{1e3 * t:.3g} ms" for t in times] + ["-"] * (2 - len(times))
        ratio = f"{times[1] / times[0]:.2f}" if len(times) > 1 else "-"
        bound = "memory" if memory > sums else "arithmetic"
        share = f"{100 * max(memory, sums) / times[0]:.0f} % of {bound}"
        told = [f"{error:.1e}" for error in errors] + ["-"] * (2 - len(errors))
        size = f"{' x '.join(map(str, shape))}, {geometry.shape[0]} views"
        lines.append("| " + " | ".join([name, size, what, *cells, ratio, share, *told]) + " |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    cases = ["parallel", "fan", "cone512", "cone1024"]
    parser.add_argument("--cases", nargs="+", choices=cases, default=cases)
    chosen = parser.parse_args().cases
    if not torch.cuda.is_available():
        print("This benchmark needs a CUDA device, and torch finds none.")
        return 0
    peers = ["triton"]
    try:
        from invreg.operators.tomography.astra import loaded

        loaded()
        peers.append("astra")
    except RuntimeError as error:
        print(f"Without ASTRA: {error}.\n")
    bandwidth, arithmetic = limits()
    print(
        f"{torch.cuda.get_device_name()}: copy {bandwidth / 1e12:.2f} TB/s, float32 {arithmetic / 1e12:.0f} TFLOP/s\n"
    )
    print("| scan | image | product | invreg | ASTRA | ASTRA / invreg | share of the floor | mismatch | ASTRA's |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in chosen:
        try:
            print(*rows(name, peers, bandwidth, arithmetic), sep="\n", flush=True)
        except torch.OutOfMemoryError:
            print(f"| {name} | does not fit in the device's memory |", flush=True)
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
