"""Cone-beam ray transform on the CPU: invreg's two projectors and a sparse matrix of the same rays.

    python benchmarks/cone.py --sizes 48 64 96 --views 24
    python benchmarks/cone.py --sizes 512 --views 720 --some 16

n³ voxels, n² bins one voxel wide at the axis, source at 3n, detector at 4.5n, views over a full turn. Neither ASTRA nor
ODL has a cone beam on the CPU, so a matrix is the peer; it is left out above 4e8 entries. Times are CPU time of one
thread (all pools at one), methods in turn, the least of at least three turns. Errors are relative to the exact line
integrals of the ellipsoids of Shepp and Logan, averaged over the bins (4 x 4 rays); the adjoint mismatch is
|<Ax, y> - <x, A'y>| / (|Ax| |y|) on zero-mean float32 noise. With --some only so many of the views are computed, in
runs of eight neighbours spread over the turn, on all cores, once each way, and the time is scaled up. Prints Markdown.
"""

import os

for pool in ("OMP", "MKL", "OPENBLAS", "NUMBA"):  # before numpy and torch start theirs
    os.environ[f"{pool}_NUM_THREADS"] = "1"

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from phantoms import SHEPP_LOGAN_3D, ellipsoid_projections, ellipsoid_volume, scaled
from projectors import least_times, mismatch_of, relative, table

from invreg.operators import ConeBeam, Views3D
from invreg.operators.tomography.cone import ConeProjector
from invreg.operators.tomography.joseph import JosephProjector

Map = Callable[[np.ndarray], np.ndarray]


def scan(n: int, views: int) -> ConeBeam:
    angles = np.linspace(0, 2 * np.pi, views, endpoint=False) + 0.01
    return ConeBeam(angles, n, n, 1.5, source_origin=3.0 * n, source_detector=4.5 * n)


def ours(kind: type[ConeProjector] | type[JosephProjector], views: Views3D, n: int) -> tuple[Map, Map]:
    P = kind(views, (n, n, n), 1.0, 1.0)
    return (
        lambda x: P.project(torch.from_numpy(x)[None])[0].numpy(),
        lambda y: P.backproject(torch.from_numpy(y)[None])[0].numpy(),
    )


def matrix(views: Views3D, n: int) -> scipy.sparse.csr_matrix:
    """Joseph's weights in float32, written down independently: (bins, voxels)."""
    points = views.points(np.arange(views.rows), np.arange(views.columns))
    size = np.array([1.0, -1.0, 1.0])
    blocks = []
    for source, ends in zip(views.source / size + (n - 1) / 2, points / size + (n - 1) / 2, strict=True):
        ray = (ends - source).reshape(-1, 3)
        axis = np.abs(ray).argmax(1)
        slope = ray / np.take_along_axis(ray, axis[:, None], 1)
        length = np.linalg.norm(slope, axis=1)
        planes = np.arange(n)
        places = source + (planes - source[axis][:, None])[..., None] * slope[:, None]  # (ray, plane, 3)
        np.put_along_axis(places, np.broadcast_to(axis[:, None, None], (*places.shape[:2], 1)), planes[:, None], 2)
        corner = np.floor(places)
        value, column, row = [], [], []
        across = [(axis + 1) % 3, (axis + 2) % 3]
        for step in np.ndindex(2, 2):
            moved = corner.copy()
            weight = np.broadcast_to(length[:, None], corner.shape[:2]).copy()
            for one, other in zip(step, across, strict=True):
                index = np.broadcast_to(other[:, None, None], (*corner.shape[:2], 1))
                part = np.take_along_axis(places - corner, index, 2)[..., 0]
                weight *= part if one else 1 - part
                np.put_along_axis(moved, index, np.take_along_axis(moved, index, 2) + one, 2)
            inside = ((moved >= 0) & (moved < n)).all(2) & (weight > 0)
            x, y, z = moved[inside].astype(np.int64).T
            value.append(weight[inside].astype(np.float32))
            column.append((z * n + y) * n + x)
            row.append(np.broadcast_to(np.arange(len(ray))[:, None], inside.shape)[inside])
        entries = np.concatenate(value), (np.concatenate(row), np.concatenate(column))
        blocks.append(scipy.sparse.csr_matrix(entries, shape=(len(ray), n**3)))
    return scipy.sparse.vstack(blocks, format="csr")


def compare(n: int, count: int, repeats: int) -> None:
    g = scan(n, count)
    views = g.general()
    ellipsoids = scaled(SHEPP_LOGAN_3D, n / 2)
    volume = ellipsoid_volume(ellipsoids, (n, n, n)).astype(np.float32)
    exact = ellipsoid_projections(ellipsoids, views, sub=4)
    methods = {
        "invreg, ConeProjector": ours(ConeProjector, views, n),
        "invreg, JosephProjector": ours(JosephProjector, views, n),
    }
    if 4 * n**3 * count < 4e8:
        A = matrix(views, n)
        transpose = A.T
        methods[f"scipy csr (Joseph), {A.nnz * 8 / 2**20:.0f} MiB"] = (
            lambda x: (A @ x.ravel()).reshape(g.shape),
            lambda y: (transpose @ y.ravel()).reshape(n, n, n),
        )
    data = exact.astype(np.float32)
    cpu = time.process_time
    forward = least_times({k: lambda f=f: f(volume) for k, (f, _) in methods.items()}, repeats, cpu)
    adjoint = least_times({k: lambda f=f: f(data) for k, (_, f) in methods.items()}, repeats, cpu)
    print(f"## {n}³ x {count} views of {n}² (load average {os.getloadavg()[0]:.1f})\n")
    rows, scale = [], 1e6 / (count * n**3)
    rng = np.random.default_rng(7)
    x, y = (rng.standard_normal(shape).astype(np.float32) for shape in (volume.shape, g.shape))
    for name, (f, back) in methods.items():
        error, adjointness = relative(f(volume), exact), mismatch_of(f(x), y, x, back(y))
        times = [f"{t[name]:.0f} | {t[name] * scale:.2f}" for t in (forward, adjoint)]
        rows.append([name, *times, f"{error:.2e}", f"{adjointness:.1e}"])
    head = ["method", "forward ms", "ns a voxel and view", "adjoint ms", "ns", "error", "adjoint mismatch"]
    table(head, rows)


def large(n: int, count: int, some: int, cores: int) -> None:
    torch.set_num_threads(cores)
    starts = np.linspace(0, count, -(-some // 8), endpoint=False).astype(np.int64)
    chosen = (starts[:, None] + np.arange(8)).ravel()[:some] % count
    forward, adjoint = ours(ConeProjector, scan(n, count).views(chosen).general(), n)
    compiled = ours(ConeProjector, scan(8, 2).general(), 8)
    compiled[1](compiled[0](np.ones((8, 8, 8), np.float32)))
    volume = np.random.default_rng(0).random((n, n, n), np.float32)
    print(f"## {n}³ x {count} views of {n}², {cores} threads, from {some} views (load {os.getloadavg()[0]:.1f})\n")
    rows, t = [], volume
    for name, f in (("forward", forward), ("adjoint", adjoint)):
        start, cpu = time.perf_counter(), time.process_time()
        t = f(t)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        rows.append([name, f"{wall * count / some:.0f}", f"{cpu * count / some:.0f}"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    table(["ConeProjector", "wall s", "CPU s"], rows)
    parts = volume.nbytes / 2**30, some * n * n * 4 / 2**30
    print(f"Peak memory {peak:.2f} GiB, of which the volume {parts[0]:.2f} and these views {parts[1]:.2f}.\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[48, 96])
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5, help="rounds, at least 3 (default 5)")
    parser.add_argument("--some", type=int, help="compute so many of the views alone, on all cores, and scale up")
    options = parser.parse_args()
    if options.repeats < 3 or (options.some is not None and not 0 < options.some <= options.views):
        parser.error("--repeats takes at least 3, --some between 1 and --views")
    torch.set_num_threads(1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for n in options.sizes:
        if options.some is None:
            compare(n, options.views, options.repeats)
        else:
            large(n, options.views, options.some, cores)


if __name__ == "__main__":
    main()
