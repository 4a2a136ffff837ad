"""Which triangles of a mesh to keep: those of the parts that data speak for, the largest ones, those near the data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from art_levelset.recon.clouds import Points, neighbours

Faces = NDArray[np.int64]
Mask = NDArray[np.bool_]


def connected_parts(faces: Faces) -> tuple[int, NDArray[np.int64]]:
    """
    The connected parts of a mesh.

    :param faces: (m, 3), indices of vertices.
    :return: The number of parts that have faces, and the part of each face, (m,), counted from 0.
    """
    size = int(faces.max(initial=-1)) + 1
    first, second, third = (column.astype(np.int32) for column in faces.T)
    ends = np.concatenate([first, second]), np.concatenate([second, third])
    graph = coo_matrix((np.ones(len(ends[0]), dtype=bool), ends), shape=(size, size))
    _, part = connected_components(graph, directed=False)
    with_faces, own = np.unique(part[faces[:, 0]], return_inverse=True)
    return len(with_faces), own


def supported_parts(vertices: Points, faces: Faces, centres: Points, share: float) -> Mask:
    """
    Tell the connected parts of a mesh that data speak for from the spurious ones.

    :param vertices: (n, 3).
    :param faces: (m, 3).
    :param centres: Places that the surface should pass, (k, 3).
    :param share: A part is spurious that is the nearest one to a smaller share of the places.
    :return: Which faces belong to the other parts, (m,).
    """
    count, part = connected_parts(faces)
    if count <= 1:
        return np.ones(len(faces), dtype=bool)
    used, first = np.unique(faces[:, 0], return_index=True)
    nearest = part[first][neighbours(cKDTree(vertices[used]), centres, 1)[1][:, 0]]
    speakers = np.bincount(nearest, minlength=count)
    supported: Mask = speakers >= share * len(centres)
    return supported[part]


def largest_parts(vertices: Points, faces: Faces, count: int) -> Mask:
    """
    The connected parts of a mesh that have the largest areas.

    :param vertices: (n, 3).
    :param faces: (m, 3).
    :param count: How many parts to keep, >= 1; all, if the mesh has no more.
    :return: Which faces belong to them, (m,).
    :raises ValueError: If the count is out of range.
    """
    if count < 1:
        raise ValueError(f"parts must be at least 1, got {count}")
    parts, part = connected_parts(faces)
    corners = vertices[faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    order = np.argsort(-np.bincount(part, weights=areas, minlength=parts), kind="stable")
    return np.isin(part, order[:count])


def near_data(vertices: Points, faces: Faces, data: Points, distance: float) -> Mask:
    """
    The triangles that data support: those with no corner further from the data than a distance.

    :param vertices: (n, 3).
    :param faces: (m, 3).
    :param data: (k, 3).
    :param distance: > 0, in the same units.
    :return: Which faces these are, (m,).
    """
    reach, _ = cKDTree(data).query(vertices, distance_upper_bound=distance)
    return np.asarray(np.isfinite(reach)[faces].all(axis=1))


def compact(vertices: Points, faces: Faces) -> tuple[Points, Faces]:
    """
    Leave out the vertices that no triangle has.

    :param vertices: (n, 3).
    :param faces: (m, 3).
    :return: The vertices, (k, 3), in the same order, and the triangles, (m, 3).
    """
    used = np.zeros(len(vertices), dtype=bool)
    used[faces.ravel()] = True
    return vertices[used], (np.cumsum(used) - 1)[faces]


def without_short_edges(vertices: Points, triangles: NDArray[np.int64], shortest: float) -> NDArray[np.int64]:
    """
    Collapse the edges that single precision may not resolve: where F is nearly zero at a node of the grid, marching
    cubes puts several vertices there.

    :param vertices: (n, 3).
    :param triangles: Indices of vertices, (m, 3).
    :param shortest: Edges below this length are collapsed.
    :return: The triangles that remain, with one vertex of each cluster; all of them if the collapse would leave an edge
             that is not shared by two.
    """
    edges = np.concatenate([triangles[:, :2], triangles[:, 1:], triangles[:, ::2]])
    short = edges[np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1) < shortest]
    if not len(short):
        return triangles
    ones = np.ones(len(short), dtype=bool)
    graph = coo_matrix((ones, (short[:, 0], short[:, 1])), shape=(len(vertices), len(vertices)))
    cluster = connected_components(graph, directed=False)[1]
    first = np.unique(cluster, return_index=True)[1]
    merged = first[cluster][triangles]
    merged = merged[(merged != np.roll(merged, 1, axis=1)).all(axis=1)]
    sides = np.sort(np.concatenate([merged[:, :2], merged[:, 1:], merged[:, ::2]]), axis=1)
    shared = np.unique(sides, axis=0, return_counts=True)[1]
    return merged if (shared == 2).all() else triangles
