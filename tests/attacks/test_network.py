from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.attacks.network import DetachedNetwork, parameters_kept, seeded
from art_levelset.attacks.protocol import LibraryAttack
from art_levelset.identity import digest

from .tiny import data, disturbed, network, random_states, state


def attack_by(run: Any, **changes: Any) -> LibraryAttack:
    return LibraryAttack("test.Attack", run, {}, **{"eps": 0.1, **changes})


def identity(network: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
    return x


def test_gradients_and_flags_of_parameters_come_back_after_an_exception() -> None:
    model: Any = disturbed(network())
    before = state(model)

    def careless() -> None:
        with parameters_kept(model):
            assert all(parameter.grad is None for parameter in model.parameters())
            model.requires_grad_(False)
            model[4].weight.grad = torch.ones_like(model[4].weight)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        careless()
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)


def test_a_detached_network_computes_the_same_with_gradients_to_its_inputs_only() -> None:
    model = network()
    x, _ = data(model)
    faced = DetachedNetwork(model)
    ours, own = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.testing.assert_close(faced(ours), model(own))
    faced(ours).square().sum().backward()
    (expected,) = torch.autograd.grad(model(own).square().sum(), own)
    torch.testing.assert_close(ours.grad, expected)
    assert ours.grad is not None
    assert ours.grad.is_contiguous()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not faced(x).requires_grad


def test_finished_work_is_known_for_a_network_in_another_mode_or_layout() -> None:
    known = digest(DetachedNetwork(network()))
    assert list(DetachedNetwork(network()).state_dict()) == [f"network.{name}" for name in network().state_dict()]
    changed = disturbed(network()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert digest(DetachedNetwork(changed)) == known
    with torch.no_grad():
        changed[4].bias[0] += 1e-6
    assert digest(DetachedNetwork(changed)) != known


def test_everything_random_is_seeded_and_restored() -> None:
    def draws() -> tuple[float, ...]:
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002

    before = random_states()
    with seeded(3, torch.device("cpu")):
        first = draws()
    with seeded(3, torch.device("cpu")):
        assert draws() == first
    with seeded(2**40, torch.device("cpu")):
        assert draws() != first
    assert random_states() == before


def test_a_network_that_views_its_activations_is_taken_in_the_usual_layout() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 5)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.conv(x)
            return self.last(hidden.view(len(hidden), -1))

    network, x = Viewing(), torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(DetachedNetwork(network)(x), network(x))
