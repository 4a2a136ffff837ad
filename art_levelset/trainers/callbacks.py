"""Callbacks: what happens besides training, at its start, before each batch, after each epoch and at the end."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from art_levelset.checks import check_count

if TYPE_CHECKING:
    from art_levelset.trainers.base import LoopTrainer

logger = logging.getLogger(__name__)


class StopTraining(Exception):
    """Raised by a callback, in any process, to end training: after an epoch, or before a batch in the middle of one."""


class Callback:
    """Base of the callbacks; each method does nothing. With several processes every one calls its own callbacks."""

    def on_train_begin(self, trainer: LoopTrainer) -> None:
        """
        Before the first epoch of a `fit`, and after a checkpoint has been read.

        :param trainer: The trainer.
        """

    def on_batch_begin(self, trainer: LoopTrainer) -> None:
        """
        Before each step; `trainer.progress` says where training is.

        :param trainer: The trainer.
        :raises StopTraining: To end training here. The epoch's figures are lost, its steps are not.
        """

    def on_epoch_end(self, trainer: LoopTrainer, figures: dict[str, float]) -> None:
        """
        After each epoch. The classifier has the weights that `fit` would leave behind: with an average, the average.

        :param trainer: The trainer; the figures are the last of its `history`.
        :param figures: What was measured in the epoch. What is added to it becomes part of the history.
        :raises StopTraining: To end training with this epoch.
        """

    def on_train_end(self, trainer: LoopTrainer) -> None:
        """
        After the last epoch, when the classifier has the weights that `fit` leaves behind.

        :param trainer: The trainer.
        """

    def state_dict(self) -> dict[str, Any]:
        """
        What a checkpoint keeps of the callback.

        :return: Tensors, numbers, strings, and lists and dictionaries of them.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a checkpoint.

        :param state: What :meth:`state_dict` returned.
        """


class EarlyStopping(Callback):
    """
    Stop when a figure has not grown for some epochs, and leave the weights of its best epoch behind.

    Robust accuracy on validation data falls again long before the training loss stops falling ("robust
    overfitting").

    | Paper link: https://arxiv.org/abs/2002.11569

    :param metric: The figure, larger is better.
    :param patience: Epochs without a new best value after which training stops, >= 1.
    :raises ValueError: If `patience` is out of range.
    """

    def __init__(self, metric: str = "validation_robust_accuracy", patience: int = 10) -> None:
        check_count("patience", patience)
        self.metric = metric
        self.patience = patience
        self._best = -math.inf
        self._waited = 0
        self._weights: dict[str, Tensor] | None = None

    def on_epoch_end(self, trainer: LoopTrainer, figures: dict[str, float]) -> None:
        """
        Keep the weights of a new best epoch, or stop.

        :param trainer: The trainer.
        :param figures: The epoch's figures.
        :raises StopTraining: If `patience` epochs have passed since the best one.
        :raises ValueError: If the figures lack the metric.
        """
        if self.metric not in figures:
            raise ValueError(f"metric {self.metric!r} is not measured; there are {', '.join(figures)}")
        if figures[self.metric] > self._best:
            self._best, self._waited = float(figures[self.metric]), 0
            state = trainer.classifier.model.state_dict()
            self._weights = {name: tensor.detach().clone() for name, tensor in state.items()}
            return
        self._waited += 1
        if self._waited >= self.patience:
            logger.info("%s has not grown beyond %g for %d epochs", self.metric, self._best, self._waited)
            raise StopTraining

    def on_train_end(self, trainer: LoopTrainer) -> None:
        """
        Give the classifier the weights of the best epoch.

        :param trainer: The trainer.
        """
        if self._weights is not None:
            trainer.classifier.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """
        The best value, its weights, and the epochs since.

        :return: Tensors and numbers.
        """
        return {"best": self._best, "waited": self._waited, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a checkpoint.

        :param state: What :meth:`state_dict` returned.
        """
        self._best, self._waited, self._weights = state["best"], state["waited"], state["weights"]
