from __future__ import annotations

import torch
from torch import Tensor

from art_levelset.recon import GridNetwork
from art_levelset.recon.network import SHARPNESS, Softplus


def energy(grid: Tensor) -> Tensor:
    return sum((torch.diff(grid, dim=axis) ** 2).sum() for axis in (2, 3, 4))


def test_the_smoothness_gradient_of_a_small_grid_is_that_of_the_energy() -> None:
    network = GridNetwork(resolutions=(2,), channels=(3,), generator=torch.Generator().manual_seed(0))
    grid = network.grids[0]
    torch.nn.init.normal_(grid, generator=torch.Generator().manual_seed(1))
    (expected,) = torch.autograd.grad(0.5 * energy(grid), grid)
    network.add_smoothness_gradient(0.5, torch.Generator().manual_seed(2))
    torch.testing.assert_close(grid.grad, expected)
    network.add_smoothness_gradient(0.5, torch.Generator().manual_seed(2))
    torch.testing.assert_close(grid.grad, 2 * expected)


def test_descent_continues_values_into_cells_without_data() -> None:
    network = GridNetwork(resolutions=(16,), channels=(1,), generator=torch.Generator().manual_seed(0))
    grid, generator = network.grids[0], torch.Generator().manual_seed(1)
    with torch.no_grad():
        grid[0, 0, :, :, :5], grid[0, 0, :, :, 11:] = 1.0, 3.0
    for _ in range(2000):
        grid.grad = None
        network.add_smoothness_gradient(0.005, generator)
        with torch.no_grad():
            grid[0, 0, :, :, 5:11] -= grid.grad[0, 0, :, :, 5:11]
    between = grid[0, 0, :, :, 5:11].mean(dim=(0, 1))
    torch.testing.assert_close(between, 1 + 2 * torch.arange(1, 7) / 7, atol=0.2, rtol=0)


def test_softplus_is_that_of_the_library() -> None:
    inputs = torch.cat([torch.linspace(-2, 2, 401), torch.tensor([0.0, 1e-6, -1e-6, 50.0, -50.0, torch.inf])])
    expected = torch.nn.functional.softplus(inputs.double(), beta=SHARPNESS)
    torch.testing.assert_close(Softplus.apply(inputs).double(), expected, rtol=2e-7, atol=2e-8)
    assert torch.isnan(Softplus.apply(torch.tensor(torch.nan)))


def test_softplus_has_first_and_second_derivatives() -> None:
    inputs = (torch.linspace(-1, 1, 41, dtype=torch.float64) / 10).requires_grad_()
    assert torch.autograd.gradcheck(Softplus.apply, inputs, eps=1e-7)
    assert torch.autograd.gradgradcheck(Softplus.apply, inputs, eps=1e-7)
