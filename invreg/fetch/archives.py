"""Members of package archives, read without installing: .deb, .whl, .tgz and archives within them."""

import io
import tarfile
import zipfile
from pathlib import Path
from typing import IO

from invreg.io.errors import InputError


def members(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """The contents of the `wanted` members that are there; "outer!inner" names one of an archive within.

    Only regular files, by their names: nothing is written, so a path cannot lead anywhere. Raises InputError for an
    archive that cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _members(path.name, file, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(f"{path.name}: cannot be unpacked ({error}); the download is broken, fetch again") from None


def _members(name: str, file: IO[bytes], wanted: set[str]) -> dict[str, bytes]:
    outer = {w.partition("!")[0] for w in wanted}
    if name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(file) as archive:
            found = {n: archive.read(n) for n in outer & set(archive.namelist())}
    else:
        with tarfile.open(fileobj=_data_of_deb(name, file) if name.endswith(".deb") else file) as archive:
            entries = ((e, e.name.removeprefix("./")) for e in archive)
            found = {n: _read(archive, e) for e, n in entries if e.isfile() and n in outer}
    result = {n: found[n] for n in wanted & set(found)}
    for n in outer & set(found):
        inner = {w.partition("!")[2] for w in wanted if w.startswith(f"{n}!")}
        if inner:
            within = _members(n, io.BytesIO(found[n]), inner)
            result |= {f"{n}!{member}": content for member, content in within.items()}
    return result


def _read(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(entry)
    return b"" if file is None else file.read()


def _data_of_deb(name: str, file: IO[bytes]) -> IO[bytes]:
    """The data.tar.* of a Debian package: an ar archive, each member a header of 60 bytes and an even length."""
    if file.read(8) == b"!<arch>\n":
        while len(header := file.read(60)) == 60:
            size = int(header[48:58])
            if header.startswith((b"data.tar.xz", b"data.tar.gz", b"data.tar ")):
                return io.BytesIO(file.read(size))
            file.seek(size + size % 2, io.SEEK_CUR)
    raise tarfile.ReadError(f"{name} holds no data.tar, .gz or .xz")
