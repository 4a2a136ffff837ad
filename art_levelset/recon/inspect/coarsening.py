"""
Fewer triangles of any mesh, to look at it: the vertices in each cell of a grid become one, their mean.

Triangles of which two corners fall together go, and so do copies of others. Neither closedness nor handles are kept:
for meshes to work with there is :func:`art_levelset.recon.meshing.refine.simplify_mesh`.

| Paper link: https://doi.org/10.1007/978-3-642-78114-8_29 (Rossignac, Borrel, 1993)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

GROWTH = 1.1
"""Cells grow by this factor until the mesh is small enough."""

Triangles = NDArray[np.int64]


def coarsened(
    vertices: NDArray[Any], faces: Triangles, fits: Callable[[int, int], bool], cell: float
) -> tuple[NDArray[Any], Triangles]:
    """
    A mesh that is small enough.

    :param vertices: (n, 3) or more columns, positions first; the others are averaged as these are.
    :param faces: Indices of vertices, (m, 3).
    :param fits: Whether a mesh of so many vertices and triangles is small enough; an empty one must be.
    :param cell: The first edge of the cells to try, > 0.
    :return: The vertices, (k, 3) or more columns, and the triangles, (l, 3): these themselves, if they are few enough.
    """
    merged, kept = vertices, faces
    while not fits(len(merged), len(kept)):
        merged, kept = merged_in_cells(vertices, faces, cell)
        cell *= GROWTH
    return merged, kept


def merged_in_cells(vertices: NDArray[Any], faces: Triangles, cell: float) -> tuple[NDArray[Any], Triangles]:
    """
    Merge the vertices in each cell of a grid.

    :param vertices: (n, 3) or more columns, positions first.
    :param faces: Indices of vertices, (m, 3).
    :param cell: The edge of the cells, > 0.
    :return: The means of the vertices in a cell, (k, 3) or more columns, and the triangles that are left, (l, 3).
    """
    places = np.floor(vertices[:, :3] / cell).astype(np.int64)
    places -= places.min(axis=0)
    sides = places.max(axis=0) + 1
    keys = (places[:, 0] * sides[1] + places[:, 1]) * sides[2] + places[:, 2]
    _, owner, counts = np.unique(keys, return_inverse=True, return_counts=True)
    owner = owner.ravel()
    means = np.stack([np.bincount(owner, weights=column) for column in vertices.T], axis=1) / counts[:, None]
    corners = owner[faces]
    apart = (corners != np.roll(corners, 1, axis=1)).all(axis=1)
    corners = corners[apart]
    corners = np.take_along_axis(corners, (corners.argmin(axis=1)[:, None] + np.arange(3)) % 3, axis=1)
    corners = np.unique(corners, axis=0)  # of triangles with one winding; of two that face each other both are kept
    used = np.unique(corners)
    return means[used], np.searchsorted(used, corners)
