"""
Training for a given time in place of a number of epochs.

Everything that follows the training's progress, such as a learning rate, a warm-up or a burn-in, then follows the
clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from art_levelset.checks import check_positive
from art_levelset.distributed import world
from art_levelset.trainers.callbacks import Callback, StopTraining, TrainingView


class TimeBudget(Callback):
    """
    Training for a given time: progress is the part of it that has passed. It goes first among the callbacks, with
    `nb_epochs=UNLIMITED` or as many as there shall be at most.

    The time is counted from the beginning of a `fit` to its last step; validation counts, what comes after does not. A
    continued run has what is left of it. With several processes the first whose time is up ends the training of all.

    :param seconds: The time, > 0.
    :param clock: What tells it, in seconds.
    :raises ValueError: If the time is not positive.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        check_positive("seconds", seconds)
        self.seconds = seconds
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._started = self._clock()

    @property
    def fraction(self) -> float:
        """The part of the time that has passed, in [0, 1]."""
        return min((self._clock() - self._started) / self.seconds, 1.0)

    def on_batch_begin(self, trainer: TrainingView) -> None:
        """
        Tell the trainer where it is, or stop it.

        :param trainer: The trainer.
        :raises StopTraining: If the time is up.
        """
        trainer.progress = replace(trainer.progress, fraction=world().broadcast(self.fraction))  # of one clock
        if trainer.progress.fraction >= 1:
            raise StopTraining

    def on_epoch_end(self, trainer: TrainingView, metrics: dict[str, float]) -> None:
        """
        Tell the trainer where it is.

        :param trainer: The trainer.
        :param metrics: Not used.
        """
        trainer.progress = replace(trainer.progress, fraction=world().broadcast(self.fraction))

    def state_dict(self) -> dict[str, Any]:
        """
        The time that has passed, which a continued run does not get again.

        :return: Seconds.
        """
        return {"spent": self._clock() - self._started}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a checkpoint.

        :param state: What :meth:`state_dict` returned.
        """
        self._started = self._clock() - state["spent"]
