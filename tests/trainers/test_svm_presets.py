"""The presets of the geometric SVM: Table B2."""

from __future__ import annotations

import math

import pytest
import torch

from art_levelset.models import CLASSIFIERS
from art_levelset.trainers import GEOMETRIC_SVM_PRESETS, Linear
from art_levelset.trainers.schedules import value_at


@pytest.mark.parametrize("name", GEOMETRIC_SVM_PRESETS)
def test_optimizer_trainer_and_schedule(name, classifier):
    preset = GEOMETRIC_SVM_PRESETS[name]
    assert preset.architecture in CLASSIFIERS
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    optimizer = preset.optimizer(module.parameters())
    assert (optimizer.defaults["momentum"], optimizer.defaults["nesterov"]) == (0.9, True)
    assert optimizer.defaults["weight_decay"] == 1e-4
    trainer = preset.trainer(classifier(module, 2, optimizer=optimizer), seed=0)
    assert (trainer.alpha, trainer.norm, trainer.max_iter, trainer.gamma) == (-1, math.inf, 20, None)
    scheduler, callbacks = preset.schedule(optimizer)
    assert callbacks == []
    rates = []
    for _ in range(preset.nb_epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == preset.learning_rate
    assert rates[-1] == pytest.approx(preset.learning_rate * 0.5 ** len(preset.milestones))
    assert all(rates[epoch] == pytest.approx(rates[epoch - 1] / 2) for epoch in preset.milestones)


def test_lambda_of_table_b2():
    mnist, cifar10 = (GEOMETRIC_SVM_PRESETS[name].options["lam"] for name in ("paper-mnist", "paper-cifar10"))
    assert mnist == Linear(0.01, 0.2, 50)
    assert [value_at(cifar10, epochs) for epochs in (0, 25, 50, 80)] == [0, 0.005, 0.01, 0.01]


def test_a_radius_is_positive():
    with pytest.raises(ValueError, match="eps"):
        GEOMETRIC_SVM_PRESETS["paper-mnist"].for_radius(0.0)
