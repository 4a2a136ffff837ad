from __future__ import annotations

import numpy as np
import pytest
import torch

from art_levelset.models import fc_2
from art_levelset.recon.clouds import Points
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


@pytest.mark.parametrize("name", ["steps", "batch_size", "learning_rate", "seed"])
def test_bad_numbers_are_named(name: str, few_points: Points) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        reconstruct_as_paper(few_points, **{name: -1})
