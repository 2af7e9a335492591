"""deepinv 0.5: its physics, priors, denoisers and fidelities as operators and functionals, and ours in its algorithms.

Images are (*batch, channel, h, w) with values as deepinv takes them, usually [0, 1] for denoisers. Its sinograms
are (*batch, channel, detector, angle) for Tomography and (*batch, channel, angle, detector) for TomographyWithAstra.
"""

import torch

try:
    import deepinv  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("invreg.adapters.deepinv needs deepinv: pip install 'invreg[interop]'") from error
except RuntimeError as error:  # its torchvision, a CUDA build on PyPI, does not fit a CPU-only torch
    raise ImportError(
        f"deepinv needs a torchvision that fits torch {torch.__version__}; install both from the same index "
        f"(pip install torch torchvision); importing it said: {error}"
    ) from error

from invreg.adapters.deepinv.likelihoods import from_fidelity, from_noise, to_fidelity, to_noise
from invreg.adapters.deepinv.physics import from_physics, to_physics
from invreg.adapters.deepinv.priors import from_denoiser, from_prior, to_denoiser, to_prior

__all__ = [
    "from_denoiser",
    "from_fidelity",
    "from_noise",
    "from_physics",
    "from_prior",
    "to_denoiser",
    "to_fidelity",
    "to_noise",
    "to_physics",
    "to_prior",
]
