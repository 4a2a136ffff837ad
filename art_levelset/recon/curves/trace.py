"""
Tracing a curve {F = 0}, F: R^3 -> R^2, by predictor and corrector.

The curve's tangent is the cross product of the two gradients, so the curve is oriented. From each of many seeds one
marches in this direction, all of them at once: a step along the tangent, then back to the zero set by generalized
Newton steps (eq. 4). A step is halved until the tangent turns by less than about 15 degrees and the correction is
small. A march ends at the first seed that it meets, so every seed has one successor: cycles of seeds are closed curves.
Where no step is small enough the two gradients are parallel: branches of the curve meet there.

Seeds and vertices are on the curve up to the tolerance only. At a bend, a seed outside of it can be beyond the end of
one step and behind the start of the next: a step therefore meets the seeds a little behind its start, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from art_levelset.checks import check_positive
from art_levelset.core.fields import Field, FieldLike, as_field
from art_levelset.core.projection import project
from art_levelset.core.samples import LevelSetSamples
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves.polylines import Polyline, spread

STRAIGHT = float(np.cos(np.deg2rad(15.0)))
SMALLEST_STEP = 1 / 64
CANDIDATES = 4
BESIDE = 0.25
"""A seed is met if it is beside the step, at most by this part of its length."""

BEHIND = 0.1
"""A seed that the step before went past is met up to this part of the step's length behind its start."""

LONGEST_MARCH = 4000
TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class Traced:
    """
    The zero set as far as the seeds lead.

    :param lines: Its connected components, all vertices on the zero set; open ones end at the wall or at a junction.
    :param junctions: Where the gradients are parallel, so that branches can meet, (k, 3).
    """

    lines: list[Polyline]
    junctions: Points


def trace(field: FieldLike, seeds: Tensor, *, step: float, wall: float) -> Traced:
    """
    Trace the zero set from all the seeds that can be projected to it.

    :param field: F, (n, 3) -> (n, 2).
    :param seeds: (n, 3), near the zero set or not.
    :param step: The longest step, > 0. Strands of the curve are further apart than that.
    :param wall: The curve is traced in [-wall, wall]^3.
    :return: The lines and the junctions.
    :raises ValueError: If a number is not positive or F does not have two values.
    """
    check_positive("step", step)
    check_positive("wall", wall)
    field = as_field(field)
    on_curve = _project(field, seeds, wall, 30)
    if on_curve.values.shape[1] != 2:
        raise ValueError(f"field: a curve needs two values, got {on_curve.values.shape[1]}")
    on_curve = on_curve.select(on_curve.converged)
    rows = torch.as_tensor(spread(_numpy(on_curve.points), step), device=seeds.device)
    starts = on_curve.select(rows)
    if not len(starts):
        return Traced([], np.zeros((0, 3)))
    forward = _march(field, starts, starts, step, wall)
    starts_at = _numpy(starts.points)
    successor = _unique(forward.successor, [len(path) for path in forward.paths])
    first = np.setdiff1d(np.arange(len(starts)), successor)
    # Where no march arrives, the curve comes from the wall or a junction: that part is marched backwards.
    rows = torch.as_tensor(first, device=seeds.device)
    back = _march(field, starts.select(rows), starts, step, wall, sign=-1.0)
    before = {}
    for row, met, path in zip(first.tolist(), back.successor.tolist(), back.paths, strict=True):
        if met >= 0 and successor[met] < 0:
            # The march from there went past this seed.
            successor[met] = row
            forward.paths[met] = np.concatenate([starts_at[met : met + 1], path[:0:-1]])
        else:
            before[row] = path
    lines = _linked(forward.paths, successor, before)
    ends = np.concatenate([forward.dead_ends, back.dead_ends])
    inside = np.abs(ends).max(axis=1, initial=0.0) < wall - 2 * step
    junctions = ends[inside]
    polished = [_polished(field, line, seeds, step, wall) for line in lines if len(line) > 1]
    return Traced(polished, junctions[spread(junctions, 2 * step)])


@dataclass(frozen=True, eq=False)
class _March:
    """The path from each start, the seed at its end (-1 for none), and where paths ended without one."""

    paths: list[Points]
    successor: NDArray[np.int64]
    dead_ends: Points


def _march(
    field: Field,
    starts: LevelSetSamples,
    seeds: LevelSetSamples,
    step: float,
    wall: float,
    sign: float = 1.0,
) -> _March:
    paths = [[point] for point in _numpy(starts.points)]
    successor = np.full(len(starts), -1)
    meeting = _Meeting(seeds, sign)
    rows = np.arange(len(starts))
    position, tangent = _numpy(starts.points), sign * _tangents(starts)
    lengths = np.full(len(starts), step)
    dead_ends = []
    for _ in range(LONGEST_MARCH):
        if not len(rows):
            break
        predicted = position + lengths[:, None] * tangent
        corrected = _project(field, _like(predicted, starts.points), wall, 8)
        arrived, direction = _numpy(corrected.points), sign * _tangents(corrected)
        good = corrected.converged.cpu().numpy() & ((direction * tangent).sum(axis=1) >= STRAIGHT)
        good &= np.linalg.norm(arrived - predicted, axis=1) <= lengths / 2
        met = np.full(len(rows), -1)
        met[good] = meeting(position[good], arrived[good], tangent[good])
        for row, point in zip(rows[good & (met < 0)], arrived[good & (met < 0)], strict=True):
            paths[row].append(point)
        successor[rows] = met
        lost = ~good & (lengths / 2 < SMALLEST_STEP * step)
        dead_ends.append(position[lost])
        position = np.where(good[:, None], arrived, position)
        tangent = np.where(good[:, None], direction, tangent)
        lengths = np.where(good, np.minimum(2 * lengths, step), lengths / 2)
        left = (met < 0) & ~lost
        rows, position, tangent, lengths = rows[left], position[left], tangent[left], lengths[left]
    return _March([np.array(path) for path in paths], successor, np.concatenate([np.zeros((0, 3)), *dead_ends]))


class _Meeting:
    """Which seed a step meets first, the one apart that it starts from."""

    def __init__(self, seeds: LevelSetSamples, sign: float) -> None:
        self._points = _numpy(seeds.points)
        self._directions = sign * _tangents(seeds)
        self._tree = cKDTree(self._points)

    def __call__(self, start: Points, end: Points, tangent: Points) -> NDArray[np.int64]:
        """The index of the seed, or -1, (n,)."""
        found = np.asarray(self._tree.query((start + end) / 2, k=np.arange(1, CANDIDATES + 1))[1])
        there = np.minimum(found, len(self._points) - 1)
        step = (end - start)[:, None]
        length = np.maximum((step**2).sum(axis=2), 1e-300)
        offset = self._points[there] - start[:, None]
        part = (offset * step).sum(axis=2) / length
        beside = np.linalg.norm(offset - part[:, :, None] * step, axis=2)
        meets = (part > -BEHIND) & (part <= 1) & (beside <= BESIDE * np.sqrt(length)) & (found < len(self._points))
        meets &= offset.any(axis=2)
        meets &= (self._directions[there] * tangent[:, None]).sum(axis=2) > 0.5
        choice = np.argmin(np.where(meets, part, np.inf), axis=1)
        rows = np.arange(len(start))
        return np.where(meets[rows, choice], there[rows, choice], -1)


def _unique(successor: NDArray[np.int64], steps: list[int]) -> NDArray[np.int64]:
    """Of several marches that end at one seed the shortest is kept."""
    result = np.full(len(successor), -1)
    taken = set()
    for row in np.argsort(steps, kind="stable"):
        if successor[row] >= 0 and successor[row] not in taken:
            taken.add(successor[row])
            result[row] = successor[row]
    return result


def _linked(paths: list[Points], successor: NDArray[np.int64], before: dict[int, Points]) -> list[Polyline]:
    """The paths joined to lines: first the open ones, from the seeds without a predecessor, then the cycles."""
    left = np.ones(len(paths), dtype=bool)
    lines = []
    for first in [*before, *range(len(paths))]:
        if not left[first]:
            continue
        parts = [before[first][:0:-1]] if first in before else []
        row = first
        while row >= 0 and left[row]:
            left[row] = False
            parts.append(paths[row])
            row = int(successor[row])
        lines.append(Polyline(np.concatenate(parts), closed=row >= 0))
    return lines


def _polished(field: Field, line: Polyline, like: Tensor, step: float, wall: float) -> Polyline:
    """The line with even vertices, projected to the zero set."""
    even = line.resampled(step)
    samples = _project(field, _like(even.points, like), wall, 8)
    moved = _numpy(samples.points)
    kept = samples.converged.cpu().numpy() & (np.linalg.norm(moved - even.points, axis=1) <= step)
    return Polyline(np.where(kept[:, None], moved, even.points), line.closed)


def _project(field: Field, points: Tensor, wall: float, max_iter: int) -> LevelSetSamples:
    return project(field, points, max_iter=max_iter, tol=TOLERANCE, box=(-wall, wall))


def _tangents(samples: LevelSetSamples) -> Points:
    """Unit tangents, (n, 3); zero where the gradients are parallel."""
    gradients = _numpy(samples.jacobians)
    across = np.cross(gradients[:, 0], gradients[:, 1])
    return np.asarray(across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300))


def _numpy(tensor: Tensor) -> Points:
    return np.asarray(tensor.detach().cpu(), dtype=np.float64)


def _like(points: Points, tensor: Tensor) -> Tensor:
    return torch.as_tensor(points, dtype=tensor.dtype, device=tensor.device)
