"""
The sample network (eq. 9): the position of level-set samples as a function of the parameters,

    p(theta) = p - D_xF(p; theta_0)^+ [F(p; theta) - c],        c = F(p; theta_0).

At theta = theta_0 its value is p, and its derivative is eq. 8, D_theta p = -D_xF^+ D_theta F: p moves with the level
set, in the direction orthogonal to it (Lemma 2). Only D_xF^+ is kept, O(d) numbers a sample.

A training step evaluates it at theta_0, the parameters of this very moment, and asks for value p *exactly*. So c is,
unless given, the value F(p; theta) just computed: the bracket is then zero without rounding error and carries the
gradient. With `levels` given, eq. 9 is followed to the letter, and p(theta) moves as the parameters leave theta_0.

Where D_xF is zero or not finite its pseudo-inverse is zero: the sample stays where it is and has no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from art_levelset.core.fields import FieldLike, as_field, jacobians_of
from art_levelset.core.modes import evaluating
from art_levelset.core.projection import check_points
from art_levelset.core.pseudo_inverse import apply, pseudo_inverse
from art_levelset.core.samples import LevelSetSamples


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
    """
    field = as_field(field)
    check_points(points)
    with evaluating(field.module):
        values = field(points.detach())
    if jacobians.shape != (*values.shape, *points.shape[1:]):
        raise ValueError(
            f"jacobians must have the shape {(*values.shape, *points.shape[1:])}, got {tuple(jacobians.shape)}"
        )
    return _moved(points, pseudo_inverse(jacobians.detach())[0], values, levels)


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
    return _moved(points, pseudo_inverse(jacobians)[0], values, None), jacobians


def _moved(points: Tensor, inverse: Tensor, values: Tensor, levels: Tensor | None) -> Tensor:
    change = values - (values if levels is None else levels).detach()
    # A sample with no usable inverse must not turn NaN through 0 * inf.
    change = torch.where(torch.isfinite(change.detach()), change, 0.0)
    return points.detach() - apply(inverse, change)


class SampleNetwork(nn.Module):
    """
    The sample network G(p, D_xF^+; theta) := p(theta) of eq. 9 as a module; its parameters are those of F.

    :param field: F: a Field, a network or a function of the points.
    """

    def __init__(self, field: FieldLike) -> None:
        super().__init__()
        self.field = as_field(field)
        self.network = self.field.module

    def forward(self, samples: LevelSetSamples, levels: Tensor | None = None) -> Tensor:
        """
        The samples' positions as a function of the parameters.

        :param samples: What :func:`project` returned for this field. Samples that did not converge follow the level
               set that they are on.
        :param levels: None, or c, (batch, l), usually `samples.values`: see :func:`sample_network`.
        :return: p(theta), shaped like `samples.points`.
        :raises ValueError: If the samples do not fit the field.
        """
        return sample_network(self.field, samples.points, samples.jacobians, levels)
