"""NuAT: the nuclear norm against numpy, where the noise begins and the step ends, the loss and its growing weight."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from art_levelset.trainers import NuATTrainer
from art_levelset.trainers.nuclear_norm import nuclear_change

EPS = 0.1


@pytest.fixture
def batch(digits):
    return torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 12), st.integers(2, 10))
def test_the_norm_is_numpys(seed, count, classes):
    random = np.random.default_rng(seed)
    logits, moved = random.standard_normal((2, count, classes))
    found = nuclear_change(torch.as_tensor(logits), torch.as_tensor(moved))
    assert found.item() == pytest.approx(np.linalg.norm(moved - logits, "nuc") / count, rel=1e-9)


def test_its_gradient():
    logits, moved = torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(nuclear_change, (logits.requires_grad_(), moved.requires_grad_()))


def test_its_gradient_is_finite_where_nothing_changes():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    moved = logits.clone().requires_grad_()
    nuclear_change(logits, moved).backward()
    assert bool(torch.isfinite(moved.grad).all())


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_logits_that_are_not_finite_have_no_finite_norm(value):
    assert not math.isfinite(nuclear_change(torch.zeros(3, 2), torch.tensor([[value, 0.0], [1, 1], [1, 1]])).item())


def prepared(trainer: NuATTrainer, fraction: float = 1.0) -> NuATTrainer:
    trainer._union = 16
    trainer.progress = replace(trainer.progress, fraction=fraction)
    trainer.randomness.manual_seed(0)
    return trainer


@pytest.mark.parametrize("lam", [0.0, 50.0])
def test_the_step_goes_up_both_terms_from_the_signs(classifier, batch, lam):
    """Each entry steps from half the radius to a wall of the ball or to the other half."""
    x, y = batch
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    trainer = prepared(NuATTrainer(classifier(module, clip_values=None), EPS, lam=lam))
    (points,) = trainer.find(x, y, None)
    signs = torch.where(torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5, -1.0, 1.0)
    start = (x + EPS / 2 * signs).requires_grad_()
    nuclear = torch.linalg.svdvals(module(start) - module(x)).sum()
    goal = functional.cross_entropy(module(start), y, reduction="sum") + lam * nuclear
    (gradient,) = torch.autograd.grad(goal, start)
    expected = torch.minimum(torch.maximum(start + EPS * gradient.sign(), x - EPS), x + EPS)
    clear = gradient.abs() > 1e-5 * gradient.abs().amax()
    torch.testing.assert_close(points[clear], expected.detach()[clear], rtol=0, atol=1e-6)
    assert clear.double().mean() > 0.99
    sizes = ((points - x).abs() / EPS).round(decimals=3)
    assert set(sizes.unique().tolist()) == {0.5, 1.0}


def test_the_loss_by_hand(classifier, batch):
    x, y = batch
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    trainer = prepared(NuATTrainer(classifier(module), EPS, lam=3.0))
    (points,) = trainer.find(x, y, None)
    trainer.randomness.manual_seed(0)
    loss, metrics = trainer.batch_loss(x, y, None)
    difference = ((points - x).flatten(1) @ module[1].weight.T).detach().numpy()
    nuclear = np.linalg.norm(difference, "nuc") / 16
    expected = functional.cross_entropy(module(x), y).item() + 3.0 * nuclear
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert metrics["nuclear"] == pytest.approx(nuclear, rel=1e-4)
    assert metrics["accuracy"] == pytest.approx((module(x).argmax(dim=1) == y).double().mean().item())


@pytest.mark.parametrize(
    ("lam_warmup", "fraction", "part"), [(0.9, 0.0, 0.0), (0.9, 0.45, 0.5), (0.9, 0.95, 1.0), (0.0, 0.0, 1.0)]
)
def test_the_weight_grows_with_the_fit(classifier, batch, lam_warmup, fraction, part):
    x, y = batch
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    trainer = prepared(NuATTrainer(classifier(module), EPS, lam=3.0, lam_warmup=lam_warmup), fraction)
    loss, metrics = trainer.batch_loss(x, y, None)
    plain = functional.cross_entropy(module(x), y)
    assert (loss - plain).item() == pytest.approx(3.0 * part * metrics["nuclear"], rel=1e-4, abs=1e-5)
    assert metrics["nuclear"] > 0


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"eps": 0.0}, "^eps must"),
        ({"eps": 0.1, "lam": -1.0}, "^lam must"),
        ({"eps": 0.1, "lam_warmup": 1.5}, "^lam_warmup must be in"),
        ({"eps": 0.1, "lam_warmup": math.nan}, "^lam_warmup must be in"),
        ({"eps": 0.1, "warmup": 1.5}, "^warmup must be in"),
    ],
)
def test_bad_numbers(classifier, options, name):
    with pytest.raises(ValueError, match=name):
        NuATTrainer(classifier(), **options)
