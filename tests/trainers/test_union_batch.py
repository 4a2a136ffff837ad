"""Several processes that share a batch make the step of one process on all of it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_levelset import GeometricSVMTrainer, LevelSetMarginTrainer
from art_levelset.distributed import world
from art_levelset.trainers import UNLIMITED, TimeBudget, Trapezoid
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.max_margin import MMATrainer
from art_levelset.trainers.prior_fgsm import FGSMPGITrainer
from art_levelset.trainers.weight_perturbation import TRADESAWPTrainer

from ..processes import run

if TYPE_CHECKING:
    from ..nursing import Nursery

CLASSES = 3


def plain(classes: int = CLASSES) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, classes))


def normalised(classes: int = CLASSES) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Conv2d(4, 4, 2),
        nn.BatchNorm2d(4, momentum=None),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(4, classes),
    )


def classifier(module: nn.Module, classes: int = CLASSES) -> PyTorchClassifier:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    return PyTorchClassifier(
        module, nn.CrossEntropyLoss(), (1, 4, 4), classes, optimizer=optimizer, clip_values=(-2, 2), device_type="cpu"
    )


def samples(count: int, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(count) % classes
    x = rng.standard_normal((count, 1, 4, 4)).clip(-2, 2) / 2
    x[:, 0, 0, 0] = y - 1
    return x, y


def trainers() -> dict[str, LoopTrainer]:
    torch.manual_seed(world().rank)  # the weights of the main process count
    return {
        "levels": LevelSetMarginTrainer(classifier(plain()), eps=0.5, seed=0, burn_in=0.0),
        "consistent": LevelSetMarginTrainer(classifier(plain()), eps=0.5, seed=0, burn_in=0.0, consistency=2.0),
        "halved": LevelSetMarginTrainer(
            classifier(plain()), eps=0.5, seed=0, warmup=0, burn_in=0, max_iter=4, halvings=(1, 2)
        ),
        "linearised": LevelSetMarginTrainer(
            classifier(plain()), eps=0.5, seed=0, distance="linearised", sharpness=2.0, warmup=0, burn_in=0
        ),
        "distances": LevelSetMarginTrainer(classifier(plain()), eps=0.5, seed=0, distance="rho", warmup=0, burn_in=0),
        "L2": LevelSetMarginTrainer(classifier(plain()), eps=0.5, norm=2, seed=0, distance="lp", warmup=0, burn_in=0),
        "BatchNorm": LevelSetMarginTrainer(classifier(normalised()), eps=0.5, seed=0, warmup=0, burn_in=0),
        "SVM": GeometricSVMTrainer(classifier(plain(2), 2), seed=0),
        "FGSM-PGI": FGSMPGITrainer(classifier(plain()), eps=0.5, seed=0),
        "MMA": MMATrainer(classifier(plain()), eps=0.7, max_iter=4, seed=0),
        "TRADES-AWP": TRADESAWPTrainer(classifier(plain()), eps=0.5, max_iter=2, gamma=0.1, seed=0),
    }


def state(trainer: LoopTrainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.classifier.model.state_dict().items()}


def steps() -> dict[str, Any]:
    """Optimizer steps in double precision on union batches of 7, 1 and 8 samples."""
    here, found = world(), {}
    for name, trainer in trainers().items():
        trainer.classifier.model.double()
        trainer._world = here
        here.align(trainer.network)
        x, y = (torch.from_numpy(part) for part in samples(16, trainer.classifier.nb_classes))
        found[name] = []
        for batch in (range(7), range(7, 8), range(8, 16)):
            trainer._union = len(batch)
            trainer.randomness.manual_seed(len(batch))
            rows = torch.tensor(batch)[here.share(len(batch))]
            trainer.step(x[rows], y[rows], rows)
            gradients = [parameter.grad.clone() for parameter in trainer.classifier.model.parameters()]
            found[name].append((gradients, state(trainer)))
    return found


def fits() -> dict[str, Any]:
    """Whole runs: 17 samples in batches of 8, so that the last batch leaves a process without samples."""
    found = {}
    for name, trainer in trainers().items():
        x, y = samples(17, trainer.classifier.nb_classes)
        trainer.fit(x, y, validation_data=(x, y), batch_size=8, nb_epochs=3, verbose=False)
        found[name] = (trainer.history, state(trainer))
    return found


def both() -> tuple[dict[str, Any], dict[str, Any]]:
    return steps(), fits()


def test_two_processes_train_as_one(nursery: Nursery) -> None:
    stepped, fitted = both()
    for found_steps, found_fits in run(nursery, both, size=2):
        for name in trainers():
            for (gradients, after), (expected, reference) in zip(found_steps[name], stepped[name], strict=True):
                assert any(bool(gradient.abs().max() > 1e-3) for gradient in expected), name
                close(gradients, expected, name, rtol=1e-9, atol=1e-12)
                close(after, reference, name, rtol=1e-9, atol=1e-12)
            history, after = found_fits[name]
            expected_history, reference = fitted[name]
            close(after, reference, name, rtol=1e-3, atol=1e-4)
            for figures, one in zip(history, expected_history, strict=True):
                del figures["seconds"]
                assert figures == pytest.approx({key: one[key] for key in figures}, rel=1e-3, abs=1e-4), name


def by_the_clock() -> dict[str, Tensor]:
    """A run whose processes have clocks of their own."""
    ticks = itertools.count(0, 1.0 + 0.3 * world().rank)
    trainer = trainers()["levels"]
    callbacks = [TimeBudget(20.0, lambda: next(ticks)), Trapezoid(0.1)]
    trainer.fit(*samples(17), batch_size=8, nb_epochs=UNLIMITED, callbacks=callbacks, verbose=False)
    return state(trainer)


def test_processes_follow_one_clock(nursery: Nursery) -> None:
    here, there = run(nursery, by_the_clock, size=2)
    close(there, here, "levels", rtol=0.0, atol=0.0)


def close(found: Any, expected: Any, name: str, **tolerances: float) -> None:
    torch.testing.assert_close(found, expected, msg=lambda message: f"{name}: {message}", **tolerances)
