"""What every test shares: a fixed seed, the folder of large data (when there is one) and the rule for GPU tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

if "PYTEST_XDIST_WORKER" in os.environ:  # a process for each core, so one thread in each, and in those it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of data sets and weights that the environment variable ART_LEVELSET_DATA names."""
    if not os.environ.get("ART_LEVELSET_DATA"):
        pytest.skip("ART_LEVELSET_DATA is not set")
    return Path(os.environ["ART_LEVELSET_DATA"])


@pytest.fixture(scope="session")
def mnist_test(data_dir: Path) -> tuple[Tensor, Tensor]:
    """The MNIST test set: images (10000, 1, 28, 28) in [0, 1], labels (10000,)."""
    with np.load(data_dir / "mnist.npz") as arrays:
        images = torch.from_numpy(arrays["x_test"]).float().div(255).unsqueeze(1)
        return images, torch.from_numpy(arrays["y_test"]).long()
