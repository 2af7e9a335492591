"""invreg data fetch, with clients that copy a local package; the real ones are slow and need a network."""

import gzip
import hashlib
import io
import json
import shutil
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from invreg.cli import main
from invreg.fetch import checked
from invreg.fetch.archives import members
from invreg.fetch.decode import decode
from invreg.fetch.tables import SETS, Item, Package, table

PHOTO, TEXT = b"\x89PNG" + bytes(range(200)), b"do as you like"


def tar(contents: dict[str, bytes], mode: str = "w:xz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("./usr/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


def deb(contents: dict[str, bytes], data: str = "data.tar.xz") -> bytes:
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", data: tar(contents)}
    out = b"!<arch>\n"
    for name, content in parts.items():
        out += f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    return out


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def package(client: str = "apt-get", **changes: str) -> Package:
    known = {"member": "usr/a/photo.png", "sha256": sha(PHOTO), "to": "photo.png"} | changes
    licence = Item("usr/doc/copyright", sha(TEXT), "LICENCE-pictures.txt")
    return Package(client, "pictures", "1.2-3", 0.1, "CC0-1.0", (Item(**known), licence))


@pytest.fixture
def clients(tmp_path, monkeypatch):
    """The only programs on the PATH: clients that note their arguments and copy what they are given to deliver."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    class Clients:
        def deliver(self, client: str, name: str, content: bytes) -> None:
            (folder / name).write_bytes(content)
            self.script(client, f"import shutil; shutil.copy({str(folder / name)!r}, {name!r})")

        def script(self, client: str, code: str) -> None:
            path = folder / client
            log = f"import sys, pathlib; pathlib.Path({str(folder / 'log')!r}).open('a').write(' '.join(sys.argv[1:]))"
            path.write_text(f"#!{sys.executable}\n{log}\n{code}\n")
            path.chmod(0o755)

        def calls(self) -> str:
            return (folder / "log").read_text() if (folder / "log").exists() else ""

    return Clients()


@pytest.fixture
def offer(monkeypatch):
    return lambda *packages: monkeypatch.setattr(checked, "table", lambda name: packages)


def run(out: Path, capsys, *flags: str) -> tuple[int, str, str]:
    code = main(["data", "fetch", "photos", "--out", str(out), *flags])
    said = capsys.readouterr()
    return code, said.out, said.err


CONTENTS = {"./usr/a/photo.png": PHOTO, "./usr/doc/copyright": TEXT, "./usr/a/other.png": b"not asked for"}
DEB = ("apt-get", "pictures_1.2-3_all.deb", deb(CONTENTS))


@pytest.mark.parametrize("client", ["apt-get", "npm", "pip"])
def test_what_is_listed_arrives_and_nothing_else(client, clients, offer, tmp_path, capsys):
    plain = {name[2:]: content for name, content in CONTENTS.items()}
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in plain.items():
            archive.writestr(name, content)
    bodies = {"apt-get": DEB, "npm": ("npm", "p.tgz", tar(plain, "w:gz")), "pip": ("pip", "p.whl", wheel.getvalue())}
    clients.deliver(*bodies[client])
    offer(package(client))
    code, out, err = run(tmp_path / "new" / "photos", capsys)
    assert code == 0 and not err and "pictures 1.2-3: 2 files fetched, 0.1 MB, CC0-1.0" in out
    folder = tmp_path / "new" / "photos"
    assert {p.name for p in folder.iterdir()} == {"photo.png", "LICENCE-pictures.txt"}
    assert (folder / "photo.png").read_bytes() == PHOTO
    words = {"apt-get": "download pictures=1.2-3", "npm": "pictures@1.2-3", "pip": "--no-deps --only-binary"}
    assert words[client] in clients.calls()


def test_what_is_there_is_not_downloaded_again(clients, offer, tmp_path, capsys):
    clients.deliver(*DEB)
    offer(package())
    assert run(tmp_path / "o", capsys)[0] == 0
    calls = clients.calls()
    code, out, _ = run(tmp_path / "o", capsys)
    assert code == 0 and "2 files there" in out and clients.calls() == calls
    (tmp_path / "o" / "LICENCE-pictures.txt").unlink()
    code, out, _ = run(tmp_path / "o", capsys)
    assert code == 0 and "fetched" in out and (tmp_path / "o" / "LICENCE-pictures.txt").read_bytes() == TEXT


def test_other_contents_are_kept_without_force(clients, offer, tmp_path, capsys):
    clients.deliver(*DEB)
    offer(package())
    (tmp_path / "photo.png").write_bytes(b"mine")
    code, _, err = run(tmp_path, capsys)
    assert code == 2 and "photo.png is there with other contents; --force replaces it" in err
    assert (tmp_path / "photo.png").read_bytes() == b"mine" and clients.calls() == ""
    assert run(tmp_path, capsys, "--force")[0] == 0 and (tmp_path / "photo.png").read_bytes() == PHOTO


def test_a_missing_client_is_said_and_keeps_no_other_package_back(clients, offer, tmp_path, capsys):
    clients.deliver(*DEB)
    alone = Package("npm", "meshes", "1.0.0", 1.0, "MIT", (Item("package/a", sha(b"a"), "a"),))
    offer(alone, package())
    code, out, err = run(tmp_path / "o", capsys, "--json")
    assert code == 2 and err.count("\n") == 1
    assert "meshes 1.0.0 comes by npm, which is not installed here: it comes with Node.js" in err
    found = {p["package"]: p["outcome"] for p in json.loads(out)["packages"]}
    assert found["pictures 1.2-3"] == "fetched" and "npm" in found["meshes 1.0.0"]


def test_a_package_that_is_gone_is_said_in_the_words_of_the_client(clients, offer, tmp_path, capsys):
    clients.script("apt-get", "print('W: odd', file=sys.stderr)\nsys.exit(\"E: Version '1.2-3' was not found\")")
    offer(package())
    code, _, err = run(tmp_path / "o", capsys)
    assert code == 2 and err.count("\n") == 1
    assert (
        "pictures 1.2-3: apt-get could not download it: E: Version '1.2-3' was not found; its lists may be old" in err
    )
    assert list((tmp_path / "o").iterdir()) == []


@pytest.mark.parametrize(("changes", "told"), [
    ({"sha256": "0" * 64}, f"usr/a/photo.png has the SHA-256 {sha(PHOTO)}, expected 0000"),
    ({"member": "usr/a/gone.png"}, "pictures 1.2-3 holds no usr/a/gone.png"),
    ({"member": "usr/link.png"}, "holds no usr/link.png"),
], ids=["checksum", "member", "a link"])  # fmt: skip
def test_what_is_not_as_listed_is_refused_before_anything_is_written(
    changes, told, clients, offer, tmp_path, capsys
):  # fmt: skip
    clients.deliver(*DEB)
    offer(package(**changes))
    code, _, err = run(tmp_path / "o", capsys)
    assert code == 2 and told in err and err.count("\n") == 1
    assert list((tmp_path / "o").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"!<arch>\n", DEB[2][:300], deb(CONTENTS, "data.tar.zst"), b"<html>"])
def test_broken_archives_are_said(content, clients, offer, tmp_path, capsys):
    clients.deliver("apt-get", "p.deb", content)
    offer(package())
    code, _, err = run(tmp_path / "o", capsys)
    assert code == 2 and "p.deb: cannot be unpacked" in err and err.count("\n") == 1
    assert list((tmp_path / "o").iterdir()) == []


def test_a_member_of_an_archive_within_is_found(tmp_path):
    inner = tar({"run/matrix.dat": b"1234"}, "w")
    (tmp_path / "p.deb").write_bytes(deb({"./usr/Cranium.inv3": inner}))
    found = members(tmp_path / "p.deb", {"usr/Cranium.inv3!run/matrix.dat", "usr/Cranium.inv3!run/other"})
    assert found == {"usr/Cranium.inv3!run/matrix.dat": b"1234"}


def test_odd_files_become_plain_ones(tmp_path):
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    raw = gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4) + values.tobytes())
    np.testing.assert_array_equal(np.load(io.BytesIO(decode("idx", raw, {}))), values)
    lines = gzip.compress(b"1.0,2.0,3.0,4.0,9\n5,6,7,8,1\n")
    images = np.load(io.BytesIO(decode("csv", lines, {"columns": [0, 4], "shape": [2, 2]})))
    labels = np.load(io.BytesIO(decode("csv", lines, {"columns": [4, 5], "shape": []})))
    assert images.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]] and labels.tolist() == [9, 1]


def test_raw_volumes_are_read_by_nibabel(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="reads NIfTI")
    volume = np.arange(-12, 12, dtype="<i2").reshape(2, 3, 4)  # z, y, x
    path = tmp_path / "v.nii"
    path.write_bytes(decode("nifti", volume.tobytes(), {"shape": [4, 3, 2], "spacing": [0.5, 0.6, 1.5]}))
    image = nibabel.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume.T)
    assert image.header.get_zooms() == pytest.approx((0.5, 0.6, 1.5)) and image.header.get_xyzt_units()[0] == "mm"


def test_command_lines_that_say_too_little(capsys, tmp_path):
    for words in (["data"], ["data", "push"], ["data", "fetch"], ["data", "fetch", "faces"]):
        assert main(words) == 2
        assert "SET" in (err := capsys.readouterr().err) or "the sets are photos, ct" in err
    (tmp_path / "file").write_text("")
    assert main(["data", "fetch", "ct", "--out", str(tmp_path / "file" / "x")]) == 2
    assert "no folder can be made there" in capsys.readouterr().err


@pytest.mark.parametrize("name", SETS)
def test_tables_are_complete(name):
    packages = table(name)
    files = [item.to for p in packages for item in p.items]
    assert len(set(files)) == len(files) and all(Path(f).name == f for f in files)
    assert any(f.startswith("LICENCE-") for f in files)
    for p in packages:
        assert p.client in ("apt-get", "pip", "npm") and p.version[0].isdigit() and p.licence and p.megabytes > 0
        assert any(item.to.startswith("LICENCE-") for item in p.items) or name == "meshes"
        for item in p.items:
            assert len(item.sha256) == 64 and bool(item.decode) == bool(item.decoded)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_the_real_thing(name, tmp_path):
    missing = {p.client for p in table(name)} - {c for c in ("apt-get", "pip", "npm") if shutil.which(c)}
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    outcomes = [f.outcome for f in checked.fetch(name, tmp_path)]
    assert outcomes == ["fetched"] * len(outcomes)
    assert [f.outcome for f in checked.fetch(name, tmp_path)] == ["there"] * len(outcomes)
