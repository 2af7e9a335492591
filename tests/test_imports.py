"""Who may import whom, read from the syntax tree, and what an import costs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [p for room in ("invreg", "operators", "priors", "solvers") for p in sorted(ROOT.glob(f"{room}/**/*.py"))]
FILES = [p for p in FILES if not any(parent.is_symlink() for parent in p.parents)]  # each file by its real name

HEAVY = {"deepinv", "odl", "astra", "skimage", "matplotlib", "h5py", "tifffile", "scipy", "pydantic", "rich", "numba"}
HEAVY |= {"triton", "astropy", "imagecodecs", "nibabel", "olefile", "optuna", "PIL", "pydicom", "rawpy"}
HEAVY |= {"safetensors"}
# what a part of invreg may know of the rest; parts not named here may import all but the adapters
MAY_IMPORT = {
    "core": {"core"},
    "operators": {"core", "operators"},
    "priors": {"core", "operators", "priors"},
    "solvers": {"core", "solvers"},
    "adapters": {"core", "operators", "priors", "solvers", "adapters"},
    "io": {"core", "operators", "io", "__version__"},
    "metrics": set(),
}
# a convenience of the result, which core makes and io writes
EXCEPTIONS = {("invreg/core/solver.py", "invreg.io")}
HEAVY_AT_MODULE_LEVEL = {  # the files that are made of them
    "invreg/adapters/deepinv/__init__.py",
    "invreg/adapters/deepinv/likelihoods.py",
    "invreg/adapters/deepinv/physics.py",
    "invreg/adapters/deepinv/priors.py",
    "invreg/adapters/odl.py",
    "invreg/adapters/odl_geometry.py",
    "invreg/recipes/config.py",
    "invreg/train/config.py",
    "invreg/train/scans.py",
    "invreg/train/svtv_weights.py",
    "invreg/train/denoiser.py",
    "invreg/train/denoising.py",
    "invreg/train/lpn.py",
    "operators/kernels_wave.py",
    "operators/tomography/kernels_backproject.py",
    "operators/tomography/kernels_bins.py",
    "operators/tomography/kernels_cone.py",
    "operators/tomography/kernels_fan.py",
    "operators/tomography/kernels_joseph.py",
    "operators/tomography/kernels_parallel.py",
    "operators/tomography/kernels_triton.py",
    "operators/tomography/kernels_triton_adjoint.py",
    "operators/tomography/kernels_triton_parallel.py",
    "operators/tomography/kernels_triton_rays.py",
    "operators/tomography/kernels_vectors.py",
    "operators/tomography/kernels_shear.py",
    "priors/kernels_cpu.py",
    "priors/kernels_triton.py",
}


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Every imported module with whether it is imported as soon as the file is."""
    tree = ast.parse(source)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]
    later = {id(inner) for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            only_package = node.module == "invreg"
            names = [f"invreg.{alias.name}" for alias in node.names] if only_package else [str(node.module)]
        else:
            continue
        yield from ((name, id(node) not in later) for name in names)


def violations(name: str, source: str) -> list[str]:
    """What the file `name` (relative to the root) imports against the rules."""
    part = Path(name.removeprefix("invreg/")).parts[0].removesuffix(".py")
    found = []
    for module, at_once in imports(source):
        top, *rest = module.split(".")
        if top in ("operators", "priors", "solvers"):
            found.append(f"{module}: import invreg.{module}")
        if top == "invreg" and rest:
            allowed = MAY_IMPORT.get(part)
            forbidden = rest[0] == "adapters" if allowed is None else rest[0] not in allowed
            if forbidden and (at_once or (name, module) not in EXCEPTIONS):
                found.append(f"{module}: {part} may not know it")
        elif part == "core" and top != "torch" and top not in sys.stdlib_module_names:
            found.append(f"{module}: core imports only torch and the standard library")
        if top in HEAVY and at_once and name not in HEAVY_AT_MODULE_LEVEL:
            found.append(f"{module}: heavy, import it inside the function that needs it")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_in_the_allowed_direction(path):
    assert violations(path.relative_to(ROOT).as_posix(), path.read_text()) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("invreg/core/space.py", "import numpy"),
        ("invreg/core/space.py", "def f():\n    from invreg.operators import Gradient"),
        ("invreg/core/space.py", "def f():\n    from invreg.io import write_tiff"),
        ("invreg/core/solver.py", "from invreg.io import write_tiff"),
        ("operators/blur.py", "from invreg.solvers import PDHG"),
        ("operators/tomography/xray.py", "from invreg import priors"),
        ("solvers/pdhg.py", "from invreg.operators.gradient import Gradient"),
        ("priors/tv.py", "import invreg.solvers.pdhg"),
        ("priors/tv.py", "from operators import Gradient"),
        ("invreg/cli.py", "def f():\n    import invreg.adapters.odl"),
        ("invreg/report/html.py", "from matplotlib import pyplot"),
        ("invreg/io/hdf5.py", "class A:\n    import h5py"),
    ],
)
def test_the_rule_finds_what_breaks_it(name, source):
    assert len(violations(name, source)) == 1


def loaded_by(*modules: str) -> dict[str, set[str]]:
    """The top-level packages in memory after each of the modules, imported in turn in a process of its own."""
    code = "".join(f"import {m}; print(*{{name.split('.')[0] for name in sys.modules}}, sep=' ');" for m in modules)
    run = subprocess.run([sys.executable, "-c", f"import sys; {code}"], capture_output=True, text=True, check=True)
    return {m: set(line.split()) for m, line in zip(modules, run.stdout.splitlines(), strict=True)}


def test_the_front_door_opens_without_torch():
    for module, loaded in loaded_by("invreg", "invreg.cli").items():
        assert not loaded & (HEAVY | {"torch", "numpy"}), module


def test_heavy_libraries_wait_until_they_are_needed():
    rooms = ("core", "operators", "priors", "solvers", "io", "recipes", "report")
    for module, loaded in loaded_by(*(f"invreg.{room}" for room in rooms)).items():
        assert not loaded & HEAVY, module


def test_importing_invreg_costs_next_to_nothing():
    code = "import time; start = time.process_time(); import invreg; print(time.process_time() - start)"
    seconds = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3)]
    assert min(seconds) < 0.2
