from __future__ import annotations

import math
import sys
from typing import Any

import pytest
import torch

from art_levelset.adapters.adv_lib import adv_lib_attacks, from_adv_lib
from art_levelset.identity import describe

from ..attacks.tiny import accuracy, data, distances, mlp, needs, seed_all

pytestmark = needs("adv_lib")


@pytest.mark.parametrize(
    ("name", "norm", "own", "parameters"),
    [
        ("apgd", math.inf, {"norm": math.inf, "eps": 0.1}, {"n_iter": 6, "use_rs": True}),
        ("pgd_linf", math.inf, {"ε": 0.1}, {"steps": 6}),
        ("tr", 2, {"p": 2}, {"iter": 60, "adaptive": True}),
        ("alma", 1, {"distance": "l1"}, {"num_steps": 10, "init_lr_distance": 1.0}),
        ("fga", math.inf, {"targeted": False}, {"max_iter": 2}),
    ],
)
def test_attacks_equal_the_library_called_directly(
    name: str, norm: float, own: dict[str, Any], parameters: dict[str, Any]
) -> None:
    model = mlp()
    x, y = data(model, 20)
    eps = own.get("eps") or own.get("ε") or 36.0  # all of the box where the attack knows of no ball
    attacked = from_adv_lib(name, eps=eps, norm=norm, seed=3, **parameters)(model, x, y)
    seed_all(3)
    direct = getattr(adv_lib_attacks(), name)(model, x.clone(), y, **own, **parameters)
    torch.testing.assert_close(attacked, direct, rtol=0, atol=1e-5)
    assert accuracy(model, attacked, y) < 1


def test_the_nearest_points_count_within_the_ball_only() -> None:
    model = mlp()
    x, y = data(model, 20)
    everywhere = from_adv_lib("fmn", eps=1, steps=20)(model, x, y)
    far = distances(everywhere, x, math.inf)
    eps = far.sort().values[9:11].mean().item()
    attacked = from_adv_lib("fmn", eps=eps, steps=20)(model, x, y)
    assert torch.equal(attacked, torch.where((far <= eps).reshape(-1, 1, 1, 1), everywhere, x))
    assert 0 < accuracy(model, attacked, y) < 1


def test_visdom_is_not_left_behind() -> None:
    known = "visdom" in sys.modules
    adv_lib_attacks()
    assert ("visdom" in sys.modules) is known


def test_descriptions() -> None:
    assert describe(from_adv_lib("fmn", eps=0.3, steps=7)) == {
        "name": "adv_lib.fmn",
        "eps": 0.3,
        "norm": "inf",
        "clip_values": [0.0, 1.0],
        "steps": 7,
    }


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="name must be one of alma, apgd, .*, got 'nullcontext'"):
        from_adv_lib("nullcontext", eps=0.1)
    with pytest.raises(ValueError, match="norm must be 2 for adv_lib.ddn, got inf"):
        from_adv_lib("ddn", eps=0.1)
    with pytest.raises(ValueError, match="norm must be 2 or 1 for adv_lib.alma, got inf"):
        from_adv_lib("alma", eps=0.1)
    with pytest.raises(ValueError, match="norm must be inf, 2 or 1, got 0"):
        from_adv_lib("fmn", eps=0.1, norm=0)
    with pytest.raises(TypeError, match="fmn has no parameter targeted, but"):
        from_adv_lib("fmn", eps=0.1, targeted=True)
    with pytest.raises(TypeError, match="missing a required argument: 'num_classes'"):
        from_adv_lib("perc_al", eps=0.1)
    with pytest.raises(ValueError, match="eps must be a finite number >= 0, got -1"):
        from_adv_lib("fmn", eps=-1)
