"""The house as it is described: packages listed, doors present, every class in the table, files short."""

import importlib
import inspect
import pkgutil
import tomllib
from pathlib import Path

import pytest
from members import FUNCTIONALS, LATENTS, LINEAR, NONLINEAR, SOLVERS
from test_imports import FILES

from invreg.core import Functional, Operator, Solver

ROOT = Path(__file__).parent.parent
ROOMS = ("operators", "priors", "solvers")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_is_listed_for_the_wheel():
    """The list is written by hand: a folder missing from it works in a checkout and is absent from the wheel."""
    folders = {path.parent.relative_to(ROOT).as_posix() for path in FILES if path.name == "__init__.py"}
    packages = {f if f.startswith("invreg") else f"invreg/{f}" for f in folders}
    assert {p.replace(".", "/") for p in SETUPTOOLS["packages"]} == packages
    without = {path.parent for path in FILES} - {path.parent for path in FILES if path.name == "__init__.py"}
    assert not without, f"folders of modules without __init__.py: {without}"


@pytest.mark.parametrize("room", ROOMS)
def test_doors_lead_to_the_rooms(room):
    assert SETUPTOOLS["package-dir"][f"invreg.{room}"] == room
    door = ROOT / "invreg" / room
    if not door.is_symlink():
        pytest.skip("this checkout has no symbolic links (git config core.symlinks)")
    assert door.readlink() == Path("..") / room and door.is_dir()


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_refuse_their_bare_name(room):
    spec = importlib.util.spec_from_file_location(room, ROOT / room / "__init__.py")
    with pytest.raises(ImportError, match=f"import invreg.{room}, not {room}"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def members_of(room: str) -> dict[str, type]:
    """The public classes of a room that sign one of the contracts."""
    package = importlib.import_module(f"invreg.{room}")
    modules = [importlib.import_module(m.name) for m in pkgutil.walk_packages(package.__path__, f"invreg.{room}.")]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if issubclass(value, Operator | Functional | Solver) and not inspect.isabstract(value)
    }


@pytest.mark.parametrize("room", ROOMS)
def test_every_class_of_a_room_runs_through_the_contracts(room):
    tested = {type(m.make()) for m in LINEAR + NONLINEAR + FUNCTIONALS + LATENTS + SOLVERS if m.needs is None}
    missing = {name for name, value in members_of(room).items() if value not in tested}
    assert not missing, f"add to tests/members.py: {', '.join(sorted(missing))}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_class_of_a_room_is_at_its_door(room):
    package = importlib.import_module(f"invreg.{room}")
    assert set(members_of(room)) <= set(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 400
