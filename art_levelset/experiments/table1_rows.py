"""
The rows of Table 1: what the paper reports, and how each network is trained here for a given processor time.

All rows of a data set have batches of 128, Adam and one trapezoidal learning rate, that of our preset. The adversarial
trainers search with :data:`ATTACK_STEPS` steps of 2.5 radii in all; the radius grows from zero over the first 30% of
the time, as that of the package's default does. The paper's have steps of 0.01 and no such growth, but epochs by the
hundred. Madry's with five steps, which do for TRADES, learned in 100 seconds to withstand that search alone (radius
0.4): 94.9% clean, and nothing left by PGD with steps of 0.01. The rows "ours, eq. 12" have the paper's
preset, its schedules in the same parts of the time as they have there of 200 epochs.

A killed training goes on from its last checkpoint with the time that is left: checkpoints are written every
:data:`SLICE` steps, the processor time among what they keep.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from art_levelset.experiments.equal_budget_rows import BATCH_SIZE, EXECUTION, Deadline
from art_levelset.files import replacing
from art_levelset.models import CLASSIFIERS
from art_levelset.tensors import load_tensors
from art_levelset.trainers.adversarial import MadryTrainer, PGDTrainer, TRADESTrainer
from art_levelset.trainers.augmentation import crop_and_flip
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.batches import ArrayBatches, Batch
from art_levelset.trainers.callbacks import Callback, TrainingView
from art_levelset.trainers.margin import LevelSetMarginTrainer
from art_levelset.trainers.presets import PRESETS
from art_levelset.trainers.schedules import Trapezoid
from art_levelset.untrusted import opened

ATTACK_STEPS = {"Madry": 10, "TRADES": 5}
WARMUP = 0.3
SLICE = 40
"""Steps between two checkpoints."""

CIFAR10_EPS = 0.031


@dataclass(frozen=True)
class Row:
    """
    A row of the table.

    :param method: As the paper calls it; with "default" what it does not have, this package's default.
    :param data: The data set.
    :param architecture: The network's name in :data:`art_levelset.models.CLASSIFIERS`.
    :param eps: Radius of the training, None for standard training.
    :param paper: The paper's clean accuracy and robust accuracies by cross-entropy and margin, percent; None where it
           has none.
    :param released: The authors' file.
    """

    method: str
    data: str
    architecture: str
    eps: float | None
    paper: tuple[float, float, float] | None
    released: str | None = None


_MNIST, _CIFAR10 = ("mnist", "convnet4a"), ("cifar10", "convnet4b")
ROWS: dict[str, Row] = {
    "mnist-standard": Row("standard", *_MNIST, None, (99.34, 13.59, 0.00), "xent.pth"),
    "mnist-madry-0.3": Row("Madry", *_MNIST, 0.3, (99.35, 96.04, 96.11), "madry_eps0.3.pth"),
    "mnist-madry-0.4": Row("Madry", *_MNIST, 0.4, (99.16, 96.54, 96.53)),
    "mnist-trades-0.3": Row("TRADES", *_MNIST, 0.3, (98.97, 96.75, 96.74)),
    "mnist-trades-0.4": Row("TRADES", *_MNIST, 0.4, (98.62, 96.78, 96.76)),
    "mnist-ours-0.4": Row("ours, eq. 12", *_MNIST, 0.4, (99.35, 99.23, 97.35), "levelset_eps0.4.pth"),
    "mnist-default-0.4": Row("ours, default", *_MNIST, 0.4, None),
    "cifar10-standard": Row("standard", *_CIFAR10, None, (83.67, 0.00, 0.00)),
    "cifar10-madry-0.031": Row("Madry", *_CIFAR10, 0.031, (71.86, 39.84, 38.18)),
    "cifar10-madry-0.045": Row("Madry", *_CIFAR10, 0.045, (63.66, 41.53, 39.13)),
    "cifar10-trades-0.031": Row("TRADES", *_CIFAR10, 0.031, (71.24, 41.89, 38.40)),
    "cifar10-trades-0.045": Row("TRADES", *_CIFAR10, 0.045, (68.24, 42.04, 38.18)),
    "cifar10-ours-0.045": Row("ours, eq. 12", *_CIFAR10, 0.045, (71.96, 38.45, 38.54)),
    "cifar10-default-0.045": Row("ours, default", *_CIFAR10, 0.045, None),
}
"""The table's rows for ConvNet-4a and 4b, in its order, and the package's default below each data set's."""


class Slices(ArrayBatches):
    """
    Arrays in epochs of a few batches, so that there are checkpoints in between: passes over the data, cut.

    :param x: Inputs, (n, ...).
    :param y: Integer labels, (n,).
    :param batch_size: Samples a batch, >= 1.
    :param nb_batches: Batches in a slice, >= 1; the last slice of a pass may have fewer.
    """

    def __init__(self, x: NDArray[Any], y: NDArray[np.int64], batch_size: int, nb_batches: int) -> None:
        super().__init__(x, y, batch_size)
        self._slices = math.ceil(self.nb_batches / nb_batches)
        self.nb_batches = min(nb_batches, self.nb_batches)

    def epoch(self, seed: int, number: int) -> Iterator[Batch]:
        """
        The batches of a slice.

        :param seed: Seed of the shuffling, >= 0.
        :param number: The slice's number, >= 0.
        :return: After all slices of a pass, every sample once.
        """
        passes, part = divmod(number, self._slices)
        first = part * self.nb_batches
        return islice(super().epoch(seed, passes), first, first + self.nb_batches)


class StandardTrainer(LoopTrainer):
    """Training with the cross-entropy at the samples."""

    def batch_loss(self, x: Tensor, y: Tensor, rows: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        """
        The cross-entropy.

        :param x: Inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: Not used.
        :return: The loss, and the metric `accuracy`.
        """
        logits = self.trained_network(x)
        return functional.cross_entropy(logits, y), {"accuracy": (logits.argmax(dim=1) == y).float().mean().item()}


class Growth(Callback):
    """
    The radius of an adversarial trainer, growing linearly from zero over the first part of the training.

    :param trainer: The trainer; between slices it has its full radius, which checkpoints are compared by.
    """

    def __init__(self, trainer: PGDTrainer) -> None:
        self._trainer, self._full = trainer, (trainer.eps, trainer.eps_step)

    def on_batch_begin(self, trainer: TrainingView) -> None:
        """
        Set the radius of the step.

        :param trainer: The trainer.
        """
        part = min(trainer.progress.fraction / WARMUP, 1.0)
        self._trainer.eps, self._trainer.eps_step = (part * length for length in self._full)

    def on_epoch_end(self, trainer: TrainingView, metrics: dict[str, float]) -> None:
        """
        Set the full radius.

        :param trainer: The trainer.
        :param metrics: Not used.
        """
        self._trainer.eps, self._trainer.eps_step = self._full


class Compressed(Callback):
    """
    Schedules in epochs for a training by the clock: the epochs done are that part of the whole which has passed.

    :param nb_epochs: The epochs that the schedules are made for.
    """

    def __init__(self, nb_epochs: int) -> None:
        self._nb_epochs = nb_epochs

    def on_batch_begin(self, trainer: TrainingView) -> None:
        """
        Tell the trainer where it is.

        :param trainer: The trainer.
        """
        trainer.progress = replace(trainer.progress, epochs=self._nb_epochs * trainer.progress.fraction)


def train_row(
    row: Row,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    seconds: float,
    seed: int,
    path: Path,
    device: str = "cpu",
    augment: bool = False,
) -> Mapping[str, Any]:
    """
    Train a row's network, or go on with it, and write its weights.

    :param row: The row.
    :param x: Training images, (n, channels, height, width) in [0, 1].
    :param y: Their labels, (n,).
    :param seconds: Processor time, > 0.
    :param seed: Seed of all that is random, >= 0.
    :param path: The file of the weights to write; checkpoints are in a folder beside it until it is there.
    :param device: Where to compute, "cpu" or "cuda".
    :param augment: Whether images are shifted and mirrored at random.
    :return: "seconds", "steps", "epochs" and "learning_rate".
    :raises ValueError: If the checkpoints are of another training.
    """
    torch.manual_seed(seed)
    model = CLASSIFIERS[row.architecture](nb_classes=10, input_shape=x.shape[1:])
    rate = PRESETS[row.data].learning_rate
    classifier = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        tuple(x.shape[1:]),
        10,
        torch.optim.Adam(model.parameters(), lr=rate),
        clip_values=(0.0, 1.0),
        device_type="cpu" if device == "cpu" else "gpu",
    )
    trainer, callbacks = _trainer(row, classifier, seed)
    deadline, folder = Deadline(seconds, Trapezoid(rate)), path.with_suffix(".run")
    trainer.fit_generator(
        Slices(x, y, BATCH_SIZE, SLICE),
        nb_epochs=10**6,
        augmentation=crop_and_flip if augment else None,
        callbacks=[deadline, *callbacks],
        checkpoint_dir=folder,
        verbose=False,
    )
    epochs = deadline.steps * BATCH_SIZE / len(x)
    about = {"seconds": seconds, "steps": deadline.steps, "epochs": epochs, "learning_rate": rate}
    with replacing(path) as temporary:
        torch.save({"state_dict": model.cpu().state_dict(), "about": about}, temporary)
    shutil.rmtree(folder)
    return about


def read_about(path: Path) -> Mapping[str, Any]:
    """
    What the training of a file of weights was.

    :param path: A file that :func:`train_row` has written.
    :return: What that returned.
    """
    with opened(path) as file:
        about: dict[str, Any] = load_tensors(file)["about"]
    return about


def _trainer(row: Row, classifier: PyTorchClassifier, seed: int) -> tuple[LoopTrainer, list[Callback]]:
    """The trainer, and what changes as it trains besides the learning rate."""
    given: dict[str, Any] = {"seed": seed, "execution": EXECUTION, "max_grad_norm": 1.0}
    if row.eps is None:
        return StandardTrainer(classifier, **given), []
    if row.method == "ours, default":
        return LevelSetMarginTrainer(classifier, eps=row.eps, **given), []
    if row.method == "ours, eq. 12":
        paper = PRESETS["paper-mnist" if row.data == "mnist" else "paper-cifar10-convnet4b"]
        return LevelSetMarginTrainer(classifier, **{**given, **paper.options}), [Compressed(paper.nb_epochs)]
    make = {"Madry": MadryTrainer, "TRADES": TRADESTrainer}[row.method]
    adversarial = make(classifier, row.eps, max_iter=ATTACK_STEPS[row.method], **given)
    return adversarial, [Growth(adversarial)]
