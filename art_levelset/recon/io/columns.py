"""
Which columns of a table are positions, normals and colours, told by their names or by what a user says.

A *table* is anything with columns: lines of text, the vertices of a PLY file, the fields of a PCD file, an array.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Chosen: TypeAlias = tuple[int | str, int | str, int | str]
"""The columns of x, y and z that a user names, each by its number, counted from 1, or by its name."""

Kinds: TypeAlias = dict[str, list[int]]
"""The columns, counted from 0, of `points`, `normals` and `colours`: three, or one of packed colours."""

ADVICE = "say which are x, y and z: --columns 2,1,3 (counted from 1) or their names"
"""How an ambiguity is resolved."""

_POSITIONS = ["points", "point", "xyz", "positions", "position", "pos", "coordinates", "coordinate", "coords"]
_POSITIONS += ["coord", "vertices", "vertex"]
_EAST, _NORTH = "easting|east|e|rechtswert", "northing|north|n|hochwert"
_HEIGHT = "elevation|elev|height|altitude|alt|hoehe|höhe"
_GEOGRAPHIC = {"lon", "long", "longitude", "lat", "latitude", "lng"}


def check_columns(columns: object, name: str = "columns") -> Chosen | None:
    """
    Check what a user says of the columns.

    >>> check_columns("2,1,3"), check_columns(["easting", "northing", 5])
    ((2, 1, 3), ('easting', 'northing', 5))

    :param columns: Three numbers, counted from 1, or names, as a sequence or between commas; None for nothing said.
    :param name: What the caller calls them, for messages.
    :return: The same.
    :raises ValueError: If they are not three different ones.
    """
    if columns is None:
        return None
    parts = columns.split(",") if isinstance(columns, str) else columns
    choices = [_choice(part) for part in parts] if isinstance(parts, Sequence) and not isinstance(parts, bytes) else []
    if len(choices) != 3 or None in choices or len({*choices}) < 3:
        rule = "three different numbers, counted from 1, or names, such as 2,1,3 or easting,northing,elevation"
        raise ValueError(f"{name} must be {rule}, got {columns!r}")
    first, second, third = choices
    return first, second, third  # type: ignore[return-value]  # none is None


def named_columns(names: Sequence[str], chosen: Chosen | None = None) -> Kinds:
    """
    The columns of each kind, by their names.

    Case, quotes, units in brackets and the signs between words do not count: `X`, `"x [m]"`, `Points:0` and `points_x`
    are all x. Of colours and normals the first complete three are taken.

    >>> named_columns(["id", "X [m]", "Y [m]", "Z [m]", "Rf", "Gf", "Bf"])
    {'points': [1, 2, 3], 'colours': [4, 5, 6]}

    :param names: The names of all columns.
    :param chosen: What the user says.
    :return: The columns; without `points` if no names are those of positions.
    :raises ValueError: If the names of positions are ambiguous, or the user's columns are not there.
    """
    plain = [_plain(name) for name in names]
    kinds: Kinds = {}
    if chosen is not None:
        kinds["points"] = chosen_columns(chosen, len(names), names)
    else:
        found = list(_triples(plain, _point_names(plain)))
        if len(found) > 1 or (found and any(plain.count(plain[column]) > 1 for column in found[0])):
            meant = " or ".join(", ".join(names[column] for column in triple) for triple in found)
            raise ValueError(f"its columns {show_names(names)} can be read in several ways ({meant}); {ADVICE}")
        if found:
            kinds["points"] = found[0]
    for kind, choices in (("normals", _NORMALS), ("colours", _COLOURS)):
        if triple := next(_triples(plain, choices), None):
            kinds[kind] = triple
    if "colours" not in kinds:
        packed = [i for i, name in enumerate(plain) if name in ("rgb", "rgba")]
        kinds |= {"colours": packed} if len(packed) == 1 else {}
    return kinds


def point_columns(names: Sequence[str], chosen: Chosen | None = None) -> Kinds:
    """
    The columns of each kind where there must be positions.

    :param names: The names of all columns.
    :param chosen: What the user says.
    :return: The columns.
    :raises ValueError: As :func:`named_columns`, and if no names are those of positions.
    """
    kinds = named_columns(names, chosen)
    if "points" not in kinds:
        raise ValueError(no_positions(names))
    return kinds


def no_positions(names: Sequence[str]) -> str:
    """
    The message where names say nothing of positions.

    :param names: The names of all columns.
    :return: A line.
    """
    angles = " (longitude and latitude are angles: project them to metres first)" if geographic(names) else ""
    advice = f"{angles}; {ADVICE}" if len(names) >= 3 else ""
    return f"no columns are called x, y and z, but {show_names(names)}{advice}"


def chosen_columns(chosen: Chosen, count: int, names: Sequence[str] = ()) -> list[int]:
    """
    The columns that a user says.

    :param chosen: What the user says.
    :param count: How many columns there are.
    :param names: Their names, if they have any.
    :return: The three columns, counted from 0.
    :raises ValueError: If one is not there, or a name is that of several.
    """
    exact, plain = [name.strip().strip("\"'") for name in names], [_plain(name) for name in names]
    columns = []
    for choice in chosen:
        if isinstance(choice, int):
            if choice > count:
                raise ValueError(f"columns: there is no column {choice}, it has {count}")
            columns.append(choice - 1)
            continue
        found = [i for i, name in enumerate(exact) if name == choice]
        found = found or [i for i, name in enumerate(plain) if name == _plain(choice)]
        if len(found) != 1:
            what = f"{len(found)} columns are" if found else "no column is"
            among = f" among {show_names(names)}" if names else ": they have no names, give their numbers"
            raise ValueError(f"columns: {what} called {choice!r}{among}")
        columns += found
    if len({*columns}) < 3:
        raise ValueError(f"columns must be three different ones, got {','.join(map(str, chosen))}")
    return columns


def looks_like_names(words: Sequence[str]) -> bool:
    """
    Whether words are likely to be names of columns rather than a title.

    :param words: The words of a line.
    :return: Whether two of them are known as such.
    """
    return sum(_plain(word) in _KNOWN for word in words) >= 2


def geographic(names: Sequence[str]) -> bool:
    """
    Whether some of the names are those of longitude and latitude.

    :param names: The names of all columns.
    :return: Whether there are two.
    """
    return len({_plain(name) for name in names} & _GEOGRAPHIC) >= 2


def pick(columns: Sequence[NDArray[Any]], kinds: Kinds) -> dict[str, NDArray[Any]]:
    """
    The arrays of each kind.

    :param columns: All columns, each (n,).
    :param kinds: Which are of what kind.
    :return: Each (n, 3).
    """
    return {
        kind: _unpacked(columns[chosen[0]]) if len(chosen) == 1 else np.stack([columns[i] for i in chosen], axis=1)
        for kind, chosen in kinds.items()
    }


def show_names(names: Sequence[str]) -> str:
    """
    Names for a message.

    :param names: The names.
    :return: At most a dozen of them.
    """
    shown = ", ".join(name.strip().strip("\"'")[:40] for name in names[:12])
    return "".join(sign if sign.isprintable() else "?" for sign in shown) + (", ..." if len(names) > 12 else "")


def _choice(part: object) -> int | str | None:
    """A column that a user says; None if it can be none."""
    if isinstance(part, str):
        part = part.strip().strip("\"'").strip()
        part = int(part) if part.isascii() and part.isdecimal() and len(part) < 10 else part
        return part if part else None
    if isinstance(part, (int, np.integer)) and not isinstance(part, bool):
        return int(part) if part >= 1 else None
    return None


def _plain(name: str) -> str:
    """A name without its case, quotes, unit and signs."""
    name = name.strip().strip("\"'").strip().lower()[:100]
    name = re.sub(r"\[(\d)\]", r"_\1", name)
    name = re.split(r"[\[({<]", name, maxsplit=1)[0] or name
    name = re.sub(r"[\s:.\-/]+", "_", name).strip("_")
    return re.sub(r"_(m|mm|cm|km|ft|in|meters?|metres?)$", "", name)


def _indexed(base: str) -> list[tuple[str, str, str]]:
    """The ways to write the three columns of a vector."""
    x, y, z = ((f"{base}_{i}", f"{base}_{axis}", f"{axis}_{base}", f"{base}{axis}") for i, axis in enumerate("xyz"))
    return list(zip(x, y, z, strict=True))


_NORMALS = [("nx", "ny", "nz"), ("n_x", "n_y", "n_z")]
_NORMALS += [triple for base in ("normal", "normals", "norm") for triple in _indexed(base)]
_RGB = "rgb", "color", "colors", "colour", "colours", "vertex_color"
_COLOURS = [("red", "green", "blue"), ("r", "g", "b"), ("rf", "gf", "bf"), ("r_f", "g_f", "b_f")]
_COLOURS += [("diffuse_red", "diffuse_green", "diffuse_blue"), ("vertex_red", "vertex_green", "vertex_blue")]
_COLOURS += [
    (f"{base}_{r}", f"{base}_{g}", f"{base}_{b}")
    for base in _RGB
    for r, g, b in ("012", "rgb", ("red", "green", "blue"))
]
_PLAIN_POINTS = [("x", "y", "z"), ("px", "py", "pz")]
_PLAIN_POINTS += [triple for base in _POSITIONS for triple in _indexed(base)]
_KNOWN = {name for triple in (*_PLAIN_POINTS, *_NORMALS, *_COLOURS) for name in triple}
_KNOWN |= {*_EAST.split("|"), *_NORTH.split("|"), *_HEIGHT.split("|"), *_GEOGRAPHIC, "intensity", "h"}


def _point_names(plain: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """All names that positions may have: beside the usual ones, those of surveys, whose height may be called z."""
    yield from _PLAIN_POINTS
    heights = _HEIGHT.split("|")
    if "z" not in plain:
        yield from (("x", "y", height) for height in heights)
    for east in _EAST.split("|"):
        for north in _NORTH.split("|"):
            yield from ((east, north, height) for height in [*heights, "h", "z"])


def _triples(plain: Sequence[str], choices: Any) -> Iterator[list[int]]:
    """The complete threes among the names."""
    present = {*plain}
    for triple in choices:
        if present.issuperset(triple):
            yield [plain.index(name) for name in triple]


def _unpacked(colours: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours whose three bytes are in one number, or in the bits of one float32 (the Point Cloud Library's)."""
    if np.issubdtype(colours.dtype, np.floating):
        with np.errstate(all="ignore"):
            bits = colours.astype(np.float32).view(np.uint32)
    else:
        bits = colours.astype(np.uint64, casting="unsafe")
    return np.stack([(bits >> shift) & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8)
