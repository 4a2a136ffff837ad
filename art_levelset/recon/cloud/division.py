"""
Space cut into cells with about as many points of a cloud in each: a k-d division.

A cell is cut at right angles to the longest side of the box around its points. Cells are half open, so every point of
space is in just one of them, and the outer ones have no end: some of their faces are at infinity.
"""

from __future__ import annotations

import numpy as np

from art_levelset.recon.cloud.clouds import Points


def divide(points: Points, number: int) -> tuple[Points, Points]:
    """
    Cut space into cells.

    :param points: The points to share, (n, 3), n >= `number`, distinct.
    :param number: How many cells, >= 1.
    :return: The corners of the cells with the smallest coordinates and the opposite ones, (number, 3) each: those at
             infinity are infinite. A point x is in the cell that has low <= x < high.
    :raises ValueError: If there are more cells than points.
    """
    if number > len(points):
        raise ValueError(f"number must be at most that of the points, got {number} for {len(points)}")
    low, high = np.full((number, 3), -np.inf), np.full((number, 3), np.inf)
    waiting = [(points, 0, number)]
    while waiting:
        inner, first, last = waiting.pop()
        if last - first == 1:
            continue
        middle = first + (last - first) // 2
        axis = int(np.ptp(inner, axis=0).argmax())
        place = _place(np.sort(inner[:, axis]), (middle - first) / (last - first))
        high[first:middle, axis] = low[middle:last, axis] = place
        below = inner[:, axis] < place
        waiting += [(inner[below], first, middle), (inner[~below], middle, last)]
    return low, high


def _place(sorted_values: Points, part: float) -> float:
    """Between two different numbers, with about that part of all below."""
    gaps = np.flatnonzero(np.diff(sorted_values) > 0) + 1
    nearest = gaps[np.abs(gaps - part * len(sorted_values)).argmin()]
    return float(sorted_values[nearest])
