"""
Schedules: numbers that change while training goes on.

A radius or a weight may be a number or a function of the epochs done, of which :class:`Linear` is the paper's. A
learning rate that changes within epochs, as short training wants it, is a callback: a :class:`LearningRate`, such as
:class:`Trapezoid`.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from art_levelset.checks import check_positive
from art_levelset.trainers.callbacks import Callback, TrainingView

Schedule: TypeAlias = "float | Callable[[float], float]"
"""A number, or a function of the epochs done in the trainer's life, with the fraction of the present one."""


@dataclass(frozen=True)
class Linear:
    """
    From one number to another, linearly in the epochs done, and constant afterwards.

    :param start: The number at the start of training.
    :param end: That after `nb_epochs`.
    :param nb_epochs: The epochs between them, > 0.
    :raises ValueError: If a number is not finite, or `nb_epochs` not positive.
    """

    start: float
    end: float
    nb_epochs: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise ValueError(f"start and end must be finite, got {self.start} and {self.end}")
        check_positive("nb_epochs", self.nb_epochs)

    def __call__(self, epochs: float) -> float:
        """
        The number at a time.

        :param epochs: The epochs done, >= 0.
        :return: The number.
        """
        return self.start + (self.end - self.start) * min(epochs / self.nb_epochs, 1.0)


def value_at(schedule: Schedule, epochs: float) -> float:
    """
    The value of a schedule.

    :param schedule: A number or a function.
    :param epochs: The epochs done, >= 0.
    :return: The number itself, or what the function returns.
    """
    return float(schedule(epochs)) if callable(schedule) else float(schedule)


def check_schedule(name: str, schedule: Schedule, strict: bool = True) -> None:
    """
    Check the value of a schedule at the start of training.

    :param name: What the caller calls it.
    :param schedule: The schedule.
    :param strict: Whether it must exceed zero, rather than reach it.
    :raises ValueError: If it does not, or is not finite.
    """
    value = value_at(schedule, 0.0)
    if not math.isfinite(value) or value < 0 or (strict and value == 0):
        raise ValueError(f"{name} must be {'>' if strict else '>='} 0 and finite, got {value}")


@dataclass
class LearningRate(Callback, abc.ABC):
    """
    A learning rate that changes step by step over one `fit`, whatever ends it: epochs or a time.

    :param peak: The largest learning rate, > 0.
    :raises ValueError: If it is not positive.
    """

    peak: float

    def __post_init__(self) -> None:
        check_positive("peak", self.peak)

    @abc.abstractmethod
    def factor(self, fraction: float) -> float:
        """
        The learning rate as a part of its peak.

        :param fraction: The part of the training that has passed, in [0, 1].
        :return: In [0, 1].
        """

    def on_batch_begin(self, trainer: TrainingView) -> None:
        """
        Set the learning rate of the step.

        :param trainer: The trainer.
        """
        for group in trainer.classifier.optimizer.param_groups:
            group["lr"] = self.peak * self.factor(trainer.progress.fraction)


@dataclass
class Trapezoid(LearningRate):
    """
    A learning rate that grows linearly, is held, and falls linearly to zero, step by step over one `fit`.

    :param peak: The learning rate that is held, > 0.
    :param grown: The part of the training after which it is reached, in [0, 1].
    :param held: The part of the training until which it is held, in [grown, 1].
    :raises ValueError: If a number is out of range.
    """

    grown: float = 0.1
    held: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.grown <= self.held <= 1:
            raise ValueError(f"grown and held must be in order in [0, 1], got {self.grown} and {self.held}")

    def factor(self, fraction: float) -> float:
        """
        The learning rate as a part of its peak.

        :param fraction: The part of the training that has passed, in [0, 1].
        :return: In [0, 1]; a tenth at the start.
        """
        if fraction < self.grown:
            return 0.1 + 0.9 * fraction / self.grown
        return 1.0 if fraction <= self.held else (1.0 - fraction) / (1.0 - self.held)


@dataclass
class Cosine(LearningRate):
    """
    A learning rate that falls to zero along half a cosine.

    | Paper link: https://arxiv.org/abs/1608.03983

    :param peak: The learning rate at the start, > 0.
    """

    def factor(self, fraction: float) -> float:
        """
        The learning rate as a part of its peak.

        :param fraction: The part of the training that has passed, in [0, 1].
        :return: In [0, 1]: (1 + cos(pi fraction)) / 2.
        """
        return (1 + math.cos(math.pi * fraction)) / 2


@dataclass
class Steps(LearningRate):
    """
    A learning rate that is divided at given parts of the training.

    :param peak: The learning rate at the start, > 0.
    :param at: The parts of the training after which it is divided, in [0, 1].
    :param divisor: By which number, > 0.
    :raises ValueError: If a number is out of range.
    """

    at: tuple[float, ...] = (0.5, 0.75)
    divisor: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("divisor", self.divisor)
        if not all(0 <= part <= 1 for part in self.at):
            raise ValueError(f"at must be in [0, 1], got {self.at}")

    def factor(self, fraction: float) -> float:
        """
        The learning rate as a part of its peak.

        :param fraction: The part of the training that has passed, in [0, 1].
        :return: One over the divisor for each of the parts that have passed.
        """
        return float(self.divisor ** -sum(fraction >= part for part in self.at))


@dataclass
class Constant(LearningRate):
    """
    A learning rate that stays.

    :param peak: The learning rate, > 0.
    """

    def factor(self, fraction: float) -> float:
        """
        One.

        :param fraction: Not used.
        :return: 1.
        """
        return 1.0


LEARNING_RATES: Mapping[str, Callable[[float], LearningRate]] = {
    "trapezoid": Trapezoid,
    "cosine": Cosine,
    "steps": Steps,
    "constant": Constant,
}
"""By name."""
