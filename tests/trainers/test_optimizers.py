"""Optimizers by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from art_levelset.trainers.optimizers import OPTIMIZERS, RATES, optimizer_of


def test_each_has_a_rate() -> None:
    assert OPTIMIZERS.keys() == RATES.keys()


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_they_are_what_they_are_called(name: str, kind: str) -> None:
    optimizer = optimizer_of(name, nn.Linear(2, 1).parameters(), learning_rate=0.3, weight_decay=0.01)
    assert type(optimizer).__name__ == kind
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (0.3, 0.01)


def test_a_step_of_sgd_by_hand() -> None:
    """Nesterov: v = g, step lr (g + 0.9 v), with g = slope + decay w."""
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = optimizer_of("sgd", [weight], learning_rate=0.1, weight_decay=0.5)
    weight.grad = torch.tensor([3.0], dtype=torch.float64)
    optimizer.step()
    assert weight.item() == pytest.approx(2.0 - 0.1 * 1.9 * (3.0 + 0.5 * 2.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "lion"}, "optimizer must be one of adam, adamw, sgd, got 'lion'"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"weight_decay": -1.0}, "weight_decay must be"),
        ({"weight_decay": math.nan}, "weight_decay must be"),
    ],
)
def test_bad_input(changes: dict[str, Any], message: str) -> None:
    arguments = {"name": "adam", "parameters": nn.Linear(2, 1).parameters(), "learning_rate": 0.1, **changes}
    with pytest.raises(ValueError, match=message):
        optimizer_of(**arguments)
