"""
Points as lines of text, in batches: columns between blanks, commas, semicolons or tabs, with or without names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import BATCH

_COMMENTS = "#", "//"
_NAMES = {
    "points": [("x", "y", "z")],
    "normals": [("nx", "ny", "nz")],
    "colours": [("r", "g", "b"), ("red", "green", "blue")],
}


def read_table(path: Path) -> Iterator[dict[str, NDArray[np.float64]]]:
    """
    Read positions, normals and colours.

    The first row, or a comment before it, may name the columns. Without names x, y and z come first, and the last
    columns, in threes, are normals if they have length 1 and colours if they are whole numbers from 0 to 255.

    :param path: The file. One whose suffix is `.pts` may begin with the number of points.
    :return: Batches: `points`, `normals` and `colours`, as far as there are any, each (n, 3).
    :raises ValueError: If a row is not made of numbers, or the columns have names without x, y and z.
    """
    with path.open(encoding="utf-8-sig") as file:
        lines = (line for line in map(str.strip, file) if line)
        comment, first = "", next(lines, "")
        while first.startswith(_COMMENTS):
            comment, first = first, next(lines, "")
        if path.suffix.lower() == ".pts" and first.isdecimal():
            first = next(lines, "")
        if not first:
            return
        delimiter = next((sign for sign in ";,\t" if sign in first), None)
        names = None
        if not any(map(_is_number, _fields(first, delimiter))):
            names, first = _fields(first, delimiter), next(lines, "")
        elif len(_fields(comment.lstrip("#/ "), delimiter)) == len(_fields(first, delimiter)):
            names = _fields(comment.lstrip("#/ "), delimiter)
        columns = None if names is None else _named(names)
        rows = (line for line in chain([first], lines) if line and not line.startswith(_COMMENTS))
        while some := list(islice(rows, BATCH)):
            if columns is None:
                columns = _recognised(_numbers(some, delimiter, range(_width(first, delimiter))))
            values = _numbers(some, delimiter, [column for axes in columns.values() for column in axes])
            yield {name: values[:, 3 * i : 3 * i + 3] for i, name in enumerate(columns)}


def read_obj(path: Path) -> Iterator[dict[str, NDArray[np.float64]]]:
    """
    Read the `v` lines of an OBJ file, and its `vn` lines if there are as many.

    :param path: The file.
    :return: One batch: `points`, `normals` and `colours`, as far as there are any, each (n, 3).
    :raises ValueError: If a line is not made of numbers.
    """
    kinds: dict[str, list[NDArray[np.float64]]] = {"v": [], "vn": []}
    with path.open(encoding="utf-8") as file:
        while some := list(islice(file, BATCH)):
            for kind, batches in kinds.items():
                rows = [line[len(kind) :] for line in some if line.startswith((f"{kind} ", f"{kind}\t"))]
                if rows:
                    width = batches[0].shape[1] if batches else len(rows[0].split())
                    batches.append(_numbers(rows, None, range(max(width, 3))))
    found = {kind: np.concatenate(batches) for kind, batches in kinds.items() if batches}
    if "v" not in found:
        return
    batch = {"points": found["v"][:, :3]}
    if found["v"].shape[1] >= 6:
        batch["colours"] = found["v"][:, 3:6]
    if len(found.get("vn", ())) == len(found["v"]):
        batch["normals"] = found["vn"]
    yield batch


def _numbers(rows: Sequence[str], delimiter: str | None, columns: Sequence[int]) -> NDArray[np.float64]:
    if delimiter == ";":
        rows = [row.replace(",", ".") for row in rows]
    return np.loadtxt(rows, delimiter=delimiter, usecols=columns, comments=None, ndmin=2)


def _named(names: Sequence[str]) -> dict[str, list[int]]:
    """The columns of each kind."""
    plain = [name.strip("\"' ").lower() for name in names]
    columns = {
        kind: [plain.index(axis) for axis in axes]
        for kind, choices in _NAMES.items()
        for axes in choices
        if {*axes} <= {*plain}
    }
    if "points" not in columns:
        raise ValueError(f"no columns are called x, y and z, but {', '.join(plain)}")
    return columns


def _recognised(values: NDArray[np.float64]) -> dict[str, list[int]]:
    """The columns of each kind, by what is in them."""
    columns = {"points": [0, 1, 2]}
    for start in range(values.shape[1] - 3, 2, -3):
        triple = values[:, start : start + 3]
        if (np.abs(np.linalg.norm(triple, axis=1) - 1) < 0.01).all():
            columns.setdefault("normals", [start, start + 1, start + 2])
        elif ((triple == np.rint(triple)) & (triple >= 0) & (triple <= 255)).all():
            columns.setdefault("colours", [start, start + 1, start + 2])
    return columns


def _width(row: str, delimiter: str | None) -> int:
    """The number of columns that are numbers, at least three."""
    fields = _fields(row, delimiter)
    return max(3, next((i for i, field in enumerate(fields) if not _is_number(field)), len(fields)))


def _fields(row: str, delimiter: str | None) -> list[str]:
    return [field.replace(",", ".") if delimiter == ";" else field for field in row.split(delimiter)]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
