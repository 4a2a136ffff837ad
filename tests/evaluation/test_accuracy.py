from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset.evaluation import accuracy, classified_right, pgd, robust_accuracy, wilson


def threshold(at: float = 0.5) -> nn.Linear:
    """Says class 1 where the only feature exceeds the threshold."""
    model = nn.Linear(1, 2)
    model.load_state_dict({"weight": torch.tensor([[-1.0], [1.0]]), "bias": torch.tensor([at, -at])})
    return model


POINTS = torch.tensor([[0.1], [0.35], [0.45], [0.7], [0.9]])
LABELS = torch.tensor([0, 0, 1, 1, 1])


def test_known_accuracies() -> None:
    model = threshold()
    assert accuracy(model, POINTS, LABELS) == 0.8
    assert accuracy(model, POINTS.numpy(), np.eye(2)[LABELS], batch_size=2) == 0.8
    assert classified_right(model, POINTS, LABELS).tolist() == [True, True, False, True, True]
    assert robust_accuracy(model, POINTS, LABELS, partial(pgd, eps=0.1)) == 0.8
    assert robust_accuracy(model, POINTS, LABELS, partial(pgd, eps=0.17)) == 0.6
    assert robust_accuracy(model, POINTS, LABELS, partial(pgd, eps=0.3)) == pytest.approx(0.4)
    assert robust_accuracy(model, POINTS, LABELS, partial(pgd, eps=0.45)) == 0.0


def test_only_samples_classified_right_are_attacked_and_counted() -> None:
    given: list[Tensor] = []

    def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        given.append(x)
        return torch.where(y.unsqueeze(1) == 1, x, 1 - x)

    assert robust_accuracy(threshold(), POINTS, LABELS, attack) == pytest.approx(0.4)
    torch.testing.assert_close(given, [POINTS[[0, 1, 3, 4]]])


def test_an_attack_is_not_called_without_samples() -> None:
    def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        raise AssertionError

    assert robust_accuracy(threshold(), POINTS[:2], torch.tensor([1, 1]), attack) == 0.0


def test_logits_that_are_not_numbers_are_not_right() -> None:
    model = threshold()
    with torch.no_grad():
        model.bias[0] = torch.nan
    assert accuracy(model, POINTS, LABELS) == 0.0
    assert accuracy(model, POINTS, 1 - LABELS) == 0.0


def test_bad_input() -> None:
    model = threshold()
    with pytest.raises(ValueError, match="x holds no sample"):
        accuracy(model, POINTS[:0], LABELS[:0])
    with pytest.raises(ValueError, match="batch_size must be an integer >= 1"):
        accuracy(model, POINTS, LABELS, batch_size=0)
    with pytest.raises(ValueError, match=r"y must be in \[0, 2\), got 2"):
        accuracy(model, POINTS, LABELS + 1)
    with pytest.raises(TypeError, match="model must be an nn.Module"):
        accuracy(object(), POINTS, LABELS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"attack must return the shape \(4, 1\), got \(1, 1\)"):
        robust_accuracy(model, POINTS, LABELS, lambda model, x, y: x[:1])


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (50, 100, 0.40383, 0.59617), (81, 263, 0.25527, 0.36619)],
)
def test_wilson_intervals_of_the_literature(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Table I, gives 81/263; the others follow from the closed form."""
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.floats(0, n), st.just(n))), st.floats(0.01, 0.99))
def test_a_wilson_interval_holds_the_fraction_and_grows_with_the_confidence(
    trials: tuple[float, int], confidence: float
) -> None:
    successes, n = trials
    low, high = wilson(successes, n, confidence)
    wider = wilson(successes, n, (1 + confidence) / 2)
    assert 0 <= wider[0] <= low + 1e-12
    assert low <= successes / n <= high
    assert high - 1e-12 <= wider[1] <= 1


def test_bad_trials() -> None:
    with pytest.raises(ValueError, match="n must be an integer >= 1"):
        wilson(0, 0)
    with pytest.raises(ValueError, match=r"successes must be in \[0, 3\]"):
        wilson(4, 3)
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\)"):
        wilson(1, 3, 1.0)
