"""
The memory that a mesh will take, before it is made.

It grows with the cells that the surface crosses: about four times as many when the cells are half as large. How many
there are is counted at a resolution that takes no memory to speak of. The search for them starts from the corners of
all bricks of the grid, whether they are crossed or not; at very high resolutions these matter as well.
"""

from __future__ import annotations

import numpy as np

from art_levelset.memory import available, check_memory
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.meshing.bricks import CHUNK, SIDE, Function, Grid, crossed_bricks

COUNTED = 64
"""The resolution at which the crossed cells are counted."""

DENSE = 30.0
"""The crossed cells, in squares of the resolution, of a surface that would be unusual; the sides of the whole box have
6. Where there is memory for such a one nothing is counted."""

BASE = 40e6
"""Bytes that every mesh takes: the bricks that are worked on together."""

CELL = 250.0
"""Bytes that a crossed cell takes: in the search, as triangles, and while these are polished."""

POINT = 2600.0
"""Bytes that a point takes in the default network, with gradients: one of those that are evaluated together."""

CORNER = 180.0
"""Bytes that a corner of a brick takes."""


def needed(resolution: int, sides: Points, density: float, point: float = POINT) -> float:
    """
    The memory that a mesh takes.

    :param resolution: Number of grid cells along the longest side of the box.
    :param sides: The sides of the box, the longest one of which is 1, (3,).
    :param density: The number of cells that the surface crosses, divided by the square of the resolution.
    :param point: Bytes that a point takes where the function is evaluated.
    :return: Bytes.
    """
    corners = float(np.prod(sides * resolution / SIDE + 2))
    cells = density * resolution**2
    return BASE + CELL * cells + point * min(CHUNK, cells) + CORNER * corners


def check_resolution(
    function: Function, low: Points, high: Points, resolution: int, *, slope: float, point: float
) -> None:
    """
    Check that there is memory for a mesh.

    :param function: F, (n, 3) -> (n,).
    :param low: One corner of the box, (3,).
    :param high: The opposite corner, (3,).
    :param resolution: Number of grid cells along the longest side of the box, >= 8.
    :param slope: The largest slope |D_xF| to allow for, > 0.
    :param point: Bytes that a point takes where F is evaluated.
    :raises ValueError: If there is not: it says which resolution would fit.
    """
    longest = float((high - low).max())
    sides = (high - low) / longest
    if needed(resolution, sides, DENSE, point) <= available():
        return
    counted = min(COUNTED, resolution)
    grid = Grid(low, longest / counted, np.maximum(np.ceil(sides * counted - 1e-6).astype(np.int64), 1))
    crossed = sum(int(brick.cells().sum()) for brick in crossed_bricks(function, grid, slope, verbose=False))
    density = crossed / counted**2
    check_memory("resolution", resolution, lambda cells: needed(cells, sides, density, point), least=8)
