"""MMA: margins in closed form, what a batch's loss is made of, and the radii of the searches from visit to visit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from art_levelset.core.fields import Field
from art_levelset.trainers import MMATrainer
from art_levelset.trainers.max_margin import BEYOND, along, first_crossing


def affine(classes: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    with torch.no_grad():
        module[1].weight.copy_(torch.linspace(-1.0, 1.0, 64 * classes).reshape(classes, 64)[:, torch.randperm(64)])
        module[1].bias.zero_()
    return module


@pytest.fixture
def batch(digits):
    return torch.as_tensor(digits[0][:32]), torch.as_tensor(digits[1][:32] % 2), torch.arange(32)


def prepared(trainer: MMATrainer, samples: int | None = 40) -> MMATrainer:
    trainer._union = 32
    trainer.begin_fit(samples)
    trainer.randomness.manual_seed(0)
    return trainer


def signed_distances(module: nn.Sequential, x: torch.Tensor, y: torch.Tensor, norm: float) -> torch.Tensor:
    """(w . x + b) / |w|_q of the label's lead over the other class."""
    lead = module[1].weight[1] - module[1].weight[0]
    scores = (x.flatten(1) @ lead) * torch.where(y == 1, 1.0, -1.0)
    return (scores / torch.linalg.vector_norm(lead, 1 if norm == math.inf else 2)).detach()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 12), st.floats(0.01, 1.0))
def test_bisection_brackets_the_zero_of_an_affine_function(seed, bisections, part):
    """F(x) = 1 - a . x from x = 0 along u: the zero is at 1 / a . u."""
    generator = torch.Generator().manual_seed(seed)
    a = 0.2 + torch.rand(5, 3, generator=generator)
    u = torch.rand(5, 3, generator=generator)
    zeros = 1 / (a * u).sum(dim=1)
    farthest = 4.0
    field = Field(lambda points, slope: 1 - (points * slope).sum(dim=1), None, (a,))
    found = first_crossing(field, torch.zeros(5, 3), u, torch.full((5,), part * farthest), farthest, bisections)
    reached = zeros < farthest * (1 - 1e-5)
    width = farthest * max(part, 1 - part) / 2**bisections
    assert bool((found >= zeros * (1 - 1e-5))[reached].all())
    assert bool((found <= zeros + width * (1 + 1e-5))[reached].all())
    assert bool((found[zeros > farthest * (1 + 1e-5)] == farthest).all())


def test_points_of_rays_stay_in_the_box():
    points = along(torch.tensor([[0.5, 0.9]]), torch.tensor([[-1.0, 1.0]]), torch.tensor([0.3]), (0.0, 1.0))
    torch.testing.assert_close(points, torch.tensor([[0.2, 1.0]]))


class TestAffineNetwork:
    @pytest.mark.parametrize("norm", [math.inf, 2])
    def test_the_margin_is_the_distance_in_closed_form(self, classifier, batch, norm):
        x, y, rows = batch
        module, x = affine().double(), x.double()  # the last bisections are finer than float32
        exact = signed_distances(module, x, y, norm)
        eps = 1.2 * exact.abs().max().item()
        options = {"norm": norm, "bisections": 20, "max_iter": 30, "eps_step": eps / 4, "eps_min": eps / 2}
        trainer = prepared(MMATrainer(classifier(module, 2, clip_values=None), eps, **options))
        points, distances = trainer.find(x, y, rows)
        right = exact > 0
        assert 5 < int(right.sum()) < 27
        torch.testing.assert_close(distances[right], exact[right], rtol=1e-4, atol=1e-5 * eps)
        torch.testing.assert_close(
            torch.linalg.vector_norm((points - x).flatten(1), norm, dim=1), distances, rtol=1e-4, atol=1e-6
        )
        assert bool((module(points).argmax(dim=1) != y).all()), "where the label is lost"
        assert torch.equal(points[~right], x[~right])
        assert not distances[~right].any()

    def test_the_loss_is_the_weighted_sum(self, classifier, batch):
        """Those with a margin beyond d_max count in the clean part alone."""
        x, y, rows = batch
        module = affine()
        exact = signed_distances(module, x, y, math.inf)
        eps = exact[exact > 0].median().item() * 1.01
        options = {"bisections": 20, "max_iter": 30, "eps_min": eps / 2, "clean": 0.25}
        trainer = prepared(MMATrainer(classifier(module, 2, clip_values=None), eps, **options))
        loss, metrics = trainer.batch_loss(x, y, rows)
        near = (exact > 0) & (exact < eps)
        losses = functional.cross_entropy(module(x), y, reduction="none")
        at_the_boundary = math.log(2.0)
        parts = losses[exact <= 0].sum() + at_the_boundary * near.sum()
        expected = 0.25 * losses.mean() + 0.75 * parts / 32
        assert 0 < int(near.sum()) < int((exact > 0).sum())
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
        assert metrics["accuracy"] == pytest.approx((exact > 0).double().mean().item())
        margins = torch.where(near, exact, torch.where(exact > 0, exact.clamp(max=BEYOND * eps), 0.0))
        assert metrics["margin"] == pytest.approx(margins.mean().item(), rel=1e-3)

    def test_a_step_makes_margins_larger(self, classifier, batch):
        x, y, rows = batch
        module = affine()
        built = classifier(module, 2, clip_values=None, optimizer=torch.optim.SGD(module.parameters(), lr=0.02))
        trainer = prepared(MMATrainer(built, 10.0, eps_min=0.1, clean=0.0, bisections=20))
        right = signed_distances(module, x, y, math.inf) > 0
        x, y, rows = x[right], y[right], rows[right]
        trainer._union = len(x)
        before = signed_distances(module, x, y, math.inf)
        trainer.step(x, y, rows)
        assert signed_distances(module, x, y, math.inf).mean() > before.mean()


class TestRadii:
    def test_a_search_has_the_radius_of_the_last_margin(self, classifier, batch, monkeypatch):
        from art_levelset.trainers import max_margin

        seen = []

        def watched(function, points, **options):
            seen.append(options)
            return ascend(function, points, **options)

        ascend = max_margin.ascend
        monkeypatch.setattr(max_margin, "ascend", watched)
        x, y, rows = batch
        module = affine()
        trainer = prepared(MMATrainer(classifier(module, 2), 0.4, eps_min=0.01, eps_step=0.1))
        right = signed_distances(module, x, y, math.inf) > 0
        _, distances = trainer.find(x, y, rows)
        assert seen[0]["eps"].tolist() == pytest.approx([0.01] * int(right.sum()))
        trainer.find(x, y, rows)
        torch.testing.assert_close(seen[1]["eps"], distances[right].clamp(min=0.01))
        torch.testing.assert_close(seen[1]["step"], seen[1]["eps"] / 4)
        trainer.find(x, y, None)
        assert seen[2]["eps"].tolist() == pytest.approx([0.01] * int(right.sum()))

    def test_they_are_kept_in_checkpoints(self, classifier, digits, tmp_path):
        weights = []
        for parts in ([3], [1, 3]):
            torch.manual_seed(0)
            for nb_epochs in parts:
                trainer = MMATrainer(classifier(), 0.2, seed=0, max_iter=3)
                folder = tmp_path / str(len(parts))
                trainer.fit(digits[0][:64], digits[1][:64], nb_epochs=nb_epochs, checkpoint_dir=folder, verbose=False)
            weights.append(nn.utils.parameters_to_vector(trainer.classifier.model.parameters()))
        assert torch.equal(*weights)
        margins = trainer._margins.of(torch.arange(64))
        assert margins.max() > 0
        trainer.begin_fit(64)
        assert torch.equal(trainer._margins.of(torch.arange(64)), margins)
        trainer.begin_fit(63)
        assert not trainer._margins.of(torch.arange(63)).any()
        trainer.begin_fit(None)
        assert trainer.state_dict()["trainer"] == {"margins": None}


def test_a_batch_of_wrongly_classified_samples_has_the_plain_cross_entropy(classifier, batch):
    x, y, rows = batch
    module = affine(10)
    y = module(x).argmin(dim=1)
    loss, metrics = prepared(MMATrainer(classifier(module), 0.1)).batch_loss(x, y, rows)
    torch.testing.assert_close(loss, functional.cross_entropy(module(x), y))
    assert metrics == {"accuracy": 0.0, "margin": 0.0}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"eps": 0.0}, "^eps must"),
        ({"eps": 0.1, "eps_min": 0.0}, "^eps_min must"),
        ({"eps": 0.1, "eps_min": 0.2}, "^eps_min must not exceed eps"),
        ({"eps": 0.1, "eps_step": -1.0}, "^eps_step must"),
        ({"eps": 0.1, "max_iter": 0}, "^max_iter must"),
        ({"eps": 0.1, "bisections": 0}, "^bisections must"),
        ({"eps": 0.1, "clean": 1.1}, "^clean must"),
        ({"eps": 0.1, "clean": math.nan}, "^clean must"),
        ({"eps": 0.1, "norm": 1}, "^norm must"),
    ],
)
def test_bad_numbers(classifier, options, name):
    with pytest.raises(ValueError, match=name):
        MMATrainer(classifier(), **options)
