"""Certificates are true, however samples were made; covers reach their radius and are not crowded."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset.core.coverage import certify, cover
from art_levelset.core.enclosures import lipschitz_enclosure, network_enclosure
from art_levelset.core.spreading import nearest

from .networks import affine, mlp, properties

DOUBLE = torch.float64
LIKE = torch.zeros(2, dtype=DOUBLE)


def circle(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1) - 1


CIRCLE = lipschitz_enclosure(circle, 1.0)


def on_circle(angles: Tensor) -> Tensor:
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def dense_circle(count: int = 5000) -> Tensor:
    return on_circle(torch.arange(count, dtype=DOUBLE) * 2 * math.pi / count)


@properties
@given(st.integers(0, 10**6), st.integers(1, 40), st.floats(0.05, 2.0))
def test_a_certificate_is_true(seed: int, count: int, radius: float) -> None:
    """For random samples of the circle, whose largest gap is known."""
    angles = 2 * math.pi * torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    found = certify(CIRCLE, on_circle(angles), (-1.5, 1.25), radius)
    gaps = torch.cat([angles.sort().values, angles.min()[None] + 2 * math.pi]).diff()
    true = 2 * math.sin(min(gaps.max().item(), 2 * math.pi) / 4)
    assert found.radius >= true - 1e-12
    assert found.reached == (found.radius <= radius)
    assert found.reached or true > radius / 1.2  # it is not given up early
    assert found.radius <= max(radius, true) + radius / 8


def test_a_cut_short_search_proves_less_but_nothing_false() -> None:
    samples = dense_circle(64)
    bounds = [certify(CIRCLE, samples, (-1.5, 1.5), 0.06, max_cells=cells) for cells in (1, 30, 300, 3000)]
    assert [bound.reached for bound in bounds] == [False, False, False, True]
    assert all(bound.nb_cells <= cells for bound, cells in zip(bounds, (1, 30, 300, 3000), strict=True))
    radii = [bound.radius for bound in bounds]
    assert radii == sorted(radii, reverse=True)
    assert radii[-1] >= 2 * math.sin(math.pi / 128)
    assert len(bounds[0].doubtful) == 1


def test_a_component_without_samples_is_found() -> None:
    def two(x: Tensor) -> Tensor:
        small = torch.linalg.vector_norm(x - 1.5, dim=1) - 0.01  # smaller than any cell at first
        return torch.minimum(circle(x), small)

    found = certify(lipschitz_enclosure(two, 1.0), dense_circle(200), (-2.0, 2.0), 0.1)
    assert not found.reached
    assert nearest(found.doubtful, torch.full((1, 2), 1.5, dtype=DOUBLE))[0].max() < 0.05
    whole = cover(two, lipschitz_enclosure(two, 1.0), (-2.0, 2.0), 0.1, like=LIKE)
    assert whole.certificate.reached
    assert (nearest(torch.full((1, 2), 1.5, dtype=DOUBLE), whole.samples.points)[0] < 0.1).all()


def test_nothing_to_cover_and_nothing_to_cover_with() -> None:
    none = torch.zeros(0, 2, dtype=DOUBLE)
    empty = certify(CIRCLE, none, (2.0, 3.0), 0.1)
    assert (empty.radius, empty.reached) == (0.0, True)
    assert certify(CIRCLE, none, (-2.0, 2.0), 0.1).radius == math.inf
    covered = cover(circle, CIRCLE, (2.0, 3.0), 0.1, like=LIKE)
    assert len(covered.samples) == 0
    assert covered.certificate.reached


@pytest.mark.parametrize("radius", [0.3, 0.05])
def test_a_cover_of_a_circle(radius: float) -> None:
    covered = cover(circle, CIRCLE, (-1.5, 1.5), radius, like=LIKE, tol=1e-10)
    points = covered.samples.points
    assert covered.certificate.reached
    assert covered.samples.converged.all()
    assert nearest(dense_circle(), points)[0].max() <= covered.certificate.radius <= radius
    assert torch.pdist(points).min() > radius / 2
    assert len(points) <= 2 * math.pi / (2 * math.asin(radius / 4))
    assert covered.certificate.nb_cells < 400 / radius


@properties
@given(st.integers(0, 10**6), st.sampled_from((nn.ReLU, nn.Tanh)))
def test_a_cover_of_a_networks_level_set(seed: int, activation: type[nn.Module]) -> None:
    """Against all crossings of the edges of a fine grid."""
    torch.manual_seed(seed)
    module = mlp(2, 1, activation)
    level = module(torch.zeros(1, 2, dtype=DOUBLE)).item()
    covered = cover(module, network_enclosure(module), (-1.0, 1.0), 0.2, like=LIKE, level=level)
    assert covered.certificate.reached
    ticks = torch.linspace(-1, 1, 201, dtype=DOUBLE)
    grid = torch.cartesian_prod(ticks, ticks)
    values = module(grid).detach().reshape(201, 201) - level
    crossing = values[:-1] * values[1:] <= 0
    places = grid.reshape(201, 201, 2)[:-1][crossing]
    assert len(places)
    assert nearest(places, covered.samples.points)[0].max() <= 0.2 + 0.01


def test_a_cover_of_a_torus() -> None:
    def torus(x: Tensor) -> Tensor:
        return torch.hypot(torch.hypot(x[:, 0], x[:, 1]) - 1, x[:, 2]) - 0.4

    box = (torch.tensor([-1.5, -1.5, -0.5]), torch.tensor([1.5, 1.5, 0.5]))  # cells are cubes all the same
    covered = cover(torus, lipschitz_enclosure(torus, 1.0), box, 0.4, like=torch.zeros(3, dtype=DOUBLE))
    assert covered.certificate.reached
    angles = torch.cartesian_prod(*[torch.linspace(0, 2 * math.pi, 60, dtype=DOUBLE)] * 2)
    ring = 1 + 0.4 * angles[:, 0].cos()
    surface = torch.stack([ring * angles[:, 1].cos(), ring * angles[:, 1].sin(), 0.4 * angles[:, 0].sin()], dim=1)
    assert nearest(surface, covered.samples.points)[0].max() <= 0.4
    assert torch.pdist(covered.samples.points).min() > 0.2


def test_where_no_projection_arrives_the_certificate_says_so() -> None:
    """F touches 0 along a line, where its gradient vanishes: nothing converges there."""

    def touching(x: Tensor) -> Tensor:
        return x[:, 0].square()

    covered = cover(touching, lipschitz_enclosure(touching, 2.0), (-1.0, 0.9), 0.3, like=LIKE, tol=0.0)
    assert len(covered.samples) == 0
    assert covered.certificate.radius == math.inf
    assert covered.certificate.doubtful[:, 0].abs().max() < 0.2


def test_values_that_are_no_numbers_are_not_empty() -> None:
    def broken(centres: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
        return centres[:, 0] * math.nan, centres[:, 0] * math.nan

    assert not certify(broken, torch.zeros(1, 2), (-1.0, 1.0), 0.1).reached


def test_a_line_that_is_parallel_to_an_axis() -> None:
    line = affine(torch.tensor([[0.0, 1.0]], dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE))
    covered = cover(line, network_enclosure(line), (0.0, 1.0), 0.25, like=LIKE)  # it is an edge of the box
    assert covered.certificate.reached
    assert (covered.samples.points[:, 1] == 0).all()
    assert 2 <= len(covered.samples) <= 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radius": 0.0}, "radius must be a finite number > 0"),
        ({"max_cells": 0}, "max_cells must be an integer >= 1"),
        ({"box": (1.0, 1.0)}, "box must be finite with low < high"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, object], message: str) -> None:
    sound = {"enclosure": CIRCLE, "box": (-2.0, 2.0), "radius": 0.1}
    with pytest.raises(ValueError, match=message):
        certify(**{**sound, "points": torch.zeros(1, 2), **arguments})
    with pytest.raises(ValueError, match=message):
        cover(circle, **{**sound, "like": LIKE, **arguments})
    with pytest.raises(ValueError, match="points must have the shape"):
        certify(CIRCLE, torch.zeros(2), (-1.0, 1.0), 0.1)


@pytest.mark.parametrize("long", [0, 1])
def test_the_cells_of_a_long_box_are_cubes(long: int) -> None:
    """Three in a row: a point in the middle of each covers them, if they are just as large."""
    everywhere = lipschitz_enclosure(lambda x: 0 * x[:, 0], 0.0)
    high, points = torch.ones(2), torch.full((3, 2), 0.5)
    high[long], points[:, long] = 3.0, torch.tensor([0.5, 1.5, 2.5])
    found = certify(everywhere, points, (torch.zeros(2), high), radius=0.71, max_cells=3)
    assert found.reached
    assert found.nb_cells == 3
    assert found.radius == pytest.approx(math.sqrt(0.5))
