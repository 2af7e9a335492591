"""Total variation denoising on the CPU: invreg against scikit-image, ODL and deepinv, to the same accuracy.

    python benchmarks/tv.py --size 2048 --times 8

min |x - y|^2 / 2 + weight TV(x) of a float32 image with noise, CPU time of one thread. `error` is the relative excess
of the objective, in float64, over the best lower bound, which is our primal-dual bound at a gap of 1e-6. A peer has 25,
50, 100 ... iterations, each anew, until the error is at most 1e-4 or its time is more than `times` ours: then its ratio
is a lower bound. The other tables set the kernels' traffic against that of a copy. Prints Markdown.
"""

import os

for pool in ("OMP", "MKL", "OPENBLAS", "NUMBA"):  # before numpy and torch start theirs
    os.environ[f"{pool}_NUM_THREADS"] = "1"

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import skimage.data
import skimage.restoration
import skimage.transform
import torch
from torch import Tensor

from invreg.priors import TV, tv_denoise
from invreg.priors import kernels_cpu as kernels
from invreg.priors.denoise import BLOCK, EVERY

WEIGHT, NOISE, GOAL = 0.1, 0.1, 1e-4


def by_skimage(y: Tensor, iterations: int) -> Tensor:
    """Its weight counts |x - y|^2 / 2 as we do; eps = 0 so that it does not stop by itself."""
    x = skimage.restoration.denoise_tv_chambolle(y.numpy(), weight=WEIGHT, eps=0, max_num_iter=iterations)
    return torch.from_numpy(np.ascontiguousarray(x))


def by_odl(y: Tensor, iterations: int) -> Tensor:
    """Accelerated by the strong convexity of the data term, with forward differences that see no edge at the border."""
    import odl

    space = odl.uniform_discr([0, 0], y.shape, y.shape, dtype="float32")
    D = odl.Gradient(space, pad_mode="symmetric")
    data = 0.5 * odl.functionals.L2NormSquared(space).translated(space.element(y.numpy()))
    x, step = space.element(y.numpy().copy()), 1 / 8**0.5  # it writes to x
    tv = WEIGHT * odl.functionals.GroupL1Norm(D.range)
    odl.solvers.pdhg(x, data, tv, D, niter=iterations, tau=step, sigma=step, gamma_primal=1.0)
    return torch.from_numpy(x.asarray())


def by_deepinv(y: Tensor, iterations: int) -> Tensor:
    import deepinv

    model = deepinv.models.TVDenoiser(n_it_max=iterations, crit=0.0)
    return model(y[None, None], ths=WEIGHT)[0, 0]


PEERS = {"scikit-image `denoise_tv_chambolle`": by_skimage, "ODL `pdhg`": by_odl, "deepinv `TVDenoiser`": by_deepinv}


def timed(f: Callable[[], Tensor]) -> tuple[Tensor, float]:
    start = time.process_time()
    x = f()
    return x, time.process_time() - start


def image(size: int) -> Tensor:
    """The photograph `camera` of scikit-image, in [0, 1], with noise."""
    clean = skimage.transform.resize(skimage.data.camera() / 255, (size, size), anti_aliasing=True)
    return torch.from_numpy(clean).float() + NOISE * torch.randn(size, size, generator=torch.Generator().manual_seed(0))


def denoising(size: int, times: float) -> None:
    y = image(size)
    prior = TV((size, size))

    def objective(x: Tensor) -> float:
        x = x.double()
        return float((x - y.double()).square().sum() / 2 + WEIGHT * prior(x))

    best, gap = tv_denoise(y, WEIGHT, tol=1e-6, max_iter=20000)  # and the kernels are compiled
    lower = objective(best) * (1 - float(gap))
    (x, certified), ours = timed(lambda: tv_denoise(y, WEIGHT, tol=GOAL, max_iter=20000))
    print(f"{size} x {size}, weight {WEIGHT}, noise {NOISE}, load {os.getloadavg()[0]:.1f}\n")
    print("| method | iterations | error | CPU s | ratio |\n|---|---|---|---|---|")
    error = objective(x) / lower - 1
    print(f"| invreg `tv_denoise`, certified gap {float(certified):.1e} | | {error:.1e} | {ours:.2f} | 1 |", flush=True)
    for name, method in PEERS.items():
        iterations = 25
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                method(y[:32, :32].contiguous(), 2)
                x, seconds = timed(partial(method, y, iterations))
                while objective(x) / lower - 1 > GOAL and seconds <= times * ours:
                    iterations *= 2
                    x, seconds = timed(partial(method, y, iterations))
        except ImportError:
            continue
        error = objective(x) / lower - 1
        more = "" if error <= GOAL else "more than "
        print(f"| {name} | {iterations} | {error:.1e} | {seconds:.2f} | {more}{seconds / ours:.0f} |", flush=True)


def bandwidth(shape: tuple[int, ...]) -> None:
    """Bytes that each kernel must read and write at least, over its CPU time."""
    box, axes = (*(1,) * (3 - len(shape)), *shape), len(shape)
    rng = np.random.default_rng(0)
    y = rng.standard_normal((1, *box), np.float32)
    x, u = y.copy(), np.zeros((1, axes, *box), np.float32)
    v, out = u.copy(), u.copy()
    inverse, radius, rows = np.ones(axes, np.float32), np.full((1, 1, 1), 0.5, np.float32), box[0] * box[1]
    block = box[1] if box[0] > 1 else BLOCK // box[2]
    calls = {
        "copy": (2 * axes, lambda: np.copyto(out, u)),
        "gradient": (1 + axes, lambda: kernels.gradient(x, inverse, out, 0, rows)),
        "adjoint": (1 + axes, lambda: kernels.adjoint(u, inverse, x, 0, rows)),
        "dual step": (1 + 2 * axes, lambda: kernels.ascend(x, u, inverse, radius, 0.1, 0.0, True, out, 0, rows)),
        f"{EVERY} steps of `tv_denoise`": (
            EVERY * (3 + 5 * axes),
            lambda: kernels.fista(y, u, v, x, inverse, radius, 0.1, 0.0, True, np.full(EVERY, 0.5), block),
        ),
    }
    print(f"\nfloat32 {' x '.join(map(str, shape))}\n\n| kernel | ms | GB/s |\n|---|---|---|")
    for name, (arrays, call) in calls.items():
        call()
        seconds = min(timed(call)[1] for _ in range(9))  # type: ignore[arg-type]
        print(f"| {name} | {1e3 * seconds:.2f} | {arrays * y.nbytes / seconds / 1e9:.1f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--times", type=float, default=8.0, help="our CPU time a peer may take before it is stopped")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    denoising(arguments.size, arguments.times)
    bandwidth((arguments.size, arguments.size))
    bandwidth((min(arguments.size // 8, 64),) * 2 + (512,))
