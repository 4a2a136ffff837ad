"""
Presets of the geometric SVM: the paper's runs on small parts of three data sets (Section 5.1, Table B2).

All have d = L_inf, alpha = -1, at most 20 Newton steps a projection, and SGD with Nesterov momentum 0.9 and weight
decay 1e-4, whose learning rate is halved at some epochs. The paper merges the labels into two classes; the trainer
takes any number of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

from art_levelset.checks import check_positive
from art_levelset.trainers.augmentation import Augmentation
from art_levelset.trainers.callbacks import Callback
from art_levelset.trainers.geometric_svm import GeometricSVMTrainer
from art_levelset.trainers.optimizers import optimizer_of
from art_levelset.trainers.schedules import LEARNING_RATES, Linear


@dataclass(frozen=True)
class GeometricSVMPreset:
    """
    The settings of a run of :class:`GeometricSVMTrainer`.

    :param data: The data set that it is for.
    :param architecture: The network's name in :data:`art_levelset.models.CLASSIFIERS`.
    :param eps: Radius of an L_inf attack on validation data, > 0, or None; the training knows none.
    :param options: Of the trainer, beside the classifier and the seed.
    :param learning_rate: The optimizer's at the start, > 0.
    :param nb_epochs: Passes over the data.
    :param milestones: Epochs after which the learning rate is halved.
    :param batch_size: Samples a step.
    :param augmentation: Of the samples, or None.
    :param weight_decay: The optimizer's, >= 0.
    :param optimizer_name: A key of :data:`~art_levelset.trainers.optimizers.OPTIMIZERS`.
    :param scheduler: A key of :data:`~art_levelset.trainers.schedules.LEARNING_RATES`; None for the milestones.
    """

    data: str
    architecture: str
    eps: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float = 0.02
    nb_epochs: int = 20
    milestones: tuple[int, ...] = ()
    batch_size: int = 32
    augmentation: Augmentation | None = None
    weight_decay: float = 1e-4
    optimizer_name: str = "sgd"
    scheduler: str | None = None

    def for_radius(self, eps: float) -> GeometricSVMPreset:
        """
        The settings with attacks on validation data; the training stays as it is.

        :param eps: Radius of the L_inf ball, > 0.
        :return: The settings.
        :raises ValueError: If the radius is out of range.
        """
        check_positive("eps", eps)
        return replace(self, eps=eps)

    def optimizer(self, parameters: Iterable[Tensor]) -> Optimizer:
        """
        The optimizer.

        :param parameters: The network's.
        :return: The optimizer.
        """
        return optimizer_of(
            self.optimizer_name, parameters, learning_rate=self.learning_rate, weight_decay=self.weight_decay
        )

    def trainer(self, classifier: PyTorchClassifier, seed: int | None = None) -> GeometricSVMTrainer:
        """
        The trainer.

        :param classifier: A classifier with :meth:`optimizer`.
        :param seed: Seed of all that is random.
        :return: The trainer.
        """
        return GeometricSVMTrainer(classifier, seed=seed, **self.options)

    def schedule(self, optimizer: Optimizer) -> tuple[LRScheduler | None, list[Callback]]:
        """
        What changes the learning rate.

        :param optimizer: The optimizer.
        :return: `scheduler` and `callbacks` of `fit`.
        """
        if self.scheduler is not None:
            return None, [LEARNING_RATES[self.scheduler](self.learning_rate)]
        return MultiStepLR(optimizer, list(self.milestones), gamma=0.5), []


EQ_11: Mapping[str, Any] = {"alpha": -1.0, "norm": math.inf, "max_iter": 20}
"""Eq. 11 as the paper trains with it: options of :class:`GeometricSVMTrainer`."""

_GREY: Mapping[str, Any] = {**EQ_11, "lam": Linear(0.01, 0.2, 50)}

GEOMETRIC_SVM_PRESETS: Mapping[str, GeometricSVMPreset] = {
    "paper-mnist": GeometricSVMPreset(
        data="mnist",
        architecture="convnet2b",
        options=_GREY,
        nb_epochs=200,
        milestones=(50, 100, 120, 140, 160, 180),
        batch_size=256,
    ),
    "paper-fashion-mnist": GeometricSVMPreset(
        data="fashion_mnist",
        architecture="convnet2b",
        options=_GREY,
        nb_epochs=200,
        milestones=(50, 100, 120),
    ),
    "paper-cifar10": GeometricSVMPreset(
        data="cifar10",
        architecture="convnet4b",
        options={**EQ_11, "lam": Linear(0.0, 0.01, 50)},
        learning_rate=0.01,
        nb_epochs=100,
        milestones=(50,),
    ),
}
"""By name. On up to 0.3% of MNIST the paper's batches are of 32."""
