"""Farthest points pack and cover; spread samples are nearly as even as samples can be."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from art_levelset.core.spreading import farthest_points, nearest, sample_evenly, spread

from .networks import Recorded, mlp, properties

DOUBLE = torch.float64
LIKE = torch.zeros(2, dtype=DOUBLE)


def circle(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1) - 1


def on_circle(count: int) -> Tensor:
    angles = torch.arange(count, dtype=DOUBLE) * 2 * math.pi / count
    return torch.stack([angles.cos(), angles.sin()], dim=1)


@properties
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 30))
def test_the_chosen_points_pack_and_cover(seed: int, dimension: int, count: int) -> None:
    points = torch.randn(60, dimension, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    rows = farthest_points(points, count)
    assert len(rows) == len(rows.unique()) == count
    radius = nearest(points, points[rows])[0].max()
    apart = torch.cdist(points[rows], points[rows]) + torch.full((count,), math.inf).diag().nan_to_num(0, math.inf)
    assert (apart >= radius - 1e-12).all()
    net = farthest_points(points, 60, apart=0.5)
    assert nearest(points, points[net])[0].max() <= 0.5
    assert (torch.pdist(points[net]) > 0.5).all()


def test_points_that_were_chosen_before_count() -> None:
    line = torch.linspace(0, 1, 11, dtype=DOUBLE)[:, None]
    assert farthest_points(line, 2, chosen=line[:1]).tolist() == [10, 5]
    assert farthest_points(line, 11, chosen=line[::2], apart=0.15).tolist() == []
    assert farthest_points(line[:0], 3).tolist() == farthest_points(line[:0], 3, chosen=line).tolist() == []
    assert len(farthest_points(torch.zeros(5, 2), 5)) == 1  # one place


def test_equal_points_are_one_place() -> None:
    assert len(farthest_points(torch.ones(4, 2), 3)) == 1


def test_spread_does_not_depend_on_how_densely_points_lie() -> None:
    dense, sparse = torch.linspace(0, 0.5, 5000, dtype=DOUBLE), torch.linspace(0.5, 1, 100, dtype=DOUBLE)
    line = torch.cat([dense, sparse])[:, None]
    chosen = line[spread(line, 10)].sort(dim=0).values.squeeze(1)
    assert nearest(line, chosen[:, None])[0].max() < 0.065  # 0.05 is the least
    assert (chosen < 0.5).sum().item() in (4, 5, 6)


def test_spread_is_no_worse_than_farthest_points() -> None:
    points = torch.rand(500, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    greedy, best = (
        nearest(points, points[rows])[0].max() for rows in (farthest_points(points, 25), spread(points, 25))
    )
    assert best < 0.95 * greedy
    assert spread(points[:3], 5).tolist() == [0, 1, 2]


@pytest.mark.parametrize("count", [30, 200])
def test_samples_of_a_circle_are_even(count: int) -> None:
    recorded = Recorded(circle)
    samples = sample_evenly(recorded.field, (-1.3, 1.3), count, like=LIKE, tol=1e-10)
    assert len(samples) == count
    assert samples.converged.all()
    assert circle(samples.points).abs().max() <= 1e-10
    gaps = nearest(on_circle(20_000), samples.points)[0]
    assert gaps.mean() < 1.12 * math.pi / (2 * count)  # a regular polygon has 1
    assert gaps.max() < 2 * math.pi / count
    assert sum(recorded.rows) < 17**2 + 9 * count


def test_samples_of_a_sphere_are_even() -> None:
    like = torch.zeros(3, dtype=DOUBLE)
    samples = sample_evenly(circle, (-1.2, 1.2), 100, like=like, nb_cells=8, tol=1e-10)
    assert samples.converged.all()
    normal = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    gaps = nearest(torch.nn.functional.normalize(normal, dim=1), samples.points)[0]
    assert gaps.max() < 0.34  # 100 hexagons of a plane of that area: 0.22; a hundred uniform points: about 0.5


def test_components_levels_and_boxes() -> None:
    def two(x: Tensor) -> Tensor:
        return torch.minimum(torch.linalg.vector_norm(x - 1, dim=1), torch.linalg.vector_norm(x + 1, dim=1))

    box = (torch.tensor([-1.7, -2.0]), torch.tensor([2.0, 1.6]))
    samples = sample_evenly(two, box, 60, like=LIKE, level=0.5)
    assert (samples.points <= box[1]).all()
    assert (samples.points >= box[0]).all()
    assert (samples.values - 0.5).abs().max() <= 1e-5
    assert 20 < (samples.points.sum(dim=1) > 0).sum() < 40
    assert len(sample_evenly(two, (-1.0, 1.0), 5, like=LIKE, level=9.0)) == 0


def test_what_separates_no_nodes_is_not_seen() -> None:
    """As the module says."""
    assert len(sample_evenly(circle, (-8.0, 8.5), 5, like=LIKE, nb_cells=3)) == 0
    assert len(sample_evenly(circle, (-8.0, 8.5), 5, like=LIKE, nb_cells=32)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nb_samples": 0}, "nb_samples must be an integer >= 1"),
        ({"nb_cells": 0}, "nb_cells must be an integer >= 1"),
        ({"seed": -1}, "seed must be an integer >= 0"),
        ({"box": (1.0, 0.0)}, "box must be finite with low < high"),
        ({"box": (-math.inf, 0.0)}, "box must be finite"),
        ({"box": 1.0}, "box must be a pair"),
        ({"box": (torch.zeros(3), 1.0)}, "box must have numbers or 2 coordinates"),
        ({"like": torch.zeros(2).long()}, "like must be a floating-point tensor"),
        ({"field": mlp(2, 2)}, "field must be scalar"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_evenly(**{"field": circle, "box": (-2.0, 2.0), "nb_samples": 5, "like": LIKE, **arguments})


def test_bad_numbers_of_points() -> None:
    with pytest.raises(ValueError, match="count must be an integer >= 1"):
        farthest_points(torch.zeros(3, 2), 0)
    with pytest.raises(ValueError, match="apart must be a finite number >= 0"):
        farthest_points(torch.zeros(3, 2), 1, apart=-1.0)
    with pytest.raises(ValueError, match="nb_rounds must be an integer >= 0"):
        spread(torch.zeros(3, 2), 1, nb_rounds=-1)
    with pytest.raises(ValueError, match="points must have the shape"):
        spread(torch.zeros(3), 1)


def test_a_bulge_between_two_nodes_is_seen() -> None:
    """It crosses an edge of the grid twice, and separates no two nodes until that is divided."""

    def bulge(x: Tensor) -> Tensor:
        return x[:, 1] - 0.5 - 0.03 * torch.exp(-((x[:, 0] - 0.125) / 0.05).square()) + 0.02

    box, top = (0.0, 1.0), torch.tensor([[0.125, 0.51]], dtype=DOUBLE)
    samples = sample_evenly(bulge, box, 100, like=LIKE, nb_cells=4)
    assert nearest(top, samples.points)[0].item() < 0.02


@pytest.mark.parametrize("nb_cells", [3, 8, 32])
def test_no_sample_leaves_the_box(nb_cells: int) -> None:
    """Where the circle goes through its walls, steps on the interpolation of F would."""
    samples = sample_evenly(circle, (-0.8, 0.8), 60, like=LIKE, nb_cells=nb_cells)
    assert samples.converged.all()
    assert samples.points.abs().max() <= 0.8
