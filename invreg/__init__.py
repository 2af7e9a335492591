"""invreg: computational imaging and inverse problems."""

import os
from importlib import import_module
from importlib.metadata import version
from typing import Any

# OpenMP's threads, torch's among them, would else spin for a while after each loop, on the cores that the
# projector's own threads need; it counts only if set before torch is loaded
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = version("invreg")

_LAZY = {"solve": "invreg.core", "Result": "invreg.core"}
_MODULES = ("core", "io", "operators", "priors", "solvers", "recipes", "report", "adapters", "metrics")


def __getattr__(name: str) -> Any:  # PEP 562: `import invreg` alone loads nothing heavy
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _MODULES:
        return import_module(f"invreg.{name}")
    raise AttributeError(f"module 'invreg' has no attribute {name!r}")
