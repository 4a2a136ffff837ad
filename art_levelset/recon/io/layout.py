"""
The beginning of a text file: where its rows begin, how they are written, and which line names their columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from art_levelset.recon.cloud.clouds import FEWEST_POINTS
from art_levelset.recon.io.columns import (
    ADVICE,
    Chosen,
    Kinds,
    looks_like_names,
    named_columns,
    no_positions,
    show_names,
)
from art_levelset.recon.io.dialect import DELIMITERS, Dialect, dialect_of, split
from art_levelset.recon.io.text import show

COMMENTS = "#", "//", "%", "!"
"""How comments begin."""

WIDEST = 64
"""A table without names that has more columns than this is taken for something else."""

TITLED = ".xyz", ".xyzn", ".xyzrgb", ".pts"
"""Formats whose columns are x, y, z by convention, so that unknown words before the rows are a title."""

_LINES = 1000
_SIZE = 1 << 23
_LONGEST_NAMES = 10_000


@dataclass(frozen=True)
class Layout:
    """
    How a file begins.

    :param dialect: How its rows are written.
    :param head: The lines before the rows, without comments.
    :param comments: The comments before the rows.
    :param rows: The first rows, at least one.
    :param places: The columns of the first three numbers of most rows, counted from 0.
    :param ended: Whether there are no other rows.
    """

    dialect: Dialect
    head: list[str]
    comments: list[str]
    rows: list[str]
    places: list[int]
    ended: bool

    def numeric(self) -> list[int]:
        """
        The columns that are numbers, or empty, in all of the first rows.

        :return: The columns, counted from 0.
        :raises ValueError: If rows of numbers have different numbers of columns.
        """
        columns: set[int] | None = None
        whole: dict[int, str] = {}
        for row in self.rows:
            cells = self.dialect.fields(row)
            found = {i for i, cell in enumerate(cells) if self.dialect.is_number(cell)}
            if len(found) == len(cells) > 1:
                whole.setdefault(len(cells), row)
            if len(found) >= 2:  # others are damaged, or words after the last row
                empty = {i for i, cell in enumerate(cells) if not cell}
                columns = found | empty if columns is None else columns & (found | empty)
        if len(whole) > 1 and self.dialect.delimiter in (None, ","):
            first, second, *_ = whole.values()
            raise ValueError(f"the number of its columns changes: {show(first)}, {show(second)}")
        return sorted(columns or ())

    def is_transposed(self) -> bool:
        """
        Whether the rows are x, y and z of all points.

        :return: Whether there are three long ones.
        :raises ValueError: If there are other rows that are too long for those of points.
        """
        width = len(self.dialect.fields(self.rows[0]))
        if width < FEWEST_POINTS or len(self.numeric()) < width:
            return False
        if self.ended and len(self.rows) == 3:
            return True
        if width > WIDEST:
            raise ValueError(f"it has {width:,} columns: write one point a line, or {ADVICE}")
        return False

    def named(self, chosen: Chosen | None, suffix: str) -> Kinds | None:
        """
        The columns by their names.

        :param chosen: The columns of x, y and z, if the user names them.
        :param suffix: The suffix of the file.
        :return: The columns of each kind; None if they have no names.
        :raises ValueError: If it is not certain which are x, y and z, or the chosen ones are not there.
        """
        cells = self.dialect.fields(self.rows[0])
        wanted = [choice for choice in chosen or () if isinstance(choice, str)]
        doubtful: list[str] | None = None
        for line, is_comment in [*((h, False) for h in self.head[::-1]), *((c, True) for c in self.comments[::-1])]:
            for names in self._splits(line):
                kinds = _kinds(names, chosen, wanted)
                if "points" in kinds:
                    if self._fits(names, cells, kinds, is_comment):
                        return kinds
                elif len(names) != len(cells) or any(map(self.dialect.is_number, names)):
                    continue
                elif looks_like_names(names) or (suffix not in TITLED and not is_comment):
                    doubtful = doubtful or names
        if chosen is None and doubtful is not None:
            raise ValueError(no_positions(doubtful))
        return named_columns(doubtful or [], chosen) if doubtful is not None or wanted else None

    def _splits(self, line: str) -> Iterator[list[str]]:
        """The ways to take a line for names of columns."""
        line = line.lstrip("#/%! \t")[:_LONGEST_NAMES]
        units = re.sub(r"\s+([\[(][^\[\]()]*[\])])", r"\1", line)  # of names between blanks
        seen: list[list[str]] = []
        for delimiter in (self.dialect.delimiter, *DELIMITERS):
            names = split(units if delimiter is None else line, delimiter)
            if len(names) >= 3 and names not in seen:
                seen.append(names)
                yield names

    def _fits(self, names: list[str], cells: list[str], kinds: Kinds, is_comment: bool) -> bool:
        """Whether so many names belong to the rows; if not, they are no names or an error."""
        more = cells[len(names) :]
        fewer = len(names) > len(cells) and self.dialect.delimiter is None
        if not fewer and not any(map(self.dialect.is_number, more)):
            return True
        if is_comment and kinds["points"] == [0, 1, 2]:
            return False
        raise ValueError(f"it has {len(names)} names, {show_names(names)}, for {len(cells)} columns; {ADVICE}")


def layout_of(lines: Iterator[str]) -> Layout | None:
    """
    Take the first lines of a file.

    :param lines: The lines; more may be left.
    :return: How it begins; None if it is empty.
    :raises ValueError: If none of the first lines has three numbers, or it is not certain how numbers are written.
    """
    taken, comments, size, ended = list[str](), list[str](), 0, True
    for line in lines:
        if not line.startswith(COMMENTS):
            taken.append(line)
        elif len(comments) < 100:
            comments.append(line)
        size += len(line)
        if len(taken) >= _LINES or size >= _SIZE:
            ended = False
            break
    if taken and taken[0].lower().startswith(("ncols ", "ncols\t")):
        raise ValueError("it is an ESRI grid and no table of points: convert it to one (gdal2xyz)")
    dialect = dialect_of(taken)
    if dialect is None:
        if any(not line.isdecimal() for line in taken):
            raise ValueError(f"none of its first {len(taken)} lines has three numbers: {show(taken[0])}")
        return None
    table = [dialect.fields(line) for line in taken]
    found = [[i for i, cell in enumerate(cells) if dialect.is_number(cell)][:3] for cells in table]
    threes = [tuple(places) for places in found if len(places) == 3]
    if not threes:
        raise ValueError(f"none of its first {len(taken)} lines has three numbers: {show(taken[0])}")
    places = max(dict.fromkeys(threes), key=threes.count)
    begin = next(i for i, row in enumerate(taken) if all(_is_cell(dialect, row, table[i], place) for place in places))
    return Layout(dialect, taken[:begin], comments, taken[begin:], list(places), ended)


def _is_cell(dialect: Dialect, row: str, cells: list[str], place: int) -> bool:
    """Whether there is a number, or a missing one."""
    try:
        dialect.number(dialect.cell(row, cells, place))
    except (IndexError, ValueError):
        return False
    return True


def _kinds(names: list[str], chosen: Chosen | None, wanted: list[str]) -> Kinds:
    """The columns by their names, if those that the user says are among them, or else those of positions."""
    if chosen is not None and not wanted:
        return {}
    try:
        return named_columns(names, chosen)
    except ValueError:
        if chosen is None:
            raise
        return {}
