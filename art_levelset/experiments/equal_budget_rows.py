"""
The rows of the comparison at the same cost: how each trains for a given processor time.

All have batches of 128, Adam, and the trapezoidal learning rate of our preset for the data set; but the paper's own
preset, whose learning rate is constant as the paper's is for 40 epochs. ART's trainers are called for 20 batches at a
time, their own way of working unaltered.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.trainer import AdversarialTrainerMadryPGD, AdversarialTrainerTRADESPyTorch
from art.estimators.classification import PyTorchClassifier

from art_levelset.evaluation.datasets import Split
from art_levelset.trainers.adversarial import MadryTrainer, TRADESTrainer
from art_levelset.trainers.augmentation import Augmentation, crop_and_flip, shift
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.budget import TimeBudget
from art_levelset.trainers.callbacks import TrainingView
from art_levelset.trainers.execution import Execution, computes_in_bfloat16
from art_levelset.trainers.margin import LevelSetMarginTrainer
from art_levelset.trainers.max_margin import MMATrainer
from art_levelset.trainers.noise_fgsm import NFGSMTrainer
from art_levelset.trainers.nuclear_norm import NuATTrainer
from art_levelset.trainers.presets import PRESETS
from art_levelset.trainers.prior_fgsm import FGSMPGITrainer
from art_levelset.trainers.runs import UNLIMITED
from art_levelset.trainers.schedules import Trapezoid
from art_levelset.trainers.weight_perturbation import MadryAWPTrainer, TRADESAWPTrainer

BATCH_SIZE = 128
ATTACK_STEPS = 10
EXECUTION = Execution(bf16=computes_in_bfloat16(torch.device("cpu")), channels_last=True)
"""Of every trainer of this package; ART's have no such options."""

CHUNK = 20 * BATCH_SIZE
"""Samples that ART's trainers are given at a time."""

EPS = {
    "Linf": {"mnist": 0.3, "fashion_mnist": 0.1, "cifar10": 8 / 255},
    "L2": {"mnist": 1.5, "cifar10": 0.5},
}
"""Radii that the networks shall withstand."""

FARTHER = {"mnist": 4 / 3, "fashion_mnist": 4 / 3, "cifar10": 1.15}
"""How much farther out the level sets of the rows "level sets" are kept."""


class Deadline(TimeBudget):
    """
    Training for a given processor time, and the learning rate that belongs to it.

    :param seconds: Processor time of this process, > 0.
    :param learning_rate: The schedule; None for a constant learning rate.
    """

    def __init__(self, seconds: float, learning_rate: Trapezoid | None) -> None:
        super().__init__(seconds, time.process_time)
        self.learning_rate = learning_rate
        self.steps = 0

    def set_rate(self, optimizer: torch.optim.Optimizer) -> None:
        """
        Set the learning rate that belongs to the time.

        :param optimizer: The optimizer.
        """
        if self.learning_rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate.peak * self.learning_rate.factor(self.fraction)

    def on_batch_begin(self, trainer: TrainingView) -> None:
        """
        Tell the trainer where it is, or stop it.

        :param trainer: The trainer.
        :raises StopTraining: If the time is up.
        """
        super().on_batch_begin(trainer)
        self.set_rate(trainer.classifier.optimizer)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """
        The time that is spent, which a continued run does not get again.

        :return: Seconds and steps.
        """
        return {**super().state_dict(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a checkpoint.

        :param state: What :meth:`state_dict` returned.
        """
        super().load_state_dict(state)
        self.steps = state["steps"]


Fit = Callable[[PyTorchClassifier, Split, Deadline, int, Path], int]
"""Trains until the deadline; returns the number of steps. Our trainers keep their state in the folder."""


def _loop(make: Callable[[PyTorchClassifier, int], LoopTrainer], augmentation: Augmentation | None = None) -> Fit:
    def fit(classifier: PyTorchClassifier, data: Split, deadline: Deadline, seed: int, folder: Path) -> int:
        make(classifier, seed).fit(
            *data,
            nb_epochs=UNLIMITED,
            batch_size=BATCH_SIZE,
            augmentation=augmentation,
            checkpoint_dir=folder,
            callbacks=[deadline],
            verbose=False,
        )
        return deadline.steps

    return fit


def _chunks(make: Callable[[PyTorchClassifier], Any]) -> Fit:
    """Anything with ART's `fit`, called for one chunk of samples after the other."""

    def fit(classifier: PyTorchClassifier, data: Split, deadline: Deadline, seed: int, folder: Path) -> int:
        (x, y), trainer, generator, steps = data, make(classifier), np.random.default_rng(seed), 0
        np.random.seed(seed)  # noqa: NPY002  # ART's trainers shuffle and start with it
        torch.manual_seed(seed)
        while True:
            order = generator.permutation(len(x))
            for first in range(0, len(x) - CHUNK + 1, CHUNK):
                if deadline.fraction >= 1:
                    return steps
                deadline.set_rate(classifier.optimizer)
                rows = order[first : first + CHUNK]
                with contextlib.redirect_stderr(io.StringIO()):  # a progress bar for each chunk
                    trainer.fit(x[rows], y[rows], nb_epochs=1, batch_size=BATCH_SIZE)
                steps += math.ceil(CHUNK / BATCH_SIZE)

    return fit


def rows_l2(data: str) -> dict[str, Fit]:
    """
    The rows of the table for L_2.

    :param data: The data set's name, a key of `EPS["L2"]`.
    :return: How each trains, by name.
    """
    eps = EPS["L2"][data]

    def made(kind: Callable[..., LoopTrainer], **options: Any) -> Fit:
        return _loop(lambda classifier, seed: kind(classifier, norm=2, seed=seed, execution=EXECUTION, **options))

    attack: dict[str, Any] = {"eps": eps, "max_iter": ATTACK_STEPS, "warmup": 0.3}
    return {
        "level sets": made(LevelSetMarginTrainer, eps=FARTHER[data] * eps),
        "Madry, warm-up": made(MadryTrainer, **attack),
        "TRADES, warm-up": made(TRADESTrainer, **attack),
    }


def rows(data: str) -> dict[str, Fit]:
    """
    The rows of the table for L_inf.

    :param data: The data set's name, a key of `EPS["Linf"]`.
    :return: How each trains, by name.
    """
    eps = EPS["Linf"][data]
    attack: dict[str, Any] = {"eps": eps, "max_iter": ATTACK_STEPS}
    paper = PRESETS["paper-cifar10-convnet4b" if data == "cifar10" else "paper-mnist"].options
    if data == "fashion_mnist":  # the paper's ratios
        paper = {**paper, "eps": 4 / 3 * eps, "eps_incorrect": 5 / 3 * eps, "eps_step": eps * 4 / 90}
        paper["eps_step_incorrect"] = eps / 30

    kept = FARTHER[data] * eps
    one_long_step: dict[str, Any] = {"max_iter": 1, "eps_step": kept}

    def art_trades(classifier: PyTorchClassifier) -> AdversarialTrainerTRADESPyTorch:
        options = {**attack, "eps_step": 2.5 * eps / ATTACK_STEPS, "batch_size": BATCH_SIZE, "verbose": False}
        return AdversarialTrainerTRADESPyTorch(
            classifier, ProjectedGradientDescent(classifier, num_random_init=1, **options), beta=6.0
        )

    def level_sets(classifier: PyTorchClassifier, seed: int, **options: Any) -> LevelSetMarginTrainer:
        return LevelSetMarginTrainer(classifier, seed=seed, execution=EXECUTION, **{"eps": kept, **options})

    def baseline(kind: Callable[..., LoopTrainer], augmentation: Augmentation | None = None, **options: Any) -> Fit:
        return _loop(lambda classifier, seed: kind(classifier, seed=seed, execution=EXECUTION, **options), augmentation)

    def variants(name: str, kind: Callable[..., LoopTrainer], **options: Any) -> dict[str, Fit]:
        """A baseline as it is, with the radius and the warm-up of the default, and with both."""
        farther: dict[str, Any] = {"eps": 4 / 3 * eps}
        grown: dict[str, Any] = {"warmup": 0.3}
        return {
            name: baseline(kind, eps=eps, **options),
            f"{name}, farther": baseline(kind, **farther, **options),
            f"{name}, warm-up": baseline(kind, eps=eps, **grown, **options),
            f"{name}, farther, warm-up": baseline(kind, **farther, **grown, **options),
        }

    return {
        "standard": _chunks(lambda classifier: classifier),
        "Madry (ART)": _chunks(
            lambda classifier: AdversarialTrainerMadryPGD(
                classifier, eps_step=2.5 * eps / ATTACK_STEPS, batch_size=BATCH_SIZE, **attack
            )
        ),
        "TRADES (ART)": _chunks(art_trades),
        **variants("Madry", MadryTrainer, max_iter=ATTACK_STEPS),
        "Madry, warm-up, averaged, shifted": baseline(MadryTrainer, shift, warmup=0.3, ema_decay=0.998, **attack),
        "Madry, warm-up, augmented": baseline(MadryTrainer, crop_and_flip, warmup=0.3, **attack),
        "TRADES, warm-up, augmented": baseline(TRADESTrainer, crop_and_flip, warmup=0.3, **attack),
        "FGSM-PGI, warm-up, augmented": baseline(FGSMPGITrainer, crop_and_flip, warmup=0.3, eps=eps),
        **variants("TRADES", TRADESTrainer, max_iter=ATTACK_STEPS),
        "level sets, paper": _loop(partial(level_sets, **paper)),
        "level sets": _loop(level_sets),
        "level sets, linearised": _loop(partial(level_sets, distance="linearised")),
        "level sets, not tracked": _loop(partial(level_sets, tracked=False)),
        "level sets, hard boundary": _loop(partial(level_sets, boundary="hard")),
        "level sets, eq. 12 with rho": _loop(partial(level_sets, distance="rho")),
        "level sets, eq. 12 with rho, tracked": _loop(partial(level_sets, distance="rho", tracked=True, max_iter=2)),
        "level sets, eq. 12 with L_p": _loop(partial(level_sets, distance="lp")),
        "level sets, eq. 12, soft": _loop(partial(level_sets, distance="lp", boundary="soft")),
        "level sets, 1 step": _loop(partial(level_sets, max_iter=1)),
        "level sets, 2 steps": _loop(partial(level_sets, max_iter=2)),
        "level sets, one long step": _loop(partial(level_sets, **one_long_step)),
        "level sets, no farther": _loop(partial(level_sets, eps=eps)),
        "level sets, averaged": _loop(partial(level_sets, ema_decay=0.998)),
        "level sets, augmented": _loop(level_sets, crop_and_flip),
        "level sets, one long step, augmented": _loop(partial(level_sets, **one_long_step), crop_and_flip),
        "level sets, one long step, consistent, augmented": _loop(
            partial(level_sets, consistency=0.5, **one_long_step), crop_and_flip
        ),
        "level sets, averaged, shifted": _loop(partial(level_sets, ema_decay=0.998), shift),
        "level sets, searched anew at last": _loop(partial(level_sets, tracked=0.6, eps=7 / 6 * eps)),
        "level sets, searched anew, averaged, shifted": _loop(
            partial(level_sets, tracked=False, eps=7 / 6 * eps, ema_decay=0.998), shift
        ),
        "level sets, halved, averaged, shifted": _loop(
            partial(level_sets, halvings=(1, 3), eps=7 / 6 * eps, ema_decay=0.998), shift
        ),
        "level sets, no warm-up": _loop(partial(level_sets, warmup=0.0)),
        "level sets, no burn-in": _loop(partial(level_sets, burn_in=0.0)),
        **variants("N-FGSM", NFGSMTrainer),
        **variants("FGSM-PGI", FGSMPGITrainer),
        **variants("NuAT", NuATTrainer),
        # The paper's margin for L_inf is half as much again as the radius.
        "MMA": baseline(MMATrainer, eps=1.5 * eps, max_iter=ATTACK_STEPS),
        **variants("Madry + AWP", MadryAWPTrainer, max_iter=ATTACK_STEPS),
        **variants("TRADES + AWP", TRADESAWPTrainer, max_iter=ATTACK_STEPS),
        **variants("TRADES + AWP + EMA", TRADESAWPTrainer, ema_decay=0.998, max_iter=ATTACK_STEPS),
    }
