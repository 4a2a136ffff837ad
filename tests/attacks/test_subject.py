from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.attacks.pgd import pgd
from art_levelset.attacks.protocol import LibraryAttack
from art_levelset.attacks.subject import Subject
from art_levelset.evaluation import classified_right
from art_levelset.identity import digest

from .tiny import accuracy, data, network


class Standardising(nn.Module):
    """A network that writes to its input."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.model(x.sub_(0.4).div_(0.3))
        return outputs


class Careful(Standardising):
    """The same, without."""

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.model((x - 0.4) / 0.3)
        return outputs


def by_gradient(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
    points = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(points), y), points)
    model(x)
    return x + 0.05 * gradient.sign()


def test_what_a_caller_gives_is_checked_once() -> None:
    model = network()
    x, y = data(model)
    subject = Subject.of(model, x.double().numpy(), np.eye(10)[y], clip_values=(np.zeros(36), 1))
    assert subject.network is model
    assert subject.x.dtype == torch.float64
    assert torch.equal(subject.x.float(), x)
    assert torch.equal(subject.y, y)
    assert subject.clip_values == (0.0, 1.0)
    assert (subject.device, subject.dtype, len(subject)) == (torch.device("cpu"), torch.float32, len(x))
    with pytest.raises(TypeError, match="model must be"):
        Subject.of(None, x, y)
    with pytest.raises(ValueError, match="x must lie within clip_values"):
        Subject.of(model, x + 1, y, clip_values=(0, 1))
    with pytest.raises(ValueError, match="y must have the shape"):
        Subject.of(model, x, y[1:])


def test_a_selection_knows_the_network_s_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    x, y = data(model)
    subject = Subject.of(model, x, y)
    hashed: list[Any] = []

    def counted(*parts: Any) -> str:
        hashed.extend(part for part in parts if isinstance(part, nn.Module))
        return digest(*parts)

    monkeypatch.setattr("art_levelset.attacks.subject.digest", counted)
    some = subject.select(slice(1, 3))
    assert torch.equal(some.x, x[1:3])
    assert torch.equal(some.y, y[1:3])
    assert some.network_sha256 == subject.network_sha256 == some.select(torch.tensor([0])).network_sha256
    assert hashed == [model]
    assert some.network_sha256 == digest(model)
    assert some.data_sha256 == digest(x[1:3], y[1:3])
    assert subject.data_sha256 == digest(x, y)


def test_inputs_are_a_copy_as_the_network_takes_them() -> None:
    model = network().double()
    x = torch.rand(2, 1, 6, 6)
    inputs = Subject.of(model, x, torch.tensor([0, 1])).inputs()
    assert inputs.dtype == torch.float64
    inputs.zero_()
    assert x.max() > 0
    inputs = Subject.of(network(), x, torch.tensor([0, 1])).inputs()
    assert torch.equal(inputs, x)
    inputs.zero_()
    assert x.max() > 0


@pytest.mark.parametrize(
    "attack",
    [
        partial(pgd, eps=0.05, max_iter=3),
        partial(pgd, eps=0.05, max_iter=3, stop_when_broken=True, num_random_init=2),
        LibraryAttack("test.gradient", by_gradient, {}, eps=0.05),
    ],
    ids=["pgd", "restarts", "library"],
)
def test_a_network_that_writes_to_its_input_changes_nothing(attack: Any) -> None:
    writing, careful = Standardising(network()), Careful(network())
    x, _ = data(network(), 40)
    with torch.no_grad():
        y = careful(x).argmax(dim=1)
    y[::4] = (y[::4] + 1) % 10
    before = x.clone()
    right = classified_right(writing, x, y)
    assert torch.equal(right, classified_right(careful, x, y))
    assert right.double().mean() == accuracy(careful, x, y) == 0.75
    assert torch.equal(attack(writing, x, y), attack(careful, x, y))
    assert torch.equal(x, before)
    array = x.numpy()
    assert np.array_equal(attack(writing, array, y), attack(careful, array, y))
    assert np.array_equal(array, before.numpy())
