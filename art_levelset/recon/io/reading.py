"""
Point clouds from files, read in batches: of very many points the means in the cells of a grid are kept
(:mod:`art_levelset.recon.cloud.cells`).

What is no point, NaN and the zeros of depth cameras, is left out and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.checks import check_count
from art_levelset.recon.cloud.cells import MOST_POINTS, condense
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.io.arrays import read_npy, read_npz
from art_levelset.recon.io.columns import Chosen, check_columns
from art_levelset.recon.io.e57 import read_e57
from art_levelset.recon.io.las import read_las
from art_levelset.recon.io.meshes import load_with_trimesh
from art_levelset.recon.io.obj import read_obj
from art_levelset.recon.io.packed import format_of, is_packed, unpacked
from art_levelset.recon.io.pcd import read_pcd
from art_levelset.recon.io.ply import read_ply
from art_levelset.recon.io.poses import SUFFIX as CONF
from art_levelset.recon.io.poses import conf_in, read_poses
from art_levelset.recon.io.tables import read_table
from art_levelset.recon.io.text import show
from art_levelset.untrusted import opened, printable

logger = logging.getLogger(__name__)

Batch = dict[str, NDArray[Any]]
"""Points of a file: `points` and, if the file has them, `normals`, `colours` and `sensors`, each (n, 3 or more)."""

LONGEST_MESSAGE = 400
"""So much is said of a damaged file."""


@dataclass
class LeftOut:
    """
    What of a file is left out in reading.

    :param invalid: Number of points with NaN or infinite coordinates.
    :param zeros: Number of points at the origin, if there are several.
    """

    invalid: int = 0
    zeros: int = 0

    def __str__(self) -> str:
        """What is no point, for a message; empty if there are none."""
        parts = [f"{self.invalid:,} with NaN or infinite coordinates"] if self.invalid else []
        parts += [f"{self.zeros:,} at exactly (0, 0, 0), as cameras write that saw nothing"] if self.zeros > 1 else []
        return " and ".join(parts)


@dataclass(frozen=True, eq=False)
class Cloud:
    """
    What a file says of a cloud.

    :param points: The positions, (n, 3), in the file's units, or means of them where there were too many.
    :param normals: The normals as they are in the file, (n, 3), if it has any.
    :param colours: Red, green and blue, (n, 3), if it has any.
    :param sensors: Where each point was seen from, (n, 3), if the file says so: the pose of its scan (`.e57`), the
           viewpoint (`.pcd`), or the array `sensors` (`.npz`).
    :param counts: How many points each mean stands for, (n,); None where they are the points themselves.
    :param left_out: What of the file is not among them.
    """

    points: Points
    normals: Points | None = None
    colours: NDArray[np.uint8] | None = None
    sensors: Points | None = None
    counts: NDArray[np.int64] | None = None
    left_out: LeftOut = field(default_factory=LeftOut)

    @property
    def number(self) -> int:
        """How many points were read and are used, all of them."""
        return len(self.points) if self.counts is None else int(self.counts.sum())


def read_cloud(path: str | Path, *, columns: object = None, most: int = MOST_POINTS) -> Cloud:
    """
    Read a point cloud, or the vertices of a mesh, from a file.

    - `.ply`, binary or text: :mod:`art_levelset.recon.io.ply`.
    - `.pcd`, binary, compressed or text: :mod:`art_levelset.recon.io.pcd`.
    - `.xyz`, `.xyzn`, `.xyzrgb`, `.asc`, `.txt`, `.csv`, `.pts`, text: :mod:`art_levelset.recon.io.tables`.
    - `.npy`, `.npz`: :mod:`art_levelset.recon.io.arrays`.
    - `.las`, `.laz`, which need the extra `las`: :mod:`art_levelset.recon.io.las`.
    - `.e57`, which needs the extra `e57`: :mod:`art_levelset.recon.io.e57`.
    - `.obj`: its `v` and `vn` lines. `.stl`, `.off`: their vertices.
    - Each of them packed by gzip, `.ply.gz` for instance.
    - `.conf`, or a folder with one: several scans and where they belong, :mod:`art_levelset.recon.io.poses`.

    Points with NaN or infinite coordinates are left out with a warning, and so are those at exactly (0, 0, 0) where
    there are several, as depth cameras write them for pixels that saw nothing; not so in files of meshes, `.obj`,
    `.stl` and `.off`.

    >>> from art_levelset.recon import demo_scan_path, read_cloud
    >>> cloud = read_cloud(demo_scan_path())
    >>> cloud.points.shape, cloud.normals is None
    ((12000, 3), True)

    :param path: The file, or a folder of scans.
    :param columns: Which columns are x, y and z, where names or their order do not say so: three numbers, counted from
           1, or names, such as `(2, 1, 3)`, `"2,1,3"` or `"easting,northing,elevation"`.
    :param most: Of more points than this the means in the cells of a grid are kept, no more of them than this, >= 8.
    :return: The cloud, unchecked (see :func:`art_levelset.recon.cloud.clouds.check_cloud`).
    :raises OSError: If the file cannot be opened.
    :raises ValueError: If the suffix is not supported, the contents are not what it promises or can be read in several
            ways, or `columns` or `most` make no sense.
    :raises ImportError: If the library that reads the format is missing.
    """
    check_count("most", most, least=8)
    chosen = check_columns(columns)
    path = Path(path)
    if path.is_dir():
        path = conf_in(path)
    suffix = format_of(path)
    if suffix not in SUFFIXES or (suffix == CONF and is_packed(path)):
        raise ValueError(f"{path}: unsupported suffix {suffix!r}, use one of {' '.join(SUFFIXES)}")
    if chosen is not None and suffix not in {*_TABLES, CONF}:
        raise ValueError(f"columns: the columns of {suffix} files cannot be chosen")
    with opened(path):
        pass  # says so when there is no such file, or it is none, before any library's own wording
    left_out = LeftOut()
    try:
        batch, counts = (
            _posed_scans(path, chosen, most, left_out) if suffix == CONF else _scan(path, chosen, most, left_out)
        )
        if not batch:
            raise ValueError("it has no points")
        cloud = _cloud(left_out, counts, **batch)
    except ImportError:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as {suffix}: {_in_short(error)}") from error
    except Exception as error:  # the readers of corrupt files raise anything
        name = type(error).__name__
        raise ValueError(f"{path}: cannot be read as {suffix} ({name}: {_in_short(error)})") from error
    if str(left_out):
        logger.warning("%s: left out points: %s", path, left_out)
    if counts is not None:
        numbers = f"{cloud.number:,}", f"{len(counts):,}"
        logger.warning("%s: its %s points are used as their means in the %s cells of a grid", path, *numbers)
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


def _scan(path: Path, chosen: Chosen | None, most: int, left_out: LeftOut) -> tuple[Batch, NDArray[np.int64] | None]:
    """The points of a file, or means and their counts; what is no point is added to what is left out."""
    origin = _Origin()
    batch, counts = condense(_points(path, chosen, left_out, origin), most)
    if counts is None and origin.zeros == 1:  # it came last
        rows = np.insert(np.arange(len(batch["points"]) - 1), origin.place, len(batch["points"]) - 1)
        batch = {name: column[rows] for name, column in batch.items()}
    return batch, counts


def _posed_scans(
    path: Path, chosen: Chosen | None, most: int, left_out: LeftOut
) -> tuple[Batch, NDArray[np.int64] | None]:
    """The same of several files, where they belong."""

    def batches() -> Iterator[Batch]:
        for pose in read_poses(path):
            file = path.with_name(pose.file)
            if format_of(file) not in {*_TABLES, *_OTHERS}:
                raise ValueError(f"{show(pose.file)} has an unsupported suffix")
            try:
                with opened(file):
                    pass
                count = 0
                for batch in _points(file, chosen, left_out, _Origin()):
                    count += len(batch["points"])
                    yield pose.applied(batch)
                if not count:
                    raise ValueError("it has no points")
            except (OSError, ValueError) as error:
                raise ValueError(f"{show(pose.file)}: {error}") from error

    return condense(batches(), most)


@dataclass
class _Origin:
    """Points of a file at (0, 0, 0): how many, the first one, and how many points are before it."""

    zeros: int = 0
    first: Batch = field(default_factory=dict)
    place: int = 0


def _points(path: Path, chosen: Chosen | None, left_out: LeftOut, origin: _Origin) -> Iterator[Batch]:
    """The batches of a file without what is no point, which is added to what is left out."""
    suffix, own = format_of(path), LeftOut()
    with unpacked(path) as plain:
        batches = _TABLES[suffix](plain, chosen) if suffix in _TABLES else _OTHERS[suffix](plain)
        yield from _cleaned(batches, own, None if suffix in _MESHES else origin)
    left_out.invalid += own.invalid
    left_out.zeros += own.zeros


def _cleaned(batches: Iterable[Batch], left_out: LeftOut, origin: _Origin | None) -> Iterator[Batch]:
    """The batches without what is no point; a point at the origin that is the only one comes last."""
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
        if origin is not None:
            at_zero = np.flatnonzero(~points.any(axis=1))
            if len(at_zero) and not origin.zeros:
                origin.first = {name: column[at_zero[:1]] for name, column in batch.items()}
                origin.place = count + int(used[: at_zero[0]].sum())
            origin.zeros += len(at_zero)
            used[at_zero] = False
        count += int(used.sum())
        yield batch if used.all() else {name: column[used] for name, column in batch.items()}
    if origin is not None and origin.zeros == 1:
        count += 1
        yield origin.first
    elif origin is not None:
        left_out.zeros = origin.zeros
    if str(left_out) and not count:
        raise ValueError(f"it has no points, but {left_out}")


def _cloud(
    left_out: LeftOut,
    counts: NDArray[np.int64] | None,
    points: NDArray[Any],
    normals: NDArray[Any] | None = None,
    colours: NDArray[Any] | None = None,
    sensors: NDArray[Any] | None = None,
) -> Cloud:
    """Normals or colours that are zero throughout are none."""
    return Cloud(
        points=points.astype(np.float64),
        normals=normals.astype(np.float64) if normals is not None and normals.any() else None,
        colours=_bytes(colours) if colours is not None and colours.any() else None,
        sensors=None if sensors is None else sensors.astype(np.float64),
        counts=counts,
        left_out=left_out,
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
_OTHERS = {**_MESHES, ".e57": read_e57, ".las": read_las, ".laz": read_las}

SUFFIXES = tuple(sorted([*_TABLES, *_OTHERS, CONF]))
"""The suffixes of the formats that can be read; `.gz` may follow all but the one of several scans."""
