"""
Points and normals of the surface behind a noisy cloud: local quadrics over neighbourhoods as large as the data allow.

Around a place, the neighbours' heights over their principal plane are fitted by a quadratic polynomial h(u, v), by
weighted least squares and then, so that points of another sheet or strays do not count, by two more rounds with the
weights divided by 1 + (residual / sigma)^2. h at the place is a point of the surface, with a standard error s that
falls with the number of neighbours, and a bias that grows with it.

How many neighbours is decided place by place by Lepski's rule: the largest number k, of a few, such that the heights
with fewer neighbours, j < k, differ from that with k by no more than noise explains, |h_k - h_j| <= 3 sqrt(s_j^2 -
s_k^2), and such that the residuals do not grow suddenly, as they do when a neighbourhood reaches over a sharp edge.

| Paper link: https://doi.org/10.1137/1135065 (Lepski, 1991)
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon.clouds import Points, neighbours

Floats = NDArray[np.float64]

COUNTS = 12, 24, 48, 96, 192
"""Sizes of the neighbourhoods that are tried."""

FEW = 10_000
"""Only in clouds of fewer points is the first of them tried: it is noisy, but 24 would be too much of a thin limb."""

NOISE = 3.0
GROWTH = 1.6
"""The residuals may grow by this factor from one size to the next."""

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

    def __getitem__(self, rows: NDArray[np.bool_]) -> LocalFits:
        return LocalFits(self.centres[rows], self.normals[rows], self.errors[rows], self.residuals[rows])


def fit_surface(cloud: Points, places: Points, keys: tuple[Floats, Floats] | None = None) -> LocalFits:
    """
    Fit a quadric around each place, to as many neighbours as noise and shape suggest.

    :param cloud: (n, 3), n >= 7.
    :param places: (m, 3), near the cloud.
    :param keys: By what neighbours are found, of the cloud, (n, d), and of the places, (m, d). None for where they are,
           and then each place is first moved to the mean of its nearest neighbours.
    :return: The fits, m of them.
    """
    tree = cKDTree(cloud if keys is None else keys[0])
    counts = [count for count in COUNTS if smallest_count(cloud) <= count <= len(cloud)] or [len(cloud)]

    def fit(rows: NDArray[np.int64]) -> LocalFits:
        middles = places[rows]
        reach, found = neighbours(tree, middles if keys is None else keys[1][rows], counts[-1])
        if keys is None:
            middles = _middles(cloud[found[:, : counts[0]]], _nearness(reach[:, : counts[0]]))
        else:
            reach = np.linalg.norm(cloud[found] - middles[:, None], axis=2)
        return _largest_faithful(middles, cloud[found], reach, counts)

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # numpy computes without the interpreter's lock
        parts = threads.map(fit, np.array_split(np.arange(len(places)), len(places) // CHUNK + 1))
    return LocalFits(*(np.concatenate(column) for column in zip(*map(_columns, parts), strict=True)))


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


def _largest_faithful(places: Points, members: Points, reach: Floats, counts: list[int]) -> LocalFits:
    """The fits to the largest neighbourhoods that are faithful, as all smaller ones are."""
    rows = np.arange(len(places))
    fits = [fit_quadrics(places, members[:, : counts[0]], reach[:, : counts[0]])]
    chosen = [column.copy() for column in _columns(fits[0])]
    for count in counts[1:]:
        fits.append(fit_quadrics(places[rows], members[rows, :count], reach[rows, :count]))
        faithful = _is_faithful(places[rows], fits)
        rows, fits = rows[faithful], [fit[faithful] for fit in fits]
        for column, values in zip(chosen, _columns(fits[-1]), strict=True):
            column[rows] = values
    return LocalFits(*chosen)


def _is_faithful(places: Points, fits: list[LocalFits]) -> NDArray[np.bool_]:
    """Lepski's rule for the last of the fits to neighbourhoods of growing size."""
    normals = fits[1].normals
    heights = [np.einsum("mi,mi->m", fit.centres - places, normals) for fit in fits]
    faithful: NDArray[np.bool_] = fits[-1].residuals <= GROWTH * fits[-2].residuals
    for fit, height in zip(fits[:-1], heights, strict=False):
        noise = np.sqrt(np.maximum(fit.errors**2 - fits[-1].errors ** 2, 0))
        faithful &= np.abs(heights[-1] - height) <= NOISE * noise
    return faithful


def _columns(fits: LocalFits) -> tuple[NDArray[np.float64], ...]:
    return fits.centres, fits.normals, fits.errors, fits.residuals
