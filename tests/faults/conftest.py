"""What the tests of faults share: processes that are started in a hurry, a small data set and a small scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from art_levelset.evaluation.datasets import digits
from art_levelset.models import convnet_2a


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 96 images to train on and 24 to attack."""
    (x, y), (x_test, y_test) = digits()
    path = tmp_path_factory.mktemp("data") / "few.npz"
    np.savez(path, x_train=x[:96, 0], y_train=y[:96], x_test=x_test[:24, 0], y_test=y_test[:24])
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of ten classes as it was born."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "born.pth"
    torch.save(convnet_2a(10, (1, 8, 8)).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def sphere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of a unit sphere, 400 points."""
    directions = np.random.default_rng(0).standard_normal((400, 3))
    path = tmp_path_factory.mktemp("scan") / "sphere.npy"
    np.save(path, directions / np.linalg.norm(directions, axis=1, keepdims=True))
    return path
