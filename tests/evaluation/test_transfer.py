from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from matplotlib.image import imread
from torch import Tensor, nn

from art_levelset.attacks.memo import Memo
from art_levelset.evaluation import accuracy, pgd
from art_levelset.evaluation.accuracy import wilson
from art_levelset.evaluation.transfer import TransferMatrix, transfer_matrix
from art_levelset.models import load_released_weights

ATTACK = partial(pgd, eps=0.1, max_iter=5, loss="margin")


def labelled(count: int) -> tuple[Tensor, Tensor]:
    """Three noisy patterns."""
    y = torch.arange(count) % 3
    patterns = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(7))
    return (0.3 * patterns[y] + 0.7 * torch.rand(count, 1, 6, 6)).clamp(0, 1), y


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    models = {
        "flat": nn.Sequential(nn.Flatten(), nn.Linear(36, 3)),
        "deep": nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.Tanh(), nn.Linear(20, 3)),
        "convolved": nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)),
    }
    x, y = labelled(300)
    for model in models.values():
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(40):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return models


class Counted:
    """An attack that keeps the number of samples of each call, and may be cut off."""

    def __init__(self, limit: int = 1000) -> None:
        self._calls: list[int] = []
        self._limit = limit

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, seed: int = 0) -> Tensor:
        if len(self._calls) == self._limit:
            raise KeyboardInterrupt
        self._calls.append(len(x))
        return ATTACK(model, x, y, seed=seed)

    def calls(self) -> list[int]:
        return self._calls


def compute(models: dict[str, Any], x: Tensor, y: Tensor, attack: Any = ATTACK, **options: Any) -> TransferMatrix:
    return transfer_matrix(models, x, y, attack, verbose=False, **options)


def test_without_perturbation_every_column_is_the_clean_accuracy(models: dict[str, nn.Module]) -> None:
    x, y = labelled(50)
    found = compute(models, x, y, lambda model, x, y: x, batch_size=16)
    for i, model in enumerate(models.values()):
        expected = accuracy(model, x, y)
        assert found.clean[i].mean() == pytest.approx(expected)
        np.testing.assert_allclose(found.accuracy[i], expected)
    assert found.targets == found.sources == tuple(models)


def test_the_entries_are_those_of_the_attack_called_directly(models: dict[str, nn.Module]) -> None:
    x, y = labelled(50)
    found = compute(models, x, y, seed=5)
    chunk_seed = int(np.random.SeedSequence((5, 0, 0)).generate_state(1)[0])
    for j, source in enumerate(models.values()):
        examples = ATTACK(source, x, y, seed=chunk_seed)
        for i, target in enumerate(models.values()):
            assert found.accuracy[i, j] == pytest.approx(accuracy(target, examples, y))
    assert (np.diagonal(found.accuracy) < found.clean.mean(axis=1)).all()
    others = found.accuracy + np.eye(3)
    assert (np.diagonal(found.accuracy) < others.min(axis=1)).all()  # white box beats black box
    assert found.intervals[1, 2].tolist() == pytest.approx(wilson(int(found.right[1, 2].sum()), len(y)))


def test_neither_order_nor_company_matters(models: dict[str, nn.Module]) -> None:
    x, y = labelled(50)
    found = compute(models, x, y, batch_size=20)
    other = compute({name: models[name] for name in ("convolved", "flat")}, x, y, batch_size=20)
    np.testing.assert_array_equal(other.right, found.right[np.ix_([2, 0], [2, 0])])
    rows = compute(models, x, y, batch_size=20, targets=["deep"])
    assert (rows.targets, rows.sources) == (("deep",), ("flat", "deep", "convolved"))
    np.testing.assert_array_equal(rows.right[0], found.right[1])


@pytest.mark.usefixtures("as_if_installed")
def test_a_killed_computation_goes_on(models: dict[str, nn.Module], tmp_path: Path) -> None:
    x, y = labelled(50)
    whole = Counted()
    expected = compute(models, x, y, whole, batch_size=20)
    assert whole.calls() == 3 * [20, 20, 10]
    with pytest.raises(KeyboardInterrupt):
        compute(models, x, y, Counted(limit=4), batch_size=20, memo=Memo(tmp_path))
    rest = Counted()
    found = compute(models, x, y, rest, batch_size=20, memo=Memo(tmp_path))
    assert rest.calls() == [20, 10, 20, 20, 10]
    np.testing.assert_array_equal(found.right, expected.right)
    again = Counted(limit=0)
    np.testing.assert_array_equal(compute(models, x, y, again, batch_size=20, memo=Memo(tmp_path)).right, found.right)
    changed = Counted()
    compute({"flat": models["deep"]}, x, y + 0, changed, batch_size=20, seed=1, memo=Memo(tmp_path))
    assert changed.calls() == [20, 20, 10]


def test_classifiers_of_the_toolbox_and_arrays(models: dict[str, nn.Module]) -> None:
    x, y = labelled(50)
    classifier = PyTorchClassifier(
        models["deep"],
        loss=nn.CrossEntropyLoss(),
        input_shape=(1, 6, 6),
        nb_classes=3,
        clip_values=(0, 1),
        device_type="cpu",
    )
    expected = compute(models, x, y)
    one_hot = nn.functional.one_hot(y, 3).numpy()
    found = transfer_matrix({**models, "deep": classifier}, x.numpy(), one_hot, ATTACK, verbose=False)
    np.testing.assert_array_equal(found.right, expected.right)


def test_the_table_and_the_picture(tmp_path: Path) -> None:
    right = np.zeros((2, 3, 40), dtype=bool)
    right[0, 0, :10] = right[1, 2, :30] = True
    found = TransferMatrix(("plain", "a|b"), ("plain", "other", "a|b"), right, right[:, 0] | True)
    lines = found.markdown().splitlines()
    assert lines[0] == "| target | clean | from plain | from other | from a\\|b |"
    assert lines[1] == "|---|---|---|---|---|"
    assert lines[2].startswith("| plain | 100.00 | **25.00** (14.19 to 40.19) | 0.00 (0.00 to 8.76) |")
    assert "| **75.00** (" in lines[3]
    found.plot(tmp_path / "matrix.png", title="PGD")
    picture = imread(tmp_path / "matrix.png")[..., :3]
    red = (picture[..., 0] > 0.7) & (picture[..., 1] < 0.2) & (picture[..., 2] < 0.4)
    assert 100 < red.sum() < 0.1 * red.size
    assert [file.name for file in tmp_path.iterdir()] == ["matrix.png"]
    with pytest.raises(FileNotFoundError, match="folder"):
        found.plot(tmp_path / "none" / "matrix.png")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {}}, "models must hold at least one network"),
        ({"targets": ["flat", "third"]}, "targets must be different names of models"),
        ({"targets": ["flat", "flat"]}, "targets must be different names of models"),
        ({"targets": []}, "targets must be different names of models"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1"),
        ({"seed": -1}, "seed must be an integer >= 0"),
        ({"x": torch.zeros(0, 1, 6, 6), "y": torch.zeros(0, dtype=torch.long)}, "x holds no sample"),
        ({"attack": lambda model, x, y: x[:1]}, "attack must return the shape"),
    ],
)
def test_bad_input_is_refused(models: dict[str, nn.Module], changes: dict[str, Any], message: str) -> None:
    x, y = labelled(4)
    with pytest.raises(ValueError, match=message):
        transfer_matrix(**{"models": models, "x": x, "y": y, "attack": ATTACK, "verbose": False, **changes})
    with pytest.raises(TypeError, match="model must be"):
        transfer_matrix({"flat": lambda x: x}, x, y, ATTACK, verbose=False)


def test_the_released_weights_differ_from_source_to_target(data_dir: Path, mnist_test: tuple[Tensor, Tensor]) -> None:
    folder = data_dir / "checkpoints" / "levelsets-mnist"
    models = {name: load_released_weights(folder / f"{name}.pth") for name in ("xent", "madry_eps0.3")}
    x, y = (part[:60] for part in mnist_test)
    attack = partial(pgd, eps=0.3, eps_step=0.03, max_iter=10, loss="margin", stop_when_broken=True)
    found = compute(models, x, y, attack)
    assert found.accuracy[0, 0] < 0.1
    assert found.accuracy[1, 0] >= 0.95  # Madry's network under examples of a plain one: 98.95% in Table B3
    assert found.accuracy[1, 1] >= 0.85
