from __future__ import annotations

import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from art_levelset.recon.trilinear import between_nodes


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return 2.6 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) - 1.3


def of_library(grid: Tensor, places: Tensor) -> Tensor:
    batch = places[None, None, None]
    return functional.grid_sample(grid, batch, align_corners=True, padding_mode="border")[0, :, 0, 0].T


def test_an_affine_function_lies_between_its_nodes(threads: int) -> None:
    x, y, z = (torch.linspace(-1, 1, nodes, dtype=torch.float64) for nodes in (4, 3, 5))
    grid = (1 + 2 * x + 3 * y[:, None] - z[:, None, None])[None, None]
    places = random(17, 3, seed=0, dtype=torch.float64)
    inside = places.clamp(-1, 1)  # beyond the walls it is what it is there
    torch.testing.assert_close(
        between_nodes([grid], places)[:, 0], 1 + inside @ torch.tensor([2.0, 3, -1], dtype=torch.float64)
    )


@given(st.integers(0, 9), st.integers(1, 3), st.integers(0, 100))
@settings(deadline=None, max_examples=20)
def test_it_is_what_the_library_finds_point_by_point(count: int, channels: int, seed: int) -> None:
    grids = [random(1, channels, 2, 4, 3, seed=seed), random(1, 1, 3, 3, 3, seed=seed + 1)]
    places = random(count, 3, seed=seed + 2)
    expected = torch.cat([of_library(grid, places) for grid in grids], dim=1)
    assert torch.equal(between_nodes(grids, places), expected)


def test_the_derivatives_are_those_of_the_library(threads: int) -> None:
    grids = [random(1, 2, 4, 3, 5, seed=0).requires_grad_(), random(1, 3, 2, 2, 2, seed=1).requires_grad_()]
    places, weights = random(50, 3, seed=2).requires_grad_(), random(50, 5, seed=3)
    expected = torch.cat([of_library(grid, places) for grid in grids], dim=1)
    found = between_nodes(grids, places)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), [places, *grids]),
        torch.autograd.grad((expected * weights).sum(), [places, *grids]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_it_has_first_derivatives(threads: int) -> None:
    grid = random(1, 2, 3, 3, 4, seed=0, dtype=torch.float64).requires_grad_()
    places = (0.6 * random(5, 3, seed=1, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda nodes, points: between_nodes([nodes], points), (grid, places))


def test_without_gradients_there_is_no_graph() -> None:
    grid, places = random(1, 1, 2, 2, 2, seed=0).requires_grad_(), random(3, 3, seed=1)
    with torch.no_grad():
        assert not between_nodes([grid], places).requires_grad
    assert not between_nodes([grid.detach()], places).requires_grad
    assert between_nodes([grid], places).requires_grad
