"""Schedules: the paper's linear growth, and the trapezoid."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from art_levelset import LevelSetMarginTrainer
from art_levelset.trainers.schedules import (
    LEARNING_RATES,
    Constant,
    Cosine,
    Linear,
    Steps,
    Trapezoid,
    check_schedule,
    value_at,
)


def test_linear_growth_and_then_constant() -> None:
    eps = Linear(0.001, 0.045, 50)
    assert [eps(epochs) for epochs in (0, 25, 50, 80, math.inf)] == pytest.approx([0.001, 0.023, 0.045, 0.045, 0.045])
    assert value_at(eps, 25) == eps(25)
    assert value_at(0.3, 25) == 0.3


@pytest.mark.parametrize("arguments", [(math.nan, 1, 1), (0, math.inf, 1), (0, 1, 0), (0, 1, -1)])
def test_linear_refuses(arguments: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="start|nb_epochs"):
        Linear(*arguments)


def test_check_names_the_schedule() -> None:
    check_schedule("lam", 0.0, strict=False)
    with pytest.raises(ValueError, match="lam must be > 0"):
        check_schedule("lam", 0.0)
    with pytest.raises(ValueError, match="lam must be >= 0"):
        check_schedule("lam", Linear(-1, 1, 3), strict=False)


def test_the_trapezoid_sets_every_group_at_every_step() -> None:
    schedule = Trapezoid(0.1, grown=0.2, held=0.6)
    rates = []
    for fraction in (0.0, 0.1, 0.2, 0.5, 0.6, 0.8, 1.0):
        optimizer = SimpleNamespace(param_groups=[{"lr": 9.0}, {"lr": 9.0}])
        trainer = SimpleNamespace(
            classifier=SimpleNamespace(optimizer=optimizer), progress=SimpleNamespace(fraction=fraction)
        )
        schedule.on_batch_begin(trainer)
        assert optimizer.param_groups[0] == optimizer.param_groups[1]
        rates.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(rates, [0.01, 0.055, 0.1, 0.1, 0.1, 0.05, 0.0], atol=1e-12)


@pytest.mark.parametrize("options", [{"peak": 0.0}, {"peak": 1.0, "grown": 0.6}, {"peak": 1.0, "held": 1.1}])
def test_the_trapezoid_refuses(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="peak|grown"):
        Trapezoid(**options)


def test_the_others_by_hand() -> None:
    parts = (0.0, 0.25, 0.5, 0.75, 1.0)
    assert [Cosine(1.0).factor(part) for part in parts] == pytest.approx([1, 0.5 + 8**-0.5, 0.5, 0.5 - 8**-0.5, 0])
    assert [Steps(1.0).factor(part) for part in parts] == pytest.approx([1, 1, 0.1, 0.01, 0.01])
    assert [Steps(1.0, (0.25,), 2.0).factor(part) for part in parts] == pytest.approx([1, 0.5, 0.5, 0.5, 0.5])
    assert [Constant(1.0).factor(part) for part in parts] == [1.0] * 5


@pytest.mark.parametrize("name", LEARNING_RATES)
@pytest.mark.parametrize("fraction", np.linspace(0, 1, 11))
def test_a_learning_rate_is_at_most_its_peak(name: str, fraction: float) -> None:
    assert 0 <= LEARNING_RATES[name](0.1).factor(fraction) <= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cosine(0.0), "peak"),
        (lambda: Constant(math.nan), "peak"),
        (lambda: Steps(1.0, at=(0.5, 1.5)), "at must be in"),
        (lambda: Steps(1.0, divisor=0.0), "divisor"),
    ],
)
def test_the_others_refuse(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_radius_follows_its_schedule_through_the_epochs(classifier, digits) -> None:
    trainer = LevelSetMarginTrainer(classifier(), Linear(0.0125, 0.05, 3), seed=0, distance="rho", burn_in=0, warmup=0)
    seen = []
    each = trainer._each
    trainer._each = lambda x, correct, right, wrong: seen.append((right, each(x, correct, right, wrong))) or seen[-1][1]
    trainer.fit(digits[0][:64], digits[1][:64], nb_epochs=5, batch_size=32, verbose=False)
    radii = [values[0].item() for schedule, values in seen if schedule is trainer.eps]
    expected = [0.0125 + 0.0375 * min(step / 2 / 3, 1) for step in range(10)]
    np.testing.assert_allclose(radii, expected, rtol=1e-5)
