"""invreg: computational imaging and inverse problems."""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("invreg")

_LAZY = {"solve": "invreg.core", "Result": "invreg.core"}
_MODULES = ("core", "io", "operators", "priors", "solvers", "recipes", "report", "adapters", "metrics")


def __getattr__(name: str) -> Any:  # PEP 562: `import invreg` alone loads nothing heavy
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _MODULES:
        return import_module(f"invreg.{name}")
    raise AttributeError(f"module 'invreg' has no attribute {name!r}")
