"""
Handles that no data speak for, found and removed one by one.

The topology of the level sets changes at the critical points of F, which are found on a grid. In Freudenthal's
triangulation the neighbours of a node are the 14 nodes whose offsets have no two entries of different sign; they
triangulate a sphere around it, its link. While t grows, the set {F <= t} reaches a node: where the neighbours that it
has reached before form one patch of the link, and the others too, nothing happens to its topology. Two patches or more
of lower neighbours, and it meets itself there, making a handle or joining components; two patches or more of upper
ones, and it closes a tunnel, or a cavity begins.

A critical point outside of the surface, with two upper patches, is the middle of a tunnel, which a shift s < -F closes
(:mod:`art_levelset.recon.meshing.surface`); one inside, with two lower patches, is the middle of a bridge, which s > -F
breaks. They are tried in the order of |F|. Those shifts are kept that remove handles: that raise the Euler number of
the surface while the number of its connected components stays. What enough planes speak for is left as it is
(:mod:`art_levelset.recon.meshing.handle_records`).

| Paper link: https://doi.org/10.1080/00029890.1970.11992523 (Banchoff, 1970)
"""

from __future__ import annotations

import math
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.quadrics import Floats
from art_levelset.recon.meshing.bricks import Function, Grid, Integers, Values, doubled, merged, nodes_of
from art_levelset.recon.meshing.extract import STEEPEST
from art_levelset.recon.meshing.handle_records import (
    CLOSED,
    CUT,
    DATA,
    LEFT,
    PARTS,
    SPOKEN_FOR,
    are_spoken_for,
    count_speakers,
)
from art_levelset.recon.meshing.surface import WIDTH, HandleRemoval, Surface
from art_levelset.recon.meshing.topology import Faces, euler_number, label_components

SHIFTS = 1 / 8, 1 / 4, 1 / 2
"""The sizes of s that are tried, in reaches of the planes."""

CLEARANCE = 1.25
"""A shift must be so many times |F| at the critical point: the tunnel's radius, or half of the bridge's thickness."""

CELLS = 8.0
"""Grid cells per reach of the planes."""

FINEST = 256
"""The largest number of them along the longest side."""

ASIDE = 2.5
"""In reaches of the planes: the widest shift changes F within two."""

STRIDE = 4
"""F is evaluated at every fourth node first."""

OFFSETS = np.array(
    [offset for offset in product((-1, 0, 1), repeat=3) if any(offset) and not {-1, 1} <= set(offset)], dtype=np.int64
)
"""From a node to its neighbours, (14, 3)."""


class Tried(NamedTuple):
    """
    The narrow tunnels and bridges that were found, and what was done about each.

    :param places: Their middles, (n, 3), in the unit frame.
    :param values: F there, before anything was done, (n,); it is positive in tunnels.
    :param decisions: For each what was done and, if nothing, why (:mod:`art_levelset.recon.meshing.handle_records`).
    """

    places: Points
    values: Floats
    decisions: list[tuple[str, str]]


def find_handle_removal(
    surface: Surface, function: Function, low: Points, high: Points, aside: float = 0.0
) -> tuple[HandleRemoval, Tried]:
    """
    The local shifts of a surface that remove the handles which no data speak for.

    :param surface: The surface, without any.
    :param function: Its function, (n, 3) -> (n,), in chunks.
    :param low: The corner with the smallest coordinates of a box around it, (3,), in the unit frame, or around a part:
           those handles are removed whose middles x have low <= x < high, or are less than a cell aside.
    :param high: The opposite corner, (3,).
    :param aside: How much of the surface around the part is seen, such as :data:`ASIDE` reaches of the planes.
    :return: The shifts, none where there is nothing to remove, and what was found.
    """
    reach, inner = surface.distance.reach, (low, high)
    low, high = low - aside, high + aside
    size = float((high - low).max())
    step = size / min(math.ceil(size / reach * CELLS), FINEST)
    shape = STRIDE * np.ceil((high - low) / (STRIDE * step) - 1e-6).astype(np.int64)
    grid = Grid(low, step, shape)
    values = _near_zero(function, grid, max(SHIFTS) * reach + step)
    components = _count_components(values)
    # The components of the whole surface take longer to count than its handles to remove, and hardly ever change.
    for watched in (False, True):
        changed = values.copy()
        removal, tried = _try_shifts(surface, grid, changed, components if watched else None, *inner)
        if watched or not len(removal) or _count_components(changed) == components:
            break
    return removal, _told(changed, grid, tried, surface.distance.reach, *inner)


def count_patches(values: Values, nodes: Integers) -> tuple[Integers, Integers]:
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


def _try_shifts(
    surface: Surface, grid: Grid, values: Values, components: int | None, low: Points, high: Points
) -> tuple[HandleRemoval, Tried]:
    """
    The shifts that remove handles of a box and keep the number of components if it is given; `values` become their
    result.

    All that were tried are returned with them, handles or not.
    """
    reach, removal = surface.distance.reach, HandleRemoval()
    nodes, levels = _tunnels_and_bridges(values, max(SHIFTS) * reach / CLEARANCE)
    places = grid.positions(nodes)
    # Where two parts meet the grid of each may have the same middle beyond the border; who is first removes the handle.
    own = _within(places, low - grid.step, high + grid.step)
    nodes, levels = nodes[own], levels[own]
    outside, inside = count_speakers(grid.positions(nodes), surface.trusted)
    supported = are_spoken_for(*np.where(levels > 0, (outside, inside), (inside, outside)))
    decisions = []
    for node, level, kept in zip(nodes, levels, supported, strict=True):
        centre = grid.positions(node)
        decision = LEFT, SPOKEN_FOR if kept else DATA
        for size in () if kept else SHIFTS:
            shift = -math.copysign(size * reach, level)
            if abs(shift) < CLEARANCE * abs(level):
                continue
            box = _box(node, WIDTH * size * reach / grid.step, values.shape)
            before = values[box].copy()
            after = _shifted(surface, grid, before, box, centre, shift)
            (euler_before, inner_before), (euler_after, inner_after) = _shape(before), _shape(after)
            if euler_after <= euler_before:
                continue
            decision = LEFT, PARTS
            if inner_after != inner_before:
                continue
            values[box] = after
            if components is None or _count_components(values) == components:
                removal = removal.with_one(centre, shift)
                decision = (CLOSED if level > 0 else CUT), ""
                break
            values[box] = before
        decisions.append(decision)
    return removal, Tried(grid.positions(nodes), levels.astype(np.float64), decisions)


def _told(values: Values, grid: Grid, tried: Tried, reach: float, low: Points, high: Points) -> Tried:
    """
    Which of all that were tried are handles: what was removed, and what could have been if no data spoke against it.

    Of what was left in the box those are told that are still there in the end: what one shift removes may have several
    middles.
    """
    nodes = np.rint((tried.places - grid.low) / grid.step).astype(np.int64)
    lower, upper = count_patches(values, nodes)
    still = (values[tuple(nodes.T)] * tried.values > 0) & (np.where(tried.values > 0, upper, lower) > 1)
    own = _within(tried.places, low, high)
    told = [
        i
        for i, (decision, why) in enumerate(tried.decisions)
        if decision != LEFT
        or (
            own[i]
            and still[i]
            and (why == PARTS or _is_handle(values, nodes[i], float(tried.values[i]), reach, grid.step))
        )
    ]
    return Tried(tried.places[told], tried.values[told], [tried.decisions[i] for i in told])


def _within(places: Points, low: Points, high: Points) -> NDArray[np.bool_]:
    return np.asarray(((places >= low) & (places < high)).all(axis=1))


def _is_handle(values: Values, node: Integers, level: float, reach: float, step: float) -> bool:
    """Whether a shift that data do not stop would remove a handle."""
    for size in SHIFTS:
        shift = -math.copysign(size * reach, level)
        if abs(shift) < CLEARANCE * abs(level):
            continue
        box = _box(node, WIDTH * size * reach / step, values.shape)
        before, width = values[box], WIDTH * size * reach
        offsets = np.ogrid[box]
        squares = sum((step * (ticks - place)) ** 2 for ticks, place in zip(offsets, node, strict=True)) / width**2
        change = shift * np.maximum(1 - squares, 0) ** 2 * np.maximum(1 - (before / width) ** 2, 0)
        if _shape((before + change).astype(np.float32))[0] > _shape(before)[0]:
            return True
    return False


def _near_zero(function: Function, grid: Grid, width: float) -> Values:
    """
    F at the nodes, (a, b, c), as far as it is not larger than a width; elsewhere 1 or -1 with its sign.

    It is evaluated at every fourth node, then at every second one, and then at all, of the cells in which it may be as
    small as that if its slope is :data:`art_levelset.recon.meshing.extract.STEEPEST` at most.
    """
    stride = STRIDE
    nodes = np.moveaxis(np.indices(tuple(grid.shape // stride + 1)), 0, -1)
    values = function(grid.positions(nodes.reshape(-1, 3) * stride)).reshape(nodes.shape[:3])
    known = np.ones(values.shape, dtype=bool)
    while stride > 1:
        small = known & (np.abs(values) <= width + STEEPEST * stride * grid.step * math.sqrt(3) / 2)
        near = doubled(merged(small[None], np.logical_or))
        signs = doubled(np.sign(values[None, :-1, :-1, :-1]))[0]
        coarse, stride = (values, known), stride // 2
        values = np.pad(signs, [(0, 1)] * 3, mode="edge").astype(np.float32)
        values[::2, ::2, ::2] = coarse[0]
        missing = nodes_of(near)[0]
        missing[::2, ::2, ::2] &= ~coarse[1]
        values[missing] = function(grid.positions(np.argwhere(missing) * stride))
        known = missing
        known[::2, ::2, ::2] |= coarse[1]
    return values


def _tunnels_and_bridges(values: Values, largest: float) -> tuple[Integers, Values]:
    """The critical points where a small shift could remove a handle, (n, 3), and the values there, smallest first."""
    nodes = np.argwhere(np.abs(values[1:-1, 1:-1, 1:-1]) < largest) + 1
    levels = values[tuple(nodes.T)]
    lower, upper = count_patches(values, nodes)
    chosen = np.where(levels > 0, upper, lower) > 1
    order = np.argsort(np.abs(levels[chosen]), kind="stable")
    return nodes[chosen][order], levels[chosen][order]


def _box(node: Integers, radius: float, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The nodes that are nearer than a radius, and some beyond."""
    reach = math.ceil(radius) + 1
    return tuple(slice(max(i - reach, 0), min(i + reach + 1, size)) for i, size in zip(node, shape, strict=True))


def _shifted(
    surface: Surface, grid: Grid, values: Values, box: tuple[slice, ...], centre: Points, shift: float
) -> Values:
    """The values in a box after a shift."""
    nodes = np.stack(np.meshgrid(*(np.arange(side.start, side.stop) for side in box), indexing="ij"), axis=-1)
    device = surface.distance.centres.device
    columns = grid.positions(nodes.reshape(-1, 3)), values.ravel()
    points, before = (torch.as_tensor(column, dtype=torch.float32, device=device) for column in columns)
    after: Values = surface.shift_values(points, before, centre, shift).cpu().numpy().reshape(values.shape)
    return after


def _shape(values: Values) -> tuple[int, int]:
    """The Euler number of the zero level set in a box, and how many of its components do not reach the box's sides."""
    vertices, triangles = _zero_set(values)
    count, component = label_components(triangles)
    outer = np.any((vertices <= 0) | (vertices >= np.array(values.shape) - 1), axis=1)
    reaching = np.any(np.take(outer, triangles), axis=1)
    return euler_number(triangles, len(vertices)), count - len(np.unique(component[reaching]))


def _count_components(values: Values) -> int:
    """The number of connected components of the zero level set."""
    return label_components(_zero_set(values)[1])[0]


def _zero_set(values: Values) -> tuple[Values, Faces]:
    """The vertices, in cells, and the triangles of the mesh."""
    from skimage.measure import marching_cubes

    if (values > 0).all() or (values <= 0).all():
        return np.zeros((0, 3), dtype=np.float32), np.zeros((0, 3), dtype=np.int32)
    vertices, triangles, _, _ = marching_cubes(values, 0.0)
    return vertices, triangles


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
