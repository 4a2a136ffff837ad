"""The colours of a scan on the mesh that is made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points, neighbours

if TYPE_CHECKING:
    from trimesh import Trimesh

NEAREST = 4
"""A vertex has the colours of so many points."""

SMALLEST = 1e-300


def coloured(mesh: Trimesh, points: Points, colours: NDArray[Any]) -> Trimesh:
    """
    Give every vertex the mean colour of the nearest points, weighted by 1 / distance^2.

    :param mesh: The mesh.
    :param points: The scan, (n, 3), in the same coordinates, n >= 1.
    :param colours: Red, green and blue from 0 to 255, (n, 3).
    :return: The mesh with vertex colours.
    """
    from trimesh.visual import ColorVisuals

    distances, found = neighbours(cKDTree(points), np.asarray(mesh.vertices), min(NEAREST, len(points)))
    weights = ((distances[:, :1] + SMALLEST) / (distances + SMALLEST)) ** 2
    weights /= weights.sum(axis=1, keepdims=True)
    means = np.einsum("nk,nkc->nc", weights, colours[found].astype(np.float64))
    painted: Trimesh = mesh.copy(include_cache=True)
    painted.visual = ColorVisuals(painted, vertex_colors=np.rint(means).astype(np.uint8))
    return painted
