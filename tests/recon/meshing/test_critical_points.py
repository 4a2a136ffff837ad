from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.recon.meshing.bricks import Integers, Values
from art_levelset.recon.meshing.handles import OFFSETS, count_patches

CENTRE = np.array([[1, 1, 1]])


def quadratic_form(signs: tuple[int, int, int], scales: tuple[float, float, float] = (1.0, 1.3, 0.8)) -> Values:
    squares = (np.indices((3, 3, 3)) - 1.0) ** 2
    form: Values = np.tensordot(np.multiply(signs, scales), squares, 1).astype(np.float32)
    return form


@pytest.mark.parametrize(
    ("signs", "lower", "upper"),
    [((1, 1, 1), 0, 1), ((1, 1, -1), 2, 1), ((-1, 1, -1), 1, 2), ((-1, -1, -1), 1, 0)],
    ids=["minimum", "1-saddle", "2-saddle", "maximum"],
)
def test_critical_points_of_quadratic_forms(signs: tuple[int, int, int], lower: int, upper: int) -> None:
    for axes in permutations(range(3)):
        found = count_patches(np.ascontiguousarray(quadratic_form(signs).transpose(axes)), CENTRE)
        assert [int(count[0]) for count in found] == [lower, upper]


@given(st.tuples(*[st.floats(-5, 5)] * 3))
def test_a_linear_function_has_none(slope: tuple[float, float, float]) -> None:
    """Not even where it is constant along an axis, or everywhere."""
    values = np.tensordot(slope, np.indices((3, 3, 3)), 1).astype(np.float32)
    assert [int(count[0]) for count in count_patches(values, CENTRE)] == [1, 1]


def euler_number(inside: np.ndarray) -> int:
    """Of the simplices of Freudenthal's triangulation with all corners inside: chains of growing offsets."""
    total = 0
    steps = [np.array(offset) for offset in product((0, 1), repeat=3) if any(offset)]
    chains: list[list[np.ndarray]] = [[np.zeros(3, dtype=int)]]
    while chains:
        for chain in chains:
            within = np.ones(np.array(inside.shape) - 1, dtype=bool)
            for i, j, k in chain:
                within &= inside[i : i + within.shape[0], j : j + within.shape[1], k : k + within.shape[2]]
            total += int(within.sum()) * (-1) ** (len(chain) - 1)
        chains = [[*chain, o] for chain in chains for o in steps if (o >= chain[-1]).all() and (o > chain[-1]).any()]
    return total


def inner_nodes(values: Values) -> Integers:
    return np.argwhere(np.ones(np.array(values.shape) - 2, dtype=bool)) + 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 7), st.integers(1, 6))
def test_the_critical_points_below_a_level_tell_the_euler_number(seed: int, size: int, levels: int) -> None:
    """chi({F <= t}) = sum over the nodes with F <= t of 1 - chi(lower link); equal values included."""
    generator = np.random.default_rng(seed)
    values = np.full((size + 2,) * 3, 1e6, dtype=np.float32)
    values[1:-1, 1:-1, 1:-1] = generator.integers(0, 4**levels, (size,) * 3)
    nodes = inner_nodes(values)
    level = float(np.median(values[tuple(nodes.T)]))
    lower, upper = count_patches(values, nodes)
    below = values[tuple(nodes.T)] <= level
    # By Alexander's duality in the sphere the lower neighbours have upper - 1 loops; none or all are special cases.
    assert int((upper - lower)[below].sum()) == euler_number(values <= level)


def test_there_are_fourteen_neighbours() -> None:
    assert len(OFFSETS) == 14
    assert (np.sort(OFFSETS, axis=0) == np.sort(-OFFSETS, axis=0)).all()
