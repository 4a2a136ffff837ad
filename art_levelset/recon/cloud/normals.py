"""What given normals of a cloud say about which side of its local planes is outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points, neighbours
from art_levelset.recon.cloud.orientation import CLEAR
from art_levelset.recon.cloud.planes import Planes

NEIGHBOURS = 32
"""Number of points whose normals vote on the side of a plane."""

FEWEST = 0.25
"""At least this part of the planes must have a clear vote."""


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


def votes_on_sides(planes: Planes, points: Points, normals: Points) -> NDArray[np.float64]:
    """
    How clearly the normals of the points near each plane agree with its own, or with the opposite.

    :param planes: The planes.
    :param points: (n, 3) in their frame.
    :param normals: Their unit normals, some of them wrong; zero vectors are left out.
    :return: (m,) in [-1, 1]; zero where there are none.
    :raises ValueError: If they are so often contradictory or missing that they do not tell the sides.
    """
    usable = normals.any(axis=1)
    points, normals = points[usable], normals[usable]
    reach, found = neighbours(cKDTree(points), planes.centres, min(NEIGHBOURS, len(points)))
    weights = np.exp(-2 * (reach / np.maximum(reach[:, -1:], 1e-300)) ** 2) * (reach <= planes.reach)
    agreement = np.einsum("mki,mi->mk", normals[found], planes.normals)
    votes: NDArray[np.float64] = (weights * agreement).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-300)
    clear = float((np.abs(votes) >= CLEAR).mean())
    if clear < FEWEST:
        raise ValueError(
            f"normals: neighbouring ones agree with each other and with the points on {clear:.0%} of the surface only; "
            "without them the sides are found from the points"
        )
    return votes
