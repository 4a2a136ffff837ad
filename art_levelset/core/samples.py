"""
What searches for level sets take and return: points and levels, the samples, and how the search ended for each.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from enum import IntEnum

import torch
from torch import Tensor


class Status(IntEnum):
    """
    How the search ended for one sample. Only `CONVERGED` says that the point is on the level set and usable.

    Tensors hold the numbers; `Status(number)` is the status, and its `explanation` says what it means.

    >>> from art_levelset import Status
    >>> Status(2)
    <Status.STALLED: 2>
    >>> Status.STALLED.explanation
    'no representable step reduces the residual any further'
    """

    explanation: str

    def __new__(cls, number: int, explanation: str = "") -> Status:
        """Make a status that is equal to its number."""
        status = int.__new__(cls, number)
        status._value_ = number
        status.explanation = explanation
        return status

    CONVERGED = 0, "on the level set within the tolerance, and D_xF has full rank there"
    MAX_ITER = 1, "the iteration limit came first"
    STALLED = 2, "no representable step reduces the residual any further"
    ZERO_GRADIENT = (
        3,
        "D_xF is zero (or its inverse overflows) at the point: no step leads to the level set, eq. 8 is undefined",
    )
    RANK_DEFICIENT = 4, "D_xF has a rank between 0 and l at the point: the level set is not a (d - l)-manifold there"
    LEFT_DOMAIN = 5, "the search ends at the wall of the box: every step that reduces the residual leads out of it"
    NOT_FINITE = (
        6,
        "the point, F or D_xF is infinite or not a number; the point is the last one where all were finite, if any",
    )
    NO_CROSSING = (
        7,
        "F - c has the same sign at both ends of the segment, or no sign change was met within the search region",
    )


class Judged:
    """Rows of points of which each has a status: what every search returns is one. Its text counts and explains."""

    points: Tensor
    status: Tensor

    def __len__(self) -> int:
        return len(self.points)

    def __str__(self) -> str:
        counts = Counter(Status(number) for number in self.status.tolist())
        told = [f"{counts[status]} {status.name.lower()} ({status.explanation})" for status in sorted(counts)]
        return f"{len(self)} samples: {'; '.join(told) or 'none'}"

    @property
    def converged(self) -> Tensor:
        """Whether each point is on its level set, (batch,), bool."""
        return self.status == Status.CONVERGED


@dataclass(frozen=True, eq=False)
class LevelSetSamples(Judged):
    """
    Points and what the level-set function is there, one row a sample, all detached.

    :param points: p, (batch, ...).
    :param values: F(p), (batch, l): the level c = F(p; theta_0) that eq. 9 keeps p on, also for points that failed.
    :param jacobians: D_xF(p), (batch, l, ...).
    :param status: A :class:`Status` a sample, (batch,), int64.
    :param iterations: The iterations spent on each sample, (batch,), int64.

    >>> import torch
    >>> from art_levelset import LevelSetSamples, Status
    >>> points, status = torch.zeros(3, 2), torch.tensor([Status.CONVERGED, Status.STALLED, Status.CONVERGED])
    >>> samples = LevelSetSamples(points, points[:, :1], points[:, None], status, torch.arange(3))
    >>> samples.converged
    tensor([ True, False,  True])
    >>> print(samples.select(samples.converged))
    2 samples: 2 converged (on the level set within the tolerance, and D_xF has full rank there)
    """

    points: Tensor
    values: Tensor
    jacobians: Tensor
    status: Tensor
    iterations: Tensor

    def select(self, rows: Tensor) -> LevelSetSamples:
        """
        A part of the samples. Select the same rows of the field: `field.select(rows)`.

        :param rows: Indices or a boolean mask.
        :return: The samples of those rows.
        """
        return LevelSetSamples(*(getattr(self, item.name)[rows] for item in fields(self)))


def check_points(points: Tensor, name: str = "points") -> None:
    """
    Check that points are what every search of the core takes: a floating-point tensor (batch, ...).

    :param points: The points.
    :param name: What the caller calls them.
    :raises TypeError: If they are no tensor.
    :raises ValueError: If they are not floating point or have fewer than two dimensions.
    """
    if not isinstance(points, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(points).__name__}")
    if not points.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {points.dtype}")
    if points.dim() < 2:
        raise ValueError(
            f"{name} must have the shape (batch, ...) with at least two dimensions, got {tuple(points.shape)}"
        )


def expand_level(level: float | Tensor, values: Tensor) -> Tensor:
    """
    The level of each value.

    :param level: A number, or a tensor (), (batch,) or (batch, l).
    :param values: F, (batch, l): gives shape, dtype and device.
    :return: (batch, l).
    :raises ValueError: If the level has another shape.
    """
    level = torch.as_tensor(level, dtype=values.dtype, device=values.device).detach()
    if level.dim() == 1 and len(level) == len(values):
        level = level.unsqueeze(1)
    if level.dim() not in (0, 2) or (level.dim() == 2 and level.shape not in (values.shape, (len(values), 1))):
        raise ValueError(
            f"level must be a number or have the shape ({len(values)},) or {tuple(values.shape)}, "
            f"got {tuple(level.shape)}"
        )
    return level.expand_as(values)
