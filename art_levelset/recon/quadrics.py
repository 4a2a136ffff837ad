"""
Points and normals of the surface behind a noisy cloud: local quadrics over neighbourhoods as large as the data allow.

Around a place, the neighbours' heights over their principal plane are fitted by a quadratic polynomial h(u, v), by
weighted least squares and then, so that points of another sheet or strays do not count, by two more rounds with the
weights divided by 1 + (residual / sigma)^2. h at the place is a point of the surface, with a standard error s that
falls with the number of neighbours, and a bias b that grows with it.

How many neighbours, of a few numbers that double, is decided place by place by an estimate of the risk 2 b^2 + s^2, in
the manner of Mallows' C_p; b^2 counts twice, for F averages the errors of planes further, but not the bias that they
share. With the next smaller number, marked ', the height differs by

    E(h - h')^2 = (b - b')^2 + s'^2 - s^2,        b' = b / 4,

for the bias of a quadric grows with the fourth power of its radius. A single difference is mostly noise, so their
squares are averaged over the places nearby:

    risk = 2 (4/3)^2 (mean (h - h')^2 - mean (s'^2 - s^2))_+ + mean s^2.

Where the residuals grow suddenly, a neighbourhood has reached another sheet or over an edge, and no larger one counts.

| Paper link: https://doi.org/10.1080/00401706.1973.10489103 (Mallows, 1973)
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon.clouds import Points, neighbours

Floats = NDArray[np.float64]

COUNTS = 12, 24, 48, 96, 192, 384
"""Sizes of the neighbourhoods that are tried."""

FEW = 10_000
"""Only in clouds of fewer points is the first of them tried: it is noisy, but 24 would be too much of a thin limb."""

NEARBY = 32
"""Risks are averaged over so many places."""

GROWTH = 4.0
"""b / b'."""

SUDDEN = 1.6
"""The residuals may grow by this factor from one size to the next."""

CAUTION = 2.0
"""How often b^2 counts in the risk."""

REWEIGHTINGS = 2
RIDGE = 1e-6
CHUNK = 1 << 8
"""So many places at once: their neighbourhoods fit into a processor's cache."""


@dataclass(frozen=True, eq=False)
class LocalFits:
    """
    Quadrics fitted around places.

    :param centres: The quadric's point above each place, (n, 3).
    :param normals: Its unit normal there, of arbitrary sign, (n, 3).
    :param errors: Standard error of the centres along the normals, (n,).
    :param residuals: Standard deviation of the neighbours from the quadric, (n,).
    """

    centres: Points
    normals: Points
    errors: Floats
    residuals: Floats


def fit_surface(cloud: Points, places: Points, keys: tuple[Floats, Floats] | None = None) -> LocalFits:
    """
    Fit a quadric around each place, to the number of neighbours of the least risk.

    :param cloud: (n, 3), n >= 7.
    :param places: (m, 3), near the cloud.
    :param keys: By what neighbours are found, of the cloud, (n, d), and of the places, (m, d). None for where they are,
           and then each place is first moved to the mean of its nearest neighbours.
    :return: The fits, m of them.
    """
    keys_of_cloud, keys_of_places = (cloud, places) if keys is None else keys
    tree = cKDTree(keys_of_cloud)
    counts = [count for count in COUNTS if smallest_count(cloud) <= count <= len(cloud)] or [len(cloud)]

    def fit(rows: NDArray[np.int64]) -> list[LocalFits]:
        middles = places[rows]
        reach, found = neighbours(tree, keys_of_places[rows], counts[-1])
        if keys is None:
            middles = _middles(cloud[found[:, : counts[0]]], _nearness(reach[:, : counts[0]]))
        else:
            reach = np.linalg.norm(cloud[found] - middles[:, None], axis=2)
        return [fit_quadrics(middles, cloud[found[:, :count]], reach[:, :count]) for count in counts]

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # numpy computes without the interpreter's lock
        parts = list(threads.map(fit, np.array_split(np.arange(len(places)), len(places) // CHUNK + 1)))
    fits = [_joined(sizes) for sizes in zip(*parts, strict=True)]
    nearby = neighbours(cKDTree(keys_of_places), keys_of_places, min(NEARBY, len(places)))[1]
    return _of_least_risk(fits, nearby)


def smallest_count(cloud: Points) -> int:
    """
    Size of the smallest neighbourhoods that are tried.

    :param cloud: (n, 3).
    :return: At most n.
    """
    return min(COUNTS[0] if len(cloud) < FEW else COUNTS[1], len(cloud))


def fit_quadrics(places: Points, members: Points, reach: Floats) -> LocalFits:
    """
    Fit one quadric to the neighbours of each place.

    :param places: (m, 3).
    :param members: The neighbours of each, (m, k, 3), k >= 7.
    :param reach: Their distances, (m, k).
    :return: The fits.
    """
    radius = np.maximum(reach.max(axis=1, keepdims=True), 1e-300)
    near = _nearness(reach)
    middles = _middles(members, near)
    offsets = members - middles[:, None]
    covariances = np.matmul((near[:, :, None] * offsets).transpose(0, 2, 1), offsets)
    axes = np.linalg.eigh(covariances)[1]
    heights, u, v = np.moveaxis(np.matmul(offsets, axes) / radius[:, :, None], 2, 0)
    here = np.matmul((places - middles)[:, None], axes)[:, 0] / radius
    design = _monomials(u, v)
    weights = near
    for round_ in range(1 + REWEIGHTINGS):
        weighted = weights[:, :, None] * design
        moments = np.matmul(weighted.transpose(0, 2, 1), design) + RIDGE * np.eye(6)
        solution = np.linalg.solve(moments, np.matmul(weighted.transpose(0, 2, 1), heights[:, :, None]))
        errors = heights - np.matmul(design, solution)[:, :, 0]
        if round_ == 0:
            effective = weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1)
            freedom = effective / np.maximum(effective - 6, 1)
            sigma = np.sqrt((weights * errors**2).sum(axis=1) / weights.sum(axis=1) * freedom)[:, None]
        if round_ < REWEIGHTINGS:
            weights = near / (1 + (errors / np.maximum(sigma, 1e-12)) ** 2)
    at = _monomials(here[:, 1:2], here[:, 2:3])[:, 0]
    lever = np.linalg.solve(moments, at[:, :, None])
    spread = np.sqrt((np.matmul(weighted, lever)[:, :, 0] ** 2).sum(axis=1))
    a, b, c, d, e, f = np.moveaxis(solution[:, :, 0], 1, 0)
    height = np.einsum("mi,mi->m", at, solution[:, :, 0])
    slope_u, slope_v = b + 2 * d * here[:, 1] + e * here[:, 2], c + e * here[:, 1] + 2 * f * here[:, 2]
    local = np.stack([height, here[:, 1], here[:, 2]], axis=1) * radius
    upward = np.stack([np.ones_like(a), -slope_u, -slope_v], axis=1)
    upward /= np.linalg.norm(upward, axis=1, keepdims=True)
    return LocalFits(
        middles + np.matmul(axes, local[:, :, None])[:, :, 0],
        np.matmul(axes, upward[:, :, None])[:, :, 0],
        spread * (sigma * radius)[:, 0],
        (sigma * radius)[:, 0],
    )


def _nearness(reach: Floats) -> Floats:
    near: Floats = np.exp(-2 * (reach / np.maximum(reach.max(axis=1, keepdims=True), 1e-300)) ** 2)
    return near


def _middles(members: Points, weights: Floats) -> Points:
    middles: Points = np.einsum("mk,mki->mi", weights / weights.sum(axis=1, keepdims=True), members)
    return middles


def _monomials(u: Floats, v: Floats) -> Floats:
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=2)


def _of_least_risk(fits: list[LocalFits], nearby: NDArray[np.int64]) -> LocalFits:
    """Of fits to neighbourhoods of growing size, at each place that of the least risk; places nearby, (m, k)."""
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
