"""
Callbacks: what happens besides training, at its start, before each batch, after each epoch and at the end.

A callback sees a :class:`TrainingView` of the trainer. Here are also early stopping and the logs of the history, a CSV
file and TensorBoard's.
"""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from art.estimators.classification import PyTorchClassifier
from torch import Tensor

from art_levelset.checks import check_count
from art_levelset.files import write_bytes
from art_levelset.tensors import check_form

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """
    Where training is.

    :param epoch: Epochs completed in the trainer's life, >= 0.
    :param epochs: The same with the part of the epoch that has passed.
    :param fraction: The part of this `fit` that has passed, in [0, 1].
    """

    epoch: int = 0
    epochs: float = 0.0
    fraction: float = 0.0


class TrainingView(Protocol):
    """
    What a callback sees of a trainer.

    :param progress: Where training is; a callback may put another one in its place, such as one by the clock.
    """

    progress: Progress

    @property
    def classifier(self) -> PyTorchClassifier:
        """The classifier with its model and its optimizer."""

    @property
    def history(self) -> list[dict[str, float]]:
        """The metrics of each epoch trained so far."""


class StopTraining(Exception):
    """Raised by a callback, in any process, to end training: after an epoch, or before a batch in the middle of one."""


class Callback:
    """Base of the callbacks; each method does nothing. With several processes every one calls its own callbacks."""

    def reset(self) -> None:
        """Forget what an earlier `fit` has left: called before each `fit`, and before a checkpoint is read."""

    def on_train_begin(self, trainer: TrainingView) -> None:
        """
        Before the first epoch of a `fit`, and after a checkpoint has been read.

        :param trainer: The trainer.
        """

    def on_batch_begin(self, trainer: TrainingView) -> None:
        """
        Before each step; `trainer.progress` says where training is.

        :param trainer: The trainer.
        :raises StopTraining: To end training here. What has been done of the epoch is measured and kept as its last.
        """

    def on_epoch_end(self, trainer: TrainingView, metrics: dict[str, float]) -> None:
        """
        After each epoch. The classifier has the weights that `fit` would leave behind: with an average, the average.

        :param trainer: The trainer; the metrics are the last of its `history`.
        :param metrics: What was measured in the epoch. What is added to it becomes part of the history.
        :raises StopTraining: To end training with this epoch.
        """

    def on_train_end(self, trainer: TrainingView) -> None:
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
    Stop when a metric has not grown for some epochs, and leave the weights of its best epoch behind.

    Robust accuracy on validation data falls again long before the training loss stops falling ("robust
    overfitting").

    | Paper link: https://arxiv.org/abs/2002.11569

    :param metric: The metric, larger is better.
    :param patience: Epochs without a new best value after which training stops, >= 1.
    :raises ValueError: If `patience` is out of range.
    """

    def __init__(self, metric: str = "validation_robust_accuracy", patience: int = 10) -> None:
        check_count("patience", patience)
        self.metric = metric
        self.patience = patience
        self.reset()

    def reset(self) -> None:
        """Forget the best epoch of an earlier `fit`."""
        self._best = -math.inf
        self._waited = 0
        self._weights: dict[str, Tensor] | None = None

    def on_epoch_end(self, trainer: TrainingView, metrics: dict[str, float]) -> None:
        """
        Keep the weights of a new best epoch, or stop.

        :param trainer: The trainer.
        :param metrics: The epoch's metrics.
        :raises StopTraining: If `patience` epochs have passed since the best one.
        :raises ValueError: If the metrics lack the metric.
        """
        if self.metric not in metrics:
            raise ValueError(f"metric {self.metric!r} is not measured; there are {', '.join(metrics)}")
        if metrics[self.metric] > self._best:
            self._best, self._waited = float(metrics[self.metric]), 0
            state = trainer.classifier.model.state_dict()
            self._weights = {name: tensor.detach().clone() for name, tensor in state.items()}
            return
        self._waited += 1
        if self._waited >= self.patience:
            logger.info("%s has not grown beyond %g for %d epochs", self.metric, self._best, self._waited)
            raise StopTraining

    def on_train_end(self, trainer: TrainingView) -> None:
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
        check_form("EarlyStopping", {**state, "weights": None}, self.state_dict() | {"weights": None})
        weights = state["weights"]
        if weights is not None and not all(isinstance(weight, Tensor) for weight in dict(weights).values()):
            raise ValueError("EarlyStopping: its weights are no tensors")
        self._best, self._waited, self._weights = state["best"], state["waited"], weights


class CSVLog(Callback):
    """
    The history as a CSV file, one row an epoch, written anew after each epoch.

    :param path: The file, in a folder that exists.
    :raises OSError: If the folder does not exist, or the file is one.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        if not self._path.parent.is_dir():
            raise FileNotFoundError(f"csv_file: the folder {self._path.parent} does not exist")
        if self._path.is_dir():
            raise IsADirectoryError(f"csv_file: {self._path} is a folder")

    def on_epoch_end(self, trainer: TrainingView, metrics: dict[str, float]) -> None:
        """
        Write the file. One that cannot be written is logged, and does not end the training.

        :param trainer: The trainer.
        :param metrics: The epoch's metrics.
        """
        columns = list(dict.fromkeys(name for row in trainer.history for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(trainer.history)
        try:
            write_bytes(text.getvalue().encode(), self._path, durable=True)
        except OSError as error:  # the next epoch writes all rows again
            logger.warning("%s cannot be written (%s); training goes on", self._path, error.strerror or error)


class TensorBoardLog(Callback):
    """
    The metrics of each epoch as TensorBoard's scalars.

    :param folder: Its log folder.
    :raises ImportError: If the package tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("tensorboard_dir needs the package tensorboard: pip install tensorboard") from error
        self._make = SummaryWriter
        self._folder = folder
        self.reset()

    def reset(self) -> None:
        """Begin new files, beside those of an earlier `fit`."""
        self._writer: SummaryWriter | None = None

    def on_epoch_end(self, trainer: TrainingView, metrics: dict[str, float]) -> None:
        """
        Write the metrics. What an earlier, killed run has written about this epoch and later ones is left out.

        :param trainer: The trainer.
        :param metrics: The epoch's metrics.
        """
        epoch = len(trainer.history)
        if self._writer is None:
            self._writer = self._make(str(self._folder), purge_step=epoch)
        for name, value in metrics.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def on_train_end(self, trainer: TrainingView) -> None:
        """
        Close the files.

        :param trainer: The trainer.
        """
        if self._writer is not None:
            self._writer.close()
