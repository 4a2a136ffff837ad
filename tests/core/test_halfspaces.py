from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from torch import Tensor

from art_levelset.core.distances import nearest_in_half_space

from .networks import properties


def problem(seed: int, count: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 2, 3, generator=generator, dtype=torch.float64)
    g = torch.randn(count, 2, 3, generator=generator, dtype=torch.float64)
    return x, g, torch.rand(count, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("norm", "dual"), [(math.inf, 1), (2, 2)])
def test_without_walls_it_is_as_far_as_the_dual_norm_says(norm: float, dual: float) -> None:
    x, g, depth = problem(0)
    z, reached = nearest_in_half_space(x, g, depth, norm=norm)
    assert reached.all()
    torch.testing.assert_close((g * (z - x)).flatten(1).sum(1), -depth)
    torch.testing.assert_close(
        torch.linalg.vector_norm((z - x).flatten(1), norm, dim=1),
        depth / torch.linalg.vector_norm(g.flatten(1), dual, dim=1),
    )


@properties
@given(st.integers(0, 10_000))
def test_in_a_box_it_solves_the_linear_programme(seed: int) -> None:
    x, g, depth = problem(seed)
    z, reached = nearest_in_half_space(x, g, depth, norm=math.inf, box=(0.0, 1.0))
    assert ((z >= 0) & (z <= 1)).all()
    for point, normal, wanted, found, there in zip(*(part.numpy() for part in (x, g, depth, z, reached)), strict=True):
        # Minimise t over (z, t) with |z - x| <= t and <g, z - x> <= -depth.
        point, normal, found = point.ravel(), normal.ravel(), found.ravel()
        eye, ones = np.eye(6), np.ones((6, 1))
        rows = np.block([[eye, -ones], [-eye, -ones], [normal[None], np.zeros((1, 1))]])
        limits = np.concatenate([point, -point, [normal @ point - wanted]])
        solved = linprog([0] * 6 + [1], rows, limits, bounds=[(0, 1)] * 6 + [(0, None)])
        assert there == (solved.status == 0)
        if there:
            assert np.abs(found - point).max() == pytest.approx(solved.fun, abs=1e-8)
            assert normal @ (found - point) <= -wanted + 1e-12


def test_in_a_box_it_solves_the_quadratic_programme() -> None:
    x, g, depth = problem(1)
    z, reached = nearest_in_half_space(x, g, depth, norm=2, box=(0.0, 1.0))
    assert reached.any()
    for point, normal, wanted, found in zip(*(part[reached].numpy() for part in (x, g, depth, z)), strict=True):
        point, normal = point.ravel(), normal.ravel()
        solved = minimize(
            lambda p, point=point: ((p - point) ** 2).sum(),
            point,
            jac=lambda p, point=point: 2 * (p - point),
            bounds=[(0, 1)] * 6,
            constraints={"type": "ineq", "fun": lambda p, n=normal, q=point, w=wanted: -n @ (p - q) - w},
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        assert np.linalg.norm(found.ravel() - point) == pytest.approx(math.sqrt(solved.fun), abs=1e-6)


@pytest.mark.parametrize("norm", [math.inf, 2])
def test_where_the_box_does_not_reach_it_is_the_deepest_corner(norm: float) -> None:
    x = torch.tensor([[0.5, 0.25]])
    z, reached = nearest_in_half_space(x, torch.tensor([[1.0, -2.0]]), torch.tensor([5.0]), norm=norm, box=(0.0, 1.0))
    assert not reached.item()
    torch.testing.assert_close(z, torch.tensor([[0.0, 1.0]]))


@pytest.mark.parametrize("box", [None, (0.0, 1.0)])
def test_points_inside_stay_and_flat_functions_reach_nothing(box: tuple[float, float] | None) -> None:
    x = torch.rand(3, 4)
    g = torch.randn(3, 4)
    g[2] = 0
    z, reached = nearest_in_half_space(x, g, torch.tensor([0.0, -1.0, 1.0]), norm=2, box=box)
    torch.testing.assert_close(z, x, rtol=0, atol=0)
    assert reached.tolist() == [True, True, False]


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="normals and depth must have the shapes"):
        nearest_in_half_space(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="norm must be inf or 2"):
        nearest_in_half_space(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2), norm=3)
