"""The satellite operator on the CPU: a large scene in tiles, and a smaller one against scipy and deepinv.

    python benchmarks/satellite.py

WorldView-3, panchromatic, factor 2, float32, CPU time of one thread. The large scene once each way, with the peak of
the process's memory, all imports included; the small one as in blur.py, the least of seven turns. Peers that are not
installed are left out.
"""

import blur  # first: it sets the threads before numpy is imported

# isort: split

import resource
import time

import scipy.signal
import torch

from invreg.operators import Satellite

LARGE, SMALL, RADIUS = 10_000, 2048, 8


def large() -> None:
    A = Satellite("worldview3", (LARGE, LARGE), "panchromatic", radius=RADIUS).A
    x = torch.rand(LARGE, LARGE)
    A(x[:1].expand(LARGE, LARGE))  # what the first call sets up
    start = time.process_time()
    y = A(x)
    middle = time.process_time()
    A.adjoint(y)
    end = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"{LARGE}²: forward {middle - start:.1f} s, adjoint {end - middle:.1f} s, peak memory {peak:.1f} GB\n")


def small() -> None:
    made = Satellite("worldview3", (SMALL, SMALL), "panchromatic", radius=RADIUS)
    A, x = made.A, torch.rand(SMALL, SMALL)
    y = A(x)
    psf = torch.rand(4 * RADIUS + 1, 4 * RADIUS + 1)
    calls = {
        "invreg, forward": lambda: A(x),
        "scipy.signal.fftconvolve and slicing": lambda: scipy.signal.fftconvolve(x, psf, mode="valid")[::2, ::2],
        "invreg, adjoint": lambda: A.adjoint(y),
    }
    if blur.physics is not None:
        kernel, image = psf[None, None], x[None, None]
        fft = blur.physics.BlurFFT((1, SMALL, SMALL), filter=kernel)
        direct = blur.physics.Downsampling((1, SMALL, SMALL), filter=kernel, factor=2, padding="valid")
        sampled = direct.A(image)
        calls["deepinv BlurFFT and slicing"] = lambda: fft.A(image)[..., ::2, ::2]
        calls["deepinv Downsampling, forward"] = lambda: direct.A(image)
        calls["deepinv Downsampling, adjoint"] = lambda: direct.A_adjoint(sampled)
    print(f"| {SMALL}², {psf.shape[0]}² point spread function | ms |\n|---|---|")
    for name, seconds in zip(calls, blur.seconds(list(calls.values())), strict=True):
        print(f"| {name} | {1e3 * seconds:.0f} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        large()
        small()
