"""
The connected components of a triangle mesh, its edges and its topology; and which of its triangles to keep.

All of it works on arrays of vertices and triangles, in chunks: the graphs and the edges of a mesh of millions that
trimesh or networkx would make take several times the memory of the mesh.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from art_levelset.checks import check_count
from art_levelset.recon.cloud.clouds import Points, neighbours

if TYPE_CHECKING:
    from trimesh import Trimesh

Faces = NDArray[np.int32]
Mask = NDArray[np.bool_]

CHUNK = 1 << 20
"""So many triangles are looked at together: the edges of a mesh take more memory than the mesh."""


def label_components(faces: Faces) -> tuple[int, NDArray[np.int32]]:
    """
    The connected components of a mesh.

    :param faces: (m, 3), indices of vertices.
    :return: The number of components that have faces, and the component of each face, (m,), counted from 0.
    """
    count = int(faces.max(initial=-1)) + 1
    component = np.arange(count, dtype=np.int32)
    for start in range(0, len(faces), CHUNK):  # the components so far are the vertices of the next graph
        first, second, third = component[faces[start : start + CHUNK]].T
        ends = np.concatenate([first, second]), np.concatenate([second, third])
        graph = coo_matrix((np.ones(len(ends[0]), dtype=bool), ends), shape=(count, count))
        count, larger = connected_components(graph, directed=False)
        component = larger[component]
    own = component[faces[:, 0]]
    with_faces = np.zeros(count, dtype=bool)
    with_faces[own] = True
    return int(with_faces.sum()), (np.cumsum(with_faces, dtype=np.int32) - 1)[own]


def topology(mesh: Trimesh) -> Topology:
    """
    Count the connected components, the boundaries and the handles of a mesh.

    With V, E and F vertices, edges and faces, c components, b boundaries and g handles, V - E + F = 2 c - 2 g - b.

    :param mesh: The mesh, with at least one face. Vertices at the same place are different vertices.
    :return: Its topology.
    """
    faces = np.asarray(mesh.faces, dtype=np.int32)
    components, _ = label_components(faces)
    edges, count = np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0, return_counts=True)
    ends = edges[count == 1]
    # As triangles whose last two corners agree, the edges of the boundaries have the boundaries for components.
    boundaries = label_components(ends[:, [0, 1, 1]])[0] if len(ends) else 0
    simple = count.max() <= 2 and bool((np.unique(ends, return_counts=True)[1] == 2).all())
    handles = 2 * components - boundaries - (len(np.unique(faces)) - len(edges) + len(faces))
    return Topology(
        parts=components,
        boundaries=boundaries,
        genus=handles // 2 if simple and handles >= 0 and handles % 2 == 0 else None,
        watertight=bool(mesh.is_watertight and mesh.is_winding_consistent),
    )


def supported_components(
    vertices: Points, faces: Faces, centres: Points, share: float, smallest: float, many: int
) -> Mask:
    """
    Tell the connected components of a mesh that data speak for from the spurious ones.

    :param vertices: (n, 3).
    :param faces: (m, 3).
    :param centres: Points that the surface should pass, (k, 3).
    :param share: A component is spurious that is the nearest one to a smaller share of these points.
    :param smallest: A component is spurious whose bounding box has no side as long as this, unless `many` points are
           no further than half of it from the component, and nearest to that. The one that most points speak for never
           is.
    :param many: This number of points.
    :return: Which faces belong to the other components, (m,).
    """
    count, component = label_components(faces)
    if count <= 1:
        return np.ones(len(faces), dtype=bool)
    own = np.full(len(vertices), -1, dtype=np.int32)
    own[faces[:, 0]] = component
    used = own >= 0
    reach, found = neighbours(cKDTree(vertices[used]), centres, 1)
    nearest = own[used][found[:, 0]]
    speakers = np.bincount(nearest, minlength=count)
    beside = np.bincount(nearest[reach[:, 0] <= smallest / 2], minlength=count)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, own[used], vertices[used])
    np.maximum.at(high, own[used], vertices[used])
    large = ((high - low).max(axis=1) >= smallest) | (beside >= many)
    supported: Mask = large & (speakers >= share * len(centres))
    supported[speakers.argmax()] = True
    return supported[component]


def largest_components(vertices: Points, faces: Faces, count: int) -> Mask:
    """
    The connected components of a mesh that have the largest areas.

    :param vertices: (n, 3).
    :param faces: (m, 3).
    :param count: How many to keep, >= 1; all, if the mesh has no more.
    :return: Which faces belong to them, (m,).
    :raises ValueError: If the count is out of range.
    """
    check_count("parts", count)
    components, component = label_components(faces)
    areas = np.empty(len(faces))
    for start in range(0, len(faces), CHUNK):
        first, second, third = (vertices[corners] for corners in faces[start : start + CHUNK].T)
        areas[start : start + CHUNK] = np.linalg.norm(np.cross(second - first, third - first), axis=1)
    order = np.argsort(-np.bincount(component, weights=areas, minlength=components), kind="stable")
    return np.isin(component, order[:count])


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
    return vertices[used], (np.cumsum(used, dtype=np.int32) - 1)[faces]


def short_edges(vertices: Points, triangles: Faces, shortest: float) -> NDArray[np.int32]:
    """
    The edges of triangles that are shorter than a length.

    :param vertices: (n, 3).
    :param triangles: Indices of vertices, (m, 3).
    :param shortest: The length.
    :return: Their ends, (k, 2); an edge of two triangles may be there twice.
    """
    short = [np.zeros((0, 2), dtype=np.int32)]
    for start in range(0, len(triangles), CHUNK):
        for ends in _sides(triangles[start : start + CHUNK]):
            near = np.linalg.norm(vertices[ends[0]] - vertices[ends[1]], axis=1) < shortest
            short.append(np.stack([end[near] for end in ends], axis=1))
    return np.concatenate(short)


def without_short_edges(vertices: Points, triangles: Faces, shortest: float) -> Faces:
    """
    Collapse the edges that single precision may not resolve: where F is nearly zero at a node of the grid, marching
    cubes puts several vertices there.

    :param vertices: (n, 3).
    :param triangles: Indices of vertices, (m, 3).
    :param shortest: Edges below this length are collapsed.
    :return: The triangles that remain, with one vertex of each cluster; all of them if the collapse would leave an edge
             that is not shared by two.
    """
    short = short_edges(vertices, triangles, shortest)
    if not len(short):
        return triangles
    ones = np.ones(len(short), dtype=bool)
    graph = coo_matrix((ones, (short[:, 0], short[:, 1])), shape=(len(vertices), len(vertices)))
    cluster = connected_components(graph, directed=False)[1]
    first = np.unique(cluster, return_index=True)[1].astype(np.int32)
    merged = first[cluster][triangles]
    merged = merged[np.logical_and.reduce([one != other for one, other in _sides(merged)])]
    return triangles if open_edges(merged, len(vertices)) else merged


def sorted_edges(triangles: Faces, size: int) -> NDArray[np.int64]:
    """
    The edges of triangles as numbers, the same ones for the same ends.

    :param triangles: Indices of vertices, (m, 3).
    :param size: The number of vertices.
    :return: (3m,), ascending.
    """
    numbers = np.empty((3, len(triangles)), dtype=np.int64)
    for row, (one, other) in zip(numbers, _sides(triangles), strict=True):
        np.minimum(one, other, out=row)
        row *= size
        row += np.maximum(one, other)
    edges = numbers.ravel()
    edges.sort()
    return edges


def euler_number(triangles: Faces, size: int) -> int:
    """
    Vertices, as far as triangles have them, minus edges plus triangles.

    :param triangles: Indices of vertices, (m, 3).
    :param size: The number of vertices.
    :return: The Euler number.
    """
    edges = sorted_edges(triangles, size)
    different = int(np.count_nonzero(np.diff(edges))) + min(len(edges), 1)
    return len(np.unique(triangles)) - different + len(triangles)


def open_edges(triangles: Faces, size: int) -> int:
    """
    How many edges are not shared by two triangles.

    :param triangles: Indices of vertices, (m, 3).
    :param size: The number of vertices.
    :return: 0 for a closed surface.
    """
    edges = sorted_edges(triangles, size)
    first = np.flatnonzero(np.diff(edges, prepend=-1))
    return int(np.count_nonzero(np.diff(first, append=len(edges)) != 2))


def _sides(triangles: Faces) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """The two ends of the first, second and third edges."""
    for one, other in ((0, 1), (1, 2), (0, 2)):
        yield triangles[:, one], triangles[:, other]


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Topology:
    """
    What a mesh is up to deformation.

    :param parts: Number of connected components.
    :param boundaries: Number of closed curves in which the mesh ends.
    :param genus: Number of handles of all components together; None where more than two triangles meet in an edge or
           boundaries touch, for then it is no surface.
    :param watertight: Whether every edge has two triangles that agree about the outside.
    """

    parts: int
    boundaries: int
    genus: int | None
    watertight: bool

    def __str__(self) -> str:
        """For a terminal."""
        genus = "no surface" if self.genus is None else f"genus {self.genus}"
        closed = "watertight" if self.watertight else f"not watertight, {_counted(self.boundaries, 'boundary curve')}"
        return f"{_counted(self.parts, 'part')}, {genus}, {closed}"
