"""Distances: closed forms, rho <= L_inf, finite gradients at x = p, and the closed form of MMA's gradient."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset import SampleNetwork, margin_field, project
from art_levelset.core.distances import dual_norm, linearised_distance, lp_distance, rho
from art_levelset.core.fields import values_and_jacobians
from art_levelset.core.sample_network import attach

from .networks import affine, properties, smooth

DOUBLE = torch.float64
NORMS = [1, 1.5, 2, 3, math.inf]


@pytest.mark.parametrize(("norm", "want"), [(1, 7.0), (2, 5.0), (3, 91 ** (1 / 3)), (math.inf, 4.0)])
def test_lp_by_hand(norm: float, want: float) -> None:
    x, p = torch.tensor([[[1.0, 2.0], [0.0, 5.0]]]), torch.tensor([[[1.0, -1.0], [0.0, 9.0]]])
    torch.testing.assert_close(lp_distance(x, p, norm), torch.tensor([want]))


@properties
@given(st.integers(0, 10**6))
def test_rho_is_at_most_l_inf_and_norms_are_ordered(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, p = (torch.randn(9, 2, 3, generator=generator, dtype=DOUBLE) for _ in range(2))
    jacobians = torch.randn(9, 1, 2, 3, generator=generator, dtype=DOUBLE)
    ordered = [rho(x, p, jacobians)] + [lp_distance(x, p, norm) for norm in reversed(NORMS)]
    for smaller, larger in pairwise(ordered):
        assert (smaller <= larger + 1e-12).all()


def test_rho_is_the_distance_along_the_axis_of_the_largest_slope() -> None:
    x, p = torch.randn(30, 2, 3), torch.randn(30, 2, 3)
    jacobians = torch.randn(30, 1, 2, 3)
    for i, value in enumerate(rho(x, p, jacobians)):
        slopes = jacobians[i].flatten().abs().tolist()
        assert value == (x - p)[i].flatten()[slopes.index(max(slopes))].abs()


def test_rho_is_l_inf_after_a_step_of_newton() -> None:
    # p - x is a multiple of D_xF, whose largest entry is then that of p - x.
    w = torch.randn(1, 5, dtype=DOUBLE)
    module, x = affine(w, torch.zeros(1, dtype=DOUBLE)), torch.randn(8, 5, dtype=DOUBLE)
    samples = project(module, x)
    torch.testing.assert_close(rho(x, samples.points, samples.jacobians), lp_distance(x, samples.points, math.inf))


@pytest.mark.parametrize("norm", NORMS)
def test_the_gradient_is_finite_at_x_equal_to_p(norm: float) -> None:
    x = torch.randn(3, 4, dtype=DOUBLE)
    p = x.clone()
    p[1] += 1.0  # one sample beside those where x = p
    p.requires_grad_()
    for distance in (lp_distance(x, p, norm), rho(x, p, torch.randn(3, 1, 4))):
        (gradient,) = torch.autograd.grad(distance.sum(), p)
        assert torch.equal(gradient[[0, 2]], torch.zeros(2, 4, dtype=DOUBLE))
        assert torch.isfinite(gradient).all()
        assert gradient[1].abs().sum() > 0


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_of_distances(norm: float) -> None:
    x, p = torch.randn(4, 3, dtype=DOUBLE), torch.randn(4, 3, dtype=DOUBLE, requires_grad=True)
    jacobians = torch.randn(4, 1, 3, dtype=DOUBLE)
    assert torch.autograd.gradcheck(lambda p: lp_distance(x, p, norm), (p,))
    assert torch.autograd.gradcheck(lambda p: rho(x, p, jacobians), (p,))


@pytest.mark.parametrize(("norm", "dual"), [(1, math.inf), (2, 2.0), (3, 1.5), (math.inf, 1.0)])
def test_dual_norms(norm: float, dual: float) -> None:
    assert dual_norm(norm) == dual
    assert dual_norm(dual) == pytest.approx(norm)


@properties
@given(st.integers(0, 10**6), st.sampled_from(NORMS))
def test_the_dual_norm_bounds_linear_functions(seed: int, norm: float) -> None:
    # Hoelder: |g . x| <= |g|_q |x|_p.
    generator = torch.Generator().manual_seed(seed)
    g, x = (torch.randn(20, 5, generator=generator, dtype=DOUBLE) for _ in range(2))
    bound = torch.linalg.vector_norm(g, dual_norm(norm), dim=1) * torch.linalg.vector_norm(x, norm, dim=1)
    assert ((g * x).sum(1).abs() <= bound + 1e-12).all()


# Elsayed et al.'s linearised margin, DeepFool's step


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_one_newton_step_has_the_length_of_the_linearised_margin(kind: str) -> None:
    module, x = smooth(kind, 1)
    values, jacobians = values_and_jacobians(module, x)
    want = values.squeeze(1).abs() / jacobians.flatten(1).norm(dim=1)
    moved = project(module, x, max_iter=1, tol=0.0).points
    torch.testing.assert_close(lp_distance(x, moved), want)
    torch.testing.assert_close(linearised_distance(values, jacobians), want)


@pytest.mark.parametrize("norm", NORMS)
def test_the_linearised_distance_of_an_affine_function_is_exact(norm: float) -> None:
    # The nearest point in L_p moves along the v with |v|_p = 1 and w.v = |w|_q.
    w, x = torch.randn(4, dtype=DOUBLE), torch.randn(7, 4, dtype=DOUBLE)
    values, jacobians = values_and_jacobians(affine(w[None], torch.tensor([0.3], dtype=DOUBLE)), x)
    distance = linearised_distance(values, jacobians, norm)
    q = dual_norm(norm)
    v = torch.eye(4)[w.abs().argmax()].double() * w.sign() if norm == 1 else w.sign() * w.abs() ** (q - 1)
    v = v / torch.linalg.vector_norm(v, norm)
    nearest = x - (values.squeeze(1).sign() * distance)[:, None] * v
    torch.testing.assert_close(nearest @ w + 0.3, torch.zeros(7, dtype=DOUBLE), atol=1e-12, rtol=0.0)
    torch.testing.assert_close(lp_distance(x, nearest, norm), distance)


def test_the_linearised_distance_is_differentiable_in_the_values_and_bounded_by_its_floor() -> None:
    values = torch.tensor([2.0, -3.0, 1.0], requires_grad=True)
    jacobians = torch.tensor([[[4.0]], [[2.0]], [[0.0]]])
    assert linearised_distance(values, jacobians).tolist() == [0.5, 1.5, math.inf]
    distance = linearised_distance(values.unsqueeze(1), jacobians, floor=0.1)
    assert distance.tolist() == [0.5, 1.5, 10.0]
    (gradient,) = torch.autograd.grad(distance.sum(), values)
    torch.testing.assert_close(gradient, torch.tensor([0.25, -0.5, 10.0]))


def test_one_newton_step_is_deepfools_step() -> None:
    from art.attacks.evasion import DeepFool
    from art.estimators.classification import PyTorchClassifier

    module = nn.Linear(6, 2)
    x = torch.randn(20, 6)
    labels = module(x).argmax(1)
    classifier = PyTorchClassifier(module, nn.CrossEntropyLoss(), input_shape=(6,), nb_classes=2, device_type="cpu")
    attack = DeepFool(classifier, max_iter=1, epsilon=0.0, verbose=False)
    theirs = torch.from_numpy(attack.generate(x.numpy()))
    ours = project(margin_field(module, labels), x, max_iter=1).points
    assert (ours - x).abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    # Moosavi-Dezfooli et al.: r = -F / |w|^2 w with w = w_j - w_i.
    w = (module.weight[0] - module.weight[1]).detach()
    f = (x @ w + (module.bias[0] - module.bias[1]).detach())[:, None]
    torch.testing.assert_close(ours, x - f / w.square().sum() * w, atol=1e-5, rtol=1e-5)


# MMA's closed form (Ding et al.)


class Sphere(nn.Module):
    """F(x) = |x - a|_2 - r."""

    def __init__(self, centre: Tensor, radius: float) -> None:
        super().__init__()
        self.centre = nn.Parameter(centre)
        self.radius = nn.Parameter(torch.tensor(radius, dtype=DOUBLE))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.centre).norm(dim=1) - self.radius


def mma_gradient(module: nn.Module, x: Tensor, nearest: Tensor, norm: float) -> list[Tensor]:
    """C grad_theta F(x + delta), C = <d|delta|/d delta, dF/d delta> / |dF/d delta|^2, at the shortest delta."""
    delta = (nearest - x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(torch.linalg.vector_norm(delta, norm), delta)
    value = module((x + delta).unsqueeze(0)).squeeze()
    (along,) = torch.autograd.grad(value, delta, retain_graph=True)
    factor = (slope @ along) / along.square().sum()
    return [factor * g for g in torch.autograd.grad(value, list(module.parameters()))]


def distance_gradient(module: nn.Module, x: Tensor, nearest: Tensor, norm: float) -> list[Tensor]:
    """The gradient of d(x, p(theta)) through the sample network."""
    moving, _ = attach(module, nearest.unsqueeze(0))
    distance = lp_distance(x.unsqueeze(0), moving, norm).squeeze()
    return list(torch.autograd.grad(distance, list(module.parameters())))


def affine_case(norm: float) -> tuple[nn.Module, Tensor, Tensor]:
    w, b, x = (torch.tensor(v, dtype=DOUBLE) for v in ([[1.0, -2.0, 0.5]], [0.3], [0.7, 0.4, 2.0]))
    value = w @ x + b
    step = w[0] / w.square().sum() if norm == 2 else w[0].sign() / w.abs().sum()
    return affine(w, b), x, x - value * step


def sphere_case(norm: float) -> tuple[nn.Module, Tensor, Tensor]:
    centre = torch.tensor([0.5, -1.0, 2.0], dtype=DOUBLE)
    # L_2: along the ray. L_inf, from outside on an axis through the centre: where the axis leaves the sphere.
    away = torch.tensor([2.0, 1.0, -2.0] if norm == 2 else [0.0, 2.0, 0.0], dtype=DOUBLE)
    return Sphere(centre.clone(), 1.2), centre + away, centre + 1.2 * away / away.norm()


@pytest.mark.parametrize("norm", [2, math.inf])
@pytest.mark.parametrize("case", [affine_case, sphere_case])
def test_the_gradient_of_the_least_distance_is_mmas_up_to_sign(case: object, norm: float) -> None:
    module, x, nearest = case(norm)
    assert float(module(nearest.unsqueeze(0)).detach()) == pytest.approx(0.0, abs=1e-12)
    ours, theirs = distance_gradient(module, x, nearest, norm), mma_gradient(module, x, nearest, norm)
    assert sum(float(g.abs().sum()) for g in ours) > 0.1
    for mine, closed in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, -closed)


@pytest.mark.parametrize("norm", [2, math.inf])
def test_the_gradient_of_the_least_distance_to_a_sphere_is_the_true_one(norm: float) -> None:
    # d(x, S) = |x - a| - r outside, so grad_a d = -(x - a) / |x - a| and grad_r d = -1.
    module, x, nearest = sphere_case(norm)
    by_centre, by_radius = distance_gradient(module, x, nearest, norm)
    away = x - module.centre.detach()
    torch.testing.assert_close(by_centre, -away / away.norm())
    torch.testing.assert_close(by_radius, torch.tensor(-1.0, dtype=DOUBLE))


def test_the_gradient_of_the_least_distance_to_a_plane_is_the_true_one() -> None:
    # d(x, S) = |w.x + b| / |w|.
    module, x, nearest = affine_case(2)
    true = torch.autograd.grad(module(x).abs().sum() / module.weight.norm(), list(module.parameters()))
    for mine, closed in zip(distance_gradient(module, x, nearest, 2), true, strict=True):
        torch.testing.assert_close(mine, closed)


def test_projected_samples_have_the_gradient_of_the_distance_to_a_plane() -> None:
    module, x = nn.Linear(4, 1).double(), torch.randn(6, 4, dtype=DOUBLE)
    samples = project(module, x, tol=1e-12)
    distance = lp_distance(x, SampleNetwork(module)(samples)).sum()
    true = (module(x).abs() / module.weight.norm()).sum()
    torch.testing.assert_close(distance, true)
    parameters = list(module.parameters())
    for mine, closed in zip(
        torch.autograd.grad(distance, parameters), torch.autograd.grad(true, parameters), strict=True
    ):
        torch.testing.assert_close(mine, closed)


# Bad input


def test_shapes_and_norms_are_checked() -> None:
    x = torch.zeros(3, 2)
    for p in (torch.zeros(3, 3), torch.zeros(1, 2)):
        with pytest.raises(ValueError, match="x and p must have one shape"):
            lp_distance(x, p)
        with pytest.raises(ValueError, match="x and p must have one shape"):
            rho(x, p, torch.zeros(3, 1, 2))
    with pytest.raises(ValueError, match="x and p must have one shape"):
        lp_distance(x[0], x[0])
    for jacobians in (torch.zeros(3, 2, 2), torch.zeros(3, 2), torch.zeros(2, 1, 2)):
        with pytest.raises(ValueError, match="jacobians must have the shape"):
            rho(x, x, jacobians)
    for norm in (0.5, -1, math.nan):
        with pytest.raises(ValueError, match=r"norm must be in \[1, inf\]"):
            lp_distance(x, x, norm)
        with pytest.raises(ValueError, match=r"norm must be in \[1, inf\]"):
            dual_norm(norm)


@pytest.mark.parametrize(
    ("values", "jacobians"),
    [((3, 2), (3, 1, 2)), ((3,), (3, 2, 2)), ((3,), (2, 1, 2)), ((3,), (3, 1)), ((), (3, 1, 2))],
)
def test_shapes_of_the_linearised_distance(values: tuple[int, ...], jacobians: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="values .* and jacobians .* do not belong together"):
        linearised_distance(torch.ones(values), torch.ones(jacobians))
