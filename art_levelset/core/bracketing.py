"""
A zero of F - c on a segment whose ends lie on both sides of the level set, for scalar F: where such a segment is known,
in place of eq. 4.

The false position method in its Illinois form: with g(s) = F(a + s (b - a)) - c and a bracket [s0, s1], g0 g1 < 0,

    s = (s0 g1 - s1 g0) / (g1 - g0),

s replaces the end of its own sign, and the value at the other end counts half once that end has stayed twice in a
row. That keeps the bracket and converges with order 1.44 (plain false position: linearly). Where three iterations
have not halved the bracket the next one bisects, so steep or flat functions cannot hold it up. One forward pass an
iteration, over the unfinished samples only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from art_levelset.checks import check_count, check_not_negative
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

    >>> import torch
    >>> from art_levelset import false_position
    >>> zeros = false_position(lambda x: x[:, 0] ** 3 - 1, torch.zeros(1, 2), torch.full((1, 2), 2.0))
    >>> zeros.points.round(decimals=3), zeros.fractions.round(decimals=3)
    (tensor([[1., 1.]]), tensor([0.5000]))
    """
    field = as_field(field)
    check_points(start, "start")
    check_points(end, "end")
    if start.shape != end.shape or start.dtype != end.dtype:
        raise ValueError(f"end must be shaped and typed like start, got {tuple(end.shape)} and {tuple(start.shape)}")
    check_count("max_iter", max_iter, least=0)
    check_not_negative("tol", tol)
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

        brackets = _Brackets.around(field, status == _SEARCHING, g0, g1, targets)
        for iteration in range(1, max_iter + 1):
            rows = brackets.rows
            if not len(rows):
                break
            s = brackets.fraction()
            g = _scalar(brackets.field, _between(start[rows], end[rows], s)) - brackets.targets
            better = g.abs() < gaps[rows].abs()
            fractions[rows] = torch.where(better, s, fractions[rows])
            gaps[rows] = torch.where(better, g, gaps[rows])

            ended = torch.where(brackets.exhausted, int(Status.STALLED), _SEARCHING)
            ended = torch.where(g.abs() <= tol, int(Status.CONVERGED), ended)
            ended = torch.where(torch.isfinite(g), ended, int(Status.NOT_FINITE))
            status[rows], iterations[rows] = ended, iteration

            brackets = brackets.narrowed(s, g)
            left = ended == _SEARCHING
            if not bool(left.all()):
                brackets = brackets.select(left)
        status = torch.where(status == _SEARCHING, int(Status.MAX_ITER), status)
        points = _between(start, end, fractions)
        values = gaps.unsqueeze(1) + expand_level(level, gaps.unsqueeze(1))
        return Crossings(points, values, fractions, status, iterations)


@dataclass(frozen=True, eq=False)
class _Brackets:
    """
    The brackets of the samples that are still searching, one row each.

    :param field: F of these samples.
    :param rows: Their rows in the batch.
    :param targets: Their levels.
    :param s0: The end at the start of the segment, a fraction of it.
    :param s1: The other end.
    :param g0: F - c at s0, halved where that end has stayed.
    :param g1: The same at s1.
    :param stayed: -1 where the last point replaced s0, so that s1 stayed; +1 the other way round; 0 at first.
    :param width: The last width from which the bracket has to halve within three iterations.
    :param patience: The iterations since.
    """

    field: Field
    rows: Tensor
    targets: Tensor
    s0: Tensor
    s1: Tensor
    g0: Tensor
    g1: Tensor
    stayed: Tensor
    width: Tensor
    patience: Tensor

    @classmethod
    def around(cls, field: Field, searching: Tensor, g0: Tensor, g1: Tensor, targets: Tensor) -> _Brackets:
        """The whole segments of the samples that search, with F - c at their ends."""
        rows = torch.nonzero(searching).squeeze(1)
        g0, g1 = g0[rows], g1[rows]
        zeros, ones = torch.zeros_like(g0), torch.ones_like(g0)
        return cls(field.select(rows), rows, targets[rows], zeros, ones, g0, g1, zeros, ones, torch.zeros_like(rows))

    @property
    def middle(self) -> Tensor:
        """The middle of each bracket."""
        return (self.s0 + self.s1) / 2

    @property
    def exhausted(self) -> Tensor:
        """Whether no number of this dtype is between the ends, bool."""
        return (self.middle <= self.s0) | (self.middle >= self.s1)

    def fraction(self) -> Tensor:
        """Where to look next: by false position or, where that is slow or leads out of the bracket, in the middle."""
        s = (self.s0 * self.g1 - self.s1 * self.g0) / (self.g1 - self.g0)
        return torch.where((s > self.s0) & (s < self.s1) & (self.patience < 3), s, self.middle)

    def narrowed(self, s: Tensor, g: Tensor) -> _Brackets:
        """The brackets when F - c is g at s."""
        first = g.sign() == self.g0.sign()  # the point replaces s0
        g0 = torch.where(first, g, torch.where(self.stayed == 1, self.g0 / 2, self.g0))
        g1 = torch.where(first, torch.where(self.stayed == -1, self.g1 / 2, self.g1), g)
        s0, s1 = torch.where(first, s, self.s0), torch.where(first, self.s1, s)
        stayed = torch.where(first, -1.0, 1.0).to(g.dtype)
        halved = s1 - s0 <= self.width / 2
        width, patience = torch.where(halved, s1 - s0, self.width), torch.where(halved, 0, self.patience + 1)
        return replace(self, s0=s0, s1=s1, g0=g0, g1=g1, stayed=stayed, width=width, patience=patience)

    def select(self, left: Tensor) -> _Brackets:
        """Some of the samples."""
        tensors = {item.name: getattr(self, item.name)[left] for item in fields(self) if item.name != "field"}
        return _Brackets(self.field.select(left), **tensors)


def _between(start: Tensor, end: Tensor, s: Tensor) -> Tensor:
    s = s.to(start.dtype).reshape(-1, *(1,) * (start.dim() - 1))
    return torch.where(s == 1, end, start + s * (end - start))


def _scalar(field: Field, points: Tensor) -> Tensor:
    values = field(points)
    if values.shape[1] != 1:
        raise ValueError(f"field must be scalar (l = 1) to be bracketed on a segment, got l = {values.shape[1]}")
    return values.squeeze(1)
