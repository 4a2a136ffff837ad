"""
The sample network (eq. 9): the position of level-set samples as a function of the parameters,

    p(theta) = p - D_xF(p; theta_0)^+ [F(p; theta) - c],        c = F(p; theta_0).

At theta = theta_0 its value is p, and its derivative is eq. 8, D_theta p = -D_xF^+ D_theta F: p stays on its level to
first order (eqs. 6, 7), moving with the level set in the direction orthogonal to it (Lemma 2). Only D_xF^+ is kept,
O(d) numbers a sample.

A training step evaluates it at theta_0, the parameters of this very moment, and asks for value p *exactly*. So c is,
unless given, the value F(p; theta) just computed: the bracket is then zero without rounding error and carries the
gradient. With `levels` given, eq. 9 is followed to the letter, and p(theta) moves as the parameters leave theta_0.

Where D_xF is zero or not finite its pseudo-inverse is zero: the sample stays where it is and has no gradient. F is not
evaluated there, for in a backward pass even the gradient zero turns what is not finite into NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from art_levelset.core.fields import FieldLike, as_field, jacobians_of
from art_levelset.core.modes import evaluating
from art_levelset.core.pseudo_inverse import apply, pseudo_inverse
from art_levelset.core.samples import LevelSetSamples, check_points


def sample_network(field: FieldLike, points: Tensor, jacobians: Tensor, levels: Tensor | None = None) -> Tensor:
    """
    p(theta) of samples whose Jacobians are known (eq. 9). F is evaluated in evaluation mode, one forward pass.

    :param field: F; its parameters are theta.
    :param points: p, (batch, ...).
    :param jacobians: D_xF(p; theta_0), (batch, l, ...).
    :param levels: c, (batch, l); None for F(p; theta) at the present parameters, for which the value is p exactly.
    :return: p(theta), (batch, ...), differentiable in theta.
    :raises TypeError: If `points` is no tensor.
    :raises ValueError: If the shapes do not belong together; the message names the argument.

    >>> import torch
    >>> from art_levelset import project, sample_network
    >>> network = torch.nn.Linear(2, 1)
    >>> samples = project(network, torch.ones(4, 2))
    >>> moving = sample_network(network, samples.points, samples.jacobians)
    >>> torch.equal(moving, samples.points)
    True
    >>> moving.sum().backward()  # the derivative of the points with respect to the parameters, eq. 8
    >>> network.bias.grad.shape
    torch.Size([1])
    """
    field = as_field(field)
    check_points(points)
    if jacobians.dim() != points.dim() + 1 or (len(jacobians), *jacobians.shape[2:]) != tuple(points.shape):
        raise ValueError(
            f"jacobians must have the shape (batch, l, ...) for points {tuple(points.shape)}, "
            f"got {tuple(jacobians.shape)}"
        )
    if levels is not None and levels.shape != jacobians.shape[:2]:
        raise ValueError(f"levels must have the shape {tuple(jacobians.shape[:2])}, got {tuple(levels.shape)}")
    points = points.detach()
    inverse, _ = pseudo_inverse(jacobians.detach())
    movable = _movable(points, inverse)
    if not bool(movable.all()):
        part = None if levels is None else levels[movable]
        moved = sample_network(field.select(movable), points[movable], jacobians[movable], part)
        return points.index_put((movable,), moved)
    with evaluating(field.module):
        values = field(points)
    if values.shape[1] != jacobians.shape[1]:
        raise ValueError(
            f"jacobians must have one row for each of the {values.shape[1]} values of the field, "
            f"got {jacobians.shape[1]}"
        )
    return _moved(points, inverse, values, levels)


def attach(field: FieldLike, points: Tensor) -> tuple[Tensor, Tensor]:
    """
    p(theta) of points whose Jacobians are not known yet: F, D_xF and the sample network from one forward pass.

    :param field: F; its parameters are theta.
    :param points: p, (batch, ...).
    :return: p(theta), (batch, ...), whose value is p, and D_xF(p; theta_0), (batch, l, ...), detached.
    :raises TypeError: If `points` is no tensor.
    """
    field = as_field(field)
    check_points(points)
    leaves = points.detach().clone().requires_grad_()
    with torch.enable_grad(), evaluating(field.module):
        values = field(leaves)
        jacobians = jacobians_of(values, leaves, retain_graph=True)
    inverse, _ = pseudo_inverse(jacobians)
    if not bool(_movable(leaves, inverse).all()):
        return sample_network(field, points, jacobians), jacobians
    return _moved(leaves.detach(), inverse, values, None), jacobians


def _movable(points: Tensor, inverse: Tensor) -> Tensor:
    return (inverse != 0).flatten(1).any(dim=1) & torch.isfinite(points.flatten(1)).all(dim=1)


def _moved(points: Tensor, inverse: Tensor, values: Tensor, levels: Tensor | None) -> Tensor:
    change = values - (values if levels is None else levels).detach()
    # Where F itself overflows, the sample stays too.
    change = torch.where(torch.isfinite(change.detach()), change, 0.0)
    return points - apply(inverse, change)


class SampleNetwork(nn.Module):
    """
    The sample network G(p, D_xF^+; theta) := p(theta) of eq. 9 as a module; its parameters are those of F.

    :param field: F: a Field, a network or a function of the points.

    >>> import torch
    >>> from art_levelset import SampleNetwork, project
    >>> network = torch.nn.Linear(2, 1)
    >>> samples = project(network, torch.ones(4, 2))
    >>> positions = SampleNetwork(network)(samples)
    >>> positions.shape, positions.requires_grad
    (torch.Size([4, 2]), True)
    """

    def __init__(self, field: FieldLike) -> None:
        super().__init__()
        self.field = as_field(field)
        self.network = self.field.module

    def forward(self, samples: LevelSetSamples, levels: Tensor | None = None) -> Tensor:
        """
        The samples' positions as a function of the parameters.

        :param samples: What :func:`art_levelset.core.projection.project` returned for this field. Samples that did not
               converge follow the level set that they are on.
        :param levels: None, or c, (batch, l), usually `samples.values`: see :func:`sample_network`.
        :return: p(theta), shaped like `samples.points`.
        :raises ValueError: If the samples do not fit the field.
        """
        return sample_network(self.field, samples.points, samples.jacobians, levels)
