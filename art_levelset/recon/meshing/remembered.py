"""
A function that remembers its values on the nodes of a grid.

The search for handles and the mesh look at the surface on the same grid, where the resolution is the usual one: what
the first has evaluated the other need not evaluate again.
"""

from __future__ import annotations

import numpy as np

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.meshing.bricks import Function, Grid, Values

EXACT = 1e-6
"""Points are nodes that are no further from them than this, in cells."""


class Remembered:
    """
    A function that is evaluated once a node.

    >>> import numpy as np
    >>> from art_levelset.recon.meshing.bricks import Grid
    >>> grid = Grid(np.zeros(3), 0.5, np.array([2, 2, 2]))
    >>> function = Remembered(lambda points: print(len(points)) or points.sum(axis=1).astype(np.float32), grid)
    >>> function(np.array([[0.0, 0.5, 1.0], [0.0, 0.5, 0.7]]))
    2
    array([1.5, 1.2], dtype=float32)
    >>> function(np.array([[0.0, 0.5, 1.0], [0.0, 0.5, 0.7]]))
    1
    array([1.5, 1.2], dtype=float32)

    :param function: (n, 3) -> (n,).
    :param grid: The grid. Elsewhere the function is evaluated, and nothing is remembered.
    """

    def __init__(self, function: Function, grid: Grid) -> None:
        self.function, self.grid = function, grid
        self._values = np.full(tuple(grid.shape + 1), np.nan, dtype=np.float32)

    def __call__(self, points: Points) -> Values:
        """
        Evaluate the function, as far as its values are not known.

        :param points: (n, 3).
        :return: (n,).
        """
        places = (points - self.grid.low) / self.grid.step
        nodes = np.rint(places)
        known = (np.abs(places - nodes) <= EXACT).all(axis=1)
        known &= ((nodes >= 0) & (nodes <= self.grid.shape)).all(axis=1)
        values = np.full(len(points), np.nan, dtype=np.float32)
        rows = np.flatnonzero(known)
        index = tuple(nodes[rows].astype(np.int64).T)
        values[rows] = self._values[index]
        missing = np.isnan(values)
        if missing.any():
            values[missing] = self.function(points[missing])
            self._values[index] = values[rows]
        return values
