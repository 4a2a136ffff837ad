"""
Point clouds from files, read in batches: of a scan with very many points a random part is kept.

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

MOST_POINTS = 1_000_000
"""No more points than this are kept. Planes are fitted to 192 points at most, so that more of them help little."""


LONGEST_MESSAGE = 400
"""So much is said of a damaged file."""


@dataclass
class LeftOut:
    """
    What of a file is left out in reading.

    :param invalid: Number of points with NaN or infinite coordinates.
    :param zeros: Number of points at the origin, if there are several.
    :param unused: Number of points too many, of which a random part is left out.
    """

    invalid: int = 0
    zeros: int = 0
    unused: int = 0

    def __str__(self) -> str:
        """What is no point, for a message; empty if there are none."""
        parts = [f"{self.invalid:,} with NaN or infinite coordinates"] if self.invalid else []
        parts += [f"{self.zeros:,} at exactly (0, 0, 0), as cameras write that saw nothing"] if self.zeros > 1 else []
        return " and ".join(parts)


@dataclass(frozen=True, eq=False)
class Cloud:
    """
    What a file says of a cloud.

    :param points: The positions, (n, 3), in the file's units.
    :param normals: The normals as they are in the file, (n, 3), if it has any.
    :param colours: Red, green and blue, (n, 3), if it has any.
    :param sensors: Where each point was seen from, (n, 3), if the file says so: the pose of its scan (`.e57`), the
           viewpoint (`.pcd`), or the array `sensors` (`.npz`).
    :param left_out: What of the file is not among them.
    """

    points: Points
    normals: Points | None = None
    colours: NDArray[np.uint8] | None = None
    sensors: Points | None = None
    left_out: LeftOut = field(default_factory=LeftOut)


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
        batch, count = (_posed_scans if suffix == CONF else _scan)(path, chosen, most, left_out)
        left_out.unused = max(0, count - most)
        cloud = _cloud(left_out, **batch)
    except ImportError:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as {suffix}: {_in_short(error)}") from error
    except Exception as error:  # the readers of corrupt files raise anything
        name = type(error).__name__
        raise ValueError(f"{path}: cannot be read as {suffix} ({name}: {_in_short(error)})") from error
    if str(left_out):
        logger.warning("%s: left out points: %s", path, left_out)
    if left_out.unused:
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


def _scan(path: Path, chosen: Chosen | None, most: int, left_out: LeftOut) -> tuple[Batch, int]:
    """The points of a file, at most so many, and how many there were; what is no point is added to what is left out."""
    suffix, own = format_of(path), LeftOut()
    with unpacked(path) as plain:
        batches = _TABLES[suffix](plain, chosen) if suffix in _TABLES else _OTHERS[suffix](plain)
        batch, count = _kept(_cleaned(batches, own, zeros=suffix not in _MESHES), most)
    batch = _without_zeros(batch, own)
    left_out.invalid += own.invalid
    if own.zeros > 1:
        left_out.zeros += own.zeros
        count -= 1  # the first of them
    return batch, count


def _posed_scans(path: Path, chosen: Chosen | None, most: int, left_out: LeftOut) -> tuple[Batch, int]:
    """The points of several files, where they belong."""
    batches, counts = [], []
    for pose in read_poses(path):
        file = path.with_name(pose.file)
        if format_of(file) not in {*_TABLES, *_OTHERS}:
            raise ValueError(f"{show(pose.file)} has an unsupported suffix")
        try:
            with opened(file):
                pass
            batch, count = _scan(file, chosen, most, left_out)
        except (OSError, ValueError) as error:
            raise ValueError(f"{show(pose.file)}: {error}") from error
        batches.append(pose.applied(batch))
        counts.append(count)
    names = set.intersection(*map(set, batches))
    batch, _ = _kept(({name: batch[name] for name in batch if name in names} for batch in batches), most)
    return batch, sum(counts)


def _cleaned(batches: Iterable[Batch], left_out: LeftOut, *, zeros: bool) -> Iterator[Batch]:
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


def _without_zeros(batch: Batch, left_out: LeftOut) -> Batch:
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


def _cloud(
    left_out: LeftOut,
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
