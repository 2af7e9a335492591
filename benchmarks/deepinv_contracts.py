"""Which laws of our contract the operators of deepinv keep, wrapped by `invreg.adapters.deepinv.from_physics`.

    python benchmarks/deepinv_contracts.py

Runs the tests of tests/test_operators.py on each physics, in float32 and float64, on small images, less the law of
pickling, which all fail (their noise models hold lambdas). Prints Markdown: the physics by the laws that they fail.
"""

import inspect
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
warnings.simplefilter("ignore")  # deepinv warns of its own defaults
import deepinv.physics as physics
import test_operators
from members import LINEAR, Member

from invreg.adapters.deepinv import from_physics

CPU = torch.device("cpu")
NAMES = {
    "adjoint_is_the_conjugate_transpose": "adjoint",
    "autograd_is_the_adjoint_to_any_order": "autograd",
    "batch_axes_are_independent": "batches",
    "dtype_device_and_shape_are_kept": "dtype",
    "memory_layout_and_grad_mode_do_not_matter": "layout",
    "norm_is_the_largest_singular_value_from_above": "norm",
    "normal_is_the_adjoint_after_the_operator": "normal",
    "wrong_shape_says_who_takes_got": "shape errors",
}


def uniform(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def cases() -> dict[str, tuple[Callable[[], physics.Physics], tuple[int, ...]]]:
    kernel, image = uniform(1, 1, 3, 3), (1, 12, 12)
    found: dict[str, tuple[Callable[[], physics.Physics], tuple[int, ...]]] = {
        "BlurFFT": (lambda: physics.BlurFFT(image, filter=kernel), image),
    }
    for padding in ("valid", "circular", "constant", "reflect", "replicate"):
        for fft in (False, True):
            found[f"Blur, {padding}{', FFT' if fft else ''}"] = (
                lambda padding=padding, fft=fft: physics.Blur(kernel, padding=padding, use_fft=fft),
                image,
            )
    for name in ("gaussian", "bilinear", "bicubic", "sinc", None):
        found[f"Downsampling, {name}"] = (
            lambda name=name: physics.Downsampling(filter=name, factor=2, img_size=image),
            image,
        )
    for padding in ("reflect", "replicate", "constant"):
        found[f"Downsampling, bicubic, {padding}"] = (
            lambda padding=padding: physics.Downsampling(filter="bicubic", factor=2, padding=padding, img_size=image),
            image,
        )
    masks = (uniform(12, 12) > 0.5).float()
    coils = torch.complex(uniform(3, 12, 12), uniform(3, 12, 12).flip(0))
    weights = uniform(1, 1, 4, 12, 12)
    for padding in ("valid", "circular", "reflect"):
        for fft in (False, True):
            found[f"SpaceVaryingBlur, {padding}{', FFT' if fft else ''}"] = (
                lambda padding=padding, fft=fft: physics.SpaceVaryingBlur(
                    filters=uniform(1, 1, 4, 3, 3),
                    multipliers=weights,
                    padding=padding,
                    use_fft=fft,
                ),
                image,
            )
    return found | {
        "Upsampling, bicubic": (
            lambda: physics.Upsampling(img_size=(1, 24, 24), filter="bicubic", factor=2),
            image,
        ),
        "DownsamplingMatlab, factor 2": (lambda: physics.DownsamplingMatlab(factor=2), image),
        "DownsamplingMatlab, factor 1.5": (lambda: physics.DownsamplingMatlab(factor=1.5), image),
        "TiledSpaceVaryingBlur": (
            lambda: physics.TiledSpaceVaryingBlur(uniform(1, 1, 9, 3, 3), patch_size=6, stride=3, use_fft=True),
            image,
        ),
        "Inpainting": (lambda: physics.Inpainting(image, mask=masks), image),
        "Demosaicing": (lambda: physics.Demosaicing((3, 8, 8)), (3, 8, 8)),
        "Decolorize": (lambda: physics.Decolorize(channels=3), (3, 6, 6)),
        "MRI": (lambda: physics.MRI(mask=masks, img_size=(2, 12, 12)), (2, 12, 12)),
        "MultiCoilMRI": (lambda: physics.MultiCoilMRI(mask=masks, coil_maps=coils, img_size=(2, 12, 12)), (2, 12, 12)),
        "CompressedSensing": (lambda: physics.CompressedSensing(m=20, img_size=(1, 6, 6)), (1, 6, 6)),
        "SinglePixelCamera": (lambda: physics.SinglePixelCamera(m=20, img_size=(1, 8, 8)), (1, 8, 8)),
        "StructuredRandom": (lambda: physics.StructuredRandom((1, 8, 8), (1, 8, 8)), (1, 8, 8)),
    }


def laws() -> dict[str, Callable[..., None]]:
    """The contract tests that run on each linear operator, less that of pickling."""
    tests = {name.removeprefix("test_"): test for name, test in vars(test_operators).items() if name[:5] == "test_"}
    tests = {name: test for name, test in tests.items() if "case" in inspect.signature(test).parameters}
    return {name: test for name, test in tests.items() if _runs_on_linear(test) and name != "pickling"}


def _runs_on_linear(test: Callable[..., None]) -> bool:
    marks: list[pytest.Mark] = test.pytestmark  # type: ignore[attr-defined]
    return any(LINEAR[0] in mark.args[1] for mark in marks if mark.name == "parametrize")


def failures(make: Callable[[], physics.Physics], shape: tuple[int, ...], dtype: torch.dtype) -> list[str]:
    failed = []
    for name, test in laws().items():
        wanted = inspect.signature(test).parameters
        given = {
            "case": Member("deepinv", lambda: from_physics(make(), shape)),
            "device": CPU,
            "dtype": dtype,
            "generator": torch.Generator().manual_seed(20240611),
        }
        try:
            test(**{key: given[key] for key in wanted})
        except Exception:
            failed.append(NAMES.get(name, name.replace("_", " ")))
    return failed


if __name__ == "__main__":
    torch.set_num_threads(1)
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, (make, shape) in cases().items():
        outcome = tuple(", ".join(failures(make, shape, dtype)) or "none" for dtype in (torch.float32, torch.float64))
        groups.setdefault(outcome, []).append(name)
    print("| physics | laws that fail in float32 | in float64 |\n|---|---|---|")
    for outcome, names in groups.items():
        print(f"| {'; '.join(names)} | {' | '.join(outcome)} |")
