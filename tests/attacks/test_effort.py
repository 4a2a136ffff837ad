from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.attacks import outcome_of, pgd
from art_levelset.attacks.effort import Effort, measured

from .tiny import network


def test_samples_are_counted_forward_and_backward() -> None:
    model = network()
    x = torch.rand(5, 1, 6, 6, requires_grad=True)
    hooks = len(model._forward_hooks)
    with measured(model) as effort:
        model(x[:3]).sum().backward()
        with torch.no_grad():
            model(x)
        logits = model(x)
        for column in (0, 1):
            torch.autograd.grad(logits[:, column].sum(), x, retain_graph=True)
        assert effort.seconds == 0
    model(x)
    assert (effort.forwards, effort.gradients) == (13, 13)
    assert effort.seconds > 0
    assert len(model._forward_hooks) == hooks


def test_the_hook_goes_and_the_time_is_kept_when_an_exception_passes() -> None:
    model = nn.Linear(2, 2)
    efforts: list[Effort] = []

    def killed() -> None:
        with measured(model) as effort:
            efforts.append(effort)
            model(torch.zeros(3, 2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert efforts[0].forwards == 3
    assert efforts[0].seconds > 0
    assert not model._forward_hooks


def test_costs_add_up_and_are_numbers() -> None:
    total = Effort()
    total.add(Effort(1.5, 2, 3))
    total.add(Effort(0.5, 20, 30))
    assert total == Effort(2.0, 22, 33)
    assert Effort.of(total.array()) == total
    np.testing.assert_array_equal(total.array(), [2.0, 22.0, 33.0])


def test_outputs_that_are_no_logits_are_left_to_whoever_asked_for_them() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(TypeError, match="model must return one tensor of logits, .* got tuple"):
        outcome_of(partial(pgd, eps=0.1), Two(), torch.rand(3, 2), torch.tensor([0, 1, 0]))
