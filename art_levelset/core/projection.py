"""
Projection of points to a level set: the generalized Newton method (eqs. 4, 5) and gradient descent on |F - c|.

One iteration for the samples still searching is one evaluation of F and D_xF and

    p_next = p - s * J^+ (F(p) - c),      J^+ = J^T (J J^T)^-1            (generalized Newton)
    p_next = p - s * step * J^T (F(p) - c) / |F(p) - c|                   (gradient descent)

with s = 1, or with backtracking s halved until |F - c| decreases. With a box the step is that of the free
coordinates: those at a wall that the step would cross are taken out of J, then the result is clamped.

How it fails: Newton's method may run away from a level that F does not take, or oscillate; D_xF may vanish (dead
ReLUs) or lose rank; F may overflow. Each of these is a status, never a silent wrong point: `CONVERGED` is given only
where max_i |F_i(p) - c_i| <= tol and D_xF(p) has full rank.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from art_levelset.core.balls import Box, steepest, walls
from art_levelset.core.fields import FieldLike, as_field, recordable, values_and_jacobians
from art_levelset.core.pseudo_inverse import apply, pseudo_inverse
from art_levelset.core.samples import LevelSetSamples, Status, check_points, expand_level

_SEARCHING = -1


def project(
    field: FieldLike,
    points: Tensor,
    level: float | Tensor = 0.0,
    *,
    max_iter: int = 20,
    tol: float = 1e-5,
    box: Box | None = None,
    backtracking: bool = False,
) -> LevelSetSamples:
    """
    Move each point to the level set {F = level} by generalized Newton steps (eqs. 4, 5).

    For an affine F one step is the orthogonal projection (Lemma 1). Converged samples cost nothing more: every
    iteration evaluates the remaining ones only, once.

    :param field: F: a Field, a network or a function of the points, (batch, ...) -> (batch, l).
    :param points: The points to start from, (batch, ...), floating point, at least two dimensions. Not changed.
    :param level: The level c: a number, or a tensor (), (batch,) or (batch, l).
    :param max_iter: The largest number of steps, >= 0. 0 only evaluates: the samples lie on their own level set.
    :param tol: The largest |F_i - c_i| of a converged sample, >= 0, in units of F.
    :param box: (low, high), numbers or tensors that broadcast to one point: all points stay inside, the start is
           clamped.
    :param backtracking: Accept only steps that decrease |F - c|, halving them until they do (a halving is an
           iteration).
    :return: The samples. A sample that failed carries its last finite point with its values, Jacobian and status.
    :raises TypeError: If `points` or `field` is of another type.
    :raises ValueError: If a shape, dtype or number is out of range; the message names the argument.
    """

    def newton(inverse: Tensor, jacobians: Tensor, residuals: Tensor) -> Tensor:
        return apply(inverse, residuals)

    return _search(field, points, level, newton, max_iter=max_iter, tol=tol, box=box, backtracking=backtracking)


def descend(
    field: FieldLike,
    points: Tensor,
    level: float | Tensor = 0.0,
    *,
    step: float,
    max_iter: int = 200,
    tol: float = 1e-5,
    box: Box | None = None,
) -> LevelSetSamples:
    """
    Move each point to the level set by gradient descent on |F - level|: slower than Newton's method, but it cannot
    jump.

    A step is step * grad |F - c|, halved (for that sample) while it does not decrease |F - c|, doubled again after.

    :param field: F, as for :func:`project`.
    :param points: The points to start from, (batch, ...). Not changed.
    :param level: The level c: a number, or a tensor (), (batch,) or (batch, l).
    :param step: The first and largest step length factor, > 0, in squared point units over units of F.
    :param max_iter: The largest number of steps and halvings, >= 0.
    :param tol: The largest |F_i - c_i| of a converged sample, >= 0.
    :param box: (low, high), as for :func:`project`.
    :return: The samples.
    :raises TypeError: If `points` or `field` is of another type.
    :raises ValueError: If a shape, dtype or number is out of range; the message names the argument.
    """
    if not step > 0:
        raise ValueError(f"step must be positive, got {step}")

    def gradient(inverse: Tensor, jacobians: Tensor, residuals: Tensor) -> Tensor:
        return step * apply(jacobians, steepest(residuals, 2))

    return _search(field, points, level, gradient, max_iter=max_iter, tol=tol, box=box, backtracking=True)


def _search(
    field: FieldLike,
    points: Tensor,
    level: float | Tensor,
    direction: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    max_iter: int,
    tol: float,
    box: Box | None,
    backtracking: bool,
) -> LevelSetSamples:
    field = as_field(field)
    check_points(points)
    if max_iter < 0:
        raise ValueError(f"max_iter must be >= 0, got {max_iter}")
    if not tol >= 0:
        raise ValueError(f"tol must be >= 0, got {tol}")
    low, high = walls(box, points)
    with torch.inference_mode(False), torch.no_grad():
        start = recordable(points)
        start = start if box is None else torch.clamp(start, low, high)
        values, jacobians = values_and_jacobians(field, start)
        if values.shape[1] > start[:1].numel() and len(start):
            raise ValueError(
                f"field: {values.shape[1]} values at points with {start[:1].numel()} coordinates; need l <= d"
            )
        targets = expand_level(level, values)
        found = LevelSetSamples(
            start.clone(),
            values.clone(),
            jacobians.clone(),
            torch.full((len(start),), _SEARCHING, device=start.device),
            torch.zeros(len(start), dtype=torch.long, device=start.device),
        )
        rows = torch.arange(len(start), device=start.device)
        position, scale = start, start.new_ones(len(start))
        poisoned = torch.zeros(len(start), dtype=torch.bool, device=start.device)
        for iteration in range(max_iter + 1 if len(start) else 0):
            residuals = values - targets
            inverse, full_rank = pseudo_inverse(jacobians)
            step = -direction(inverse, jacobians, residuals)
            blocked = ((position <= low) & (step < 0)) | ((position >= high) & (step > 0)) if box is not None else None
            if blocked is not None and bool(blocked.any()):
                free = jacobians.masked_fill(blocked.unsqueeze(1), 0.0)
                step = -direction(pseudo_inverse(free)[0], free, residuals)
            trial = position + step * scale.reshape(-1, *(1,) * (step.dim() - 1))
            trial = trial if box is None else torch.clamp(trial, low, high)
            stuck = (trial == position).flatten(1).all(dim=1)
            status = _judge(residuals, jacobians, inverse, full_rank, tol)
            status = torch.where(_finite(position), status, int(Status.NOT_FINITE))
            wall = (
                Status.STALLED
                if blocked is None
                else torch.where(blocked.flatten(1).any(dim=1), int(Status.LEFT_DOMAIN), int(Status.STALLED))
            )
            status = torch.where((status == _SEARCHING) & stuck, _ended(wall, full_rank), status)
            status = torch.where(poisoned, int(Status.NOT_FINITE), status)
            if iteration == max_iter:
                status = torch.where(status == _SEARCHING, _ended(Status.MAX_ITER, full_rank), status)
            done = status != _SEARCHING
            if bool(done.any()):
                _store(found, rows[done], position[done], values[done], jacobians[done], status[done], iteration)
                left = ~done
                if not bool(left.any()):
                    break
                rows, position, values, jacobians = rows[left], position[left], values[left], jacobians[left]
                targets, residuals, scale, trial = targets[left], residuals[left], scale[left], trial[left]
                field = field.select(left)
            trial_values, trial_jacobians = values_and_jacobians(field, trial)
            finite = _finite(trial) & _finite(trial_values) & _finite(trial_jacobians)
            accepted = finite
            if backtracking:
                predicted = residuals + torch.einsum("nld,nd->nl", jacobians.flatten(2), (trial - position).flatten(1))
                before, hoped, after = (
                    torch.linalg.vector_norm(r, dim=1) for r in (residuals, predicted, trial_values - targets)
                )
                # Armijo's rule: a part of the decrease that the linearised F promises for this step.
                accepted = finite & (before - after > 1e-4 * (before - hoped).clamp(min=0.0))
                scale = torch.where(accepted, (2 * scale).clamp(max=1.0), scale / 2)
            poisoned = torch.zeros_like(finite) if backtracking else ~finite
            if bool(accepted.all()):
                position, values, jacobians = trial, trial_values, trial_jacobians
            else:
                position = _choose(accepted, trial, position)
                values = _choose(accepted, trial_values, values)
                jacobians = _choose(accepted, trial_jacobians, jacobians)
        return found


def _judge(residuals: Tensor, jacobians: Tensor, inverse: Tensor, full_rank: Tensor, tol: float) -> Tensor:
    """The status at a point, before a step from it is tried."""
    status = torch.full((len(residuals),), _SEARCHING, device=residuals.device)
    on_level = residuals.abs().amax(dim=1) <= tol
    flat = ~full_rank & (inverse == 0).flatten(1).all(dim=1)
    status = torch.where(on_level, torch.where(full_rank, int(Status.CONVERGED), int(Status.RANK_DEFICIENT)), status)
    status = torch.where(flat, int(Status.ZERO_GRADIENT), status)
    return torch.where(_finite(residuals) & _finite(jacobians), status, int(Status.NOT_FINITE))


def _ended(status: Status | Tensor, full_rank: Tensor) -> Tensor:
    """The status of a sample that stops short of its level: a deficient rank explains it better than anything else."""
    return torch.where(full_rank, status if isinstance(status, Tensor) else int(status), int(Status.RANK_DEFICIENT))


def _store(
    found: LevelSetSamples,
    rows: Tensor,
    points: Tensor,
    values: Tensor,
    jacobians: Tensor,
    status: Tensor,
    iteration: int,
) -> None:
    found.points[rows] = points
    found.values[rows] = values
    found.jacobians[rows] = jacobians
    found.status[rows] = status
    found.iterations[rows] = iteration


def _finite(tensor: Tensor) -> Tensor:
    return torch.isfinite(tensor).flatten(1).all(dim=1)


def _choose(mask: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    return torch.where(mask.reshape(-1, *(1,) * (chosen.dim() - 1)), chosen, other)
