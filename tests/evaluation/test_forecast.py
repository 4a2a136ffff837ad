from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from art_levelset.adapters.catalogue import attack_by_name
from art_levelset.attacks import outcome_of, pgd
from art_levelset.attacks.guided import Guided
from art_levelset.attacks.subject import Subject
from art_levelset.evaluation import forecast as module
from art_levelset.evaluation.forecast import Forecast, forecast, passes_of

from ..attacks.tiny import data, needs, network


def subject(count: int = 50) -> Subject:
    model = network()
    return Subject.of(model, *data(model, count), clip_values=(0.0, 1.0))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample takes 1 ms forward and 3 ms in both directions."""
    monkeypatch.setattr(module, "_trial", lambda subject: (0.001, 0.003))


@pytest.mark.usefixtures("clock")
def test_passes_and_seconds_are_added_up() -> None:
    attacks = {"five": partial(pgd, eps=0.1, max_iter=5), "twice": partial(pgd, eps=0.1, max_iter=3, num_random_init=2)}
    found = forecast(subject(), attacks, repeats=2)
    assert found.passes == {"five": (500, 500), "twice": (600, 600)}
    assert found.total == 2200
    assert math.isclose(found.seconds, 1100 * 0.003)


@pytest.mark.usefixtures("clock")
def test_more_measurements_cost_more() -> None:
    attacks = {"five": partial(pgd, eps=0.1, max_iter=5)}
    plain, *more = (
        forecast(subject(), attacks, max_iter=20, **options).total
        for options in ({}, {"margins": True}, {"masking": True}, {"estimate": 0.05})
    )
    assert all(one > plain for one in more)
    whole = forecast(subject(), attacks, estimate=1e-4).passes["estimate of AutoAttack"]
    assert whole == (50 * 7892, 50 * 1910)


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_it_is_what_pgd_costs_where_every_sample_stands(loss: str) -> None:
    attack = attack_by_name(f"pgd-{loss}", eps=1e-6, max_iter=7)
    known = passes_of(attack)
    assert known == (7, 7)
    one = subject()
    spent = outcome_of(attack, one.network, one.x, one.y).effort
    assert spent.gradients == 7 * len(one)
    assert spent.forwards == 7 * len(one) + 1  # the first tries a layout of the memory


def test_it_is_nearly_what_the_guided_ensemble_costs() -> None:
    attack, one = Guided(eps=1e-4), subject(200)
    spent = outcome_of(attack, one.network, one.x, one.y).effort
    known = passes_of(attack)
    assert known is not None
    assert abs(spent.forwards / len(one) / known[0] - 1) < 0.15
    assert abs(spent.gradients / len(one) / known[1] - 1) < 0.15


@needs("pyautoattack", "torchattacks")
def test_attacks_of_libraries() -> None:
    made = partial(attack_by_name, eps=0.1, max_iter=9)
    assert passes_of(made("torchattacks-pgd-ce")) == (9, 9)
    assert passes_of(made("autoattack")) == (7892, 1910)
    assert passes_of(made("autoattack-plus")) is None


def test_what_is_not_known_is_said() -> None:
    def mine(model: Any, x: Tensor, y: Tensor) -> Tensor:
        return x

    found = forecast(subject(), {"mine": mine, "pgd": partial(pgd, eps=0.1)})
    assert found.passes["mine"] is None
    assert found.text().startswith("this takes at most 4,000 passes, about ")
    assert found.text().endswith(" on this machine; not known: mine")
    assert forecast(subject(), {"mine": mine}).text() == "what this takes is not known: mine"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (50, "50 s"), (95, "1.6 minutes"), (900, "15 minutes"), (2 * 3600, "2 hours"), (1e6, "278 hours")],
)
def test_durations_in_words(seconds: float, said: str) -> None:
    assert f"about {said} on" in Forecast({"pgd": (2e6, 1.5e6)}, seconds).text()
    assert "3.5 million passes" in Forecast({"pgd": (2e6, 1.5e6)}, seconds).text()


def test_the_trial_leaves_the_network_as_it_was() -> None:
    one = subject()
    one.network.train()
    before = {name: value.clone() for name, value in one.network.state_dict().items()}
    found = forecast(one, {"pgd": partial(pgd, eps=0.1)})
    assert found.seconds > 0
    assert one.network.training
    assert all(torch.equal(value, before[name]) for name, value in one.network.state_dict().items())
