"""
Which three columns without names are normals, and which ones colours.

Normals have length 1, or are zero where one is missing; colours are whole numbers from 0 to 255. Beside the colours
there may be another such number, an intensity or an opacity. Which it is, its form tells, or that it is the same in all
rows. Otherwise nothing does, and a warning says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.io.columns import Kinds

logger = logging.getLogger(__name__)


class Column(NamedTuple):
    """
    A column of a table.

    :param values: Its numbers in some rows, (n,).
    :param text: How the first of them is written.
    """

    values: NDArray[np.float64]
    text: str


def threes(columns: Mapping[int, Column], known: Collection[str], last: bool) -> Kinds:
    """
    Three columns beside each other for the normals and three for the colours, as far as there are any.

    :param columns: The columns, by their numbers.
    :param known: The kinds that are not looked for.
    :param last: Whether a number beside the colours comes before them, as an intensity does in `.pts` files.
    :return: The columns' numbers by kind.
    """
    kinds: Kinds = {}
    for kind in [kind for kind in _FITS if kind not in known]:
        free = {*columns} - {column for taken in kinds.values() for column in taken}
        triples = ([column, column + 1, column + 2] for column in sorted(free))
        found = [triple for triple in triples if {*triple} <= free and _FITS[kind](_values(triple, columns))]
        chosen = found[-1:] if last else _clear(found, columns)
        if chosen:
            kinds[kind] = chosen[0]
        elif found:
            ways = " or ".join(f"{triple[0] + 1} to {triple[2] + 1}" for triple in found)
            logger.warning(
                "%s are left out, for columns %s could be them: name the columns in a first line", kind, ways
            )
    return kinds


def _values(triple: list[int], columns: Mapping[int, Column]) -> NDArray[np.float64]:
    return np.stack([columns[column].values for column in triple], axis=1)


def _clear(found: list[list[int]], columns: Mapping[int, Column]) -> list[list[int]]:
    """Of several threes the one that has no column of another kind; none if it is not clear."""
    for is_other in _OTHERS:
        own = [triple for triple in found if not any(is_other(columns[column]) for column in triple)]
        if len(own) == 1:
            return own
    return []


def _are_normals(three: NDArray[np.float64]) -> bool:
    given = three[np.isfinite(three).all(axis=1) & three.any(axis=1)]
    return bool(2 * len(given) > len(three) and (np.abs(np.linalg.norm(given, axis=1) - 1) < 0.01).all())


def _are_colours(three: NDArray[np.float64]) -> bool:
    return bool(((three == np.rint(three)) & (three >= 0) & (three <= 255)).all())


_FITS: dict[str, Callable[[NDArray[np.float64]], bool]] = {"normals": _are_normals, "colours": _are_colours}

_OTHERS: tuple[Callable[[Column], bool], ...] = (
    lambda column: False,
    lambda column: not column.text.isdecimal(),
    lambda column: bool(np.ptp(column.values) == 0),
)
"""What tells a number beside the colours from them; the first one, that there is no such number."""
