from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from art_levelset.models import fc_2
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.paper import reconstruct_as_paper


def test_a_small_network_finds_an_ellipsoid(sphere_points: Points) -> None:
    axes = np.array([1.0, 0.8, 0.6])
    torch.manual_seed(0)
    network = fc_2(width=32, radius=0.7)
    with torch.no_grad():
        before = float(network(torch.tensor([[0.0, 0.0, 0.6], [1.0, 0.0, 0.0]])).abs().max())
    result = reconstruct_as_paper(sphere_points * axes, network=network, steps=150, batch_size=1000, verbose=False)
    surface = sphere_points[:200] / np.linalg.norm(sphere_points[:200], axis=1, keepdims=True) * axes
    assert before > 0.1
    assert np.abs(result.sdf(surface)).mean() < 0.04
    assert (result.sdf(0.5 * surface) < 0).mean() > 0.95
    assert (result.sdf(1.4 * surface) > 0).mean() > 0.95


def test_the_seed_determines_the_result(few_points: Points) -> None:
    results = [
        reconstruct_as_paper(few_points, network=None, steps=1, batch_size=32, seed=seed, verbose=False).sdf(few_points)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.allclose(results[0], results[2])


def test_a_time_budget_stands_for_the_whole_schedule(few_points: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()  # a second for every look at it
    rates: list[float] = []
    step = torch.optim.Adam.step

    def noted(self: torch.optim.Adam, *arguments: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    options = {"network": fc_2(width=8), "batch_size": 32, "learning_rate": 0.8, "verbose": False}
    reconstruct_as_paper(few_points, time_budget=103.0, clock=lambda: float(next(clock)), **options)
    assert 90 <= len(rates) <= 100
    assert sorted(set(rates), reverse=True) == [0.8, 0.4, 0.2, 0.1]
    assert rates == sorted(rates, reverse=True)
    shares = [rates.count(rate) / len(rates) for rate in (0.8, 0.4, 0.2, 0.1)]
    assert shares == pytest.approx([0.1, 0.2, 0.4, 0.3], abs=0.02)
    with pytest.raises(ValueError, match="time_budget: 1e-06 s are too few"):
        reconstruct_as_paper(few_points, time_budget=1e-6, **options)


@pytest.mark.parametrize("name", ["steps", "time_budget", "batch_size", "learning_rate", "seed"])
def test_bad_numbers_are_named(name: str, few_points: Points) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        reconstruct_as_paper(few_points, **{name: -1})
