"""What can be fetched: one table a set, with exact versions and the SHA-256 of every file."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

SETS = {
    "photos": "photographs, for denoisers and demonstrations",
    "ct": "two CT volumes, head and thorax, NIfTI in Hounsfield units",
    "sat": "satellite images: Landsat bands, elevation, the Blue Marble",
    "digits": "small grey images, NumPy arrays: handwritten digits 8 x 8, Fashion-MNIST 28 x 28",
    "meshes": "triangle meshes, OFF",
}


@dataclass(frozen=True)
class Item:
    """A file of a package. `member`: its path in the archive; what follows a "!" lies in an archive within it.

    sha256: of the member. to: its name in the folder. decode: how it becomes a plain file, with `decoded`, the
    SHA-256 of that; empty for a copy. options: of the decoder.
    """

    member: str
    sha256: str
    to: str
    decode: str = ""
    decoded: str = ""
    options: dict[str, Any] | None = None

    @property
    def outcome(self) -> str:
        """The SHA-256 of the file in the folder."""
        return self.decoded or self.sha256


@dataclass(frozen=True)
class Package:
    """client: apt-get, pip or npm. source: of pip, the source archive instead of the wheel. licence: in a word."""

    client: str
    name: str
    version: str
    megabytes: float
    licence: str
    items: tuple[Item, ...]
    source: bool = False


def table(name: str) -> tuple[Package, ...]:
    """The packages of a set."""
    read = tomllib.loads((files("invreg.fetch") / f"{name}.toml").read_text(encoding="utf-8"))
    return tuple(
        Package(
            **{key: value for key, value in p.items() if key != "items"}, items=tuple(Item(**i) for i in p["items"])
        )
        for p in read["package"]
    )
