from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import nn

Digits = tuple[NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture(scope="session")
def digits() -> Digits:
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return (data.images[order, None] / 16).astype(np.float32), data.target[order].astype(np.int64)


@pytest.fixture
def classifier() -> Callable[..., PyTorchClassifier]:
    def build(module: nn.Module | None = None, nb_classes: int = 10, **options: object) -> PyTorchClassifier:
        if module is None:
            module = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, nb_classes))
        options = {"optimizer": torch.optim.Adam(module.parameters(), lr=1e-3), "clip_values": (0.0, 1.0), **options}
        return PyTorchClassifier(module, nn.CrossEntropyLoss(), (1, 8, 8), nb_classes, device_type="cpu", **options)

    return build
