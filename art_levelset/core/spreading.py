"""
Points spread evenly: chosen from many, and samples of a level set in 2D or 3D at the price of a few passes each.

`farthest_points` chooses greedily the point that is farthest from all chosen before. With r the distance of the next
one it would choose, all points are within r of a chosen one (covering) and the chosen ones are at least r apart
(packing), and no choice of as many points covers with less than r / 2: two of the points that are r apart, one more
than were chosen, would share one. `spread` goes on from there: in turns each point is given to its nearest chosen one,
and each chosen one moves to the point nearest to the centre of the smallest ball around its own (Lloyd's iteration with
Chebyshev centres, found by Ritter's steps), which does not depend on how densely the points lie.

`sample_evenly` makes the candidates by arithmetic, not by passes through the network: F is evaluated at the nodes of a
grid; cells with both signs at their corners, or nearly so, are divided until there is one for every three samples; in
these F is replaced by the multilinear interpolation of its corner values, on whose zero set random points of the cell
are projected. Only the points that `spread` chooses of these are projected to the level set of F. An error of the
interpolation, O(h^2) for cells of the edge h, moves samples and makes gaps uneven, but no sample leaves the level set.

What it does not see: a component that does not separate any two nodes of the first grid, and what a component has
beyond an edge of a cell between two nodes, if it is more than a bulge. With a bound of F over cells there is a
guarantee: :func:`art_levelset.core.coverage.cover`.

| Paper link: https://doi.org/10.1016/0304-3975(85)90224-5 (farthest points)
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from art_levelset.checks import check_count, check_not_negative
from art_levelset.core.balls import Box
from art_levelset.core.fields import Field, FieldLike, as_field
from art_levelset.core.modes import evaluating
from art_levelset.core.projection import project
from art_levelset.core.samples import LevelSetSamples, check_points

CANDIDATES = 16
"""For each sample that is wanted."""

PER_CELL = 3.0
"""The most samples for each cell of the finest grid."""

NEARLY = 0.125
"""Cells without a change of sign are divided, too, where F - c is this small a part of its range over their corners."""

MOST_HALVINGS = 20
ROUNDS, CENTRE_STEPS = 30, 4


def farthest_points(points: Tensor, count: int, *, chosen: Tensor | None = None, apart: float = 0.0) -> Tensor:
    """
    Choose points greedily, each the farthest from those chosen before.

    :param points: (n, ...).
    :param count: The most points to choose, >= 1.
    :param chosen: Points that count as chosen before, (m, ...). Without any the first is the one farthest from the
           mean.
    :param apart: Stop when all points are within this distance of a chosen one, >= 0.
    :return: Rows of the points in the order of their choice, (k,), k <= min(count, n).
    :raises ValueError: If a shape or a number is out of range.

    >>> import torch
    >>> farthest_points(torch.tensor([[0.0], [1.0], [5.0], [6.0]]), 3)
    tensor([0, 3, 1])
    """
    check_points(points)
    check_count("count", count)
    check_not_negative("apart", apart)
    flat = points.flatten(1)
    rows: list[int] = []
    if chosen is not None and len(chosen):
        check_points(chosen, "chosen")
        gaps = nearest(flat, chosen.flatten(1))[0]
        farthest = int(gaps.argmax()) if len(flat) else 0
    else:
        gaps = torch.full((len(flat),), torch.inf, dtype=flat.dtype, device=flat.device)
        farthest = int(torch.linalg.vector_norm(flat - flat.mean(dim=0), dim=1).argmax()) if len(flat) else 0
    while len(rows) < min(count, len(flat)) and float(gaps[farthest]) > apart:
        rows.append(farthest)
        gaps = torch.minimum(gaps, torch.linalg.vector_norm(flat - flat[farthest], dim=1))
        farthest = int(gaps.argmax())
    return torch.tensor(rows, dtype=torch.long, device=points.device)


def spread(points: Tensor, count: int, *, nb_rounds: int = ROUNDS) -> Tensor:
    """
    Choose points that lie evenly among all: the farthest ones, then Lloyd's iteration with Chebyshev centres.

    :param points: (n, ...), n >= 1.
    :param count: How many to choose, >= 1; all, if there are not more.
    :param nb_rounds: Rounds of the iteration, >= 0. The best round by the farthest distance of a point is kept.
    :return: Rows of the points, (min(count, n),).
    :raises ValueError: If a shape or a number is out of range.

    >>> import torch
    >>> line = torch.linspace(0, 1, 101)[:, None]
    >>> bool(nearest(line, line[spread(line, 2)])[0].max() < 0.27)  # 0.25 is the least
    True
    """
    check_points(points)
    check_count("count", count)
    check_count("nb_rounds", nb_rounds, least=0)
    if len(points) <= count:
        return torch.arange(len(points), device=points.device)
    flat = points.flatten(1)
    best = rows = farthest_points(points, count)
    least = float("inf")
    for _ in range(nb_rounds + 1):
        gaps, owners = nearest(flat, flat[rows])
        if float(gaps.max()) < least:
            best, least = rows, float(gaps.max())
        centres = _chebyshev_centres(flat, flat[rows], owners)
        offsets = torch.linalg.vector_norm(flat - centres[owners], dim=1)
        rows = _lowest(offsets, owners, rows)
    return best


def sample_evenly(
    field: FieldLike,
    box: Box,
    nb_samples: int,
    *,
    like: Tensor,
    nb_cells: int = 16,
    level: float = 0.0,
    max_iter: int = 20,
    tol: float = 1e-5,
    seed: int = 0,
) -> LevelSetSamples:
    """
    Samples of a level set in a box of two or three dimensions (or a few more), as evenly spread as it is cheap to do.

    :param field: F, scalar (l = 1).
    :param box: (low, high), finite, numbers or tensors that broadcast to one point.
    :param nb_samples: How many samples, >= 1.
    :param like: A tensor with the dtype, the device and, in its last dimension, the dimension d of the points.
    :param nb_cells: Cells of the first grid along an axis, >= 1; it has (nb_cells + 1)^d nodes.
    :param level: The level c.
    :param max_iter: The largest number of steps of the projection, >= 0.
    :param tol: The largest |F - c| of a converged sample, >= 0.
    :param seed: Seed of the candidates, >= 0.
    :return: The samples, with a status each; none where no two nodes are on two sides of the level set.
    :raises ValueError: If a shape, dtype or number is out of range, or F is not scalar.

    >>> import torch
    >>> circle = lambda x: torch.linalg.vector_norm(x, dim=1) - 1
    >>> samples = sample_evenly(circle, (-1.5, 1.5), 6, like=torch.zeros(2))
    >>> gaps = torch.cdist(samples.points, samples.points).fill_diagonal_(2).amin(dim=1)
    >>> bool(samples.converged.all()), bool((gaps > 0.9).all())  # a hexagon has 1
    (True, True)
    """
    field = as_field(field)
    check_count("nb_samples", nb_samples)
    check_count("nb_cells", nb_cells)
    check_count("seed", seed, least=0)
    low, high = box_walls(box, like)
    with torch.no_grad():
        places, edge, corners = _crossed_cells(field, low, high, nb_cells, nb_samples, level)
        generator = torch.Generator().manual_seed(seed)
        candidates = low + edge * _on_interpolation(places, corners, CANDIDATES * nb_samples, generator)
        starts = candidates[spread(candidates, nb_samples)] if len(candidates) else candidates
    return project(field, starts, level, max_iter=max_iter, tol=tol, box=(low, high))


def nearest(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """
    The distance of each point to the nearest of the others, and which that is.

    :param points: (n, d).
    :param others: (m, d), m >= 1.
    :return: Distances and rows of the others, (n,) each.
    """
    exact = "donot_use_mm_for_euclid_dist"
    found = [
        torch.cdist(part, others, compute_mode=exact).min(dim=1)
        for part in torch.split(points, max(1 << 22, len(others)) // len(others))
    ]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])


def box_walls(box: Box, like: Tensor) -> tuple[Tensor, Tensor]:
    """
    The two corners of a box that has a volume.

    :param box: (low, high), numbers or tensors (d,).
    :param like: (..., d), floating point: gives d, dtype and device.
    :return: low and high, (d,) each.
    :raises ValueError: If the box is none, is not finite or is flat.
    """
    if not isinstance(like, Tensor) or not like.is_floating_point() or like.dim() < 1 or not like.shape[-1]:
        raise ValueError(f"like must be a floating-point tensor (..., d), got {like!r}")
    if not isinstance(box, (tuple, list)) or len(box) != 2:
        raise ValueError(f"box must be a pair (low, high), got {box!r}")
    ends = [torch.as_tensor(wall, dtype=like.dtype, device=like.device) for wall in box]
    if any(wall.dim() > 1 or (wall.dim() and len(wall) not in (1, like.shape[-1])) for wall in ends):
        raise ValueError(f"box must have numbers or {like.shape[-1]} coordinates for walls, got {box!r}")
    low, high = (wall.expand(like.shape[-1]) for wall in ends)
    if not bool(torch.isfinite(torch.cat([low, high])).all()) or not bool((low < high).all()):
        raise ValueError(f"box must be finite with low < high, got {box!r}")
    return low, high


def _chebyshev_centres(points: Tensor, starts: Tensor, owners: Tensor) -> Tensor:
    """The centres of the smallest balls around the points of each owner, nearly: Ritter's."""
    none = torch.zeros(len(starts), dtype=torch.long, device=points.device)

    def farthest(centres: Tensor) -> Tensor:
        return points[_lowest(-torch.linalg.vector_norm(points - centres[owners], dim=1), owners, none)]

    one = farthest(starts)
    other = farthest(one)
    centres, radii = (one + other) / 2, torch.linalg.vector_norm(one - other, dim=1, keepdim=True) / 2
    for _ in range(CENTRE_STEPS):
        ways = farthest(centres) - centres
        lengths = torch.linalg.vector_norm(ways, dim=1, keepdim=True).clamp(min=torch.finfo(points.dtype).tiny)
        steps = ((lengths - radii) / 2).clamp(min=0)
        centres, radii = centres + steps / lengths * ways, radii + steps
    return centres


def _lowest(costs: Tensor, owners: Tensor, rows: Tensor) -> Tensor:
    """The row of the lowest cost for each owner; that of `rows` for owners without any."""
    least = torch.full((len(rows),), torch.inf, dtype=costs.dtype, device=costs.device)
    least = least.scatter_reduce(0, owners, costs, "amin")
    found = torch.nonzero(costs == least[owners]).squeeze(1)
    return rows.scatter(0, owners[found], found)


def _crossed_cells(
    field: Field, low: Tensor, high: Tensor, nb_cells: int, enough: int, level: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The cells with both signs at their corners: places on their grid, (n, d), its edges, and F - c, (n, 2^d)."""
    dimension = len(low)
    offsets = torch.tensor(list(itertools.product((0, 1), repeat=dimension)), device=low.device)
    places = torch.cartesian_prod(*[torch.arange(nb_cells, device=low.device)] * dimension).reshape(-1, dimension)
    edge, halvings = (high - low) / nb_cells, 0
    nodes, values = places[:0], low[:0]
    while True:
        asked = torch.cat([nodes, (places[:, None] + offsets).flatten(0, 1)])
        everything, numbers = torch.unique(asked, dim=0, return_inverse=True)
        known, numbers = numbers.split_with_sizes([len(nodes), len(asked) - len(nodes)])
        values = torch.full((len(everything),), torch.nan, dtype=low.dtype, device=low.device).scatter(0, known, values)
        new = values.isnan()
        nodes, values[new] = everything, _scalar(field, low + edge * everything[new]) - level
        corners = values[numbers].reshape(len(places), -1)
        least, most = corners.amin(dim=1), corners.amax(dim=1)
        crossed = (least <= 0) & (most >= 0)
        if not bool(crossed.any()) or PER_CELL * int(crossed.sum()) >= enough or halvings == MOST_HALVINGS:
            return places[crossed], edge, corners[crossed]
        kept = crossed | (corners.abs().amin(dim=1) <= NEARLY * (most - least))
        places, nodes = (2 * places[kept][:, None] + offsets).flatten(0, 1), 2 * nodes
        edge, halvings = edge / 2, halvings + 1


def _scalar(field: Field, points: Tensor) -> Tensor:
    with evaluating(field.module):
        values = field(points)
    if values.shape[1] != 1:
        raise ValueError(f"field must be scalar (l = 1), got l = {values.shape[1]}")
    return values.squeeze(1)


def _on_interpolation(places: Tensor, corners: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Points on the zero set of the multilinear interpolation, in units of cells."""
    if not len(places):
        return places.to(corners.dtype)
    repeats = -(-count // len(places))
    rows = torch.arange(len(places), device=places.device).repeat(repeats)
    starts = torch.rand(len(rows), places.shape[1], generator=generator, dtype=corners.dtype).to(corners.device)
    scales = corners.abs().amax(dim=1, keepdim=True)
    values = corners / torch.where(scales > 0, scales, 1.0)
    found = project(Field(_multilinear, per_sample=(values[rows],)), starts, tol=1e-4, box=(0.0, 1.0))
    return places[rows][found.converged] + found.points[found.converged]


def _multilinear(points: Tensor, corners: Tensor) -> Tensor:
    """The interpolation in the unit cell of the values at its corners, of which the last coordinate changes first."""
    for x in points.unbind(dim=1):
        first, second = corners.chunk(2, dim=1)
        corners = first + x[:, None] * (second - first)
    return corners.squeeze(1)
