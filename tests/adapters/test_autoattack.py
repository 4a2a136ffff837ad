from __future__ import annotations

import itertools
import math
import sys
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.adapters.autoattack import VERSIONS, AutoAttack
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.protocol import parameters_of, reseeded
from art_levelset.evaluation import evaluate

from ..attacks.tiny import accuracy, data, mlp, network

pyautoattack = pytest.importorskip("pyautoattack")

NAMES = {math.inf: "Linf", 2: "L2", 1: "L1"}


class Counting(nn.Module):
    """Counts forward passes, and is killed at one of them."""

    def __init__(self, model: nn.Module, killed_at: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.seen, self.end = deque[int](), deque([killed_at])  # a network's key does not depend on what is in them

    @property
    def passes(self) -> int:
        return len(self.seen)

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        if self.passes == self.end[0]:
            raise KeyboardInterrupt
        outputs: Tensor = self.model(x)
        return outputs


def directly(model: nn.Module, x: Tensor, y: Tensor, seed: int = 0, **settings: Any) -> Tensor:
    attack = pyautoattack.AutoAttack(model, seed=seed, **settings)
    trace = sys.gettrace()
    attacked, _ = attack.run_standard_evaluation(x, y, batch_size=len(x))
    sys.settrace(trace)
    result: Tensor = attacked
    return result


@pytest.mark.usefixtures("quick_autoattack")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("norm", "eps"), [(math.inf, 0.05), (2, 0.2)])
def test_equals_the_library_called_directly(version: str, norm: float, eps: float) -> None:
    model = mlp()
    x, y = data(model, 12)
    y[3] = (y[3] + 1) % 10
    attacked = AutoAttack(eps=eps, norm=norm, version=version, seed=5)(model, x, y)
    library: dict[str, Any] = {"version": version}
    if version == "partial":
        library = {"version": "custom", "attacks": list(VERSIONS[version])}
    expected = directly(model, x, y, norm=NAMES[norm], eps=eps, seed=5, **library)
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-5)
    assert 0 < accuracy(model, attacked, y) < 11 / 12
    assert torch.equal(attacked[3], x[3])


@pytest.mark.slow
def test_the_whole_standard_version_equals_the_library_called_directly() -> None:
    model = mlp()
    x, y = data(model, 2)
    attacked = AutoAttack(eps=0.03)(model, x, y)
    torch.testing.assert_close(attacked, directly(model, x, y, eps=0.03), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("quick_autoattack")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_breakdown_is_consistent(version: str) -> None:
    model = mlp()
    x, y = data(model, 30)
    y[::10] = (y[::10] + 1) % 10
    outcome = AutoAttack(eps=0.04, version=version, batch_size=20).outcome(model, x, y)
    assert list(outcome.survivors) == ["clean", *VERSIONS[version]]
    counts = list(outcome.survivors.values())
    assert counts[0] == 27
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == round(30 * accuracy(model, outcome.examples, y))
    assert 0 < counts[-1] < counts[0]
    assert outcome.broken_by is not None
    broken = [int((outcome.broken_by == place).sum()) for place in range(len(VERSIONS[version]))]
    assert [before - after for before, after in itertools.pairwise(counts)] == broken
    with torch.no_grad():
        wrong = model(outcome.examples).argmax(dim=1) != y
    wrong[::10] = False  # those that are misclassified as they are, which nothing broke
    assert torch.equal(outcome.broken_by >= 0, wrong)


@pytest.mark.usefixtures("quick_autoattack")
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    model = mlp()
    x, y = data(model, 12)
    whole = Counting(model)
    expected = AutoAttack(eps=0.05, batch_size=5)(whole, x, y)
    stop = 2 * whole.passes // 3

    killed = Counting(model, killed_at=stop)
    with pytest.raises(KeyboardInterrupt):
        AutoAttack(eps=0.05, batch_size=5, memo=Memo(tmp_path))(killed, x, y)
    stored = len(list(tmp_path.iterdir()))
    assert stored > 4

    resumed = Counting(model)
    outcome = AutoAttack(eps=0.05, batch_size=5, memo=Memo(tmp_path)).outcome(resumed, x, y)
    assert torch.equal(outcome.examples, expected)
    assert resumed.passes < whole.passes - stop / 2

    again = Counting(model)
    attack = AutoAttack(eps=0.05, batch_size=5, memo=Memo(tmp_path))
    recalled = attack.outcome(again, x, y)
    assert torch.equal(recalled.examples, expected)
    assert again.passes == 3  # one clean pass a batch
    assert recalled.survivors == outcome.survivors
    assert torch.equal(recalled.broken_by, outcome.broken_by)
    assert recalled.effort.forwards == outcome.effort.forwards
    assert recalled.effort.gradients == outcome.effort.gradients > 0


@pytest.mark.usefixtures("quick_autoattack")
def test_what_is_remembered_belongs_to_one_network_seed_and_radius(tmp_path: Path) -> None:
    x, y = data(mlp(), 6)
    memo = Memo(tmp_path)
    AutoAttack(eps=0.05, memo=memo)(mlp(), x, y)
    changed = mlp()
    with torch.no_grad():
        changed[1].weight.mul_(1.01)
    for attack, model in [
        (AutoAttack(eps=0.05, memo=memo), changed),
        (AutoAttack(eps=0.06, memo=memo), mlp()),
        (AutoAttack(eps=0.05, version="rand", memo=memo), mlp()),
        (reseeded(AutoAttack(eps=0.05, memo=memo), 1), mlp()),
    ]:
        counted = Counting(model)
        attack(counted, x, y)
        assert counted.passes > 20


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = mlp()

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.model(x)
        return outputs + 0.01 * torch.randn_like(outputs)


@pytest.mark.usefixtures("quick_autoattack")
def test_a_network_with_random_outputs(caplog: pytest.LogCaptureFixture) -> None:
    x, y = data(mlp(), 12)
    first, again, other = (AutoAttack(eps=0.05, version="rand", seed=seed)(Noisy(), x, y) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert accuracy(mlp(), first, y) < 1
    assert "randomized" not in caplog.text
    AutoAttack(eps=0.05)(Noisy(), x, y)
    assert "randomized defense" in caplog.text


def narrow(classes: int) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, classes)).eval()


def test_few_classes(quick_autoattack: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Many(pyautoattack.AutoAttack):  # type: ignore[name-defined,misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.apgd_targeted.n_target_classes = self.fab.n_target_classes = 9

    monkeypatch.setattr(pyautoattack, "AutoAttack", Many)
    model = narrow(4)
    x, y = data(model, 6)
    assert accuracy(model, AutoAttack(eps=0.2)(model, x, y), y) < 1
    model = narrow(3)
    x, y = data(model)
    with pytest.raises(ValueError, match="model must have at least 4 classes for AutoAttack, got 3"):
        AutoAttack(eps=0.2)(model, x, y)


@pytest.mark.usefixtures("quick_autoattack")
@pytest.mark.parametrize(("norm", "eps"), [(math.inf, 0.2), (2, 0.8), (1, 3.0)])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("images", [True, False])
def test_what_is_left_for_few_classes_and_vectors_says_so(images: bool, classes: int, norm: float, eps: float) -> None:
    model = narrow(classes)
    x, y = data(model, 12)
    x = x if images else x.flatten(1)
    attack = AutoAttack(eps=eps, norm=norm, version="partial")
    outcome = attack.outcome(model, x, y)
    members = ["clean", "apgd-ce", "fab", *(["square"] if images else [])]
    assert list(outcome.survivors) == members
    assert accuracy(model, outcome.examples, y) == outcome.survivors[members[-1]] / 12 < 1
    assert parameters_of(attack)["name"] == "PartialAutoAttack"
    assert parameters_of(AutoAttack(eps=eps))["name"] == "AutoAttack"
    report = evaluate(model, x, y, {"autoattack-partial": attack}, verbose=False)
    assert report.attacks[0].parameters["version"] == "partial"
    about = {"name": "m", "dataset": "d", "architecture": "a", "eps": str(eps), "threat_model": NAMES[norm]}
    assert report.record(**about).autoattack_acc == ""


class Breaking(nn.Module):
    """Logits that are not numbers where an attack, or a sample, has gone too far."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return torch.where(x.flatten(1)[:, :1] > 0.5, torch.nan, 1.0) * logits


@pytest.mark.usefixtures("quick_autoattack")
def test_logits_that_are_not_numbers_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    model = Breaking(mlp())
    x, y = data(mlp(), 12)
    x[:, 0, 0, 0] = torch.where(torch.arange(12) % 3 == 0, 0.9, 0.1)
    with torch.no_grad():
        y = mlp()(x).argmax(dim=1)
    y[::3] = 0  # the place of the largest of logits that are not numbers
    assert AutoAttack(eps=0.01).outcome(model, x, y).survivors["clean"] == 8
    assert "autoattack: the logits are not numbers for 4 of 12 samples" in caplog.messages


@pytest.mark.usefixtures("quick_autoattack")
def test_a_debugger_or_coverage_tool_goes_on_tracing() -> None:
    def trace(*_: Any) -> None:
        return None

    own = sys.gettrace()
    sys.settrace(trace)
    try:
        model = mlp()
        AutoAttack(eps=0.05)(model, *data(model))
        kept = sys.gettrace()
    finally:
        sys.settrace(own)
    assert kept is trace


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="version must be one of standard, plus, rand, partial, got 'custom'"):
        AutoAttack(eps=0.1, version="custom")
    with pytest.raises(ValueError, match="eps must be a finite number >= 0, got -1"):
        AutoAttack(eps=-1)
    with pytest.raises(ValueError, match="batch_size must be an integer >= 1, got 0"):
        AutoAttack(eps=0.1, batch_size=0)
    flat = nn.Linear(36, 10)
    with pytest.raises(ValueError, match=r"x must be images \(batch, channels, height, width\), got \(2, 36\)"):
        AutoAttack(eps=0.1)(flat, torch.rand(2, 36), torch.tensor([0, 1]))
    model = network()
    x, y = data(model)
    with pytest.raises(ValueError, match=r"x must lie within clip_values"):
        AutoAttack(eps=0.1)(model, x * 255, y)
    with pytest.raises(ValueError, match=r"y must have the shape \(6,\)"):
        AutoAttack(eps=0.1)(model, x, np.zeros(4, int))
