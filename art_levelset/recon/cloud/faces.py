"""
Points beside sharp edges, put on the face that they belong to.

A quadric around a point beside an edge is fitted to points of both faces, so its normal is one between theirs. A point
a little further away has one that is fitted to points of one face only and still says where the point beside the edge
lies. In the manner of Kuwahara's filter, each point takes what the quietest of the windows that it is in says of it.

1. A window is the k nearest points of a point j. Their heights over the plane of their principal axes are fitted by a
   quadric, with a ridge on its second order, which noise would fill. Of the windows around its own k nearest points,
   point i takes the one of the least

       r_j^2 + h^2 + D r^2 |o|^2,

   where r_j^2 is the residuals' variance, h the height of i over the quadric, r^2 the usual r_j^2, and o the offset of
   i from the window's middle in radii. k grows with the noise, in units of the points' spacing: as many as it takes for
   normals that are worth something, and no more, for windows that fit between two edges are the rarer the larger they
   are.
2. The normals that points have got are fitted by n(u, v) = a + B (u, v) over tangential offsets, around each point, by
   weighted least squares whose weights fall where the residuals are large, so those on the point's own side of an edge
   decide. Its normal becomes a / |a|, and its position moves by the mean height over the others' planes, as spheres
   have it (:func:`heights_over`). This is done twice.

On a bend this makes facets as well, so whether there is an edge is told by something else: by how loud it is there. A
quadric without a ridge follows a bend, and leaves no more than the noise; over an edge it leaves more. The loudness of
a point is the variance of these residuals around it, over that of the noise. The noise may differ from place to place,
so it is taken from the quietest places nearby; and it is no less than a twentieth of a spacing, for of exact points a
quadric leaves a little on any bend.

All this is done only beside what may be an edge: where the points are loud, and the planes are bent.

| Paper link: https://doi.org/10.1007/978-1-4684-0769-3_8 (Kuwahara, Hachimura, Eiho, Kinoshita, 1976)
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points, neighbours, thin, unit
from art_levelset.recon.cloud.planes import Planes, axes_across
from art_levelset.recon.cloud.quadrics import Floats, fit_quadrics
from art_levelset.recon.threads import mapped

DENSE = 0.25
"""Points are not needed nearer to each other than this, in reaches of the planes."""

TRIED = 1000
"""At so many points it is found out how near they are."""

FEWEST, MOST, PER_NOISE = 12, 48, 64
"""k is FEWEST for points without noise, and grows by PER_NOISE per spacing of noise up to MOST."""

BENDING = 0.3
"""The ridge, for each point of a window."""

DISTANCE = 0.2
"""D."""

AROUND = 32
"""Points whose normals decide on that of one in their middle."""

ROUNDS, REWEIGHTINGS = 2, 3
LIKE = np.radians(30.0)
"""Normals that differ by half of this from the fitted ones count a quarter; to begin with, those that differ by half as
much again from the point's own not at all."""

SLOPE = 0.05
"""The ridge on B, for each unit of weight."""

HEARD = 1.5
"""Neighbours of a point that its loudness is of, for each point of a window."""

EVERY, NEARBY = 4, 192
QUIETEST, SHARE = 0.25, 0.8
"""Loudness is that of every fourth point. Of so many of these nearby: the quantile of their residuals that tells the
noise, and which part of its square it is by chance."""

LEAST = 0.05
"""Less noise than this, in spacings, counts as so much."""

LOUD, BENT, OPPOSITE = 1.5, np.cos(np.radians(35.0)), -0.5
"""There may be an edge where the mean loudness around a point is as large, and the nearest plane and another one around
it are as far apart, in cosines."""

BESIDE = 2.5
"""Points are beside it within so many reaches."""

CHUNK = 1 << 12

Indices = NDArray[np.int64]


class Windows(NamedTuple):
    """
    Quadrics, one for each point.

    :param middles: Their origins, (n, 3).
    :param radii: The unit of their coordinates, (n,).
    :param axes: Those of u, v and the height, (n, 3, 3).
    :param quadrics: The factors of 1, u, v, u^2, u v, v^2, (n, 6).
    :param variances: Those of the points, in the points' own unit, (n,).
    """

    middles: Points
    radii: Floats
    axes: NDArray[np.float64]
    quadrics: NDArray[np.float64]
    variances: Floats

    def at(self, points: Points, chosen: Indices) -> tuple[Floats, Points, Floats]:
        """
        What some of the windows say of each point.

        :param points: (m, 3).
        :param chosen: Indices of windows, (m, w).
        :return: The heights of the points over the quadrics, (m, w), the quadrics' normals there, (m, w, 3), and the
                 squares of the offsets from the middles, in radii, (m, w).
        """
        radii, axes = self.radii[chosen], self.axes[chosen]
        offsets = (points[:, None] - self.middles[chosen]) / radii[..., None]
        u, v, height = np.moveaxis(np.einsum("mwai,mwi->mwa", axes, offsets), 2, 0)
        one, b, c, d, e, f = np.moveaxis(self.quadrics[chosen], 2, 0)
        slope = b + 2 * d * u + e * v, c + e * u + 2 * f * v
        upward = np.stack([-slope[0], -slope[1], np.ones_like(u)], axis=2)
        length = np.linalg.norm(upward, axis=2)
        over = height - (one + b * u + c * v + d * u * u + e * u * v + f * v * v)
        normals = np.einsum("mwa,mwai->mwi", upward / length[..., None], axes)
        return over * radii / length, normals, u * u + v * v


class OnFaces(NamedTuple):
    """
    Points that are put on their faces.

    :param planes: A plane through each of them, with an outward normal, n of them; with the reach of the planes of the
           cloud.
    :param loudness: How much a smooth surface leaves of the points around each of them, beside the noise, (n,): about 1
           where there is no edge.
    :param least: The least noise that counts, a twentieth of the spacing of the cloud's points.
    """

    planes: Planes
    loudness: Floats
    least: float


def points_on_faces(points: Points, planes: Planes) -> OnFaces:
    """
    Put the points of a cloud that may be beside an edge on the faces that they belong to.

    :param points: (n, 3), n >= 10, in the unit frame.
    :param planes: Their planes, with outward normals.
    :return: Those of the points, m of them; none if nothing may be an edge.
    """
    tree, some = cKDTree(points), points[::EVERY]
    residuals, spacing = _residuals(points, tree, some, 2 * FEWEST)
    size = int(min(FEWEST + PER_NOISE * np.median(_noise(residuals, some)), MOST))
    residuals, _ = _residuals(points, tree, some, int(HEARD * size))
    loudness = (residuals / _noise(residuals, some)) ** 2
    points = points[_beside_edges(points, some, loudness, planes)]
    if len(points) < FEWEST:
        return OnFaces(Planes(np.empty((0, 3)), np.empty((0, 3)), planes.reach), np.empty(0), LEAST * spacing)
    tree, size = cKDTree(points), min(size, len(points))
    facing = planes.normals[neighbours(cKDTree(planes.centres), points, 1)[1][:, 0]]
    windows = _windows(points, tree, facing, size)
    variance = float(np.median(windows.variances))
    parts = mapped(lambda rows: _of_quietest(points, rows, tree, windows, size, variance), _chunks(len(points)))
    centres, normals = map(np.concatenate, zip(*parts, strict=True))
    faces = Planes(centres, normals, planes.reach)
    for _ in range(ROUNDS):
        faces = _smoothed(faces)
    return OnFaces(faces, loudness[neighbours(cKDTree(some), points, 1)[1][:, 0]], LEAST * spacing)


def enough_points(points: Points, reach: float) -> Points:
    """
    The points that :func:`points_on_faces` is to be given.

    :param points: (n, 3).
    :param reach: That of their planes.
    :return: The points, or, if they are denser than is needed, means of them, (m, 3), m <= n, as float32 has them.
    """
    some = points[:: len(points) // TRIED + 1]
    radii = neighbours(cKDTree(points), some, min(FEWEST, len(points)))[0][:, -1]
    if np.median(radii) * np.sqrt(np.pi / FEWEST) < DENSE * reach:
        points = thin(points, DENSE * reach)
    return points.astype(np.float32).astype(np.float64)


def heights_over(offsets: Points, normals: Points, others: Points) -> Floats:
    """
    How high points are over planes, as on a sphere: with the mean of both normals, at right angles to the chord.

    :param offsets: From the planes' centres to the points, (..., 3).
    :param normals: The planes' normals, (..., 3).
    :param others: The surface's normals at the points, (..., 3).
    :return: (...).
    """
    high: Floats = ((normals + others) * offsets).sum(axis=-1) / np.maximum(1 + (normals * others).sum(axis=-1), 1e-3)
    return high


def _chunks(count: int) -> list[Indices]:
    return np.array_split(np.arange(count), count // CHUNK + 1)


def _residuals(points: Points, tree: cKDTree, some: Points, size: int) -> tuple[Floats, float]:
    """Of quadrics on so many neighbours of some points: the residuals' deviations, (m,), in spacings; and these."""
    size = min(size, len(points))
    residuals, radii = np.empty(len(some)), np.empty(len(some))

    def fit(rows: Indices) -> None:
        distances, found = neighbours(tree, some[rows], size)
        residuals[rows] = fit_quadrics(some[rows], points[found], distances).residuals
        radii[rows] = distances[:, -1]

    mapped(fit, _chunks(len(some)))
    spacing = max(float(np.median(radii)), 1e-12) * float(np.sqrt(np.pi / size))
    return residuals / spacing, spacing


def _noise(residuals: Floats, some: Points) -> Floats:
    """What the residuals are in the quietest places nearby, (m,)."""
    tree, noise = cKDTree(some), np.empty(len(some))

    def listen(rows: Indices) -> None:
        nearby = neighbours(tree, some[rows], min(NEARBY, len(some)))[1]
        noise[rows] = np.quantile(residuals[nearby], QUIETEST, axis=1)

    mapped(listen, _chunks(len(some)))
    least: Floats = np.maximum(noise / np.sqrt(SHARE), LEAST)
    return least


def _beside_edges(points: Points, some: Points, loudness: Floats, planes: Planes) -> NDArray[np.bool_]:
    """Which points, (n,), may be beside an edge, by the loudness of some of them, (m,)."""
    around = neighbours(cKDTree(some), some, min(AROUND // EVERY, len(some)))[1]
    loud = some[loudness[around].mean(axis=1) >= LOUD]
    near = planes.normals[neighbours(cKDTree(planes.centres), loud, min(AROUND, len(planes)))[1]]
    cosines = np.einsum("nki,ni->nk", near, near[:, 0])
    edges = loud[((cosines < BENT) & (cosines > OPPOSITE)).any(axis=1)]
    if not len(edges):
        return np.zeros(len(points), dtype=bool)
    beside: NDArray[np.bool_] = neighbours(cKDTree(edges), points, 1)[0][:, 0] < BESIDE * planes.reach
    return beside


def _windows(points: Points, tree: cKDTree, facing: Points, size: int) -> Windows:
    parts = mapped(lambda rows: _windows_of_chunk(points, rows, tree, facing, size), _chunks(len(points)))
    return Windows(*map(np.concatenate, zip(*parts, strict=True)))


def _windows_of_chunk(points: Points, rows: Indices, tree: cKDTree, facing: Points, size: int) -> Windows:
    distances, found = neighbours(tree, points[rows], size)
    radii = np.maximum(distances[:, -1], 1e-12)
    middles = points[found].mean(axis=1)
    offsets = (points[found] - middles[:, None]) / radii[:, None, None]
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))[1][:, :, 0]
    normals *= np.where(np.einsum("ni,ni->n", normals, facing[rows]) < 0, -1, 1)[:, None]
    axes = np.stack([*axes_across(normals), normals], axis=1)
    u, v, height = np.moveaxis(np.einsum("nai,nki->nka", axes, offsets), 2, 0)
    design = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=2)
    matrices = np.einsum("nki,nkj->nij", design, design) + BENDING * size * np.diag([1e-9, 1e-9, 1e-9, 1, 0.5, 1])
    inverse = np.linalg.inv(matrices)
    quadrics = np.einsum("nij,nkj,nk->ni", inverse, design, height)
    residuals = height - np.einsum("nki,ni->nk", design, quadrics)
    freedom = np.maximum(size - np.einsum("nki,nij,nkj->n", design, inverse, design), 1)
    return Windows(middles, radii, axes, quadrics, (residuals**2).sum(axis=1) / freedom * radii**2)


def _of_quietest(
    points: Points, rows: Indices, tree: cKDTree, windows: Windows, size: int, variance: float
) -> tuple[Points, Points]:
    found = neighbours(tree, points[rows], size)[1]
    heights, normals, away = windows.at(points[rows], found)
    best = (windows.variances[found] + heights**2 + DISTANCE * variance * away).argmin(axis=1)[:, None]
    normal = np.take_along_axis(normals, best[..., None], axis=1)[:, 0]
    return points[rows] - np.take_along_axis(heights, best, axis=1) * normal, normal


def _smoothed(faces: Planes) -> Planes:
    tree = cKDTree(faces.centres)
    parts = mapped(lambda rows: _smoothed_chunk(faces, rows, tree), _chunks(len(faces)))
    centres, normals = map(np.concatenate, zip(*parts, strict=True))
    return replace(faces, centres=centres, normals=normals)


def _smoothed_chunk(faces: Planes, rows: Indices, tree: cKDTree) -> tuple[Points, Points]:
    centres, normals = faces.centres[rows], faces.normals[rows]
    distances, found = neighbours(tree, centres, min(AROUND, len(faces)))
    radii = np.maximum(distances[:, -1:], 1e-12)
    offsets, others = faces.centres[found] - centres[:, None], faces.normals[found]
    first, second = axes_across(normals)
    u, v = (np.einsum("nki,ni->nk", offsets, axis) / radii for axis in (first, second))
    design = np.stack([np.ones_like(u), u, v], axis=2)
    near = np.exp(-2 * (distances / radii) ** 2)
    cosines = np.einsum("nki,ni->nk", others, normals)
    weights = near * (cosines - np.cos(1.5 * LIKE)).clip(0) / (1 - np.cos(1.5 * LIKE))
    for _ in range(REWEIGHTINGS):
        matrices = np.einsum("nki,nk,nkj->nij", design, weights, design)
        matrices += weights.sum(axis=1)[:, None, None] * np.diag([1e-9, SLOPE, SLOPE])
        model = np.linalg.solve(matrices, np.einsum("nki,nk,nkj->nij", design, weights, others))
        residuals = ((design @ model - others) ** 2).sum(axis=2)
        weights = near / (1 + residuals / (LIKE / 2) ** 2) ** 2
    turned = unit(model[:, 0])
    high = (weights * heights_over(-offsets, others, turned[:, None])).sum(axis=1) / weights.sum(axis=1)
    return centres - high[:, None] * turned, turned
