from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import nn

from art_levelset import memory
from art_levelset.attacks.batches import COUNTED, check_batch, sample_bytes
from art_levelset.evaluation import evaluate


def images(count: int = 1000) -> torch.Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(channels: int = 16) -> nn.Module:
    layers = [nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * channels, 10))


def free(monkeypatch: pytest.MonkeyPatch, count: float) -> None:
    monkeypatch.setattr(memory, "available", lambda: count)


def test_a_refusal_says_what_would_fit_and_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = network()
    free(monkeypatch, 50e6)
    with pytest.raises(
        ValueError, match=r"^batch_size: 1,000 needs about \d+ MB of memory, 50 MB are free; "
    ) as refused:
        check_batch(tested, images(), 1000, most=1000)
    fits = int(re.findall(r"([\d,]+) would fit$", str(refused.value))[0].replace(",", ""))
    check_batch(tested, images(), fits, most=1000)
    with pytest.raises(ValueError, match="batch_size"):
        check_batch(tested, images(), fits + 1, most=1000)
    check_batch(tested, images(), 2 * fits, most=1000, processes=2)
    with pytest.raises(ValueError, match="not even 1 would fit"):
        check_batch(tested, images(), fits, most=1000, fixed=20e6)


def test_samples_that_are_not_there_take_none(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 50e6)
    check_batch(network(), images(20), 10**9, most=20)


def test_what_is_kept_for_gradients_is_counted() -> None:
    plain, wide = (sample_bytes(network(channels), images(COUNTED)) for channels in (16, 160))
    assert 7 < wide / plain < 10
    assert sample_bytes(network(), images(8)) == sample_bytes(network(), images(COUNTED))


def test_the_network_and_the_random_states_are_left_alone() -> None:
    tested = network().train()
    before = copy.deepcopy(tested.state_dict())
    passes: list[bool] = []
    tested.register_forward_hook(lambda module, inputs, output: passes.append(module.training))
    random = torch.get_rng_state()
    sample_bytes(tested, images(COUNTED))
    assert passes == [False]
    assert tested.training
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in tested.state_dict().items())
    assert all(parameter.grad is None for parameter in tested.parameters())


def test_an_evaluation_is_refused_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 1e6)
    x, y = images(50), torch.zeros(50, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^batch_size: 500 needs about .* 1 MB are free; not even 1 would fit$"):
        evaluate(network(), x, y, {"none": lambda network, x, y: pytest.fail("it has begun")})


def test_inside_of_inference_mode() -> None:
    tested, few = network(), images(COUNTED)
    with torch.inference_mode():
        assert sample_bytes(tested, few) > 0
