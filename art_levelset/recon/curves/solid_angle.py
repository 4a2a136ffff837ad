"""
The solid angle that closed curves subtend, and the field that winds around them.

The solid angle omega(x) of a closed curve is a function of x that is defined modulo 4 pi, smooth off the curve, and
grows by 4 pi on a loop that links the curve once: it is the potential of the curve's Biot-Savart field. So

    F(x) = R(r) (cos(omega / 2), sin(omega / 2)),      r = the distance to the curve,

is a smooth map off the curve that winds once around it; for a link, omega is the sum over its components. Polygons are
fans of triangles a, b, c (seen from x), each of which contributes (van Oosterom and Strackee)

    tan(omega / 2) = det(a, b, c) / (|a||b||c| + (a.b)|c| + (b.c)|a| + (c.a)|b|).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves.polylines import Polyline

CHUNK = 1 << 19
"""Triangles that are evaluated at once."""

ASIDE = np.array([0.0717, 0.1133, 0.1571])


def half_solid_angle(places: Points, curves: Sequence[Polyline]) -> NDArray[np.float64]:
    """
    Half of the solid angle of closed polygons, summed over them.

    :param places: x, (n, 3), not on a curve.
    :param curves: The polygons; their orientation gives the sign.
    :return: omega / 2, (n,), right modulo 2 pi.
    """
    total = np.zeros(len(places))
    for curve in curves:
        per_chunk = max(CHUNK // len(curve), 1)
        for start in range(0, len(places), per_chunk):
            part = slice(start, start + per_chunk)
            total[part] += _half_of_polygon(places[part], curve.points)
    return total


def winding_field(places: Points, curves: Sequence[Polyline], saturation: float) -> Points:
    """
    The field of this module, with R(r) = saturation * tanh(r / saturation).

    :param places: x, (n, 3).
    :param curves: Closed polygons.
    :param saturation: |F| far from the curves, > 0.
    :return: F, (n, 2).
    """
    omega = half_solid_angle(places, curves)
    size = saturation * np.tanh(distance_to(places, curves) / saturation)
    return np.stack([size * np.cos(omega), size * np.sin(omega)], axis=1)


def distance_to(places: Points, curves: Sequence[Polyline]) -> NDArray[np.float64]:
    """
    The distance to the nearest of several polylines.

    :param places: (n, 3).
    :param curves: The polylines.
    :return: (n,).
    """
    return np.asarray(np.min([curve.project(places)[1] for curve in curves], axis=0))


def _half_of_polygon(places: Points, polygon: Points) -> NDArray[np.float64]:
    """The fan's apex is beside the centre, which may be special: on an edge of the fan the formula is 0 / 0."""
    centre = polygon.mean(axis=0) + polygon.std() * ASIDE - places  # (n, 3)
    corners = polygon[None] - places[:, None]  # (n, m, 3)
    lengths = np.linalg.norm(corners, axis=2)
    apex = np.linalg.norm(centre, axis=1)
    next_corners, next_lengths = np.roll(corners, -1, axis=1), np.roll(lengths, -1, axis=1)
    with_centre = np.einsum("nmi,ni->nm", corners, centre)
    volume = np.einsum("nmi,ni->nm", np.cross(corners, next_corners), centre)
    denominator = (
        apex[:, None] * lengths * next_lengths
        + np.einsum("nmi,nmi->nm", corners, next_corners) * apex[:, None]
        + with_centre * next_lengths
        + np.roll(with_centre, -1, axis=1) * lengths
    )
    angles: NDArray[np.float64] = np.arctan2(volume, denominator).sum(axis=1)
    return angles
