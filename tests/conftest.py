"""What tests share: a fixed seed, a clock, the folder of large data and a browser (when there are), rules for all."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

from .browser import Page, browser, find_browser
from .nursing import Nursery

if "PYTEST_XDIST_WORKER" in os.environ:  # a process for each core, so one thread in each, and in those it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

# What is drawn is the same every time, and how long it takes is the machine's affair.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-cases", type=int, default=300, metavar="N", help="hostile files in all (tests/hostile; default: 300)"
    )
    parser.addoption("--fuzz-counts", metavar="FILE", help="add what became of the hostile files to this file")
    parser.addoption("--all-faults", action="store_true", help="kill 20 times where tests kill a few times (minutes)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets the processor time move by so many seconds with each look at it, whatever the machine does meanwhile."""

    def tick(seconds: float) -> None:
        looks = itertools.count()
        monkeypatch.setattr(time, "process_time", lambda: seconds * next(looks))

    return tick


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


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """A process that has imported everything, and starts others in a hurry."""
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A tab of a real browser."""
    if find_browser() is None:
        pytest.skip("needs Chromium (on Debian: apt-get install chromium)")
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab
