"""The smallest trainer on the loop: cross-entropy at randomly moved samples."""

from __future__ import annotations

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_levelset.core.modes import evaluating
from art_levelset.trainers.base import LoopTrainer


class NoisyTrainer(LoopTrainer):
    def __init__(self, classifier, noise=0.1, **options):
        super().__init__(classifier, **options)
        self.noise = noise
        self._seen = []

    def batch_loss(self, x, y, rows):
        noise = self.draw(lambda count: torch.randn(count, *x.shape[1:], generator=self.randomness))
        self._seen.append((x, y, rows, noise, self.progress))
        with evaluating(self.network):
            logits = self.network(x + self.noise * noise)
        accuracy = (logits.argmax(dim=1) == y).float().mean().item()
        return nn.functional.cross_entropy(logits, y), {"accuracy": accuracy}

    @property
    def seen(self):
        return self._seen


def small_classifier(seed=0, lr=1e-2, optimizer=torch.optim.Adam, nb_classes=10, **options):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, nb_classes))
    return PyTorchClassifier(
        module,
        nn.CrossEntropyLoss(),
        (1, 8, 8),
        nb_classes,
        optimizer=optimizer(module.parameters(), lr=lr),
        clip_values=(0.0, 1.0),
        device_type="cpu",
        **options,
    )


def random_data(count=96, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(0, 1, (count, 1, 8, 8)).astype(np.float32), random.integers(0, 10, count)


def weights(trainer):
    return torch.cat([tensor.flatten().double() for tensor in trainer.classifier.model.state_dict().values()])
