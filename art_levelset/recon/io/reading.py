"""Point clouds from files, read in batches: of a scan with very many points a random part is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.checks import check_count
from art_levelset.recon.cloud.clouds import BATCH, Points
from art_levelset.recon.io.ply import read_ply
from art_levelset.recon.io.tables import read_obj, read_table

logger = logging.getLogger(__name__)

Batch = dict[str, NDArray[Any]]
"""Points of a file: `points` and, if the file has them, `normals` and `colours`, each (n, 3 or more)."""

MOST_POINTS = 1_000_000
"""No more points than this are kept. Planes are fitted to 192 points at most, so that more of them help little."""


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


def read_cloud(path: str | Path, *, most: int = MOST_POINTS) -> Cloud:
    """
    Read a point cloud, or the vertices of a mesh, from a file.

    - `.ply`, binary or text.
    - `.xyz`, `.pts`, `.csv`: text, see :func:`art_levelset.recon.io.tables.read_table`.
    - `.obj`: its `v` lines.
    - `.las`, `.laz`: need the extra `las`.
    - `.npy`, `.npz`: an array (n, 3 or more); of several in an `.npz` file the one called `points`, and those called
      `normals` and `colours`.
    - `.stl`, `.off`: their vertices.

    >>> from art_levelset.recon import demo_scan_path, read_cloud
    >>> cloud = read_cloud(demo_scan_path())
    >>> cloud.points.shape, cloud.normals is None
    ((12000, 3), True)

    :param path: The file.
    :param most: Of more points than this a random part is kept, the same one every time, >= 1.
    :return: The cloud, unchecked (see :func:`art_levelset.recon.cloud.clouds.check_cloud`).
    :raises OSError: If the file cannot be opened.
    :raises ValueError: If the suffix is not supported, the contents are not what it promises, or `most` is out of
            range.
    :raises ImportError: If the library that reads the format is missing.
    """
    check_count("most", most)
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise ValueError(f"{path}: unsupported suffix {suffix!r}, use one of {' '.join(sorted(_READERS))}")
    with path.open("rb"):
        pass  # says so when there is no such file, before any library's own wording
    try:
        batch, count = _kept(_READERS[suffix](path), most)
        cloud = _cloud(**batch)
    except ImportError:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as {suffix}: {error}") from error
    except Exception as error:  # the readers of corrupt files raise anything
        raise ValueError(f"{path}: cannot be read as {suffix} ({type(error).__name__}: {error})") from error
    if count > most:
        logger.warning("%s: a random part is used, %s of %s points", path, f"{most:,}", f"{count:,}")
    return cloud


def read_points(path: str | Path) -> Points:
    """
    Read the positions only: see :func:`read_cloud`.

    :param path: The file.
    :return: The points, (n, 3), in the file's units.
    :raises OSError: If the file cannot be opened.
    :raises ValueError: If the suffix is not supported or the contents are not what it promises.
    :raises ImportError: If the library that reads the format is missing.
    """
    return read_cloud(path).points


def _kept(batches: Iterable[Batch], most: int) -> tuple[Batch, int]:
    """A random part of all batches, of at most so many points, and how many there were; twice `most` are in memory."""
    generator = np.random.default_rng(0)
    kept: list[Batch] = []
    waiting = count = 0
    for batch in batches:
        points = np.asarray(batch["points"])
        if points.ndim != 2 or points.shape[1] < 3:
            raise ValueError(f"the points must have the shape (n, 3), got {points.shape}")
        for name, column in batch.items():
            if column.ndim != 2 or column.shape[1] < 3 or len(column) != len(points):
                raise ValueError(f"the {name} must have the shape ({len(points)}, 3), got {column.shape}")
        kept.append({**{name: column[:, :3] for name, column in batch.items()}, "order": generator.random(len(points))})
        count += len(points)
        waiting += len(points)
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


def _bytes(colours: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours from 0 to 1, to 255 or to 65,535, told apart by their type and the largest of them."""
    part = np.issubdtype(colours.dtype, np.floating) and colours.max() <= 1
    full = 1.0 if part else 255.0 if colours.max() <= 255 else 65_535.0
    return np.rint(np.clip(colours / full, 0, 1) * 255).astype(np.uint8)


def _read_las(path: Path) -> Iterator[Batch]:
    try:
        import laspy
    except ImportError as error:
        raise ImportError(f"{path}: .las and .laz files need laspy: pip install 'art-levelset[las]'") from error
    with laspy.open(path) as file:
        has_colours = {"red", "green", "blue"} <= {*file.header.point_format.dimension_names}
        for points in file.chunk_iterator(BATCH):
            batch = {"points": np.stack([points.x, points.y, points.z], axis=1)}
            if has_colours:
                batch["colours"] = np.stack([points.red, points.green, points.blue], axis=1)
            yield batch


def _read_npy(path: Path) -> Iterator[Batch]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    for start in range(0, len(array), BATCH):
        yield {"points": np.array(array[start : start + BATCH])}


def _read_npz(path: Path) -> Iterator[Batch]:
    with np.load(path, allow_pickle=False) as arrays:
        names = list(arrays)
        if "points" not in names and len(names) != 1:
            raise ValueError(f"it needs one array, or one called 'points', and has {names}")
        points = {"points": arrays["points" if "points" in names else names[0]]}
        yield points | {name: arrays[name] for name in ("normals", "colours") if name in names}


def _read_with_trimesh(path: Path) -> Iterator[Batch]:
    import trimesh

    loaded: Any = trimesh.load(path, process=False)
    for part in loaded.geometry.values() if isinstance(loaded, trimesh.Scene) else [loaded]:
        yield {"points": np.asarray(part.vertices)}


_READERS: dict[str, Callable[[Path], Iterator[Batch]]] = {
    ".csv": read_table,
    ".las": _read_las,
    ".laz": _read_las,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".obj": read_obj,
    ".off": _read_with_trimesh,
    ".ply": read_ply,
    ".pts": read_table,
    ".stl": _read_with_trimesh,
    ".xyz": read_table,
}
