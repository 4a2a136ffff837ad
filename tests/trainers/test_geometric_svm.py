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
    loss, figures = trainer._batch_loss(x, y)
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


def test_network_whose_levels_are_far_away_at_first_is_trained_too(blobs):
    """Outputs near zero: the +-1 level sets are thousands of units away, or nowhere, when training starts."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
    with torch.no_grad():
        module[2].weight.mul_(0.02)
        module[2].bias.mul_(0.02)
    trainer = GeometricSVMTrainer(plane_classifier(module), lam=0.01, seed=0)
    trainer.fit(*blobs, batch_size=60, nb_epochs=80, verbose=False)
    first, last = trainer.history[0], trainer.history[-1]
    assert first["margin"] > 100
    assert last["accuracy"] > 0.95
    assert 0.1 < last["margin"] < 2


@pytest.mark.parametrize(
    ("options", "name"), [({"lam": -1.0}, "lam"), ({"alpha": 0.0}, "alpha"), ({"max_iter": 0}, "max_iter")]
)
def test_bad_numbers(options, name):
    with pytest.raises(ValueError, match=name):
        GeometricSVMTrainer(plane_classifier(nn.Linear(2, 2)), **options)


def test_more_than_two_classes_are_refused(classifier):
    with pytest.raises(ValueError, match="two classes"):
        GeometricSVMTrainer(classifier())
