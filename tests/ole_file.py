"""A writer of OLE2 compound files (version 3, as in [MS-CFB]): streams by their paths, no more than tests need."""

import struct
from pathlib import Path

FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
SECTOR, MINI, CUTOFF = 512, 64, 4096


def write_ole(path: Path, streams: dict[str, bytes]) -> Path:
    """`streams` by paths such as "ImageInfo/Angles"; those below 4096 bytes go to the mini stream as they must."""
    tree: dict = {}
    for name, data in streams.items():
        *folders, leaf = name.split("/")
        at = tree
        for folder in folders:
            at = at.setdefault(folder, {})
        at[leaf] = data
    sectors: list[bytes] = []
    fat: list[int] = []
    mini, minifat = bytearray(), []

    def chain(data: bytes) -> int:
        """Append the data as sectors; the first of them."""
        first = len(sectors)
        pieces = [data[k : k + SECTOR].ljust(SECTOR, b"\0") for k in range(0, len(data), SECTOR)]
        sectors.extend(pieces)
        fat.extend([*range(first + 1, first + len(pieces)), END])
        return first

    def small(data: bytes) -> int:
        first, count = len(minifat), -(-len(data) // MINI)
        minifat.extend([*range(first + 1, first + count), END])
        mini.extend(data.ljust(count * MINI, b"\0"))
        return first

    entries: list[list] = [["Root Entry", 5, FREE, FREE, FREE, END, 0]]  # name, kind, left, right, child, start, size

    def add(folder: dict, parent: int) -> None:
        before = None
        for name in sorted(folder, key=lambda n: (len(n), n.upper())):
            data, k = folder[name], len(entries)
            if isinstance(data, dict):
                entries.append([name, 1, FREE, FREE, FREE, 0, 0])
            else:
                start = END if not data else small(data) if len(data) < CUTOFF else chain(data)
                entries.append([name, 2, FREE, FREE, FREE, start, len(data)])
            if before is None:
                entries[parent][4] = k
            else:
                entries[before][3] = k  # a tree that leans to the right
            before = k
            if isinstance(data, dict):
                add(data, k)

    add(tree, 0)
    if mini:
        entries[0][5:] = [chain(bytes(mini)), len(mini)]
    table = b"".join(struct.pack("<I", x) for x in minifat)
    minifat_at = chain(table.ljust(-(-len(table) // SECTOR) * SECTOR, b"\xff")) if minifat else END
    directory = b""
    for name, kind, left, right, child, start, size in entries:
        text = name.encode("utf-16-le") + b"\0\0"
        directory += text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text), kind, 1, left, right, child)
        directory += bytes(36) + struct.pack("<IQ", start, size)
    directory_at = chain(directory)
    count = 1
    while (len(fat) + count) * 4 > count * SECTOR:
        count += 1
    fat_at = [len(sectors) + k for k in range(count)]
    table = b"".join(struct.pack("<I", x) for x in [*fat, *count * [FAT]]).ljust(count * SECTOR, b"\xff")
    sectors.extend(table[k : k + SECTOR] for k in range(0, len(table), SECTOR))
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack(
        "<IIIIIIIII", 0, count, directory_at, 0, CUTOFF, minifat_at, -(-len(minifat) * 4 // SECTOR), END, 0
    )
    head += b"".join(struct.pack("<I", x) for x in fat_at).ljust(436, b"\xff")
    path.write_bytes(head + b"".join(sectors))
    return path
