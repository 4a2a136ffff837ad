"""The baselines of robust training make networks that withstand the toolbox's own attack, in seconds."""

from __future__ import annotations

import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from torch import nn

from art_levelset.trainers import (
    FGSMPGITrainer,
    MadryAWPTrainer,
    MMATrainer,
    NFGSMTrainer,
    NuATTrainer,
    TRADESAWPTrainer,
)

EPS = 0.1
TRAINERS = {
    "N-FGSM": lambda built: NFGSMTrainer(built, EPS, seed=0),
    "FGSM-PGI": lambda built: FGSMPGITrainer(built, EPS, seed=0),
    "Madry + AWP": lambda built: MadryAWPTrainer(built, EPS, max_iter=5, seed=0),
    "TRADES + AWP + EMA": lambda built: TRADESAWPTrainer(built, EPS, max_iter=5, ema_decay=0.99, seed=0),
    "MMA": lambda built: MMATrainer(built, 1.5 * EPS, max_iter=5, seed=0),
    "NuAT": lambda built: NuATTrainer(built, EPS, seed=0),
}


def untrained(classifier):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return classifier(module, optimizer=torch.optim.Adam(module.parameters(), lr=5e-3))


def accuracies(built, x, y):
    """Clean, and under the toolbox's PGD."""
    attack = ProjectedGradientDescentPyTorch(built, eps=EPS, eps_step=EPS / 10, max_iter=20, verbose=False)
    return [float((built.predict(part).argmax(axis=1) == y).mean()) for part in (x, attack.generate(x, y))]


@pytest.fixture(scope="module")
def plain():
    """What is left of a network trained without defence, once it is known."""
    return {}


@pytest.mark.parametrize("name", TRAINERS)
def test_robust_against_arts_own_attack_in_seconds(classifier, digits, plain, name):
    x, y = digits
    if not plain:
        built = untrained(classifier)
        built.fit(x[:1400], y[:1400], batch_size=64, nb_epochs=10)
        plain["robust"] = accuracies(built, x[1400:], y[1400:])[1]
    built = untrained(classifier)
    TRAINERS[name](built).fit(x[:1400], y[:1400], batch_size=64, nb_epochs=10, verbose=False)
    clean, robust = accuracies(built, x[1400:], y[1400:])
    assert clean > 0.9
    assert robust > plain["robust"] + 0.15
