"""
Nearest neighbours where the tensors are, by comparing all pairs in chunks.

A tree on the CPU is faster than a GPU's arithmetic only until queries and answers have to travel and wait for each
other: a step asks for the planes near some ten thousand points, which are 10^9 comparisons at most.
"""

from __future__ import annotations

import torch
from torch import Tensor

PAIRS = 1 << 27
"""So many distances are in memory at a time: half a gigabyte."""


def nearest(points: Tensor, members: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """
    The nearest members of a set to some points.

    :param points: (n, d).
    :param members: (m, d), on the same device.
    :param count: Number of neighbours, k in [1, m].
    :return: The distances, (n, k), ascending, and the indices, (n, k).

    >>> nearest(torch.tensor([[0.0], [2.4]]), torch.tensor([[3.0], [1.0], [0.5]]), 2)
    (tensor([[0.5000, 1.0000],
            [0.6000, 1.4000]]), tensor([[2, 1],
            [0, 1]]))
    """
    found = [
        # Products of matrices would lose the small ones of the differences.
        torch.cdist(part, members, compute_mode="donot_use_mm_for_euclid_dist").topk(count, largest=False)
        for part in torch.split(points.detach(), max(PAIRS // len(members), 1))
    ]
    if not found:
        return points.new_zeros(0, count), torch.zeros(0, count, dtype=torch.long, device=points.device)
    return torch.cat([values for values, _ in found]), torch.cat([indices for _, indices in found])
