"""
Curvatures of level sets by autograd: principal, mean and Gaussian ones, and penalties of them for training.

At a point of {F = c}, F scalar in d dimensions, let g = grad F, H its second derivatives, n = g / |g| and
P = I - n n^T. The curve that a plane through n and a unit tangent direction u cuts out has the *normal curvature*

    kappa(u) = u^T H u / |g|,

whose matrix, with the eigenvalue 0 for n, is the *shape operator* S = P H P / |g| = D_xn P. Its k = d - 1 other
eigenvalues are the principal curvatures; their mean is the **mean curvature** (an average, not the sum that some
authors mean), tr S / k = div n / k, and their product the **Gaussian curvature**,

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

**Scales.** H does not see creases. A network of ReLUs is piecewise linear: H is zero wherever it exists, all curvature
sits in the creases between the pieces, and autograd reports planes. So a warning is given where F's network has
such layers, or where H vanishes although g does not stay the same; an F that is partly of this kind in other ways, such
as interpolated grids or max-pooling, is not told. `scale=h` takes differences of F in place of derivatives,

    u^T H u  ->  (F(x + h u) - 2 F(x) + F(x - h u)) / h^2,

which is 2 / h^2 times the mean distance (in units of |g|) at which the level set passes by the two points x +- h u of
its tangent plane: the curvature averaged over h, creases included, with an error O(h^2) for smooth F. A crease by the
angle a that is met at random counts as a/h where it is met. Rounding adds about eps |F| / (h^2 |g|), and over a basis
the sum depends on the basis as far as on h.

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

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from art_levelset.checks import check_count, check_positive
from art_levelset.core.fields import Field, FieldLike, as_field, recordable
from art_levelset.core.modes import evaluating
from art_levelset.core.pseudo_inverse import pseudo_inverse
from art_levelset.core.samples import check_points

ENERGIES = ("mean", "principal")

_PIECEWISE_LINEAR = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Hardtanh, nn.Threshold)

_TURNED = 1e-3
"""Unit normals that differ by more do so not by rounding alone."""

_CREASES = (
    "field: second derivatives do not see the creases of a piecewise linear function, such as a network of ReLUs, in "
    "which its level sets bend: give a `scale`, over which their curvature is averaged"
)


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

    def measure(local: _Local) -> Tensor:
        basis = torch.stack(local.basis(), dim=2)
        return basis @ local.form() @ basis.mT

    return _measured(field, points, None, measure)


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
    return _measured(field, points, None, lambda local: torch.linalg.eigvalsh(local.form()))


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
    return _measured(field, points, None, lambda local: torch.linalg.det(local.form()))


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
    _check_options(directions, scale)
    return _measured(field, points, scale, lambda local: local.mean(directions, generator).squeeze(1))


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
    _check_options(directions, scale)

    def measure(local: _Local) -> Tensor:
        return -local.across(local.mean(directions, generator)).reshape(local.points.shape)

    return _measured(field, points, scale, measure, scalar=False)


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
    _check_options(directions, scale)
    if energy not in ENERGIES:
        raise ValueError(f"energy must be one of {', '.join(ENERGIES)}, got {energy!r}")

    def measure(local: _Local) -> Tensor:
        if energy == "mean":
            return local.mean(directions, generator).squeeze(1).square()
        if directions is None:
            return local.form().square().sum(dim=(1, 2))
        pairs = [(local.random(generator), local.random(generator)) for _ in range(directions)]
        return local.dimension**2 * torch.stack([local.bend(*pair).square() for pair in pairs]).mean(dim=0).squeeze(1)

    energies = _measured(field, points, scale, measure)
    counted = energies[~energies.detach().isnan()]
    return counted.sum() / max(len(counted), 1)


@dataclass(frozen=True, eq=False)
class _Local:
    """
    F around points where D_xF has full rank.

    :param field: F.
    :param points: x, (n, ...), in whose graph or as leaves all the rest is.
    :param values: F(x), (n, l).
    :param gradients: The gradients g_i of its values, l of (n, ...).
    :param scale: h, or None.
    :param graph: Whether what is measured shall have a graph.
    """

    field: Field
    points: Tensor
    values: Tensor
    gradients: tuple[Tensor, ...]
    scale: float | None
    graph: bool

    @classmethod
    def at(cls, field: Field, points: Tensor, scale: float | None, graph: bool) -> _Local:
        """Evaluate F and its gradients."""
        if not (graph and points.requires_grad):
            points = recordable(points).requires_grad_()
        values = field(points)
        gradients = [torch.zeros_like(points)] * values.shape[1]
        if values.requires_grad:
            gradients = [_gradient(total, points, graph=graph or scale is None) for total in values.sum(dim=0)]
        return cls(field, points, values, tuple(gradients), scale, graph)

    @property
    def dimension(self) -> int:
        """The dimension k of the level set."""
        return self.points[:1].numel() - len(self.gradients)

    @cached_property
    def slopes(self) -> Tensor:
        """The lengths |g_i|, (n, l)."""
        return torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in self.gradients], dim=1)

    @cached_property
    def normals(self) -> Tensor:
        """N, with the rows g_i / |g_i|, (n, l, d)."""
        return torch.stack([gradient.flatten(1) for gradient in self.gradients], dim=1) / self.slopes.unsqueeze(2)

    def across(self, residuals: Tensor) -> Tensor:
        """N^+ r, (n, d), of r, (n, l)."""
        weights: Tensor = torch.linalg.solve(self.normals @ self.normals.mT, residuals.unsqueeze(2))
        return (self.normals.mT @ weights).squeeze(2)

    def tangent(self, vectors: Tensor) -> Tensor:
        """P w, (n, d), a function of theta and the points as P is."""
        return vectors - self.across((self.normals @ vectors.unsqueeze(2)).squeeze(2))

    def basis(self) -> list[Tensor]:
        """
        An orthonormal basis of the tangent space, k of (n, d). As P T for a constant T: what does not depend on the
        choice of the basis then has the right derivatives, for d(P T T^T P) = dP where T T^T = P.
        """
        whole = torch.linalg.qr(self.normals.detach().mT, mode="complete").Q
        return [self.tangent(vectors) for vectors in whole[:, :, len(self.gradients) :].unbind(dim=2)]

    def random(self, generator: torch.Generator | None) -> Tensor:
        """Random unit tangent directions, (n, d), uniformly distributed."""
        device = self.points.device if generator is None else generator.device
        drawn = torch.randn(self.points.flatten(1).shape, generator=generator, dtype=self.points.dtype, device=device)
        return nn.functional.normalize(self.tangent(drawn.to(self.points.device)), dim=1)

    def mean(self, directions: int | None, generator: torch.Generator | None) -> Tensor:
        """The mean of u^T H_i u / |g_i| over directions, (n, l)."""
        chosen = self.basis() if directions is None else [self.random(generator) for _ in range(directions)]
        bends = torch.stack([self.bend(direction, direction) for direction in chosen])
        self._check_for_creases(bends)
        return bends.mean(dim=0)

    def form(self) -> Tensor:
        """The matrix of S in the basis, (n, k, k), l = 1."""
        basis = self.basis()
        if self.scale is None:
            turns = [self._turn(0, w) / self.slopes for w in basis]
            form = torch.stack([torch.stack([(u * turn).sum(dim=1) for u in basis], dim=1) for turn in turns], dim=2)
            self._check_for_creases(form)
        else:
            form = torch.stack([torch.cat([self.bend(u, w) for u in basis], dim=1) for w in basis], dim=2)
        return (form + form.mT) / 2

    def bend(self, u: Tensor, w: Tensor) -> Tensor:
        """The numbers u^T H_i w / |g_i|, (n, l), of tangent directions (n, d)."""
        if self.scale is None:
            turns = [self._turn(i, u) for i in range(len(self.gradients))]
            bends = torch.stack([(turn * w).sum(dim=1) for turn in turns], dim=1)
            return bends / self.slopes
        # That of (u + w)/2 less that of (u - w)/2.
        bends = self._second_difference((u + w) / 2, self.scale)
        if u is not w:
            bends = bends - self._second_difference((u - w) / 2, self.scale)
        return bends / self.slopes

    def _turn(self, i: int, direction: Tensor) -> Tensor:
        """H_i u, (n, d), by one backward pass through the gradient."""
        gradient = self.gradients[i]
        if not gradient.requires_grad:
            return torch.zeros_like(direction)
        return _gradient(gradient, self.points, graph=self.graph, weights=direction.reshape(gradient.shape)).flatten(1)

    def _second_difference(self, way: Tensor, scale: float) -> Tensor:
        """The numbers (F(x + h v) - 2 F(x) + F(x - h v)) / h^2, (n, l)."""
        steps = scale * way.reshape(self.points.shape)
        twice = self.field.select(torch.arange(len(steps), device=steps.device).repeat(2))
        ahead, behind = twice(torch.cat([self.points + steps, self.points - steps])).chunk(2)
        return (ahead + behind - 2 * self.values) / scale**2

    def _check_for_creases(self, bends: Tensor) -> None:
        if self.scale is not None or not len(self.points):
            return
        normals = self.normals.detach()
        parts = self.field.module.modules() if self.field.module is not None else ()
        if any(isinstance(part, _PIECEWISE_LINEAR) for part in parts) or (
            not bool(bends.detach().any()) and bool((normals - normals[:1]).abs().max() > _TURNED)
        ):
            warnings.warn(_CREASES, stacklevel=6)


def _measured(
    field: FieldLike, points: Tensor, scale: float | None, measure: Callable[[_Local], Tensor], scalar: bool = True
) -> Tensor:
    """Measure at the points where D_xF has full rank; NaN elsewhere, where not even the gradient of NaN is left."""
    field = as_field(field)
    check_points(points)
    graph = torch.is_grad_enabled() and (points.requires_grad or _is_learnt(field, points[:1]))
    with torch.inference_mode(False), torch.enable_grad(), evaluating(field.module):
        field = replace(field, per_sample=tuple(recordable(tensor) for tensor in field.per_sample))
        local = _Local.at(field, points, scale, graph)
        count = len(local.gradients)
        if scalar and count != 1:
            raise ValueError(f"field: the curvature of a hypersurface needs one value a point, got {count}")
        if local.dimension < 1:
            raise ValueError(f"points: level sets of {count} values need more than {count} entries a point")
        _, regular = pseudo_inverse(torch.stack(local.gradients, dim=1).detach())
        regular &= torch.isfinite(local.values.detach()).all(dim=1)
        if bool(regular.all()):
            found = measure(local)
        else:
            part = measure(_Local.at(field.select(regular), points[regular], scale, graph))
            found = part.new_full((len(points), *part.shape[1:]), torch.nan).index_put((regular,), part)
    return found if graph else found.detach()


def _is_learnt(field: Field, point: Tensor) -> bool:
    """Whether F depends on parameters that have gradients."""
    with evaluating(field.module):
        return field.select(torch.arange(len(point), device=point.device))(point).requires_grad


def _gradient(outputs: Tensor, points: Tensor, graph: bool, weights: Tensor | None = None) -> Tensor:
    (found,) = torch.autograd.grad(
        outputs, points, weights, create_graph=graph, retain_graph=True, materialize_grads=True
    )
    return found


def _check_options(directions: int | None, scale: float | None) -> None:
    if directions is not None:
        check_count("directions", directions)
    if scale is not None:
        check_positive("scale", scale)
