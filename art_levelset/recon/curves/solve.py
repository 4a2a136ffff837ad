"""
A network that is linear in its weights, F(x) = W^T h(x), is solved for instead of descended to.

First F is the winding field G (:mod:`art_levelset.recon.curves.samples`), at whose points x_i errors count relative to
the distance to the curves, o_i:

    W = argmin sum_i o_i^2 |W^T h(x_i) - G(x_i)|^2 + ridge.

Then rounds of Gauss-Newton minimise eq. 13. For x_j on the zero set the sample network (eq. 9) is affine in W, x_j(W) =
x_j - D_xF(x_j)^+ W^T h(x_j), and so is its offset from the nearest tangent of the data, at q_j and with P_j the
projection across it:

    r_j(W) = P_j (x_j(W) - q_j) = D_xF(x_j)^+ [D_xF(x_j) P_j (x_j - q_j) - W^T h(x_j)],

if the tangent of the zero set is that of the data. |r_j| is at most the norm of the bracket times that of the inverse,
s_j, with which one matrix serves both outputs. Distances and |F| at the cloud are not squared in eq. 13: squares are
weighted with the inverses of what they were in the round before. So a round is

    argmin 1/n sum_j s_j^2 |W^T h(x_j) - D_xF(x_j) P_j (x_j - q_j)|^2 / |r_j| + lambda/N sum_i |W^T h(x_i)|^2 / |F(x_i)|
           + mu/m sum_i o_i^2 |W^T h(x_i) - G(x_i)|^2 + ridge,

in which the last sum keeps F away from the curves, so that no further components of its zero set appear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from art_levelset.core.fields import as_field
from art_levelset.core.projection import project
from art_levelset.recon.curves.loops import WALL, Loop
from art_levelset.recon.curves.result import CurveNetwork
from art_levelset.recon.curves.samples import Samples

LAYERS = ((0.15, 32, 900), (0.3, 14, 400))
"""Units around the curves: their width, how many there are for a length of 1 in the unit frame, and at most."""

ANYWHERE = (0.6, 200)
"""Units anywhere: their width and number."""

ASIDE = 0.7
"""The standard deviation of the centres from the curves, in widths."""

SPACING = 0.01
ROUNDS = 2
SAMPLES = 1000
LAMBDA = 0.1
FIELD_WEIGHT = 0.5
"""mu. With ten times as much eq. 13 hardly moves the zero set from that of G; with a tenth strands that noise joins
are not kept apart."""

RIDGE = 1e-9
"""Of the mean of the diagonal."""

SMALLEST = 1e-3
"""Distances and values below this one count as it, where they are divided by."""


class Normal(NamedTuple):
    """
    Normal equations A W = B.

    :param matrix: A, (k, k).
    :param right: B, (k, 2).
    """

    matrix: Tensor
    right: Tensor

    def plus(self, other: Normal, factor: float = 1.0) -> Normal:
        """The equations of a sum of squares and of a multiple of another one."""
        return Normal(self.matrix + factor * other.matrix, self.right + factor * other.right)


def network_around(loops: Sequence[Loop], detail: float, generator: torch.Generator) -> CurveNetwork:
    """
    A network with units around curves, and some anywhere.

    :param loops: The curves.
    :param detail: Factor of the numbers of units around them, and of the inverses of their widths, > 0.
    :param generator: Source of the centres, on the CPU.
    :return: The network, F = 0.
    """
    lines = [loop.line.resampled(SPACING) for loop in loops]
    vertices = torch.cat([torch.as_tensor(line.points, dtype=torch.float32) for line in lines])
    length = sum(line.length for line in lines)
    width, count = ANYWHERE
    centres = [WALL * (2 * torch.rand(count, 3, generator=generator) - 1)]
    widths = [torch.full((count,), width)]
    for width, for_length, most in LAYERS:
        width, count = width / detail, int(detail * min(for_length * length, most))
        rows = torch.randint(len(vertices), (count,), generator=generator)
        centres.append(vertices[rows] + ASIDE * width * torch.randn(count, 3, generator=generator))
        widths.append(torch.full((count,), width))
    network = CurveNetwork(sum(len(part) for part in widths))
    network.centres.copy_(torch.cat(centres))
    network.widths.copy_(torch.cat(widths))
    return network


@torch.no_grad()
def solve(network: CurveNetwork, samples: Samples) -> None:
    """
    Solve for the weights of the network: the winding field, then eq. 13.

    :param network: The network, changed in place.
    :param samples: Where the loss is evaluated.
    """
    network.double()
    points, values, weights = (tensor.double() for tensor in samples.field())
    field = _normal(network, points, values, weights / len(points) ** 0.5)
    _solve(network, field)
    for _ in range(ROUNDS):
        found = project(as_field(network), samples.around_curve(SAMPLES).double(), max_iter=4, box=(-WALL, WALL))
        found = found.select(found.converged)
        on_zero_set = _normal(network, found.points, *_offsets(found.points, found.jacobians, samples))
        cloud = samples.of_cloud(SAMPLES).double()
        sizes = torch.linalg.vector_norm(network(cloud), dim=1, keepdim=True).clamp_min(SMALLEST)
        at_cloud = _normal(network, cloud, torch.zeros_like(cloud[:, :2]), (LAMBDA / (len(cloud) * sizes)).sqrt())
        _solve(network, on_zero_set.plus(at_cloud).plus(field, FIELD_WEIGHT))
    network.float()


def _offsets(points: Tensor, jacobians: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
    """What F should have been at points of its zero set, (n, 2), and the roots of the weights, (n, 1)."""
    targets, tangents = (tensor.double() for tensor in samples.tangents(points))
    offsets = points - targets
    offsets = offsets - (offsets * tangents).sum(dim=1, keepdim=True) * tangents
    distances = torch.linalg.vector_norm(offsets, dim=1, keepdim=True)
    slowest = torch.linalg.svdvals(jacobians)[:, -1:]
    roots = 1 / (slowest.clamp_min(SMALLEST) * (len(points) * distances.clamp_min(SMALLEST)).sqrt())
    return (jacobians @ offsets[:, :, None])[:, :, 0], roots


def _normal(network: CurveNetwork, points: Tensor, values: Tensor, roots: Tensor) -> Normal:
    """The equations of the sum of the squares of `roots * (F(points) - values)`."""
    rows = roots * network.features(points)
    return Normal(rows.T @ rows, rows.T @ (roots * values))


def _solve(network: CurveNetwork, equations: Normal) -> None:
    """Set the weights to the solution."""
    ridge = RIDGE * equations.matrix.diagonal().mean()
    matrix = equations.matrix + ridge * torch.eye(len(equations.matrix), dtype=ridge.dtype, device=ridge.device)
    network.weights.copy_(torch.cholesky_solve(equations.right, torch.linalg.cholesky(matrix)))
