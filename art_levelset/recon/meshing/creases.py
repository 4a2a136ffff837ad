"""
Sharp edges: where faces meet, the mesh gets vertices on the crease and edges along it.

The zero set of F is smooth, and what it is fitted to is as well: planes beside an edge are of points of both faces.
With the points put on their faces (:func:`art_levelset.recon.cloud.faces.points_on_faces`), each with its plane, there
are near a vertex x of the mesh one to four groups k of planes whose normals are far apart: the nearest plane and those
like it, the nearest one of the others and those like that, and so on. Each has a surface, of the height

    h_k(x) = sum_i w_i (1 + n_i . n_k) h_i(x) / sum_i w_i (1 + n_i . n_k)

over it, with h_i over a single plane as spheres have it, weights that fall with distance and residual, and the normal
n_k, the mean of the group's. Two groups meet at a ridge if the centres of one lie below the surface of the other,
else in a groove. So the foot x_k = x - h_k(x) n_k is on the solid's surface if all others have h_l(x_k) <= 0 at
ridges, >= 0 at grooves. x moves to the foot that breaks these rules least, and, of several, is nearest.

An edge of the mesh whose ends have gone to different faces crosses a crease. There a vertex is inserted at the point
y nearest to the edge's middle of those of least

    sum_k (n_k . (y - x_k))^2,

over both ends, and in triangles whose corners are on three faces another one, over the corners. Triangles are divided
at these, so the crease is a line of edges, and the topology of the mesh stays (after extended marching cubes, which
do it in the cells).

That this is an edge and not a bend, or noise, is told by the points. Evidence for a crossing is e = p (q - 1)_+: p,
from 0 to 1, says how far the normals of both ends are apart, from 30 to 75 degrees, and q is the mean loudness of the
planes around, that is, how much a smooth surface leaves there beside the noise. Where the mean of e over the crossings
nearby is too small, or these are no line of some length, nothing is done, and away from the others the mesh stays as it
is. And the points have the last word: where they are no nearer to the changed mesh than they were to the smooth one, or
neither fits them (:mod:`art_levelset.recon.meshing.evidence`), as on a fillet, between teeth of a few spacings, and at
the frayed borders of range images, it stays as well.

| Paper link: https://doi.org/10.1145/383259.383265 (Kobbelt, Botsch, Schwanecke, Seidel, 2001)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points, neighbours, unit
from art_levelset.recon.cloud.faces import OnFaces, heights_over
from art_levelset.recon.cloud.quadrics import Floats
from art_levelset.recon.meshing.evidence import spoken_for
from art_levelset.recon.meshing.splitting import Crossings, crossings_of, split_triangles, unfolded
from art_levelset.recon.meshing.topology import Faces
from art_levelset.recon.threads import mapped

AROUND = 32
"""Planes that are looked at around a vertex."""

GROUPS = 4
FEWEST = 3
"""Planes of a group."""

LIKE, UNLIKE, OPPOSITE = np.cos(np.radians([40.0, 55.0, 120.0]))
"""Cosines of normals: planes of a group, those that begin another one, and faces of a thin wall, which do not meet."""

BENT, SHARP = np.radians([30.0, 75.0])
"""The angles between which p rises from 0 to 1."""

EVIDENCE = 0.5
"""The smallest mean of e."""

NEARBY = 1.5
"""The mean is over so many reaches, and so far around a crossing points are asked."""

LENGTH = 2.0
"""The smallest extent of a line of crossings, in reaches."""

FAR = 0.5
"""Vertices move no further than this, in reaches."""

FULL, NONE = 1.0, 1.5
"""Up to the first distance from a crease, in reaches, vertices move all the way, from the second on not at all."""

NEARNESS = 0.3
"""What a reach to a foot counts, beside one by which a rule is broken."""

CHUNK = 1 << 13

Mask = NDArray[np.bool_]


class Sharpened(NamedTuple):
    """
    A mesh with edges.

    :param vertices: (n, 3).
    :param triangles: Indices of vertices, (m, 3).
    :param creases: Places along the edges, (k, 3); none if nothing was changed.
    """

    vertices: Points
    triangles: Faces
    creases: Points


class Feet(NamedTuple):
    """
    Where vertices go.

    :param points: x_k, (n, 3).
    :param normals: n_k, (n, 3).
    :param parted: Whether there is more than one group, (n,).
    :param loudness: q, (n,).
    """

    points: Points
    normals: Points
    parted: Mask
    loudness: Floats


def sharpen(vertices: Points, triangles: Faces, faces: OnFaces, points: Points, cell: float) -> Sharpened:
    """
    Put vertices and edges of a mesh on the creases between faces.

    :param vertices: (n, 3), in the unit frame.
    :param triangles: Indices of vertices, (m, 3).
    :param faces: The points of the cloud beside edges, put on their faces, with outward normals.
    :param points: The points of the cloud, (k, 3).
    :param cell: How far an inserted vertex may be from its edge's middle, > 0.
    :return: The vertices, those of creases last, and the triangles; what was given if there are no creases.
    """
    same = Sharpened(vertices, triangles, np.empty((0, 3)))
    if not len(faces.planes):
        return same
    feet = _feet(vertices, faces)
    on_faces: Mask = (feet.normals != 0).any(axis=1)
    beside = on_faces[triangles].any(axis=1)
    rest, triangles = triangles[~beside], triangles[beside]
    crossings = crossings_of(triangles)
    first, second = crossings.ends.T
    cosines = np.einsum("ni,ni->n", feet.normals[first], feet.normals[second])
    mixed = (cosines < np.cos(BENT)) & (cosines > OPPOSITE) & feet.parted[first] & feet.parted[second]
    reach = faces.planes.reach
    mixed[mixed] = _supported(feet, crossings.ends[mixed], cosines[mixed], reach)
    mixed = _long(feet.points, crossings, mixed, LENGTH * reach)
    if not mixed.any():
        return same

    def creased(crossed: Mask) -> Sharpened:
        middles = feet.points[crossings.ends[crossed]].mean(axis=1)
        steps = part_moved(feet.points, middles, reach)[:, None] * (feet.points - vertices)
        moved = unfolded(vertices + steps, vertices, triangles, feet.normals)
        known, divided = split_triangles(moved, feet.normals, triangles, crossings, crossed, cell)
        return Sharpened(known, np.concatenate([rest, divided]), middles)

    tried, kept = creased(mixed), mixed.copy()
    kept[mixed] = spoken_for(points, tried.creases, NEARBY * reach, same[:2], tried[:2], faces.least)
    kept = _long(feet.points, crossings, kept, LENGTH * reach)
    if np.array_equal(kept, mixed):
        return tried
    return creased(kept) if kept.any() else same


def part_moved(vertices: Points, creases: Points, reach: float) -> Floats:
    """
    Which part of the way vertices move, or have moved, to the faces that meet.

    :param vertices: (n, 3).
    :param creases: Places along the edges, (k, 3).
    :param reach: That of the planes.
    :return: (n,), 1 beside them, 0 far away.
    """
    if not len(creases):
        return np.zeros(len(vertices))
    gaps = neighbours(cKDTree(creases), vertices, 1)[0][:, 0] / reach
    part: Floats = ((NONE - gaps) / (NONE - FULL)).clip(0, 1)
    return part


def _feet(vertices: Points, faces: OnFaces) -> Feet:
    """Where vertices go; those that would go too far, and those that are not beside the faces' points, stay."""
    tree = cKDTree(faces.planes.centres)
    near = np.flatnonzero(neighbours(tree, vertices, 1)[0][:, 0] < faces.planes.reach)
    feet = Feet(vertices.copy(), np.zeros_like(vertices), np.zeros(len(vertices), bool), np.zeros(len(vertices)))
    if len(near):
        chunks = np.array_split(near, len(near) // CHUNK + 1)
        parts = mapped(lambda rows: _feet_of_chunk(vertices[rows], tree, faces), chunks)
        for whole, part in zip(feet, zip(*parts, strict=True), strict=True):
            whole[near] = np.concatenate(part)
    return feet


def _feet_of_chunk(points: Points, tree: cKDTree, faces: OnFaces) -> Feet:
    planes = faces.planes
    distances, found = neighbours(tree, points, min(AROUND, len(planes)))
    centres, normals, rows = planes.centres[found], planes.normals[found], np.arange(len(points))
    near = np.exp(-2 * (distances / (distances[:, :1] + planes.reach / 2)) ** 2)
    free = np.ones(found.shape, dtype=bool)
    groups = []
    for _ in range(GROUPS):
        seed = free.argmax(axis=1)
        middle = normals[rows, seed]
        for _ in range(2):
            like = np.einsum("nki,ni->nk", normals, middle) > LIKE
            middle = unit(np.einsum("nk,nki->ni", near * like, normals))
        cosines = np.einsum("nki,ni->nk", normals, middle)
        like = (cosines > LIKE) & free[rows, seed, None]
        votes = heights_over(points[:, None] - centres, normals, middle[:, None])
        weights = near * like * (1 + cosines)
        high = _mean(votes, weights)
        spread = _mean((votes - high[:, None]) ** 2, weights) + 1e-12
        high = _mean(votes, weights / (1 + (votes - high[:, None]) ** 2 / spread[:, None]))
        groups.append((points - high[:, None] * middle, middle, like, like.sum(axis=1) >= FEWEST))
        free &= cosines < UNLIKE
    feet, middles, likes, there = (np.stack(column, axis=1) for column in zip(*groups, strict=True))
    members = near[:, None] * likes
    hearts = np.einsum("ngk,nki->ngi", members, centres) / np.maximum(members.sum(axis=2), 1e-12)[:, :, None]
    # Of the foot on each group's surface, and of each other group: [n, group of the foot, other group].
    below = np.sign(np.einsum("ngli,ngi->ngl", feet[:, :, None] - hearts[:, None], middles))
    over = np.einsum("ngli,nli->ngl", feet[:, :, None] - feet[:, None], middles)
    meet = there[:, None] & (np.einsum("ngi,nli->ngl", middles, middles) > OPPOSITE)
    costs = (np.maximum(below * over, 0) * meet * (1 - np.eye(GROUPS))).sum(axis=2)
    costs += NEARNESS * np.linalg.norm(feet - points[:, None], axis=2)
    best = np.where(there, costs, np.inf).argmin(axis=1)
    chosen = feet[rows, best]
    far = np.linalg.norm(chosen - points, axis=1) > FAR * planes.reach
    parted = there[:, :2].all(axis=1) & ~far
    loudness = faces.loudness[found].mean(axis=1)
    return Feet(np.where(far[:, None], points, chosen), middles[rows, best], parted, loudness)


def _mean(values: Floats, weights: Floats) -> Floats:
    means: Floats = (weights * values).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-12)
    return means


def _supported(feet: Feet, ends: Faces, cosines: Floats, reach: float) -> Mask:
    """Which crossings have enough evidence around them."""
    if not len(ends):
        return np.zeros(0, dtype=bool)
    apart = ((np.arccos(cosines.clip(-1, 1)) - BENT) / (SHARP - BENT)).clip(0, 1)
    evidence = apart * (feet.loudness[ends].mean(axis=1) - 1).clip(min=0)
    tree = cKDTree(feet.points[ends].mean(axis=1))
    pairs = tree.sparse_distance_matrix(tree, NEARBY * reach, output_type="coo_matrix")
    total = np.bincount(pairs.row, weights=evidence[pairs.col], minlength=len(ends))
    supported: Mask = total / np.bincount(pairs.row, minlength=len(ends)) >= EVIDENCE
    return supported


def _long(points: Points, crossings: Crossings, mixed: Mask, length: float) -> Mask:
    """Those of the crossings, (n,), that are in lines of some extent; crossings of one triangle are in one line."""
    of_triangle = mixed[crossings.edges]
    pairs = [
        crossings.edges[of_triangle[:, one] & of_triangle[:, other]][:, [one, other]]
        for one, other in ((0, 1), (1, 2), (0, 2))
    ]
    ends = np.concatenate(pairs).T
    graph = coo_matrix((np.ones(ends.shape[1], dtype=bool), (ends[0], ends[1])), shape=2 * (len(mixed),))
    count, line = connected_components(graph, directed=False)
    middles = points[crossings.ends[mixed]].mean(axis=1)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, line[mixed], middles)
    np.maximum.at(high, line[mixed], middles)
    long: Mask = mixed & (np.linalg.norm((high - low).clip(min=0), axis=1) >= length)[line]
    return long
