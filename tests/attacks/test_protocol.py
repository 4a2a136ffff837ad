from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset.attacks import pgd
from art_levelset.attacks.protocol import LibraryAttack, inside, outcome_of, parameters_of, reseeded

from .tiny import data, distances, disturbed, network, state


def attack_by(run: Any, **changes: Any) -> LibraryAttack:
    return LibraryAttack("test.Attack", run, {}, **{"eps": 0.1, **changes})


def identity(network: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
    return x


@settings(max_examples=200, deadline=None)
@given(
    eps=st.floats(0, 20),
    norm=st.sampled_from([1, 2, math.inf]),
    reach=st.floats(0, 4),
    double=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_what_a_library_returns_is_moved_inside(eps: float, norm: float, reach: float, double: bool, seed: int) -> None:
    dtype = torch.float64 if double else torch.float32
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(6, 1, 5, 5, generator=generator, dtype=dtype)
    points = x + reach * torch.randn(x.shape, generator=generator, dtype=dtype)
    moved = inside(points, x, eps, norm, (0.0, 1.0))
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert distances(moved, x, norm).max() <= eps
    kept = (distances(points, x, norm) <= 0.999 * eps) & (points.flatten(1).sub(0.5).abs().amax(dim=1) <= 0.5)
    torch.testing.assert_close(moved[kept], points[kept], rtol=0, atol=1e-6)


def test_a_sample_that_the_library_fails_on_stays(caplog: pytest.LogCaptureFixture) -> None:
    model = network()
    x, y = data(model)

    def fails(network: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        x = (x + 0.05).clamp(max=1)
        x[1, 0, 0, 0], x[4, 0, 2, 2] = torch.nan, torch.inf
        return x

    attacked = attack_by(fails)(model, x, y)
    assert torch.equal(attacked[[1, 4]], x[[1, 4]])
    torch.testing.assert_close(attacked[0], (x[0] + 0.05).clamp(max=1))
    assert "test.Attack failed on 2 of 6 samples" in caplog.text


def test_the_library_works_on_copies_in_batches_in_single_precision() -> None:
    model = network()
    x, y = data(model, 7)
    seen: list[tuple[Any, ...]] = []

    def spoils(network: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        seen.append((len(x), x.dtype, y.dtype, seed))
        x.zero_()
        return x

    for points in (x, x.double()):
        before = points.clone()
        attack_by(spoils, batch_size=3, seed=5)(model, points, y)
        assert torch.equal(points, before)
    assert seen == [(count, torch.float32, torch.int64, 5) for count in (3, 3, 1)] * 2


def test_no_sample_is_no_error() -> None:
    model = network()
    x, y = data(model)
    assert attack_by(identity)(model, x[:0], y[:0]).shape == x[:0].shape


def test_the_network_is_left_as_it_is_by_a_library_that_does_not_care() -> None:
    model = network()
    x, y = data(model)
    disturbed(model)
    before = state(model)

    def careless(network: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        assert not any(part.training for part in network.modules())
        for parameter in network.parameters():
            parameter.requires_grad_(True)
        network.train(network.training)
        network(x.requires_grad_()).sum().backward()
        network.zero_grad(set_to_none=False)
        network.train()
        return x.detach()

    attack_by(careless, batch_size=2)(model, x, y)
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_attacks_differentiate_whatever_the_caller_does(mode: Any) -> None:
    model = network()

    def differentiates(network: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(network(x), y), x)
        return x.detach() + 0.1 * gradient.sign()

    with mode():
        x, y = data(model)
        assert not torch.equal(attack_by(differentiates)(model, x, y), x)


def test_reseeded() -> None:
    attack = attack_by(identity)
    assert reseeded(attack, 8).seed == 8  # type: ignore[attr-defined]
    assert attack.seed == 0
    model = network()
    x, y = data(model)
    given = partial(pgd, eps=0.1, seed=1)
    assert torch.equal(reseeded(given, 8)(model, x, y), pgd(model, x, y, eps=0.1, seed=8))

    def fixed(model: Any, x: Tensor, y: Tensor) -> Tensor:
        return x

    assert reseeded(fixed, 8) is fixed


def test_descriptions_are_json_without_the_seed() -> None:
    parameters = {"steps": np.int64(3), "sizes": np.array([0.5, np.inf]), "loss": nn.ReLU(), "by": identity}
    attack = LibraryAttack("library.Attack", identity, parameters, 0.1, seed=5)
    described = parameters_of(attack)
    assert json.loads(json.dumps(described)) == described
    assert described == {
        "name": "library.Attack",
        "eps": 0.1,
        "norm": "inf",
        "clip_values": [0.0, 1.0],
        "steps": 3,
        "sizes": [0.5, "inf"],
        "loss": "ReLU",
        "by": "identity",
    }
    native = parameters_of(partial(partial(pgd, eps=0.1, seed=3), max_iter=7, verbose=True))
    assert native == {"name": "pgd", "eps": 0.1, "max_iter": 7}
    assert parameters_of(reseeded(attack, 9)) == described
    assert parameters_of(identity) == {"name": "identity"}


def test_what_an_attack_spends() -> None:
    model = network()
    x, y = data(model)

    def twice(network: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(network(x)[:, 0].sum(), x)
        with torch.no_grad():
            network(x)
        return gradient

    outcome = outcome_of(attack_by(twice, batch_size=4), model, x, y)
    assert outcome.effort.forwards == 12 + 1, "one more tells which memory layout the network takes"
    assert outcome.effort.gradients == 6
    assert outcome.effort.seconds > 0
    assert outcome.survivors == {}
    with pytest.raises(ValueError, match=r"attack must return the shape \(6, 1, 6, 6\), got \(1, 1, 6, 6\)"):
        outcome_of(lambda model, x, y: x[:1], model, x, y)


def mirrored_twice(model: Any, x: Any, y: Any) -> Any:
    return x.flip(0).numpy()[::-1]


def nothing(model: Any, x: Any, y: Any) -> Any:
    """As an attack that changes the samples where they are."""


def test_an_attack_may_return_an_array_and_nothing_else() -> None:
    model = network()
    x, y = data(model)
    assert torch.equal(outcome_of(mirrored_twice, model, x, y).examples, x)
    with pytest.raises(TypeError, match="^attack must return a tensor or an array, got NoneType of .*nothing$"):
        outcome_of(nothing, model, x, y)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": -0.1}, "eps must be a finite number >= 0, got -0.1"),
        ({"eps": math.nan}, "eps must be a finite number >= 0, got nan"),
        ({"norm": 3}, "norm must be inf, 2 or 1, got 3"),
        ({"clip_values": (1, 0)}, r"clip_values must be \(low, high\) with low < high, got \(1, 0\)"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"seed": 0.5}, "seed must be an integer >= 0, got 0.5"),
    ],
)
def test_bad_parameters(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attack_by(identity, **changes)


def test_bad_input() -> None:
    model = network()
    x, y = data(model)
    attack = attack_by(identity)
    with pytest.raises(ValueError, match=r"x must lie within clip_values \(0.0, 1.0\)"):
        attack(model, x + 0.5, y)
    with pytest.raises(ValueError, match=r"y must have the shape \(6,\)"):
        attack(model, x, y[:3])
    with pytest.raises(TypeError, match="model must be an nn.Module or an ART PyTorchClassifier, got str"):
        attack("model", x, y)
    with pytest.raises(TypeError, match="x must be a torch tensor or a numpy array"):
        attack(model, x.tolist(), y)
    with pytest.raises(ValueError, match=r"test.Attack returned the shape \(6, 36\) for \(6, 1, 6, 6\)"):
        attack_by(lambda network, x, y, seed: x.flatten(1))(model, x, y)
