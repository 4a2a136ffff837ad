from __future__ import annotations

import math

import pytest

from art_levelset.adapters.catalogue import NAMES, attack_by_name

from ..attacks.tiny import accuracy, data, distances, network

pytestmark = pytest.mark.usefixtures("quick_autoattack")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("norm", "eps"), [(math.inf, 0.2), (2, 0.8)])
def test_every_name_makes_an_attack(name: str, norm: float, eps: float) -> None:
    model = network()
    x, y = data(model)
    try:
        attack = attack_by_name(name, eps=eps, norm=norm, max_iter=5)
    except ImportError as error:
        pytest.skip(str(error))
    attacked = attack(model, x, y)
    assert distances(attacked, x, norm).max() <= eps
    assert accuracy(model, attacked, y) < 1


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="attacks must be among pgd-ce, .*, got 'pgd'"):
        attack_by_name("pgd", eps=0.1)
    for name in ("autoattack", "torchattacks-pgd-ce"):
        with pytest.raises(ValueError, match=r"clip_values must be \(0, 1\) for .*, got \(-1, 1\)"):
            attack_by_name(name, eps=0.1, clip_values=(-1, 1))
