"""Curvatures: closed forms in every dimension, what they do not depend on, derivatives, estimates, and creases."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset import Field, SampleNetwork, margin_field, project, soft_margin_field
from art_levelset.core.curvature import (
    curvature_penalty,
    gaussian_curvature,
    mean_curvature,
    mean_curvature_vector,
    principal_curvatures,
    shape_operators,
)
from art_levelset.core.fields import values_and_jacobians
from art_levelset.core.sample_network import attach

from .networks import mlp, properties, smooth

DOUBLE = torch.float64

Function = Callable[[Tensor], Tensor]


def somewhere(count: int, dimension: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dimension, dtype=DOUBLE, generator=torch.Generator().manual_seed(100 + seed))


def sphere(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1) - 1


def plane(x: Tensor) -> Tensor:
    return x @ torch.linspace(-1, 2, x.shape[1], dtype=x.dtype) - 0.3


def quadric(x: Tensor) -> Tensor:
    """A function whose level sets have other curvatures everywhere, not a distance."""
    weights = torch.tensor([1.0, 2.0, -0.5, 0.7, 1.3, -2.0], dtype=x.dtype)[: x.shape[1]]
    return (weights * x**2).sum(dim=1) + x[:, 0] * x[:, 1] + torch.sin(x[:, 1])


def derivatives(function: Function, point: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian at one point, from torch itself."""

    def value(x: Tensor) -> Tensor:
        return function(x.unsqueeze(0)).squeeze(0)

    return torch.autograd.functional.jacobian(value, point), torch.autograd.functional.hessian(value, point)


@pytest.mark.parametrize("dimension", [2, 3, 4, 5, 6])
def test_spheres_and_planes(dimension: int) -> None:
    points = somewhere(5, dimension)
    inverse = 1 / points.norm(dim=1)
    for options in ({}, {"directions": 1}):
        torch.testing.assert_close(mean_curvature(sphere, points, **options), inverse)
        torch.testing.assert_close(mean_curvature(lambda x: -sphere(x), points, **options), -inverse)
        assert mean_curvature(plane, points, **options).abs().max() < 1e-12
    torch.testing.assert_close(principal_curvatures(sphere, points), inverse[:, None].expand(-1, dimension - 1))
    torch.testing.assert_close(gaussian_curvature(sphere, points), inverse ** (dimension - 1))
    for energy, want in (("mean", inverse**2), ("principal", (dimension - 1) * inverse**2)):
        torch.testing.assert_close(curvature_penalty(sphere, points, energy=energy), want.mean())
        assert curvature_penalty(plane, points, energy=energy) < 1e-12


@pytest.mark.parametrize("dimension", [3, 5])
def test_cylinders(dimension: int) -> None:
    points = somewhere(6, dimension)
    inverse = 1 / points[:, :2].norm(dim=1)
    found = principal_curvatures(lambda x: x[:, :2].square().sum(dim=1), points)
    torch.testing.assert_close(found[:, -1], inverse)
    assert found[:, :-1].abs().max() < 1e-12


def test_the_torus() -> None:
    big, small = 2.0, 0.5
    around, along = 2 * math.pi * torch.rand(2, 20, dtype=DOUBLE)
    reach = big + small * torch.cos(around)
    points = torch.stack([reach * torch.cos(along), reach * torch.sin(along), small * torch.sin(around)], dim=1)

    def torus(x: Tensor) -> Tensor:
        return (x[:, :2].norm(dim=1) - big) ** 2 + x[:, 2] ** 2 - small**2

    tube, ring = torch.full_like(around, 1 / small), torch.cos(around) / reach
    torch.testing.assert_close(principal_curvatures(torus, points), torch.stack([ring, tube], dim=1))
    torch.testing.assert_close(gaussian_curvature(torus, points), ring * tube)
    torch.testing.assert_close(mean_curvature(torus, points), (ring + tube) / 2)


def test_the_ellipsoid() -> None:
    axes = torch.tensor([1.0, 2.0, 0.5], dtype=DOUBLE)
    points = axes * nn.functional.normalize(somewhere(10, 3), dim=1)
    found = gaussian_curvature(lambda x: (x / axes).square().sum(dim=1) - 1, points)
    torch.testing.assert_close(found, 1 / (axes.prod() * (points / axes**2).square().sum(dim=1)) ** 2)


def test_the_signed_curvature_of_plane_curves() -> None:
    """Of the graph y = x^2 seen from above, where F > 0: it bends towards there."""
    x = torch.linspace(-2, 2, 9, dtype=DOUBLE)
    points = torch.stack([x, x**2], dim=1)

    def parabola(p: Tensor) -> Tensor:
        return p[:, 1] - p[:, 0] ** 2

    want = -2 / (1 + 4 * x**2) ** 1.5
    torch.testing.assert_close(mean_curvature(parabola, points), want)
    torch.testing.assert_close(gaussian_curvature(parabola, points), want)


@pytest.mark.parametrize("dimension", [2, 3, 4])
def test_the_formulas_of_the_module_one_point_at_a_time(dimension: int) -> None:
    """The bordered Hessian, the divergence of the unit normal, and P H P / |g|."""
    points = somewhere(4, dimension)
    gauss, mean, operators = (
        measure(quadric, points) for measure in (gaussian_curvature, mean_curvature, shape_operators)
    )

    def normal(x: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(quadric(x.unsqueeze(0)), x.requires_grad_(), create_graph=True)
        return nn.functional.normalize(gradient, dim=0)

    for i, point in enumerate(points):
        g, hessian = derivatives(quadric, point)
        bordered = torch.cat([torch.cat([hessian, g[:, None]], dim=1), torch.cat([g, g.new_zeros(1)])[None]])
        torch.testing.assert_close(gauss[i], -torch.linalg.det(bordered) / g.norm() ** (dimension + 1))
        torch.testing.assert_close(mean[i], torch.autograd.functional.jacobian(normal, point).trace() / (dimension - 1))
        across = torch.eye(dimension, dtype=DOUBLE) - torch.outer(g, g) / g.square().sum()
        torch.testing.assert_close(operators[i], across @ hessian @ across / g.norm())


@properties
@given(st.integers(2, 5), st.integers(0, 10**6))
def test_only_the_level_sets_count(dimension: int, seed: int) -> None:
    """Not how F grows across them, and not how space is turned and moved; -F turns the sign; scaling divides."""
    points, other = somewhere(3, dimension, seed), somewhere(dimension, dimension, seed + 1)
    rotation, shift = torch.linalg.qr(other).Q, other[0]
    moved = points @ rotation.T + shift

    def still(x: Tensor) -> Tensor:
        return quadric((x - shift) @ rotation)

    want = principal_curvatures(quadric, points)
    torch.testing.assert_close(principal_curvatures(still, moved), want, rtol=1e-6, atol=1e-6)
    for bent in (lambda f: torch.sinh(f / 10), lambda f: 3 * f - 1, lambda f: torch.atan(f / 5)):
        found = principal_curvatures(lambda x, bent=bent: bent(quadric(x)), points)
        torch.testing.assert_close(found, want, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(principal_curvatures(lambda x: -quadric(x), points), -want.flip(1), rtol=1e-6, atol=1e-6)
    grown = mean_curvature(lambda x: quadric(x / 4), 4 * points)
    torch.testing.assert_close(grown, want.mean(dim=1) / 4, rtol=1e-6, atol=1e-6)


def test_curves_in_space() -> None:
    """A helix of radius a and pitch 2 pi b has the curvature a / (a^2 + b^2), towards its axis."""
    a, b = 2.0, 0.7
    angles = torch.linspace(0, 3, 7, dtype=DOUBLE)
    axis = torch.stack([torch.cos(angles), torch.sin(angles), 0 * angles], dim=1)

    def helix(x: Tensor) -> Tensor:
        return torch.stack([x[:, 0] - a * torch.cos(x[:, 2] / b), 9 * (x[:, 1] - a * torch.sin(x[:, 2] / b))], dim=1)

    points = a * axis + b * angles[:, None] * torch.tensor([0.0, 0.0, 1.0], dtype=DOUBLE)
    want = -a / (a**2 + b**2) * axis
    torch.testing.assert_close(mean_curvature_vector(helix, points), want, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(mean_curvature_vector(helix, points, scale=1e-3), want, rtol=1e-5, atol=1e-5)


def test_the_vector_of_a_hypersurface_and_of_a_sphere_in_a_plane() -> None:
    points = somewhere(6, 4)
    normals = nn.functional.normalize(values_and_jacobians(quadric, points)[1].squeeze(1), dim=1)
    want = -mean_curvature(quadric, points)[:, None] * normals
    torch.testing.assert_close(mean_curvature_vector(quadric, points), want)

    def sphere_in_space(x: Tensor) -> Tensor:
        return torch.stack([x.square().sum(dim=1), 5 * x[:, 3] + x[:, 2]], dim=1)

    on = points.clone()
    on[:, 3] = -on[:, 2] / 5  # the hyperplane through the centre cuts a sphere of dimension 2 out
    torch.testing.assert_close(mean_curvature_vector(sphere_in_space, on), -on / on.square().sum(dim=1, keepdim=True))


@pytest.mark.parametrize("scale", [None, 1e-3])
def test_estimates_have_no_bias_and_the_variance_that_is_stated(scale: float | None) -> None:
    dimension, count = 5, 4000
    point = somewhere(1, dimension)
    curvatures = principal_curvatures(quadric, point)[0]
    generator = torch.Generator().manual_seed(0)
    many = point.expand(count, -1)
    found = mean_curvature(quadric, many, directions=2, scale=scale, generator=generator)
    deviation = math.sqrt(2 / (2 * (dimension + 1)) * curvatures.var(correction=0).item())
    assert found.std().item() == pytest.approx(deviation, rel=0.05)
    assert found.mean().item() == pytest.approx(curvatures.mean().item(), abs=4 * deviation / math.sqrt(count))
    energy = curvature_penalty(quadric, many, energy="principal", directions=4, scale=scale, generator=generator)
    assert energy.item() == pytest.approx(curvatures.square().sum().item(), rel=0.05)


@pytest.mark.parametrize("energy", ["mean", "principal"])
def test_differences_agree_with_derivatives_of_smooth_functions(energy: str) -> None:
    points = somewhere(5, 4)
    errors = [
        abs(
            curvature_penalty(quadric, points, energy=energy, scale=scale)
            - curvature_penalty(quadric, points, energy=energy)
        )
        for scale in (2e-2, 1e-2)
    ]
    assert errors[1] < errors[0] / 3, "the error is of the second order"
    assert errors[1] < 1e-3


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
@pytest.mark.parametrize("options", [{}, {"directions": 2}, {"directions": 2, "scale": 0.1}])
@pytest.mark.parametrize("energy", ["mean", "principal"])
def test_derivatives_in_the_parameters(kind: str, options: dict[str, float], energy: str) -> None:
    """Against differences, for points that stay, along a random direction in the parameters."""
    module, points = smooth(kind, 1, batch=3)
    if kind == "convnet" and not options:
        return  # 50 dimensions: not small
    parameters = list(module.parameters())
    direction = [torch.randn_like(part) for part in parameters]

    def penalty() -> Tensor:
        generator = torch.Generator().manual_seed(5)
        return curvature_penalty(module, points, energy=energy, generator=generator, **options)

    gradients = torch.autograd.grad(penalty(), parameters, allow_unused=True)
    slope = sum(float((g * v).sum()) for g, v in zip(gradients, direction, strict=True) if g is not None)
    step, values = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            for part, v in zip(parameters, direction, strict=True):
                part.add_(v, alpha=sign * step)
            values.append(float(penalty()))
            for part, v in zip(parameters, direction, strict=True):
                part.add_(v, alpha=-sign * step)
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(
    "measure",
    [
        mean_curvature,
        gaussian_curvature,
        shape_operators,
        lambda field, x: principal_curvatures(field, x).square(),
        lambda field, x: mean_curvature(field, x, directions=2, scale=0.2, generator=torch.Generator().manual_seed(1)),
        lambda field, x: mean_curvature_vector(field, x),
    ],
)
def test_gradcheck_in_points_and_parameters(measure: Callable[..., Tensor]) -> None:
    weights = torch.tensor([1.0, -0.5, 2.0], dtype=DOUBLE, requires_grad=True)
    points = somewhere(3, 3).requires_grad_()

    def function(x: Tensor, w: Tensor) -> Tensor:
        return measure(lambda p: (w * p**2).sum(dim=1) + torch.sin(p[:, 0] * p[:, 1] * w[2]), x)

    assert torch.autograd.gradcheck(function, (points, weights))


def test_moving_points_have_the_derivative_of_their_level_set_and_fixed_ones_of_another() -> None:
    radius = torch.tensor(2.0, dtype=DOUBLE, requires_grad=True)
    circle = Field(lambda x: x.square().sum(dim=1) - radius**2)
    samples = project(circle, somewhere(5, 2), max_iter=50, tol=1e-12)
    (moving,) = torch.autograd.grad(curvature_penalty(circle, SampleNetwork(circle)(samples)), radius)
    assert moving.item() == pytest.approx(-2 / 2**3)
    fixed = curvature_penalty(circle, samples.points)
    assert fixed.item() == pytest.approx(1 / 4)
    (gradient,) = torch.autograd.grad(fixed, radius, allow_unused=True, materialize_grads=True)
    assert gradient == 0


def test_moving_points_follow_a_network() -> None:
    """Against the penalty at the samples of a network whose parameters are a little further, found anew."""
    module = mlp(3, 1)
    samples = project(module, somewhere(8, 3), max_iter=50, tol=1e-13)
    samples = samples.select(samples.converged)
    moving = curvature_penalty(module, attach(module, samples.points)[0])
    parameters = list(module.parameters())
    gradients = torch.autograd.grad(moving, parameters, materialize_grads=True)
    step, values = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            for part, gradient in zip(parameters, gradients, strict=True):
                part.add_(gradient, alpha=sign * step)
            # From these points one exact step along the old gradient is what eq. 9 describes to the first order.
            moved = project(module, samples.points, max_iter=50, tol=1e-14).points
            values.append(float(curvature_penalty(module, moved)))
            for part, gradient in zip(parameters, gradients, strict=True):
                part.add_(gradient, alpha=-sign * step)
    slope = sum(float(gradient.square().sum()) for gradient in gradients)
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4)


class TestCreases:
    """Piecewise linear functions: two half-planes that meet at an angle."""

    @staticmethod
    def wedge(x: Tensor) -> Tensor:
        return x[:, 1] + torch.relu(x[:, 0])

    def test_they_are_told_of(self) -> None:
        points = torch.tensor([[-1.0, 0.0], [1.0, -1.0]])
        with pytest.warns(UserWarning, match="do not see the creases.*scale"):
            assert mean_curvature(self.wedge, points).abs().max() == 0
        with pytest.warns(UserWarning, match="do not see the creases"):
            curvature_penalty(mlp(3, 1, nn.ReLU), somewhere(4, 3), energy="principal")
        with pytest.warns(UserWarning, match="do not see the creases"):
            mean_curvature(
                soft_margin_field(mlp(3, 4, nn.LeakyReLU), torch.zeros(4, dtype=torch.long)), somewhere(4, 3)
            )

    def test_planes_and_smooth_networks_are_not(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mean_curvature(plane, somewhere(4, 3))
            mean_curvature(lambda x: plane(x) ** 3, somewhere(4, 3))
            mean_curvature(mlp(3, 1), somewhere(4, 3))

    def test_the_curvature_over_a_distance_is_the_angle_over_it(self) -> None:
        """Tangents of both half-planes pass the crease by tan(45 degrees) at most; none that does not reach it."""
        points = torch.tensor([[0.0, 0.0], [-0.05, 0.0], [-0.2, 0.0]], dtype=DOUBLE)
        found = mean_curvature(self.wedge, points, scale=0.1)
        torch.testing.assert_close(found, torch.tensor([1 / 0.1, 0.5 / 0.1, 0.0], dtype=DOUBLE))

    def test_the_derivative_knows_where_the_crease_is(self) -> None:
        crease = torch.tensor(0.05, dtype=DOUBLE, requires_grad=True)
        found = mean_curvature(
            lambda x: x[:, 1] + torch.relu(x[:, 0] - crease), torch.zeros(1, 2, dtype=DOUBLE), scale=0.1
        )
        found.sum().backward()
        assert crease.grad == pytest.approx(-1 / 0.1**2)

    def test_a_polygon_has_the_angles_at_its_corners_for_curvature(self) -> None:
        """On average over its length: the sines of the angles, as differences are taken along tangents."""
        count = 24
        angles = 2 * math.pi * torch.arange(count, dtype=DOUBLE) / count
        sides = torch.stack([torch.cos(angles), torch.sin(angles)], dim=1)
        half = math.tan(math.pi / count)
        along = torch.linspace(-half, half, 202, dtype=DOUBLE)[1:-1, None, None]
        points = (sides + along * sides.flip(1) * torch.tensor([-1.0, 1.0], dtype=DOUBLE)).reshape(-1, 2)
        found = mean_curvature(lambda x: (x @ sides.T).amax(dim=1) - 1, points, scale=0.1).mean().item()
        assert found == pytest.approx(math.sin(2 * math.pi / count) / (2 * half), rel=0.01)


def test_where_there_is_no_gradient() -> None:
    """Not a number, in values; and the penalty and its gradient come from the other points alone."""
    radius = torch.tensor(1.0, dtype=DOUBLE, requires_grad=True)

    def cone(x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x, dim=1) * radius

    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [math.inf, 0.0, 0.0]], dtype=DOUBLE)
    for measure in (mean_curvature, gaussian_curvature, principal_curvatures, shape_operators):
        found = measure(cone, points).reshape(3, -1)
        assert found.isnan().any(dim=1).tolist() == found.isnan().all(dim=1).tolist() == [True, False, True]
    penalty = curvature_penalty(cone, points)
    assert penalty.item() == pytest.approx(1 / 4)
    penalty.backward()
    assert torch.isfinite(radius.grad)
    assert curvature_penalty(cone, points[:1]) == 0
    lines = mean_curvature_vector(lambda x: torch.stack([x[:, 0], 2 * x[:, 0]], dim=1), points)
    assert lines.isnan().all()


def test_images_labels_and_the_network_left_alone() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 8), nn.Softplus(), nn.Linear(8, 3)).double()
    images, labels = torch.randn(4, 3, 2, 2, dtype=DOUBLE), torch.tensor([0, 1, 2, 0])
    field = margin_field(module, labels)
    found = mean_curvature(field, images)
    for i in range(4):
        alone = mean_curvature(margin_field(module, labels[i : i + 1]), images[i : i + 1])
        torch.testing.assert_close(alone, found[i : i + 1])
    assert all(part.training for part in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())
    many = mean_curvature(field, images, directions=2000, scale=1e-3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(many, found, rtol=0.2, atol=0.01)
    with torch.no_grad():
        assert not mean_curvature(field, images).requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(mean_curvature(field, images.clone()), found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mean_curvature(nn.Linear(3, 2), x), "field: the curvature of a hypersurface needs one value"),
        (lambda x: mean_curvature(sphere, x[:, :1]), "points: level sets of 1 values need more than 1 entries"),
        (lambda x: mean_curvature_vector(lambda p: p, x), "points: level sets of 3 values need more than 3"),
        (lambda x: mean_curvature(sphere, x, directions=0), "directions must be an integer >= 1, got 0"),
        (lambda x: mean_curvature(sphere, x, scale=-1.0), "scale must be a finite number > 0, got -1.0"),
        (lambda x: curvature_penalty(sphere, x, energy="total"), "energy must be one of mean, principal, got 'total'"),
        (lambda x: mean_curvature(sphere, x.long()), "points must be floating point"),
    ],
)
def test_bad_input(call: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.randn(4, 3))


def test_the_scale_of_the_vector_is_that_of_the_differences() -> None:
    """A wave of the length of the scale has no second difference, but a second derivative."""

    def wave(x: Tensor) -> Tensor:
        return x[:, 1] + torch.cos(2 * math.pi * x[:, 0])

    points = torch.zeros(1, 2, dtype=torch.float64)
    bent, flat = (mean_curvature_vector(wave, points, scale=scale) for scale in (None, 1.0))
    torch.testing.assert_close(bent.abs(), torch.tensor([[0.0, 4 * math.pi**2]], dtype=torch.float64))
    torch.testing.assert_close(flat, torch.zeros(1, 2, dtype=torch.float64))
