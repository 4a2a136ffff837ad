"""
The search of a level-set step, as a value: for each sample of a batch, where F is sought to be low, and how.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from art_levelset.core.ascent import ascend, seek_crossing
from art_levelset.core.balls import Box, column, steepest
from art_levelset.core.fields import Field
from art_levelset.core.modes import evaluating

Loss: TypeAlias = "tuple[Tensor | None, dict[str, float]]"
"""A mean over the samples, or None where no sample has a gradient; and metrics of the batch."""


@dataclass(frozen=True, eq=False)
class Search:
    """
    The search of the eps_j-balls around the samples of a batch for low values of F_j.

    :param x: Raw inputs, (batch, ...).
    :param field: F, one value a sample, exactly.
    :param searched: F as searches evaluate it.
    :param trained: F as a loss evaluates it that needs no exact level.
    :param start: Where the searches begin, (batch, ...).
    :param eps: The radii eps_j, (batch,), in units of the raw inputs.
    :param step: The lengths of a step, (batch,); of each one, (max_iter, batch), where a search begins anew.
    :param weights: lambda_j of the loss, (batch,).
    :param max_iter: The largest number of steps.
    :param norm: `math.inf` or 2, the norm of the balls and steps.
    :param box: The box of valid inputs, or None.
    :param values: F_j(x_j), (batch,), in evaluation mode; None where nobody has asked for them.
    :param remember: Called with the points where the next search shall go on, (batch, ...); None where it begins anew.
    :param halvings: Numbers of steps, rising and less than `max_iter`, after which only some of the samples go on; of a
           search that begins anew.
    :param goes_on: Called then with F, (batch,), infinite for those that have stopped already: which samples go on,
           (batch,), bool; None without halvings.
    :param watched: What the change of F_j along its search counts in the mean over the batch, (batch,), 0 for samples
           that do not stand for others; None where nothing is made of it.
    """

    x: Tensor
    field: Field
    searched: Field
    trained: Field
    start: Tensor
    eps: Tensor
    step: Tensor
    weights: Tensor
    max_iter: int
    norm: float
    box: Box | None
    values: Tensor | None
    remember: Callable[[Tensor], None] | None
    halvings: tuple[int, ...] = ()
    goes_on: Callable[[Tensor], Tensor] | None = None
    watched: Tensor | None = None

    def lowest(self) -> Tensor:
        """
        Where all steps of the descent on F end.

        :return: Points, (batch, ...), detached.
        """
        return ascend(lambda points: -self.searched(points).squeeze(1), self.x, **self._options())

    def lowest_of_some(self) -> tuple[Tensor, Tensor, Tensor]:
        """
        Where the descent on F ends, for the samples that the first halving lets go on.

        Who goes on is decided by F where the last step began, which is known without another pass.

        :return: Points, (n, ...), detached; the samples' numbers in the batch, (n,); and F where each sample's last
                 step began, (batch,).
        """
        ends, values = self.start.clone(), self.x.new_full((len(self.x),), math.inf)
        steps = self.step.expand(self.max_iter, len(self.x))
        rows = kept = torch.arange(len(self.x), device=self.x.device)
        done = 0
        for stop in (*self.halvings, self.max_iter):
            if len(rows):  # networks need not know what to do with no samples
                ends[rows], values[rows] = self._descended(rows, ends[rows], steps[done:stop, rows])
            done = stop
            if stop < self.max_iter and self.goes_on is not None:
                left = torch.full_like(values, math.inf)
                left[rows] = values[rows]
                rows = rows[self.goes_on(left)[rows]]
                kept = rows if stop == self.halvings[0] else kept
        return ends[kept], kept, values

    def _descended(self, rows: Tensor, start: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Where the steps of some samples end, and F where the last of them began."""
        field, values = self.searched.select(rows), []

        def down(points: Tensor) -> Tensor:
            values.append(field(points).squeeze(1))
            return -values[-1]

        options = {"eps": self.eps[rows], "step": steps, "max_iter": len(steps), "start": start}
        ends = ascend(down, self.x[rows], **{**self._options(), **options})
        return ends, values[-1].detach()

    def beginnings(self) -> Tensor:
        """
        Where the searches begin, in ball and box.

        :return: Points, (batch, ...).
        """
        return ascend(lambda points: points, self.x, **{**self._options(), "step": self.eps, "max_iter": 0})

    def remember_further(self, ends: Tensor, slopes: Tensor) -> None:
        """
        Remember where the search has ended, one step further; nothing where the next search begins anew.

        :param ends: Where it has ended, (batch, ...).
        :param slopes: What points to where F falls there, such as the gradient of a loss that falls with F, (batch,
               ...).
        """
        if self.remember is not None:
            self.remember(ends.detach() + column(self.step, self.x) * steepest(slopes, self.norm))

    def crossing(self) -> tuple[Tensor, Tensor]:
        """
        Where the descent on F ends that stops, for each sample, when F has changed its sign.

        :return: Points, (batch, ...), and for which samples F has, (batch,).
        """
        ends, crossed = seek_crossing(self.searched, self.x, **self._options())
        if self.remember is not None:
            self.remember(ends)
        return ends, crossed

    def _options(self) -> dict[str, Any]:
        return {
            "eps": self.eps,
            "step": self.step,
            "max_iter": self.max_iter,
            "norm": self.norm,
            "box": self.box,
            "start": self.start,
        }


def values_of(field: Field, x: Tensor) -> Tensor:
    """
    F at the samples, in evaluation mode and without gradients.

    :param field: F, one value a sample.
    :param x: The samples, (batch, ...).
    :return: (batch,).
    """
    with torch.no_grad(), evaluating(field.module):
        return field(x).squeeze(1)
