"""CurvatureTrainer: its loss by hand, its gradients, what it leaves out, and that it makes boundaries flatter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from art_levelset import LevelSetMarginTrainer, project
from art_levelset.core.curvature import mean_curvature
from art_levelset.core.fields import margin_field
from art_levelset.trainers.curvature import CurvatureTrainer


class Circle(nn.Module):
    """Two classes inside and outside of a circle around the origin, in 64 dimensions a cylinder over it."""

    def __init__(self, radius: float) -> None:
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(radius))

    def forward(self, x):
        value = x.flatten(1)[:, :2].square().sum(dim=1) - self.radius**2
        return torch.stack([-value, value], dim=1)


def batch(trainer, x, y):
    """A batch's loss as the loop asks for it."""
    trainer._union = len(x)
    return trainer.batch_loss(x, y, None)


@pytest.fixture
def images():
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    return x, torch.tensor([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize("options", [{}, {"scale": 0.02}])
def test_the_loss_of_a_cylinder(classifier, images, options):
    """One of its 63 directions is curved, by 1 / radius, and the power method finds it."""
    x, y = images
    model = Circle(0.5)
    trainer = CurvatureTrainer(
        classifier(model, 2, clip_values=None), 2.0, max_iter=50, max_iter_direction=2, seed=0, **options
    )
    loss, metrics = batch(trainer, x, y)
    expected = functional.cross_entropy(model(x), y) + 2.0 / 0.5**2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-2)
    assert metrics["projected"] == 1
    assert metrics["curvature"] == pytest.approx(1 / 0.5, rel=1e-2)
    assert metrics["accuracy"] == pytest.approx((model(x).argmax(dim=1) == y).double().mean().item())


def test_the_gradient_of_points_that_move_is_that_of_the_circle_and_fixed_ones_have_none(classifier, images):
    x, y = images
    gradients = {}
    for name, weight, moving in (("none", 0.0, False), ("fixed", 1.0, False), ("moving", 1.0, True)):
        model = Circle(0.5)
        built = classifier(model, 2, clip_values=None)
        trainer = CurvatureTrainer(built, weight, max_iter=50, max_iter_direction=2, moving=moving, seed=0)
        batch(trainer, x, y)[0].backward()
        gradients[name] = model.radius.grad.item()
    assert gradients["fixed"] == pytest.approx(gradients["none"], abs=1e-4)
    assert gradients["moving"] - gradients["none"] == pytest.approx(-2 / 0.5**3, rel=1e-2)


def test_samples_without_a_boundary_point_in_reach_have_the_cross_entropy_alone(classifier, images):
    x, y = images
    distances = (x.flatten(1)[:, :2].norm(dim=1) - 0.5).abs()
    reach = distances.median().item() + 1e-3
    trainer = CurvatureTrainer(classifier(Circle(0.5), 2, clip_values=None), 1.0, max_iter=50, reach=reach, seed=0)
    _, metrics = batch(trainer, x, y)
    assert metrics["projected"] == (distances <= reach).double().mean().item() == 0.5
    constant = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    nn.init.zeros_(constant[1].weight)
    trainer = CurvatureTrainer(classifier(constant, 2), 1.0, seed=0)
    loss, metrics = batch(trainer, x, y)
    assert loss.item() == functional.cross_entropy(constant(x), y).item()
    assert metrics["projected"] == 0


def test_without_weight_it_is_ordinary_training(classifier, digits):
    found = []
    for make in (
        lambda built: CurvatureTrainer(built, 0.0, seed=0),
        lambda built: LevelSetMarginTrainer(built, eps=0.1, burn_in=0.999, seed=0),
    ):
        torch.manual_seed(0)
        built = classifier()
        make(built).fit(digits[0][:64], digits[1][:64], batch_size=32, nb_epochs=2, verbose=False)
        found.append(built.model[1].weight.detach().clone())
    torch.testing.assert_close(*found)


def test_it_makes_a_boundary_flatter():
    from art.estimators.classification import PyTorchClassifier
    from sklearn.datasets import make_moons

    x, y = make_moons(60, noise=0.3, random_state=0)
    x, curvatures = x.astype(np.float32), []
    for weight in (0.0, 0.05):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 2))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        built = PyTorchClassifier(model, nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, device_type="cpu")
        trainer = CurvatureTrainer(built, weight, seed=0)
        trainer.fit(x, y, batch_size=60, nb_epochs=80, verbose=False)
        samples = project(margin_field(model, torch.as_tensor(y)), torch.as_tensor(x), backtracking=True)
        field = margin_field(model, torch.as_tensor(y)[samples.converged])
        curvatures.append(mean_curvature(field, samples.points[samples.converged]).abs().mean().item())
        assert trainer.history[-1]["accuracy"] > 0.75
    assert curvatures[1] < 0.7 * curvatures[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1.0}, "weight must be a finite number >= 0, got -1.0"),
        ({"scale": 0.0}, "scale must be a finite number > 0, got 0.0"),
        ({"reach": 0.0}, "reach must be > 0, got 0.0"),
        ({"reach": math.nan}, "reach must be > 0, got nan"),
        ({"max_iter": 0}, "max_iter must be an integer >= 1, got 0"),
        ({"max_iter_direction": 0}, "max_iter_direction must be an integer >= 1, got 0"),
    ],
)
def test_bad_options(classifier, options, message):
    with pytest.raises(ValueError, match=message):
        CurvatureTrainer(classifier(), **{"weight": 1.0, **options})
