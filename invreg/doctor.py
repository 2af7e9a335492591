"""What works on this machine, and why the rest does not. Imports nothing heavy itself."""

import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple


class Check(NamedTuple):
    """One finding: works, does not (and is `needed` or not), and why in words."""

    name: str
    works: bool
    needed: bool
    detail: str


# Each probe runs in a process of its own, so that a package that ends its process takes nothing down with it
# (astra's 3-D calls without a GPU do). It prints its finding in words, or raises with the reason.
NEEDED = {
    "torch": "import torch; print(torch.__version__, 'with', torch.get_num_threads(), 'threads')",
    "numba": "import numba; print(numba.__version__, 'with', numba.config.NUMBA_NUM_THREADS, 'threads')",
    "kernel cache": """
import os, tempfile, numba
from pathlib import Path
import invreg.operators.tomography as t
folder = Path(numba.config.CACHE_DIR or Path(t.__file__).parent / "__pycache__")
kept = len(list(folder.rglob("*.nbi")))
if not os.access(folder if folder.exists() else folder.parent, os.W_OK):
    user = Path.home() / ".cache"
    print(f"{folder} is not writable: numba falls back to {user}, or set NUMBA_CACHE_DIR")
else:
    print(f"{kept} compiled kernels in {folder}" if kept else f"empty ({folder}): the first run compiles")
""",
    "projector": """
import math, torch, numpy as np
from invreg.operators.tomography import Parallel2D, XRay
A = XRay(Parallel2D(np.linspace(0, math.pi, 12, endpoint=False), 32), (32, 32))
g = torch.Generator().manual_seed(0)
x, y = A.domain.random(generator=g), A.codomain.random(generator=g)
a, b = float((A(x) * y).sum()), float((x * A.adjoint(y)).sum())
if not abs(a - b) < 1e-4 * float(A(x).norm() * y.norm()):
    raise ArithmeticError(f"the adjoint does not match the forward: {a} against {b}")
print("forward and adjoint agree")
""",
    "files": "import h5py, tifffile; print('h5py', h5py.__version__ + ', tifffile', tifffile.__version__)",
    "scipy": "import scipy, scipy.io; print(scipy.__version__)",
    "scikit-image": "import skimage, skimage.metrics; print(skimage.__version__)",
    "matplotlib": "import matplotlib.figure; print(matplotlib.__version__)",
    "pydantic, rich": """
import pydantic, rich.progress
from importlib.metadata import version
print(pydantic.VERSION + ', rich', version('rich'))
""",
}
OPTIONAL = {
    "CUDA": """
import torch
if torch.version.cuda is None:
    raise RuntimeError("this torch is built without CUDA")
if not torch.cuda.is_available():
    raise RuntimeError(f"torch is built for CUDA {torch.version.cuda}, but no GPU or driver was found")
p = torch.cuda.get_device_properties(0)
print(f"{p.name}, {p.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
""",
    "more files": """
import astropy.io.fits, imagecodecs, nibabel, olefile, pydicom, rawpy
print(f"DICOM, NIfTI, FITS, GeoTIFF, raw, .txrm: pydicom {pydicom.__version__}, nibabel {nibabel.__version__}")
""",
    "deepinv": "import deepinv; print(deepinv.__version__)",
    "odl": "import odl; print(odl.__version__)",
    "astra": """
import astra
gpu = "with CUDA" if astra.use_cuda() else "2-D on the CPU only: it finds no CUDA GPU, and 3-D calls are refused"
print(f"{astra.__version__}, {gpu}")
""",
}


def _probe(name: str, code: str, needed: bool) -> Check:
    try:
        # -P: what lies in the working folder must not shadow a package
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=180
        )
    except subprocess.TimeoutExpired:
        return Check(name, False, needed, "gave no answer in 3 minutes")
    except OSError as e:
        return Check(name, False, needed, f"could not be tried: {e}")
    out, err = done.stdout.strip().splitlines(), done.stderr.strip().splitlines()
    if done.returncode == 0:
        return Check(name, True, needed, out[-1] if out else "")
    reason = err[-1] if err else f"it ended its process with code {done.returncode}"
    if "ModuleNotFoundError" in reason:
        missing = reason.rpartition("'")[0].rpartition("'")[2]
        extra = "files" if name == "more files" else "interop"
        reason = f"{missing} is not installed: pip install " + ("invreg" if needed else f"'invreg[{extra}]'")
    return Check(name, False, needed, reason)


def machine() -> dict[str, str]:
    """Python, platform, processor and cores, without importing anything heavy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = {k: os.environ[k] for k in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS") if k in os.environ}
    told = ", ".join(f"{k}={v}" for k, v in limits.items())
    return {
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "cores": f"{cores} usable" + (f" ({told})" if told else ""),
    }


def checks() -> list[Check]:
    """All findings, those of the main job first. Takes some seconds: it imports everything once."""
    probes = [(n, c, True) for n, c in NEEDED.items()] + [(n, c, False) for n, c in OPTIONAL.items()]
    with ThreadPoolExecutor(max(2, (os.cpu_count() or 2) // 2)) as pool:
        return list(pool.map(lambda probe: _probe(*probe), probes))


def doctor(as_json: bool = False) -> int:
    """Print the findings; 0 where the main job runs here, else 1."""
    found, about = checks(), machine()
    ready = all(c.works for c in found if c.needed)
    if as_json:
        print(json.dumps({"ready": ready, "machine": about, "checks": [c._asdict() for c in found]}, indent=1))
        return 0 if ready else 1
    for key, text in about.items():
        print(f"     {key:16} {text}")
    for c in found:
        print(f"{'ok  ' if c.works else 'FAIL' if c.needed else 'no  '} {c.name:16} {c.detail}")
    print("The main job runs here." if ready else "The main job does not run here: see the lines marked FAIL.")
    return 0 if ready else 1
