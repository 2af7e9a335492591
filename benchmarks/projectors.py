"""Ray transforms on the CPU: invreg against ASTRA, ODL, deepinv, scikit-image and a sparse matrix.

    python benchmarks/projectors.py --quick
    python benchmarks/projectors.py --sizes 256 512 1024 --views 30 60 180 720

Times are CPU time of one thread (all pools at one), methods in turn, the least of at least five turns; then wall
time with all cores. Errors are relative to the exact line integrals of ellipses, at the bin's centre and averaged
over the bin; the adjoint mismatch is |<Ax, y> - <x, A'y>| / (|Ax| |y|) on zero-mean float32 noise. Peers that are
not installed, or too slow or too large for a size, are left out. Prints Markdown.
"""

import os

for pool in ("OMP", "MKL", "OPENBLAS", "NUMBA"):  # before numpy and torch start theirs
    os.environ[f"{pool}_NUM_THREADS"] = "1"

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from phantoms import SHEPP_LOGAN, ellipse_image, ellipse_sinogram, random_ellipses, scaled

from invreg.operators import Parallel2D, XRay, fbp

Map = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Peer:
    """A method on numpy arrays: image (h, w) <-> sinogram (view, detector).

    `axis`: where its rotation axis lies, in pixels right of and above the centre of the image.
    """

    name: str
    forward: Map
    adjoint: Map
    fbp: Map | None
    geometry: Parallel2D
    axis: tuple[float, float] = (0.0, 0.0)

    def exact(self, ellipses: np.ndarray, average_bins: bool) -> np.ndarray:
        shift = np.array([0, -self.axis[0], -self.axis[1], 0, 0, 0])
        return ellipse_sinogram(ellipses + shift, self.geometry, average_bins)


def ours(n: int, g: Parallel2D) -> Iterator[Peer]:
    A = XRay(g, (n, n))
    tensor = torch.from_numpy
    yield Peer(
        "invreg",
        lambda x: A(tensor(x)).numpy(),
        lambda y: A.adjoint(tensor(y)).numpy(),
        lambda y: fbp(tensor(y), g, (n, n), A=A).numpy(),
        g,
    )


def astra(n: int, g: Parallel2D) -> Iterator[Peer]:
    import astra

    image = astra.create_vol_geom(n, n)
    rays = astra.create_proj_geom("parallel", g.pitch, g.detectors, g.angles)

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

        def filtered(y: np.ndarray) -> np.ndarray:
            out = np.zeros((n, n), np.float32)
            ids = astra.data2d.link("-sino", rays, y), astra.data2d.link("-vol", image, out)
            config = astra.astra_dict("FBP") | {"ProjectorId": projector, "FilterType": "Ram-Lak"}
            algorithm = astra.algorithm.create(config | {"ProjectionDataId": ids[0], "ReconstructionDataId": ids[1]})
            astra.algorithm.run(algorithm)
            astra.algorithm.delete(algorithm)
            astra.data2d.delete(list(ids))
            return out

        return Peer(f"ASTRA {kind}", forward, adjoint, filtered, g)

    yield from (peer(kind) for kind in ("line", "linear", "strip"))
    if 2.9 * n * n * g.angles.size < 1.6e8:  # a gigabyte of indices and weights
        projector = astra.create_projector("linear", rays, image)
        matrix = astra.matrix.get(astra.projector.matrix(projector)).tocsr().astype(np.float32)
        transpose = matrix.T
        yield Peer(
            "scipy csr (ASTRA linear)",
            lambda x: (matrix @ x.ravel()).reshape(g.shape),
            lambda y: (transpose @ y.ravel()).reshape(n, n),
            None,
            g,
        )


def odl(n: int, g: Parallel2D) -> Iterator[Peer]:
    import odl as library

    from invreg.adapters.odl import to_geometry

    space = library.uniform_discr([-n / 2] * 2, [n / 2] * 2, (n, n), dtype="float32")
    R = library.applications.tomo.RayTransform(space, to_geometry(g), impl="astra_cpu")
    ratio = R.domain.weighting.const / R.range.weighting.const  # its adjoint is that of weighted spaces
    yield Peer(
        "ODL astra_cpu",
        lambda x: R(R.domain.element(np.rot90(x, -1))).asarray(),
        lambda y: ratio * np.rot90(R.adjoint(R.range.element(y)).asarray()),
        None,
        g,
    )


def deepinv(n: int, g: Parallel2D) -> Iterator[Peer]:
    wide = int(np.ceil(2**0.5 * n))
    if 8 * wide * wide * g.angles.size > 2.5e9:  # its grids
        return
    import deepinv as library

    angles = torch.from_numpy(np.rad2deg(g.angles)).float()
    # it pads the image to its diagonal and rotates about the middle of that
    axis = (wide - 1) / 2 - ((wide // 2 - n // 2) + (n - 1) / 2)
    for exact in (True, False):
        physics = library.physics.Tomography(angles, n, normalize=False, adjoint_via_backprop=exact)

        def image(x: np.ndarray, physics=physics) -> np.ndarray:
            return np.ascontiguousarray(physics.A(torch.from_numpy(x)[None, None])[0, 0].numpy().T)

        def back(y: np.ndarray, f=physics.A_adjoint) -> np.ndarray:
            return f(torch.from_numpy(np.ascontiguousarray(y.T))[None, None])[0, 0].detach().numpy()

        def filtered(y: np.ndarray, f=physics.fbp) -> np.ndarray:
            return f(torch.from_numpy(np.ascontiguousarray(y.T))[None, None])[0, 0].detach().numpy()

        name = "deepinv Tomography" + ("" if exact else ", iradon adjoint")
        yield Peer(name, image, back, filtered, replace(g, detectors=wide, centre=(wide - 1) / 2), (axis, -axis))


def skimage(n: int, g: Parallel2D) -> Iterator[Peer]:
    if n * n * g.angles.size > 6e7:  # seconds a call
        return
    from skimage.transform import iradon, radon

    theta = np.rad2deg(g.angles)
    wide = int(np.ceil(2**0.5 * n))
    axis = n // 2 - (n - 1) / 2  # pixel n // 2 is the one that stays
    scale = 2 * theta.size / np.pi

    def back(y: np.ndarray, filter_name: str | None) -> np.ndarray:
        return iradon(y.T, theta, output_size=n, filter_name=filter_name, circle=False)

    yield Peer(
        "scikit-image radon",
        lambda x: np.ascontiguousarray(radon(x, theta, circle=False).T),
        lambda y: scale * back(y, None),
        lambda y: back(y, "ramp"),
        replace(g, detectors=wide, centre=wide // 2),
        (axis, -axis),
    )


def peers(n: int, g: Parallel2D, names: list[str]) -> list[Peer]:
    found = list(ours(n, g))
    for library in (known for known in (astra, odl, deepinv, skimage) if known.__name__ in names):
        try:
            found += list(library(n, g))
        except ImportError as error:
            print(f"{library.__name__} is left out: {error}", file=sys.stderr)
    return found


def least_times(calls: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    """Milliseconds of each call, the least of `repeats` rounds in which all take their turn of 10 ms or more."""
    best, times = dict.fromkeys(calls, np.inf), {}
    for name, call in calls.items():  # the first call compiles, the second says how many make a turn
        call()
        start = clock()
        call()
        times[name] = max(1, round(0.01 / max(clock() - start, 1e-4)))
    for _ in range(repeats):
        for name, call in calls.items():
            for _ in range(times[name]):
                start = clock()
                call()
                best[name] = min(best[name], clock() - start)
    return {name: 1e3 * seconds for name, seconds in best.items()}


def mismatch(peer: Peer, n: int) -> float:
    rng = np.random.default_rng(7)
    x, y = (rng.standard_normal(shape).astype(np.float32) for shape in ((n, n), peer.geometry.shape))
    return mismatch_of(peer.forward(x), y, x, peer.adjoint(y))


def mismatch_of(Ax: np.ndarray, y: np.ndarray, x: np.ndarray, Aty: np.ndarray) -> float:
    Ax, Aty = Ax.astype(float), Aty.astype(float)
    return abs(np.vdot(Ax, y) - np.vdot(x, Aty)) / (np.linalg.norm(Ax) * np.linalg.norm(y))


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def table(head: list[str], rows: list[list[str]]) -> None:
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def compare(n: int, views: int, repeats: int, cores: int, names: list[str]) -> None:
    g = Parallel2D(np.linspace(0, np.pi, views, endpoint=False), int(np.ceil(2**0.5 * n)))
    phantoms = [scaled(SHEPP_LOGAN, n / 2), scaled(random_ellipses(3, 20), n / 2)]
    images = [ellipse_image(p, (n, n)).astype(np.float32) for p in phantoms]
    methods = peers(n, g, names)
    data = {p.name: p.exact(phantoms[0], True).astype(np.float32) for p in methods}

    torch.set_num_threads(1)
    cpu = time.process_time
    forward = least_times({p.name: lambda p=p: p.forward(images[0]) for p in methods}, repeats, cpu)
    adjoint = least_times({p.name: lambda p=p: p.adjoint(data[p.name]) for p in methods}, repeats, cpu)
    filtered = least_times({p.name: lambda p=p: p.fbp(data[p.name]) for p in methods if p.fbp}, repeats, cpu)

    print(f"## {n}² x {views} views, {g.detectors} bins (load average {os.getloadavg()[0]:.1f})\n")
    base = "ASTRA line" if "ASTRA line" in forward else "invreg"
    rows = []
    for p in methods:
        errors = [
            f"{relative(p.forward(image), p.exact(phantom, average)):.2e}"
            for phantom, image in zip(phantoms, images, strict=True)
            for average in (False, True)
        ]
        times = [f"{t[p.name]:.2f} | {t[base] / t[p.name]:.2f}" for t in (forward, adjoint)]
        rows.append([p.name, *times, *errors, f"{mismatch(p, n):.1e}"])
    against = f"x {base}"
    phantom_names = ["Shepp-Logan centre", "bin", "ellipses centre", "bin"]
    table(["method", "forward ms", against, "adjoint ms", against, *phantom_names, "adjoint mismatch"], rows)

    rows = []
    for name, ms in filtered.items():
        image = next(p for p in methods if p.name == name).fbp(data[name])
        rmse = float(np.sqrt(np.mean((image - images[0]) ** 2)))
        rows.append([name, f"{ms:.2f}", f"{filtered[base] / ms:.2f}", f"{rmse:.4f}"])
    table(["FBP", "ms", against, "RMSE"], rows)

    mine = methods[0]
    calls = {
        "forward": lambda: mine.forward(images[0]),
        "adjoint": lambda: mine.adjoint(data[mine.name]),
        "FBP": lambda: mine.fbp(data[mine.name]),
    }
    torch.set_num_threads(1)
    one = least_times(calls, repeats, time.perf_counter)
    torch.set_num_threads(cores)
    all_cores = least_times(calls, repeats, time.perf_counter)
    torch.set_num_threads(1)
    rows = [[k, f"{one[k]:.2f}", f"{all_cores[k]:.2f}", f"{one[k] / all_cores[k]:.2f}"] for k in calls]
    table(["invreg, wall ms", "1 thread", f"{cores} threads", "scaling"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--views", type=int, nargs="+", default=[60, 180])
    parser.add_argument("--repeats", type=int, default=7, help="rounds, at least 5 (default 7)")
    every = ["astra", "odl", "deepinv", "skimage"]
    parser.add_argument("--peers", nargs="+", choices=every, default=every)
    parser.add_argument("--quick", action="store_true", help="256 pixels, 60 views, 5 rounds")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.views, options.repeats = [256], [60], 5
    if options.repeats < 5:
        parser.error("--repeats takes at least 5: the least of fewer is noise")
    warnings.filterwarnings("ignore")  # the peers' own
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    packages = ("invreg", "torch", "numba", "astra-toolbox", "odl", "deepinv", "scikit-image", "scipy")
    print(f"{cores} cores; " + ", ".join(f"{name} {installed(name)}" for name in packages) + "\n")
    for n in options.sizes:
        for views in options.views:
            compare(n, views, options.repeats, cores, options.peers)


def installed(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
