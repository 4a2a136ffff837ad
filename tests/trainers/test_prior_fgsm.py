"""FGSM-PGI: where steps begin and end by hand, from visit to visit, and the loss with its gradient."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from art_levelset.trainers import FGSMPGITrainer

EPS = 0.1


def affine() -> tuple[nn.Sequential, torch.Tensor]:
    """Two classes, of which the second one leads by w . x; and w."""
    weight = torch.linspace(-1.0, 1.0, 64)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        module[1].weight.copy_(torch.stack([torch.zeros(64), weight]))
        module[1].bias.zero_()
    return module, weight


@pytest.fixture
def batch(digits):
    return torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16] % 2), torch.arange(16).flip(0)


def prepared(trainer: FGSMPGITrainer, samples: int | None = 20) -> FGSMPGITrainer:
    trainer._union = 16
    trainer.begin_fit(samples)
    trainer.randomness.manual_seed(0)
    return trainer


def random_start(x: torch.Tensor) -> torch.Tensor:
    return x + EPS * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) - 1)


class TestVisits:
    @pytest.mark.parametrize("alpha", [0.03, None])
    def test_a_step_begins_where_the_sample_s_last_one_ended(self, classifier, batch, alpha):
        """In an affine network the sign of the gradient never changes."""
        x, y, rows = batch
        module, weight = affine()
        trainer = prepared(FGSMPGITrainer(classifier(module, 2), EPS, eps_step=alpha))
        step = -(alpha or EPS) * torch.where(y == 1, 1.0, -1.0).reshape(-1, 1, 1, 1) * weight.sign().reshape(1, 1, 8, 8)
        expected = random_start(x).clamp(0, 1)
        for _ in range(4):
            start, points = trainer.find(x, y, rows)
            torch.testing.assert_close(start, expected, rtol=0, atol=EPS / 200)
            end = torch.minimum(torch.maximum(start + step, x - EPS), x + EPS).clamp(0, 1)
            torch.testing.assert_close(points, end, rtol=0, atol=1e-6)
            expected = points

    def test_the_samples_are_told_apart_by_their_numbers(self, classifier, batch):
        x, y, rows = batch
        trainer = prepared(FGSMPGITrainer(classifier(affine()[0], 2), EPS))
        _, points = trainer.find(x, y, rows)
        trainer._union = 5
        start, _ = trainer.find(x[:5], y[:5], rows[:5])
        torch.testing.assert_close(start, points[:5], rtol=0, atol=EPS / 200)
        trainer._union = 4
        trainer.randomness.manual_seed(0)
        start, _ = trainer.find(x[:4], y[:4], torch.arange(16, 20))
        assert torch.equal(start, random_start(x[:4]).clamp(0, 1)), "these were never visited"

    @pytest.mark.parametrize("samples", [None, 20])
    def test_without_numbers_each_step_begins_at_random(self, classifier, batch, samples):
        x, y, _ = batch
        trainer = prepared(FGSMPGITrainer(classifier(affine()[0], 2), EPS), samples)
        for _ in range(2):
            trainer.randomness.manual_seed(0)
            start, _ = trainer.find(x, y, None)
            assert torch.equal(start, random_start(x).clamp(0, 1))

    def test_they_are_kept_in_checkpoints(self, classifier, digits, tmp_path):
        weights = []
        for parts in ([3], [1, 3]):
            torch.manual_seed(0)
            for nb_epochs in parts:
                trainer = FGSMPGITrainer(classifier(), EPS, seed=0)
                folder = tmp_path / str(len(parts))
                trainer.fit(digits[0][:64], digits[1][:64], nb_epochs=nb_epochs, checkpoint_dir=folder, verbose=False)
            weights.append(nn.utils.parameters_to_vector(trainer.classifier.model.parameters()))
        assert torch.equal(*weights)
        trainer.begin_fit(64)
        assert bool(trainer._perturbations._known.all())
        trainer.begin_fit(63)
        assert not bool(trainer._perturbations._known.any())

    def test_they_follow_what_moves_and_there_are_none_with_other_augmentation(self, classifier, digits):
        trainer = FGSMPGITrainer(classifier(), EPS, seed=0)
        trainer.fit(
            digits[0][:64], digits[1][:64], nb_epochs=1, augmentation=lambda x, generator: x.flip(3), verbose=False
        )
        assert trainer._perturbations is not None
        trainer.fit(digits[0][:64], digits[1][:64], nb_epochs=1, augmentation=lambda x, generator: x / 2, verbose=False)
        assert trainer._perturbations is None
        assert trainer.state_dict()["trainer"] == {"offsets": None}


@pytest.mark.parametrize("lam", [0.0, 10.0])
def test_the_loss_and_its_gradient(classifier, batch, lam):
    x, y, rows = batch
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    trainer = prepared(FGSMPGITrainer(classifier(module), EPS, lam=lam))
    start, points = copy.deepcopy(trainer).find(x, y, rows)
    assert (start - points).abs().amax() > EPS / 2
    trainer.randomness.manual_seed(0)
    loss, metrics = trainer.batch_loss(x, y, rows)
    loss.backward()
    found = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    before, after = module(start), module(points)
    change = (after - before).square().sum(dim=1) / 10
    expected = functional.cross_entropy(after, y) + lam * change.mean()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for gradient, parameter in zip(found, module.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
    assert metrics["change"] == pytest.approx(change.mean().item(), rel=1e-5)
    assert metrics["robust_accuracy"] == pytest.approx((after.argmax(dim=1) == y).double().mean().item())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"eps": -1.0}, "^eps must"),
        ({"eps": 0.1, "eps_step": 0.0}, "^eps_step must"),
        ({"eps": 0.1, "lam": -0.1}, "^lam must"),
        ({"eps": 0.1, "lam": math.nan}, "^lam must"),
    ],
)
def test_bad_numbers(classifier, options, name):
    with pytest.raises(ValueError, match=name):
        FGSMPGITrainer(classifier(), **options)
