"""
The vertices of PLY files, in batches: binary or text, with whatever other properties they have.

By hand, since the libraries that read PLY files take all of a file into memory, its faces as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import BATCH

_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
_TYPES |= {"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"}
_TYPES |= {"int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"}
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_NAMES = {
    "points": [("x", "y", "z")],
    "normals": [("nx", "ny", "nz")],
    "colours": [("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue")],
}


@dataclass(frozen=True)
class _Element:
    """An element of the header: how many there are, and the names and types of its properties, None for lists."""

    name: str
    count: int
    properties: list[tuple[str, str | None]]


def read_ply(path: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """
    Read positions, normals and colours of the vertices.

    :param path: The file.
    :return: Batches: `points`, `normals` and `colours`, as far as there are any, each (n, 3) of the file's type.
    :raises ValueError: If it is no PLY file, has no positions, or ends too early.
    """
    with path.open("rb") as file:
        form, elements = _header(file)
        for element in elements:
            kind = _record(element, _ORDERS[form])
            if element.name == "vertex":
                break
            for _ in _records(file, element, kind, form):
                pass  # what comes before the vertices
        else:
            raise ValueError("it has no vertices")
        chosen = {
            name: found
            for name, choices in _NAMES.items()
            if (found := next((names for names in choices if {*names} <= {*(kind.names or ())}), None))
        }
        if "points" not in chosen:
            raise ValueError("its vertices have no x, y, z")
        for records in _records(file, element, kind, form):
            yield {name: np.stack([records[axis] for axis in axes], axis=1) for name, axes in chosen.items()}


def _header(file: BinaryIO) -> tuple[str, list[_Element]]:
    if file.readline().strip() != b"ply":
        raise ValueError("it does not begin with 'ply'")
    form, elements = "", list[_Element]()
    while line := file.readline():
        match line.decode("ascii", errors="replace").split():
            case ["end_header"] if form:
                return form, elements
            case ["format", name, _] if name in _ORDERS:
                form = name
            case ["element", name, count]:
                elements.append(_Element(name, int(count), []))
            case ["property", "list", _, _, name] if elements:
                elements[-1].properties.append((name, None))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1].properties.append((name, _TYPES[kind]))
            case ["comment" | "obj_info", *_] | []:
                pass
            case _:
                raise ValueError(f"its header has the line {line!r}")
    raise ValueError("its header does not end")


def _record(element: _Element, order: str) -> np.dtype[Any]:
    """The type of one element."""
    kinds = [(name, order + kind) for name, kind in element.properties if kind is not None]
    if len(kinds) < len(element.properties):
        raise ValueError(f"the element {element.name!r} has lists")
    return np.dtype(kinds)


def _records(file: BinaryIO, element: _Element, kind: np.dtype[Any], form: str) -> Iterator[NDArray[Any]]:
    """All of an element, at most :data:`BATCH` at once."""
    for start in range(0, element.count, BATCH):
        count = min(BATCH, element.count - start)
        if form == "ascii":
            lines = [line.decode("ascii") for line in islice(file, count)]
            records = np.loadtxt(lines, dtype=kind, ndmin=1) if lines else np.empty(0, kind)
        else:
            data = file.read(count * kind.itemsize)
            records = np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], dtype=kind)
        if len(records) < count:
            raise ValueError(f"it ends after {start + len(records)} of {element.count} of the element {element.name!r}")
        yield records
