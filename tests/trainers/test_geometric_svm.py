"""GeometricSVMTrainer: eq. 11; the linear SVM where the network is affine."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from sklearn.datasets import make_blobs
from sklearn.svm import SVC
from torch import nn

from art_levelset import Field, GeometricSVMTrainer, margin_field, project
from art_levelset.core.losses import svm_loss
from art_levelset.core.statistics import batch_statistics, normalising
from art_levelset.models import convnet_2a, fc_1
from art_levelset.trainers.callbacks import Progress
from art_levelset.trainers.geometric_svm import svm_loss_at
from art_levelset.trainers.schedules import Linear


def plane_classifier(module: nn.Module, loss: nn.Module | None = None, lr: float = 0.01) -> PyTorchClassifier:
    optimizer = torch.optim.Adam(module.parameters(), lr=lr)
    return PyTorchClassifier(module, loss or nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, device_type="cpu")


@pytest.fixture
def blobs():
    x, y = make_blobs(60, centers=[[-1, -1], [1, 1]], cluster_std=0.6, random_state=0)
    return x.astype(np.float32), y.astype(np.int64)


def test_loss_of_an_affine_network_is_the_svm_objective(blobs):
    torch.manual_seed(0)
    module = nn.Linear(2, 1)
    x, y = map(torch.as_tensor, blobs)
    trainer = GeometricSVMTrainer(plane_classifier(module), lam=0.1, seed=0)
    loss, figures = trainer.batch_loss(x, y, None)
    loss.backward()
    found = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    expected = svm_loss(module(x).squeeze(1), 2.0 * y - 1, module.weight, 0.1)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert figures["projected"] == 1.0
    assert figures["margin"] == pytest.approx(1 / module.weight.norm().item(), rel=1e-4)
    for gradient, parameter in zip(found, module.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-4)


def test_training_an_affine_network_finds_the_linear_svm(blobs):
    """A known answer from another library: 1/N sum hinge + lam |w|^2 is SVC's objective at C = 1 / (2 lam N)."""
    torch.manual_seed(0)
    x, y = blobs
    module, lam = nn.Linear(2, 1), 0.05
    classifier = plane_classifier(module, lr=0.05)
    trainer = GeometricSVMTrainer(classifier, lam=lam, seed=0)
    decay = torch.optim.lr_scheduler.ExponentialLR(classifier.optimizer, 0.985)
    trainer.fit(x, y, batch_size=60, nb_epochs=700, scheduler=decay, verbose=False)
    solution = SVC(kernel="linear", C=1 / (2 * lam * len(x)), tol=1e-8).fit(x, y)
    np.testing.assert_allclose(module.weight.detach().numpy(), solution.coef_, atol=2e-3)
    np.testing.assert_allclose(module.bias.detach().numpy(), solution.intercept_, atol=2e-3)
    found, best = (
        svm_objective(x, y, weight.ravel(), bias[0], lam)
        for weight, bias in (
            (module.weight.detach().double().numpy(), module.bias.detach().double().numpy()),
            (solution.coef_, solution.intercept_),
        )
    )
    assert found == pytest.approx(best, abs=1e-6)


def svm_objective(x, y, weight, bias, lam):
    return np.maximum(0, 1 - (2 * y - 1) * (x.astype(float) @ weight + bias)).mean() + lam * weight @ weight


def test_separable_data_have_the_plane_of_the_hard_margin():
    """Lambda is small enough: no point is inside the margin, and the plane is SVC's with a large C."""
    torch.manual_seed(0)
    x = np.array([[0, 0], [0, 1], [-1, 0], [2, 0], [2, 2], [3, 1]], np.float32)
    y = np.array([0, 0, 0, 1, 1, 1])
    module = nn.Linear(2, 1)
    classifier = plane_classifier(module, lr=0.1)
    decay = torch.optim.lr_scheduler.ExponentialLR(classifier.optimizer, 0.98)
    trainer = GeometricSVMTrainer(classifier, lam=0.1, seed=0)
    trainer.fit(x, y, batch_size=6, nb_epochs=500, scheduler=decay, verbose=False)
    solution = SVC(kernel="linear", C=1e4).fit(x, y)
    np.testing.assert_allclose(module.weight.detach().numpy(), solution.coef_, atol=2e-3)
    np.testing.assert_allclose(module.bias.detach().numpy(), solution.intercept_, atol=2e-3)
    assert trainer.history[-1]["margin"] == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("projection", ["sample", "boundary"])
@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_loss_of_an_affine_network_in_every_norm(blobs, norm, projection):
    """Steps go along w: d / Delta = |F|, and Delta = |w|_norm / |w|_2^2."""
    torch.manual_seed(1)
    module = nn.Linear(2, 1)
    x, y = map(torch.as_tensor, blobs)
    options = {"lam": 0.3, "alpha": -1, "norm": norm, "projection": projection}
    loss, metrics = GeometricSVMTrainer(plane_classifier(module), seed=0, **options).batch_loss(x, y, None)
    hinge = torch.relu(1 - (2 * y - 1) * module(x).squeeze(1)).mean()
    delta = torch.linalg.vector_norm(module.weight, norm) / module.weight.square().sum()
    expected = hinge + 0.3 / delta
    assert metrics["margin"] == pytest.approx(delta.item(), rel=1e-4)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=0)
    if norm == 2:  # eq. 8 moves points along w as it is; in other norms Delta depends on where w turns as well
        torch.testing.assert_close(
            *(torch.autograd.grad(value, module.weight)[0] for value in (loss, expected)), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("norm", [1, 2, math.inf])
@pytest.mark.parametrize("classes", [2, 3])
def test_gradient_against_finite_differences(norm, classes):
    """The points are projected anew, from where they are, for parameters a little to both sides."""
    torch.manual_seed(classes)
    module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, classes)).double()
    with torch.no_grad():
        module[2].weight.mul_(12)
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.arange(6) % classes
    field = margin_field(module, y)
    levels = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64).repeat_interleave(6)
    rows = torch.arange(6).repeat(3)

    def loss_from(starts):
        samples = project(field.select(rows), starts, levels, tol=1e-12, max_iter=50, backtracking=True)
        assert bool(samples.converged.all())
        first, others = samples.select(torch.arange(6)), samples.select(torch.arange(6, 18))
        loss, _ = svm_loss_at(field, project(field, x, max_iter=0), first, others, lam=0.1, alpha=-1, norm=norm)
        return loss, samples.points

    loss, points = loss_from(x[rows])
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    step = 1e-6
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        direction = torch.randn_like(parameter)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * step * direction)
            ends.append(loss_from(points)[0].item())
            with torch.no_grad():
                parameter.sub_(sign * step * direction)
        difference = (ends[0] - ends[1]) / (2 * step)
        assert (gradient * direction).sum().item() == pytest.approx(difference, rel=1e-4, abs=1e-7)


def test_gradient_through_the_statistics_of_batchnorm():
    """All passes normalise by the clean batch's statistics, which follow the parameters: the total derivative."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2)).double()
    with torch.no_grad():
        module[3].weight.mul_(6)
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.arange(6) % 2
    field = margin_field(module, y)
    levels = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64).repeat_interleave(6)
    rows = torch.arange(6).repeat(3)

    def loss_from(starts):
        with normalising(batch_statistics(module, x)):
            samples = project(field.select(rows), starts, levels, tol=1e-12, max_iter=50, backtracking=True)
            assert bool(samples.converged.all())
            first, others = samples.select(torch.arange(6)), samples.select(torch.arange(6, 18))
            loss, _ = svm_loss_at(field, project(field, x, max_iter=0), first, others, lam=0.1, alpha=-1, norm=math.inf)
        return loss, samples.points

    loss, points = loss_from(x[rows])
    weight, bias, out = torch.autograd.grad(loss, [module[0].weight, module[0].bias, module[3].weight])
    assert abs((weight * module[0].weight).sum(dim=1)).max() < 1e-3 * weight.norm(), "but for the layer's epsilon"
    assert bias.abs().max() < 1e-12
    for parameter, gradient in ((module[0].weight, weight), (module[3].weight, out)):
        direction = torch.randn_like(parameter)
        ends = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter.add_(step * direction)
            ends.append(loss_from(points)[0].item())
            with torch.no_grad():
                parameter.sub_(step * direction)
        difference = (ends[0] - ends[1]) / 2e-6
        assert (gradient * direction).sum().item() == pytest.approx(difference, rel=1e-4, abs=1e-7)


def test_two_of_many_classes_are_the_binary_case(blobs):
    """One logit, two logits and three, of which one is never the largest: the same loss and gradient."""

    class Logits(nn.Module):
        def __init__(self, count):
            super().__init__()
            torch.manual_seed(3)
            self.body = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
            self.count = count

        def forward(self, x):
            score = 3 * self.body(x)
            if self.count == 1:
                return score
            return torch.cat([-score / 2, score / 2, score.new_full((len(x), self.count - 2), -1e4)], dim=1)

    x, y = map(torch.as_tensor, blobs)
    results = []
    for count in (1, 2, 3):
        module = Logits(count)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        classifier = PyTorchClassifier(
            module, nn.CrossEntropyLoss(), (2,), max(count, 2), optimizer=optimizer, device_type="cpu"
        )
        loss, _ = GeometricSVMTrainer(classifier, lam=0.1, alpha=-1, norm=math.inf).batch_loss(x, y, None)
        results.append((loss, torch.autograd.grad(loss, module.body[0].weight)[0]))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])


def test_ten_classes_are_learnt_though_the_level_sets_are_far_at_first(digits, classifier):
    torch.manual_seed(0)
    module = convnet_2a(10, (1, 8, 8))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    trainer = GeometricSVMTrainer(
        classifier(module, 10, optimizer=optimizer), lam=0.05, alpha=-1, norm=math.inf, seed=0
    )
    trainer.fit(digits[0], digits[1], batch_size=32, nb_epochs=4, verbose=False)
    assert trainer.history[0]["margin"] > 10
    assert trainer.history[-1]["accuracy"] > 0.8
    assert trainer.history[-1]["projected"] > 0.7


def test_three_classes_are_learnt():
    x, y = make_blobs(90, centers=[[-2, 0], [2, 0], [0, 2]], cluster_std=0.5, random_state=0)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    classifier = PyTorchClassifier(module, nn.CrossEntropyLoss(), (2,), 3, optimizer=optimizer, device_type="cpu")
    trainer = GeometricSVMTrainer(classifier, lam=0.01, seed=0)
    trainer.fit(x.astype(np.float32), y, batch_size=30, nb_epochs=25, verbose=False)
    assert trainer.history[-1]["accuracy"] > 0.95
    assert trainer.history[-1]["projected"] > 0.9


def test_a_projection_that_fails_is_kept_on_its_own_level():
    """F = tanh(x) / 2 takes no value 1: Delta is the distance to the level reached, per unit of F."""

    class Bounded(nn.Linear):
        def forward(self, x):
            return torch.tanh(super().forward(x)) / 2

    module = Bounded(1, 1)
    with torch.no_grad():
        module.weight.fill_(1.0)
        module.bias.zero_()
    classifier = PyTorchClassifier(
        module,
        nn.CrossEntropyLoss(),
        (1,),
        2,
        optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
        device_type="cpu",
    )
    x = torch.tensor([[0.5]])
    trainer = GeometricSVMTrainer(classifier, lam=1.0, alpha=-1, max_iter=2, seed=0)
    loss, metrics = trainer.batch_loss(x, torch.tensor([1]), None)
    field = margin_field_of(trainer, torch.tensor([1]))
    first, others = trainer._project(field, project(field, x, max_iter=0))
    assert first.converged.all()
    assert not others.converged.any()
    sides = (others.points - first.points).abs().squeeze(1) / (others.values - first.values).abs().squeeze(1)
    assert metrics["projected"] == 0.0
    assert metrics["margin"] == pytest.approx(sides.min().item())
    expected = 1 - math.tanh(0.5) / 2 + 1 / sides.min().item()
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def margin_field_of(trainer, y):
    return Field(trainer._margins, trainer.network, (y,))


@pytest.mark.parametrize(("norm", "dual"), [(1, math.inf), (2, 2), (math.inf, 1)])
def test_the_large_margin_loss_of_one_step(blobs, norm, dual):
    """Elsayed et al. on an affine network: max(0, gamma - y F / |w|_q), whose denominator has no gradient."""
    torch.manual_seed(0)
    module = nn.Linear(2, 1)
    x, y = map(torch.as_tensor, blobs)
    trainer = GeometricSVMTrainer(plane_classifier(module), gamma=0.7, norm=norm, seed=0)
    loss, metrics = trainer.batch_loss(x, y, None)
    speed = torch.linalg.vector_norm(module.weight, dual).detach()
    expected = torch.relu(0.7 - (2 * y - 1) * module(x).squeeze(1) / speed).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, module.weight)[0] for value in (loss, expected)))
    assert metrics["accuracy"] == ((2 * y - 1) * module(x).squeeze(1) > 0).float().mean().item()


def test_lambda_may_grow(blobs):
    torch.manual_seed(0)
    module = nn.Linear(2, 1)
    trainer = GeometricSVMTrainer(plane_classifier(module), lam=Linear(0.0, 1.0, 10), seed=0)
    x, y = map(torch.as_tensor, blobs)
    losses = []
    for epochs in (0.0, 5.0, 10.0, 20.0):
        trainer.progress = Progress(epochs=epochs)
        losses.append(trainer.batch_loss(x, y, None)[0].item())
    grown = np.diff(losses)
    assert grown[0] == pytest.approx(grown[1], rel=1e-3)
    assert grown[0] > 0
    assert grown[2] == 0


@pytest.mark.parametrize("outputs", [1, 2])
def test_network_with_one_logit_or_two(digits, classifier, outputs):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))
    x, y = digits[0][:600], digits[1][:600] % 2
    trainer = GeometricSVMTrainer(classifier(module, 2), lam=0.01, seed=0)
    trainer.fit(x, np.eye(2)[y], (x, y), batch_size=64, nb_epochs=6, verbose=False)
    assert trainer.history[-1]["validation_accuracy"] > 0.85
    assert trainer.history[-1]["projected"] > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_training_from_a_random_start_does_not_come_to_rest_in_a_constant_classifier(seed):
    """Sixteen points in [0, 0.5]^2 and a wide ReLU network: at first no sample's projection converges."""
    random = np.random.default_rng(0)
    x = random.uniform(0, 0.5, (16, 2)).astype(np.float32)
    y = (x[:, 1] > 0.25 + 0.1 * np.sin(12 * x[:, 0])).astype(np.int64)
    torch.manual_seed(seed)
    trainer = GeometricSVMTrainer(plane_classifier(fc_1(2, 2), lr=0.001), lam=0.001, seed=0)
    trainer.fit(x, y, batch_size=16, nb_epochs=50, verbose=False)
    assert trainer.history[0]["projected"] < 0.5
    assert trainer.history[-1]["projected"] > 0.9
    assert trainer.history[-1]["accuracy"] > 0.9


def test_a_sample_without_projection_has_the_hinge_loss(blobs):
    """A level set that does not exist: F > 2 everywhere."""

    class Bounded(nn.Linear):
        def forward(self, x):
            return 3 + torch.tanh(super().forward(x))

    torch.manual_seed(0)
    module = Bounded(2, 1)
    x, y = map(torch.as_tensor, blobs)
    loss, figures = GeometricSVMTrainer(plane_classifier(module), lam=0.1, seed=0).batch_loss(x, y, None)
    expected = torch.relu(1 - (2 * y - 1) * module(x).squeeze(1)).mean()
    assert figures["projected"] == 0.0
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, module.weight)[0] for value in (loss, expected)))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"lam": -1.0}, "lam"),
        ({"lam": Linear(-1.0, 1.0, 5)}, "lam"),
        ({"alpha": 0.0}, "alpha"),
        ({"max_iter": 0}, "max_iter"),
        ({"norm": 0.5}, "norm"),
        ({"projection": "nearest"}, "projection"),
        ({"tol": 1.0}, "tol"),
        ({"gamma": 0.0}, "gamma"),
    ],
)
def test_bad_numbers(options, name):
    with pytest.raises(ValueError, match=name):
        GeometricSVMTrainer(plane_classifier(nn.Linear(2, 2)), **options)


def test_one_logit_is_for_two_classes(classifier):
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    trainer = GeometricSVMTrainer(classifier(module, 3), seed=0)
    x = np.zeros((4, 1, 8, 8), np.float32)
    with pytest.raises(ValueError, match="classifier"):
        trainer.fit(x, np.array([0, 1, 2, 0]), nb_epochs=1, verbose=False)
