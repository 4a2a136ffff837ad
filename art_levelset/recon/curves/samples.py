"""
Where the loss is evaluated: on the zero set, at the cloud, and where F should be the field that winds around a curve.

The solid angle omega(x) of a closed curve is a function of x that is defined modulo 4 pi, smooth off the curve, and
grows by 4 pi on a loop that links the curve once: it is the potential of the curve's Biot-Savart field. So

    F(x) = R(r) (cos(omega / 2), sin(omega / 2)),      r = the distance to the curve,

is a smooth map off the curve that winds once around it; for a link, omega is the sum over its components. Polygons are
fans of triangles a, b, c (seen from x), each of which contributes (van Oosterom and Strackee)

    tan(omega / 2) = det(a, b, c) / (|a||b||c| + (a.b)|c| + (b.c)|a| + (c.a)|b|).

The right side is the slope of a complex number, and the numbers of all triangles, made 1 long, multiply to
exp(i omega / 2). The determinant is affine in x, and the products follow from the lengths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from art_levelset.recon.cloud.clouds import Points, neighbours
from art_levelset.recon.curves.loops import WALL, Loop
from art_levelset.recon.curves.polylines import Polyline, distance_to

STOCK = 4000
"""Number of points around the curves, and half as many anywhere, at which the winding field is known."""

NEAREST, FARTHEST = 0.005, 0.4
"""Distances of the points around the curves, log-uniform, in the unit frame."""

SATURATION = 0.25
EDGE = 0.02
"""Edges of the polygons whose solid angle is taken."""

FLOOR = 0.03
"""Errors of F count relative to the distance to the curve plus this."""

SPACING = 0.01
"""Distance of the targets in the unit frame."""

CHUNK = 1 << 16
"""Triangles that are evaluated at once: what is made of them fits into a processor's cache."""

ASIDE = np.array([0.0717, 0.1133, 0.1571])


class Samples:
    """
    Where the loss is evaluated.

    :param cloud: X, (n, 3), in the unit frame.
    :param loops: The closed curves.
    :param reach: How close to the curves the field is left to eq. 13.
    :param generator: Source of randomness, on the CPU.
    :param device: Where the tensors are.
    """

    def __init__(
        self, cloud: Points, loops: Sequence[Loop], reach: float, generator: torch.Generator, device: torch.device
    ) -> None:
        self._generator = generator
        self._device = device
        pieces = [loop.piece.resampled(SPACING) for loop in loops]
        targets = np.concatenate([piece.points for piece in pieces])
        self._tree = cKDTree(targets)
        self._targets = self._tensor(targets)
        self._tangents = self._tensor(np.concatenate([piece.tangents for piece in pieces]))
        self._jitter = min(reach / 4, SPACING)
        self._cloud = self._tensor(cloud)

        lines = [loop.line.resampled(SPACING) for loop in loops]
        on_lines = np.concatenate([line.points for line in lines])
        near = on_lines[self._rows(len(on_lines), STOCK).numpy()]
        directions = torch.randn(STOCK, 3, generator=generator).double().numpy()
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        radii = np.exp(self._uniform(STOCK, np.log(NEAREST), np.log(FARTHEST)))
        queries = np.concatenate([near + radii[:, None] * directions, self.anywhere(STOCK // 2)])
        distances = distance_to(queries, lines)
        values = winding_field(queries, [line.resampled(EDGE) for line in lines], SATURATION)
        self._queries, self._values = self._tensor(queries), self._tensor(values)
        self._weights = self._tensor(1 / (distances + FLOOR)).unsqueeze(1)
        self._far = torch.as_tensor(np.flatnonzero(distances > max(reach, EDGE)))

    def anywhere(self, count: int) -> Points:
        """Points of the box, (count, 3)."""
        return self._uniform(3 * count, -WALL, WALL).reshape(-1, 3)

    def winding(self, count: int, *, far: bool) -> tuple[Tensor, Tensor, Tensor]:
        """
        Where F should be the winding field.

        :param count: Number of points, n.
        :param far: Whether to leave out the neighbourhood of the curves.
        :return: The points, (n, 3), the field there, (n, 2), and the weights of its errors, (n, 1).
        """
        rows = self._far[self._rows(len(self._far), count)] if far else self._rows(len(self._queries), count)
        rows = rows.to(self._device)
        return self._queries[rows], self._values[rows], self._weights[rows]

    def field(self) -> tuple[Tensor, Tensor, Tensor]:
        """All points at which the winding field is known, as :meth:`winding` returns some of them."""
        return self._queries, self._values, self._weights

    def around_curve(self, count: int) -> Tensor:
        """Where the projection to the zero set starts, (count, 3)."""
        centres = self._targets[self._rows(len(self._targets), count).to(self._device)]
        return centres + self._jitter * torch.randn(count, 3, generator=self._generator).to(self._device)

    def of_cloud(self, count: int) -> Tensor:
        """Points of the cloud, (count, 3)."""
        return self._cloud[self._rows(len(self._cloud), count).to(self._device)]

    def distances(self, points: Tensor) -> Tensor:
        """d(x, X), (n,), to the tangents of the principal curves, differentiable in x."""
        targets, tangents = self.tangents(points)
        offsets = points - targets
        across = offsets - (offsets * tangents).sum(dim=1, keepdim=True) * tangents
        lengths: Tensor = torch.linalg.vector_norm(across, dim=1)
        return lengths

    def tangents(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest points of the principal curves, (n, 3), and the unit tangents there, (n, 3)."""
        nearest = neighbours(self._tree, points.detach().cpu().double().numpy(), 1)[1][:, 0]
        rows = torch.as_tensor(nearest, device=self._device)
        return self._targets[rows], self._tangents[rows]

    def _rows(self, size: int, count: int) -> Tensor:
        return torch.randint(size, (count,), generator=self._generator)

    def _uniform(self, count: int, low: float, high: float) -> Points:
        return low + (high - low) * torch.rand(count, generator=self._generator).double().numpy()

    def _tensor(self, array: Points) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self._device)


def half_solid_angle(queries: Points, curves: Sequence[Polyline]) -> NDArray[np.float64]:
    """
    Half of the solid angle of closed polygons, summed over them.

    :param queries: x, (n, 3), not on a curve.
    :param curves: The polygons; their orientation gives the sign.
    :return: omega / 2, (n,), in [-pi, pi]; it is defined modulo 2 pi.
    """
    return np.angle(_direction(queries, curves))


def winding_field(queries: Points, curves: Sequence[Polyline], saturation: float) -> Points:
    """
    The field of this module, with R(r) = saturation * tanh(r / saturation).

    :param queries: x, (n, 3).
    :param curves: Closed polygons.
    :param saturation: |F| far from the curves, > 0.
    :return: F, (n, 2).
    """
    field = saturation * np.tanh(distance_to(queries, curves) / saturation) * _direction(queries, curves)
    return np.stack([field.real, field.imag], axis=1)


def _direction(queries: Points, curves: Sequence[Polyline]) -> NDArray[np.complex128]:
    """exp(i omega / 2), (n,)."""
    total = np.ones(len(queries), dtype=np.complex128)
    for curve in curves:
        per_chunk = max(CHUNK // len(curve), 1)
        for start in range(0, len(queries), per_chunk):
            part = slice(start, start + per_chunk)
            total[part] *= _of_polygon(queries[part], curve.points)
    return total


def _of_polygon(queries: Points, polygon: Points) -> NDArray[np.complex128]:
    """The fan's apex is beside the centre, which may be special: on an edge of the fan the formula is 0 / 0."""
    apex = polygon.mean(axis=0) + polygon.std() * ASIDE
    following = np.roll(polygon, -1, axis=0)
    normals = np.cross(polygon - apex, following - apex)
    squares = (queries**2).sum(axis=1)[:, None] + (polygon**2).sum(axis=1) - 2 * queries @ polygon.T  # (n, m)
    lengths = np.sqrt(np.maximum(squares, 0))
    to_apex = np.linalg.norm(queries - apex, axis=1)[:, None]
    next_lengths = np.roll(lengths, -1, axis=1)
    with_apex = (squares + to_apex**2 - ((polygon - apex) ** 2).sum(axis=1)) / 2
    with_next = (squares + np.roll(squares, -1, axis=1) - ((polygon - following) ** 2).sum(axis=1)) / 2
    volume = (normals * apex).sum(axis=1) - queries @ normals.T
    product = to_apex * lengths * next_lengths + with_next * to_apex
    product += with_apex * next_lengths + np.roll(with_apex, -1, axis=1) * lengths
    numbers = product + 1j * volume
    numbers /= np.abs(numbers)
    directions: NDArray[np.complex128] = np.multiply.reduce(numbers, axis=1)
    return directions
