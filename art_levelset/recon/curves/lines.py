"""Moving least squares for curves: lines fitted to the neighbourhoods of points, by weighted principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points

MOST_POINTS = 6000
"""Of larger clouds a random part is looked at and ordered: more points would not change the order."""

QUERIES = 300
GROWTH = 1.25
FEWEST = 6
"""A neighbourhood of fewer points says nothing about a direction."""

LINEAR = 0.75
"""Neighbourhoods of this linearity have a direction; a larger radius would only cut the bends."""

NEARLY = 0.9
"""Where no radius is that linear, the smallest that is nearly as linear as the best."""


@dataclass(frozen=True, eq=False)
class Lines:
    """
    Lines fitted to neighbourhoods of a cloud.

    :param centres: A point on each line, (n, 3).
    :param directions: Unit directions of arbitrary sign, (n, 3).
    :param spectra: The variances of the neighbourhood along its principal axes, ascending, (n, 3).
    :param counts: Number of points in the neighbourhood, (n,).
    """

    centres: Points
    directions: Points
    spectra: Points
    counts: NDArray[np.int64]

    @property
    def linearity(self) -> NDArray[np.float64]:
        """The share of the variance that is along the line, (n,), from 1/3 (a ball) to 1."""
        return np.asarray(self.spectra[:, 2] / np.maximum(self.spectra.sum(axis=1), 1e-300))


def fit_lines(places: Points, cloud: Points, radius: float) -> Lines:
    """
    Fit a line to the points around each place, with the weights (1 - (distance / radius)^2)^2.

    :param places: (n, 3).
    :param cloud: (m, 3).
    :param radius: Radius of the neighbourhoods, > 0.
    :return: The lines; a place without neighbours is its own centre, with a spectrum of zeros.
    """
    pairs = cKDTree(places).sparse_distance_matrix(cKDTree(cloud), radius, output_type="ndarray")
    row, column = pairs["i"], pairs["j"]
    weights = (1 - (pairs["v"] / radius) ** 2) ** 2
    total = np.maximum(_sums(row, weights, len(places)), 1e-300)
    offsets = cloud[column] - places[row]
    shift = np.stack([_sums(row, weights * part, len(places)) for part in offsets.T], axis=1) / total[:, None]
    offsets -= shift[row]
    covariances = np.empty((len(places), 3, 3))
    for a in range(3):
        for b in range(a, 3):
            covariances[:, a, b] = _sums(row, weights * offsets[:, a] * offsets[:, b], len(places)) / total
            covariances[:, b, a] = covariances[:, a, b]
    spectra, axes = np.linalg.eigh(covariances)
    counts = np.bincount(row, minlength=len(places))
    return Lines(places + shift, axes[:, :, 2], np.maximum(spectra, 0.0), counts)


def onto_lines(points: Points, cloud: Points, radius: float, repeats: int) -> tuple[Points, Lines]:
    """
    Move points to the lines of their neighbourhoods, again and again: the moving least squares curve.

    :param points: (n, 3).
    :param cloud: (m, 3).
    :param radius: Radius of the neighbourhoods.
    :param repeats: How often, >= 1.
    :return: The moved points, (n, 3), and the last lines.
    """
    for _ in range(repeats):
        lines = fit_lines(points, cloud, radius)
        along = ((points - lines.centres) * lines.directions).sum(axis=1, keepdims=True)
        points = lines.centres + along * lines.directions
    return points, lines


def linear_radius(cloud: Points, generator: np.random.Generator) -> float:
    """
    The radius at which the neighbourhoods of a cloud look most like lines: wider than the noise, straighter than bends.

    :param cloud: (n, 3) in the unit frame.
    :param generator: Picks the neighbourhoods that are looked at.
    :return: The radius.
    """
    cloud = cloud[generator.permutation(len(cloud))[:MOST_POINTS]]
    places = cloud[:QUERIES]
    tree = cKDTree(cloud)
    reach = np.asarray(tree.query(places, k=[min(FEWEST, len(cloud))])[0])
    smallest = max(float(np.quantile(reach, 0.9)), 1e-6)
    radii = smallest * GROWTH ** np.arange(max(np.ceil(np.log(1.0 / smallest) / np.log(GROWTH)), 1))
    scores = np.zeros(len(radii))
    for index, radius in enumerate(radii):
        lines = fit_lines(places, cloud, float(radius))
        scores[index] = float(np.median(np.where(lines.counts >= FEWEST, lines.linearity, 0.0)))
        if scores[index] < 0.85 * scores.max():
            break  # far beyond the bends
    return float(radii[np.argmax(scores >= min(LINEAR, NEARLY * scores.max()))])


def _sums(row: NDArray[np.int64], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    return np.bincount(row, weights=values, minlength=size).astype(np.float64)
