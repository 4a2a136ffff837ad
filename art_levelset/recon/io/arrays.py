"""
Points in NumPy's files: arrays (n, 3 or more) of points, (h, w, 3) of depth cameras, (3, n), and structured ones.

What an archive says of its arrays is checked before memory is taken for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import BATCH, FEWEST_POINTS
from art_levelset.recon.io.columns import Chosen, chosen_columns, pick, point_columns
from art_levelset.untrusted import Arrays, opened

WIDEST = 64
"""An array with more columns than this is taken for something else."""

_POINTS = re.compile(r"points?|xyz|pts|pos(itions?)?|vert(ice|exe)?s?|coord(inate)?s?|(point_?)?clouds?|pcd?")
_NORMALS = re.compile(r"normals?|norms?")
_SENSORS = re.compile(r"sensors?")
_COLOURS = re.compile(r"colou?rs?|rgba?")


def read_npy(path: Path, chosen: Chosen | None = None) -> Iterator[dict[str, NDArray[Any]]]:
    """
    Read an array of points.

    :param path: The file.
    :param chosen: The columns of x, y and z, if the user names them.
    :return: Batches: `points`, and of structured arrays `normals` and `colours`, as far as there are any.
    :raises ValueError: If it has another shape, or one that can be read in several ways.
    """
    array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    yield from _batches(_as_rows(array, chosen), chosen)


def read_npz(path: Path, chosen: Chosen | None = None) -> Iterator[dict[str, NDArray[Any]]]:
    """
    Read an archive of arrays: one, or one that is called `points` or the like, with `normals`, `colours` and `sensors`;
    or three called `x`, `y` and `z`.

    :param path: The file.
    :param chosen: The columns of x, y and z of the points, or the names of three arrays.
    :return: Batches: `points`, `normals` and `colours`, as far as there are any.
    :raises ValueError: If it is not certain which array is the cloud, a shape is wrong, or the archive is too large.
    """
    with opened(path) as file, Arrays(file) as archive:
        names = list(archive)
        flat = [str(name) for name in chosen] if chosen is not None else ["x", "y", "z"]
        clouds = ["points"] if "points" in names else [name for name in names if _POINTS.fullmatch(name.lower())]
        if {*flat} <= {*names} and (chosen is not None or not clouds):
            columns = [_column(archive[name], name) for name in flat]
            if len({len(column) for column in columns}) > 1:
                raise ValueError(f"its arrays {', '.join(flat)} have different sizes")
            batch, clouds = {"points": np.stack(columns, axis=1)}, flat
        else:
            clouds = clouds or names
            if len(clouds) != 1:
                raise ValueError(f"it needs one array, or one called 'points', and has {names!s:.200}")
            rows = _as_rows(archive[clouds[0]], chosen)
            if rows.dtype.names is not None:
                yield from _batches(rows, chosen)
                return
            batch = {"points": rows[:, [0, 1, 2] if chosen is None else chosen_columns(chosen, rows.shape[1])]}
        for kind, pattern in (("normals", _NORMALS), ("colours", _COLOURS), ("sensors", _SENSORS)):
            same = [name for name in names if name not in clouds and pattern.fullmatch(name.lower())]
            if len(same) == 1:
                batch[kind] = _beside(archive[same[0]], len(batch["points"]))
        yield batch


def _column(array: NDArray[Any], name: str) -> NDArray[Any]:
    """One coordinate of all points."""
    _check_numbers(array)
    if array.ndim == 1 or (array.ndim == 2 and 1 in array.shape):
        return array.reshape(-1)
    raise ValueError(f"its array {name!r} must have the shape (n,), got {array.shape}")


def _beside(array: NDArray[Any], count: int) -> NDArray[Any]:
    """Normals or colours, laid out as the points are."""
    _check_numbers(array)
    if array.ndim == 3:
        array = array.reshape(-1, array.shape[-1]) if array.shape[-1] >= 3 else array
    if array.ndim == 2 and array.shape[0] == 3 and array.shape[1] == count != 3:
        array = array.T
    return array


def _check_numbers(array: NDArray[Any]) -> None:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"it is an array of {array.dtype}, not of numbers")


def _as_rows(array: NDArray[Any], chosen: Chosen | None) -> NDArray[Any]:
    """The array with one point a row: (n,) of a structured one, else (n, columns)."""
    if array.dtype.names is not None:
        return array.reshape(-1)
    _check_numbers(array)
    shape = array.shape
    if array.ndim == 3 and shape[0] == 3 and chosen is None:
        if 3 <= shape[2] < FEWEST_POINTS:
            raise ValueError(f"the points of an array {shape} can be in its first or last axis: save them as (n, 3)")
        return np.moveaxis(array, 0, -1).reshape(-1, 3)
    if array.ndim == 3:
        array = array.reshape(-1, shape[2])
    if array.ndim != 2 or array.shape[1] < 3:
        raise ValueError(f"the points must have the shape (n, 3), got {shape}")
    if chosen is not None:
        return array
    rows, columns = array.shape
    if rows == 3 and columns >= FEWEST_POINTS:
        return array.T
    if rows == 3 or (rows < FEWEST_POINTS <= columns):
        raise ValueError(
            f"the points of an array {shape} can be in its rows or columns: save them as (n, 3), or, if they are rows, "
            "say which columns are x, y and z (--columns 1,2,3)"
        )
    if columns > WIDEST:
        raise ValueError(f"an array {shape} looks like an image and not like points, (n, 3), unless --columns says so")
    return array


def _batches(rows: NDArray[Any], chosen: Chosen | None) -> Iterator[dict[str, NDArray[Any]]]:
    """The rows, so many at once."""
    if rows.dtype.names is None:
        columns = [0, 1, 2] if chosen is None else chosen_columns(chosen, rows.shape[1])
        for start in range(0, len(rows), BATCH):
            yield {"points": np.array(rows[start : start + BATCH][:, columns])}
        return
    fields = [field for name in rows.dtype.names for field in _fields(name, rows.dtype[name])]
    kinds = point_columns([name if i is None else f"{name}_{i}" for name, i in fields], chosen)
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        yield pick([np.array(some[name] if i is None else some[name][:, i]) for name, i in fields], kinds)


def _fields(name: str, kind: np.dtype[Any]) -> list[tuple[str, int | None]]:
    """The columns of a field: one, or those of an array in it."""
    if kind.base.kind not in "fiub":
        return []
    if kind.shape == ():
        return [(name, None)]
    return [(name, i) for i in range(kind.shape[0])] if len(kind.shape) == 1 and kind.shape[0] <= WIDEST else []
