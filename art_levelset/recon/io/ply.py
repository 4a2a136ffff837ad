"""
The vertices of PLY files, in batches: binary or text, with whatever other properties and elements they have.

By hand, since the libraries that read PLY files take all of a file into memory, its faces as well.
"""

from __future__ import annotations

import io
import logging
import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import BATCH
from art_levelset.recon.io.columns import Chosen, pick, point_columns
from art_levelset.recon.io.dialect import Dialect
from art_levelset.recon.io.text import LONGEST, show

logger = logging.getLogger(__name__)

LONGEST_HEADER = 1 << 20
MOST_BYTES = 1 << 26
"""So many bytes of a file are read at once."""

_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"}
_TYPES |= {"double": "f8", "half": "f2", "long": "i8", "ulong": "u8"}
_TYPES |= {f"{name}{8 * size}": f"{name[0]}{size}" for name in ("int", "uint") for size in (1, 2, 4, 8)}
_TYPES |= {f"float{8 * size}": f"f{size}" for size in (2, 4, 8)}
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}
_VERTICES = "vertex", "vertices", "point", "points"
_NUMBERS = Dialect(None)


@dataclass(frozen=True)
class _Property:
    """The name and type of a property, and the type of the number of its members if it is a list."""

    name: str
    kind: str
    count: str | None = None


@dataclass(frozen=True)
class _Element:
    """An element of the header: how many there are, and its properties."""

    name: str
    count: int
    properties: list[_Property]


def read_ply(path: Path, chosen: Chosen | None = None) -> Iterator[dict[str, NDArray[Any]]]:
    """
    Read positions, normals and colours of the vertices.

    Where the file ends too early, the vertices that are there are read, with a warning.

    :param path: The file.
    :param chosen: The properties of x, y and z, if the user names them.
    :return: Batches: `points`, `normals` and `colours`, as far as there are any, each (n, 3).
    :raises ValueError: If it is no PLY file, or has no positions.
    """
    with path.open("rb") as file, ExitStack() as stack:
        form, elements = _header(file)
        number = next((i for i, element in enumerate(elements) if element.name.lower() in _VERTICES), None)
        if number is None:
            raise ValueError("it has no vertices")
        vertices = elements[number]
        scalars = [place for place, item in enumerate(vertices.properties) if item.count is None]
        kinds = point_columns([vertices.properties[place].name for place in scalars], chosen)
        wanted = sorted({scalars[column] for columns in kinds.values() for column in columns})
        kinds = {kind: [wanted.index(scalars[column]) for column in columns] for kind, columns in kinds.items()}
        source: _Text | _Binary
        if form == "ascii":
            source = _Text(stack.enter_context(io.TextIOWrapper(file, encoding="latin-1")))
        else:
            source = _Binary(file, _ORDERS[form])
        for element in elements[:number]:
            if source.skip(element) < element.count:
                raise ValueError(f"it ends in the element {element.name!r}, before its vertices")
        count = 0
        for columns in source.columns(vertices, wanted):
            count += len(columns[0])
            yield pick(columns, kinds)
    if count < vertices.count:
        warn_of_end(path, count, vertices.count)


def warn_of_end(path: Path, count: int, promised: int) -> None:
    """
    Say that a file has fewer points than its header promises.

    :param path: The file.
    :param count: How many there are.
    :param promised: How many there should be.
    """
    logger.warning("%s: it ends after %s of %s points, which are used", path, f"{count:,}", f"{promised:,}")


def read_records(file: BinaryIO, kind: np.dtype[Any], count: int) -> Iterator[NDArray[Any]]:
    """
    Read records of bytes, batch by batch, until there are enough or the file ends.

    :param file: Where they are.
    :param kind: The type of one, of at least one byte.
    :param count: How many there should be.
    :return: The records, at most :data:`BATCH` at once, (n,).
    """
    most = max(1, min(BATCH, MOST_BYTES // kind.itemsize))
    while count > 0:
        data = file.read(min(most, count) * kind.itemsize)
        records = np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], dtype=kind)
        if not len(records):
            return
        yield records
        count -= len(records)


def _header(file: BinaryIO) -> tuple[str, list[_Element]]:
    start = file.read(LONGEST_HEADER)
    begin = re.match(rb"\s*ply[ \t]*(\r\n|\n|\r)", start)
    if begin is None:
        raise ValueError("it does not begin with 'ply'")
    end = re.search(rb"[\r\n][ \t]*end_header[ \t]*" + (begin[1] if begin[1] == b"\r" else rb"\r?\n"), start)
    form, elements = "", list[_Element]()
    lines = start[begin.end() : None if end is None else end.start()].decode("latin-1").replace("\r", "\n").split("\n")
    for line in lines if end is not None else lines[:-1]:
        match line.split():
            case ["format", name, _] if name.lower() in _ORDERS:
                form = name.lower()
            case ["element", name, count] if count.isascii() and count.isdecimal() and len(count) < 20:
                elements.append(_Element(name, int(count), []))
            case ["property", "list", count, kind, *name] if (
                elements and name and count.lower() in _TYPES and kind.lower() in _TYPES
            ):
                elements[-1].properties.append(_Property(" ".join(name), _TYPES[kind.lower()], _TYPES[count.lower()]))
            case ["property", kind, *name] if elements and name and kind.lower() in _TYPES:
                elements[-1].properties.append(_Property(" ".join(name), _TYPES[kind.lower()]))
            case ["comment" | "obj_info", *_] | []:
                pass
            case _:
                raise ValueError(f"its header has the line {show(line)}")
    if end is None:
        raise ValueError("its header does not end")
    file.seek(end.end())
    if not form:
        raise ValueError("its header has no format")
    return form, elements


class _Text:
    """Elements as lines of text."""

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._lines = self._read(file)
        self._cut = False

    def skip(self, element: _Element) -> int:
        """Skip an element, and tell how many of it there were."""
        return sum(1 for _ in islice(self._lines, element.count)) if element.properties else element.count

    def columns(self, element: _Element, wanted: Sequence[int]) -> Iterator[list[NDArray[Any]]]:
        """Properties of all of an element, batch by batch."""
        has_lists = any(item.count is not None for item in element.properties)
        for start in range(0, element.count, BATCH):
            rows = list(islice(self._lines, min(BATCH, element.count - start)))
            if self._cut and start + len(rows) < element.count:
                rows = rows[:-1]
            if has_lists:
                rows = [self._without_lists(row, element) for row in rows]
            if not rows:
                return
            columns = _NUMBERS.numbers(rows, wanted).T
            yield [_as_declared(columns[i], element.properties[place].kind) for i, place in enumerate(wanted)]

    def _read(self, file: io.TextIOWrapper) -> Iterator[str]:
        while line := file.readline(LONGEST):
            if len(line) == LONGEST:
                raise ValueError(f"a line is longer than {LONGEST:,} characters")
            self._cut = not line.endswith("\n")
            if line := line.strip():
                yield line

    @staticmethod
    def _without_lists(row: str, element: _Element) -> str:
        """A row with `-` in place of lists."""
        words, kept, place = row.split(), list[str](), 0
        for item in element.properties:
            if place >= len(words):
                break
            kept.append("-" if item.count is not None else words[place])
            place += 1
            if item.count is not None:
                count = words[place - 1]
                if not (count.isascii() and count.isdecimal() and len(count) < 10):
                    raise ValueError(f"a list has {count[:20]!r} members")
                place += int(count)
        return " ".join(kept)


def _as_declared(values: NDArray[np.float64], kind: str) -> NDArray[Any]:
    """Whole numbers in the type of the header if they are what it says: their range tells the scale of colours."""
    if kind[0] == "f":
        return values
    whole = np.isfinite(values).all() and (values == np.rint(values)).all()
    limits = np.iinfo(kind)
    fits = whole and len(values) and limits.min <= values.min() and values.max() <= float(limits.max)
    return values.astype(kind) if fits and limits.max < 2**53 else values


class _Binary:
    """Elements as bytes."""

    def __init__(self, file: BinaryIO, order: str) -> None:
        self._file = file
        self._order = order
        self._size = os.fstat(file.fileno()).st_size

    def skip(self, element: _Element) -> int:
        """Skip an element, and tell how many of it there were."""
        if any(item.count is not None for item in element.properties):
            return sum(self._runs(element, [], []))
        size = self._type(element.properties).itemsize
        begin = self._file.tell()
        count = min(element.count, (self._size - begin) // size) if size else element.count
        self._file.seek(begin + count * size)
        return count

    def columns(self, element: _Element, wanted: Sequence[int]) -> Iterator[list[NDArray[Any]]]:
        """Properties of all of an element, batch by batch."""
        if all(item.count is None for item in element.properties):
            for records in read_records(self._file, self._type(element.properties), element.count):
                yield [records[str(place)] for place in wanted]
            return
        data = self._mapped()
        places: list[list[int]] = [[] for _ in wanted]
        for _ in self._runs(element, wanted, places):
            columns = []
            for place, offsets in zip(wanted, places, strict=True):
                kind = np.dtype(self._order + element.properties[place].kind)
                members = np.asarray(offsets, dtype=np.int64)[:, None] + np.arange(kind.itemsize)
                columns.append(np.ascontiguousarray(data[members]).view(kind)[:, 0])
                offsets.clear()
            yield columns

    def _mapped(self) -> NDArray[np.uint8]:
        """The whole file; nothing of it is read."""
        place = self._file.tell()
        mapped = np.memmap(self._file, dtype=np.uint8, mode="r")
        self._file.seek(place)
        return mapped

    def _type(self, properties: Sequence[_Property]) -> np.dtype[Any]:
        return np.dtype([(str(place), self._order + item.kind) for place, item in enumerate(properties)])

    def _runs(self, element: _Element, wanted: Sequence[int], places: Sequence[list[int]]) -> Iterator[int]:
        """
        Walk through an element with lists, which are of any length.

        :return: Numbers of elements, after which the offsets of the wanted properties of these are in `places`.
        """
        steps: list[tuple[int, Callable[[int], Any] | None, int, list[int] | None]] = []
        data = self._mapped().data
        for place, item in enumerate(element.properties):
            size = np.dtype(item.kind).itemsize
            if item.count is None:
                steps.append((size, None, 0, places[wanted.index(place)] if place in wanted else None))
            elif item.count[0] == "f":
                raise ValueError(f"the list {item.name!r} has no whole number of members")
            else:
                reader = struct.Struct(self._order + _CODES[item.count])
                steps.append((reader.size, partial(_first, reader, data), size, None))
        offset, walked = self._file.tell(), 0
        for _ in range(element.count):
            begin = offset
            for size, count_at, member, kept in steps:
                if kept is not None:
                    kept.append(offset)
                if count_at is not None and offset + size <= self._size:
                    count = count_at(offset)
                    if count < 0:
                        raise ValueError(f"a list has {count} members")
                    offset += count * member
                offset += size
            if offset > self._size:
                for kept in places:
                    del kept[walked:]
                self._file.seek(begin)
                break
            walked += 1
            if walked == BATCH:
                yield walked
                walked = 0
        else:
            self._file.seek(offset)
        if walked:
            yield walked


def _first(reader: struct.Struct, data: memoryview, offset: int) -> Any:
    return reader.unpack_from(data, offset)[0]
