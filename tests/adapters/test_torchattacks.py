from __future__ import annotations

import importlib
import math
import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from art_levelset.adapters.libraries import REQUESTS, library
from art_levelset.adapters.torchattacks import from_torchattacks, torchattacks_pgd
from art_levelset.attacks import pgd
from art_levelset.core.fields import label_margin
from art_levelset.identity import describe

from ..attacks.tiny import accuracy, data, mlp, needs, network, seed_all

pytestmark = needs("torchattacks")


@pytest.fixture
def torchattacks() -> types.ModuleType:
    return library("torchattacks", "torchattacks", "3.5.1", silence=[REQUESTS])


class MeanMargin(nn.Module):
    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        return -label_margin(logits, y).mean()


@pytest.mark.parametrize(("norm", "eps", "name"), [(math.inf, 0.1, "PGD"), (2, 0.5, "PGDL2")])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
@pytest.mark.parametrize("random_start", [True, False])
def test_pgd_equals_the_library_called_directly(
    norm: float,
    eps: float,
    name: str,
    loss: str,
    random_start: bool,
    torchattacks: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = mlp()
    x, y = data(model, 20)
    given: dict[str, Any] = {"eps": eps, "eps_step": eps / 4, "max_iter": 6, "norm": norm, "random_start": random_start}
    attacked = torchattacks_pgd(loss=loss, seed=3, **given)(model, x, y)
    if loss == "margin":  # the library itself with the loss that it has no argument for
        module = importlib.import_module(f"torchattacks.attacks.{name.lower()}")
        monkeypatch.setattr(module, "nn", types.SimpleNamespace(CrossEntropyLoss=MeanMargin))
    seed_all(3)
    attack = getattr(torchattacks, name)(model, eps=eps, alpha=eps / 4, steps=6, random_start=random_start)
    torch.testing.assert_close(attacked, attack(x, y), rtol=0, atol=1e-5)
    assert accuracy(model, attacked, y) < 1


@pytest.mark.parametrize(
    ("name", "norm", "eps", "parameters"),
    [
        ("APGD", math.inf, 0.1, {"steps": 6, "n_restarts": 2}),
        ("APGDT", 2, 0.5, {"steps": 6}),
        ("Square", math.inf, 0.1, {"n_queries": 30}),
        ("MIFGSM", math.inf, 0.1, {"steps": 6}),
    ],
)
def test_other_attacks_equal_the_library_called_directly(
    name: str, norm: float, eps: float, parameters: dict[str, Any], torchattacks: types.ModuleType
) -> None:
    model = mlp()
    x, y = data(model, 20)
    attacked = from_torchattacks(name, eps=eps, norm=norm, seed=3, **parameters)(model, x, y)
    own = {} if name == "MIFGSM" else {"norm": {math.inf: "Linf", 2: "L2"}[norm], "seed": 3}
    seed_all(3)
    attack = getattr(torchattacks, name)(model, eps=eps, **own, **parameters)
    torch.testing.assert_close(attacked, attack(x, y), rtol=0, atol=1e-5)
    assert accuracy(model, attacked, y) < 1


def test_the_margin_needs_no_moderate_logits() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = mlp()

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = 1e5 * self.model(x)
            return outputs

    x, y = data(mlp(), 20)
    attack = torchattacks_pgd(eps=0.1, max_iter=6, loss="margin")
    torch.testing.assert_close(attack(Scaled(), x, y), attack(mlp(), x, y))
    weak = torchattacks_pgd(eps=0.1, max_iter=6, random_start=False)
    assert accuracy(mlp(), weak(Scaled(), x, y), y) > accuracy(mlp(), attack(Scaled(), x, y), y)


def test_the_margin_takes_the_steps_of_the_native_attack() -> None:
    model = network()
    x, y = data(model, 20)
    given: dict[str, Any] = {"eps": 0.1, "eps_step": 0.02, "max_iter": 8, "loss": "margin", "random_start": False}
    torch.testing.assert_close(torchattacks_pgd(**given)(model, x, y), pgd(model, x, y, **given), rtol=0, atol=1e-5)


def test_the_number_of_classes_reaches_the_library() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    x, y = data(model, 20)
    attacked = from_torchattacks("APGDT", eps=0.1, steps=6)(model, x, y)
    assert accuracy(model, attacked, y) < 1


def test_statistics_stay_although_the_library_leaves_training_mode_on() -> None:
    model = network().train()
    x, y = data(network(), 6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    from_torchattacks("APGDT", eps=0.1, steps=3, batch_size=2)(model, x, y)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_descriptions() -> None:
    assert describe(torchattacks_pgd(eps=0.3, eps_step=0.01, loss="margin", seed=4)) == {
        "name": "torchattacks.PGD",
        "eps": 0.3,
        "norm": "inf",
        "clip_values": [0.0, 1.0],
        "loss": "margin",
        "alpha": 0.01,
        "steps": 40,
        "random_start": True,
    }


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="name must be one of APGD, .*, got 'Attack'"):
        from_torchattacks("Attack", eps=0.1)
    with pytest.raises(ValueError, match="norm must be inf or 2, got 1"):
        torchattacks_pgd(eps=0.1, norm=1)
    with pytest.raises(ValueError, match="loss must be cross_entropy or margin, got 'dlr'"):
        torchattacks_pgd(eps=0.1, loss="dlr")
    with pytest.raises(ValueError, match="eps must be a finite number >= 0, got -1"):
        torchattacks_pgd(eps=-1)
