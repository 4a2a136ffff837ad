from __future__ import annotations

import math
import os
import types
from typing import Any

import pytest
import torch

from art_levelset.adapters.foolbox import foolbox_library, foolbox_pgd, from_foolbox
from art_levelset.attacks import pgd
from art_levelset.identity import describe

from ..attacks.tiny import accuracy, data, distances, mlp, needs, network, seed_all

pytestmark = needs("foolbox")


@pytest.fixture
def foolbox() -> types.ModuleType:
    return foolbox_library()


@pytest.mark.parametrize(
    ("name", "norm", "eps", "parameters"),
    [
        ("LinfPGD", math.inf, 0.1, {"steps": 6}),
        ("L1PGD", 1, 3.0, {"steps": 6}),
        ("LinfDeepFoolAttack", math.inf, 1.0, {"steps": 6}),
        ("L2CarliniWagnerAttack", 2, 6.0, {"binary_search_steps": 3, "steps": 20, "initial_const": 1.0}),
        ("SaltAndPepperNoiseAttack", 2, 6.0, {"steps": 20, "across_channels": True}),
    ],
)
@pytest.mark.parametrize("box", [(0.0, 1.0), (-1.0, 1.5)])
def test_attacks_equal_the_library_called_directly(
    name: str, norm: float, eps: float, parameters: dict[str, Any], box: tuple[float, float], foolbox: types.ModuleType
) -> None:
    model = mlp()
    x, y = data(model, 20)
    attacked = from_foolbox(name, eps=eps, norm=norm, clip_values=box, seed=3, **parameters)(model, x, y)
    seed_all(3)
    direct = getattr(foolbox.attacks, name)(**parameters)
    _, clipped, broken = direct(foolbox.PyTorchModel(model, bounds=box), x, y, epsilons=eps)
    torch.testing.assert_close(attacked[broken], clipped[broken], rtol=0, atol=1e-5)
    assert accuracy(model, attacked, y) == pytest.approx(1 - broken.float().mean().item())
    assert broken.any()


def test_pgd_takes_the_steps_of_the_native_attack() -> None:
    model = network()
    x, y = data(model, 20)
    given: dict[str, Any] = {"eps": 0.1, "eps_step": 0.02, "max_iter": 8, "random_start": False}
    torch.testing.assert_close(foolbox_pgd(**given)(model, x, y), pgd(model, x, y, **given), rtol=0, atol=1e-5)


def test_the_nearest_points_count_within_the_ball_only() -> None:
    model = mlp()
    x, y = data(model, 20)
    everywhere = from_foolbox("L2FMNAttack", norm=2, eps=6, steps=20)(model, x, y)
    far = distances(everywhere, x, 2)
    eps = far.sort().values[9:11].mean().item()
    attacked = from_foolbox("L2FMNAttack", norm=2, eps=eps, steps=20)(model, x, y)
    assert torch.equal(attacked, torch.where((far <= eps).reshape(-1, 1, 1, 1), everywhere, x))
    assert 0 < accuracy(model, attacked, y) < 1


def test_the_environment_stays_as_it_was() -> None:
    before = dict(os.environ)
    foolbox_library()
    assert dict(os.environ) == before


def test_descriptions() -> None:
    assert describe(foolbox_pgd(eps=0.3, eps_step=0.01, clip_values=(-1, 1), seed=4)) == {
        "name": "foolbox.LinfPGD",
        "eps": 0.3,
        "norm": "inf",
        "clip_values": [-1, 1],
        "abs_stepsize": 0.01,
        "steps": 40,
        "random_start": True,
    }


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="name must be one of AdamPGD, .*, got 'Attack'"):
        from_foolbox("Attack", eps=0.1)
    with pytest.raises(ValueError, match="norm must be inf for foolbox.LinfPGD, got 2"):
        from_foolbox("LinfPGD", eps=0.1, norm=2)
    with pytest.raises(ValueError, match="norm must be inf, 2 or 1, got 3"):
        foolbox_pgd(eps=0.1, norm=3)
    with pytest.raises(ValueError, match="eps must be a finite number >= 0, got -1"):
        foolbox_pgd(eps=-1)
