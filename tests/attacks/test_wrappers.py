from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from art_levelset import evaluate, pgd
from art_levelset.attacks.wrappers import (
    Averaged,
    AveragedAttack,
    LogOfProbabilities,
    Normalized,
    Selected,
    TwoClasses,
    adapt,
)
from art_levelset.evaluation.suite import settings_of
from art_levelset.identity import digest, identify

X = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))

Outputs = namedtuple("Outputs", ["logits", "features"])


class Returning(nn.Module):
    """What a function makes of the logits of three classes (or one) and of the samples."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any], classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.linear, self.form = nn.Linear(2, classes), form

    def forward(self, x: Tensor) -> Any:
        return self.form(4 * self.linear(x), x)


def logits_of(model: Returning, x: Tensor = X) -> Tensor:
    return 4 * model.linear(x)


def test_logits_stay_as_they_are() -> None:
    model = Returning(lambda z, x: z)
    adapted = adapt(model, X)
    assert (adapted.network, adapted.classes, adapted.random, adapted.notes) == (model, 3, False, ())


@pytest.mark.parametrize(
    ("form", "output"),
    [
        (lambda z, x: (x, z), 1),
        (lambda z, x: (x, z), -1),
        (lambda z, x: [z, x], 0),
        (lambda z, x: {"features": x, "logits": z}, "logits"),
        (lambda z, x: {0: z}, 0),
        (lambda z, x: Outputs(z, x), "logits"),
        (lambda z, x: SimpleNamespace(logits=z), "logits"),
    ],
)
def test_one_of_several_outputs(form: Callable[[Tensor, Tensor], Any], output: str | int) -> None:
    model = Returning(form)
    adapted = adapt(model, X, output_key=output)
    assert isinstance(adapted.network, Selected)
    assert torch.equal(adapted.network(X), logits_of(model))
    assert adapted.notes == ()


def test_probabilities_are_taken_as_their_logarithms() -> None:
    model = Returning(lambda z, x: {"p": z.softmax(dim=1)})
    adapted = adapt(model, X, output_key="p")
    assert isinstance(adapted.network, LogOfProbabilities)
    assert isinstance(adapted.network.network, Selected)
    assert torch.allclose(adapted.network(X).diff(), logits_of(model).diff(), atol=1e-4)
    assert adapted.notes == ("the model returns probabilities: their logarithms are attacked as logits",)


def test_a_probability_of_zero_has_a_finite_logarithm() -> None:
    found = LogOfProbabilities(nn.Softmax(dim=1))(torch.tensor([[0.0, 500.0]]))
    assert found[0, 0] == pytest.approx(math.log(torch.finfo(torch.float32).tiny))
    assert found[0, 1] == 0


@pytest.mark.parametrize("form", [lambda z, x: z, lambda z, x: z[:, 0]])
def test_one_logit_is_two_classes(form: Callable[[Tensor, Tensor], Any]) -> None:
    model = Returning(form, classes=1)
    adapted = adapt(model, X)
    assert isinstance(adapted.network, TwoClasses)
    assert adapted.classes == 2
    assert torch.equal(adapted.network(X).argmax(dim=1), (logits_of(model)[:, 0] > 0).long())
    assert "one logit z" in adapted.notes[0]


def test_one_probability_is_two_classes() -> None:
    model = Returning(lambda z, x: z.sigmoid()[:, 0], classes=1)
    adapted = adapt(model, X)
    assert isinstance(adapted.network, LogOfProbabilities)
    assert adapted.classes == 2
    assert torch.allclose(adapted.network(X).diff(), logits_of(model), atol=1e-4)
    assert "the probability of class 1" in adapted.notes[0]


def test_randomness_is_seen() -> None:
    model = Returning(lambda z, x: z + torch.randn(()) * 0.01)
    before = torch.random.get_rng_state()
    assert adapt(model, X).random
    assert torch.equal(torch.random.get_rng_state(), before)


def test_dropout_is_no_randomness_of_a_network_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout()).train()
    assert not adapt(model, X).random
    assert model.training


@pytest.mark.parametrize(
    ("form", "output", "message"),
    [
        (lambda z, x: (x, z), None, r"^output_key must say which one: the model returns a tuple of 2$"),
        (lambda z, x: {"a": x, "b": z}, None, "^output_key must say which one: .* a dictionary with 'a', 'b'$"),
        (lambda z, x: Outputs(z, x), None, r"a Outputs of 2 \(logits, features\)"),
        (
            lambda z, x: {"a": x, "b": z},
            "c",
            "^output_key: there is no 'c' in what the model returns, a dictionary with",
        ),
        (lambda z, x: (x, z), 2, "^output_key: there is no 2 in what the model returns, a tuple of 2"),
        (lambda z, x: (x, z), "logits", "^output_key: there is no 'logits'"),
        (lambda z, x: {"a": (z, x)}, "a", "^output_key must be another one than 'a': the model returns a tuple of 2$"),
        (lambda z, x: z[..., None], None, "^model must return"),
        (lambda z, x: z.argmax(dim=1), None, "floating-point logits"),
        (lambda z, x: SimpleNamespace(z=z), None, "an object SimpleNamespace"),
    ],
)
def test_what_cannot_be_logits_is_refused(
    form: Callable[[Tensor, Tensor], Any], output: str | int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        adapt(Returning(form), X, output_key=output)


def test_normalisation_is_part_of_the_network() -> None:
    images = torch.rand(4, 3, 2, 2)
    mean, std = [0.1, 0.2, 0.3], [0.5, 1.0, 2.0]
    found = Normalized(nn.Identity(), mean, std)(images)
    for channel in range(3):
        assert torch.allclose(found[:, channel], (images[:, channel] - mean[channel]) / std[channel])
    assert torch.allclose(Normalized(nn.Identity(), 0.5, 2)(images), (images - 0.5) / 2)
    assert Normalized(nn.Identity(), 0.5, 2)(images.double()).dtype == torch.float64
    assert digest(Normalized(nn.Identity(), 0.5, 2)) != digest(Normalized(nn.Identity(), 0.5, 3))
    assert digest(Selected(nn.Identity(), 0)) != digest(Selected(nn.Identity(), 1))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (0, 0, "std must be positive"),
        (0, [1, -1], "std must be positive"),
        ("a", 1, "mean must be a number or numbers"),
        ([], 1, "mean must be a finite number"),
        (math.nan, 1, "mean must be a finite number"),
    ],
)
def test_bad_normalisations_are_refused(mean: Any, std: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Normalized(nn.Identity(), mean, std)


def test_a_normalisation_for_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="one for each of 3 channels, got 2 and 1"):
        Normalized(nn.Identity(), [0, 0], 1)(torch.zeros(1, 3, 2, 2))


def test_the_radius_is_that_of_raw_inputs() -> None:
    """A linear classifier with the boundary x = 0.5, behind a normalisation that stretches by 100."""
    linear = nn.Linear(1, 1)
    linear.load_state_dict({"weight": torch.tensor([[1.0]]), "bias": torch.tensor([0.0])})
    model = TwoClasses(Normalized(nn.Sequential(linear), 0.5, 0.01))
    x = torch.tensor([[0.1], [0.35], [0.45], [0.65], [0.9]])
    y = torch.tensor([0, 0, 0, 1, 1])
    report = evaluate(model, x, y, ["pgd-margin"], eps=0.2, verbose=False)
    assert report.worst.tolist() == [True, False, False, False, True]


class Jumping(nn.Module):
    """One of two classifiers at random: their gradients are opposite, that of the mean is the first one's."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        signs = torch.where(torch.rand(len(x), 1) < 0.7, 3.0, -6.0)
        logit = self.slope * (x[:, :1] - 0.5) * signs + 2 * (x[:, :1] - 0.5)
        return torch.cat([-logit, logit], dim=1)


def test_the_mean_of_several_passes_is_attacked_and_the_network_itself_is_left() -> None:
    x = torch.rand(100, 1, generator=torch.Generator().manual_seed(2))
    mean = Averaged(Jumping(), 4000)(x[:3])
    torch.manual_seed(0)
    expected = (0.7 * 3 - 0.3 * 6 + 2) * (x[:3] - 0.5)
    torch.testing.assert_close(mean[:, 1:], expected, rtol=0, atol=0.15)
    model, y = Jumping(), (x[:, 0] > 0.5).long()
    plain: Any = partial(pgd, eps=0.2, max_iter=5, loss="margin", clip_values=(0.0, 1.0))
    towards = torch.where(y == 1, -1.0, 1.0)[:, None]
    moved = AveragedAttack(plain, 100, seed=3)(model, x, y)
    assert ((moved - x) * towards > 0).float().mean() > 0.95, "to the boundary of the mean"
    again = AveragedAttack(plain, 100, seed=3)(model, x, y)
    assert torch.equal(again, moved)
    assert settings_of(AveragedAttack(plain, 100))["passes"] == 100
    assert settings_of(AveragedAttack(plain, 100))["eps"] == 0.2
    assert identify(AveragedAttack(plain, 100)) != identify(AveragedAttack(plain, 10))
    with pytest.raises(ValueError, match="passes must be an integer >= 1"):
        Averaged(model, 0)
