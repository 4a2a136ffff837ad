from __future__ import annotations

import enum
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_levelset.adapters.autoattack import LOGGER, AutoAttack
from art_levelset.evaluation.benchmark import benchmark
from art_levelset.evaluation.record import read_record

from ..attacks.tiny import CLASSES, SHAPE, accuracy, data, disturbed, mlp, needs, network, random_states, state

pytestmark = [needs("pyautoattack"), pytest.mark.usefixtures("quick_autoattack")]

EPS = 0.05


def problem(count: int = 20) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network, samples, and labels of which a quarter is wrong."""
    model = mlp()
    x, y = data(model, count)
    y[::4] = (y[::4] + 1) % CLASSES
    return model, x, y


class Names(enum.Enum):
    """As RobustBench's enumerations."""

    cifar_10 = "cifar10"
    L2 = "L2"


def test_the_benchmark_is_clean_and_autoattack_accuracy() -> None:
    model, x, y = problem()
    clean, robust = benchmark(model, eps=EPS, x_test=x, y_test=y)
    assert clean == accuracy(model, x, y) == 0.75
    assert robust == pytest.approx(accuracy(model, AutoAttack(eps=EPS)(model, x, y), y), abs=0.051)
    assert 0 < robust < clean
    assert benchmark(model, eps=EPS, x_test=x.numpy(), y_test=np.eye(CLASSES)[y]) == (clean, robust)
    assert benchmark(model, eps=0, x_test=x, y_test=y) == (clean, clean)


def test_it_uses_the_first_samples_in_the_threat_model() -> None:
    model, x, y = problem()
    first = benchmark(model, 8, Names.cifar_10, Names.L2, eps=0.2, x_test=x, y_test=y)
    attacked = AutoAttack(eps=0.2, norm=2)(model, x[:8], y[:8])
    assert first == (0.75, pytest.approx(accuracy(model, attacked, y[:8]), abs=0.126))


def test_it_leaves_the_model_as_it_is_and_takes_classifiers_of_art() -> None:
    model = network()
    x, y = data(model, 8)
    expected = benchmark(model, eps=EPS, x_test=x, y_test=y)
    disturbed(model)
    before, randoms = state(model), random_states()
    assert benchmark(model, eps=EPS, x_test=x, y_test=y, device="cpu") == expected
    assert benchmark(model, eps=EPS, x_test=x, y_test=y, device="cpu:0") == expected  # on a copy
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), SHAPE, CLASSES, device_type="cpu")
    assert benchmark(classifier, eps=EPS, x_test=x, y_test=y) == expected
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)
    assert random_states() == randoms


def test_it_loads_data_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = problem()
    images = (x.squeeze(1) * 255).round().to(torch.uint8).numpy()
    np.savez(tmp_path / "images.npz", x_test=images, y_test=y.numpy(), y_train=np.array([CLASSES - 1]))
    rounded = torch.from_numpy(images).float().unsqueeze(1) / 255
    expected = benchmark(model, 8, eps=EPS, x_test=rounded, y_test=y)
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / "images.npz")
    assert benchmark(model, 8, path, eps=EPS, to_disk=True, model_name="mlp") == expected
    assert read_record(tmp_path / "model_info" / "images" / "Linf" / "mlp.json").dataset == "images"


def test_it_writes_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, x, y = problem()
    clean, robust = benchmark(model, 12, "cifar10", "L2", True, "mine", eps=0.2, x_test=x, y_test=y)
    record = read_record(tmp_path / "model_info" / "cifar10" / "L2" / "mine.json")
    assert (record.name, record.dataset, record.threat_model, record.eps) == ("mine", "cifar10", "L2", "0.2")
    assert float(record.clean_acc) == pytest.approx(100 * clean)
    assert float(record.autoattack_acc) == pytest.approx(100 * robust, abs=0.01)
    assert record.n_examples == 12
    assert record.attacks[0].parameters["version"] == "standard"


def test_a_finished_benchmark_is_recalled_and_logged(tmp_path: Path) -> None:
    model, x, y = problem()
    level = logging.getLogger(LOGGER).level
    settings: dict[str, Any] = {"eps": EPS, "x_test": x, "y_test": y, "aa_state_path": tmp_path / "state"}
    first = benchmark(model, log_path=tmp_path / "log.txt", **settings)
    text = (tmp_path / "log.txt").read_text()
    assert "robust accuracy after APGD-CE" in text
    assert benchmark(model, log_path=tmp_path / "log.txt", **settings) == first
    assert (tmp_path / "log.txt").read_text() == text  # nothing was attacked again
    assert logging.getLogger(LOGGER).level == level
    assert not any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger(LOGGER).handlers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threat_model": "corruptions"}, "threat_model must be one of Linf, L2, L1, got 'corruptions'"),
        ({"corruptions_data_dir": "data"}, "corruptions_data_dir must be None"),
        ({"preprocessing": "Res224"}, "preprocessing must be None"),
        ({"eps": None}, "eps must be given for the threat model Linf"),
        ({"eps": -1}, "eps must be a finite number >= 0, got -1"),
        ({"to_disk": True}, "model_name must be a name that a file can have when to_disk is set, got None"),
        ({"to_disk": True, "model_name": "a/b"}, "model_name must be a name that a file can have"),
        ({"n_examples": 0}, "n_examples must be an integer >= 1, got 0"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
        ({"y_test": None}, "x_test and y_test must be given together"),
        ({"x_test": None, "y_test": None, "dataset": "imagenet"}, "name_or_path must be an .npz file or one of"),
    ],
)
def test_bad_input(changes: dict[str, Any], message: str) -> None:
    model, x, y = problem(4)
    with pytest.raises(ValueError, match=message):
        benchmark(model, **{"eps": EPS, "x_test": x, "y_test": y, **changes})
