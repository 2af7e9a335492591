"""All forward operators on the CPU in one table: invreg against ASTRA, ODL, deepinv, scikit-image and scipy.

    python benchmarks/operators.py
    python benchmarks/operators.py --only parallel fan --size 256 --views 60

CPU time of one thread (all pools at one), methods in turn, the least of five turns. "peer / invreg" is how many times
as long a peer takes. Errors are relative: of ray transforms against exact line integrals of the Shepp-Logan phantom
averaged over the bins, of the other operators against the sum written out in float64. The adjoint mismatch
|<Ax, y> - <x, A'y>| / (|Ax| |y|) is on zero-mean float32 noise. Peers that are not installed are left out. More sizes,
threads and filtered back-projection: projectors.py, fan.py, cone.py, blur.py; GPU: gpu.py. Prints Markdown.
"""

import projectors  # first: it sets the threads before numpy is imported

# isort: split

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import blur
import cone
import fan
import numpy as np
import torch
from phantoms import SHEPP_LOGAN, SHEPP_LOGAN_3D, ellipse_image, ellipsoid_projections, ellipsoid_volume, scaled

from invreg.operators import Parallel2D
from invreg.operators.tomography.cone import ConeProjector
from invreg.operators.tomography.joseph import JosephProjector

TURNS = 5


class Method(NamedTuple):
    """A ray transform on numpy arrays, and the exact integrals along its rays where they are known."""

    name: str
    forward: projectors.Map
    adjoint: projectors.Map
    exact: np.ndarray | None


def compare(operator: str, methods: list[Method], image: np.ndarray) -> Iterator[list[str]]:
    """A row for each method; the first is ours."""
    data = methods[0].forward(image)
    calls = [
        {m.name: lambda m=m: m.forward(image) for m in methods},
        {m.name: lambda m=m: m.adjoint(data) for m in methods},
    ]
    forward, adjoint = (projectors.least_times(call, TURNS, time.process_time) for call in calls)
    rng = np.random.default_rng(7)
    x, y = (rng.standard_normal(shape).astype(np.float32) for shape in (image.shape, data.shape))
    ours = methods[0].name
    for m in methods:
        ratios = [f"{t[m.name] / t[ours]:.2f}" if m.name != ours else "" for t in (forward, adjoint)]
        error = "" if m.exact is None else f"{projectors.relative(m.forward(image), m.exact):.2e}"
        mismatch = projectors.mismatch_of(m.forward(x), y, x, m.adjoint(y)) if y.shape == m.forward(x).shape else np.nan
        times = [f"{t[m.name]:.2f}" for t in (forward, adjoint)]
        yield [operator, m.name, *times, *ratios, error, f"{mismatch:.1e}"]


def parallel(n: int, views: int) -> Iterator[list[str]]:
    g = Parallel2D(np.linspace(0, np.pi, views, endpoint=False), int(np.ceil(2**0.5 * n)))
    phantom = scaled(SHEPP_LOGAN, n / 2)
    image = ellipse_image(phantom, (n, n)).astype(np.float32)
    peers = projectors.peers(n, g, ["astra", "odl", "deepinv", "skimage"])
    methods = [Method(m.name, m.forward, m.adjoint, m.exact(phantom, True)) for m in peers]
    yield from compare(f"XRay, parallel, {n}² x {views}", methods, image)


def fan_beam(n: int, views: int) -> Iterator[list[str]]:
    g = fan.fan(n, views)
    phantom = scaled(SHEPP_LOGAN, n / 2)
    image, exact = ellipse_image(phantom, (n, n)).astype(np.float32), fan.bin_averages(phantom, g)
    peers = list(fan.ours(n, g))
    for library in (fan.astra, fan.odl, fan.deepinv):
        try:
            peers += list(library(n, g))
        except ImportError:
            continue
    methods = [Method(m.name, m.forward, m.adjoint, exact if m.comparable else None) for m in peers]
    yield from compare(f"XRay, fan, {n}² x {views}", methods, image)


def cone_beam(n: int, views: int) -> Iterator[list[str]]:
    """As large as a sparse matrix allows: ODL and ASTRA have no cone beam on the CPU."""
    n, views = min(n, 96), min(views, 24)
    g = cone.scan(n, views)
    phantom = scaled(SHEPP_LOGAN_3D, n / 2)
    exact = ellipsoid_projections(phantom, g.general(), sub=4)
    methods = [
        Method("invreg", *cone.ours(ConeProjector, g.general(), n), exact),
        Method("invreg, general views", *cone.ours(JosephProjector, g.general(), n), exact),
    ]
    A = cone.matrix(g.general(), n)
    transpose = A.T
    methods.append(
        Method(
            "scipy csr",
            lambda x: (A @ x.ravel()).reshape(g.shape),
            lambda y: (transpose @ y.ravel()).reshape(n, n, n),
            exact,
        )
    )
    volume = ellipsoid_volume(phantom, (n, n, n)).astype(np.float32)
    yield from compare(f"XRay, cone, {n}³ x {views}", methods, volume)


def images(n: int, _: int) -> Iterator[list[str]]:
    """Blur, sampling, masks, Fourier sampling and differences, forward and adjoint in rows of their own."""
    for row in blur.rows(n):
        operator, _, direction = row.operator.rpartition(", ")
        times = [f"{row.peer_ms:.2f}", ""] if direction == "forward" else ["", f"{row.peer_ms:.2f}"]
        ratios = [f"{row.ratio:.2f}", ""] if direction == "forward" else ["", f"{row.ratio:.2f}"]
        yield [operator, row.peer, *times, *ratios, f"{row.error:.1e} (invreg)", f"{row.adjoint_mismatch:.1e} (invreg)"]


SECTIONS: dict[str, Callable[[int, int], Iterator[list[str]]]] = {
    "parallel": parallel,
    "fan": fan_beam,
    "cone": cone_beam,
    "images": images,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--size", type=int, default=512, help="pixels on a side (default 512)")
    parser.add_argument("--views", type=int, default=180)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # the peers' own
    torch.set_num_threads(1)
    packages = ("invreg", "torch", "numba", "astra-toolbox", "odl", "deepinv", "scikit-image", "scipy")
    print(", ".join(f"{name} {projectors.installed(name)}" for name in packages))
    print(f"Load average {os.getloadavg()[0]:.1f}.\n")
    head = ["operator", "method", "forward ms", "adjoint ms"]
    head += ["peer / invreg, forward", "adjoint", "error", "adjoint mismatch"]
    for line in (head, ["---"] * len(head)):
        print("| " + " | ".join(line) + " |")
    for name in options.only:
        for line in SECTIONS[name](options.size, options.views):
            print("| " + " | ".join(line) + " |", flush=True)


if __name__ == "__main__":
    main()
