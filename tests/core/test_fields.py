"""Fields: values, per-sample Jacobians, eq. 1, and labels that follow the points."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset import Field, logit_field, margin_field, network_field
from art_levelset.core.fields import as_field, label_margin, soft_label_margin, soft_margin_field, values_and_jacobians

from .networks import KINDS, full_jacobians, mlp, properties, smooth


@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_jacobians_are_those_of_functorch(kind: str, outputs: int) -> None:
    module, points = smooth(kind, outputs)
    values, jacobians = values_and_jacobians(module, points)
    torch.testing.assert_close(values, module(points).detach())
    torch.testing.assert_close(jacobians, full_jacobians(module, points).detach())
    assert not values.requires_grad
    assert not jacobians.requires_grad


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3), (1, 2, 3, 2), (2, 1, 2, 1, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_points_have_any_shape_and_dtype(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    # F = (sum x, sum x^2): D_xF = (1, 2x).
    points = torch.randn(4, *shape).to(dtype)
    values, jacobians = values_and_jacobians(
        lambda x: torch.stack([x.flatten(1).sum(1), x.square().flatten(1).sum(1)], dim=1), points
    )
    assert values.shape == (4, 2)
    assert values.dtype == jacobians.dtype == dtype
    assert torch.equal(jacobians, torch.stack([torch.ones_like(points), 2 * points], dim=1))


def test_a_vector_of_values_is_a_scalar_field() -> None:
    points = torch.randn(3, 2)
    values, jacobians = values_and_jacobians(lambda x: x[:, 0] * x[:, 1], points)
    assert values.shape == (3, 1)
    assert torch.equal(jacobians, points.flip(1).unsqueeze(1))


@pytest.mark.parametrize("outputs", [1, 3])
def test_values_that_do_not_depend_on_the_points_have_the_jacobian_zero(outputs: int) -> None:
    points, theta = torch.randn(3, 2, 2), nn.Parameter(torch.ones(outputs))
    for function in (lambda x: torch.ones(len(x), outputs), lambda x: theta.expand(len(x), -1)):
        _, jacobians = values_and_jacobians(function, points)
        assert torch.equal(jacobians, torch.zeros(3, outputs, 2, 2))


def test_one_value_of_several_may_not_depend_on_the_points() -> None:
    _, jacobians = values_and_jacobians(lambda x: torch.stack([x[:, 0], torch.ones(len(x))], dim=1), torch.randn(3, 2))
    assert torch.equal(jacobians, torch.tensor([[1.0, 0.0], [0.0, 0.0]]).expand(3, 2, 2))


def test_passes_are_in_evaluation_mode() -> None:
    module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Tanh(), nn.Linear(8, 2)).double()
    module(torch.randn(50, 3, dtype=torch.float64))
    points = torch.randn(5, 3, dtype=torch.float64)
    values, jacobians = values_and_jacobians(module, points)
    module.eval()
    torch.testing.assert_close(values, module(points).detach())
    torch.testing.assert_close(jacobians, full_jacobians(module, points).detach())


def test_margin_is_eq_1() -> None:
    module, points = smooth("mlp", 4, batch=20)
    labels = torch.randint(4, (20,))
    values, jacobians = values_and_jacobians(margin_field(module, labels), points)
    logits = module(points).detach()
    rivals = [max((i for i in range(4) if i != j), key=lambda i: row[i]) for row, j in zip(logits, labels, strict=True)]
    rows = torch.arange(20)
    torch.testing.assert_close(values, (logits[rows, labels] - logits[rows, rivals]).unsqueeze(1))
    full = full_jacobians(module, points).detach()
    torch.testing.assert_close(jacobians, (full[rows, labels] - full[rows, rivals]).unsqueeze(1))


@properties
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_margin_is_positive_where_the_label_wins(seed: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(8, classes, generator=generator)
    for label in range(classes):
        assert torch.equal(label_margin(logits, torch.full((8,), label)) > 0, logits.argmax(1) == label)


def test_two_classes_have_opposite_margins() -> None:
    logits = torch.randn(5, 2)
    assert torch.equal(label_margin(logits, torch.zeros(5).long()), -label_margin(logits, torch.ones(5).long()))


def test_logit_is_one_column_or_one_a_sample() -> None:
    module, points = smooth("convnet", 3)
    values, column = module(points), torch.tensor([2, 0, 1, 1, 0])
    assert torch.equal(logit_field(module, 2)(points), values[:, 2:])
    assert torch.equal(logit_field(module, column)(points), values.gather(1, column.unsqueeze(1)))


@pytest.mark.parametrize(
    "rows", [torch.tensor([3, 1]), torch.tensor([True, False, False, True, True]), torch.tensor([]).long()]
)
def test_labels_follow_the_points(rows: Tensor) -> None:
    module, points = smooth("mlp", 3)
    for field in (
        margin_field(module, torch.arange(5) % 3),
        logit_field(module, torch.arange(5) % 3),
        network_field(module),
    ):
        torch.testing.assert_close(field.select(rows)(points[rows]), field(points)[rows])


def test_several_per_sample_tensors_follow_together() -> None:
    points, centres, radii = torch.randn(6, 2), torch.randn(6, 2), torch.rand(6)
    spheres = Field(lambda x, c, r: (x - c).norm(dim=1) - r, per_sample=(centres, radii))
    mask = torch.arange(6) % 2 == 0
    assert torch.equal(spheres.select(mask)(points[mask]), spheres(points)[mask])


def test_labels_made_in_inference_mode_can_be_differentiated_through() -> None:
    module, points = smooth("mlp", 3)
    with torch.inference_mode():
        field = margin_field(module, torch.arange(5) % 3)
        inside = values_and_jacobians(field, points)
    for got in (inside, values_and_jacobians(field, points)):
        torch.testing.assert_close(got, values_and_jacobians(margin_field(module, torch.arange(5) % 3), points))
        assert not any(tensor.is_inference() for tensor in got)


@pytest.mark.parametrize(
    "labels",
    [torch.zeros(5), torch.zeros(5, dtype=torch.bool), torch.zeros(5, 1).long(), torch.tensor(0), [0, 1, 2, 0, 1]],
    ids=["float", "bool", "column", "scalar", "list"],
)
def test_labels_must_be_a_vector_of_integers(labels: Tensor) -> None:
    module, _ = smooth("mlp", 3)
    with pytest.raises(ValueError, match=r"labels must be a vector \(batch,\) of integers"):
        margin_field(module, labels)
    if isinstance(labels, Tensor):
        with pytest.raises(ValueError, match=r"index must be a vector \(batch,\) of integers"):
            logit_field(module, labels)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_labels_must_be_in_range(wrong: int) -> None:
    module, points = smooth("mlp", 3)
    labels = torch.tensor([0, 1, wrong, 2, 0])
    with pytest.raises(ValueError, match=r"labels must be in \[0, 3\)"):
        margin_field(module, labels)(points)
    for index in (labels, wrong):
        with pytest.raises(ValueError, match=r"index must be in \[0, 3\)"):
            logit_field(module, index)(points)


def test_labels_must_be_as_many_as_the_points() -> None:
    module, points = smooth("mlp", 3)
    with pytest.raises(ValueError, match="5 points, but the field's labels have 4 rows"):
        margin_field(module, torch.zeros(4).long())(points)


def test_a_margin_needs_two_classes() -> None:
    module, points = smooth("mlp", 1)
    with pytest.raises(ValueError, match="classes >= 2"):
        margin_field(module, torch.zeros(5).long())(points)
    with pytest.raises(ValueError, match="index needs logits"):
        logit_field(nn.Sequential(module, nn.Flatten(0)), 0)(points)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: x.sum(), ValueError),
        (lambda x: x.unsqueeze(2), ValueError),
        (lambda x: x[1:], ValueError),
        (lambda x: x[:, :0], ValueError),
        (lambda x: (x > 0).long(), TypeError),
        (lambda x: (x, x), TypeError),
    ],
    ids=["scalar", "three-dimensional", "fewer rows", "no values", "integers", "tuple"],
)
def test_a_function_must_return_one_row_of_numbers_a_point(function: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="field: the function must return"):
        values_and_jacobians(function, torch.ones(3, 2))


@pytest.mark.parametrize("thing", [3, None, "network", torch.ones(2)], ids=str)
def test_a_field_is_made_of_a_callable(thing: object) -> None:
    with pytest.raises(TypeError, match="field must be a Field"):
        as_field(thing)
    with pytest.raises(TypeError, match="function must be callable"):
        Field(thing)


def test_as_field_takes_a_field_a_module_and_a_function() -> None:
    module = mlp(2, 1)
    field = network_field(module)
    assert as_field(field) is field
    assert as_field(module).module is module
    assert as_field(torch.sin).module is None


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.BatchNorm2d(4), nn.BatchNorm3d(4)])
def test_batch_statistics_in_evaluation_mode_are_refused(layer: nn.Module) -> None:
    network_field(nn.Sequential(nn.Identity(), layer))
    without = type(layer)(4, track_running_stats=False)
    with pytest.raises(ValueError, match=r"module: the normalisation layer '1\.0' keeps no running statistics"):
        network_field(nn.Sequential(nn.Identity(), nn.Sequential(without)))


def test_normalisation_within_a_sample_is_accepted() -> None:
    module = nn.Sequential(nn.InstanceNorm2d(2), nn.GroupNorm(2, 2), nn.Flatten(), nn.Linear(18, 1)).double()
    points = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    _, jacobians = values_and_jacobians(module, points)
    torch.testing.assert_close(jacobians, full_jacobians(module, points).detach())


def test_the_soft_margin_is_the_log_odds_and_below_the_hard_one() -> None:
    logits, labels = 3 * torch.randn(30, 4, dtype=torch.float64), torch.arange(30) % 4
    odds = torch.softmax(logits, 1).gather(1, labels[:, None]).squeeze(1)
    soft = soft_margin_field(nn.Identity(), labels)(logits).squeeze(1)
    torch.testing.assert_close(soft, torch.log(odds / (1 - odds)))
    assert (soft < label_margin(logits, labels)).all()
    assert (soft > label_margin(logits, labels) - math.log(3)).all()
    two = soft_label_margin(logits[:, :2], labels % 2)
    torch.testing.assert_close(two, label_margin(logits[:, :2], labels % 2))
    assert torch.autograd.gradcheck(lambda z: soft_label_margin(z, labels), logits.clone().requires_grad_())
    with pytest.raises(ValueError, match="classes >= 2"):
        soft_label_margin(logits[:, :1], labels)
