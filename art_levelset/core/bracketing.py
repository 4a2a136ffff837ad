"""
A zero of F - c on a segment whose ends lie on both sides of the level set, for scalar F.

The false position method in its Illinois form: with g(s) = F(a + s (b - a)) - c and a bracket [s0, s1], g0 g1 < 0,

    s = (s0 g1 - s1 g0) / (g1 - g0),

s replaces the end of its own sign, and the value at the other end counts half once that end has stayed twice in a
row. That keeps the bracket and converges with order 1.44 (plain false position: linearly). Where three iterations
have not halved the bracket the next one bisects, so steep or flat functions cannot hold it up. One forward pass an
iteration, over the unfinished samples only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from art_levelset.core.fields import Field, FieldLike, as_field
from art_levelset.core.modes import evaluating
from art_levelset.core.samples import Judged, Status, check_points, expand_level

_SEARCHING = -1


@dataclass(frozen=True, eq=False)
class Crossings(Judged):
    """
    Where segments cross a level set, one row a sample, all detached.

    :param points: a + s (b - a), (batch, ...); without a zero, the point met with the smallest |F - c|.
    :param values: F at the points, (batch, 1).
    :param fractions: s in [0, 1], (batch,).
    :param status: `CONVERGED`, `NO_CROSSING`, `MAX_ITER`, `STALLED` or `NOT_FINITE` (:class:`Status`), (batch,).
    :param iterations: The forward passes spent on each sample, those at the two ends not counted, (batch,).
    """

    points: Tensor
    values: Tensor
    fractions: Tensor
    status: Tensor
    iterations: Tensor


def false_position(
    field: FieldLike,
    start: Tensor,
    end: Tensor,
    level: float | Tensor = 0.0,
    *,
    max_iter: int = 40,
    tol: float = 1e-5,
) -> Crossings:
    """
    Find the point of each segment [start, end] where a scalar F takes the level.

    :param field: F, scalar (l = 1).
    :param start: One end a sample, (batch, ...), floating point.
    :param end: The other end, shaped like `start`.
    :param level: The level c: a number, or a tensor (), (batch,) or (batch, 1).
    :param max_iter: The largest number of forward passes a sample, those at the two ends not counted, >= 0.
    :param tol: The largest |F - c| of a converged sample, >= 0.
    :return: The crossings. `STALLED` means that the bracket has shrunk to neighbouring numbers of this dtype and |F -
             c| is still above `tol`: F jumps there, or `tol` is below its rounding error.
    :raises TypeError: If `start` or `end` is no tensor.
    :raises ValueError: If a shape, dtype or number is out of range; the message names the argument.
    """
    field = as_field(field)
    check_points(start, "start")
    check_points(end, "end")
    if start.shape != end.shape or start.dtype != end.dtype:
        raise ValueError(f"end must be shaped and typed like start, got {tuple(end.shape)} and {tuple(start.shape)}")
    if max_iter < 0:
        raise ValueError(f"max_iter must be >= 0, got {max_iter}")
    if not tol >= 0:
        raise ValueError(f"tol must be >= 0, got {tol}")
    with torch.no_grad(), evaluating(field.module):
        first, last = _scalar(field, start), _scalar(field, end)
        targets = expand_level(level, first.unsqueeze(1)).squeeze(1)
        g0, g1 = first - targets, last - targets
        nearer = g1.abs() < g0.abs()
        fractions, gaps = nearer.to(g0.dtype), torch.where(nearer, g1, g0)
        status = torch.where(g0.sign() * g1.sign() > 0, int(Status.NO_CROSSING), _SEARCHING)
        status = torch.where(gaps.abs() <= tol, int(Status.CONVERGED), status)
        finite = torch.isfinite(g0) & torch.isfinite(g1)
        for ends in (start, end):
            finite = finite & torch.isfinite(ends.flatten(1)).all(dim=1)
        status = torch.where(finite, status, int(Status.NOT_FINITE))
        iterations = torch.zeros_like(status)

        rows = torch.nonzero(status == _SEARCHING).squeeze(1)
        field, targets = field.select(rows), targets[rows]
        g0, g1 = g0[rows], g1[rows]
        s0, s1 = torch.zeros_like(g0), torch.ones_like(g1)
        # The last width from which the bracket has to halve within three iterations, and the iterations since.
        width, patience = torch.ones_like(g0), torch.zeros_like(rows)
        stayed = torch.zeros_like(g0)  # -1: the last point replaced s0, so s1 stayed; +1 the other way round
        for iteration in range(1, max_iter + 1):
            if not len(rows):
                break
            s, middle = (s0 * g1 - s1 * g0) / (g1 - g0), (s0 + s1) / 2
            s = torch.where((s > s0) & (s < s1) & (patience < 3), s, middle)
            g = _scalar(field, _between(start[rows], end[rows], s)) - targets
            replaces_first = g.sign() == g0.sign()
            better = g.abs() < gaps[rows].abs()
            fractions[rows] = torch.where(better, s, fractions[rows])
            gaps[rows] = torch.where(better, g, gaps[rows])

            ended = torch.where((middle <= s0) | (middle >= s1), int(Status.STALLED), _SEARCHING)
            ended = torch.where(g.abs() <= tol, int(Status.CONVERGED), ended)
            ended = torch.where(torch.isfinite(g), ended, int(Status.NOT_FINITE))
            status[rows], iterations[rows] = ended, iteration

            g0, g1 = (
                torch.where(replaces_first, g, torch.where(stayed == 1, g0 / 2, g0)),
                torch.where(replaces_first, torch.where(stayed == -1, g1 / 2, g1), g),
            )
            s0, s1 = torch.where(replaces_first, s, s0), torch.where(replaces_first, s1, s)
            stayed = torch.where(replaces_first, -1.0, 1.0).to(g.dtype)
            halved = s1 - s0 <= width / 2
            width, patience = torch.where(halved, s1 - s0, width), torch.where(halved, 0, patience + 1)
            left = ended == _SEARCHING
            if not bool(left.all()):
                rows, targets, field = rows[left], targets[left], field.select(left)
                s0, s1, g0, g1, stayed = s0[left], s1[left], g0[left], g1[left], stayed[left]
                width, patience = width[left], patience[left]
        status = torch.where(status == _SEARCHING, int(Status.MAX_ITER), status)
        points = _between(start, end, fractions)
        values = gaps.unsqueeze(1) + expand_level(level, gaps.unsqueeze(1))
        return Crossings(points, values, fractions, status, iterations)


def _between(start: Tensor, end: Tensor, s: Tensor) -> Tensor:
    s = s.to(start.dtype).reshape(-1, *(1,) * (start.dim() - 1))
    return torch.where(s == 1, end, start + s * (end - start))


def _scalar(field: Field, points: Tensor) -> Tensor:
    values = field(points)
    if values.shape[1] != 1:
        raise ValueError(f"field must be scalar (l = 1) to be bracketed on a segment, got l = {values.shape[1]}")
    return values.squeeze(1)
