"""
The search for the nearest point of a network's decision boundary, one batch at a time.

On the field F = (f_y - max_{i != y} f_i) / scale (eq. 1, in units of the margin at the sample x):

1. a crossing: x moved to the linearised level set of each other class, the nearest first (generalized Newton, in the
   norm and the box); where that does not cross, :func:`seek_crossing` in balls that double;
2. the false position method from x to the crossing;
3. along the boundary: steepest steps of decreasing length in the ball just smaller than the distance found so far,
   which shrinks whenever a step crosses and gives way a little otherwise.

:func:`search_elsewhere` looks again, from a crossing that is sought from a random point. Where linearised level sets
hold no crossing, as in L_2 on networks trained for L_inf, a second search gains more than a longer one.

What is returned is misclassified, so its distance is an upper bound of the distance to the boundary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from art_levelset.attacks.inputs import clamped
from art_levelset.core.ascent import seek_crossing
from art_levelset.core.balls import Box, column, steepest, to_ball, walls
from art_levelset.core.bracketing import false_position
from art_levelset.core.distances import linearised_distance, lp_distance, nearest_in_half_space
from art_levelset.core.fields import Field, label_margin, values_and_jacobians

MOST_CLASSES = 9
"""Other classes whose linearised level sets are tried, those with the largest logits: each costs a gradient."""

GRADIENTS_A_CLASS = 10
"""Of so many gradients one is spent on such a class, and one in any case, where gradients are limited."""

OVERSHOOT = (1.0, 1.1, 1.5, 2.0)
"""How far beyond the linearised level set a crossing is looked for."""

SEARCH = 50
"""Gradients of a search: where they are limited and more may be spent, there are several."""

WIDER = 2.5
"""Radius of the first balls in which crossings elsewhere are sought, as a share of the distance found."""

DOUBLINGS = 12
SEEKING_STEPS = 4
SEEKING_STRIDE = 0.5
"""Steps in search of a crossing, and their length as a share of the ball's radius: few and long ones."""

BEYOND = 1e-5
"""How far beyond the boundary points are placed, in units of the margin at the sample."""

ROUNDING = 8
"""The least that this may be, in units of the last place of the largest logit: rounding must not bring points back."""

SHRINKING = (0.1, 0.001)
"""First and last share by which the ball shrinks after a crossing, and gives way otherwise."""

STRIDE = (0.5, 0.003)
"""First and last length of a step along the boundary, as a share of the ball's radius."""


@dataclass(frozen=True, eq=False)
class Found:
    """
    The nearest misclassified points found.

    :param points: (batch, ...); the sample itself where it is misclassified or nothing was found.
    :param distances: (batch,); infinite where nothing was found.
    :param classes: (batch, k): the other classes with the largest logits, by the distance of their linearised level
           sets, the nearest first.
    """

    points: Tensor
    distances: Tensor
    classes: Tensor


def nearest_misclassified(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: float,
    box: Box | None,
    max_iter: int,
    generator: torch.Generator,
    max_gradients: int | None = None,
) -> Found:
    """
    Look for the misclassified point nearest to each sample.

    :param model: A classifier (batch, ...) -> (batch, classes), in evaluation mode.
    :param x: Samples, (batch, ...), in the box, on the model's device and in its dtype.
    :param y: Labels, (batch,), int64.
    :param norm: `math.inf` or 2.
    :param box: (low, high) that no point leaves.
    :param max_iter: Steps along the boundary, >= 1.
    :param generator: The source of the random starts, on the model's device.
    :param max_gradients: What a sample may cost, >= 2: fewer classes are tried and fewer steps made then, and searches
           elsewhere follow from two times :data:`SEARCH` on. A crossing is sought for even where it costs more. None
           for :data:`MOST_CLASSES` classes, all steps, and one search.
    :return: What was found.
    :raises ValueError: If the network's gradients are not numbers.
    """
    task, logits = _Task.of(model, x, y, norm, box)
    others = logits.scatter(1, y.unsqueeze(1), -torch.inf).topk(min(MOST_CLASSES, logits.shape[1] - 1), dim=1).indices
    right = label_margin(logits, y) > 0
    found = Found(x.clone(), torch.where(right, torch.inf, 0.0).to(x.dtype), others)
    rows = torch.nonzero(right).squeeze(1)
    task = task.select(rows)
    searches = 1 if max_gradients is None else max(1, max_gradients // SEARCH)
    each = None if max_gradients is None else max_gradients // searches
    classes = MOST_CLASSES if max_gradients is None else min(MOST_CLASSES, 1 + max_gradients // GRADIENTS_A_CLASS)
    crossed, points, order, spent = _first_crossings(task, others[rows, :classes], generator)
    found.classes[rows, : order.shape[1]] = order
    nearest, distances = _walked(task, points, crossed, _steps(max_iter, each, classes + spent))
    for _ in range(searches - 1):
        crossed, points, spent = _sought(task, distances * (WIDER / 2), generator)
        ends, far = _walked(task, points, crossed, _steps(max_iter, each, spent))
        nearest = torch.where(column(far < distances, nearest), ends, nearest)
        distances = torch.minimum(distances, far)
    found.points[rows], found.distances[rows] = nearest, distances
    return found


def search_elsewhere(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    known: Tensor,
    *,
    norm: float,
    box: Box | None,
    max_iter: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """
    Look for misclassified points once more, from crossings that are sought from random points.

    :param model: A classifier (batch, ...) -> (batch, classes), in evaluation mode.
    :param x: Samples that are classified right, (batch, ...), in the box, on the model's device and in its dtype.
    :param y: Labels, (batch,), int64.
    :param known: The distances of points found before, (batch,), > 0: crossings are sought a little farther away first.
    :param norm: `math.inf` or 2.
    :param box: (low, high) that no point leaves.
    :param max_iter: Steps along the boundary, >= 1.
    :param generator: The source of the random starts, on the model's device.
    :return: The nearest points found now, (batch, ...), and their distances, (batch,), infinite where none was found.
    :raises ValueError: If the network's gradients are not numbers.
    """
    task, _ = _Task.of(model, x, y, norm, box)
    crossed, points, spent = _sought(task, known * (WIDER / 2), generator)
    return _walked(task, points, crossed, _steps(max_iter, None, spent))


@dataclass(frozen=True, eq=False)
class _Task:
    """Samples, and the units of F for them."""

    model: nn.Module
    x: Tensor
    y: Tensor
    units: Tensor
    norm: float
    box: Box | None

    @classmethod
    def of(cls, model: nn.Module, x: Tensor, y: Tensor, norm: float, box: Box | None) -> tuple[_Task, Tensor]:
        """The task, and the logits of the samples."""
        with torch.no_grad():
            logits = model(x)
        least = ROUNDING * torch.finfo(logits.dtype).eps / BEYOND * logits.abs().amax(dim=1)
        return cls(model, x, y, torch.maximum(label_margin(logits, y), least), norm, box), logits

    def select(self, rows: Tensor) -> _Task:
        return _Task(self.model, self.x[rows], self.y[rows], self.units[rows], self.norm, self.box)

    @property
    def field(self) -> Field:
        return Field(
            lambda points, y, scale: label_margin(self.model(points), y) / scale, self.model, (self.y, self.units)
        )

    def values_and_gradients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        values, jacobians = values_and_jacobians(self.field, points)
        if not torch.isfinite(jacobians).all():
            raise ValueError("model: its gradients are not all finite numbers")
        return values.squeeze(1), jacobians.squeeze(1)

    def crosses(self, points: Tensor) -> Tensor:
        with torch.no_grad():
            return _beyond(self.field(points).squeeze(1))

    def distances(self, points: Tensor) -> Tensor:
        return lp_distance(self.x, points, self.norm)

    def on_segment(self, points: Tensor) -> Tensor:
        """The crossing on the segment from x to each misclassified point, on its far side."""
        found = false_position(self.field, self.x, points, level=-BEYOND, tol=BEYOND / 2).points
        left = torch.nonzero(~self.crosses(found)).squeeze(1)  # where F jumps, or is rounded more coarsely
        for share in (1e-4, 1e-3, 1e-2, 0.1, 1.0):
            if not len(left):
                break
            found[left] += share * (points[left] - found[left])
            left = left[~self.select(left).crosses(found[left])]
        found[left] = points[left]
        return found


def _beyond(values: Tensor) -> Tensor:
    """Whether points are on the other side of the boundary, and not by rounding only."""
    return values < -BEYOND / 4


def _first_crossings(task: _Task, others: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """
    Whether a misclassified point was found for each sample, (batch,), the points, the classes in order, and the
    gradients spent on seeking.
    """
    points, crossed = task.x.clone(), torch.zeros_like(task.y, dtype=torch.bool)
    spent = torch.zeros_like(task.y)
    if not len(points):
        return crossed, points, others, spent
    steps, radii, others = _linearised(task, others)
    for factor in OVERSHOOT:
        rows = torch.nonzero(~crossed).squeeze(1)
        if not len(rows):
            return crossed, points, others, spent
        trial = clamped(task.x[rows] + factor * steps[rows], task.box)
        over = task.select(rows).crosses(trial)
        points[rows[over]], crossed[rows[over]] = trial[over], True
    rows = torch.nonzero(~crossed).squeeze(1)
    crossed[rows], points[rows], spent[rows] = _sought(task.select(rows), radii[rows], generator)
    return crossed, points, others, spent


def _sought(task: _Task, radii: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """
    Whether a misclassified point was found for each sample, (batch,), from random points of balls of two times the
    radii, then of two times these, and so on; the points, and the gradients spent.
    """
    points, crossed = task.x.clone(), torch.zeros_like(task.y, dtype=torch.bool)
    spent, largest = torch.zeros_like(task.y), _reach(task)
    radii = torch.minimum(radii.clamp(min=torch.finfo(radii.dtype).eps), largest)
    for _ in range(DOUBLINGS):
        rows = torch.nonzero(~crossed).squeeze(1)
        if not len(rows):
            break
        radii = torch.minimum(2 * radii, largest)
        trial, over = seek_crossing(
            task.select(rows).field,
            task.x[rows],
            eps=radii[rows],
            step=radii[rows] * SEEKING_STRIDE,
            max_iter=SEEKING_STEPS,
            norm=task.norm,
            box=task.box,
            generator=generator,
        )
        over &= task.select(rows).crosses(trial)
        points[rows[over]], crossed[rows[over]] = trial[over], True
        spent[rows] += SEEKING_STEPS
    return crossed, points, spent


def _steps(max_iter: int, allowed: int | None, spent: Tensor) -> Tensor:
    """How many steps along the boundary samples may make, (batch,)."""
    return torch.full_like(spent, max_iter) if allowed is None else (allowed - spent).clamp(1, max_iter)


def _walked(task: _Task, points: Tensor, crossed: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Where steps along the boundary end, and how far that is: infinite where there is no misclassified point."""
    ends, distances = task.x.clone(), torch.full_like(points.flatten(1)[:, 0], torch.inf)
    for count in sorted(set(steps[crossed].tolist())):
        some = crossed & (steps == count)
        part = task.select(some)
        ends[some] = _along_the_boundary(part, part.on_segment(points[some]), count)
        distances[some] = part.distances(ends[some])
    return ends, distances


def _linearised(task: _Task, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """
    From each x the way to the nearest linearised level set of another class (or 0), a radius to start from, and the
    classes by the distances of theirs.
    """

    def margins(points: Tensor, y: Tensor, scale: Tensor, others: Tensor) -> Tensor:
        logits: Tensor = task.model(points)
        return (logits.gather(1, y.unsqueeze(1)) - logits.gather(1, others)) / scale.unsqueeze(1)

    values, jacobians = values_and_jacobians(Field(margins, task.model, (task.y, task.units, others)), task.x)
    if not torch.isfinite(jacobians).all():
        raise ValueError("model: its gradients are not all finite numbers")
    steps, lengths = torch.zeros_like(task.x), torch.full_like(values, torch.inf)
    for i in range(others.shape[1]):
        depth = values[:, i] + BEYOND
        ends, reached = nearest_in_half_space(task.x, jacobians[:, i], depth, norm=task.norm, box=task.box)
        far = torch.where(reached, task.distances(ends), torch.inf)
        nearer = far < lengths.amin(dim=1)
        steps = torch.where(column(nearer, steps), ends - task.x, steps)
        lengths[:, i] = far
    nearest = lengths.amin(dim=1)
    radii = linearised_distance(values[:, 0], jacobians[:, :1], task.norm)
    order = lengths.argsort(dim=1, stable=True)
    return steps, torch.where(nearest.isfinite(), nearest, radii), others.gather(1, order)


def _along_the_boundary(task: _Task, points: Tensor, max_iter: int) -> Tensor:
    """Nearer misclassified points than those given, on the far side of the boundary."""
    best, distances = points.clone(), task.distances(points)
    current, radii = points, distances * (1 - SHRINKING[0])
    for iteration in range(max_iter):
        share = (1 + math.cos(math.pi * iteration / max_iter)) / 2
        stride, shrinking = (last + share * (first - last) for first, last in (STRIDE, SHRINKING))
        values, gradients = task.values_and_gradients(current)
        far = task.distances(current)
        over = _beyond(values)
        nearer = over & (far < distances)
        best = torch.where(column(nearer, best), current, best)
        distances = torch.where(nearer, far, distances)
        radii = torch.where(
            over,
            torch.minimum(radii, distances) * (1 - shrinking),
            torch.minimum(radii * (1 + shrinking), distances * (1 - SHRINKING[1])),
        )
        current = current - column(stride * radii, current) * steepest(gradients, task.norm)
        current = clamped(to_ball(current, task.x, radii, task.norm), task.box)
    over = task.crosses(current) & (task.distances(current) < distances)
    return task.on_segment(torch.where(column(over, best), current, best))


def _reach(task: _Task) -> Tensor:
    """The distance to the farthest point of the box, (batch,)."""
    if task.box is None:
        return torch.full_like(task.units, torch.finfo(task.units.dtype).max ** 0.5)
    low, high = walls(task.box, task.x)
    return lp_distance(torch.maximum(task.x - low, high - task.x), torch.zeros_like(task.x), task.norm)
