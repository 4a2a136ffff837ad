"""
Averaged targets: the principal curve of a cloud as a penalised cubic spline.

With t_j the parameter of the point of the present curve that is nearest to x_j, the next curve minimises

    sum_j w_j |x_j - c(t_j)|^2 + mu * sum_k |third difference of c's coefficients|^2.

mu is the one of least generalised cross-validation, n RSS / (n - GAMMA tr H)^2, so the noise is averaged over as much
of the curve as its bends allow; w_j are Huber's weights. Where there are no data the penalty alone continues the curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.linalg import eigh
from scipy.sparse import csr_matrix

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves.polylines import Polyline

DEGREE = 3
PENALISED = 3
KNOT_SPACING = 1.0
"""Distance of the knots in radii of the neighbourhoods."""

MOST_KNOTS = 400
GAMMA = 1.4
PENALTIES = np.logspace(-6, 6, 49)
ROUNDS = 6
LONGEST = 2.0
"""A curve that has become longer than that many times the rough one is folding up, and is not followed further."""

ROBUST_ROUNDS = 2
HUBER = 2.0
EXACT = 1e-9
"""Less noise than that, in the unit frame, is none."""

SAMPLES = 8
"""Vertices of the curve between two knots."""


@dataclass(frozen=True, eq=False)
class PrincipalCurve:
    """
    A principal curve.

    :param line: The curve as a fine polyline.
    :param noise: The standard deviation of the cloud around it, in each of the two directions across.
    """

    line: Polyline
    noise: float


def principal_curve(cloud: Points, line: Polyline, radius: float) -> PrincipalCurve:
    """
    Refine a rough curve until it is the average of the cloud.

    :param cloud: The points that belong to the curve, (n, 3).
    :param line: The rough curve.
    :param radius: The radius of the neighbourhoods in which the cloud looks like a line.
    :return: The curve.
    """
    longest = LONGEST * line.length
    noise = 0.0
    for _ in range(ROUNDS):
        known = line if line.closed else _extended(line, radius)
        parameters = known.project(cloud)[0]
        if known.closed:
            low, high = 0.0, known.length
        else:
            low, high = float(parameters.min()), float(parameters.max())
        count = int(np.clip(np.ceil((high - low) / (KNOT_SPACING * radius)), 8, MOST_KNOTS))
        basis = _Basis(low, high, count, known.closed)
        coefficients, noise = _fit(basis, parameters, cloud)
        even = np.linspace(low, high, SAMPLES * count + 1)
        next_line = Polyline(basis.at(even[:-1] if known.closed else even) @ coefficients, known.closed)
        if next_line.length > longest:
            break
        line = next_line
    return PrincipalCurve(line, noise)


class _Basis:
    """Cubic B-splines with equidistant knots on [low, high], periodic on a closed curve."""

    def __init__(self, low: float, high: float, count: int, periodic: bool) -> None:
        self._step = (high - low) / count
        self._knots = low + self._step * np.arange(-DEGREE, count + DEGREE + 1)
        self._low, self._high = low, high
        self._periodic = periodic
        self.size = count if periodic else count + DEGREE

    def at(self, parameters: NDArray[np.float64]) -> csr_matrix:
        """The values of the basis functions, (n, size)."""
        # Rounding may put the ends of the interval outside of the knots.
        matrix = BSpline.design_matrix(
            np.clip(parameters, self._low, self._high), self._knots, DEGREE, extrapolate=True
        )
        columns = matrix.indices % self.size if self._periodic else matrix.indices
        return csr_matrix((matrix.data, columns, matrix.indptr), shape=(len(parameters), self.size))

    def penalty(self) -> NDArray[np.float64]:
        """The quadratic form of the squared differences of the coefficients."""
        identity = np.eye(self.size)
        if self._periodic:
            differences = identity
            for _ in range(PENALISED):
                differences = np.roll(differences, -1, axis=0) - differences
        else:
            differences = np.diff(identity, PENALISED, axis=0)
        return np.asarray(differences.T @ differences)


def _fit(basis: _Basis, parameters: NDArray[np.float64], cloud: Points) -> tuple[Points, float]:
    """The coefficients, (size, 3), and the noise."""
    design = basis.at(parameters)
    penalty = basis.penalty()
    weights = np.ones(len(cloud))
    for _ in range(ROBUST_ROUNDS + 1):
        weighted = csr_matrix(design.multiply(weights[:, None]))
        gram = np.asarray((design.T @ weighted).todense())
        moments = np.asarray(weighted.T @ cloud)
        # Both forms diagonal at once: gram + mu penalty = (scaled) identity + mu diag(roughness).
        ridge = 1e-9 * float(np.trace(gram)) / basis.size
        roughness, axes = eigh(penalty, gram + ridge * (np.eye(basis.size) + penalty))
        roughness = np.maximum(roughness, 0.0)
        loads = axes.T @ moments
        total = weights.sum()
        square = float((weights[:, None] * cloud**2).sum())
        shrink = 1 / (1 + PENALTIES[:, None] * roughness)
        left = square - 2 * (shrink @ (loads**2).sum(axis=1)) + (shrink**2) @ (loads**2).sum(axis=1)
        freedom = shrink.sum(axis=1)
        score = np.where(total > GAMMA * freedom, left / (total - GAMMA * freedom) ** 2, np.inf)
        best = int(np.argmin(score))
        coefficients = axes @ (shrink[best][:, None] * loads)
        distances = np.linalg.norm(cloud - design @ coefficients, axis=1)
        noise = float(np.median(distances)) / np.sqrt(2 * np.log(2))  # of a Rayleigh distribution
        weights = np.minimum(1.0, HUBER * max(noise, EXACT) / np.maximum(distances, EXACT))
    return coefficients, noise


def _extended(line: Polyline, by: float) -> Polyline:
    """The line, straight on at both of its ends."""
    back = line.at(np.array([0.0, min(by, line.length / 2), max(line.length - by, line.length / 2), line.length]))
    first, last = back[0] - back[1], back[3] - back[2]
    first, last = (by * v / max(np.linalg.norm(v), 1e-300) for v in (first, last))
    return Polyline(np.concatenate([[back[0] + first], line.points, [back[3] + last]]), False)
