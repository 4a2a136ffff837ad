"""
The cells of a regular grid that the zero level set of a function crosses, found without visiting the others.

The grid is cut into bricks of 32^3 cells. F is evaluated at their corners, then at the corners of their halves, and so
on down to single cells; at every level only those parts are divided further that the zero level set can meet. With
|F(x) - F(y)| <= L |x - y| it cannot meet a part of side s whose corners agree in sign and have

    min_c |F(c)| > L s sqrt(3) / 2,

for no point of the part is further than s sqrt(3) / 2 from its nearest corner. So for a function of slope L at most,
all crossed cells are found, exactly as on the full grid.

For a steeper function a part of the surface may hide between corners that agree in sign. What is found of it is
completed: where F changes sign on the face of an evaluated cell, the cell behind is evaluated too, until no such face
is left. So every connected component is either found whole or, if it is small and steep all over, missed; the surface
never ends inside the box.

F is evaluated once a node, also where bricks touch: a network's rounding depends on the batch that a point is in, and
two bricks that disagree about a sign would not fit together. Memory grows with the surface's area, not with the grid,
which is why this is done by hand: the libraries for marching cubes want F at all nodes of a grid at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from art_levelset.progress import progress_bar
from art_levelset.recon.cloud.clouds import Points

SIDE = 32
"""Cells along the edge of a brick, a power of two."""

BATCH = 64
"""Bricks that are worked on together."""

CHUNK = 1 << 16
"""The largest number of points in one call of the function."""

Function = Callable[[Points], NDArray[np.float32]]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Values = NDArray[np.float32]
Kind = TypeVar("Kind", bound=np.generic)

_FACES = ((2, 3), (1, 3), (1, 2))
"""The axes along the faces that are across the first, second and third axis."""


@dataclass(frozen=True, eq=False)
class Grid:
    """
    A regular grid of cubic cells.

    :param low: The position of node (0, 0, 0), (3,).
    :param step: The edge of a cell, > 0.
    :param shape: The number of cells along each axis, (3,), >= 1.
    """

    low: Points
    step: float
    shape: Integers

    def positions(self, nodes: NDArray[Any]) -> Points:
        """
        Where nodes are.

        :param nodes: (n, 3), indices, or fractions of them.
        :return: (n, 3).
        """
        return np.asarray(nodes * self.step + self.low, dtype=np.float64)

    def keys(self, nodes: Integers) -> Integers:
        """
        Number the nodes.

        :param nodes: (n, 3).
        :return: (n,), different for different nodes.
        """
        _, rows, columns = (self.shape + 1).tolist()
        keys: Integers = (nodes[:, 0] * rows + nodes[:, 1]) * columns + nodes[:, 2]
        return keys


@dataclass(frozen=True, eq=False)
class Brick:
    """
    The crossed cells of one brick.

    :param origin: The first of its nodes, (3,).
    :param packed: Which of its cells are crossed, in bits.
    :param known: F at the nodes of those cells, in the order of their indices.
    """

    origin: Integers
    packed: NDArray[np.uint8]
    known: Values

    def cells(self) -> Mask:
        """
        Which cells are crossed.

        :return: (SIDE, SIDE, SIDE).
        """
        return np.unpackbits(self.packed).astype(bool).reshape(SIDE, SIDE, SIDE)

    def values(self) -> Values:
        """
        F at the nodes of the crossed cells.

        :return: (SIDE + 1, SIDE + 1, SIDE + 1), 1 at the other nodes.
        """
        values = np.ones((SIDE + 1,) * 3, dtype=np.float32)
        values[nodes_of(self.cells()[None])[0]] = self.known
        return values


def crossed_bricks(function: Function, grid: Grid, slope: float, *, verbose: bool) -> list[Brick]:
    """
    Find the cells that the zero level set of a function crosses: those with positive and other values at their corners.

    :param function: F, (n, 3) -> (n,); called with at most :data:`CHUNK` points at a time.
    :param grid: The grid.
    :param slope: L, > 0: cells that are crossed only by virtue of a steeper slope may be missed.
    :param verbose: Whether to show a progress bar.
    :return: The bricks that have such cells.
    :raises ValueError: If F is not finite somewhere.
    """
    search = _Search(function, grid, slope)
    todo = search.first_bricks()
    while len(todo):
        for start in progress_bar(range(0, len(todo), BATCH), desc="mesh", unit="batch", verbose=verbose):
            search.visit(todo[start : start + BATCH])
        todo = search.unfinished()
    return [search.found[brick] for brick in sorted(search.found)]


class _Search:
    """The state of the search: what is known of F on the borders of bricks, and the bricks visited so far."""

    def __init__(self, function: Function, grid: Grid, slope: float) -> None:
        self.function = function
        self.grid = grid
        self.reach = slope * grid.step * np.sqrt(3) / 2
        self.found: dict[tuple[int, ...], Brick] = {}
        self.seeds: dict[tuple[int, ...], set[tuple[int, ...]]] = defaultdict(set)
        self._border_keys = np.zeros(0, dtype=np.int64)
        self._border_values = np.zeros(0, dtype=np.float32)
        self._faces: list[Integers] = []
        bricks = np.indices(tuple(-(-grid.shape // SIDE) + 1))
        self._corners = self._evaluated(bricks.reshape(3, -1).T * SIDE).reshape(bricks.shape[1:])

    def first_bricks(self) -> Integers:
        """The bricks, (n, 3), that the zero level set can meet as far as their corners tell."""
        return np.argwhere(_near(self._corners[None], self.reach * SIDE)[0])

    def visit(self, bricks: Integers) -> None:
        """Find the crossed cells of some bricks, (n, 3)."""
        values = np.stack([self._corners[corner] for corner in _corner_indices(bricks)], axis=-1).reshape(-1, 2, 2, 2)
        known = np.ones(values.shape, dtype=bool)
        cells = np.ones((len(bricks), 1, 1, 1), dtype=bool)
        side = SIDE
        while side > 1:
            side //= 2
            values, known, cells = _halved(values), _halved(known), self._inside(doubled(cells), bricks, side)
            if side == 1:
                cells |= self._seeded(bricks)
            self._fill(values, known, cells, bricks, side)
            if side > 1:
                cells &= _near(values, self.reach * side)
                seeded = np.array([tuple(brick) in self.seeds for brick in bricks.tolist()], dtype=bool)
                alive = cells.any(axis=(1, 2, 3)) | seeded
                values, known, cells, bricks = values[alive], known[alive], cells[alive], bricks[alive]
        crossings = [_crossed(values, axes) for axes in _FACES]
        while (behind := self._inside(_behind(crossings, cells), bricks, 1) & ~cells).any():
            cells |= behind
            self._fill(values, known, cells, bricks, 1)
            crossings = [_crossed(values, axes) for axes in _FACES]
        self._faces.append(self._border_faces(crossings, cells, bricks))
        crossed = cells & _crossed(values)
        nodes = nodes_of(crossed)
        for row in np.flatnonzero(crossed.any(axis=(1, 2, 3))):
            brick = Brick(bricks[row] * SIDE, np.packbits(crossed[row]), values[row][nodes[row]])
            self.found[tuple(bricks[row].tolist())] = brick

    def unfinished(self) -> Integers:
        """The bricks, (n, 3), that must be visited (again) because the zero level set goes on into them."""
        faces = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *self._faces]))
        self._faces = [faces]
        missing = np.setdiff1d(faces ^ 1, faces, assume_unique=True)
        node, axis, above = missing // 6, missing // 2 % 3, missing % 2
        cells = np.stack(np.unravel_index(node, tuple(self.grid.shape + 1)), axis=1)
        cells[np.arange(len(cells)), axis] -= 1 - above
        for cell in cells.tolist():
            self.seeds[tuple(index // SIDE for index in cell)].add(tuple(index % SIDE for index in cell))
        return np.unique(cells // SIDE, axis=0)

    def _fill(self, values: Values, known: Mask, cells: Mask, bricks: Integers, side: int) -> None:
        """Evaluate F at the nodes of some cells of the given side."""
        row, *local = np.nonzero(nodes_of(cells) & ~known)
        values[(row, *local)] = self._evaluated(bricks[row] * SIDE + np.stack(local, axis=1) * side)
        known[(row, *local)] = True

    def _evaluated(self, nodes: Integers) -> Values:
        """F at nodes, (n, 3); those beyond the grid stand for its last ones."""
        nodes = np.minimum(nodes, self.grid.shape)
        border = (nodes % SIDE == 0).any(axis=1)
        values = np.empty(len(nodes), dtype=np.float32)
        values[~border] = self._called(nodes[~border])
        keys, first, inverse = np.unique(self.grid.keys(nodes[border]), return_index=True, return_inverse=True)
        position = np.searchsorted(self._border_keys, keys)
        old = position < len(self._border_keys)
        old[old] = self._border_keys[position[old]] == keys[old]
        unique = np.empty(len(keys), dtype=np.float32)
        unique[old] = self._border_values[position[old]]
        unique[~old] = self._called(nodes[border][first[~old]])
        self._border_keys = np.insert(self._border_keys, position[~old], keys[~old])
        self._border_values = np.insert(self._border_values, position[~old], unique[~old])
        values[border] = unique[inverse]
        return values

    def _called(self, nodes: Integers) -> Values:
        chunks = [nodes[start : start + CHUNK] for start in range(0, len(nodes), CHUNK)]
        values = [self.function(self.grid.positions(chunk)) for chunk in chunks]
        result = np.concatenate([np.zeros(0, dtype=np.float32), *values]).astype(np.float32, copy=False)
        if not np.isfinite(result).all():
            raise ValueError("function: its values on the grid are not all finite")
        return result

    def _inside(self, cells: Mask, bricks: Integers, side: int) -> Mask:
        """The cells of the given side that begin inside of the grid."""
        index = np.arange(cells.shape[1]) * side
        for axis, shape in zip(range(3), self.grid.shape, strict=True):
            within = bricks[:, axis, None] * SIDE + index < shape
            cells = cells & within.reshape(len(bricks), *(len(index) if other == axis else 1 for other in range(3)))
        return cells

    def _seeded(self, bricks: Integers) -> Mask:
        seeded = np.zeros((len(bricks), SIDE, SIDE, SIDE), dtype=bool)
        for row, brick in enumerate(bricks.tolist()):
            for cell in self.seeds.get(tuple(brick), ()):
                seeded[(row, *cell)] = True
        return seeded

    def _border_faces(self, crossings: list[Mask], cells: Mask, bricks: Integers) -> Integers:
        """
        The crossed faces where a brick touches another one, as numbers.

        A face has the number (6 node + 2 axis), plus one if it is seen from the cell above. Both numbers of it must
        turn up, or the brick on the other side has not been visited.
        """
        numbers = [np.zeros(0, dtype=np.int64)]
        for axis, above in product(range(3), (0, 1)):
            layer = 0 if above else SIDE
            seen = np.take(crossings[axis], layer, axis + 1) & np.take(cells, 0 if above else -1, axis + 1)
            row, *local = np.nonzero(seen)
            local.insert(axis, np.full(len(row), layer))
            nodes = bricks[row] * SIDE + np.stack(local, axis=1)
            nodes = nodes[(nodes[:, axis] > 0) & (nodes[:, axis] < self.grid.shape[axis])]
            numbers.append(self.grid.keys(nodes) * 6 + 2 * axis + above)
        return np.concatenate(numbers)


def _corner_indices(bricks: Integers) -> list[tuple[Integers, ...]]:
    return [tuple((bricks + offset).T) for offset in product((0, 1), repeat=3)]


def _halved(nodes: NDArray[Kind]) -> NDArray[Kind]:
    """(n, m + 1, m + 1, m + 1) on a grid of half the step, zero at the new nodes."""
    side = 2 * nodes.shape[1] - 1
    finer = np.zeros((len(nodes), side, side, side), dtype=nodes.dtype)
    finer[:, ::2, ::2, ::2] = nodes
    return finer


def doubled(cells: NDArray[Kind]) -> NDArray[Kind]:
    """
    Every cell's eight parts.

    :param cells: (n, a, b, c).
    :return: (n, 2a, 2b, 2c).
    """
    return np.repeat(np.repeat(np.repeat(cells, 2, 1), 2, 2), 2, 3)


def nodes_of(cells: Mask) -> Mask:
    """
    Which nodes are corners of cells.

    :param cells: (n, a, b, c).
    :return: (n, a + 1, b + 1, c + 1).
    """
    for axis in range(1, 4):
        cells = np.pad(cells, [(0, int(other == axis)) for other in range(4)])
        before = (slice(None),) * axis
        cells[(*before, slice(1, None))] |= cells[(*before, slice(None, -1))].copy()
    return cells


def merged(nodes: Mask, combine: np.ufunc, axes: tuple[int, ...] = (1, 2, 3)) -> Mask:
    """
    Combine what is at the nodes of every edge, face or cell.

    :param nodes: (n, a + 1, b + 1, c + 1).
    :param combine: Of two values the combination.
    :param axes: Those of the edges, faces or cells.
    :return: The same shape, one less along each of the axes.
    """
    for axis in axes:
        before = (slice(None),) * axis
        nodes = combine(nodes[(*before, slice(None, -1))], nodes[(*before, slice(1, None))])
    return nodes


def _near(values: Values, reach: float) -> Mask:
    """The cells with a corner as small as the reach, and the crossed ones."""
    return merged(np.abs(values) <= reach, np.logical_or) | _crossed(values)


def _crossed(values: Values, axes: tuple[int, ...] = (1, 2, 3)) -> Mask:
    """The cells, or the faces along two axes, with positive and other values at their corners."""
    positive = values > 0
    return merged(positive, np.logical_or, axes) & ~merged(positive, np.logical_and, axes)


def _behind(crossings: list[Mask], cells: Mask) -> Mask:
    """The cells, in the same bricks, on the other side of the crossed faces of cells."""
    behind = np.zeros_like(cells)
    for axis, faces in enumerate(crossings, 1):
        inner = np.moveaxis(faces, axis, 0)[1:-1]
        here, there = np.moveaxis(cells, axis, 0), np.moveaxis(behind, axis, 0)
        there[1:] |= here[:-1] & inner
        there[:-1] |= here[1:] & inner
    return behind
