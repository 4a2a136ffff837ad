"""N-FGSM: its points and its loss by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from art_levelset.trainers import NFGSMTrainer

EPS = 0.1


def affine() -> tuple[nn.Sequential, torch.Tensor]:
    """Two classes, of which the second one leads by w . x; and w."""
    weight = torch.linspace(-1.0, 1.0, 64)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        module[1].weight.copy_(torch.stack([torch.zeros(64), weight]))
        module[1].bias.zero_()
    return module, weight


def found(trainer: NFGSMTrainer, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    trainer._union = len(x)
    trainer.randomness.manual_seed(0)
    (points,) = trainer.find(x, y, None)
    return points


def noise(x: torch.Tensor, reach: float) -> torch.Tensor:
    """What a generator in the trainer's state draws: uniform in [-reach, reach]."""
    return reach * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) - 1)


@pytest.mark.parametrize(("k", "alpha"), [(2.0, None), (0.5, None), (0.0, None), (1.0, 0.03)])
@pytest.mark.parametrize("clip_values", [None, (0.0, 1.0)])
def test_the_points_and_the_loss_by_hand(classifier, digits, k, alpha, clip_values):
    module, weight = affine()
    trainer = NFGSMTrainer(classifier(module, 2, clip_values=clip_values), EPS, noise=k, eps_step=alpha)
    x, y = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16] % 2)
    low, high = clip_values or (-math.inf, math.inf)
    side = torch.where(y == 1, 1.0, -1.0)
    length = EPS if alpha is None else alpha
    step = -length * side.reshape(-1, 1, 1, 1) * weight.sign().reshape(1, 1, 8, 8)
    expected = ((x + noise(x, k * EPS)).clamp(low, high) + step).clamp(low, high)
    points = found(trainer, x, y)
    torch.testing.assert_close(points, expected, rtol=0, atol=1e-6)
    if clip_values is None:
        farthest = (points - x).abs().amax().item()
        assert farthest == pytest.approx(length + k * EPS, rel=0.02), "the ball does not bound them"
    trainer.randomness.manual_seed(0)
    loss, metrics = trainer.batch_loss(x, y, None)
    scores = side * (expected.flatten(1) @ weight)
    assert loss.item() == pytest.approx(functional.softplus(-scores).mean().item(), rel=1e-4)
    assert metrics == {"robust_accuracy": pytest.approx((scores > 0).double().mean().item())}


def test_the_gradient_is_taken_at_the_noisy_point(classifier):
    """|x|: at 0.1 the loss grows to one side, and where the noise has carried a coordinate below 0 to the other."""

    class Bend(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            size = self.scale * x.abs().flatten(1).sum(dim=1)
            return torch.stack([size, -size], dim=1)

    trainer = NFGSMTrainer(classifier(Bend(), 2, clip_values=None), 0.1, noise=2.0)
    x, y = torch.full((4, 1, 8, 8), 0.1), torch.zeros(4, dtype=torch.int64)
    noisy = x + noise(x, 0.2)
    assert 0.1 < (noisy < 0).double().mean() < 0.5
    torch.testing.assert_close(found(trainer, x, y), noisy - 0.1 * noisy.sign())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"eps": 0.0}, "^eps must"),
        ({"eps": 0.1, "eps_step": 0.0}, "^eps_step must"),
        ({"eps": 0.1, "noise": -0.1}, "^noise must"),
        ({"eps": 0.1, "noise": math.inf}, "^noise must"),
        ({"eps": 0.1, "max_grad_norm": 0.0}, "^max_grad_norm must"),
    ],
)
def test_bad_numbers(classifier, options, name):
    with pytest.raises(ValueError, match=name):
        NFGSMTrainer(classifier(), **options)


def test_it_has_one_step_and_no_others_norm(classifier):
    for option in ({"max_iter": 2}, {"norm": 2}, {"num_random_init": 3}):
        with pytest.raises(TypeError, match=next(iter(option))):
            NFGSMTrainer(classifier(), 0.1, **option)
