from __future__ import annotations

import importlib
import math
import sys
from typing import Any

import pytest
import torch
from torch import nn

from art_levelset.adapters.advertorch import advertorch_attacks, advertorch_pgd, from_advertorch
from art_levelset.identity import describe

from ..attacks.tiny import accuracy, data, mlp, needs, seed_all

pytestmark = needs("advertorch")


def test_it_is_imported_and_pytorch_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    gradcheck = importlib.import_module("torch.autograd.gradcheck")
    known = set(vars(gradcheck))
    for name in ("advertorch.attacks", "advertorch.attacks.fast_adaptive_boundary"):  # that imports what is missing
        monkeypatch.delitem(sys.modules, name, raising=False)
    attacks = advertorch_attacks()
    assert attacks.__name__ == "advertorch.attacks"
    assert set(vars(gradcheck)) == known
    assert advertorch_attacks() is attacks


def test_pytorch_is_left_as_it_was_where_the_import_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    gradcheck = importlib.import_module("torch.autograd.gradcheck")
    known = set(vars(gradcheck))
    monkeypatch.setitem(sys.modules, "advertorch.attacks", None)
    with pytest.raises(ImportError):
        advertorch_attacks()
    assert set(vars(gradcheck)) == known


@pytest.mark.parametrize(
    ("norm", "eps", "name"), [(math.inf, 0.1, "LinfPGDAttack"), (2, 0.5, "L2PGDAttack"), (1, 4.0, "L1PGDAttack")]
)
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
@pytest.mark.parametrize("random_start", [True, False])
def test_pgd_equals_the_library_called_directly(
    norm: float, eps: float, name: str, loss: str, random_start: bool
) -> None:
    model = mlp()
    x, y = data(model, 20)
    given: dict[str, Any] = {"eps": eps, "eps_step": eps / 4, "max_iter": 6, "norm": norm, "random_start": random_start}
    attacked = advertorch_pgd(loss=loss, seed=3, **given)(model, x, y)
    margin = importlib.import_module("advertorch.attacks.utils").MarginalLoss(reduction="sum")
    own = nn.CrossEntropyLoss(reduction="sum") if loss == "cross_entropy" else margin
    seed_all(3)
    attack = getattr(advertorch_attacks(), name)(
        model, loss_fn=own, eps=eps, nb_iter=6, eps_iter=eps / 4, rand_init=random_start
    )
    torch.testing.assert_close(attacked, attack.perturb(x, y), rtol=0, atol=1e-5)
    assert accuracy(model, attacked, y) < 1


def test_fab_equals_the_library_called_directly() -> None:
    model = mlp()
    x, y = data(model, 20)
    attacked = from_advertorch("LinfFABAttack", eps=0.1, n_iter=6, n_restarts=2, seed=3)(model, x, y)
    seed_all(3)
    attack = advertorch_attacks().LinfFABAttack(model, eps=0.1, n_iter=6, n_restarts=2)
    torch.testing.assert_close(attacked, attack.perturb(x, y).clamp(x - 0.1, x + 0.1), rtol=0, atol=1e-5)
    assert accuracy(model, attacked, y) < 1


def test_other_clip_values_and_the_norm_reach_the_library() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
    x = 4 * torch.rand(20, 5) - 3
    y = model(x).argmax(dim=1)
    attacked = from_advertorch("PGDAttack", eps=2, norm=2, clip_values=(-3, 1), nb_iter=20, eps_iter=0.5)(model, x, y)
    seed_all(0)
    attack = advertorch_attacks().PGDAttack(model, eps=2.0, ord=2, clip_min=-3, clip_max=1, nb_iter=20, eps_iter=0.5)
    torch.testing.assert_close(attacked, attack.perturb(x, y), rtol=0, atol=1e-5)
    assert accuracy(model, attacked, y) < 0.8


def test_descriptions() -> None:
    assert describe(advertorch_pgd(eps=0.3, eps_step=0.01, loss="margin", norm=2, seed=4)) == {
        "name": "advertorch.L2PGDAttack",
        "eps": 0.3,
        "norm": 2,
        "clip_values": [0.0, 1.0],
        "eps_iter": 0.01,
        "nb_iter": 40,
        "loss_fn": "MarginLoss",
        "rand_init": True,
    }


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="name must be one of .*LinfPGDAttack.*, got 'Attack'"):
        from_advertorch("Attack", eps=0.1)
    with pytest.raises(ValueError, match="name must be one of .*, got 'PGD'"):
        from_advertorch("PGD", eps=0.1)
    with pytest.raises(ValueError, match="norm must be inf, 2 or 1, got 3"):
        advertorch_pgd(eps=0.1, norm=3)
    with pytest.raises(ValueError, match="loss must be cross_entropy or margin, got 'dlr'"):
        advertorch_pgd(eps=0.1, loss="dlr")
    with pytest.raises(ValueError, match="eps_step must be a finite number > 0, got 0"):
        advertorch_pgd(eps=0.1, eps_step=0)
