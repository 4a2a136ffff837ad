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
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import torch
from torch import Tensor

from art_levelset.checks import check_count, check_not_negative, check_positive
from art_levelset.core.balls import Box, steepest, walls
from art_levelset.core.fields import Field, FieldLike, as_field, recordable, values_and_jacobians
from art_levelset.core.pseudo_inverse import apply, pseudo_inverse
from art_levelset.core.samples import LevelSetSamples, Status, check_points, expand_level

Direction: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
"""Where a whole step goes back from, (n, ...): of the pseudo-inverse, the Jacobians and the residuals."""

_SEARCHING = -1


def project(
    field: FieldLike,
    points: Tensor | LevelSetSamples,
    level: float | Tensor = 0.0,
    *,
    max_iter: int = 20,
    tol: float = 1e-5,
    box: Box | None = None,
    backtracking: bool = False,
) -> LevelSetSamples:
    """
    Move each point to the level set {F = level} by generalized Newton steps (eqs. 4, 5).

    For an affine F one step is the orthogonal projection (Lemma 1, eq. 14). Converged samples cost nothing more: every
    iteration evaluates the remaining ones only, once.

    :param field: F: a Field, a network or a function of the points, (batch, ...) -> (batch, l).
    :param points: The points to start from, (batch, ...), floating point, at least two dimensions. Not changed. Or
           samples of this field, whose values and Jacobians are then not computed again, unless `box` moves them.
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

    >>> import torch
    >>> from art_levelset import project
    >>> circle = project(lambda x: torch.linalg.vector_norm(x, dim=1) - 1, torch.tensor([[3.0, 4.0], [0.0, 0.5]]))
    >>> circle.points
    tensor([[0.6000, 0.8000],
            [0.0000, 1.0000]])
    >>> circle.converged
    tensor([True, True])
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

    >>> import torch
    >>> from art_levelset import descend
    >>> line = descend(lambda x: x[:, 0] + x[:, 1], torch.tensor([[1.0, 3.0]]), step=0.5)
    >>> line.points
    tensor([[-1.,  1.]])
    """
    check_positive("step", step)

    def gradient(inverse: Tensor, jacobians: Tensor, residuals: Tensor) -> Tensor:
        return step * apply(jacobians, steepest(residuals, 2))

    return _search(field, points, level, gradient, max_iter=max_iter, tol=tol, box=box, backtracking=True)


@dataclass(frozen=True, eq=False)
class _State:
    """
    The samples that are still searching, one row each.

    :param field: F of these samples.
    :param rows: Their rows in the batch.
    :param points: Where they are, (n, ...).
    :param values: F there, (n, l).
    :param jacobians: D_xF there, (n, l, ...).
    :param targets: Their levels, (n, l).
    :param scale: s, the part of a whole step that is tried next, (n,).
    :param poisoned: Whether the last step led to what is not finite, (n,), bool.
    """

    field: Field
    rows: Tensor
    points: Tensor
    values: Tensor
    jacobians: Tensor
    targets: Tensor
    scale: Tensor
    poisoned: Tensor

    @property
    def residuals(self) -> Tensor:
        """F - c, (n, l)."""
        return self.values - self.targets

    def select(self, left: Tensor) -> _State:
        """Some of the samples."""
        tensors = {item.name: getattr(self, item.name)[left] for item in fields(self) if item.name != "field"}
        return _State(self.field.select(left), **tensors)


def _search(
    field: FieldLike,
    points: Tensor | LevelSetSamples,
    level: float | Tensor,
    direction: Direction,
    *,
    max_iter: int,
    tol: float,
    box: Box | None,
    backtracking: bool,
) -> LevelSetSamples:
    field = as_field(field)
    known = points if isinstance(points, LevelSetSamples) else None
    given = points.points if isinstance(points, LevelSetSamples) else points
    check_points(given)
    check_count("max_iter", max_iter, least=0)
    check_not_negative("tol", tol)
    low, high = walls(box, given)
    with torch.inference_mode(False), torch.no_grad():
        start = recordable(given)
        start = start if box is None else torch.clamp(start, low, high)
        if known is None or not torch.equal(start, given):
            values, jacobians = values_and_jacobians(field, start)
        else:
            values, jacobians = recordable(known.values), recordable(known.jacobians)
        if values.shape[1] > start[:1].numel() and len(start):
            raise ValueError(
                f"field: {values.shape[1]} values at points with {start[:1].numel()} coordinates; need l <= d"
            )
        found = LevelSetSamples(
            start.clone(),
            values.clone(),
            jacobians.clone(),
            torch.full((len(start),), _SEARCHING, device=start.device),
            torch.zeros(len(start), dtype=torch.long, device=start.device),
        )
        state = _State(
            field,
            torch.arange(len(start), device=start.device),
            start,
            values,
            jacobians,
            expand_level(level, values),
            start.new_ones(len(start)),
            torch.zeros(len(start), dtype=torch.bool, device=start.device),
        )
        for iteration in range(max_iter + 1 if len(start) else 0):
            trial, status = _propose(state, direction, None if box is None else (low, high), tol, iteration == max_iter)
            done = status != _SEARCHING
            if bool(done.any()):
                _store(found, state, done, status, iteration)
                left = ~done
                if not bool(left.any()):
                    break
                state, trial = state.select(left), trial[left]
            state = _step(state, trial, backtracking)
        return found


def _propose(
    state: _State, direction: Direction, box: tuple[Tensor, Tensor] | None, tol: float, last: bool
) -> tuple[Tensor, Tensor]:
    """The points to try next, and the status of each sample before: what ends its search, or that it goes on."""
    points, residuals = state.points, state.residuals
    inverse, full_rank = pseudo_inverse(state.jacobians)
    step = -direction(inverse, state.jacobians, residuals)
    stopped = torch.full((len(points),), int(Status.STALLED), device=points.device)  # if there is no step
    if box is not None:
        low, high = box
        blocked = ((points <= low) & (step < 0)) | ((points >= high) & (step > 0))
        stopped = torch.where(blocked.flatten(1).any(dim=1), int(Status.LEFT_DOMAIN), stopped)
        if bool(blocked.any()):
            free = state.jacobians.masked_fill(blocked.unsqueeze(1), 0.0)
            step = -direction(pseudo_inverse(free)[0], free, residuals)
    trial = points + step * state.scale.reshape(-1, *(1,) * (step.dim() - 1))
    trial = trial if box is None else torch.clamp(trial, low, high)

    status = _judge(state, inverse, full_rank, tol)
    stuck = (trial == points).flatten(1).all(dim=1)
    # A sample that stops short of its level: a deficient rank explains it better than anything else.
    stopped = torch.where(full_rank, stopped, int(Status.RANK_DEFICIENT))
    status = torch.where((status == _SEARCHING) & stuck, stopped, status)
    status = torch.where(state.poisoned, int(Status.NOT_FINITE), status)
    if last:
        spent = torch.where(full_rank, int(Status.MAX_ITER), int(Status.RANK_DEFICIENT))
        status = torch.where(status == _SEARCHING, spent, status)
    return trial, status


def _judge(state: _State, inverse: Tensor, full_rank: Tensor, tol: float) -> Tensor:
    """The status at a point, whatever step is tried from it."""
    residuals = state.residuals
    status = torch.full((len(residuals),), _SEARCHING, device=residuals.device)
    on_level = residuals.abs().amax(dim=1) <= tol
    flat = ~full_rank & (inverse == 0).flatten(1).all(dim=1)
    status = torch.where(on_level, torch.where(full_rank, int(Status.CONVERGED), int(Status.RANK_DEFICIENT)), status)
    status = torch.where(flat, int(Status.ZERO_GRADIENT), status)
    finite = _finite(residuals) & _finite(state.jacobians) & _finite(state.points)
    return torch.where(finite, status, int(Status.NOT_FINITE))


def _step(state: _State, trial: Tensor, backtracking: bool) -> _State:
    """Evaluate F where a step leads, and take it where it may be taken."""
    values, jacobians = values_and_jacobians(state.field, trial)
    finite = _finite(trial) & _finite(values) & _finite(jacobians)
    accepted, scale, poisoned = finite, state.scale, ~finite
    if backtracking:
        way = (trial - state.points).flatten(1)
        predicted = state.residuals + torch.einsum("nld,nd->nl", state.jacobians.flatten(2), way)
        before, hoped, after = (
            torch.linalg.vector_norm(r, dim=1) for r in (state.residuals, predicted, values - state.targets)
        )
        # Armijo's rule: a part of the decrease that the linearised F promises for this step.
        accepted = finite & (before - after > 1e-4 * (before - hoped).clamp(min=0.0))
        scale = torch.where(accepted, (2 * scale).clamp(max=1.0), scale / 2)
        poisoned = torch.zeros_like(finite)
    if not bool(accepted.all()):
        trial = _choose(accepted, trial, state.points)
        values = _choose(accepted, values, state.values)
        jacobians = _choose(accepted, jacobians, state.jacobians)
    return replace(state, points=trial, values=values, jacobians=jacobians, scale=scale, poisoned=poisoned)


def _store(found: LevelSetSamples, state: _State, done: Tensor, status: Tensor, iteration: int) -> None:
    """Write down the samples whose search has ended."""
    rows = state.rows[done]
    found.points[rows] = state.points[done]
    found.values[rows] = state.values[done]
    found.jacobians[rows] = state.jacobians[done]
    found.status[rows] = status[done]
    found.iterations[rows] = iteration


def _finite(tensor: Tensor) -> Tensor:
    return torch.isfinite(tensor).flatten(1).all(dim=1)


def _choose(mask: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    return torch.where(mask.reshape(-1, *(1,) * (chosen.dim() - 1)), chosen, other)
