"""
One function of many networks: each has a block of space, and where blocks overlap they are blended.

Block b has the cell C_b of a division of space (:mod:`art_levelset.recon.cloud.division`), and a network F_b in its own
frame x -> (x - c_b) / s_b. With smooth weights, the products over the faces of the cells of

    w(t) = 3 t^2 - 2 t^3,     t = (1 + (distance from the face, > 0 on the side of the cell) / overlap) / 2 in [0, 1],

the function is

    F(x) = sum_b w_b(x) s_b F_b((x - c_b) / s_b) / sum_b w_b(x).

It is as smooth as the networks, up to C^1: there are no seams. A weight is 1 in the cell further than the overlap from
its faces, 1/2 on a face, and 0 beyond it by more than the overlap; there the network is not evaluated. The networks
know what lies in their boxes. A cell may go on without end where there are no data, and there F_b is what it is at the
nearest point of the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from art_levelset.checks import check_positive
from art_levelset.recon.network import GridNetwork


class Patchwork(nn.Module):
    """
    The blended function of the networks of blocks.

    >>> import torch
    >>> from art_levelset.recon.patchwork import Patchwork
    >>> left, right = [-9.0, -9.0, -9.0, 0.0, 9.0, 9.0], [0.0, -9.0, -9.0, 9.0, 9.0, 9.0]
    >>> box, frame = [-1.0] * 3 + [1.0] * 3, [0.0, 0.0, 0.0, 1.0]
    >>> patchwork = Patchwork([left, right], [box, box], [frame, frame], overlap=0.1)
    >>> patchwork.weights(torch.tensor([[-0.2, 0.0, 0.0], [0.0, 0.0, 0.0], [0.05, 0.0, 0.0]])).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.15625, 0.84375]]

    :param cells: The cells: the smallest and the largest coordinates, (n, 6), which may be infinite. They cover space.
    :param boxes: The boxes that the networks know, (n, 6), finite.
    :param frames: c_b and s_b of the blocks, (n, 4), s_b > 0.
    :param overlap: How far a network has a say beyond the faces of its cell, > 0.
    :param generator: Source of the random initial weights; None for torch's default one.
    :raises ValueError: If the numbers make no sense.
    """

    settings: dict[str, Any]
    """What it takes to build an equal network, for a file."""

    low: Tensor
    high: Tensor
    corners: Tensor
    opposite: Tensor
    centres: Tensor
    scales: Tensor

    def __init__(
        self,
        cells: Sequence[Sequence[float]],
        boxes: Sequence[Sequence[float]],
        frames: Sequence[Sequence[float]],
        overlap: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        given = {"cells": cells, "boxes": boxes, "frames": frames}
        arrays = {name: np.array(rows, dtype=np.float32, ndmin=2) for name, rows in given.items()}
        for name, columns in (("cells", 6), ("boxes", 6), ("frames", 4)):
            if not len(boxes) or arrays[name].shape != (len(boxes), columns):
                raise ValueError(f"{name} must have the shape (n, {columns}), n >= 1, got {arrays[name].shape}")
        for name in ("cells", "boxes"):
            if not (arrays[name][:, :3] < arrays[name][:, 3:]).all():
                raise ValueError(f"{name}: the smallest coordinates must be less than the largest ones")
        scales = arrays["frames"][:, 3]
        if not (np.isfinite(arrays["boxes"]).all() and np.isfinite(arrays["frames"]).all() and (scales > 0).all()):
            raise ValueError("boxes and frames must be finite, and scales positive")
        check_positive("overlap", overlap)
        self.settings = {**{name: rows.tolist() for name, rows in arrays.items()}, "overlap": float(overlap)}
        self.overlap = float(overlap)
        for name, values in (
            ("low", arrays["cells"][:, :3]),
            ("high", arrays["cells"][:, 3:]),
            ("corners", arrays["boxes"][:, :3]),
            ("opposite", arrays["boxes"][:, 3:]),
            ("centres", arrays["frames"][:, :3]),
            ("scales", scales),
        ):
            self.register_buffer(name, torch.tensor(values), persistent=False)
        self.networks = nn.ModuleList(GridNetwork(generator=generator) for _ in boxes)

    def weights(self, points: Tensor) -> Tensor:
        """
        How much say each block has.

        :param points: (batch, 3).
        :return: (batch, n), >= 0, of the sum 1.
        """
        products = torch.ones(len(points), len(self.networks), dtype=points.dtype, device=points.device)
        for axis in range(3):
            places = points[:, axis, None]
            for inwards in (places - self.low[:, axis], self.high[:, axis] - places):
                t = ((1 + inwards / self.overlap) / 2).clamp(0, 1)
                products = products * t**2 * (3 - 2 * t)
        return products / products.sum(dim=1, keepdim=True)

    def forward(self, points: Tensor) -> Tensor:
        """
        Evaluate F.

        :param points: (batch, 3).
        :return: (batch, 1).
        """
        weights = self.weights(points)
        values = torch.zeros_like(points[:, :1])
        for block, network in enumerate(self.networks):
            rows = torch.nonzero(weights[:, block] > 0).squeeze(1)
            if not len(rows):
                continue
            known = points[rows].clamp(self.corners[block], self.opposite[block])
            own: Tensor = network((known - self.centres[block]) / self.scales[block])
            values = values.index_add(0, rows, weights[rows, block, None] * self.scales[block] * own)
        return values
