"""The sample network: its value is p, its gradient is eq. 8, and p moves with the level set, orthogonally to it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from art_levelset import Field, LevelSetSamples, SampleNetwork, Status, margin_field, project, sample_network
from art_levelset.core.sample_network import attach

from .networks import KINDS, affine, full_jacobians, mlp, parameter_jacobians, smooth

DOUBLE = torch.float64


def on_a_level(kind: str, outputs: int) -> tuple[nn.Module, LevelSetSamples]:
    """A smooth network and samples of level sets that it takes near random points."""
    module, points = smooth(kind, outputs)
    level = module(points + 0.2 * torch.randn_like(points)).detach()
    samples = project(module, points, level, tol=1e-12)
    assert samples.converged.all()
    return module, samples


@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
class TestSmoothNetworks:
    def test_the_value_is_p_exactly(self, kind: str, outputs: int) -> None:
        module, points = smooth(kind, outputs)
        for samples in (project(module, points, 0.1), project(module, points, 0.1, max_iter=1)):
            moving = SampleNetwork(module)(samples)
            assert torch.equal(moving, samples.points)
            assert moving.requires_grad
            moving = SampleNetwork(module.float())(LevelSetSamples(*(t.float() for t in vars(samples).values())))
            assert torch.equal(moving, samples.points.float())
            module.double()

    def test_the_gradient_is_eq_8_exactly(self, kind: str, outputs: int) -> None:
        module, samples = on_a_level(kind, outputs)
        along = full_jacobians(module, samples.points).detach().flatten(2)
        by_theta = parameter_jacobians(module(samples.points), module)
        got = parameter_jacobians(SampleNetwork(module)(samples), module)
        assert got.abs().max() > 1e-3
        torch.testing.assert_close(got, -torch.linalg.pinv(along) @ by_theta, atol=1e-11, rtol=1e-9)

    def test_lemma_2_the_movement_is_normal_to_the_level_set(self, kind: str, outputs: int) -> None:
        module, samples = on_a_level(kind, outputs)
        along = full_jacobians(module, samples.points).detach().flatten(2)
        got = parameter_jacobians(SampleNetwork(module)(samples), module)
        # The columns of D_theta p lie in the row space of D_xF (Q: an orthonormal basis of it) ...
        basis = torch.linalg.qr(along.mT).Q
        torch.testing.assert_close(basis @ (basis.mT @ got), got, atol=1e-12, rtol=1e-9)
        # ... and p stays on its level set to first order: D_xF D_theta p + D_theta F = 0 (eq. 7).
        by_theta = parameter_jacobians(module(samples.points), module)
        torch.testing.assert_close(along @ got, -by_theta, atol=1e-12, rtol=1e-9)

    def test_the_gradient_is_that_of_projection_after_a_parameter_step(self, kind: str, outputs: int) -> None:
        module, samples = on_a_level(kind, outputs)
        parameters = list(module.parameters())
        jacobian = parameter_jacobians(SampleNetwork(module)(samples), module)

        def reprojected(change: Tensor) -> Tensor:
            """The samples projected again, to their own levels, after a change of theta."""
            theta = nn.utils.parameters_to_vector(parameters).detach()
            nn.utils.vector_to_parameters(theta + change, parameters)
            again = project(module, samples.points, samples.values, tol=1e-13)
            nn.utils.vector_to_parameters(theta, parameters)
            assert again.converged.all()
            assert again.iterations.min() > 0
            return again.points.flatten(1)

        for _ in range(3):
            v = torch.randn(jacobian.shape[-1], dtype=DOUBLE)
            h = 3e-5
            one, two = ((reprojected(s * h * v) - reprojected(-s * h * v)) / (2 * s * h) for s in (1, 2))
            movement, differences = jacobian @ v, (4 * one - two) / 3  # Richardson: an error of order h^4
            scale = movement.norm(dim=1, keepdim=True)
            assert scale.min() > 0.1
            torch.testing.assert_close(movement / scale, differences / scale, atol=1e-6, rtol=0.0)

    def test_gradcheck_of_eq_9(self, kind: str, outputs: int) -> None:
        module, samples = on_a_level(kind, outputs)
        moving = SampleNetwork(module)
        names = [name for name, _ in moving.named_parameters()]

        def p(*theta: Tensor) -> Tensor:
            return functional_call(moving, dict(zip(names, theta, strict=True)), (samples, samples.values))

        theta = tuple(parameter.detach().clone().requires_grad_() for parameter in moving.parameters())
        assert torch.autograd.gradcheck(p, theta, fast_mode=True)

    def test_attach_is_the_two_steps_in_one(self, kind: str, outputs: int) -> None:
        module, samples = on_a_level(kind, outputs)
        moving, jacobians = attach(module, samples.points)
        assert torch.equal(moving, samples.points)
        torch.testing.assert_close(jacobians, samples.jacobians)
        assert not jacobians.requires_grad
        want = parameter_jacobians(SampleNetwork(module)(samples), module)
        torch.testing.assert_close(parameter_jacobians(moving, module), want, atol=1e-12, rtol=1e-9)

    def test_memory_is_of_the_order_of_d(self, kind: str, outputs: int) -> None:
        module, points = smooth(kind, outputs, batch=128)
        if kind == "mlp":
            module, points = mlp(40, outputs, width=256), torch.randn(128, 40, dtype=DOUBLE)
        samples = project(module, points, max_iter=0)

        def saved_a_sample(passes: object) -> float:
            def saved(count: int) -> int:
                kept: dict[int, int] = {}

                def pack(tensor: Tensor) -> Tensor:
                    kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                    return tensor

                with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                    result = passes(samples.select(torch.arange(count)))
                    assert result.requires_grad
                return sum(kept.values())

            return (saved(128) - saved(64)) / 64

        # Beyond the forward pass of F: D_xF^+, l d numbers, p and a few numbers for each of the l values.
        own = saved_a_sample(SampleNetwork(module)) - saved_a_sample(lambda some: module(some.points))
        size = points[0].numel()
        assert own <= 8 * (outputs * size + size + 16 * outputs)
        assert own >= 8 * outputs * size  # something is measured
        if kind == "mlp":
            assert own < 0.01 * 8 * sum(parameter.numel() for parameter in module.parameters())


# Eq. 9 with the levels given


def test_an_affine_function_is_followed_onto_its_new_level_set() -> None:
    weight, bias = torch.randn(2, 5, dtype=DOUBLE), torch.randn(2, dtype=DOUBLE)
    module, points = affine(weight, bias), torch.randn(7, 5, dtype=DOUBLE)
    samples = project(module, points, 0.3, tol=1e-12)
    moving = SampleNetwork(module)
    torch.testing.assert_close(moving(samples, samples.values), samples.points, atol=1e-14, rtol=1e-14)
    module.bias.data.add_(torch.tensor([0.7, -0.4]))
    followed = moving(samples, samples.values)
    torch.testing.assert_close(module(followed), torch.full((7, 2), 0.3, dtype=DOUBLE))
    torch.testing.assert_close(followed.detach(), project(module, samples.points, 0.3, tol=1e-12).points)
    # Without levels the samples follow the level set that they are on now.
    assert torch.equal(moving(samples), samples.points)


def test_a_sphere_that_grows_takes_its_samples_along() -> None:
    radius = nn.Parameter(torch.tensor(1.5, dtype=DOUBLE))
    sphere = Field(lambda x: x.norm(dim=1) - radius)
    samples = project(sphere, torch.randn(6, 3, dtype=DOUBLE))
    moving = sample_network(sphere, samples.points, samples.jacobians)
    units = samples.points / samples.points.norm(dim=1, keepdim=True)
    speed = torch.stack([torch.autograd.grad(entry, radius, retain_graph=True)[0] for entry in moving.flatten()])
    torch.testing.assert_close(speed.reshape(6, 3), units)


def test_unconverged_samples_follow_the_level_set_that_they_are_on() -> None:
    module, points = smooth("mlp", 2)
    samples = project(module, points, 100.0, max_iter=1)
    assert not samples.converged.any()
    got = parameter_jacobians(SampleNetwork(module)(samples), module)
    along = full_jacobians(module, samples.points).detach()
    torch.testing.assert_close(got, -torch.linalg.pinv(along) @ parameter_jacobians(module(samples.points), module))


def test_labels_belong_to_the_field() -> None:
    module, points = mlp(4, 3), torch.randn(6, 4, dtype=DOUBLE)
    field = margin_field(module, torch.arange(6) % 3)
    samples = project(field, points, tol=1e-10)
    some = samples.converged
    assert some.any()
    moving = SampleNetwork(field.select(some))(samples.select(some))
    got = parameter_jacobians(moving, module)
    along = samples.jacobians[some].flatten(2)
    want = -torch.linalg.pinv(along) @ parameter_jacobians(field.select(some)(samples.points[some]), module)
    torch.testing.assert_close(got, want, atol=1e-11, rtol=1e-9)


# Samples that cannot move


class Rooted(nn.Module):
    """sum_i w_i sqrt(x_i): its Jacobian is infinite where a coordinate is zero, and zero where w is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0], dtype=DOUBLE))

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight * x).clamp(max=50.0).sqrt().sum(1, keepdim=True)


BAD_POINTS = {
    "Jacobian infinite": [0.0, 1.0, 1.0],
    "F no number": [-1.0, 1.0, 1.0],
    "point no number": [math.nan, 1.0, 1.0],
    "point infinite": [math.inf, 1.0, 1.0],
    "Jacobian zero": [99.0, 99.0, 99.0],
}


@pytest.mark.parametrize("bad", BAD_POINTS.values(), ids=BAD_POINTS)
@pytest.mark.parametrize("given_levels", [False, True])
def test_samples_that_cannot_move_do_not_poison_the_batch(bad: list[float], given_levels: bool) -> None:
    module = Rooted()
    good = torch.rand(3, 3, dtype=DOUBLE) + 0.5
    mixed = torch.cat([good[:1], torch.tensor([bad], dtype=DOUBLE), good[1:]])

    def gradients(points: Tensor) -> tuple[Tensor, list[Tensor]]:
        samples = project(module, points, max_iter=0)
        levels = samples.values if given_levels else None
        moving = [SampleNetwork(module)(samples, levels)] + ([] if given_levels else [attach(module, points)[0]])
        return samples.status, [
            torch.autograd.grad((p * torch.arange(1.0, 4)).nan_to_num().sum(), module.weight)[0] for p in moving
        ]

    status, with_bad = gradients(mixed)
    assert status[1] in (Status.NOT_FINITE, Status.ZERO_GRADIENT)
    _, without = gradients(good)
    assert without[0].abs().sum() > 0.1
    for got, want in zip(with_bad, without, strict=True):
        torch.testing.assert_close(got, want)
    samples = project(module, mixed, max_iter=0)
    for moving in (SampleNetwork(module)(samples), attach(module, mixed)[0]):
        torch.testing.assert_close(moving.detach(), mixed, rtol=0.0, atol=0.0, equal_nan=True)


def test_an_overflow_of_f_after_a_parameter_step_leaves_the_sample_where_it_is() -> None:
    module = affine(torch.ones(1, 2, dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE))
    samples = project(module, torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=DOUBLE))
    with torch.no_grad():
        module.bias.fill_(math.inf)
    assert torch.equal(SampleNetwork(module)(samples, samples.values), samples.points)


def test_no_sample_can_move() -> None:
    module = affine(torch.zeros(1, 2), torch.ones(1))
    for moving in (SampleNetwork(module)(project(module, torch.randn(3, 2))), attach(module, torch.randn(3, 2))[0]):
        moving.sum().backward()
        assert torch.equal(module.bias.grad, torch.zeros(1))


def test_empty_batch() -> None:
    module = mlp(3, 2)
    samples = project(module, torch.zeros(0, 3, dtype=DOUBLE))
    for moving in (SampleNetwork(module)(samples), attach(module, samples.points)[0]):
        assert moving.shape == (0, 3)


# The module


def test_its_parameters_are_those_of_the_field() -> None:
    module = mlp(3, 2)
    moving = SampleNetwork(margin_field(module, torch.zeros(4).long()))
    assert {id(p) for p in moving.parameters()} == {id(p) for p in module.parameters()}
    assert list(SampleNetwork(torch.sin).parameters()) == []


def test_the_function_is_the_module() -> None:
    module, samples = on_a_level("mlp", 2)
    functional = sample_network(module, samples.points, samples.jacobians)
    assert torch.equal(functional, SampleNetwork(module)(samples))
    one = parameter_jacobians(functional, module)
    torch.testing.assert_close(one, parameter_jacobians(SampleNetwork(module)(samples), module))


def test_no_graph_where_none_is_asked_for() -> None:
    module, samples = on_a_level("mlp", 2)
    with torch.no_grad():
        assert not SampleNetwork(module)(samples).requires_grad
        assert not attach(module, samples.points)[0].requires_grad
    points = samples.points.clone().requires_grad_()
    moving = sample_network(module, points, samples.jacobians)
    with pytest.raises(RuntimeError, match="to not have been used in the graph"):
        torch.autograd.grad(moving.sum(), points)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_dtype(dtype: torch.dtype) -> None:
    module, points = nn.Linear(3, 2).to(dtype), torch.randn(4, 3).to(dtype)
    moving, jacobians = attach(module, points)
    assert moving.dtype == jacobians.dtype == dtype
    assert torch.equal(moving, points)


@pytest.mark.parametrize(
    ("points", "jacobians", "levels", "error", "message"),
    [
        ([[1.0, 2.0, 3.0]], (5, 2, 3), None, TypeError, "points must be a torch.Tensor"),
        ((5,), (5, 2), None, ValueError, "points must have the shape"),
        ((5, 3), (5, 2, 4), None, ValueError, "jacobians must have the shape"),
        ((5, 3), (4, 2, 3), None, ValueError, "jacobians must have the shape"),
        ((5, 3), (5, 3), None, ValueError, "jacobians must have the shape"),
        ((5, 3), (5, 1, 3), None, ValueError, "jacobians must have one row for each of the 2 values"),
        ((5, 3), (5, 2, 3), (5,), ValueError, "levels must have the shape"),
        ((5, 3), (5, 2, 3), (5, 1), ValueError, "levels must have the shape"),
        ((5, 3), (5, 2, 3), (1, 2), ValueError, "levels must have the shape"),
    ],
)
def test_bad_input_is_named(
    points: object, jacobians: tuple[int, ...], levels: tuple[int, ...] | None, error: type[Exception], message: str
) -> None:
    given_points = torch.ones(points) if isinstance(points, tuple) else points
    with pytest.raises(error, match=message):
        sample_network(
            nn.Linear(3, 2), given_points, torch.ones(jacobians), None if levels is None else torch.ones(levels)
        )


def test_attach_takes_points_only() -> None:
    with pytest.raises(TypeError, match="points must be a torch.Tensor"):
        attach(nn.Linear(3, 2), [[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="points must be floating point"):
        attach(nn.Linear(3, 2), torch.ones(2, 3).long())
