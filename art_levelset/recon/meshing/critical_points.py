"""
The saddles of a function on a grid: where its level sets change their topology.

In Freudenthal's triangulation of the grid the neighbours of a node are the 14 nodes whose offsets have no two entries
of different sign; they triangulate a sphere around it, its link. While t grows, the set {F <= t} reaches a node: where
the neighbours that it has reached before form one patch of the link, and the others too, nothing happens to its
topology. Two patches or more of lower neighbours, and it meets itself there, making a handle or joining parts; two
patches or more of upper ones, and it closes a tunnel, or a cavity begins.

| Paper link: https://doi.org/10.1080/00029890.1970.11992523 (Banchoff, 1970)
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

from art_levelset.recon.meshing.bricks import Integers, Values

OFFSETS = np.array(
    [offset for offset in product((-1, 0, 1), repeat=3) if any(offset) and not {-1, 1} <= set(offset)], dtype=np.int64
)
"""From a node to its neighbours, (14, 3)."""


def patches(values: Values, nodes: Integers) -> tuple[Integers, Integers]:
    """
    Count the patches of lower and of upper neighbours of nodes. Of equal values that of the earlier node is the lower.

    :param values: F on the grid, (a, b, c).
    :param nodes: (n, 3), none of them on the border of the grid.
    :return: The numbers of lower patches, (n,), and of upper ones, (n,).
    """
    here = values[tuple(nodes.T)]
    lower = np.zeros(len(nodes), dtype=np.int64)
    for bit, offset in enumerate(OFFSETS):
        there = values[tuple((nodes + offset).T)]
        earlier = tuple(offset) < (0, 0, 0)
        lower |= (there <= here if earlier else there < here).astype(np.int64) << bit
    table = _patches_of_sets()
    return table[lower], table[len(table) - 1 - lower]


@cache
def _patches_of_sets() -> Integers:
    """The number of connected patches of each set of neighbours, (2^14,), by its bits."""
    count = len(OFFSETS)
    connected = [
        sum(1 << other for other in range(count) if (OFFSETS[bit] + OFFSETS == OFFSETS[other]).all(axis=1).any())
        for bit in range(count)
    ]
    left, found = np.arange(1 << count), np.zeros(1 << count, dtype=np.int64)
    while left.any():
        patch = left & -left  # grown from its lowest bit
        for _ in range(count):
            for bit in range(count):
                patch |= np.where(patch >> bit & 1, left & connected[bit], 0)
        found += patch > 0
        left &= ~patch
    return found
