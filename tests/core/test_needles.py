"""Needles: areas and densities of known surfaces, exact intervals, and the bias that the module states."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset.core.needles import Ball, binomial_interval, drop_needles

from .networks import Recorded, affine, mlp, properties

DOUBLE = torch.float64
LIKE = torch.zeros(2, dtype=DOUBLE)
SURE = 1 - 1e-5


def sphere(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1) - 1


def torus(x: Tensor) -> Tensor:
    return torch.hypot(torch.hypot(x[:, 0], x[:, 1]) - 1, x[:, 2]) - 0.5


def unit_ball(dimension: int, radius: float = 1.3) -> Ball:
    return Ball(torch.full((dimension,), 0.1, dtype=DOUBLE), radius)


@pytest.mark.parametrize(("dimension", "nb_pieces"), [(2, 32), (3, 24), (6, 8)])
def test_the_area_of_a_sphere(dimension: int, nb_pieces: int) -> None:
    area = drop_needles(sphere, unit_ball(dimension), 20_000, nb_pieces=nb_pieces).area(SURE)
    true = 2 * math.pi ** (dimension / 2) / math.gamma(dimension / 2)
    assert area.low < true < area.high
    assert area.high - area.low < 0.35 * true


def test_a_hyperplane_in_784_dimensions() -> None:
    weight = torch.randn(1, 784, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    crossed = drop_needles(
        affine(weight, torch.zeros(1, dtype=DOUBLE)), Ball(torch.zeros(784, dtype=DOUBLE), 2.0), 4000, nb_pieces=1
    )
    low, high = binomial_interval(len(crossed.points), crossed.nb_needles, SURE)
    assert low < math.sqrt(2 / (math.pi * 784)) < high
    # |x|^2 of uniform points of a disc of 783 dimensions is nearly all R^2.
    lengths = crossed.points.norm(dim=1) / 2
    assert lengths.max() <= 1
    assert lengths.mean() == pytest.approx(783 / 784, abs=5e-3)


def test_crossings_of_a_torus_are_uniform() -> None:
    """The outer half has more area: E cos(phi) = r / 2R for the angle phi around the tube."""
    crossed = drop_needles(torus, (-1.6, 1.6), 60_000, like=torch.zeros(3, dtype=DOUBLE))
    area = crossed.area(SURE)
    assert area.low < 2 * math.pi**2 < area.high
    assert torus(crossed.points).abs().max() < 1e-5
    ring = crossed.points[:, :2].norm(dim=1)
    error = 1 / math.sqrt(len(crossed.points))
    assert ((ring - 1) / 0.5).mean().item() == pytest.approx(0.25, abs=4 * 0.7 * error)
    assert crossed.points.mean(dim=0).abs().max() < 4 * 0.8 * error


def test_a_box_cuts_the_level_set() -> None:
    line = affine(torch.tensor([[1.0, 1.0]], dtype=DOUBLE), torch.tensor([-1.5], dtype=DOUBLE))
    recorded = Recorded(line)
    crossed = drop_needles(recorded.field, (0.0, 1.0), 20_000, like=LIKE)
    length = crossed.area(SURE)
    assert length.low < math.sqrt(0.5) < length.high
    assert (crossed.points >= 0).all()
    assert (crossed.points <= 1).all()
    quarters = torch.histc(crossed.points[:, 0], 4, 0.5, 1.0) / len(crossed.points)
    assert (quarters - 0.25).abs().max() < 4 * math.sqrt(0.19 / len(crossed.points))
    assert sum(recorded.rows) == crossed.nb_passes < 2 * 20_000  # those outside of the box cost nothing


@pytest.mark.parametrize(("dimension", "part"), [(2, 1 / 24), (3, 1 / 12)])
def test_needles_that_cross_twice_are_missed_as_stated(dimension: int, part: float) -> None:
    """The probability that one end of a needle of length s is in a disc or a ball, from its covariogram."""
    for s in (0.1, 0.4):
        if dimension == 2:
            common = 2 * math.acos(s / 2) - s / 2 * math.sqrt(4 - s * s)
            seen, crossings = 2 * (math.pi - common), 4 * s
        else:
            seen, crossings = 2 * math.pi * (s - s**3 / 12), 2 * math.pi * s
        assert 1 - seen / crossings == pytest.approx(part * s * s, rel=0.05)
    # In a large ball, off its centre, needles that reach the sphere have nearly one length, and any place along it.
    centre = torch.tensor([3.0, 0.0, 0.0], dtype=DOUBLE)[:dimension]
    area = drop_needles(sphere, Ball(centre, 8.0), 100_000, nb_pieces=10).area(SURE)
    seen = []
    for s in (2 * math.sqrt(64 - 16) / 10, 1.6):
        common = 2 * math.acos(s / 2) - s / 2 * math.sqrt(4 - s * s)
        seen.append(2 * (math.pi - common) / (4 * s) if dimension == 2 else 1 - s * s / 12)
    true = 2 * math.pi * (dimension - 1)
    assert area.low < seen[0] * true
    assert seen[1] * true < area.high < true


def test_what_is_thinner_than_a_needle_is_hardly_seen() -> None:
    def slit(x: Tensor) -> Tensor:
        return x[:, 0].abs() - 1e-4

    assert drop_needles(slit, (-1.0, 1.0), 20_000, like=LIKE, nb_pieces=4).area().high < 0.02 * 4


def test_the_uncovered_part_of_a_circle() -> None:
    crossed = drop_needles(sphere, (-1.5, 1.5), 60_000, like=LIKE)
    sample = torch.tensor([[1.0, 0.0]], dtype=DOUBLE)
    for radius in (0.2, 1.0, math.sqrt(2), 1.9):
        part = crossed.uncovered(sample, radius, SURE)
        assert part.low < 1 - 2 * math.asin(radius / 2) / math.pi < part.high
        assert part.high - part.low < 0.12
    covered = crossed.uncovered(sample, 2.1)
    assert (covered.value, covered.low) == (0.0, 0.0)
    assert covered.high == pytest.approx(1 - 0.025 ** (1 / len(crossed.points)))
    assert crossed.uncovered(sample[:0], 1.0).value == 1.0


def test_nothing_crossed() -> None:
    crossed = drop_needles(sphere, (2.0, 3.0), 100, like=LIKE)
    assert len(crossed.points) == 0
    assert crossed.area().value == crossed.area().low == 0.0
    part = crossed.uncovered(torch.zeros(1, 2), 0.1)
    assert math.isnan(part.value)
    assert (part.low, part.high) == (0.0, 1.0)


def test_seeds_levels_dtypes_and_jumps() -> None:
    one, same, other = (drop_needles(sphere, (-1.5, 1.5), 500, like=LIKE.float(), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.points, same.points)
    assert not torch.equal(one.points[:5], other.points[:5])
    assert one.points.dtype == torch.float32
    higher = drop_needles(sphere, (-1.5, 1.5), 500, like=LIKE, level=0.25)
    assert (higher.points.norm(dim=1) - 1.25).abs().max() < 1e-5
    step = drop_needles(lambda x: torch.where(sphere(x) < 0, -1.0, 1.0), (-1.5, 1.5), 500, like=LIKE)
    assert len(step.points) == len(one.points)
    assert sphere(step.points).abs().max() < 2 * 1.5 * math.sqrt(2) / 32  # a needle


@properties
@given(st.integers(1, 400), st.floats(0, 1), st.floats(0.5, 0.999))
def test_the_interval_is_clopper_and_pearsons(n: int, part: float, confidence: float) -> None:
    """Its ends are where so many successes, or more extreme numbers, have the probability (1 - confidence) / 2."""
    k = round(part * n)
    low, high = binomial_interval(k, n, confidence)
    assert 0 <= low <= k / n <= high <= 1

    def at_most(count: int, p: float) -> float:
        return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(count + 1))

    tail = (1 - confidence) / 2
    assert high == 1 if k == n else at_most(k, high) == pytest.approx(tail, rel=1e-6)
    assert low == 0 if k == 0 else 1 - at_most(k - 1, low) == pytest.approx(tail, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nb_needles": 0}, "nb_needles must be an integer >= 1"),
        ({"nb_pieces": 0}, "nb_pieces must be an integer >= 1"),
        ({"seed": -1}, "seed must be an integer >= 0"),
        ({"like": None}, "like must be given with a box"),
        ({"like": torch.zeros(1)}, "region must have at least two dimensions"),
        ({"region": (0.0, math.inf)}, "box must be finite"),
        ({"field": mlp(2, 2)}, "field must be scalar"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drop_needles(**{"field": sphere, "region": (-1.0, 1.0), "nb_needles": 9, "like": LIKE, **arguments})


def test_bad_balls_samples_and_numbers() -> None:
    with pytest.raises(ValueError, match="centre must be a floating-point tensor"):
        Ball(torch.zeros(2, 2), 1.0)
    with pytest.raises(ValueError, match="radius must be a finite number > 0"):
        Ball(torch.zeros(2), 0.0)
    crossed = drop_needles(nn.Linear(2, 1), Ball(torch.zeros(2), 1.0), 50)
    with pytest.raises(ValueError, match="samples must have the shape"):
        crossed.uncovered(torch.zeros(2), 0.1)
    with pytest.raises(ValueError, match="radius must be >= 0"):
        crossed.uncovered(torch.zeros(1, 2), -0.1)
    with pytest.raises(ValueError, match="confidence must be in"):
        crossed.area(1.0)
    with pytest.raises(ValueError, match=r"successes must be in \[0, 3\]"):
        binomial_interval(4, 3)
