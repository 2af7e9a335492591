"""Blur, sampling, masks and differences on the CPU: invreg against deepinv, scipy, scikit-image and torch.

    python benchmarks/blur.py --size 512

CPU time of one thread, methods in turn, the least of at least seven turns, on float32 images. `error` is that of
invreg, relative, against the sum written out in float64; the adjoint mismatch |<Ax, y> - <x, A'y>| / (|Ax| |y|) is on
zero-mean noise. Peers that are not installed are left out. Prints Markdown; `rows(size)` gives the same as tuples.
"""

import os

for pool in ("OMP", "MKL", "OPENBLAS", "NUMBA"):  # before numpy and torch start theirs
    os.environ[f"{pool}_NUM_THREADS"] = "1"

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
import scipy.signal
import skimage.transform
import torch
from torch import Tensor

from invreg.core import Linear
from invreg.operators import (
    Blur,
    Downsample,
    FourierSampling,
    Gradient,
    Laplacian,
    Mask,
    ProductConvolution,
    Resize,
    TiledBlur,
    psf,
    random_lines,
    random_mask,
)

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import deepinv.physics as physics
except (ImportError, RuntimeError):
    physics = None  # type: ignore[assignment]

Call = Callable[[], Any]
Peers = dict[str, tuple[Any, Any]]  # forward and adjoint maps of one tensor, None where there is none


class Row(NamedTuple):
    operator: str
    peer: str
    ours_ms: float
    peer_ms: float
    ratio: float
    error: float
    adjoint_mismatch: float


def seconds(calls: list[Call], turns: int = 7) -> list[float]:
    """The least CPU time of each call over the turns, each long enough to be measured."""
    counts = []
    for call in calls:
        start = time.process_time()
        call()
        counts.append(max(1, int(5e-3 / max(time.process_time() - start, 1e-6))))
    best = [float("inf")] * len(calls)
    for _ in range(turns):
        for i, (call, count) in enumerate(zip(calls, counts, strict=True)):
            call()  # what the one before left in the caches is not its fault
            start = time.process_time()
            for _ in range(count):
                call()
            best[i] = min(best[i], (time.process_time() - start) / count)
    return best


def compare(
    name: str, A: Linear, exact: Callable[[Tensor], Tensor], peers: dict[str, tuple[Any, Any]]
) -> Iterator[Row]:
    """Rows of an operator against peers, with its error against the `exact` map in float64."""
    generator = torch.Generator().manual_seed(0)
    x, y = (space.random(generator=generator) for space in (A.domain, A.codomain))
    Ax, Aty = A(x), A.adjoint(y)
    truth = exact(x.to(torch.complex128 if x.is_complex() else torch.float64))
    error = float(torch.linalg.vector_norm(Ax - truth) / torch.linalg.vector_norm(truth))
    difference = (Ax.conj() * y).sum(dtype=truth.dtype) - (x.conj() * Aty).sum(dtype=truth.dtype)
    mismatch = float(abs(difference) / (torch.linalg.vector_norm(Ax) * torch.linalg.vector_norm(y)))
    for i, (what, ours, argument) in enumerate([("forward", A, x), ("adjoint", A.adjoint, y)]):
        names = [peer for peer, pair in peers.items() if pair[i] is not None]
        with torch.no_grad():
            times = seconds([partial(f, argument) for f in [ours, *(peers[peer][i] for peer in names)]])
        for peer, theirs in zip(names, times[1:], strict=True):
            yield Row(f"{name}, {what}", peer, 1e3 * times[0], 1e3 * theirs, theirs / times[0], error, mismatch)


def deepinv(name: str, make: Callable[[], Any], shape: tuple[int, ...]) -> Peers:
    """A physics as a peer on images (h, w); its adjoint is timed on measurements of its own."""
    if physics is None:
        return {}
    p = make()
    y = p.A(torch.zeros(1, *shape))
    return {f"deepinv {name}": (lambda x: p.A(x.reshape(1, *shape)), lambda _: p.A_adjoint(y))}


def direct(kernel: Tensor, mode: str | None) -> Callable[[Tensor], Tensor]:
    """Convolution tap by tap on an image extended by numpy in the given mode, or not."""

    def apply(x: Tensor) -> Tensor:
        (kh, kw), image = kernel.shape, x.numpy()
        if mode is not None:
            image = np.pad(image, [(k - 1 - k // 2, k // 2) for k in (kh, kw)], mode=mode)  # type: ignore[call-overload]
        h, w = image.shape[0] - kh + 1, image.shape[1] - kw + 1
        y = np.zeros((h, w))
        for m in range(kh):
            for n in range(kw):
                y += float(kernel[m, n]) * image[kh - 1 - m :, kw - 1 - n :][:h, :w]
        return torch.from_numpy(y)

    return apply


def blurs(n: int) -> Iterator[Row]:
    kernel = psf.gaussian(3.0, size=25)
    image, k, filters = (1, n, n), kernel.numpy(), kernel[None, None]
    transfer = torch.fft.rfft2(Blur(kernel, (n, n)).adjoint(torch.zeros(n, n)))

    def fft(x: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x) * transfer, s=(n, n))

    def scipy_peers(mode: str) -> Peers:
        return {"scipy.ndimage.convolve": (lambda x: scipy.ndimage.convolve(x.numpy(), k, mode=mode), None)}

    def convolve(mode: str) -> Peers:
        return {"scipy.signal.fftconvolve": (lambda x: scipy.signal.fftconvolve(x.numpy(), k, mode=mode), None)}

    def blur(padding: str, use_fft: bool) -> Peers:
        name = f"Blur, {padding}{', FFT' if use_fft else ''}"
        return deepinv(name, lambda: physics.Blur(filters, padding=padding, use_fft=use_fft), image)

    yield from compare(
        f"Blur 25², periodic, {n}²",
        Blur(kernel, (n, n)),
        direct(kernel, "wrap"),
        {"rfft2, product, irfft2": (fft, fft)}
        | deepinv("BlurFFT", lambda: physics.BlurFFT(image, filter=filters), image)
        | blur("circular", False)
        | scipy_peers("wrap"),
    )
    yield from compare(
        f"Blur 25², zero, {n}²",
        Blur(kernel, (n, n), "zero"),
        direct(kernel, "constant"),
        convolve("same") | blur("constant", True),
    )
    yield from compare(
        f"Blur 25², reflect, {n}²",
        Blur(kernel, (n, n), "reflect"),
        direct(kernel, "symmetric"),
        scipy_peers("reflect") | blur("reflect", True),  # deepinv mirrors about the pixel, not about its edge
    )
    yield from compare(
        f"Blur 25², valid, {n}²",
        Blur(kernel, (n, n), "valid"),
        direct(kernel, None),
        convolve("valid") | blur("valid", True),
    )


def varying(n: int) -> Iterator[Row]:
    tiles, k = 8, 21
    field = torch.stack([psf.gaussian((1 + 0.03 * i, 2.5), 0.05 * i, size=k) for i in range(tiles**2)])
    places = (np.arange(tiles) + 0.5) * n / tiles - 0.5
    hats = torch.from_numpy(np.stack([np.interp(np.arange(n), places, row) for row in np.eye(tiles)]))
    weights = (hats[:, None, :, None] * hats[None, :, None, :]).flatten(0, 1)

    def sum_of(kernels: Tensor, maps: Tensor) -> Callable[[Tensor], Tensor]:
        def apply(x: Tensor) -> Tensor:
            pairs = zip(kernels.double(), maps, strict=True)
            return sum(torch.from_numpy(scipy.signal.fftconvolve((w * x).numpy(), h, "same")) for h, w in pairs)

        return apply

    def space_varying(count: int) -> Peers:
        def make() -> Any:
            maps = weights[None, None, :count].float()
            return physics.SpaceVaryingBlur(field[None, None, :count], maps, padding="valid", use_fft=True)

        return deepinv("SpaceVaryingBlur, FFT", make, (1, n, n))

    def tiled() -> Any:  # (tiles - 1)^2 tiles of twice the pitch, and a valid boundary: less work
        step = n // tiles
        count = (tiles - 1) ** 2
        return physics.TiledSpaceVaryingBlur(field[None, None, :count], patch_size=2 * step, stride=step, use_fft=True)

    yield from compare(
        f"TiledBlur 8 x 8 of 21², {n}²",
        TiledBlur(field.unflatten(0, (tiles, tiles)), (n, n)),
        sum_of(field, weights),
        deepinv("TiledSpaceVaryingBlur", tiled, (1, n, n)) | space_varying(tiles**2),
    )
    few = 6
    yield from compare(
        f"ProductConvolution 6 of 21², {n}²",
        ProductConvolution(field[:few], weights[:few].float()),
        sum_of(field[:few], weights[:few].float()),
        space_varying(few),
    )


def cubic(n: int, factor: int, mode: str) -> Callable[[Tensor], Tensor]:
    """Keys' cubic, stretched, on an image extended by numpy in the given mode."""
    reach, places = 3 * factor, (np.arange(n // factor) + 0.5) * factor - 0.5
    t = abs(np.arange(-reach, n + reach) - places[:, None]) / factor
    weights = np.where(t <= 1, 1.5 * t**3 - 2.5 * t**2 + 1, np.clip(2 - t, 0, None) ** 2 * (1 - t) / 2)
    weights /= weights.sum(1, keepdims=True)
    return lambda x: torch.from_numpy(weights @ np.pad(x.numpy(), reach, mode=mode) @ weights.T)  # type: ignore[call-overload]


def sampling(n: int) -> Iterator[Row]:
    shape, image = (n, n), (1, n, n)

    def interpolate(x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(x[None, None], scale_factor=0.5, mode="bicubic", antialias=True)

    def scikit(x: Tensor) -> Any:
        return skimage.transform.resize(x.numpy(), (n // 2, n // 2), order=3, anti_aliasing=True)

    yield from compare(
        f"Resize to half, {n}²",
        Resize(shape, (n // 2, n // 2)),
        cubic(n, 2, "symmetric"),
        {"torch interpolate, antialias": (interpolate, None), "scikit-image resize": (scikit, None)}
        | deepinv("DownsamplingMatlab", lambda: physics.DownsamplingMatlab(factor=2), image),
    )
    yield from compare(
        f"Downsample by 4, box, {n}²",
        Downsample(shape, 4),
        lambda x: torch.nn.functional.avg_pool2d(x[None], 4)[0],
        {"torch avg_pool2d": (lambda x: torch.nn.functional.avg_pool2d(x[None], 4), None)}
        | deepinv("Downsampling", lambda: physics.Downsampling(image, torch.full((1, 1, 4, 4), 1 / 16), 4), image),
    )
    yield from compare(
        f"Downsample by 4, cubic, {n}²",
        Downsample(shape, 4, "cubic", boundary="periodic"),
        cubic(n, 4, "wrap"),
        deepinv("Downsampling, bicubic", lambda: physics.Downsampling(image, "bicubic", 4), image),
    )


def masks(n: int) -> Iterator[Row]:
    generator, image = torch.Generator().manual_seed(0), (1, n, n)
    mask = random_mask((n, n), 0.3, generator)
    yield from compare(
        f"Mask, {n}²",
        Mask(mask),
        lambda x: x * mask,
        deepinv("Inpainting", lambda: physics.Inpainting(image, mask=mask.float()), image),
    )
    lines = random_lines((n, n), 4.0, generator)
    coils = torch.randn(8, n, n, generator=generator, dtype=torch.complex64)

    def transform(x: Tensor) -> Tensor:
        return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(x, (-2, -1)), norm="ortho"), (-2, -1)) * lines

    pair, size = torch.zeros(1, 2, n, n), (2, n, n)
    peers = {}
    if physics is not None:
        for name, p in {
            "MRI": physics.MRI(mask=lines.float(), img_size=size),
            "MultiCoilMRI, 8 coils": physics.MultiCoilMRI(mask=lines.float(), coil_maps=coils, img_size=size),
        }.items():
            y = p.A(pair)
            peers[name] = {f"deepinv {name}": (lambda _, p=p: p.A(pair), lambda _, p=p, y=y: p.A_adjoint(y))}
    yield from compare(f"FourierSampling, {n}²", FourierSampling(lines), transform, peers.get("MRI", {}))
    yield from compare(
        f"FourierSampling, 8 coils, {n}²",
        FourierSampling(lines, coils),
        lambda x: transform(x * coils),
        peers.get("MultiCoilMRI, 8 coils", {}),
    )


def differences(n: int) -> Iterator[Row]:
    def gradient(x: Tensor) -> Tensor:
        parts = [np.diff(x.numpy(), axis=axis, append=np.take(x.numpy(), [-1], axis)) for axis in (0, 1)]
        return torch.from_numpy(np.stack(parts))

    peers: Peers = {"numpy diff": (gradient, None)}
    if physics is not None:
        from deepinv.optim import TVPrior

        prior = TVPrior()
        y = prior.nabla(torch.zeros(1, 1, n, n))
        peers["deepinv TVPrior.nabla"] = (lambda x: prior.nabla(x[None, None]), lambda _: prior.nabla_adjoint(y))
    yield from compare(f"Gradient, {n}²", Gradient((n, n)), gradient, peers)

    def laplace(x: Tensor) -> Tensor:
        return torch.from_numpy(scipy.ndimage.laplace(x.numpy(), mode="nearest"))

    yield from compare(f"Laplacian, {n}²", Laplacian((n, n)), laplace, {"scipy.ndimage.laplace": (laplace, None)})


def rows(n: int) -> Iterator[Row]:
    for group in (blurs, varying, sampling, masks, differences):
        yield from group(n)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="pixels along each axis of the images")
    torch.set_num_threads(1)
    print("| operator | peer | invreg ms | peer ms | ratio | error | adjoint mismatch |\n|---|---|---|---|---|---|---|")
    for row in rows(parser.parse_args().size):
        numbers = (
            f"{row.ours_ms:.2f} | {row.peer_ms:.2f} | {row.ratio:.2f} | {row.error:.1e} | {row.adjoint_mismatch:.1e}"
        )
        print(f"| {row.operator} | {row.peer} | {numbers} |", flush=True)
