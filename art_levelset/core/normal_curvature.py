"""
The normal curvature of level sets: how much {F = c} bends in one tangent direction.

At a point x with g = grad F and the second derivatives H, the curve that the plane through g and a unit tangent
direction u cuts out of the level set has the curvature

    kappa(u) = u^T H u / |g|,

positive where the level set bends towards lower values: 1 / R on a sphere of radius R with F negative inside. It is the
quadratic form of all curvatures (:mod:`art_levelset.core.curvature`). Its extremes over u are the principal curvatures;
in many dimensions most directions see next to none of them, and the most curved one is found by the power method,
u <- P H u / |P H u|, P the projection on the tangent space.

H does not see creases. A network of ReLUs is piecewise linear: H is zero wherever it exists, all curvature
sits in the creases between the pieces, and autograd reports planes. So a warning is given where F's network has
such layers, or where H vanishes although g does not stay the same; an F that is partly of this kind in other ways, such
as interpolated grids or max-pooling, is not told. `scale=h` takes differences of F in place of derivatives,

    u^T H u  ->  (F(x + h u) - 2 F(x) + F(x - h u)) / h^2,

which is 2 / h^2 times the mean distance (in units of |g|) at which the level set passes by the two points x +- h u of
its tangent plane: the curvature averaged over h, creases included, with an error O(h^2) for smooth F. A crease by the
angle a that is met at random counts as a/h where it is met. Rounding adds about eps |F| / (h^2 |g|).

Everything is computed in evaluation mode, with a graph to the parameters and, if they have one, to the points. Where g
is zero or not finite there is no curvature: it is not a number there. Near such points it grows without bound.

| Paper link: https://arxiv.org/abs/1811.09716 (CURE), https://arxiv.org/abs/1705.09552 (few directions are curved)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from art_levelset.checks import check_count, check_positive
from art_levelset.core.fields import Field, FieldLike, as_field, recordable
from art_levelset.core.modes import evaluating
from art_levelset.core.pseudo_inverse import pseudo_inverse
from art_levelset.core.samples import check_points

_PIECEWISE_LINEAR = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Hardtanh, nn.Threshold)

_TURNED = 1e-3
"""Unit normals that differ by more do so not by rounding alone."""

_CREASES = (
    "field: second derivatives do not see the creases of a piecewise linear function, such as a network of ReLUs, in "
    "which its level sets bend: give a `scale`, over which their curvature is averaged"
)


def normal_curvature(field: FieldLike, points: Tensor, directions: Tensor, *, scale: float | None = None) -> Tensor:
    """
    The curvature of each point's level set in one direction.

    :param field: F, scalar (l = 1).
    :param points: Points of its level sets, (batch, ...) of d >= 2 entries each.
    :param directions: Shaped like the points; their components in the tangent spaces count, normalised. Constant.
    :param scale: h > 0, in units of the points, over which differences are taken: for piecewise linear F. None for
           second derivatives.
    :return: (batch,), in 1 / length; NaN where F has no gradient.
    :raises TypeError: If `points` is no tensor.
    :raises ValueError: If F is not scalar, a shape is another, or the scale is not positive.

    >>> import torch
    >>> from art_levelset.core.normal_curvature import normal_curvature
    >>> cylinder = lambda x: x[:, :2].square().sum(dim=1)
    >>> points = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    >>> normal_curvature(cylinder, points, torch.tensor([[1.0, 3.0, 0.0], [0.0, 0.0, 1.0]]))
    tensor([0.5000, 0.0000])
    """
    _check_directions(points, directions)

    def measure(local: LocalGeometry) -> Tensor:
        along = local.unit(local.of_all(directions))
        return local.bend(along, along).squeeze(1)

    return measured(field, points, scale, measure)


def most_curved_directions(
    field: FieldLike, points: Tensor, start: Tensor, *, max_iter: int = 3, scale: float | None = None
) -> Tensor:
    """
    Unit tangent directions of the largest |kappa|, by the power method. With a scale, differences of gradients over it
    stand for H u.

    :param field: F, scalar.
    :param points: Points of its level sets, (batch, ...).
    :param start: The directions to begin with, such as random ones, shaped like the points.
    :param max_iter: Number of iterations, >= 1: a product of H and a vector, or two gradients, each.
    :param scale: h > 0, or None.
    :return: Shaped like the points, detached; NaN where F has no gradient, and the last direction where the level set
             does not bend in it.
    :raises TypeError: If `points` is no tensor.
    :raises ValueError: If F is not scalar, a shape is another, or a number is out of range.

    >>> import torch
    >>> from art_levelset.core.normal_curvature import most_curved_directions
    >>> cylinder = lambda x: x[:, :2].square().sum(dim=1)
    >>> most_curved_directions(cylinder, torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[1.0, 1.0, 1.0]]))
    tensor([[0., 1., 0.]])
    """
    _check_directions(points, start)
    check_count("max_iter", max_iter)

    def measure(local: LocalGeometry) -> Tensor:
        along = local.unit(local.of_all(start))
        for _ in range(max_iter):
            turned = local.unit(local.turn(along))
            stuck = (turned == 0).all(dim=1, keepdim=True) | ~torch.isfinite(turned).all(dim=1, keepdim=True)
            along = torch.where(stuck, along, turned).detach()
        return along.reshape(local.points.shape)

    with torch.no_grad():
        return measured(field, points, scale, measure)


@dataclass(frozen=True, eq=False)
class LocalGeometry:
    """
    F around points where D_xF has full rank.

    :param field: F.
    :param points: x, (n, ...), in whose graph or as leaves all the rest is.
    :param values: F(x), (n, l).
    :param gradients: The gradients g_i of its values, l of (n, ...).
    :param scale: h, or None.
    :param graph: Whether what is measured shall have a graph.
    :param rows: Which of the points given these are, bool; None for all.
    """

    field: Field
    points: Tensor
    values: Tensor
    gradients: tuple[Tensor, ...]
    scale: float | None
    graph: bool
    rows: Tensor | None

    @classmethod
    def at(
        cls, field: Field, points: Tensor, scale: float | None, graph: bool, rows: Tensor | None = None
    ) -> LocalGeometry:
        """Evaluate F and its gradients, at some of the points."""
        if rows is not None:
            field, points = field.select(rows), points[rows]
        if not (graph and points.requires_grad):
            points = recordable(points).requires_grad_()
        values = field(points)
        gradients = [torch.zeros_like(points)] * values.shape[1]
        if values.requires_grad:
            gradients = [_gradient(total, points, graph=graph or scale is None) for total in values.sum(dim=0)]
        return cls(field, points, values, tuple(gradients), scale, graph, rows)

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
        return self.unit(drawn.to(self.points.device))

    def unit(self, vectors: Tensor) -> Tensor:
        """P w / |P w|, (n, d); zero where P w is zero."""
        return nn.functional.normalize(self.tangent(vectors), dim=1)

    def of_all(self, directions: Tensor) -> Tensor:
        """The directions given for all points that belong to these, (n, d)."""
        flat = recordable(directions).flatten(1).to(self.points)
        return flat if self.rows is None else flat[self.rows]

    def mean(self, directions: int | None, generator: torch.Generator | None) -> Tensor:
        """The mean of u^T H_i u / |g_i| over directions, (n, l)."""
        chosen = self.basis() if directions is None else [self.random(generator) for _ in range(directions)]
        return torch.stack([self.bend(direction, direction) for direction in chosen]).mean(dim=0)

    def form(self) -> Tensor:
        """The matrix of S in the basis, (n, k, k), l = 1."""
        basis = self.basis()
        if self.scale is None:
            turns = [self._second_derivatives(0, w) / self.slopes for w in basis]
            form = torch.stack([torch.stack([(u * turn).sum(dim=1) for u in basis], dim=1) for turn in turns], dim=2)
        else:
            form = torch.stack([torch.cat([self.bend(u, w) for u in basis], dim=1) for w in basis], dim=2)
        return (form + form.mT) / 2

    def bend(self, u: Tensor, w: Tensor) -> Tensor:
        """The numbers u^T H_i w / |g_i|, (n, l), of tangent directions (n, d)."""
        if self.scale is None:
            turns = [self._second_derivatives(i, u) for i in range(len(self.gradients))]
            bends = torch.stack([(turn * w).sum(dim=1) for turn in turns], dim=1)
            return bends / self.slopes
        # That of (u + w)/2 less that of (u - w)/2.
        bends = self._second_difference((u + w) / 2, self.scale)
        if u is not w:
            bends = bends - self._second_difference((u - w) / 2, self.scale)
        return bends / self.slopes

    def turn(self, direction: Tensor) -> Tensor:
        """H u, (n, d), l = 1, or the difference of gradients that stands for it; without a graph."""
        if self.scale is None:
            return self._second_derivatives(0, direction)
        steps = self.scale * direction.detach().reshape(self.points.shape)
        ends = torch.cat([self.points + steps, self.points - steps]).detach().requires_grad_()
        ahead, behind = _gradient(self._twice(ends).sum(), ends, graph=False).flatten(1).chunk(2)
        return (ahead - behind) / (2 * self.scale)

    def _second_derivatives(self, i: int, direction: Tensor) -> Tensor:
        """H_i u, (n, d), by one backward pass through the gradient."""
        gradient = self.gradients[i]
        if not gradient.requires_grad:
            return torch.zeros_like(direction)
        return _gradient(gradient, self.points, graph=self.graph, weights=direction.reshape(gradient.shape)).flatten(1)

    def _second_difference(self, way: Tensor, scale: float) -> Tensor:
        """The numbers (F(x + h v) - 2 F(x) + F(x - h v)) / h^2, (n, l)."""
        steps = scale * way.reshape(self.points.shape)
        ahead, behind = self._twice(torch.cat([self.points + steps, self.points - steps])).chunk(2)
        return (ahead + behind - 2 * self.values) / scale**2

    def _twice(self, ends: Tensor) -> Tensor:
        """F at two points for each of these, (2 n, l)."""
        return self.field.select(torch.arange(len(self.points), device=ends.device).repeat(2))(ends)


def measured(
    field: FieldLike,
    points: Tensor,
    scale: float | None,
    measure: Callable[[LocalGeometry], Tensor],
    scalar: bool = True,
) -> Tensor:
    """Measure at the points where D_xF has full rank; NaN elsewhere, where not even the gradient of NaN is left."""
    field = as_field(field)
    check_points(points)
    if scale is not None:
        check_positive("scale", scale)
    graph = torch.is_grad_enabled() and (points.requires_grad or _is_learnt(field, points[:1]))
    with torch.inference_mode(False), torch.enable_grad(), evaluating(field.module):
        field = replace(field, per_sample=tuple(recordable(tensor) for tensor in field.per_sample))
        local = LocalGeometry.at(field, points, scale, graph)
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
            part = measure(LocalGeometry.at(field, points, scale, graph, regular))
            found = part.new_full((len(points), *part.shape[1:]), torch.nan).index_put((regular,), part)
        if scale is None and _is_creased(local, found):
            warnings.warn(_CREASES, stacklevel=3)
    return found if graph else found.detach()


def _is_creased(local: LocalGeometry, curvatures: Tensor) -> bool:
    """Whether F is known to be piecewise linear: by its layers, or by curvatures all zero beside normals that turn."""
    parts = local.field.module.modules() if local.field.module is not None else ()
    if any(isinstance(part, _PIECEWISE_LINEAR) for part in parts):
        return True
    normals = local.normals.detach()
    turned = len(normals) > 0 and bool((normals - normals[:1]).abs().max() > _TURNED)
    return turned and not bool(curvatures.detach().nan_to_num().any())


def _is_learnt(field: Field, point: Tensor) -> bool:
    """Whether F depends on parameters that have gradients."""
    with evaluating(field.module):
        return field.select(torch.arange(len(point), device=point.device))(point).requires_grad


def _gradient(outputs: Tensor, points: Tensor, graph: bool, weights: Tensor | None = None) -> Tensor:
    (found,) = torch.autograd.grad(
        outputs, points, weights, create_graph=graph, retain_graph=True, materialize_grads=True
    )
    return found


def _check_directions(points: Tensor, directions: Tensor) -> None:
    check_points(points)
    if directions.shape != points.shape:
        raise ValueError(f"directions must have the shape {tuple(points.shape)}, got {tuple(directions.shape)}")
