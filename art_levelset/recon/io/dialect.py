"""
How a text file separates its fields and writes its numbers: blanks, commas, semicolons or tabs; `1.5`, `1,5`,
`1.234,5`, `1,234.5`, `1'234.5`, `1.5D+00`; `nan`, `1.#QNAN`, an empty field.

NumPy reads the plain ones, which nearly all are, fast; what it refuses is read field by field.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.io.text import show

DELIMITERS = (";", "|", "\t", ",", None)
"""What may stand between fields, the likelier ones first where several would do; None for blanks of any kind."""

_SPACES = "\u00a0\u2009\u202f"
_ABSENT = {"", "-", "na", "n/a", "none", "null"}
_NAN = {"nan", "+nan", "-nan", "nan(ind)", "-nan(ind)", "nan(snan)"}
_QNAN = re.compile(r"[+-]?1\.#(qnan|snan|ind|inf)\d*", re.IGNORECASE)
_DIGITS = rf"(\d[\d.,'’{_SPACES}]*|[.,]\d+)([eEdD][+-]?\d+|[+-]\d{{2,3}})?"
_BETWEEN = ",.'’" + _SPACES
_DIGITS = rf"(\d([\d{_BETWEEN}]*[\d.])?|[.,]\d+)([eEdD][+-]?\d+|[+-]\d{{2,3}})?"
_NUMBER = re.compile(rf"[+-]?({_DIGITS}|inf(inity)?)", re.IGNORECASE)
_GROUPS = {sign: re.compile(rf"[+-]?[1-9]\d{{0,2}}({re.escape(sign)}\d{{3}})+(?!\d)") for sign in _BETWEEN}
_SHORT_EXPONENT = re.compile(r"([\d.])([+-]\d{2,3})$")


class BadRow(ValueError):
    """
    A row that is not made of numbers.

    :param row: The row.
    :param index: Which it is of those that were to be read, counted from 0.
    :param column: Where there is no number, counted from 0.
    """

    def __init__(self, row: str, index: int, column: int) -> None:
        super().__init__(f"the row {show(row)} has no number in column {column + 1}")
        self.index = index
        self.column = column


@dataclass(frozen=True)
class Dialect:
    """
    How fields are separated and numbers written.

    :param delimiter: Between fields; None for blanks.
    :param decimal: The decimal sign, a point or a comma.
    """

    delimiter: str | None
    decimal: str = "."

    def fields(self, row: str) -> list[str]:
        """
        The fields of a row.

        :param row: The row; a comment after a blank and `#` or `//` is cut off.
        :return: The fields, without blanks and quotes around them, and without empty ones at the end.
        """
        for sign in ("#", "//"):
            if f" {sign}" in row or f"\t{sign}" in row:
                row = re.split(rf"\s{sign}", row, maxsplit=1)[0]
        return split(row, self.delimiter)

    def cell(self, row: str, fields: Sequence[str], column: int) -> str:
        """
        One of the fields of a row.

        :param row: The row.
        :param fields: Its fields.
        :param column: Which one, counted from 0.
        :return: The field; an empty one at the end is there.
        :raises IndexError: If there are not so many.
        """
        if len(fields) <= column and self.delimiter is not None and row.count(self.delimiter) >= column:
            return ""
        return fields[column]

    def number(self, field: str) -> float:
        """
        The number that a field is.

        :param field: The field.
        :return: Its value; NaN for a missing one.
        :raises ValueError: If it is no number.
        """
        if field.lower() in _ABSENT | _NAN or _QNAN.fullmatch(field):
            return math.nan
        if not _NUMBER.fullmatch(field):
            raise ValueError(f"{field!r} is no number")
        thousands = "." if self.decimal == "," else ","
        for sign in (thousands, "'", "’", *_SPACES):
            if sign in field:
                groups = _GROUPS[sign].match(field)
                if groups is None or sign in field[groups.end() :]:
                    raise ValueError(f"{field!r} is no number")
                field = field.replace(sign, "")
        field = field.replace(self.decimal, ".").replace("d", "e").replace("D", "e")
        return float(field if "e" in field.lower() else _SHORT_EXPONENT.sub(r"\1e\2", field))

    def is_number(self, field: str) -> bool:
        """
        Whether a field is a number.

        :param field: The field.
        :return: Whether it is; `nan` is one, what only says that there is none is not.
        """
        if field.lower() in _ABSENT:
            return False
        try:
            self.number(field)
        except ValueError:
            return False
        return True

    def numbers(self, rows: Sequence[str], columns: Sequence[int]) -> NDArray[np.float64]:
        """
        The numbers in columns of rows.

        :param rows: The rows, at least one.
        :param columns: The columns, counted from 0, at least one.
        :return: The numbers, (rows, columns); NaN where one is missing.
        :raises BadRow: If a row is too short or has something else there.
        """
        if all(map(self._is_plain, rows)):
            plain = rows if self.decimal == "." else [row.replace(",", ".") for row in rows]
            for fortran in (False, True):
                if fortran:
                    plain = [row.replace("D", "E").replace("d", "e") for row in plain]
                try:
                    return np.loadtxt(plain, delimiter=self.delimiter, usecols=columns, comments=None, ndmin=2)
                except ValueError:
                    pass  # read field by field below
        values = np.empty((len(rows), len(columns)))
        for i, row in enumerate(rows):
            fields = self.fields(row)
            for j, column in enumerate(columns):
                try:
                    values[i, j] = self.number(self.cell(row, fields, column))
                except (IndexError, ValueError):
                    raise BadRow(row, i, column) from None
        return values

    def _is_plain(self, row: str) -> bool:
        """Whether NumPy cannot take a row for another one."""
        if self.decimal == "," and (self.delimiter == "," or "." in row):
            return False
        return '"' not in row and (self.delimiter is not None or row.isascii())


def dialect_of(lines: Sequence[str]) -> Dialect | None:
    """
    The dialect of a file.

    :param lines: Its first lines, without comments.
    :return: The dialect in which most of the lines have three numbers or more; None if none has.
    :raises ValueError: If a comma can be either decimal or between thousands.
    """
    best: list[list[str]] = []
    chosen = None
    for delimiter in DELIMITERS:
        rows = [split(line, delimiter) for line in lines]
        if delimiter == "\t" and sum("" in row for row in rows) > len(rows) / 2:
            continue  # tabs that line numbers up
        rows = [row for row in rows if sum(map(_like_number, row)) >= 3]
        if len(rows) > len(best):
            best, chosen = rows, delimiter
    if not best:
        return None
    return Dialect(chosen, _decimal(best, chosen))


def split(row: str, delimiter: str | None) -> list[str]:
    """
    Split a row.

    :param row: The row.
    :param delimiter: What stands between its fields; None for blanks.
    :return: The fields, without blanks and quotes around them, and without empty ones at the end.
    """
    if delimiter is None:
        spaces = " " in row or "\t" in row
        fields = re.split(r"[ \t\f\v]+", row.strip()) if spaces else row.split()
        fields = [field.strip("\"'") for field in fields]
    elif '"' in row:
        try:
            fields = next(csv.reader([row], delimiter=delimiter, skipinitialspace=True))
        except csv.Error:
            fields = row.split(delimiter)
        fields = [field.strip() for field in fields]
    else:
        fields = [field.strip() for field in row.split(delimiter)]
    while fields and not fields[-1]:
        fields.pop()
    return fields


def _like_number(field: str) -> bool:
    """Whether a field is a number in some dialect."""
    return field.lower() in _NAN or any(pattern.fullmatch(field) for pattern in (_NUMBER, _QNAN))


def _decimal(rows: Sequence[Sequence[str]], delimiter: str | None) -> str:
    """The decimal sign, by what stands in the fields."""
    numbers = [field for row in rows for field in row if _like_number(field)]
    commas, points = ([field for field in numbers if sign in field] for sign in ",.")
    signs = {max(",.", key=field.rfind) for field in commas if "." in field}  # the last sign of a number is decimal
    signs |= {"." for field in points if "," not in field and not _GROUPS["."].fullmatch(field)}
    signs |= {"," for field in commas if "." not in field and not _GROUPS[","].fullmatch(field)}
    if len(signs) > 1:
        raise ValueError(f"both . and , are decimal signs: {show(points[0])}, {show(commas[0])}")
    if signs or not commas:
        return signs.pop() if signs else "."
    if any(field.count(",") > 1 for field in commas):
        return "."  # several commas are between thousands
    if delimiter == ";":
        return ","  # as spreadsheets write them where commas are decimal
    raise ValueError(f"{show(commas[0])} can be a thousand or not: write decimal points and nothing between thousands")
