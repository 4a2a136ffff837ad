"""Distances between points x and level-set samples p: L_p, and the coordinate distance rho of Section 3.2."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def lp_distance(x: Tensor, p: Tensor, norm: float = 2) -> Tensor:
    """
    |x - p|_norm of each sample. Where x = p the (sub)gradient is zero.

    :param x: (batch, ...).
    :param p: (batch, ...), usually p(theta).
    :param norm: In [1, inf].
    :return: (batch,).
    :raises ValueError: If the shapes differ or `norm` is below 1.
    """
    _check_pair(x, p)
    if not norm >= 1:
        raise ValueError(f"norm must be in [1, inf], got {norm}")
    distance: Tensor = torch.linalg.vector_norm((x - p).flatten(1), ord=norm, dim=1)
    return distance


def rho(x: Tensor, p: Tensor, jacobians: Tensor) -> Tensor:
    """
    rho(x, p) = |x^i* - p^i*|, i* = argmax_i |D_xF(p)|_i: the distance along the axis in which p(theta) moves fastest.

    rho <= L_inf, so holding rho above eps pushes the level set out of the L_inf ball of radius eps along that axis.

    :param x: (batch, ...).
    :param p: (batch, ...), usually p(theta).
    :param jacobians: D_xF(p) of a scalar F, (batch, 1, ...).
    :return: (batch,).
    :raises ValueError: If the shapes do not belong together.
    """
    _check_pair(x, p)
    if jacobians.shape != (len(p), 1, *p.shape[1:]):
        raise ValueError(f"jacobians must have the shape {(len(p), 1, *p.shape[1:])}, got {tuple(jacobians.shape)}")
    axis = jacobians.flatten(1).abs().argmax(dim=1, keepdim=True)
    return (x - p).flatten(1).gather(1, axis).squeeze(1).abs()


def linearised_distance(values: Tensor, jacobians: Tensor, norm: float = 2, floor: float = 0.0) -> Tensor:
    """
    The distance |F(x)| / |D_xF(x)|_q, 1/norm + 1/q = 1, from x to the zero level set of F linearised at x (Elsayed et
    al.).

    For norm = 2 it is the length of one generalized Newton step (eq. 5), DeepFool's step; for an affine F it is
    exact.

    :param values: F(x) of a scalar F, (batch,) or (batch, 1), differentiable in theta.
    :param jacobians: D_xF(x), (batch, 1, ...), taken as constant.
    :param norm: The norm of the distance, in [1, inf].
    :param floor: The least |D_xF|_q reckoned with, >= 0, so that nearly flat points have a bounded weight.
    :return: (batch,); where the Jacobian (and `floor`) is zero, infinite, or not a number if F is zero too.
    :raises ValueError: If the shapes do not belong together or `norm` is below 1.

    | Paper link: https://arxiv.org/abs/1803.05598
    """
    if values.dim() == 2 and values.shape[1] == 1:
        values = values.squeeze(1)
    if values.dim() != 1 or jacobians.dim() < 3 or jacobians.shape[:2] != (len(values), 1):
        raise ValueError(
            f"values (batch,) and jacobians (batch, 1, ...) do not belong together: "
            f"{tuple(values.shape)} and {tuple(jacobians.shape)}"
        )
    speed: Tensor = torch.linalg.vector_norm(jacobians.detach().flatten(1), ord=dual_norm(norm), dim=1)
    return values.abs() / speed.clamp(min=floor)


def dual_norm(norm: float) -> float:
    """
    The exponent q with 1/norm + 1/q = 1: |g|_q is the speed at which F grows per unit of L_norm.

    :param norm: In [1, inf].
    :return: q.
    :raises ValueError: If `norm` is below 1.
    """
    if not norm >= 1:
        raise ValueError(f"norm must be in [1, inf], got {norm}")
    if norm == 1:
        return math.inf
    return 1.0 if norm == math.inf else norm / (norm - 1)


def _check_pair(x: Tensor, p: Tensor) -> None:
    if x.shape != p.shape or x.dim() < 2:
        raise ValueError(f"x and p must have one shape (batch, ...), got {tuple(x.shape)} and {tuple(p.shape)}")
