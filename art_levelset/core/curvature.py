"""
Curvatures of level sets by autograd: principal, mean and Gaussian ones, and penalties of them for training.

At a point of {F = c}, F scalar in d dimensions, let g = grad F, H its second derivatives, n = g / |g| and
P = I - n n^T. The *shape operator* S = P H P / |g| = D_xn P is the matrix of the normal curvatures kappa(u) = u^T S u
of the tangent directions u (:mod:`art_levelset.core.normal_curvature`). Beside the eigenvalue 0 for n it has k = d - 1
others, the principal curvatures; their mean is the **mean curvature** (an average, not the sum that some authors
mean), tr S / k = div n / k, and their product the **Gaussian curvature**,

    -det [[H, g], [g^T, 0]] / |g|^(d+1).

Signs: a sphere of radius R has kappa = 1/R where F is negative inside, and -1/R where it is positive inside. In the
plane, d = 2, mean and Gaussian curvature are both the signed curvature of the curve. Nothing changes if F becomes
phi(F) with phi' > 0. An intersection of l hypersurfaces, J = D_xF, has a mean curvature *vector* (for a curve, l = d-1,
its curvature vector):

    -J^+ mean_u [u^T H_i u]_i,        for l = 1: -(mean curvature) n.

**Averages.** The mean curvature is the mean of kappa(u) over an orthonormal basis of the tangent space, with k products
of H and a vector (`directions=None`: exact, O(d^2) numbers a sample, for small d), and also the mean over all u. So m
uniformly random directions estimate it without bias in any d, with the variance 2 / (m (k + 2)) times that of the k
principal curvatures: none on a sphere. (Hutchinson's estimator; Gaussian probes that are not normalised have more.)

**Scales.** `scale=h` takes differences of F over h in place of second derivatives. What is piecewise linear, such as a
network of ReLUs, has its curvature in creases, and needs a scale; without one a warning is given. The sum over a basis
depends on the basis as far as on h.

**Gradients.** Everything is differentiable, in evaluation mode, in the parameters theta, and in the points if they have
a graph. That decides what a penalty does. *Fixed* points: the gradient is that of the curvature of whichever level set
passes through the point, and it may miss the one meant: F = |x|^2 - theta has 1 / |x| at x, whatever theta is.
*Moving* points p(theta), of a sample network (eq. 9), stay on their level set, and the gradient is complete: there
the curvature is theta^(-1/2). A mean over samples is not an integral over the level set, whose area has no part in the
gradient. (The integral of the squares over a sphere falls where the sphere shrinks in d > 3; the mean never does.)

Where g is zero or not finite (l > 1: where the rank of J is below l) there is no curvature: it is not a number there,
and penalties leave these points out. Near such points it grows without bound.

| Paper link: https://arxiv.org/abs/1905.11911 (the conclusion), https://arxiv.org/abs/1811.09716 (CURE)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from art_levelset.checks import check_count
from art_levelset.core.fields import FieldLike
from art_levelset.core.normal_curvature import LocalGeometry, measured

ENERGIES = ("mean", "principal")


def shape_operators(field: FieldLike, points: Tensor) -> Tensor:
    """
    S = P H P / |g| at each point, symmetric: how the unit normal turns, S n = 0. d - 1 products of H and a vector.

    :param field: F, scalar (l = 1).
    :param points: Points of its level sets, (batch, ...) of d >= 2 entries each.
    :return: (batch, d, d), in 1 / length; NaN where F has no gradient.
    :raises TypeError: If `points` is no tensor.
    :raises ValueError: If F is not scalar, or a point has too few entries.

    >>> import torch
    >>> from art_levelset.core.curvature import shape_operators
    >>> shape_operators(lambda x: x.square().sum(dim=1), torch.tensor([[2.0, 0.0]]))
    tensor([[[0.0000, 0.0000],
             [0.0000, 0.5000]]])
    """

    def measure(local: LocalGeometry) -> Tensor:
        basis = torch.stack(local.basis(), dim=2)
        return basis @ local.form() @ basis.mT

    return measured(field, points, None, measure)


def principal_curvatures(field: FieldLike, points: Tensor) -> Tensor:
    """
    The d - 1 principal curvatures, for small d. Where some are equal, only symmetric functions of them, such as sums of
    squares, have gradients.

    :param field: F, scalar.
    :param points: Points of its level sets, (batch, ...).
    :return: (batch, d - 1), ascending, in 1 / length; NaN where F has no gradient.
    :raises TypeError: If `points` is no tensor.
    :raises ValueError: If F is not scalar, or a point has too few entries.

    >>> import torch
    >>> from art_levelset.core.curvature import principal_curvatures
    >>> cylinder = principal_curvatures(lambda x: x[:, :2].square().sum(dim=1), torch.tensor([[2.0, 0.0, 5.0]]))
    >>> cylinder.abs().round(decimals=4)
    tensor([[0.0000, 0.5000]])
    """
    return measured(field, points, None, lambda local: torch.linalg.eigvalsh(local.form()))


def gaussian_curvature(field: FieldLike, points: Tensor) -> Tensor:
    """
    The product of the principal curvatures, for small d.

    :param field: F, scalar.
    :param points: Points of its level sets, (batch, ...).
    :return: (batch,), in 1 / length^(d - 1); NaN where F has no gradient.
    :raises TypeError: If `points` is no tensor.
    :raises ValueError: If F is not scalar, or a point has too few entries.

    >>> import torch
    >>> from art_levelset.core.curvature import gaussian_curvature
    >>> gaussian_curvature(lambda x: x.square().sum(dim=1), torch.tensor([[0.0, 2.0, 0.0]]))
    tensor([0.2500])
    """
    return measured(field, points, None, lambda local: torch.linalg.det(local.form()))


def mean_curvature(
    field: FieldLike,
    points: Tensor,
    *,
    directions: int | None = None,
    scale: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """
    The mean of the principal curvatures, in any d.

    :param field: F, scalar.
    :param points: Points of its level sets, (batch, ...) of d >= 2 entries each.
    :param directions: The number m >= 1 of random tangent directions to average over; None for an orthonormal basis,
           which is exact.
    :param scale: h > 0, in units of the points, over which differences are taken: for piecewise linear F. None for
           second derivatives.
    :param generator: Source of the random directions; None for torch's global one.
    :return: (batch,), in 1 / length; NaN where F has no gradient.
    :raises TypeError: If `points` is no tensor.
    :raises ValueError: If F is not scalar, a point has too few entries, or a number is out of range.

    >>> import torch
    >>> from art_levelset.core.curvature import mean_curvature
    >>> sphere = lambda x: torch.linalg.vector_norm(x, dim=1) - 1
    >>> mean_curvature(sphere, torch.tensor([[0.0, 2.0, 0.0]]))
    tensor([0.5000])
    >>> image = torch.full((1, 1, 28, 28), 0.5)  # of the norm 14
    >>> mean_curvature(lambda x: x.square().flatten(1).sum(dim=1), image, directions=2).round(decimals=4)
    tensor([0.0714])
    """
    _check_directions(directions)
    return measured(field, points, scale, lambda local: local.mean(directions, generator).squeeze(1))


def mean_curvature_vector(
    field: FieldLike,
    points: Tensor,
    *,
    directions: int | None = None,
    scale: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """
    The mean curvature vector of an intersection of l hypersurfaces; of a curve (l = d - 1) its curvature vector, which
    points to the centre of the osculating circle and has the length 1 / radius.

    :param field: F, (batch, ...) -> (batch, l), l < d.
    :param points: Points of its level sets, (batch, ...).
    :param directions: As for :func:`mean_curvature`, and so are the last two.
    :param scale: h, or None.
    :param generator: Source of the random directions.
    :return: Shaped like the points, in 1 / length; NaN where D_xF has a rank below l.
    :raises TypeError: If `points` is no tensor.
    :raises ValueError: If a point has too few entries, or a number is out of range.

    >>> import torch
    >>> from art_levelset.core.curvature import mean_curvature_vector
    >>> circle = lambda x: torch.stack([x.square().sum(dim=1) - 4, x[:, 2]], dim=1)
    >>> mean_curvature_vector(circle, torch.tensor([[2.0, 0.0, 0.0]])) + 0.0
    tensor([[-0.5000,  0.0000,  0.0000]])
    """
    _check_directions(directions)

    def measure(local: LocalGeometry) -> Tensor:
        return -local.across(local.mean(directions, generator)).reshape(local.points.shape)

    return measured(field, points, scale, measure, scalar=False)


def curvature_penalty(
    field: FieldLike,
    points: Tensor,
    *,
    energy: Literal["mean", "principal"] = "mean",
    directions: int | None = None,
    scale: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """
    The mean over points of the squared mean curvature, or of the sum of squared principal curvatures.

    The first (Willmore's energy) leaves minimal surfaces such as saddles alone, the second (a thin plate's) only
    planes. With m random directions the second has no bias, and the first is too large by the variance of the mean
    curvature's estimate.

    :param field: F, scalar; its parameters are theta.
    :param points: Points of its level sets, (batch, ...): p(theta) of a sample network, which moves with theta, for the
           gradient of a level set's curvature, or fixed points for that of all level sets around.
    :param energy: "mean" or "principal".
    :param directions: The number of random tangent directions, or of pairs of them for "principal"; None for a basis.
    :param scale: h > 0, in units of the points, over which differences are taken; None for second derivatives.
    :param generator: Source of the random directions; None for torch's global one.
    :return: A scalar in 1 / length^2, differentiable in theta; points without a gradient have no part in it.
    :raises TypeError: If `points` is no tensor.
    :raises ValueError: If F is not scalar, a point has too few entries, or an option is out of range.

    >>> import torch
    >>> from art_levelset import Field, SampleNetwork, project
    >>> from art_levelset.core.curvature import curvature_penalty
    >>> radius = torch.tensor(2.0, requires_grad=True)
    >>> circle = Field(lambda x: x.square().sum(dim=1) - radius**2)
    >>> samples = project(circle, torch.tensor([[1.5, 1.5], [3.0, 0.0]]))
    >>> moving = curvature_penalty(circle, SampleNetwork(circle)(samples))  # 1 / radius^2
    >>> moving.backward()
    >>> moving.detach(), radius.grad  # -2 / radius^3
    (tensor(0.2500), tensor(-0.2500))
    """
    _check_directions(directions)
    if energy not in ENERGIES:
        raise ValueError(f"energy must be one of {', '.join(ENERGIES)}, got {energy!r}")

    def measure(local: LocalGeometry) -> Tensor:
        if energy == "mean":
            return local.mean(directions, generator).squeeze(1).square()
        if directions is None:
            return local.form().square().sum(dim=(1, 2))
        pairs = [(local.random(generator), local.random(generator)) for _ in range(directions)]
        return local.dimension**2 * torch.stack([local.bend(*pair).square() for pair in pairs]).mean(dim=0).squeeze(1)

    energies = measured(field, points, scale, measure)
    counted = energies[~energies.detach().isnan()]
    return counted.sum() / max(len(counted), 1)


def _check_directions(directions: int | None) -> None:
    if directions is not None:
        check_count("directions", directions)
