"""The ray transform on a GPU: its kernels in Triton's interpreter, and on a device where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from invreg.operators import ConeBeam, FanBeam2D, Parallel2D, Parallel3D, XRay, helix
from invreg.operators.tomography import gpu, gpu_parallel

FOLDER = Path(__file__).parent
ANGLES = np.linspace(0, 2 * np.pi, 90, endpoint=False)
CONE = {"source_origin": 500, "source_detector": 750}


def test_the_kernels_in_the_interpreter():
    """In a process of its own: Triton reads the variable once, when it is imported."""
    triton = pytest.importorskip("triton", exc_type=ImportError)
    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 8):
        pytest.skip("the interpreter of Triton before 3.8 does not know numpy 2.4")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", str(FOLDER / "interpreted_triton.py")],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:]


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter takes tensors on the CPU")
@pytest.mark.parametrize("geometry", [Parallel2D(ANGLES, 20), FanBeam2D(ANGLES, 20, **CONE)], ids=["parallel", "fan"])
def test_a_tensor_on_the_cpu_is_refused_in_one_sentence(geometry):
    pytest.importorskip("triton", exc_type=ImportError)
    with pytest.raises(
        RuntimeError, match=r'^backend "triton" runs on a CUDA device and the tensor is on cpu: .*[^.]$'
    ):
        XRay(geometry, (16, 16), 1.0, backend="triton")(torch.zeros(16, 16))


FLAT = {"FLAT": True, "PARALLEL": False, "CURVED": False, "UPRIGHT": True, "STEEP": False}
SPACE = {"FLAT": False, "PARALLEL": False, "CURVED": True, "UPRIGHT": False, "STEEP": True}
CONE_BEAM = {"FLAT": False, "PARALLEL": False, "CURVED": False, "UPRIGHT": True, "STEEP": False}
BEAM = {"FLAT": False, "PARALLEL": True, "CURVED": False, "UPRIGHT": True, "STEEP": False}
COMPILED = {
    "plane": ("joseph", {**FLAT, **gpu.RAYS["plane"], "INDEX": "int32"}),
    "plane, adjoint": ("joseph_adjoint", {**FLAT, **gpu.VOXELS["plane"]}),
    "space": ("joseph", {**SPACE, **gpu.RAYS["free"], "INDEX": "int64"}),
    "space, adjoint": ("joseph_adjoint", {**SPACE, **gpu.VOXELS["free"]}),
    "cone": ("joseph", {**CONE_BEAM, **gpu.RAYS["aligned"], "INDEX": "int32"}),
    "cone, adjoint": ("joseph_adjoint", {**CONE_BEAM, **gpu.VOXELS["aligned"]}),
    "cone, lengths": ("weigh", {k: v for k, v in {**CONE_BEAM, **gpu.RAYS["aligned"]}.items() if k != "FLAT"}),
    "beam": ("joseph", {**BEAM, **gpu.RAYS["aligned"], "INDEX": "int32"}),
    "beam, adjoint": ("joseph_adjoint", {**BEAM, **gpu.VOXELS["aligned"]}),
    "sum": ("shear_sum", gpu_parallel.SUM),
    "spread": ("shear_spread", gpu_parallel.SPREAD),
    "resample": ("resample", {"TAPS": 7, "BINS": gpu_parallel.LANES}),
    "resample, adjoint": ("resample_adjoint", {"TAPS": 7, "PLACES": gpu_parallel.LANES}),
}
INTEGERS = ["views", "rows", "columns", "depth", "height", "width", "length", "bins", "total_views", "most"]
POINTERS = {"shift": "*fp64", "slope": "*fp64", "first": "*i32", "start": "*i32", "chosen": "*i32"}


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("ones", [True, False], ids=["all of one", "any size"])
def test_the_kernels_compile_for_a_cuda_device(name, ones):
    """To machine code, which needs no device. Triton takes arguments that are 1 as constants, with other rules."""
    compiler = pytest.importorskip("triton.compiler", exc_type=ImportError)
    import triton.language as tl
    from triton.backends.compiler import GPUTarget

    from invreg.operators.tomography import kernels_triton, kernels_triton_adjoint, kernels_triton_parallel

    kernel, constants = COMPILED[name]
    modules = kernels_triton, kernels_triton_adjoint, kernels_triton_parallel
    function = next(getattr(module, kernel) for module in modules if hasattr(module, kernel))
    arguments = [argument for argument in function.arg_names if argument not in constants]
    ones_here = {argument: 1 for argument in arguments if ones and argument in INTEGERS}
    constants = {**constants, **ones_here}
    if "INDEX" in constants:
        constants["INDEX"] = getattr(tl, constants["INDEX"])
    integers = (*INTEGERS, "margin", "size")
    kinds = {a: "i32" if a in integers else POINTERS.get(a, "*fp32") for a in function.arg_names}
    kinds |= dict.fromkeys(constants, "constexpr")
    source, target = compiler.ASTSource(function, kinds, constants), GPUTarget("cuda", 90, 32)
    made = compiler.compile(source, target=target, options=gpu.OPTIONS)
    assert made.asm["cubin"]


CASES = {
    "parallel": (Parallel2D(ANGLES, 300, 0.9, 151.3), (256, 240)),
    "fan": (FanBeam2D(ANGLES, 400, 1.2, 197.2, **CONE), (256, 240)),
    "arc": (FanBeam2D(ANGLES, 400, 1.2, 197.2, curved=True, **CONE), (256, 240)),
    "parallel in space": (Parallel3D(ANGLES, 60, 200), (64, 128, 130)),
    "cone": (ConeBeam(ANGLES, 80, 200, 1.5, **CONE), (64, 128, 130)),
    "tilted": (ConeBeam(ANGLES, 80, 200, 1.5, tilt=(0.05, 0.1, 0.02), **CONE), (64, 128, 130)),
    "helix": (ConeBeam(ANGLES, 40, 200, 1.5, heights=helix(ANGLES, 60.0), **CONE), (64, 128, 130)),
    "cylinder": (ConeBeam(ANGLES, 80, 200, 1.5, curved=True, **CONE), (64, 128, 130)),
    "steep": (ConeBeam(ANGLES, 300, 150, 2.0, source_origin=120, source_detector=200), (128, 96, 90)),
}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("geometry", "shape"), CASES.values(), ids=CASES)
def test_device_and_cpu_agree_and_the_pair_is_matched(geometry, shape):
    from invreg.operators.tomography.joseph import JosephProjector
    from invreg.operators.tomography.parallel import ParallelProjector

    A = XRay(geometry, shape, 1.0, backend="triton")
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, *shape, generator=generator)
    y = torch.randn(2, *geometry.shape, generator=generator)
    Ax, Aty = A(x.cuda()).cpu(), A.adjoint(y.cuda()).cpu()
    views, flat = geometry.general(), len(shape) == 2
    if flat and views.parallel:
        cpu = ParallelProjector(views, shape, 1.0)
    else:  # a plane is a space of one slice
        cpu = JosephProjector(gpu.lifted(views) if flat else views, (1, *shape)[-3:], 1.0, 1.0)
    for got, given, product in ((Ax, x, cpu.project), (Aty, y, cpu.backproject)):
        if flat and not views.parallel:
            given = given[:, None] if product == cpu.project else given[:, :, None]
        expected = product(given).reshape(got.shape)
        assert torch.linalg.norm(got - expected) < 1e-4 * torch.linalg.norm(expected)
    mismatch = (Ax.double() * y).sum() - (x.double() * Aty).sum()
    assert abs(mismatch) < 1e-6 * torch.linalg.norm(Ax) * torch.linalg.norm(y)
