"""A set into a folder: what is there and right stays, the rest is downloaded, checked and unpacked."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from invreg.fetch.archives import members
from invreg.fetch.clients import download
from invreg.fetch.decode import decode
from invreg.fetch.tables import Item, Package, table
from invreg.io.errors import InputError
from invreg.io.writing import replaced


class Fetched(NamedTuple):
    """A package, its files in the folder, and the outcome: "fetched", "there" already, or the sentence of an error."""

    package: Package
    files: tuple[Path, ...]
    outcome: str


def default_folder(name: str) -> Path:
    """Where the set goes without a word: the user's data folder."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "invreg" / name


def fetch(name: str, out: Path, *, force: bool = False) -> Iterator[Fetched]:
    """The packages of a set into the folder `out`, made where it is missing, one after the other.

    What is there with the right checksum is not downloaded again; `force` does so and replaces what is there. An error
    of one package does not keep the others back.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: no folder can be made there ({os.strerror(error.errno or 0)})") from None
    for package in table(name):
        files = tuple(out / item.to for item in package.items)
        try:
            yield Fetched(package, files, _package(package, out, force))
        except InputError as error:
            yield Fetched(package, files, str(error))


def _package(package: Package, out: Path, force: bool) -> str:
    absent = [item for item in package.items if force or not _there(item, out)]
    if not absent:
        return "there"
    with tempfile.TemporaryDirectory(prefix=".part-", dir=out) as folder:
        archive = download(package, Path(folder))
        found = members(archive, {item.member for item in absent})
    plain = [_plain(package, item, found) for item in absent]  # all are right before one is written
    for item, content in zip(absent, plain, strict=True):
        with replaced(out / item.to) as part:
            part.write_bytes(content)
    return "fetched"


def _there(item: Item, out: Path) -> bool:
    path = out / item.to
    if not path.exists():
        return False
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == item.outcome:
        return True
    raise InputError(f"{path} is there with other contents; --force replaces it")


def _plain(package: Package, item: Item, found: dict[str, bytes]) -> bytes:
    what = f"{package.name} {package.version}"
    if item.member not in found:
        raise InputError(
            f"{what} holds no {item.member}: another package by that name, or a broken one; nothing is written"
        )
    content = found[item.member]
    got = hashlib.sha256(content).hexdigest()
    if got != item.sha256:
        raise InputError(
            f"{what}: {item.member} has the SHA-256 {got}, expected {item.sha256}; nothing is written of it"
        )
    return decode(item.decode, content, item.options or {})
