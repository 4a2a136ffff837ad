"""
Triangles divided where their edges cross a crease: each crossed edge gets a vertex, which both its triangles have.

What is moved to where faces meet may fold a triangle over. Its vertices go back, half of the way at a time and a few
times at most, while a triangle there is turned against its face's normals.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.quadrics import Floats
from art_levelset.recon.meshing.topology import Faces

SMALL = 1e-3
"""Singular values of normals, squared, below this count as this: two faces do not say where along their crease."""

ROUNDS = 5
"""Vertices go back so many times at most; what is left then is folded where they come from as well, or nearly."""

Mask = NDArray[np.bool_]


class Split(NamedTuple):
    """
    A mesh.

    :param vertices: (n, 3).
    :param triangles: Indices of vertices, (m, 3).
    """

    vertices: Points
    triangles: Faces


class Crossings(NamedTuple):
    """
    The edges of a mesh.

    :param ends: The vertices of each, (n, 2).
    :param edges: Those of each triangle, from its first corner to the second, and so on, (m, 3).
    """

    ends: Faces
    edges: NDArray[np.int64]


def crossings_of(triangles: Faces) -> Crossings:
    """
    List the edges of a mesh.

    :param triangles: Indices of vertices, (m, 3).
    :return: The edges.
    """
    sides = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    ends, edges = np.unique(sides, axis=0, return_inverse=True)
    return Crossings(ends, edges.reshape(-1, 3))


def split_triangles(
    vertices: Points, normals: Points, triangles: Faces, crossings: Crossings, crossed: Mask, most: float
) -> Split:
    """
    Insert a vertex in each crossed edge, and in each triangle all of whose edges are.

    :param vertices: (n, 3).
    :param normals: Those of the faces that the vertices lie on, (n, 3).
    :param triangles: Indices of vertices, (m, 3).
    :param crossings: The edges.
    :param crossed: Which of them cross a crease, (k,).
    :param most: How far from the middle of the edge or triangle a vertex may be inserted, > 0.
    :return: The vertices, the inserted ones last, and the triangles, which turn as they did.
    """
    ends = crossings.ends[crossed]
    on_edges = meeting_points(vertices[ends], normals[ends], vertices[ends].mean(axis=1), most)
    inserted = np.full(len(crossed), -1)
    inserted[crossed] = len(vertices) + np.arange(len(ends))
    middles = inserted[crossings.edges]
    count = (middles >= 0).sum(axis=1)
    full = triangles[count == 3]
    known = np.concatenate([vertices, on_edges])
    corners = meeting_points(vertices[full], normals[full], known[middles[count == 3]].mean(axis=1), most)
    flat = np.concatenate([vertices, vertices[ends].mean(axis=1), vertices[full].mean(axis=1)])
    parts = [triangles[count == 0]]
    for side in range(3):
        turn = [side, (side + 1) % 3, (side + 2) % 3]
        one = (count == 1) & (middles[:, side] >= 0)
        (a, b, c), p = triangles[one][:, turn].T, middles[one, side]
        parts += [_joined(a, p, c), _joined(p, b, c)]
        two = (count == 2) & (middles[:, side] < 0)
        (a, b, c), (_, p, q) = triangles[two][:, turn].T, middles[two][:, turn].T
        shorter = np.linalg.norm(known[a] - known[p], axis=1) < np.linalg.norm(known[b] - known[q], axis=1)
        parts += [_joined(c, q, p), _joined(a, b, np.where(shorter, p, q))]
        parts.append(_joined(np.where(shorter, a, b), p, q))
        heart = len(known) + np.arange(len(full))
        a, b = full[:, turn[:2]].T
        p = middles[count == 3, side]
        parts += [_joined(a, p, heart), _joined(p, b, heart)]
    divided = np.concatenate(parts).astype(np.int32)
    known = np.concatenate([known, corners])
    facing = np.concatenate([normals, np.zeros((len(known) - len(normals), 3))])
    return Split(unfolded(known, flat, divided, facing), divided)


def unfolded(vertices: Points, origins: Points, triangles: Faces, normals: Points) -> Points:
    """
    Move vertices back where they have folded triangles over.

    :param vertices: (n, 3).
    :param origins: Where they come from, (n, 3).
    :param triangles: Indices of vertices, (m, 3).
    :param normals: Those of the faces that vertices lie on, (n, 3); zero for vertices of several.
    :return: The vertices, (n, 3).
    """
    moved = (vertices != origins).any(axis=1)
    near = triangles[moved[triangles].any(axis=1)]
    facing = normals[near].sum(axis=1)
    for _ in range(ROUNDS):
        one, other, third = np.moveaxis(vertices[near], 1, 0)
        folded = np.einsum("mi,mi->m", np.cross(other - one, third - one), facing) < 0
        if not folded.any():
            break
        back = np.unique(near[folded])
        vertices = vertices.copy()
        vertices[back] = (vertices[back] + origins[back]) / 2
    return vertices


def meeting_points(points: Points, normals: Points, middles: Points, most: float) -> Points:
    """
    Where planes meet: of the points of least sum_k (n_k . (y - x_k))^2 those nearest to given ones.

    :param points: x_k, (n, k, 3).
    :param normals: n_k, (n, k, 3).
    :param middles: (n, 3).
    :param most: How far from these y may be, > 0; further ones are moved back.
    :return: y, (n, 3).
    """
    heights = np.einsum("nki,nki->nk", normals, points - middles[:, None])
    matrices = np.einsum("nki,nkj->nij", normals, normals) + SMALL * np.eye(3)
    moves = np.linalg.solve(matrices, np.einsum("nki,nk->ni", normals, heights)[:, :, None])[:, :, 0]
    lengths: Floats = np.linalg.norm(moves, axis=1, keepdims=True)
    met: Points = middles + moves * np.minimum(1, most / np.maximum(lengths, 1e-12))
    return met


def _joined(*corners: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.stack(corners, axis=1)
