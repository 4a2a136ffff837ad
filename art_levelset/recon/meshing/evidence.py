"""
Whether the points of a cloud speak for a change of a mesh, place by place.

Of all points q within some distance of a place, the squares of the distances to the mesh before, M, and after, M', say

    mean d(q, M')^2 < mean d(q, M)^2 + t s^2    and    mean d(q, M')^2 < u s^2,

if they do. s^2 is the variance of the noise: what the points have to M elsewhere, from the median of the squares. The
first says that they are nearer than they were, or no further than chance has it; noise is in both sides alike, and
cancels. The second says that the change explains them: in a place that neither mesh fits there is nothing to choose.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points, neighbours
from art_levelset.recon.cloud.quadrics import Floats
from art_levelset.recon.meshing.topology import Faces
from art_levelset.recon.threads import mapped

FURTHER, LEFT = 0.15, 2.5
"""t and u."""

MEDIAN = 0.455
"""The median of the square of a normal variable of variance 1."""

TRIED = 4000
"""At so many points the noise is found out."""

NEAREST = 8
"""Triangles that are looked at, those with the nearest centres: of those of marching cubes one is the nearest, or
nearly."""

CHUNK = 1 << 12


def spoken_for(
    points: Points,
    places: Points,
    radius: float,
    before: tuple[Points, Faces],
    after: tuple[Points, Faces],
    least: float = 0.0,
) -> NDArray[np.bool_]:
    """
    At which places the points speak for a change of a mesh.

    :param points: (n, 3), n >= 1.
    :param places: (m, 3).
    :param radius: So far around each place points are asked, > 0.
    :param before: The vertices, (k, 3), and triangles, (l, 3), of the mesh before.
    :param after: Those of the mesh after.
    :param least: Less noise than this counts as so much, >= 0: of exact points meshes have errors of their own.
    :return: (m,); no point speaks for a place that none is near.
    """
    some = points[:: len(points) // TRIED + 1]
    noise = max(float(np.median(_squares(some, *before))) / MEDIAN, least**2)
    near = points[neighbours(cKDTree(places), points, 1)[0][:, 0] < radius]
    if not len(near):
        return np.zeros(len(places), dtype=bool)
    pairs = cKDTree(places).sparse_distance_matrix(cKDTree(near), radius, output_type="coo_matrix")
    counts = np.bincount(pairs.row, minlength=len(places))

    def mean(of: Floats) -> Floats:
        return np.bincount(pairs.row, weights=of[pairs.col], minlength=len(places)) / np.maximum(counts, 1)

    were, are = mean(_squares(near, *before)), mean(_squares(near, *after))
    better: NDArray[np.bool_] = (are < were + FURTHER * noise) & (are < LEFT * noise) & (counts > 0)
    return better


def _squares(points: Points, vertices: Points, triangles: Faces) -> Floats:
    """Of the distances from points to the nearest triangles, (n,)."""
    from trimesh.triangles import closest_point

    beside = np.zeros(len(vertices), dtype=bool)
    beside[neighbours(cKDTree(vertices), points, 1)[1][:, 0]] = True
    corners = vertices[triangles[beside[triangles].any(axis=1)]]
    tree = cKDTree(corners.mean(axis=1))
    squares = np.empty(len(points))

    def measure(rows: NDArray[np.int64]) -> None:
        found = neighbours(tree, points[rows], min(NEAREST, len(corners)))[1]
        queries = np.repeat(points[rows], found.shape[1], axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):  # triangles may be segments
            offsets = closest_point(corners[found.ravel()], queries) - queries  # type: ignore[no-untyped-call]
        every = np.einsum("ni,ni->n", offsets, offsets).reshape(found.shape)
        squares[rows] = np.where(np.isnan(every), np.inf, every).min(axis=1)

    mapped(measure, np.array_split(np.arange(len(points)), len(points) // CHUNK + 1))
    return squares
