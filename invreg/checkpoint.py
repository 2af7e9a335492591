"""The rows finished so far, on disk, so that a killed run goes on where it was."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from invreg.io import InputError

BLOCK, BLOCKS = 2**16, 64  # bytes, and how many of them, that tell one measurement from another


class Checkpoint:
    """A folder `unfinished` inside the output folder.

    volume.f32 holds the finished rows as plain float32; state.json the settings and what is known of each
    batch; all other files are results on their way out. A row counts as finished once state.json names it.
    """

    def __init__(self, out: Path, state: dict[str, Any]) -> None:
        self.out, self.folder, self.state = out, out / "unfinished", state

    @property
    def batches(self) -> list[dict[str, Any]]:
        return self.state["batches"]

    @property
    def done(self) -> int:
        """The first row that is not finished, as a number in the file."""
        return self.batches[-1]["end"] if self.batches else self.state["rows"][0]

    def add(self, images: npt.NDArray[np.float32], record: dict[str, Any]) -> None:
        """Keep the rows (row, h, w) of a batch; `record` says `first`, `end` and what else is to be kept."""
        # appended by plain writes: a map of a file on a full disk ends the process
        with (self.folder / "volume.f32").open("ab") as file:
            file.truncate((self.done - self.state["rows"][0]) * self._row_bytes)
            file.write(np.ascontiguousarray(images, dtype=np.float32).data)
        self.state["batches"] = [*self.batches, record]
        self.save()

    def save(self) -> None:
        part = self.folder / "state.part"
        part.write_text(json.dumps(self.state))
        part.replace(self.folder / "state.json")

    def volume(self) -> npt.NDArray[np.float32]:
        """The finished rows, (row, h, w), mapped from the disk."""
        rows = self.done - self.state["rows"][0]
        return np.memmap(self.folder / "volume.f32", np.float32, "r", shape=(rows, *self.state["shape"]))

    def publish(self, names: Iterable[str], keep: bool) -> None:
        """Move finished files from the work folder to the output folder, and remove it unless it is to `keep`."""
        for name in names:
            (self.folder / name).replace(self.out / name)
        if not keep:
            shutil.rmtree(self.folder)

    @property
    def _row_bytes(self) -> int:
        return 4 * int(np.prod(self.state["shape"]))


def begin(
    out: Path,
    results: Iterable[str],
    *,
    settings: dict[str, Any],
    source: Path,
    rows: tuple[int, int],
    shape: tuple[int, ...],
    force: bool,
    resume: bool,
) -> Checkpoint:
    """Start anew, or go on where an earlier run was.

    settings: all that a resumed run must share with the first. Raises InputError where `out` holds results or
    an unfinished run and neither `force` nor `resume` says what to do, or where the run to resume differs.
    """
    new = {
        "settings": settings,
        "fingerprint": fingerprint(source),
        "rows": list(rows),
        "shape": list(shape),
        "batches": [],
    }
    fresh, kept = Checkpoint(out, new), out / "unfinished" / "state.json"
    if kept.exists() and resume:
        try:
            old = json.loads(kept.read_text())
        except ValueError:
            raise InputError(f"{kept}: damaged; start anew with --force") from None
        _same(out, old, new)
        return Checkpoint(out, old)
    if not force:
        if kept.exists():
            raise InputError(f"{out}: holds an unfinished run; go on with --resume or start anew with --force")
        present = [name for name in results if (out / name).exists()]
        if present:
            raise InputError(f"{out}: holds {present[0]} already; choose another --out or replace it with --force")
    shutil.rmtree(fresh.folder, ignore_errors=True)
    fresh.folder.mkdir(parents=True)
    fresh.save()
    return fresh


def _same(out: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise InputError in one sentence where the run to resume is not this one."""
    if old["fingerprint"] != new["fingerprint"]:
        raise InputError(f"{out}: its unfinished run is of another measurement; choose another --out or --force")
    before, now = old["settings"] | {"rows": old["rows"]}, new["settings"] | {"rows": new["rows"]}
    for key in now:
        if before.get(key) != now[key]:
            raise InputError(
                f"{out}: its unfinished run has {key} = {before.get(key)}, this one {now[key]}; "
                "resume with the same settings or start anew with --force"
            )


def fingerprint(path: Path) -> str:
    """A hash of the sizes of a file, or of the files of a folder, and of blocks spread over them."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size};".encode() if path.is_dir() else f"{size};".encode())
        with file.open("rb") as stream:
            for start in np.linspace(0, max(size - BLOCK, 0), min(BLOCKS, 1 + size // BLOCK)).astype(int):
                stream.seek(int(start))
                digest.update(stream.read(BLOCK))
    return digest.hexdigest()[:16]
