"""MadryTrainer and TRADESTrainer: the attack and the loss in closed form, gradients, robustness in seconds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from torch import nn
from torch.nn import functional

from art_levelset.trainers.adversarial import MadryTrainer, TRADESTrainer, divergences
from art_levelset.trainers.noise_fgsm import NFGSMTrainer
from art_levelset.trainers.nuclear_norm import NuATTrainer
from art_levelset.trainers.prior_fgsm import FGSMPGITrainer

TRAINERS = [MadryTrainer, TRADESTrainer]


def affine(weight: torch.Tensor, bias: float = 0.0) -> nn.Sequential:
    """Two classes, of which the second one leads by weight . x + bias."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        module[1].weight.copy_(torch.stack([torch.zeros(64), weight]))
        module[1].bias.copy_(torch.tensor([0.0, bias]))
    return module


def batch(trainer, x, y):
    """A batch's loss as the loop asks for it."""
    trainer._union = len(x)
    return trainer.batch_loss(torch.as_tensor(x), torch.as_tensor(y), None)


class Watched(nn.Sequential):
    """Keeps what it is given, and in which mode."""

    def forward(self, x):
        self.seen = [*getattr(self, "seen", []), (x.detach().clone(), self.training)]
        return super().forward(x)


class TestAffineNetwork:
    """The worst point of the ball is known: x - eps s sign(w) or x - eps s w / |w|, s = +-1 the side of the label."""

    @pytest.fixture
    def weight(self):
        return torch.linspace(-1.0, 1.0, 64)

    def worst_scores(self, weight, x, y, norm, eps):
        scores = torch.as_tensor(x).flatten(1) @ weight
        side = torch.as_tensor(np.where(y == 1, 1.0, -1.0))
        return side * scores - eps * torch.linalg.vector_norm(weight, 1 if norm == math.inf else 2)

    @pytest.mark.parametrize("norm", [math.inf, 2])
    def test_madry_loss(self, classifier, digits, weight, norm):
        x, y = digits[0][:32], digits[1][:32] % 2
        trainer = MadryTrainer(classifier(affine(weight), 2, clip_values=None), 0.3, norm=norm, eps_step=0.3)
        loss, figures = batch(trainer, x, y)
        worst = self.worst_scores(weight, x, y, norm, 0.3)
        assert loss.item() == pytest.approx(functional.softplus(-worst).mean().item(), rel=1e-4)
        assert figures == {"robust_accuracy": pytest.approx((worst > 0).double().mean().item())}

    @pytest.mark.parametrize("norm", [math.inf, 2])
    def test_trades_loss(self, classifier, digits, weight, norm):
        """The divergence grows toward both sides; the attack ends on the one it starts on."""
        x, y = digits[0][:32], digits[1][:32] % 2
        options = {"norm": norm, "eps_step": 0.3, "max_iter": 20, "num_random_init": 8, "beta": 3.0}
        loss, _ = batch(TRADESTrainer(classifier(affine(weight), 2, clip_values=None), 0.3, **options), x, y)
        scores = torch.as_tensor(x).flatten(1) @ weight
        reach = 0.3 * torch.linalg.vector_norm(weight, 1 if norm == math.inf else 2)

        def log_p(values):
            return functional.logsigmoid(torch.stack([-values, values], dim=1))

        farthest = torch.maximum(*(divergences(log_p(scores), log_p(scores + side * reach)) for side in (-1, 1)))
        signed = torch.as_tensor(np.where(y == 1, 1.0, -1.0)) * scores
        expected = functional.softplus(-signed).mean() + 3.0 * farthest.mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)

    def test_the_box_takes_its_part_away(self, classifier, digits, weight):
        x, y = digits[0][:16], np.ones(16, np.int64)
        trainer = MadryTrainer(classifier(affine(weight), 2), 0.3, max_iter=20)
        loss, _ = batch(trainer, x, y)
        worst = (torch.as_tensor(x).flatten(1) - 0.3 * weight.sign()).clamp(0, 1) @ weight
        assert loss.item() == pytest.approx(functional.softplus(-worst).mean().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("trainer_class", "farthest"),
    [(MadryTrainer, 1), (TRADESTrainer, 1), (FGSMPGITrainer, 1), (NuATTrainer, 1), (NFGSMTrainer, 3)],
)
@pytest.mark.parametrize(
    ("warmup", "fraction", "growth"), [(0.0, 0.0, 1.0), (0.5, 0.0, 0.01), (0.5, 0.125, 0.25), (0.5, 0.75, 1.0)]
)
def test_radius_and_steps_grow_with_the_fit(classifier, digits, trainer_class, farthest, warmup, fraction, growth):
    """Where the box is far, some coordinate of 64 goes (nearly) as far as it may: for N-FGSM twice that in noise."""
    x, y = (torch.as_tensor(part[:32]) for part in digits)
    trainer = trainer_class(classifier(clip_values=(-9.0, 9.0)), 0.2, warmup=warmup)
    trainer.progress = replace(trainer.progress, fraction=fraction)
    trainer.randomness.manual_seed(0)
    trainer._union = len(x)
    reached = (trainer.find(x, y, None)[-1] - x).abs().max().item()
    assert 0.9 * farthest * growth * 0.2 < reached <= farthest * growth * 0.2 + 1e-6


@pytest.mark.parametrize("trainer_class", TRAINERS)
@pytest.mark.parametrize("norm", [math.inf, 2])
@pytest.mark.parametrize("num_random_init", [1, 3])
def test_gradient_is_that_of_the_loss_at_fixed_points(classifier, digits, trainer_class, norm, num_random_init):
    module = Watched(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)).eval()
    x, y = (torch.as_tensor(part[:16]) for part in digits)
    trainer = trainer_class(classifier(module), 0.2, norm=norm, max_iter=5, num_random_init=num_random_init)
    loss, _ = batch(trainer, x, y)
    assert all(parameter.grad is None for parameter in module.parameters()), "the search leaves them alone"
    loss.backward()
    found = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    points, mode = module.seen[-1]
    assert mode, "the loss is evaluated in training mode"
    assert not module.training
    near = module(points)
    expected = functional.cross_entropy(near, y)
    if trainer_class is TRADESTrainer:
        logits = module(x)
        divergence = functional.kl_div(near.log_softmax(1), logits.softmax(1), reduction="batchmean")
        expected = functional.cross_entropy(logits, y) + 6.0 * divergence
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for gradient, parameter in zip(found, module.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
    assert points.min() >= 0
    assert points.max() <= 1
    distances = torch.linalg.vector_norm((points - x).flatten(1), norm, dim=1)
    assert 0.1 < distances.max().item() <= 0.2 + 1e-6


@pytest.mark.parametrize("trainer_class", TRAINERS)
def test_the_search_is_in_evaluation_mode_and_the_loss_in_training_mode(classifier, digits, trainer_class):
    module = Watched(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))
    x, y = (torch.as_tensor(part[:16]) for part in digits)
    trainer = trainer_class(classifier(module), 0.2, max_iter=5)
    trainer.randomness.manual_seed(0)
    batch(trainer, x, y)
    passes = 1 if trainer_class is MadryTrainer else 2
    assert [mode for _, mode in module.seen[-passes:]] == [True] * passes
    assert not any(mode for _, mode in module.seen[:-passes])
    assert module[2].num_batches_tracked.item() == passes


def test_what_is_found_for_a_sample_does_not_depend_on_the_others(classifier, digits):
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    x, y = (torch.as_tensor(part[:16]) for part in digits)
    trainer = MadryTrainer(classifier(module), 0.2)
    found = []
    for rows in (slice(0, 16), slice(3, 4)):
        trainer.randomness.manual_seed(0)
        trainer.draw = lambda draw, rows=rows: draw(16)[rows]
        labels = y[rows]
        found.append(
            trainer._search(
                x[rows], lambda logits, labels=labels: functional.cross_entropy(logits, labels, reduction="none")
            )
        )
    torch.testing.assert_close(found[0][3:4], found[1])


@pytest.mark.parametrize("trainer_class", TRAINERS)
def test_more_restarts_are_no_weaker(classifier, digits, trainer_class):
    x, y = digits[0][:200], digits[1][:200]
    built = classifier()
    MadryTrainer(built, 0.1, max_iter=2, seed=0).fit(x, y, nb_epochs=5, verbose=False)
    losses = []
    for num_random_init in (1, 10):
        trainer = trainer_class(built, 0.15, max_iter=2, num_random_init=num_random_init)
        trainer.randomness.manual_seed(0)
        losses.append(batch(trainer, x, y)[0].item())
    assert losses[1] > losses[0] * 1.001


def test_robust_against_arts_own_attack_in_seconds(classifier, digits):
    x, y = digits
    accuracies = {}
    for trainer_class in (None, *TRAINERS):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        trained = classifier(module, optimizer=torch.optim.Adam(module.parameters(), lr=5e-3))
        if trainer_class is None:
            trained.fit(x[:1400], y[:1400], batch_size=64, nb_epochs=10)
        else:
            trainer = trainer_class(trained, 0.1, max_iter=5, seed=0)
            trainer.fit(x[:1400], y[:1400], batch_size=64, nb_epochs=10, verbose=False)
            assert trainer.history[-1]["robust_accuracy"] > trainer.history[0]["robust_accuracy"] + 0.3
        attack = ProjectedGradientDescentPyTorch(trained, eps=0.1, eps_step=0.01, max_iter=20, verbose=False)
        adversarial = attack.generate(x[1400:], y[1400:])
        accuracies[trainer_class] = (trained.predict(adversarial).argmax(1) == y[1400:]).mean()
        assert (trained.predict(x[1400:]).argmax(1) == y[1400:]).mean() > 0.9
    assert min(accuracies[one] for one in TRAINERS) > accuracies[None] + 0.15


@pytest.mark.parametrize("trainer_class", TRAINERS)
def test_eps_is_in_raw_units_behind_the_preprocessing(classifier, digits, trainer_class):
    x, y = digits[0][:200], digits[1][:200]
    outputs = []
    for scale in (1.0, 256.0):
        torch.manual_seed(0)
        built = classifier(clip_values=(0.0, scale), preprocessing=(0.0, scale))
        trainer = trainer_class(built, 0.1 * scale, seed=3)
        trainer.fit(x * scale, y, nb_epochs=2, verbose=False)
        outputs.append(trainer.predict(x * scale))
    np.testing.assert_allclose(*outputs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("trainer_class", TRAINERS)
@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"eps": 0.0}, "eps"),
        ({"eps": math.nan}, "eps"),
        ({"eps": 0.1, "eps_step": -0.1}, "eps_step"),
        ({"eps": 0.1, "max_iter": 0}, "max_iter"),
        ({"eps": 0.1, "max_iter": 2.5}, "max_iter"),
        ({"eps": 0.1, "norm": 1}, "norm"),
        ({"eps": 0.1, "num_random_init": -1}, "num_random_init"),
        ({"eps": 0.1, "warmup": -0.1}, "warmup"),
        ({"eps": 0.1, "warmup": math.nan}, "warmup"),
        ({"eps": 0.1, "max_grad_norm": 0.0}, "max_grad_norm"),
    ],
)
def test_bad_numbers(classifier, trainer_class, options, name):
    with pytest.raises(ValueError, match=name):
        trainer_class(classifier(), **options)


def test_bad_numbers_of_trades(classifier):
    with pytest.raises(ValueError, match="beta"):
        TRADESTrainer(classifier(), 0.1, beta=-1.0)
    with pytest.raises(ValueError, match="num_random_init"):
        TRADESTrainer(classifier(), 0.1, num_random_init=0)
    with pytest.raises(TypeError, match="epsilon"):
        TRADESTrainer(classifier(), 0.1, epsilon=0.1)


def test_without_a_random_start_the_attack_starts_at_the_sample(classifier, digits):
    module = Watched(nn.Flatten(), nn.Linear(64, 10))
    trainer = MadryTrainer(classifier(module), 0.1, num_random_init=0)
    batch(trainer, digits[0][:4], digits[1][:4])
    torch.testing.assert_close(module.seen[0][0], torch.as_tensor(digits[0][:4]), rtol=0, atol=0)
