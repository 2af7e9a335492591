"""Large problems inside a stated memory: a parallel beam of 2048² x 1440, a cone beam of 512³ x 720 from and to HDF5.

    python benchmarks/big.py parallel
    python benchmarks/big.py cone --max-memory 1e9
    python benchmarks/big.py cone --size 1024 --views 90 --max-memory 4e9

The cone beam is that of cone.py; its volume (Shepp and Logan's head in three dimensions) and projections lie in an HDF5
file and are worked on by slabs. Prints wall times with all threads, the relative error of the projections at the bins'
middles, the root mean square error of the reconstruction, and the peak of the process's memory beside that of the
imports.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from phantoms import (
    SHEPP_LOGAN,
    SHEPP_LOGAN_3D,
    ellipse_image,
    ellipse_sinogram,
    ellipsoid_projections,
    ellipsoid_volume,
    scaled,
)

from invreg.operators import ConeBeam, Parallel2D, XRay, fbp
from invreg.operators.tomography.streaming import backproject_by_slabs, fdk_by_slabs, project_by_slabs


def peak() -> float:
    """Gigabytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def timed(name: str, work: Callable[[], object]) -> object:
    start = time.perf_counter()
    result = work()
    print(f"| {name} | {time.perf_counter() - start:.2f} s | {peak():.2f} GB |", flush=True)
    return result


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def parallel(n: int, views: int) -> None:
    g = Parallel2D(np.linspace(0, np.pi, views, endpoint=False), int(np.ceil(2**0.5 * n)))
    phantom = scaled(SHEPP_LOGAN, n / 2)
    truth = ellipse_image(phantom, (n, n), sub=4).astype(np.float32)
    x = torch.from_numpy(truth)
    A = XRay(g, (n, n))
    y = timed("first forward, with compilation and tables", lambda: A(x))
    y = timed("forward", lambda: A(x))
    timed("adjoint", lambda: A.adjoint(y))
    image = timed("filtered back-projection", lambda: fbp(y, g, (n, n), A=A))
    error = relative(y.numpy(), ellipse_sinogram(phantom, g, average_bins=True))
    print(f"\nError of the sinogram {error:.2e}; RMSE of the image {float((image - x).square().mean().sqrt()):.4f}")


def cone(n: int, views: int, max_memory: float) -> None:
    angles = np.linspace(0, 2 * np.pi, views, endpoint=False) + 0.01
    g = ConeBeam(angles, n, n, 1.5, source_origin=3.0 * n, source_detector=4.5 * n)
    phantom = scaled(SHEPP_LOGAN_3D, n / 2)
    with tempfile.TemporaryDirectory() as folder, h5py.File(Path(folder) / "big.h5", "w") as file:
        volume = file.create_dataset("volume", (n, n, n), np.float32)
        step = max(1, n // 16)
        for z in range(0, n, step):  # moved so that the slab is in the middle
            shift = np.array([0, 0, 0, z + (step - 1) / 2 - (n - 1) / 2, 0, 0, 0, 0])
            volume[z : z + step] = ellipsoid_volume(phantom - shift, (step, n, n), sub=2)
        projections, back, image = (
            file.create_dataset(name, shape, np.float32)
            for name, shape in (("projections", g.shape), ("adjoint", volume.shape), ("fdk", volume.shape))
        )
        limit = {"max_memory": max_memory}
        timed("forward", lambda: project_by_slabs(volume, projections, g, 1.0, **limit))
        timed("adjoint", lambda: backproject_by_slabs(projections, back, g, 1.0, **limit))
        timed("FDK", lambda: fdk_by_slabs(projections, image, g, 1.0, **limit))
        some = np.arange(0, views, max(1, views // 4))[:4]
        exact = ellipsoid_projections(phantom, g.views(some).general())
        errors = relative(np.stack([projections[k] for k in some]), exact)
        middle = slice(n // 2 - n // 16, n // 2 + n // 16)
        rmse = np.sqrt(np.mean((image[middle] - volume[middle]) ** 2))
        print(f"\nError of four projections {errors:.2e}; RMSE of FDK in the middle eighth of the slices {rmse:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", choices=["parallel", "cone"])
    parser.add_argument("--size", type=int, help="pixels on a side (default 2048, 512)")
    parser.add_argument("--views", type=int, help="(default 1440, 720)")
    parser.add_argument("--max-memory", type=float, default=1e9, help="bytes, of the cone beam (default 1e9)")
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, load average {os.getloadavg()[0]:.1f}, imports {peak():.2f} GB\n")
    print("| work | wall | peak memory so far |\n|---|---|---|")
    if options.problem == "parallel":
        parallel(options.size or 2048, options.views or 1440)
    else:
        cone(options.size or 512, options.views or 720, options.max_memory)


if __name__ == "__main__":
    main()
