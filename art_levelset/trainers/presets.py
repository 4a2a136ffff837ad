"""
Presets: all settings of a training run by name, the paper's runs (Section 5.2) and the project's own.

The paper's are eq. 12 with rho and hard boundaries, no warm-up, searches from random starts; where paper and released
code differ they follow the code, which made the published numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

from art_levelset.checks import check_positive
from art_levelset.trainers.augmentation import Augmentation, crop_and_flip, shift
from art_levelset.trainers.callbacks import Callback
from art_levelset.trainers.margin import LevelSetMarginTrainer
from art_levelset.trainers.optimizers import optimizer_of
from art_levelset.trainers.schedules import LEARNING_RATES, Linear


@dataclass(frozen=True)
class Preset:
    """
    The settings of a run.

    :param data: The data set that it is for.
    :param architecture: The network's name in :data:`art_levelset.models.CLASSIFIERS`.
    :param eps: Radius of the L_inf ball that the network shall withstand, > 0; training keeps larger distances.
    :param options: Of :class:`LevelSetMarginTrainer`, beside the classifier and the seed.
    :param learning_rate: The optimizer's, at its peak, > 0.
    :param nb_epochs: Passes over the data.
    :param weight_decay: The optimizer's, >= 0.
    :param milestones: Epochs after which the learning rate is divided by ten.
    :param batch_size: Samples a step.
    :param augmentation: Of the samples, or None.
    :param optimizer_name: A key of :data:`~art_levelset.trainers.optimizers.OPTIMIZERS`.
    :param scheduler: A key of :data:`~art_levelset.trainers.schedules.LEARNING_RATES`; None for the milestones, and
           where there are none a trapezoid.
    """

    data: str
    architecture: str
    eps: float
    options: Mapping[str, Any]
    learning_rate: float
    nb_epochs: int
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()
    batch_size: int = 128
    augmentation: Augmentation | None = None
    optimizer_name: str = "adam"
    scheduler: str | None = None

    def for_radius(self, eps: float) -> Preset:
        """
        The settings for another radius: radii and steps of the training grow with it, all else stays.

        :param eps: Radius of the L_inf ball that the network shall withstand, > 0.
        :return: The settings, the same for the same radius.
        :raises ValueError: If the radius is out of range.
        """
        check_positive("eps", eps)
        factor = eps / self.eps
        radii = {name: _times(self.options[name], factor) for name in _RADII if name in self.options}
        return replace(self, eps=eps, options={**self.options, **radii})

    def optimizer(self, parameters: Iterable[Tensor]) -> Optimizer:
        """
        The optimizer.

        :param parameters: The network's.
        :return: The optimizer.
        """
        return optimizer_of(
            self.optimizer_name, parameters, learning_rate=self.learning_rate, weight_decay=self.weight_decay
        )

    def trainer(self, classifier: PyTorchClassifier, seed: int | None = None) -> LevelSetMarginTrainer:
        """
        The trainer.

        :param classifier: A classifier with :meth:`optimizer`.
        :param seed: Seed of all that is random.
        :return: The trainer.
        """
        return LevelSetMarginTrainer(classifier, seed=seed, **self.options)

    def schedule(self, optimizer: Optimizer) -> tuple[LRScheduler | None, list[Callback]]:
        """
        What changes the learning rate.

        :param optimizer: The optimizer.
        :return: `scheduler` and `callbacks` of `fit`.
        """
        if self.milestones and self.scheduler is None:
            return MultiStepLR(optimizer, list(self.milestones)), []
        return None, [LEARNING_RATES[self.scheduler or "trapezoid"](self.learning_rate)]


_RADII = ("eps", "eps_incorrect", "eps_step", "eps_step_incorrect")
"""Options of :class:`LevelSetMarginTrainer` in units of the inputs."""


def _times(schedule: Any, factor: float) -> Any:
    if isinstance(schedule, Linear):
        return replace(schedule, start=schedule.start * factor, end=schedule.end * factor)
    return schedule * factor


EQ_12: Mapping[str, Any] = {
    "distance": "rho",
    "boundary": "hard",
    "tracked": False,
    "warmup": 0.0,
    "burn_in": 0.0,
    "max_grad_norm": None,
}
"""Eq. 12 as the paper trains with it: options of :class:`LevelSetMarginTrainer`, for the norm L_inf."""

_CIFAR10: Mapping[str, Any] = {
    **EQ_12,
    "eps": Linear(0.001, 0.045, 50),
    "eps_incorrect": 0.05,
    "eps_step": Linear(0.007 * 0.001 / 0.031, 0.007 * 0.045 / 0.031, 50),
    "eps_step_incorrect": 0.007,
    "max_iter": 20,
}

PRESETS: Mapping[str, Preset] = {
    "paper-mnist": Preset(
        data="mnist",
        architecture="convnet4a",
        eps=0.3,
        options={
            **EQ_12,
            "eps": 0.4,
            "eps_incorrect": 0.5,
            "eps_step": 0.01 * 0.4 / 0.3,
            "eps_step_incorrect": 0.01,
            "max_iter": 40,
        },
        learning_rate=1e-3,
        nb_epochs=200,
        milestones=(40, 100, 140),
    ),
    "paper-cifar10-convnet4b": Preset(
        data="cifar10",
        architecture="convnet4b",
        eps=8 / 255,
        options={**_CIFAR10, "lam": 11.0},
        learning_rate=1e-3,
        nb_epochs=200,
        milestones=(40, 100, 140),
        augmentation=crop_and_flip,
    ),
    "paper-cifar10-resnet18": Preset(
        data="cifar10",
        architecture="resnet18",
        eps=8 / 255,
        options={**_CIFAR10, "lam": 4.0},
        learning_rate=1e-4,
        nb_epochs=200,
        weight_decay=1e-6,
        milestones=(40, 100, 140),
        augmentation=crop_and_flip,
    ),
    "mnist": Preset(
        data="mnist",
        architecture="convnet4a",
        eps=0.3,
        options={"eps": 0.35, "halvings": (1, 3), "ema_decay": 0.998},
        learning_rate=5e-3,
        nb_epochs=12,
        augmentation=shift,
    ),
    "fashion_mnist": Preset(
        data="fashion_mnist",
        architecture="convnet4a",
        eps=0.1,
        options={"eps": 4 / 30},
        learning_rate=5e-3,
        nb_epochs=12,
    ),
    "cifar10": Preset(
        data="cifar10",
        architecture="convnet4b",
        eps=8 / 255,
        options={"eps": 1.15 * 8 / 255},
        learning_rate=2e-3,
        nb_epochs=30,
    ),
    "cifar10-resnet18": Preset(
        data="cifar10",
        architecture="resnet18",
        eps=8 / 255,
        options={"eps": 1.15 * 8 / 255, "ema_decay": 0.999},
        learning_rate=0.1,
        nb_epochs=30,
        weight_decay=5e-4,
        augmentation=crop_and_flip,
        optimizer_name="sgd",
    ),
}
"""By name: `paper-...` the paper's runs, the others this project's, named after their data."""
