"""
Points and normals of the surface behind a noisy cloud: local quadrics over neighbourhoods as large as the data allow.

Around a query point, the neighbours' heights over their principal plane are fitted by a quadratic polynomial h(u, v),
by weighted least squares and then, so that points of another sheet or outliers do not count, by two more rounds with
the weights divided by 1 + (residual / sigma)^2. h at the query point is a point of the surface, with a standard error s
that falls with the number of neighbours, and a bias b that grows with it.

How many neighbours, of a few numbers that double, is decided point by point by an estimate of the risk 2 b^2 + s^2, in
the manner of Mallows' C_p; b^2 counts twice, for F averages the errors of planes further, but not the bias that they
share. With the next smaller number, marked ', the height differs by

    E(h - h')^2 = (b - b')^2 + s'^2 - s^2,        b' = b / 4,

for the bias of a quadric grows with the fourth power of its radius. A single difference is mostly noise, so their
squares are averaged over the query points nearby:

    risk = 2 (4/3)^2 (mean (h - h')^2 - mean (s'^2 - s^2))_+ + mean s^2.

Where the residuals grow suddenly, a neighbourhood has reached another sheet or over an edge, and no larger one counts.

Where the points of the cloud are means, the weights are multiplied by the numbers w of points in them, and each has
an error of its own as a point of many has, sigma^2 / w, and one that all of these have in common: as large as sigma, so
that quiet means are as good as points, but no larger than the cells allow.

Sums over neighbours are of float32, of offsets in units of the neighbourhood's radius, so they are exact to a ten
millionth of that; the 6 x 6 systems, and what is in the cloud's own frame, are of float64.

| Paper link: https://doi.org/10.1080/00401706.1973.10489103 (Mallows, 1973)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points, neighbours
from art_levelset.recon.threads import mapped

Floats = NDArray[np.float64]
_Array = NDArray[np.floating[Any]]

COUNTS = 12, 24, 48, 96, 192, 384
"""Sizes of the neighbourhoods that are tried."""

FEW = 10_000
"""Only in clouds of fewer points is the first of them tried: it is noisy, but 24 would be too much of a thin limb."""

NEARBY = 32
"""Risks are averaged over so many query points."""

GROWTH = 4.0
"""b / b'."""

SUDDEN = 1.6
"""The residuals may grow by this factor from one size to the next."""

CAUTION = 2.0
"""How often b^2 counts in the risk."""

LATTICE = 1 / 7
"""Where the grid's lines cut the noise of a surface is no matter of chance among the points, so it is an error of each
mean as well, of this part of a side. It is half of what an even spread in the cells would be: with it errors are about
what they were found to be on bumpy spheres, and planes on the elephant were better than with half or twice as much."""

REWEIGHTINGS = 2
RIDGE = 1e-6
LEAF = 64
"""Members of the leaves of a tree that is asked for hundreds of neighbours: soonest, by some percent."""

CHUNK = 1 << 8
"""So many query points at once: their neighbourhoods fit into a processor's cache."""


@dataclass(frozen=True, eq=False)
class Means:
    """
    What the points of a cloud are, where they are the means of more points in the cells of a grid
    (:mod:`art_levelset.recon.cloud.cells`).

    :param counts: Of how many points each is the mean, in the shape of the cloud's rows, > 0.
    :param side: About that of the cells.
    """

    counts: Floats
    side: float

    def __getitem__(self, rows: Any) -> Means:
        return Means(self.counts[rows], self.side)


@dataclass(frozen=True, eq=False)
class LocalFits:
    """
    Quadrics fitted around query points.

    :param centres: The quadric's point above each query point, (n, 3).
    :param normals: Its unit normal there, of arbitrary sign, (n, 3).
    :param errors: Standard error of the centres along the normals, (n,).
    :param residuals: Standard deviation of the neighbours from the quadric, (n,).
    """

    centres: Points
    normals: Points
    errors: Floats
    residuals: Floats


def fit_surface(
    cloud: Points,
    queries: Points,
    keys: tuple[Floats, Floats] | None = None,
    most: int = COUNTS[-1],
    means: Means | None = None,
) -> LocalFits:
    """
    Fit a quadric around each query point, to the number of neighbours of the least risk.

    :param cloud: (n, 3), n >= 7.
    :param queries: (m, 3), near the cloud.
    :param keys: By what neighbours are found, of the cloud, (n, d), and of the query points, (m, d). None for
           where they are, and then each one is first moved to the mean of its nearest neighbours.
    :param most: No neighbourhoods larger than this are tried.
    :param means: What the points of the cloud are the means of; None if they are points.
    :return: The fits, m of them.
    """
    keys_of_cloud, keys_of_queries = (cloud, queries) if keys is None else keys
    coordinates = np.ascontiguousarray(cloud.T)
    tree = cKDTree(keys_of_cloud, leafsize=LEAF)
    most = min(most, len(cloud))
    counts = [count for count in COUNTS if smallest_count(cloud) <= count <= most] or [most]

    def fit(rows: NDArray[np.int64]) -> list[LocalFits]:
        middles = queries[rows]
        reach, found = neighbours(tree, keys_of_queries[rows], counts[-1])
        members = np.moveaxis(coordinates[:, found], 0, 2)
        own = None if means is None else means[found]
        if keys is None:
            near = _weights(reach[:, : counts[0]], None if own is None else own[:, : counts[0]])
            middles = _middles(members[:, : counts[0]], near)
        else:
            reach = np.linalg.norm(members - middles[:, None], axis=2)
        return [
            fit_quadrics(middles, members[:, :count], reach[:, :count], None if own is None else own[:, :count])
            for count in counts
        ]

    parts = mapped(fit, np.array_split(np.arange(len(queries)), len(queries) // CHUNK + 1))
    fits = [_joined(sizes) for sizes in zip(*parts, strict=True)]
    nearby = neighbours(cKDTree(keys_of_queries), keys_of_queries, min(NEARBY, len(queries)))[1]
    return _of_least_risk(fits, nearby)


def smallest_count(cloud: Points) -> int:
    """
    Size of the smallest neighbourhoods that are tried.

    :param cloud: (n, 3).
    :return: At most n.
    """
    return min(COUNTS[0] if len(cloud) < FEW else COUNTS[1], len(cloud))


def fit_quadrics(queries: Points, members: Points, reach: Floats, means: Means | None = None) -> LocalFits:
    """
    Fit one quadric to the neighbours of each query point.

    :param queries: (m, 3).
    :param members: The neighbours of each, (m, k, 3), k >= 7; soonest if each coordinate lies together in memory.
    :param reach: Their distances, (m, k).
    :param means: What they are the means of, (m, k); None if they are points.
    :return: The fits.
    """
    radius = np.maximum(reach.max(axis=1, keepdims=True), 1e-12)  # of a point and its rounding errors
    near = _weights(reach, means)
    middles = _middles(members, near)
    near = near.astype(np.float32)
    offsets = np.empty((len(near), 3, near.shape[1]), np.float32)
    np.subtract(members.transpose(0, 2, 1), middles[:, :, None], out=offsets, casting="same_kind")
    offsets /= radius[:, :, None].astype(np.float32)
    covariances = np.matmul(near[:, None] * offsets, offsets.transpose(0, 2, 1))
    axes = np.linalg.eigh(covariances.astype(np.float64))[1]
    design = np.empty((len(near), 7, near.shape[1]), np.float32)
    np.matmul(axes.transpose(0, 2, 1).astype(np.float32), offsets, out=design[:, :3])
    _complete(design)
    solution, normal_matrix, weighted, sigma = _robust_least_squares(near, design)
    at = np.empty((len(near), 7, 1))
    at[:, :3] = np.matmul(axes.transpose(0, 2, 1), ((queries - middles) / radius)[:, :, None])
    _complete(at)
    spread = np.matmul(np.linalg.solve(normal_matrix, at[:, 1:]).transpose(0, 2, 1).astype(np.float32), weighted)[:, 0]
    deviations = sigma * radius[:, 0]
    u, v = at[:, 1, 0], at[:, 2, 0]
    b, c, _, d, e, f = np.moveaxis(solution, 1, 0)
    height = np.einsum("mi,mi->m", at[:, 1:, 0], solution)
    upward = np.stack([np.ones_like(height), -(b + 2 * d * u + e * v), -(c + e * u + 2 * f * v)], axis=1)
    upward /= np.linalg.norm(upward, axis=1, keepdims=True)
    return LocalFits(
        middles + np.matmul(axes, (np.stack([height, u, v], axis=1) * radius)[:, :, None])[:, :, 0],
        np.matmul(axes, upward[:, :, None])[:, :, 0],
        _standard_errors(spread, deviations, means),
        deviations,
    )


def _robust_least_squares(near: _Array, design: _Array) -> tuple[Floats, Floats, _Array, Floats]:
    """
    Fit heights by the monomials below them in (m, 7, k), with weights (m, k): the coefficients, (m, 6), the normal
    matrices and the weighted monomials of the last round, (m, 6, 6) and (m, 6, k), and the residuals' deviation, (m,).
    """
    heights, monomials = design[:, 0], design[:, 1:]
    weights, weighted = near, np.empty_like(monomials)
    for round_ in range(1 + REWEIGHTINGS):
        np.multiply(weights[:, None], monomials, out=weighted)
        moments = np.matmul(weighted, design.transpose(0, 2, 1)).astype(np.float64)
        normal_matrix = moments[:, :, 1:] + RIDGE * np.eye(6)
        solution = np.linalg.solve(normal_matrix, moments[:, :, :1])
        if round_ == REWEIGHTINGS:
            break
        squares = np.matmul(solution.transpose(0, 2, 1).astype(np.float32), monomials)[:, 0]
        squares -= heights
        squares *= squares
        if round_ == 0:
            total = near.sum(axis=1)
            effective = total**2 / _products(near, near)
            freedom = effective / np.maximum(effective - 6, 1)
            variance = _products(near, squares) / total * freedom
        squares /= np.maximum(variance, 1e-24)[:, None]
        squares += 1
        weights = near / squares
    return solution[:, :, 0], normal_matrix, weighted, np.sqrt(variance).astype(np.float64)


def _complete(design: _Array) -> None:
    """Fill in the monomials 1, u^2, u v, v^2 below h, u, v, in (m, 7, k)."""
    u, v = design[:, 1], design[:, 2]
    design[:, 3] = 1
    np.multiply(u, u, out=design[:, 4])
    np.multiply(u, v, out=design[:, 5])
    np.multiply(v, v, out=design[:, 6])


def _products(left: _Array, right: _Array) -> _Array:
    products: _Array = np.einsum("mk,mk->m", left, right)
    return products


def _weights(reach: Floats, means: Means | None) -> Floats:
    near: Floats = np.exp(-2 * (reach / np.maximum(reach.max(axis=1, keepdims=True), 1e-300)) ** 2)
    return near if means is None else near * means.counts


def _standard_errors(spread: _Array, deviations: Floats, means: Means | None) -> Floats:
    """Those of sums of the members' heights, (m,), which deviate from the quadric by so much, (m,)."""
    if means is None:
        return np.asarray(np.sqrt(_products(spread, spread)) * deviations, dtype=np.float64)
    by_chance = np.einsum("mk,mk->m", spread**2, 1 / means.counts) * deviations**2
    in_common = _products(spread, spread) * np.minimum(deviations, LATTICE * means.side) ** 2
    return np.asarray(np.sqrt(by_chance + in_common), dtype=np.float64)


def _middles(members: Points, weights: Floats) -> Points:
    middles: Points = np.einsum("mk,mki->mi", weights / weights.sum(axis=1, keepdims=True), members)
    return middles


def _of_least_risk(fits: list[LocalFits], nearby: NDArray[np.int64]) -> LocalFits:
    """Of fits to neighbourhoods of growing size, at each query point that of the least risk; those nearby, (m, k)."""
    risks = [_mean(fits[0].errors ** 2, nearby)]
    left = np.zeros(len(nearby))
    for smaller, larger in pairwise(fits):
        differences = np.einsum("mi,mi->m", larger.centres - smaller.centres, larger.normals)
        biases = _mean(differences**2 - smaller.errors**2 + larger.errors**2, nearby).clip(min=0)
        left[larger.residuals > SUDDEN * smaller.residuals] = np.inf
        risks.append(CAUTION * (GROWTH / (GROWTH - 1)) ** 2 * biases + _mean(larger.errors**2, nearby) + left)
    chosen, rows = np.argmin(risks, axis=0), np.arange(len(nearby))
    return LocalFits(*(np.stack(column)[chosen, rows] for column in zip(*map(_columns, fits), strict=True)))


def _mean(values: Floats, nearby: NDArray[np.int64]) -> Floats:
    means: Floats = values[nearby].mean(axis=1)
    return means


def _joined(fits: Iterable[LocalFits]) -> LocalFits:
    return LocalFits(*map(np.concatenate, zip(*map(_columns, fits), strict=True)))


def _columns(fits: LocalFits) -> tuple[NDArray[np.float64], ...]:
    return fits.centres, fits.normals, fits.errors, fits.residuals
