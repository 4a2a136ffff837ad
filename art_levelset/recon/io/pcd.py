"""
Files of the Point Cloud Library: text, bytes, and bytes that LZF has compressed, with whatever other fields they have.

By hand: the libraries for them take all of a file into memory, and believe what its header says.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import BATCH
from art_levelset.recon.io.columns import Chosen, pick, point_columns
from art_levelset.recon.io.dialect import Dialect
from art_levelset.recon.io.ply import read_records, warn_of_end
from art_levelset.recon.io.text import show

LONGEST_HEADER = 1 << 16
MOST_INFLATED = 1 << 30
"""Compressed points may take so many bytes."""

_KINDS = {"F": "f", "I": "i", "U": "u"}
_SIZES = {"F": ("4", "8"), "I": ("1", "2", "4", "8"), "U": ("1", "2", "4", "8")}
_LZF_RATIO = 264 // 3 + 1
_PLAIN = Dialect(None)


@dataclass(frozen=True)
class _Header:
    """
    The header of a file.

    :param fields: The names of the columns; one with several numbers is several.
    :param kinds: Their types.
    :param count: The number of points.
    :param form: How they are written.
    :param viewpoint: Where they were seen from, (3,).
    """

    fields: list[str]
    kinds: list[str]
    count: int
    form: str
    viewpoint: tuple[float, float, float]


def read_pcd(path: Path, chosen: Chosen | None = None) -> Iterator[dict[str, NDArray[Any]]]:
    """
    Read positions, normals and colours, and the position of the camera.

    Where the file ends too early, the points that are there are read, with a warning.

    :param path: The file.
    :param chosen: The fields of x, y and z, if the user names them.
    :return: Batches: `points`, `normals` and `colours`, as far as there are any, and `sensors`, the VIEWPOINT of the
             header, each (n, 3).
    :raises ValueError: If it is no PCD file, has no positions, or its compressed part is damaged.
    """
    with path.open("rb") as file:
        header = _header(file)
        kinds = point_columns(header.fields, chosen)
        wanted = sorted({column for columns in kinds.values() for column in columns})
        kinds = {kind: [wanted.index(column) for column in columns] for kind, columns in kinds.items()}
        read = {"ascii": _text, "binary": _bytes, "binary_compressed": _compressed}[header.form]
        count = 0
        for columns in read(file, header, wanted):
            count += len(columns[0])
            sensors = np.broadcast_to(np.array(header.viewpoint), (len(columns[0]), 3))
            yield {**pick(columns, kinds), "sensors": sensors}
    if count < header.count:
        warn_of_end(path, count, header.count)


def _header(file: BinaryIO) -> _Header:
    entries: dict[str, list[str]] = {}
    left = LONGEST_HEADER
    while "DATA" not in entries:
        line = file.readline(left)
        left -= len(line)
        if not line or left <= 0:
            raise ValueError("its header does not end" if entries else "it has no header")
        words = line.decode("latin-1").split("#")[0].split()
        if words:
            entries[{"COLUMNS": "FIELDS"}.get(words[0].upper(), words[0].upper())] = words[1:]
    names = entries.get("FIELDS", [])
    sizes = entries.get("SIZE", ["4"] * len(names))
    types = [word.upper() for word in entries.get("TYPE", ["F"] * len(names))]
    counts = [_whole(word, "COUNT") for word in entries.get("COUNT", ["1"] * len(names))]
    if not len(names) == len(sizes) == len(types) == len(counts):
        raise ValueError(
            f"its header has {len(names)} FIELDS, {len(sizes)} SIZE, {len(types)} TYPE, {len(counts)} COUNT"
        )
    for size, letter in zip(sizes, types, strict=True):
        if size not in _SIZES.get(letter, ()):
            raise ValueError(f"its header has the TYPE {show(letter)} of SIZE {show(size)}")
    if sum(counts) > LONGEST_HEADER:
        raise ValueError(f"its points have {sum(counts):,} numbers each")
    fields = [
        (name if count == 1 else f"{name}_{i}", _KINDS[letter] + size)
        for name, size, letter, count in zip(names, sizes, types, counts, strict=True)
        for i in range(count)
    ]
    if "POINTS" in entries:
        number = _whole(" ".join(entries["POINTS"]), "POINTS")
    else:
        width, height = entries.get("WIDTH", []), entries.get("HEIGHT", ["1"])
        number = _whole(" ".join(width), "WIDTH") * _whole(" ".join(height), "HEIGHT")
    form = " ".join(entries["DATA"]).lower()
    if form not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"its header has the DATA {show(form)}")
    viewpoint = entries.get("VIEWPOINT", ["0", "0", "0"])[:3]
    try:
        x, y, z = map(float, viewpoint)
    except ValueError:
        raise ValueError(f"its header has the VIEWPOINT {show(' '.join(viewpoint))}") from None
    return _Header([name for name, _ in fields], [kind for _, kind in fields], number, form, (x, y, z))


def _whole(word: str, entry: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 20):
        raise ValueError(f"its header has the {entry} {show(word)}")
    return int(word)


def _text(file: BinaryIO, header: _Header, wanted: list[int]) -> Iterator[list[NDArray[Any]]]:
    """Points as lines of text."""
    lines = (line for line in (raw.decode("latin-1").strip() for raw in file) if line and line[0] != "#")
    for start in range(0, header.count, BATCH):
        rows = list(islice(lines, min(BATCH, header.count - start)))
        if start + len(rows) < header.count and rows and len(rows[-1].split()) < len(header.fields):
            rows.pop()  # cut off
        if not rows:
            return
        columns = _PLAIN.numbers(rows, wanted).T
        yield [_as_declared(columns[i], header.kinds[place]) for i, place in enumerate(wanted)]


def _as_declared(values: NDArray[np.float64], kind: str) -> NDArray[Any]:
    """Whole numbers as such, since they can be packed colours, and all others as they are written."""
    whole = kind[0] != "f" and np.isfinite(values).all() and (np.abs(values) < 2**53).all()
    return values.astype(np.int64) if whole and (values == np.rint(values)).all() else values


def _bytes(file: BinaryIO, header: _Header, wanted: list[int]) -> Iterator[list[NDArray[Any]]]:
    """Points as bytes, one after the other."""
    kind = np.dtype([(str(i), "<" + kind) for i, kind in enumerate(header.kinds)])
    for records in read_records(file, kind, header.count):
        yield [records[str(place)] for place in wanted]


def _compressed(file: BinaryIO, header: _Header, wanted: list[int]) -> Iterator[list[NDArray[Any]]]:
    """Points as compressed bytes, one field after the other."""
    sizes = file.read(8)
    if len(sizes) < 8:
        raise ValueError("it ends before its compressed points")
    packed, unpacked = struct.unpack("<II", sizes)
    kinds = [np.dtype("<" + kind) for kind in header.kinds]
    size = sum(kind.itemsize for kind in kinds) * header.count
    if unpacked != size:
        raise ValueError(f"its {header.count:,} points are {size:,} bytes, but {unpacked:,} are compressed")
    if size > MOST_INFLATED:
        raise ValueError(f"its points take {size:,} bytes: save them as binary instead of binary_compressed")
    data = file.read(packed)
    if len(data) < packed:
        raise ValueError(f"it ends after {len(data):,} of {packed:,} compressed bytes")
    if size > _LZF_RATIO * packed:
        raise ValueError(f"{packed:,} bytes cannot be {size:,} compressed ones")
    values = decompress_lzf(data, size)
    offsets = np.cumsum([0, *(kind.itemsize * header.count for kind in kinds)])
    columns = [np.frombuffer(values, kinds[place], header.count, int(offsets[place])) for place in wanted]
    for start in range(0, header.count, BATCH):
        yield [column[start : start + BATCH] for column in columns]


def decompress_lzf(data: bytes, size: int) -> bytes:
    """
    Undo LZF's compression: literal runs, and references to what came up to 8,192 bytes before.

    >>> decompress_lzf(bytes([2]) + b"abc" + bytes([0x80, 2]), 9)
    b'abcabcabc'

    :param data: The compressed bytes.
    :param size: How many bytes they were.
    :return: These.
    :raises ValueError: If they are damaged.
    """
    out = bytearray()
    place, end = 0, len(data)
    try:
        while place < end and len(out) <= size:
            control = data[place]
            place += 1
            if control < 32:
                out += data[place : place + control + 1]
                place += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += data[place]
                place += 1
            distance = ((control & 31) << 8) + data[place] + 1
            place += 1
            length += 2
            start = len(out) - distance
            if start < 0:
                raise ValueError("its compressed points are damaged")
            if distance >= length:
                out += out[start : start + length]
            else:
                out += (bytes(out[start:]) * (length // distance + 1))[:length]
    except IndexError:
        raise ValueError("its compressed points are damaged") from None
    if len(out) != size or place != end:
        raise ValueError("its compressed points are damaged")
    return bytes(out)
