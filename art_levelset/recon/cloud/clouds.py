"""Point clouds: checking them, leaving out outliers, and the unit frame in which they are fitted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.memory import check_memory

logger = logging.getLogger(__name__)

Points = NDArray[np.float64]

FEWEST_POINTS = 10
"""The smallest number of distinct points that can be reconstructed."""

BATCH = 1 << 17
"""So many points of a file are read at once."""

POINT = 400.0
"""Bytes that a point takes, with its copies and its neighbours."""

SHARED = 1 << 12
"""The neighbours of so many points, or more, are looked for by all threads."""

OUTLIER_NEIGHBOURS = 8
OUTLIER_FACTOR = 10.0


def bytes_of_points(count: int) -> float:
    """
    The memory that points take until something else stands for them.

    :param count: How many there are.
    :return: Bytes.
    """
    return POINT * count


def check_points(points: object, *, needed: Callable[[int], float] = bytes_of_points) -> Points:
    """
    Check that an array has points that may be a cloud.

    :param points: The points, (n, 3), an array or a tensor of numbers.
    :param needed: The bytes that the reconstruction of so many points takes.
    :return: The points in float64, (n, 3), at least :data:`FEWEST_POINTS`.
    :raises ValueError: If the shape is wrong, a number is NaN or infinite, there are too few points, all are equal, or
            there is not the memory for so many.
    """
    if isinstance(points, torch.Tensor):
        points = points.detach().cpu()
    try:
        cloud = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"points must be an array of numbers, (n, 3): {error}") from error
    if cloud.ndim != 2 or cloud.shape[1] != 3:
        raise ValueError(f"points must have the shape (n, 3), got {cloud.shape}")
    bad = np.count_nonzero(~np.isfinite(cloud).all(axis=1))
    if bad:
        raise ValueError(f"points: {bad} of {len(cloud)} have NaN or infinite coordinates")
    if len(cloud) < FEWEST_POINTS:
        raise ValueError(f"points: need at least {FEWEST_POINTS}, got {len(cloud)}")
    check_memory("points", len(cloud), needed, least=FEWEST_POINTS)
    if (cloud == cloud[0]).all():
        raise ValueError("points: all points are equal")
    return cloud


def check_cloud(points: object, *, needed: Callable[[int], float] = bytes_of_points) -> Points:
    """
    Check that an array is a cloud that can be reconstructed.

    :param points: The points, (n, 3), an array or a tensor of numbers.
    :param needed: The bytes that the reconstruction of so many points takes.
    :return: The distinct points in float64, (m, 3), at least :data:`FEWEST_POINTS`.
    :raises ValueError: As :func:`check_points`, or if there are too few distinct points.
    """
    return distinct_points(check_points(points, needed=needed))


def distinct_points(points: Points) -> Points:
    """
    Leave out repetitions.

    :param points: (n, 3), finite.
    :return: The distinct points, (m, 3), at least :data:`FEWEST_POINTS`.
    :raises ValueError: If there are too few.
    """
    distinct = np.unique(points, axis=0)
    if len(distinct) < FEWEST_POINTS:
        raise ValueError(f"points: need at least {FEWEST_POINTS} distinct ones, got {len(distinct)}")
    return distinct


def check_counts(counts: object, points: Points) -> NDArray[np.float64]:
    """
    Check that an array says how many points each of a cloud's stands for.

    :param counts: The numbers, (n,), an array or a tensor.
    :param points: The cloud, (n, 3), finite.
    :return: How many each of its distinct points stands for, in the order of :func:`check_cloud`, (m,), float64.
    :raises ValueError: If the shape is wrong, or a number is not finite and positive.
    """
    try:
        numbers = np.asarray(counts, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"counts must be an array of numbers, (n,): {error}") from error
    if numbers.shape != (len(points),):
        raise ValueError(f"counts must have one number for each point, ({len(points)},), got {numbers.shape}")
    if not (np.isfinite(numbers) & (numbers > 0)).all():
        raise ValueError("counts: all must be finite and positive")
    owner = np.unique(points, axis=0, return_inverse=True)[1]
    return np.asarray(np.bincount(owner.ravel(), weights=numbers), dtype=np.float64)


def check_normals(normals: object, count: int) -> Points:
    """
    Check that an array has one normal for each point.

    :param normals: The normals, (count, 3), an array or a tensor of numbers.
    :param count: Number of points.
    :return: Unit vectors in float64, (count, 3); zero for those that are zero, NaN or infinite.
    :raises ValueError: If the shape is wrong, or none can be used.
    """
    try:
        vectors = np.asarray(normals, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"normals must be an array of numbers, (n, 3): {error}") from error
    if vectors.shape != (count, 3):
        raise ValueError(f"normals must have the shape of the points, ({count}, 3), got {vectors.shape}")
    vectors = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0.0)
    vectors = vectors / np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-300)  # squares do not overflow
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not lengths.any():
        raise ValueError("normals: all are zero, NaN or infinite")
    units: Points = vectors / np.maximum(lengths, 0.5)  # the length is 0 or at least 1
    return units


def without_outliers(points: Points) -> Points:
    """
    Leave out outliers: the points whose eighth neighbour is ten times as far away as usual.

    :param points: (n, 3).
    :return: The other points, (m, 3); all of them if fewer than :data:`FEWEST_POINTS` would be left.
    """
    return points[inliers(points)]


def inliers(points: Points) -> NDArray[np.bool_]:
    """
    Which points are no outliers (:func:`without_outliers`).

    :param points: (n, 3).
    :return: (n,).
    """
    outlying = outliers(spacings(points))
    logger.info("left out %d outliers of %d", np.count_nonzero(outlying), len(points))
    return ~outlying


def spacings(points: Points) -> NDArray[np.float64]:
    """
    How far from each other points are around each of them.

    :param points: (n, 3), n >= 2.
    :return: The distances to the eighth neighbours, or to the last ones of fewer points, (n,).
    """
    return neighbours(cKDTree(points), points, min(OUTLIER_NEIGHBOURS, len(points) - 1) + 1)[0][:, -1]


def outliers(spacing: NDArray[np.float64]) -> NDArray[np.bool_]:
    """
    Which points are outliers, of which there are none if fewer than :data:`FEWEST_POINTS` others would be left.

    :param spacing: The distances to the eighth neighbours, (n,).
    :return: (n,).
    """
    outlying: NDArray[np.bool_] = spacing > OUTLIER_FACTOR * np.median(spacing)
    return outlying if np.count_nonzero(~outlying) >= FEWEST_POINTS else np.zeros(len(spacing), dtype=bool)


def drawn(counts: NDArray[Any], number: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """
    Draw members of a cloud as often as the points that they stand for would be.

    :param counts: How many points each stands for, (n,), > 0.
    :param number: How many to draw.
    :param generator: Source of randomness.
    :return: Their rows, (number,), some of them more than once.
    """
    return generator.choice(len(counts), number, p=counts / counts.sum())


def neighbours(tree: cKDTree, points: Points, count: int) -> tuple[Points, NDArray[np.int64]]:
    """
    The nearest members of a tree.

    :param tree: The tree.
    :param points: (n, 3).
    :param count: Number of neighbours, at most the size of the tree.
    :return: The distances, (n, count), ascending, and the indices, (n, count).
    """
    workers = torch.get_num_threads() if len(points) >= SHARED else 1
    distances, indices = tree.query(points, k=np.arange(1, count + 1), workers=workers)
    return np.asarray(distances), np.asarray(indices)


def unit_frame(points: Points) -> Frame:
    """
    The frame in which a cloud just fits into [-1, 1]^3.

    :param points: (n, 3), not all equal.
    :return: The frame.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    return Frame(low + (high - low) / 2, float((high - low).max() / 2))


def thin(points: Points, spacing: float) -> Points:
    """
    One point for each occupied cell of a grid: the mean of the points in it.

    :param points: (n, 3).
    :param spacing: Side of the cells, > 0.
    :return: (m, 3), m <= n.
    """
    cells = np.floor(points / spacing).astype(np.int64)
    _, owner, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    sums = [np.bincount(owner.ravel(), weights=column) for column in points.T]
    return np.stack(sums, axis=1) / count[:, None]


def unit(vectors: Points) -> Points:
    """
    Vectors of length 1.

    :param vectors: (..., 3).
    :return: (..., 3); zero where they are.
    """
    scaled: Points = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return scaled


def demo_scan_path() -> Path:
    """
    The scan that comes with the package: a toy dog seen by eight virtual depth cameras, 12,000 points without normals.

    :return: Its file, a binary PLY.
    """
    return Path(str(files("art_levelset") / "data" / "dog_raw.ply"))


@dataclass(frozen=True, eq=False)
class Frame:
    """
    The affine map between a scan's own coordinates and the unit frame, where the cloud just fits into [-1, 1]^3.

    The map is computed in float64, so a large offset of the scan costs nothing but what its file has lost.

    :param centre: Centre of the cloud's bounding box, (3,), in the scan's coordinates.
    :param scale: Half of the longest side of the bounding box, > 0, in the scan's units.
    """

    centre: Points
    scale: float

    def to_unit(self, points: Points) -> Points:
        """
        Map from the scan's coordinates.

        :param points: (n, 3).
        :return: (n, 3) in the unit frame.
        """
        return (points - self.centre) / self.scale

    def from_unit(self, points: NDArray[Any]) -> Points:
        """
        Map back to the scan's coordinates.

        :param points: (n, 3) in the unit frame.
        :return: (n, 3), float64.
        """
        moved = np.asarray(points, dtype=np.float64) * self.scale
        moved += self.centre
        return moved
