"""The colours of a mesh: those of the scan that it is made of, or those of its distances to a reference surface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points, neighbours
from art_levelset.recon.inspect.metrics import distances_to_surface

if TYPE_CHECKING:
    from trimesh import Trimesh

NEAREST = 4
"""A vertex has the colours of so many points."""

SMALLEST = 1e-300

COLOURS = "turbo"
"""The name of Matplotlib's colour map: blue is no distance, red the largest one shown."""

SHOWN = 0.95
"""The largest distance shown is that which this part of the vertices does not exceed."""


def transfer_colours(mesh: Trimesh, points: Points, colours: NDArray[Any]) -> Trimesh:
    """
    Give every vertex of a mesh the mean colour of the nearest points, weighted by 1 / distance^2.

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


def heat_map(mesh: Trimesh, reference: Trimesh) -> tuple[Trimesh, float]:
    """
    Colour a mesh by its distance to a reference.

    :param mesh: The mesh, with at least one face.
    :param reference: The reference surface, in the same coordinates.
    :return: The mesh with vertex colours, and the distance that is drawn in the last colour, as are larger ones.
    """
    from trimesh.visual import ColorVisuals

    distances = distances_to_surface(np.asarray(mesh.vertices, dtype=np.float64), reference)
    largest = float(np.quantile(distances, SHOWN))
    painted: Trimesh = mesh.copy(include_cache=True)
    painted.visual = ColorVisuals(
        painted, vertex_colors=(255 * colours_of_distances(distances, largest)).round().astype(np.uint8)
    )
    return painted, largest


def colours_of_distances(distances: NDArray[np.float64], largest: float) -> Points:
    """
    Colours of distances.

    :param distances: (n,), >= 0.
    :param largest: The distance from which on the last colour is given.
    :return: Red, green, blue from 0 to 1, (n, 3).
    """
    from matplotlib import colormaps

    part = np.clip(distances / largest, 0, 1) if largest > 0 else np.zeros_like(distances)
    return np.asarray(colormaps[COLOURS](part)[:, :3])
