"""Packages by the registries' own clients, downloaded and not installed."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from invreg.fetch.tables import Package
from invreg.io.errors import InputError

NEEDED = {
    "apt-get": "it comes with Debian and Ubuntu",
    "npm": "it comes with Node.js",
    "pip": "python -m ensurepip installs it",
}
# wheels of one interpreter and system, so that everyone gets the same
WHEEL = ("--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64")


def download(package: Package, folder: Path) -> Path:
    """The archive of a package, put into an empty folder. Raises InputError in the client's words."""
    what = f"{package.name} {package.version}"
    command = _client(package)
    if package.client == "apt-get":
        command += ["download", f"{package.name}={package.version}"]
    elif package.client == "npm":
        command += ["pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"]
    else:
        kind = ("--no-binary", ":all:") if package.source else WHEEL
        command += ["download", "--quiet", "--disable-pip-version-check", "--no-deps", *kind]
        command += [f"{package.name}=={package.version}"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    found = [path for path in folder.iterdir() if path.is_file()]
    if ran.returncode or len(found) != 1:
        said = [line for line in (ran.stderr or ran.stdout).splitlines() if line.strip()]
        told = next(
            (line for line in said if line.lower().startswith(("e:", "error", "npm err"))), (said or ["nothing"])[-1]
        )
        hint = (
            "; its lists may be old (apt-get update) or of a release without it" if package.client == "apt-get" else ""
        )
        raise InputError(f"{what}: {package.client} could not download it: {told.strip()}{hint}")
    return found[0]


def _client(package: Package) -> list[str]:
    path = shutil.which(package.client)
    if path:
        return [path]
    if package.client == "pip" and importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    raise InputError(
        f"{package.name} {package.version} comes by {package.client}, which is not installed here: "
        f"{NEEDED[package.client]}"
    )
