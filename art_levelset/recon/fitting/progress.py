"""How far a fit is: the part of its steps and seconds that is spent, and how near the surface and the cloud are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from art_levelset.checks import check_not_negative
from art_levelset.core.balls import Box
from art_levelset.core.fields import Field, values_and_jacobians
from art_levelset.core.projection import project
from art_levelset.recon.cloud.planes import PlaneDistance

SAMPLES = 1024
"""Number of samples of the cloud, and of the surface, that are measured."""

NEWTON_STEPS = 10
ON_SURFACE = 1e-3
"""|F| of the samples of the surface."""

FLATTEST = 0.1
"""|D_xF| counts as this where it is less."""


@dataclass(frozen=True)
class FitProgress:
    """
    How far a fit is.

    :param attempt: Which attempt at the fit makes the steps, counted from 1.
    :param step: Number of steps that it has made.
    :param loss: The loss of the last one.
    :param seconds: Wall seconds since the call, the set-up included, and those before an interruption.
    :param seconds_left: Estimate of those to come; with a time budget alone, what is left of it.
    :param cloud_to_surface: Mean distance of points of the cloud to the surface, in the scan's units.
    :param surface_to_cloud: Mean distance of points of the surface, near the cloud or not, to the cloud's local planes,
           in the scan's units; NaN if no point of a surface is found.
    """

    attempt: int
    step: int
    loss: float
    seconds: float
    seconds_left: float
    cloud_to_surface: float
    surface_to_cloud: float

    @property
    def chamfer(self) -> float:
        """
        The distance of the cloud and the surface.

        :return: The mean of the two distances.
        """
        return (self.cloud_to_surface + self.surface_to_cloud) / 2


class Budget:
    """
    What a fit may use, of steps and of seconds: it ends when either is used up.

    The seconds count from when the budget was made, so that they include what is done before the first step.

    :param steps: The most steps, >= 1; None for no limit.
    :param seconds: The most seconds, > 0; None for no limit.
    :param clock: Tells the seconds.
    """

    def __init__(
        self, steps: int | None, seconds: float | None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.steps, self.seconds = steps, seconds
        self.step = 0
        self._part = 0.0
        self._earlier = 0.0
        self._clock = clock
        self._made = clock()
        self._begun: tuple[float, float] = (0.0, 0.0)
        self._anew = False

    def begin(self) -> None:
        """
        What is spent from now on is spent on steps: the part of the fit that is done grows with it from here.

        :raises ValueError: If the seconds are spent before the first step of all.
        """
        self._begun = self._part, self.spent()
        if self.part() >= 1 and not self.step and not self._anew:
            raise ValueError(
                f"time_budget: {self.seconds:g} s are too few, {self.spent():.1f} s passed before the first step"
            )

    def begin_anew(self) -> None:
        """Another attempt has all the steps, and the seconds that are left."""
        self.step, self._part, self._anew = 0, 0.0, True

    def is_spent(self) -> bool:
        """
        Whether another attempt would have no time.

        :return: Whether the seconds are used up.
        """
        return self.seconds is not None and self.spent() >= self.seconds

    def spent(self) -> float:
        """
        The seconds so far.

        :return: Those since the budget was made, and those before an interruption.
        """
        return self._earlier + self._clock() - self._made

    def part(self) -> float:
        """
        The part of the fit that is done: of its steps or of the seconds that were left for them, whichever is more.

        :return: In [0, 1]; 1 when it should end.
        """
        if self.steps is not None:
            self._part = max(self._part, self.step / self.steps)
        if self.seconds is not None:
            first, since = self._begun
            left = self.seconds - since
            by_time = first + (1 - first) * (self.spent() - since) / left if left > 0 else 1.0
            self._part = max(self._part, min(by_time, 1.0))
        return self._part

    def left(self) -> float:
        """
        The seconds to come, at the pace so far.

        :return: An estimate, >= 0.
        """
        first, since = self._begun
        return (self.spent() - since) * (1 - self._part) / max(self._part - first, 1e-9)

    def state_dict(self) -> dict[str, float]:
        """
        What is spent.

        :return: Numbers, for :meth:`load_state_dict`.
        """
        return {"step": self.step, "part": self._part, "seconds": self.spent()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """
        Count what an interrupted fit had spent, the seconds as well.

        :param state: From :meth:`state_dict`.
        """
        for name in ("step", "part", "seconds"):
            check_not_negative(name, state[name])
        self.step, self._part, self._earlier = int(state["step"]), float(state["part"]), float(state["seconds"])


class FitMonitor:
    """
    Measures how far the zero level set and the cloud are from each other, on samples chosen once.

    The cloud's distance is that of one Newton step, |F| / |D_xF|. The surface's samples are projections of points
    around the cloud, and their distances are those to the local planes.

    :param field: F.
    :param cloud: Points of the cloud, (n, 3), in the unit frame.
    :param around: Query points around it, (m, 3).
    :param distance: The distance to the local planes.
    :param box: Where the surface is.
    """

    def __init__(self, field: Field, cloud: Tensor, around: Tensor, distance: PlaneDistance, box: Box) -> None:
        self._field, self._distance, self._box = field, distance, box
        generator = torch.Generator().manual_seed(0)
        self._cloud, self._around = (
            points[torch.randint(len(points), (SAMPLES,), generator=generator).to(points.device)]
            for points in (cloud, around)
        )

    def measure(self) -> tuple[float, float]:
        """
        Measure.

        :return: The mean distances of the cloud to the surface and of the surface to the cloud, in the unit frame.
        """
        values, jacobians = values_and_jacobians(self._field, self._cloud)
        slopes = torch.linalg.vector_norm(jacobians, dim=2).clamp_min(FLATTEST)
        found = project(self._field, self._around, max_iter=NEWTON_STEPS, tol=ON_SURFACE, box=self._box)
        points = found.points[found.converged]
        if not len(points):
            return float((values.abs() / slopes).mean()), float("nan")
        heights, _ = self._distance(points, torch.zeros_like(points[:, 0]), *self._distance.neighbours(points))
        return float((values.abs() / slopes).mean()), float(heights.abs().mean())
