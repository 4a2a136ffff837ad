"""
Point clouds from files, read in batches: of a scan with very many points a random part is kept.

What is no point, NaN and the zeros of depth cameras, is left out and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.checks import check_count
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.io.arrays import read_npy, read_npz
from art_levelset.recon.io.columns import Chosen, check_columns
from art_levelset.recon.io.las import read_las
from art_levelset.recon.io.meshes import load_with_trimesh
from art_levelset.recon.io.obj import read_obj
from art_levelset.recon.io.pcd import read_pcd
from art_levelset.recon.io.ply import read_ply
from art_levelset.recon.io.tables import read_table
from art_levelset.untrusted import opened, printable

logger = logging.getLogger(__name__)

Batch = dict[str, NDArray[Any]]
"""Points of a file: `points` and, if the file has them, `normals` and `colours`, each (n, 3 or more)."""

MOST_POINTS = 1_000_000
"""No more points than this are kept. Planes are fitted to 192 points at most, so that more of them help little."""


LONGEST_MESSAGE = 400
"""So much is said of a damaged file."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """
    What a file says of a cloud.

    :param points: The positions, (n, 3), in the file's units.
    :param normals: The normals as they are in the file, (n, 3), if it has any.
    :param colours: Red, green and blue, (n, 3), if it has any.
    """

    points: Points
    normals: Points | None = None
    colours: NDArray[np.uint8] | None = None


def read_cloud(path: str | Path, *, columns: object = None, most: int = MOST_POINTS) -> Cloud:
    """
    Read a point cloud, or the vertices of a mesh, from a file.

    - `.ply`, binary or text: :mod:`art_levelset.recon.io.ply`.
    - `.pcd`, binary, compressed or text: :mod:`art_levelset.recon.io.pcd`.
    - `.xyz`, `.xyzn`, `.xyzrgb`, `.asc`, `.txt`, `.csv`, `.pts`, text: :mod:`art_levelset.recon.io.tables`.
    - `.npy`, `.npz`: :mod:`art_levelset.recon.io.arrays`.
    - `.las`, `.laz`, which need the extra `las`: :mod:`art_levelset.recon.io.las`.
    - `.obj`: its `v` and `vn` lines. `.stl`, `.off`: their vertices.

    Points with NaN or infinite coordinates are left out with a warning, and so are those at exactly (0, 0, 0) where
    there are several, as depth cameras write them for pixels that saw nothing; not so in files of meshes, `.obj`,
    `.stl` and `.off`.

    >>> from art_levelset.recon import demo_scan_path, read_cloud
    >>> cloud = read_cloud(demo_scan_path())
    >>> cloud.points.shape, cloud.normals is None
    ((12000, 3), True)

    :param path: The file.
    :param columns: Which columns are x, y and z, where names or their order do not say so: three numbers, counted from
           1, or names, such as `(2, 1, 3)`, `"2,1,3"` or `"easting,northing,elevation"`.
    :param most: Of more points than this a random part is kept, the same one every time, >= 1.
    :return: The cloud, unchecked (see :func:`art_levelset.recon.cloud.clouds.check_cloud`).
    :raises OSError: If the file cannot be opened.
    :raises ValueError: If the suffix is not supported, the contents are not what it promises or can be read in several
            ways, or `columns` or `most` make no sense.
    :raises ImportError: If the library that reads the format is missing.
    """
    check_count("most", most)
    chosen = check_columns(columns)
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: unsupported suffix {suffix!r}, use one of {' '.join(SUFFIXES)}")
    if chosen is not None and suffix not in _TABLES:
        raise ValueError(f"columns: the columns of {suffix} files cannot be chosen")
    with opened(path):
        pass  # says so when there is no such file, or it is none, before any library's own wording
    left_out = _LeftOut()
    try:
        batches = _TABLES[suffix](path, chosen) if suffix in _TABLES else _OTHERS[suffix](path)
        batch, count = _kept(_cleaned(batches, left_out, zeros=suffix not in _MESHES), most)
        cloud = _cloud(**_without_zeros(batch, left_out))
    except ImportError:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as {suffix}: {_in_short(error)}") from error
    except Exception as error:  # the readers of corrupt files raise anything
        name = type(error).__name__
        raise ValueError(f"{path}: cannot be read as {suffix} ({name}: {_in_short(error)})") from error
    if str(left_out):
        logger.warning("%s: left out points: %s", path, left_out)
    if count > most:
        logger.warning("%s: a random part is used, %s of %s points", path, f"{most:,}", f"{count:,}")
    return cloud


def read_points(path: str | Path, *, columns: object = None) -> Points:
    """
    Read the positions only: see :func:`read_cloud`.

    :param path: The file.
    :param columns: Which columns are x, y and z.
    :return: The points, (n, 3), in the file's units.
    :raises OSError: If the file cannot be opened.
    :raises ValueError: If the suffix is not supported, or the contents are not what it promises or not certain.
    :raises ImportError: If the library that reads the format is missing.
    """
    return read_cloud(path, columns=columns).points


@dataclass
class _LeftOut:
    """How many points of a file are none: not finite, or at the origin."""

    invalid: int = 0
    zeros: int = 0

    def __str__(self) -> str:
        """For a message; empty if there are none."""
        parts = [f"{self.invalid:,} with NaN or infinite coordinates"] if self.invalid else []
        parts += [f"{self.zeros:,} at exactly (0, 0, 0), as cameras write that saw nothing"] if self.zeros > 1 else []
        return " and ".join(parts)


def _cleaned(batches: Iterable[Batch], left_out: _LeftOut, *, zeros: bool) -> Iterator[Batch]:
    """The batches without what is no point, but for the first zero of all, which may be one."""
    count = 0
    for batch in batches:
        points = np.asarray(batch["points"])
        if points.ndim != 2 or points.shape[1] < 3:
            raise ValueError(f"the points must have the shape (n, 3), got {points.shape}")
        for name, column in batch.items():
            if column.ndim != 2 or column.shape[1] < 3 or len(column) != len(points):
                raise ValueError(f"the {name} must have the shape ({len(points)}, 3), got {column.shape}")
        batch = {name: column[:, :3] for name, column in batch.items()}
        points = batch["points"]
        used = np.isfinite(points).all(axis=1)
        left_out.invalid += len(used) - int(used.sum())
        if zeros:
            at_zero = np.flatnonzero(~points.any(axis=1))
            used[at_zero[0 if left_out.zeros else 1 :]] = False
            left_out.zeros += len(at_zero)
        count += int(used.sum())
        yield batch if used.all() else {name: column[used] for name, column in batch.items()}
    if left_out.invalid and not count:
        raise ValueError(f"it has no points, but {left_out}")


def _without_zeros(batch: Batch, left_out: _LeftOut) -> Batch:
    """A batch without the first zero, if it was one of several."""
    if left_out.zeros < 2:
        return batch
    used = batch["points"].any(axis=1)
    if not used.any():
        raise ValueError(f"it has no points, but {left_out}")
    return {name: column[used] for name, column in batch.items()}


def _kept(batches: Iterable[Batch], most: int) -> tuple[Batch, int]:
    """A random part of all batches, of at most so many points, and how many there were; twice `most` are in memory."""
    generator = np.random.default_rng(0)
    kept: list[Batch] = []
    waiting = count = 0
    for batch in batches:
        kept.append({**batch, "order": generator.random(len(batch["points"]))})
        count += len(batch["points"])
        waiting += len(batch["points"])
        if waiting > 2 * most:
            kept, waiting = [_part(kept, most)], most
    if not count:
        raise ValueError("it has no points")
    batch = _part(kept, most)
    del batch["order"]
    return batch, count


def _part(batches: list[Batch], most: int) -> Batch:
    """The points whose random numbers are the smallest, in the order of the file."""
    order = np.concatenate([batch["order"] for batch in batches])
    rows = np.sort(np.argpartition(order, most)[:most]) if len(order) > most else slice(None)
    return {name: np.concatenate([batch[name] for batch in batches])[rows] for name in batches[0]}


def _cloud(points: NDArray[Any], normals: NDArray[Any] | None = None, colours: NDArray[Any] | None = None) -> Cloud:
    """Normals or colours that are zero throughout are none."""
    return Cloud(
        points=points.astype(np.float64),
        normals=normals.astype(np.float64) if normals is not None and normals.any() else None,
        colours=_bytes(colours) if colours is not None and colours.any() else None,
    )


def _in_short(error: Exception) -> str:
    """A message in one line."""
    line = printable(" ".join(str(error).split()))
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 3] + "..."


def _bytes(colours: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours from 0 to 1, to 255 or to 65,535, told apart by their type and the largest of them."""
    part = np.issubdtype(colours.dtype, np.floating)
    known = np.nan_to_num(colours.astype(np.float64), posinf=0.0, neginf=0.0)
    full = 1.0 if part and known.max() <= 1 else 255.0 if known.max() <= 255 else 65_535.0
    return np.rint(np.clip(known / full, 0, 1) * 255).astype(np.uint8)


def _read_with_trimesh(path: Path) -> Iterator[Batch]:
    import trimesh

    loaded = load_with_trimesh(path, process=False)
    for part in loaded.geometry.values() if isinstance(loaded, trimesh.Scene) else [loaded]:
        yield {"points": np.asarray(part.vertices)}


_TABLES: dict[str, Callable[[Path, Chosen | None], Iterator[Batch]]] = {
    **dict.fromkeys((".asc", ".csv", ".pts", ".txt", ".xyz", ".xyzn", ".xyzrgb"), read_table),
    ".npy": read_npy,
    ".npz": read_npz,
    ".pcd": read_pcd,
    ".ply": read_ply,
}
_MESHES: dict[str, Callable[[Path], Iterator[Batch]]] = {
    ".obj": read_obj,
    ".off": _read_with_trimesh,
    ".stl": _read_with_trimesh,
}
_OTHERS = {**_MESHES, ".las": read_las, ".laz": read_las}

SUFFIXES = tuple(sorted([*_TABLES, *_OTHERS]))
"""The suffixes of the formats that can be read."""
