"""Polylines: ordered points, joined by segments to a closed or an open line; what is near to them; their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.files import write_bytes
from art_levelset.recon.cloud.clouds import Points, neighbours

CANDIDATES = 2
FEWEST_SAMPLES = 1000

SUFFIXES = (".ply", ".obj", ".csv")


@dataclass(frozen=True, eq=False)
class Polyline:
    """
    Points joined in their order.

    :param points: (m, 3), m >= 2; a closed line does not repeat its first point.
    :param closed: Whether the last point is joined to the first.
    """

    points: Points
    closed: bool

    def __len__(self) -> int:
        return len(self.points)

    @property
    def chain(self) -> Points:
        """The points, the first one once more at the end if the line is closed, (m, 3) or (m + 1, 3)."""
        return np.concatenate([self.points, self.points[:1]]) if self.closed else self.points

    @property
    def parameters(self) -> NDArray[np.float64]:
        """The length of the line up to each point of the chain."""
        steps = np.linalg.norm(np.diff(self.chain, axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def length(self) -> float:
        """The length of the line."""
        return float(self.parameters[-1])

    @property
    def tangents(self) -> Points:
        """Unit vectors from the point before each point to the one after it, (m, 3)."""
        if self.closed:
            across = np.roll(self.points, -1, axis=0) - np.roll(self.points, 1, axis=0)
        else:
            across = np.gradient(self.points, axis=0)
        return np.asarray(across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300))

    def at(self, parameters: NDArray[np.float64]) -> Points:
        """
        Points of the line.

        :param parameters: Lengths from the first point, (n,); modulo the length on a closed line, clipped on an open.
        :return: (n, 3).
        """
        known = self.parameters
        wanted = np.mod(parameters, known[-1]) if self.closed else parameters
        return np.stack([np.interp(wanted, known, column) for column in self.chain.T], axis=1)

    def resampled(self, spacing: float) -> Polyline:
        """
        The line through points in equal distances along this one.

        :param spacing: The largest distance along the line between neighbours, > 0.
        :return: The line; the ends of an open one are kept.
        """
        count = max(int(np.ceil(self.length / spacing)), 3)
        even = np.linspace(0, self.length, count + 1)
        return Polyline(self.at(even[:-1] if self.closed else even), self.closed)

    def part(self, start: float, end: float) -> Polyline:
        """
        A part of the line.

        :param start: Where it begins, a parameter.
        :param end: Where it ends, more than `start`; on a closed line at most one round further.
        :return: The open line between them.
        """
        known = self.parameters
        if self.closed:
            known = np.concatenate([known[:-1], known[:-1] + known[-1], known[:-1] + 2 * known[-1]])
            start, end = np.mod(start, self.length), np.mod(start, self.length) + end - start
        inner = known[(known > start) & (known < end)]
        return Polyline(self.at(np.concatenate([[start], inner, [end]])), False)

    def project(self, points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """
        The nearest points of the line.

        :param points: (n, 3).
        :return: Their parameters, (n,), and their distances d, (n,). Only the segments at the nearest of samples of the
                 line are tried, its vertices and others s apart, s at most a thousandth of its length: where two
                 strands are nearly equally near, d^2 can be too large by s^2 / 4.
        """
        chain, known = self.chain, self.parameters
        count = max(2 * len(self), FEWEST_SAMPLES)
        samples = np.union1d(known, known[-1] / count * (np.arange(count) + 0.5))
        owners = np.searchsorted(known, samples[:-1], side="right") - 1
        owners = np.append(owners, len(chain) - 2)  # the last sample is the last vertex
        nearest = neighbours(cKDTree(self.at(samples)), points, CANDIDATES)[1]
        best, found = np.full(len(points), np.inf), np.zeros(len(points))
        for column in nearest.T:
            for shift in (-1, 0, 1):
                first = owners[column] + shift
                first = np.mod(first, len(chain) - 1) if self.closed else np.clip(first, 0, len(chain) - 2)
                start, direction = chain[first], chain[first + 1] - chain[first]
                squared = np.maximum((direction**2).sum(axis=1), 1e-300)
                part = np.clip(((points - start) * direction).sum(axis=1) / squared, 0.0, 1.0)
                distance = np.linalg.norm(points - start - part[:, None] * direction, axis=1)
                better = distance < best
                best[better] = distance[better]
                found[better] = (known[first] + part * (known[first + 1] - known[first]))[better]
        return found, best


def spread(points: Points, distance: float) -> NDArray[np.int64]:
    """
    Choose points that are further than a distance from each other, and within it of all others.

    :param points: (n, 3).
    :param distance: The distance, > 0.
    :return: The indices of the chosen ones.
    """
    chosen: list[int] = []
    if len(points):
        near = cKDTree(points).query_ball_point(points, distance)
        left = np.ones(len(points), dtype=bool)
        for index in range(len(points)):
            if left[index]:
                chosen.append(index)
                left[near[index]] = False
    return np.array(chosen, dtype=np.int64)


def distance_to(points: Points, curves: Sequence[Polyline]) -> NDArray[np.float64]:
    """
    The distance to the nearest of several polylines.

    :param points: (n, 3).
    :param curves: The polylines.
    :return: (n,).
    """
    return np.asarray(np.min([curve.project(points)[1] for curve in curves], axis=0))


def write_polylines(lines: Sequence[Polyline], path: str | Path) -> None:
    """
    Write lines in the format that the file's suffix names, without rounding.

    A `.ply` file has the vertices (double) and the edges between them; an `.obj` file one `l` element a line, closed
    ones ending where they begin; a `.csv` file the columns piece, closed (0 or 1), s, x, y, z, with s the length along
    the piece up to the vertex.

    :param lines: The lines.
    :param path: The file; its directory exists.
    :raises ValueError: If the suffix is another.
    :raises OSError: If the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"cannot write lines as {path.suffix!r}, use {', '.join(SUFFIXES)}")
    write_bytes({".ply": _ply, ".obj": _obj, ".csv": _csv}[path.suffix.lower()](lines), path)


def _ply(lines: Sequence[Polyline]) -> bytes:
    vertices = np.concatenate([np.zeros((0, 3)), *(line.points for line in lines)])
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    first = 0
    for line in lines:
        here = np.arange(len(line))
        after = np.roll(here, -1)
        ends = np.stack([here, after], axis=1)
        pairs.append(first + (ends if line.closed else ends[:-1]))
        first += len(line)
    edges = np.concatenate(pairs)
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\nproperty double x\nproperty double y\nproperty double z\n"
        f"element edge {len(edges)}\nproperty int vertex1\nproperty int vertex2\nend_header\n"
    )
    return header.encode("ascii") + vertices.astype("<f8").tobytes() + edges.astype("<i4").tobytes()


def _obj(lines: Sequence[Polyline]) -> bytes:
    rows = [f"v {_numbers(point, ' ')}" for line in lines for point in line.points]
    first = 1
    for line in lines:
        indices = [*range(first, first + len(line)), *([first] if line.closed else [])]
        rows.append("l " + " ".join(map(str, indices)))
        first += len(line)
    return ("\n".join(rows) + "\n").encode("ascii")


def _csv(lines: Sequence[Polyline]) -> bytes:
    rows = ["piece,closed,s,x,y,z"]
    for number, line in enumerate(lines):
        for length, point in zip(line.parameters, line.points, strict=False):
            rows.append(f"{number},{int(line.closed)},{float(length)!r},{_numbers(point, ',')}")
    return ("\n".join(rows) + "\n").encode("ascii")


def _numbers(point: Points, separator: str) -> str:
    return separator.join(repr(float(number)) for number in point)
