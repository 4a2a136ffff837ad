from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import (
    AutoProjectedGradientDescent,
    DeepFool,
    FastGradientMethod,
    HopSkipJump,
    ProjectedGradientDescentPyTorch,
)
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_levelset.adapters.art import art_pgd, from_art
from art_levelset.adapters.libraries import MarginLoss, loss_named
from art_levelset.core.fields import label_margin
from art_levelset.identity import describe

from ..attacks.tiny import CLASSES, SHAPE, accuracy, data, distances, mlp, network, seed_all


class OneHotMargin(nn.Module):
    """The margin loss as ART hands labels to a loss that it does not know."""

    def forward(self, logits: Tensor, one_hot: Tensor) -> Tensor:
        return ((logits - 1e9 * one_hot).amax(dim=1) - (logits * one_hot).sum(dim=1)).sum()


def directly(attack_class: Any, x: Tensor, y: Tensor, seed: int, loss: nn.Module, **parameters: Any) -> Tensor:
    classifier = PyTorchClassifier(mlp(), loss, SHAPE, CLASSES, clip_values=(0.0, 1.0), device_type="cpu")
    seed_all(seed)
    attack = attack_class(classifier, **parameters)
    return torch.from_numpy(attack.generate(x=x.numpy(), y=np.eye(CLASSES, dtype=np.float32)[y]))


@pytest.mark.parametrize(("norm", "eps"), [(math.inf, 0.1), (2, 0.5), (1, 3.0)])
@pytest.mark.parametrize(
    ("loss", "module"), [("cross_entropy", nn.CrossEntropyLoss(reduction="sum")), ("margin", OneHotMargin())]
)
def test_pgd_equals_the_library_called_directly(norm: float, eps: float, loss: str, module: nn.Module) -> None:
    x, y = data(mlp(), 20)
    attacked = art_pgd(eps=eps, norm=norm, max_iter=6, eps_step=eps / 4, loss=loss, seed=3)(mlp(), x, y)
    parameters: dict[str, Any] = {"eps": eps, "norm": norm, "max_iter": 6, "eps_step": eps / 4, "num_random_init": 1}
    parameters["verbose"] = False
    expected = directly(ProjectedGradientDescentPyTorch, x, y, 3, module, **parameters)
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-5)
    assert accuracy(mlp(), attacked, y) < 1


@pytest.mark.parametrize(
    ("attack_class", "parameters"),
    [
        (FastGradientMethod, {"eps_step": 0.05}),
        (
            AutoProjectedGradientDescent,
            {"eps_step": 0.1, "max_iter": 5, "nb_random_init": 2, "verbose": False},
        ),
    ],
)
def test_other_attacks_equal_the_library_called_directly(attack_class: Any, parameters: dict[str, Any]) -> None:
    x, y = data(mlp(), 20)
    attacked = from_art(attack_class, eps=0.1, seed=3, **parameters)(mlp(), x, y)
    given = {"eps": 0.1, "norm": math.inf, "batch_size": 20, **parameters}
    expected = directly(attack_class, x, y, 3, nn.CrossEntropyLoss(reduction="sum"), **given)
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-5)
    assert accuracy(mlp(), attacked, y) < 1


def test_an_attack_without_a_radius_counts_where_it_stays_in_the_ball() -> None:
    x, y = data(mlp(), 10)
    nearest = directly(DeepFool, x, y, 0, nn.CrossEntropyLoss(reduction="sum"), max_iter=20, verbose=False)
    needed = distances(nearest, x, 2)
    eps = needed.median().item() + 1e-6
    attacked = from_art(DeepFool, eps=eps, norm=2, max_iter=20)(mlp(), x, y)
    assert distances(attacked, x, 2).max() <= eps
    within = needed <= eps
    torch.testing.assert_close(attacked[within], nearest[within], rtol=0, atol=1e-5)
    assert accuracy(mlp(), attacked[within], y[within]) < accuracy(mlp(), attacked, y) < 1


def test_generators_that_art_makes_without_a_seed_are_seeded_and_numpy_is_left_alone() -> None:
    own = np.random.RandomState
    model = network()
    x, y = data(model, 3)
    attack = from_art(HopSkipJump, eps=0.8, norm=2, max_iter=1, max_eval=10, init_eval=5)
    assert torch.equal(attack(model, x, y), attack(model, x, y))
    assert np.random.RandomState is own

    def stop(*_: Any) -> None:
        if np.random.RandomState is not own:
            raise KeyboardInterrupt

    model[0].register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        attack(model, x, y)
    assert np.random.RandomState is own


def test_other_clip_values() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
    x = 4 * torch.rand(20, 5) - 3
    y = model(x).argmax(dim=1)
    attacked = art_pgd(eps=0.7, max_iter=5, clip_values=(-3, 1))(model, x, y)
    assert attacked.min() == -3
    assert attacked.max() == 1
    assert accuracy(model, attacked, y) < 0.8


def test_descriptions() -> None:
    assert describe(art_pgd(eps=0.3, eps_step=0.01, loss="margin", seed=4)) == {
        "name": "art.ProjectedGradientDescentPyTorch",
        "eps": 0.3,
        "norm": "inf",
        "clip_values": [0.0, 1.0],
        "loss": "margin",
        "eps_step": 0.01,
        "max_iter": 40,
        "num_random_init": 1,
    }


def test_losses() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0], [5.0, 0.0, -1.0]])
    y = torch.tensor([1, 2])
    assert MarginLoss()(logits, y).item() == MarginLoss()(logits, torch.eye(3)[y]).item() == 4
    assert MarginLoss()(logits, y) == -label_margin(logits, y).sum()
    assert loss_named("cross_entropy")(logits, y) == nn.functional.cross_entropy(logits, y, reduction="sum")
    with pytest.raises(ValueError, match="loss must be cross_entropy or margin, got 'dlr'"):
        loss_named("dlr")


def test_bad_input() -> None:
    with pytest.raises(TypeError, match="attack_class must be a subclass of art's EvasionAttack, got <class 'dict'>"):
        from_art(dict, eps=0.1)
    with pytest.raises(TypeError, match="attack_class must be a subclass of art's EvasionAttack, got 'DeepFool'"):
        from_art("DeepFool", eps=0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="loss must be cross_entropy or margin, got 'hinge'"):
        art_pgd(eps=0.1, loss="hinge")
    with pytest.raises(ValueError, match="max_iter must be an integer >= 1, got 0"):
        art_pgd(eps=0.1, max_iter=0)
    with pytest.raises(ValueError, match="norm must be inf, 2 or 1, got 3"):
        art_pgd(eps=0.1, norm=3)
