"""Fan-beam ray transforms on the CPU: invreg against ASTRA, ODL, deepinv and a sparse matrix.

    python benchmarks/fan.py --quick
    python benchmarks/fan.py --sizes 256 512 1024 --views 60 180 720

A flat detector of 1.53 N bins of 1.5 pixels, the source at 2 N and the detector at N from the axis of an image of
N x N, a full turn. Times and the adjoint mismatch as in `projectors.py`; errors relative to the exact line integrals
of ellipses averaged over the bin, and at its centre. deepinv's fan is timed alone: its rays lie elsewhere, and
its samples are not weighted by length. Prints Markdown.
"""

import projectors as p  # first: it sets the threads before numpy is imported

# isort: split

import argparse
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from phantoms import SHEPP_LOGAN, ellipse_image, scaled
from test_corrections import fan_integrals

from invreg.operators import FanBeam2D, XRay


@dataclass(frozen=True)
class Peer:
    """A method on numpy arrays, image (h, w) <-> sinogram (view, detector); `comparable`: of the rays asked for."""

    name: str
    forward: p.Map
    adjoint: p.Map
    geometry: FanBeam2D
    comparable: bool = True


def fan(n: int, views: int) -> FanBeam2D:
    angles = np.linspace(0, 2 * np.pi, views, endpoint=False)
    return FanBeam2D(angles, int(1.53 * n), 1.5, None, "pixel", 2.0 * n, 3.0 * n)


def ours(n: int, g: FanBeam2D) -> Iterator[Peer]:
    A = XRay(g, (n, n), 1.0)
    yield Peer("invreg", lambda x: A(torch.from_numpy(x)).numpy(), lambda y: A.adjoint(torch.from_numpy(y)).numpy(), g)


def astra(n: int, g: FanBeam2D) -> Iterator[Peer]:
    import astra

    image = astra.create_vol_geom(n, n)
    behind = g.source_detector - g.source_origin
    rays = astra.create_proj_geom("fanflat", g.pitch, g.detectors, g.angles, g.source_origin, behind)

    def peer(kind: str) -> Peer:
        projector = astra.create_projector(kind, rays, image)

        def forward(x: np.ndarray) -> np.ndarray:
            out = np.empty(g.shape, np.float32)
            astra.projector.direct_FP(projector, x, out=out)
            return out

        def adjoint(y: np.ndarray) -> np.ndarray:
            out = np.empty((n, n), np.float32)
            astra.projector.direct_BP(projector, y, out=out)
            return out

        return Peer(f"ASTRA {kind}", forward, adjoint, g)

    yield from (peer(kind) for kind in ("line_fanflat", "strip_fanflat"))
    if 2 * n * n * g.angles.size < 1.1e8:  # a gigabyte of indices and weights
        projector = astra.create_projector("line_fanflat", rays, image)
        matrix = astra.matrix.get(astra.projector.matrix(projector)).tocsr().astype(np.float32)
        transpose = matrix.T
        yield Peer(
            "scipy csr (ASTRA line_fanflat)",
            lambda x: (matrix @ x.ravel()).reshape(g.shape),
            lambda y: (transpose @ y.ravel()).reshape(n, n),
            g,
        )


def odl(n: int, g: FanBeam2D) -> Iterator[Peer]:
    import odl as library

    space = library.uniform_discr([-n / 2] * 2, [n / 2] * 2, (n, n), dtype="float32")
    half = g.detectors * g.pitch / 2
    tomo = library.applications.tomo
    rays = tomo.FanBeamGeometry(
        library.nonuniform_partition(g.angles),
        library.uniform_partition(-half, half, g.detectors),
        g.source_origin,
        g.source_detector - g.source_origin,
    )
    R = tomo.RayTransform(space, rays, impl="astra_cpu")
    ratio = R.domain.weighting.const / R.range.weighting.const  # its adjoint is that of weighted spaces
    yield Peer(
        "ODL astra_cpu",
        lambda x: R(R.domain.element(np.rot90(x, -1))).asarray(),
        lambda y: ratio * np.rot90(R.adjoint(R.range.element(y)).asarray()),
        g,
    )


def deepinv(n: int, g: FanBeam2D) -> Iterator[Peer]:
    if 8 * n * g.detectors * g.angles.size > 2.5e9:  # its grids
        return
    import deepinv as library

    parameters = {
        "pixel_spacing": 1.0,
        "source_radius": g.source_origin,
        "detector_radius": g.source_detector - g.source_origin,
        "n_detector_pixels": g.detectors,
        "detector_spacing": g.pitch,
    }
    angles = torch.from_numpy(np.rad2deg(g.angles)).float()
    physics = library.physics.Tomography(angles, n, normalize=False, fan_beam=True, fan_parameters=parameters)
    yield Peer(
        "deepinv Tomography",
        lambda x: physics.A(torch.from_numpy(x)[None, None])[0, 0].numpy().T,
        lambda y: physics.A_adjoint(torch.from_numpy(y.T.copy())[None, None])[0, 0].detach().numpy(),
        g,
        comparable=False,
    )


def bin_averages(ellipses: np.ndarray, g: FanBeam2D) -> np.ndarray:
    """Exact line integrals averaged over each bin, by eight Gauss points on it."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    rays = (fan_integrals(ellipses, replace(g, centre=g.centre - x / 2)) for x in nodes)
    return sum(weight / 2 * ray for weight, ray in zip(weights, rays, strict=True))


def compare(n: int, views: int, repeats: int, cores: int, names: list[str]) -> None:
    g = fan(n, views)
    ellipses = scaled(SHEPP_LOGAN, n / 2)
    image = ellipse_image(ellipses, (n, n)).astype(np.float32)
    exact = bin_averages(ellipses, g), fan_integrals(ellipses, g)
    data = exact[0].astype(np.float32)
    methods = list(ours(n, g))
    for library in (known for known in (astra, odl, deepinv) if known.__name__ in names):
        try:
            methods += list(library(n, g))
        except ImportError as error:
            print(f"{library.__name__} is left out: {error}", file=sys.stderr)

    torch.set_num_threads(1)
    forward = p.least_times({m.name: lambda m=m: m.forward(image) for m in methods}, repeats, time.process_time)
    adjoint = p.least_times({m.name: lambda m=m: m.adjoint(data) for m in methods}, repeats, time.process_time)
    print(f"## {n}² x {views} views, {g.detectors} bins (load average {os.getloadavg()[0]:.1f})\n")
    base = "ASTRA line_fanflat" if "ASTRA line_fanflat" in forward else "invreg"
    rows = []
    for m in methods:
        errors = [f"{p.relative(m.forward(image), truth):.2e}" if m.comparable else "" for truth in exact]
        times = [f"{t[m.name]:.2f} | {t[base] / t[m.name]:.2f}" for t in (forward, adjoint)]
        rows.append([m.name, *times, *errors, f"{p.mismatch(m, n):.1e}"])
    against = f"x {base}"
    p.table(["method", "forward ms", against, "adjoint ms", against, "error, bin", "centre", "adjoint mismatch"], rows)

    calls = {"forward": lambda: methods[0].forward(image), "adjoint": lambda: methods[0].adjoint(data)}
    walls = []
    for threads in (1, cores):
        torch.set_num_threads(threads)
        walls.append(p.least_times(calls, repeats, time.perf_counter))
    torch.set_num_threads(1)
    rows = [[k, *(f"{wall[k]:.2f}" for wall in walls), f"{walls[0][k] / walls[1][k]:.2f}"] for k in calls]
    p.table(["invreg, wall ms", "1 thread", f"{cores} threads", "scaling"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--views", type=int, nargs="+", default=[60, 180])
    parser.add_argument("--repeats", type=int, default=7, help="rounds, at least 5 (default 7)")
    every = ["astra", "odl", "deepinv"]
    parser.add_argument("--peers", nargs="*", choices=every, default=every)
    parser.add_argument("--quick", action="store_true", help="256 pixels, 60 views, 5 rounds")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.views, options.repeats = [256], [60], 5
    if options.repeats < 5:
        parser.error("--repeats takes at least 5: the least of fewer is noise")
    warnings.filterwarnings("ignore")  # the peers' own
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    packages = ("invreg", "torch", "numba", "astra-toolbox", "odl", "deepinv", "scipy")
    print(f"{cores} cores; " + ", ".join(f"{name} {p.installed(name)}" for name in packages) + "\n")
    for n in options.sizes:
        for views in options.views:
            compare(n, views, options.repeats, cores, options.peers)


if __name__ == "__main__":
    main()
