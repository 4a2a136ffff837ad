"""
Points as lines of text, in batches: with or without names of the columns, a title, comments and counts of points.

What can be read in several ways is an error that says how to resolve it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import BATCH
from art_levelset.recon.io.columns import ADVICE, Chosen, Kinds, chosen_columns
from art_levelset.recon.io.dialect import BadRow, Dialect
from art_levelset.recon.io.layout import COMMENTS, Layout, layout_of
from art_levelset.recon.io.text import read_lines, show
from art_levelset.recon.io.threes import Column, threes

logger = logging.getLogger(__name__)

_CERTAIN: dict[str, Kinds] = {".xyzn": {"normals": [3, 4, 5]}, ".xyzrgb": {"colours": [3, 4, 5]}}
_FEWEST_ROWS = 5
_LONGEST_TAIL = 20


def read_table(path: Path, chosen: Chosen | None = None) -> Iterator[dict[str, NDArray[np.float64]]]:
    """
    Read positions, normals and colours.

    A line before the rows, or a comment, may name the columns. Without names x, y and z come first, and of the others
    three beside each other are normals if they have length 1 (or are zero) and colours if they are whole numbers from 0
    to 255; in a `.xyzn` or `.xyzrgb` file the second three are normals or colours. Where several threes could be the
    colours, or the normals, they are left out with a warning, unless it is clear which number beside them is another
    (:mod:`art_levelset.recon.io.threes`). Other lines before the rows, single whole numbers there (and anywhere in a
    `.pts` file), comments, and words after the last row are left out. Three rows of many numbers are x, y and z of all
    points.

    :param path: The file.
    :param chosen: The columns of x, y and z, if the user names them.
    :return: Batches: `points`, `normals` and `colours`, as far as there are any, each (n, 3).
    :raises ValueError: If a row is not made of numbers, or it is not certain which columns are x, y and z.
    """
    suffix = path.suffix.lower()
    lines = read_lines(path)
    layout = layout_of(lines, chosen)
    if layout is None:
        return
    for line in layout.head:
        if sum(map(layout.dialect.is_number, layout.dialect.fields(line))) >= 3:
            logger.warning("%s: left out a line before the rows: %s", path, show(line))
    kinds = layout.named(chosen, suffix)
    if kinds is None and chosen is None and layout.is_transposed():
        yield {"points": layout.dialect.numbers(layout.rows, layout.numeric()).T}
        return
    rows = (line for line in chain(layout.rows, lines) if not line.startswith(COMMENTS))
    if suffix == ".pts":
        rows = (line for line in rows if not line.isdecimal())
    while some := list(islice(rows, BATCH)):
        if kinds is None:
            kinds = _columns_without_names(layout, some, chosen, suffix)
        columns = [column for axes in kinds.values() for column in axes]
        try:
            values = layout.dialect.numbers(some, columns)
        except BadRow as error:
            tail = [*some[error.index :], *islice(rows, _LONGEST_TAIL)]
            if error.index == 0 or not _is_tail(layout.dialect, tail):
                raise
            logger.warning("%s: left out what follows the last row: %s", path, show(tail[0]))
            values = layout.dialect.numbers(some[: error.index], columns)
        yield {name: values[:, 3 * i : 3 * i + 3] for i, name in enumerate(kinds)}


def _is_tail(dialect: Dialect, lines: Sequence[str]) -> bool:
    """Whether lines are words after the rows, such as a total, and not rows that are damaged."""
    if len(lines) > _LONGEST_TAIL:
        return False
    return all(
        sum(map(dialect.is_number, cells)) < 2 and any(sign.isalpha() for sign in line)
        for line in lines
        for cells in [dialect.fields(line)]
    )


def _columns_without_names(layout: Layout, rows: Sequence[str], chosen: Chosen | None, suffix: str) -> Kinds:
    """The columns of each kind, by the suffix and by what is in the first rows."""
    columns = layout.numeric()
    if chosen is not None:
        points = chosen_columns(chosen, len(layout.dialect.fields(layout.rows[0])))
    elif layout.places == [0, 1, 2]:
        points = layout.places
        columns = [column for place, column in enumerate(columns) if column == place]  # up to the first words
    elif suffix == ".xyz" and layout.places == [1, 2, 3] and layout.head and layout.head[0].isdecimal():
        return {"points": layout.places}  # of chemists: number of atoms, title, symbols
    else:
        numbers = ", ".join(str(place + 1) for place in layout.places)
        raise ValueError(f"its first columns of numbers are {numbers}, {show(layout.rows[0])}; {ADVICE}")
    columns = sorted({*columns, *points})
    while True:
        try:
            values = layout.dialect.numbers(rows, columns)
            break
        except BadRow as error:
            if error.index > 0 and _is_tail(layout.dialect, rows[error.index :]):
                rows = rows[: error.index]
            elif error.column in points:
                raise
            else:
                columns.remove(error.column)
    kinds = {"points": points}
    kinds |= {kind: triple for kind, triple in _CERTAIN.get(suffix, {}).items() if {*triple} <= {*columns} - {*points}}
    fields = layout.dialect.fields(rows[0])
    free = {
        column: Column(values[:, i], layout.dialect.cell(rows[0], fields, column))
        for i, column in enumerate(columns)
        if not any(column in triple for triple in kinds.values())
    }
    kinds |= threes(free, kinds, last=suffix == ".pts")
    if chosen is None:
        _check_order(values, explained=len(kinds) * 3, row=rows[0], commas=layout.dialect.delimiter == ",")
    return kinds


def _check_order(values: NDArray[np.float64], explained: int, row: str, commas: bool) -> None:
    """Whether the first columns can be something else than x, y and z."""
    width = values.shape[1]
    values = values[np.isfinite(values).all(axis=1)]
    if width <= explained or len(values) < _FEWEST_ROWS:
        return
    whole = (values == np.rint(values)).all(axis=0)
    first = values[:, 0]
    running = (np.diff(first) == 1).all()
    distinct = len(np.unique(first)) == len(first)
    numbers = whole[0] and (running or (not whole[1:3].all() and distinct) or not whole[1:4].any())
    if numbers:
        raise ValueError(
            f"its first column can be a number of the point, {show(row)}: say --columns 2,3,4 if x, y and z follow it, "
            "--columns 3,2,4 if northing, easting and elevation do, or --columns 1,2,3"
        )
    if width >= 5 and whole[:2].all() and not whole[2:5].any():
        raise ValueError(f"its first columns can be row and column of a grid, {show(row)}; {ADVICE}")
    if commas and width == 6 and whole.all():
        raise ValueError(f"commas can be between its numbers or decimal, {show(row)}: write points, or {ADVICE}")
