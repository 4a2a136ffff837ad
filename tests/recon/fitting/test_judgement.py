from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.recon import FitProgress, GridNetwork, Reconstruction, reconstruct
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.orientation import indicator_of, orient
from art_levelset.recon.fitting import attempts, checkpoint, fit
from art_levelset.recon.fitting.judgement import Judgement, judge
from art_levelset.recon.fitting.samples import Samples

CPU = torch.device("cpu")


def small() -> GridNetwork:
    return GridNetwork((8, 16), (2, 2), width=16, generator=torch.Generator().manual_seed(0))


def fitted(points: Points, **options: Any) -> Reconstruction:
    """A fit that passes if nothing disturbs it."""
    settings = {"network": small(), "steps": 120, "batch_size": 256, "learning_rate": 1e-2, "verbose": False}
    return reconstruct(points, **settings | options)


def samples_of(reconstruction: Reconstruction) -> Samples:
    planes = orient(reconstruction.planes, CPU)
    indicator = indicator_of(planes, CPU)
    return Samples(planes.centres, planes, indicator, 64, torch.Generator().manual_seed(0), CPU)


@pytest.fixture(scope="module")
def healthy(sphere_points: Points) -> Reconstruction:
    return fitted(sphere_points[:1000])


@pytest.fixture(scope="module")
def samples(healthy: Reconstruction) -> Samples:
    return samples_of(healthy)


class Changed(nn.Module):
    """A network and what is made of its values."""

    def __init__(self, network: nn.Module, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.change = network, change

    def forward(self, points: Tensor) -> Tensor:
        return self.change(self.network(points), points)


def judged(healthy: Reconstruction, samples: Samples, change: Callable[[Tensor, Tensor], Tensor]) -> Judgement:
    return judge(Changed(healthy.network, change), samples)


def ball(points: Tensor, centre: list[float], radius: float) -> Tensor:
    return torch.linalg.vector_norm(points - torch.tensor(centre), dim=1, keepdim=True) - radius


def test_a_healthy_fit_passes_the_first_time(healthy: Reconstruction, caplog: pytest.LogCaptureFixture) -> None:
    (judgement,) = healthy.attempts
    assert not judgement.failed
    assert judgement.missed < 0.01
    assert judgement.astray < 0.002
    assert not caplog.messages


def test_judging_changes_nothing(
    healthy: Reconstruction, sphere_points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "judge", lambda *_, **__: Judgement(0.0, 0.0))
    np.testing.assert_array_equal(fitted(sphere_points[:1000]).sdf(sphere_points), healthy.sdf(sphere_points))


@pytest.mark.parametrize(
    ("change", "missed", "astray"),
    [
        (lambda f, x: -f, 1.0, 1.0),  # inside out
        (lambda f, x: f - 0.4, 1.0, 0.05),  # too large
        (lambda f, x: 0 * f + 1e-6 * x[:, :1], 1.0, 0.2),  # nearly flat
        (lambda f, x: torch.minimum(f, ball(x, [0.9, 0.9, 0.9], 0.5)), 0.0, 0.01),  # a part that no point supports
        (lambda f, x: torch.maximum(f, -ball(x, [0.0, 0.0, 0.0], 0.4)), 0.0, 0.01),  # a pocket
        (lambda f, x: torch.where(x[:, :1] > 0.6, -f, f), 0.1, 0.05),  # signs flipped on one side
    ],
)
def test_broken_fits_fail(
    change: Callable[[Tensor, Tensor], Tensor],
    missed: float,
    astray: float,
    healthy: Reconstruction,
    samples: Samples,
) -> None:
    judgement = judged(healthy, samples, change)
    assert judgement.failed
    assert judgement.missed >= missed * 0.9
    assert judgement.astray >= astray * 0.9


def test_weights_that_are_not_finite_fail(healthy: Reconstruction, samples: Samples) -> None:
    network = small()
    network.load_state_dict(healthy.network.state_dict())
    assert not judge(network, samples).failed
    with torch.no_grad():
        network.grids[0][0, 0, 0, 0, 0] = torch.nan  # in a corner, where no surface is
    assert judge(network, samples).failed


def test_the_order_of_judgements() -> None:
    ordered = [Judgement(0.01, 0.001), Judgement(0.0, 0.0), Judgement(0.06, 0.0), Judgement(0.0, 0.02), Judgement(1, 1)]
    assert [judgement.rank for judgement in ordered] == sorted(judgement.rank for judgement in ordered)
    assert [judgement.failed for judgement in ordered] == 2 * [False] + 3 * [True]
    assert str(ordered[2]).startswith("it misses 6.0% of the planes")


def diverging(monkeypatch: pytest.MonkeyPatch, steps: int, after: int = 50) -> None:
    """Some steps, from one on, have a loss that is not a number."""
    real, made = fit.batch_loss, []

    def loss(*arguments: Any) -> Tensor:
        made.append(1)
        return real(*arguments) * (torch.nan if after < len(made) <= after + steps else 1)

    monkeypatch.setattr(fit, "batch_loss", loss)


def test_a_diverged_fit_is_made_again(
    sphere_points: Points, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    points = sphere_points[:1000]
    other = fitted(points, seed=1)
    diverging(monkeypatch, 1)
    seen: list[FitProgress] = []
    result = fitted(points, callback=seen.append)
    assert [attempt.failed for attempt in result.attempts] == [True, False]
    assert [(at.attempt, at.step) for at in seen] == [(1, 20), (1, 40), *((2, step) for step in range(20, 121, 20))]
    np.testing.assert_array_equal(result.sdf(points), other.sdf(points))
    (message,) = caplog.messages
    assert message.startswith("the fit with seed 0 is rejected, for it misses 100.0% of the planes")
    assert message.endswith(": it is made again with seed 1")


def test_a_fit_inside_out_is_made_again(sphere_points: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FEWEST_STEPS", 60)
    points = sphere_points[:1000]
    other = fitted(points, network=None, steps=60, seed=4)
    real, runs = fit.Fit.run, []

    def run(self: Any, *arguments: Any) -> bool:
        finite = real(self, *arguments)
        runs.append(self)
        if len(runs) == 1:
            with torch.no_grad():
                self.network.output.weight *= -1
                self.network.output.bias *= -1
        return finite

    monkeypatch.setattr(fit.Fit, "run", run)
    result = fitted(points, network=None, steps=60, seed=3)
    assert [attempt.failed for attempt in result.attempts] == [True, False]
    np.testing.assert_array_equal(result.sdf(points), other.sdf(points))


def test_the_number_of_attempts_is_bounded(sphere_points: Points, caplog: pytest.LogCaptureFixture) -> None:
    result = fitted(sphere_points[:1000], learning_rate=1e6)
    assert len(result.attempts) == attempts.MOST_ATTEMPTS == len(caplog.messages)
    assert all(attempt.failed for attempt in result.attempts)
    assert caplog.messages[-1].endswith(": the best attempt is kept")


@pytest.mark.parametrize("best", [0, 1])
def test_the_best_attempt_is_kept(best: int, few_points: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FEWEST_STEPS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "MOST_ATTEMPTS", 1)
        expected = fitted(few_points, steps=5, seed=best).sdf(few_points)
    judgements = [Judgement(0.3, 0.0), Judgement(0.3, 0.0)]
    judgements[best] = Judgement(0.2, 0.0)
    left = iter(judgements)
    monkeypatch.setattr(attempts, "judge", lambda *_, **__: next(left))
    network = small()
    result = fitted(few_points, steps=5, network=network)
    assert result.network is network
    assert list(result.attempts) == judgements
    np.testing.assert_array_equal(result.sdf(few_points), expected)


def test_unfinished_fits_are_not_judged(few_points: Points, caplog: pytest.LogCaptureFixture) -> None:
    assert fitted(few_points, steps=attempts.FEWEST_STEPS - 1, batch_size=8, learning_rate=1e-9).attempts == ()
    assert not caplog.messages


def test_a_time_budget_ends_the_attempts(
    few_points: Points, monkeypatch: pytest.MonkeyPatch, ticking: Callable[[float], None]
) -> None:
    ticking(0.05)
    monkeypatch.setattr(attempts, "FEWEST_STEPS", 1)
    monkeypatch.setattr(attempts, "judge", lambda *_: Judgement(1.0, 1.0))
    assert len(fitted(few_points, steps=None, time_budget=1.0, clock=time.process_time).attempts) == 1
    assert len(fitted(few_points, steps=5, time_budget=100.0, clock=time.process_time).attempts) == 2


class Killed(Exception):
    pass


def test_an_interrupted_second_attempt_goes_on(
    sphere_points: Points, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    points, path = sphere_points[:1000], tmp_path / "fit.pt"
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    whole = fitted(points, seed=1).sdf(points)

    def killed(progress: FitProgress) -> None:
        if progress.attempt == 2 and progress.step == 60:
            raise Killed

    with monkeypatch.context() as patch:
        diverging(patch, 1)
        with pytest.raises(Killed):
            fitted(points, checkpoint=path, callback=killed)
    seen: list[FitProgress] = []
    with caplog.at_level(logging.WARNING):
        result = fitted(points, checkpoint=path, callback=seen.append)
    assert [(at.attempt, at.step) for at in seen] == [(2, 80), (2, 100), (2, 120)]
    assert [attempt.failed for attempt in result.attempts] == [True, False]
    np.testing.assert_array_equal(result.sdf(points), whole)
    again = fitted(points, checkpoint=path, callback=seen.append)
    assert len(seen) == 3
    assert again.attempts == result.attempts
    np.testing.assert_array_equal(again.sdf(points), whole)
