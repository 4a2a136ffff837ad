"""
Trilinear interpolation between the nodes of a grid, by all threads.

PyTorch's `grid_sample` in three dimensions works through a batch in parallel, and through the points of one volume one
after the other. So here each thread's share of the points is an item of a batch, and all items see the same nodes. The
derivative by the nodes is taken without shares, for each would need a volume of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor


def between_nodes(grids: Sequence[Tensor], places: Tensor) -> Tensor:
    """
    What lies between the nodes of grids; beyond these, what is on their walls.

    >>> import torch
    >>> from art_levelset.recon.trilinear import between_nodes
    >>> grid = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 1, 2).expand(1, 1, 2, 2, 2)
    >>> between_nodes([grid], torch.tensor([[-0.5, 0.0, 0.0], [3.0, 0.0, 0.0]])).squeeze(1)
    tensor([0.2500, 1.0000])

    :param grids: The values at the nodes of each, (1, c, nz, ny, nx).
    :param places: x, y, z, (n, 3), where the first node of an axis is at -1 and the last one at 1.
    :return: (n, sum of c), differentiable once in both.
    """
    shares = torch.get_num_threads() if places.device.type == "cpu" else 1
    each = -(-len(places) // shares)
    batch = functional.pad(places, (0, 0, 0, shares * each - len(places))).reshape(shares, 1, 1, each, 3)
    volumes = [grid.detach().expand(shares, -1, -1, -1, -1) for grid in grids]
    found = [functional.grid_sample(volume, batch, align_corners=True, padding_mode="border") for volume in volumes]
    values = torch.cat(found, dim=1)[:, :, 0, 0].transpose(1, 2).flatten(0, 1)[: len(places)]
    if torch.is_grad_enabled() and any(grid.requires_grad for grid in grids):
        values = values + _OnNodes.apply(places.detach(), *grids)
    return values


class _OnNodes(torch.autograd.Function):
    """Zero, with the derivatives by the nodes that interpolated values have."""

    @staticmethod
    def forward(context: Any, places: Tensor, *grids: Tensor) -> Tensor:
        context.save_for_backward(places, *grids)
        return places.new_zeros(len(places), sum(grid.shape[1] for grid in grids))

    @staticmethod
    def backward(context: Any, gradients: Tensor) -> tuple[Tensor | None, ...]:
        places, *grids = context.saved_tensors
        parts = torch.split(gradients.T, [grid.shape[1] for grid in grids])
        return None, *(_by_nodes(*pair, places) for pair in zip(grids, parts, strict=True))


def _by_nodes(grid: Tensor, gradients: Tensor, places: Tensor) -> Tensor:
    """The derivative by the nodes, of values whose gradients are (c, n)."""
    outputs, batch = gradients[None, :, None, None], places[None, None, None]
    trilinear, border, aligned = 0, 1, True  # what `grid_sample` has names for
    back = torch.ops.aten.grid_sampler_3d_backward
    by_nodes: Tensor = back(outputs, grid, batch, trilinear, border, aligned, [True, False])[0]
    return by_nodes
