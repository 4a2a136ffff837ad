from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.attacks import decaying_steps, pgd
from art_levelset.attacks.effort import measured
from art_levelset.attacks.guided import STAGES, Guided

from .tiny import CLASSES, data, distances, mlp, network


def plane() -> nn.Linear:
    """Three classes; the first two apart by the plane w . x = 0.3, the third far away."""
    model = nn.Linear(4, 3)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0, 0, 0], [1.0, -2, 0.5, 0], [0.0, 0, 0, 0]]))
        model.bias.copy_(torch.tensor([0.3, 0.0, -50]))
    return model


@pytest.mark.usefixtures("few_queries")
@pytest.mark.parametrize(("norm", "dual"), [(2, 2), (math.inf, 1)])
def test_of_a_plane_it_is_right_about_every_sample(norm: float, dual: float) -> None:
    model, eps = plane(), 0.1
    x = 0.3 + 0.4 * torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
    y = model(x).argmax(dim=1)
    y[:3] = 1 - y[:3]
    outcome = Guided(eps=eps, norm=norm).outcome(model, x, y)
    logits = model(x).detach()
    exact = (logits[:, 0] - logits[:, 1]).abs() / torch.linalg.vector_norm(model.weight[1].detach(), dual)
    exact[:3] = 0
    assert outcome.broken_by is not None
    assert outcome.distances is not None
    assert outcome.broken_by[:3].tolist() == [-1] * 3  # nothing had to be done
    assert torch.equal(outcome.broken_by[3:] >= 0, exact[3:] <= eps)
    stands = exact > eps
    torch.testing.assert_close(outcome.distances[stands], exact[stands], rtol=1e-3, atol=1e-5)
    assert (outcome.distances >= exact * (1 - 1e-5)).all()
    assert (outcome.distances[~stands] <= eps).all()


@pytest.mark.usefixtures("few_queries")
@pytest.mark.parametrize("norm", [math.inf, 2])
@pytest.mark.parametrize("make", [network, mlp])
def test_what_it_says_of_a_sample_is_so(make: Any, norm: float) -> None:
    model, eps = make(), {math.inf: 0.06, 2: 0.25}[norm]
    x, y = data(model, 60)
    outcome = Guided(eps=eps, norm=norm, batch_size=25).outcome(model, x, y)
    assert outcome.broken_by is not None
    assert outcome.distances is not None
    broken = outcome.broken_by >= 0
    assert 0 < broken.sum() < len(x)
    wrong = model(outcome.examples).argmax(dim=1) != y
    assert torch.equal(wrong, broken)
    far = distances(outcome.examples, x, norm)
    assert (far[broken] <= eps).all()
    assert torch.equal(outcome.examples[~broken], x[~broken])
    torch.testing.assert_close(outcome.distances[broken].double(), far[broken], rtol=1e-4, atol=1e-6)
    assert (outcome.distances[~broken] > eps * (1 - 1e-5)).all()
    left = [len(x), *(int((~broken | (outcome.broken_by > place)).sum()) for place in range(len(STAGES[norm])))]
    assert list(outcome.survivors.values()) == left
    assert list(outcome.survivors) == ["clean", *(stage.name for stage in STAGES[norm])]


@pytest.mark.usefixtures("few_queries")
def test_it_breaks_what_pgd_breaks() -> None:
    model = network()
    x, y = data(model, 200)
    left = Guided(eps=0.06).outcome(model, x, y).broken_by
    assert left is not None
    attacked = pgd(model, x, y, eps=0.06, eps_step=decaying_steps(0.06, 100), max_iter=100, loss="margin")
    by_pgd = model(attacked).argmax(dim=1) != y
    assert by_pgd.any()
    assert not (by_pgd & (left < 0)).any()


class Reversed(nn.Module):
    """A network whose gradients point the wrong way."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(2 * x.detach() - x)
        return logits


def test_it_does_not_believe_in_gradients() -> None:
    model, masked = network(), Reversed(network()).eval()
    x, y = data(model, 200)
    broken, by_gradients = (
        Guided(eps=0.06).outcome(masked, x, y).broken_by,
        pgd(masked, x, y, eps=0.06, loss="margin"),
    )
    assert broken is not None
    by_squares = broken == [stage.name for stage in STAGES[math.inf]].index("squares")
    assert by_squares.sum() > (model(by_gradients).argmax(dim=1) != y).sum()


def test_far_samples_cost_less() -> None:
    """AutoAttack's passes for a sample that stands are about 9,000."""
    model = network()
    x, y = data(model, 200)
    with measured(model) as effort:
        Guided(eps=0.001)(model, x, y)
    assert (effort.forwards + effort.gradients) / len(x) < 380


@pytest.mark.usefixtures("few_queries")
def test_seeds_and_arrays() -> None:
    model = network()
    x, y = data(model, 30)
    attack = partial(Guided, eps=0.06)
    same = [attack(seed=1)(model, x, y) for _ in range(2)]
    assert torch.equal(*same)
    found = attack(seed=1)(model, x.numpy(), nn.functional.one_hot(y, CLASSES).numpy())
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, same[0].numpy())


def test_nothing_stands() -> None:
    model = network()
    x, y = data(model, 5)
    outcome = Guided(eps=0.1).outcome(model, x, (y + 1) % CLASSES)
    assert torch.equal(outcome.examples, x)
    assert outcome.distances is not None
    assert outcome.distances.tolist() == [0] * 5
    assert set(outcome.survivors.values()) == {0}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"eps": 0}, "eps"),
        ({"eps": math.nan}, "eps"),
        ({"norm": 1}, "norm"),
        ({"clip_values": (1, 0)}, "clip_values"),
        ({"batch_size": 0}, "batch_size"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Guided(**{"eps": 0.1, **change})
