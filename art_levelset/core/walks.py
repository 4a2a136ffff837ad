"""
A random walk on a level set in any dimension, whose stationary distribution is exactly the uniform one.

A step from x on S = {F = c} (any l), with J = D_xF(x), draws a tangent vector v = (I - J^+ J) N(0, step^2 I) and goes
back to S along the normals *at x*: it solves, by Newton's method in a (l numbers),

    F(x + v + J^T a) = c,      a <- a - (D_xF(y) J^T)^-1 (F(y) - c),   y = x + v + J^T a.

A tangential step followed by the projection of :mod:`art_levelset.core.projection` would not do: it has no known
density, and gathers points where S bends. Here the way back is known: w, the tangential part of x - y at y. The step is
accepted with the probability min(1, exp((|v|^2 - |w|^2) / (2 step^2))), and only if the same Newton iteration from y +
w arrives at x; else the walk stays where it is, and counts that place once more (Zappa, Holmes-Cerfon and Goodman).
Then the Metropolis-Hastings condition holds with respect to the area of S, and so it does if steps that leave the
region are refused.

What is left of bias: the start, forgotten only after many steps; components, between which a walk passes only where a
step reaches from one to the other; and tol, within which `the same point` is meant. Samples of one walk depend on each
other: walks are run side by side, and only their last points are returned.

| Paper link: https://arxiv.org/abs/1702.08446
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from art_levelset.checks import check_count, check_positive, check_seed
from art_levelset.core.balls import Box, walls
from art_levelset.core.fields import Field, FieldLike, as_field, values_and_jacobians
from art_levelset.core.projection import project
from art_levelset.core.pseudo_inverse import apply, pseudo_inverse
from art_levelset.core.samples import LevelSetSamples, check_points

NEWTON_STEPS = 12


@dataclass(frozen=True, eq=False)
class Walked:
    """
    Where walks on a level set have ended.

    :param samples: The last points, a row a walk; rows whose start was not on the level set have not moved.
    :param accepted: The fraction of each walk's steps that were accepted, (batch,).
    """

    samples: LevelSetSamples
    accepted: Tensor


def walk(
    field: FieldLike,
    points: Tensor,
    nb_steps: int,
    step: float,
    *,
    level: float = 0.0,
    box: Box | None = None,
    tol: float = 1e-5,
    seed: int = 0,
) -> Walked:
    """
    Walk on a level set such that, after many steps, every piece of it is visited as often as its area says.

    :param field: F, l < d.
    :param points: Where the walks start, (batch, ...); they are projected first.
    :param nb_steps: Steps of each walk, >= 0. One costs about ten evaluations of F and D_xF.
    :param step: The standard deviation of a step in each tangential direction, > 0. The best is one that is accepted
           about half of the time.
    :param level: The level c.
    :param box: (low, high), as for :func:`art_levelset.core.projection.project`: steps that leave it are refused.
    :param tol: The largest |F - c| of a point, >= 0; the way back must arrive within sqrt(tol) * step, at most
           a thousandth of the step.
    :param seed: Seed of the steps, >= 0.
    :return: The last points.
    :raises TypeError: If `points` or `field` is of another type.
    :raises ValueError: If a shape, dtype or number is out of range; the message names the argument.

    >>> import torch
    >>> circle = lambda x: torch.linalg.vector_norm(x, dim=1) - 1
    >>> walked = walk(circle, torch.tensor([[1.0, 0.0]]).repeat(400, 1), 30, 0.7)
    >>> walked.samples.points.mean(dim=0).abs() < 0.2
    tensor([True, True])
    """
    field = as_field(field)
    check_points(points)
    check_count("nb_steps", nb_steps, least=0)
    check_positive("step", step)
    check_seed(seed)
    low, high = walls(box, points)
    samples = project(field, points, level, tol=tol, box=box)
    if samples.values.shape[1] >= max(points[:1].numel(), 1) and len(points):
        raise ValueError(f"field: a walk needs l < d, got l = {samples.values.shape[1]} and d = {points[:1].numel()}")
    generator = torch.Generator().manual_seed(seed)
    moves = torch.zeros(len(points), dtype=torch.long, device=points.device)
    rows = torch.nonzero(samples.converged).squeeze(1)
    there = samples.select(rows)
    field, x, values, jacobians = field.select(rows), there.points, there.values, there.jacobians
    for _ in range(nb_steps if len(rows) else 0):
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
        chance = torch.rand(len(x), generator=generator, dtype=torch.float64).to(x)
        v = step * _tangential(jacobians, noise)
        y, at_y, slopes, arrived = _return(field, x + v, jacobians, level, tol)
        w = _tangential(slopes, x - y)
        back, _, _, returned = _return(field, y + w, slopes, level, tol)
        gap = (back - x).flatten(1).norm(dim=1)
        same = returned & (gap <= min(math.sqrt(tol), 1e-3) * step)
        odds = (v.flatten(1).square().sum(dim=1) - w.flatten(1).square().sum(dim=1)) / (2 * step**2)
        inside = ((y >= low) & (y <= high)).flatten(1).all(dim=1)
        taken = arrived & same & inside & (chance.log() <= odds)
        shape = (-1, *(1,) * (x.dim() - 1))
        x = torch.where(taken.reshape(shape), y, x)
        values = torch.where(taken[:, None], at_y, values)
        jacobians = torch.where(taken.reshape(-1, 1, *shape[1:]), slopes, jacobians)
        moves[rows] += taken
    samples.points[rows], samples.values[rows], samples.jacobians[rows] = x, values, jacobians
    return Walked(samples, moves.to(points.dtype) / max(nb_steps, 1))


def _tangential(jacobians: Tensor, vectors: Tensor) -> Tensor:
    """(I - J^+ J) v."""
    inverse, _ = pseudo_inverse(jacobians)
    return vectors - apply(inverse, torch.einsum("nld,nd->nl", jacobians.flatten(2), vectors.flatten(1)))


def _return(
    field: Field, points: Tensor, normals: Tensor, level: float, tol: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Newton's method along given normals: points, F, D_xF, and whether F = c within tol, with D_xF of full rank."""
    y = points
    for iteration in range(NEWTON_STEPS + 1):
        values, jacobians = values_and_jacobians(field, y)
        residuals = values - level
        far = ~(residuals.abs().amax(dim=1) <= tol)
        if iteration == NEWTON_STEPS or not bool(far.any()):
            break
        mixed = torch.einsum("nld,nkd->nlk", jacobians.flatten(2), normals.flatten(2))
        if mixed.shape[1] > 1:
            weights = torch.linalg.solve_ex(mixed, residuals.unsqueeze(2))[0].squeeze(2)
        else:
            weights = residuals / mixed.squeeze(2)
        usable = far & torch.isfinite(weights).all(dim=1)
        y = y - apply(normals, torch.where(usable[:, None], weights, 0.0))
    return y, values, jacobians, ~far & pseudo_inverse(jacobians)[1]
