"""The dual step of total variation on a CUDA device, by the Triton kernel of kernels_triton.py."""

import math
from contextlib import nullcontext
from functools import cache

import torch
from torch import Tensor

from invreg.priors.jacobian import Jacobian
from invreg.priors.norms import GroupHuber, GroupL1

TILE = {"ROWS": 4, "COLUMNS": 128}
OPTIONS = {"enable_fp_fusion": True}  # the default until Triton 3.9, which asks to have it said


def fits(f: GroupL1, K: Jacobian, x: Tensor) -> bool:
    """Whether the kernel takes them: real images of one channel with one length for both axes."""
    plain = type(K) is Jacobian and len(K.shape) == 2 and K.channels == 1 and f.ndim == 3
    return plain and x.device.type == "cuda" and x.dtype in (torch.float32, torch.float64) and _present()


@cache
def _present() -> bool:
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True


def ascend(f: GroupL1, K: Jacobian, u: Tensor, x: Tensor, step: Tensor) -> Tensor:
    """f.conj_prox(u + step K x, step) in one pass: x (*batch, h, w), u (*batch, 2, h, w), step (*batch,)."""
    from invreg.priors.kernels_triton import ascend as kernel

    batch, (h, w) = K.domain.batch(x), K.shape
    out = torch.empty_like(u, memory_format=torch.contiguous_format)
    weights = x.new_ones(1, 1) if f.weights is None else f.weights.to(x.dtype)
    flat = weights.shape[-2:] == (1, 1)
    radius = weights.expand(*batch, *((1, 1) if flat else (h, w))).contiguous()
    tiles = -(-h // TILE["ROWS"]) * -(-w // TILE["COLUMNS"])
    factors = [*K.inverse, f.alpha if isinstance(f, GroupHuber) else 0.0]
    # numbers of their own would arrive in single precision
    table = (
        (step.expand(batch).double()[..., None] * step.new_tensor(factors, dtype=torch.float64))
        .to(x.dtype)
        .contiguous()
    )
    if programs := tiles * math.prod(batch):
        context = torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext()
        with context:
            kernel[(programs,)](x.contiguous(), u.contiguous(), out, radius, table, h, w, FLAT=flat, **TILE, **OPTIONS)
    return out
