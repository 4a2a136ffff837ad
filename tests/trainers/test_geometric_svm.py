"""GeometricSVMTrainer: eq. 11; the linear SVM where the network is affine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from sklearn.datasets import make_blobs
from sklearn.svm import SVC
from torch import nn

from art_levelset import GeometricSVMTrainer
from art_levelset.core.losses import svm_loss
from art_levelset.models import fc_1


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
    trainer = GeometricSVMTrainer(plane_classifier(module), lam=lam, seed=0)
    trainer.fit(x, y, batch_size=60, nb_epochs=600, verbose=False)
    solution = SVC(kernel="linear", C=1 / (2 * lam * len(x))).fit(x, y)
    np.testing.assert_allclose(module.weight.detach().numpy(), solution.coef_, rtol=0.03)
    np.testing.assert_allclose(module.bias.detach().numpy(), solution.intercept_, atol=0.03)


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
    ("options", "name"), [({"lam": -1.0}, "lam"), ({"alpha": 0.0}, "alpha"), ({"max_iter": 0}, "max_iter")]
)
def test_bad_numbers(options, name):
    with pytest.raises(ValueError, match=name):
        GeometricSVMTrainer(plane_classifier(nn.Linear(2, 2)), **options)


def test_more_than_two_classes_are_refused(classifier):
    with pytest.raises(ValueError, match="two classes"):
        GeometricSVMTrainer(classifier())
