"""False position: closed forms, the bracket, its speed against the plain methods, and a status for every failure."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset import Field, Status, false_position, margin_field

from .networks import Recorded, mlp, properties

DOUBLE = torch.float64
Curve = Callable[[Tensor], Tensor]

SMOOTH: dict[str, Curve] = {
    "cubic": lambda s: s**3 + s - 0.7,
    "exponential": lambda s: torch.exp(3 * s) - 5,
    "arctangent": lambda s: torch.atan(4 * s - 1.3),
    "sine": lambda s: torch.sin(2 * s) - 0.3 * s - 0.2,
}
STEEP: dict[str, Curve] = {
    "ninth power": lambda s: s**9 - 0.1,
    "late exponential": lambda s: torch.exp(20 * (s - 1)) - 0.1,
    "steep exponential": lambda s: torch.exp(8 * s) - 30,
    "steep sigmoid": lambda s: torch.sigmoid(40 * (s - 0.9)) - 0.2,
    "root": lambda s: s.sqrt() - 0.1,
}
CURVES = {**SMOOTH, **STEEP, "flat triple zero": lambda s: (s - 0.3) ** 3}
CONVEX = ("cubic", "exponential", "ninth power", "late exponential", "steep exponential", "root")  # or concave


def unit(count: int = 1, dtype: torch.dtype = DOUBLE) -> tuple[Tensor, Tensor]:
    """Segments from 0 to 1 on the line: the points are the fractions."""
    return torch.zeros(count, 1, dtype=dtype), torch.ones(count, 1, dtype=dtype)


def tried(curve: Curve, **options: float) -> list[float]:
    """The fractions at which false position evaluates a curve, its ends left out."""
    recorded = Recorded(curve)
    false_position(recorded.field, *unit(), **options)
    assert [float(points) for points in recorded.passes[:2]] == [0.0, 1.0]
    return [float(points) for points in recorded.passes[2:]]


def zero_of(curve: Curve) -> float:
    """Bisection to the last bit."""
    low, high = 0.0, 1.0
    sign = curve(torch.tensor(low, dtype=DOUBLE)).sign()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if curve(torch.tensor(middle, dtype=DOUBLE)).sign() == sign else (low, middle)
    return high


def passes_of_the_plain_method(curve: Curve, tol: float, bisect: bool) -> int:
    """Bisection, or false position without any safeguard."""
    low, high = (torch.tensor(end, dtype=DOUBLE) for end in (0.0, 1.0))
    for count in range(1, 10_000):
        s = (low + high) / 2 if bisect else (low * curve(high) - high * curve(low)) / (curve(high) - curve(low))
        if curve(s).abs() <= tol:
            return count
        low, high = (s, high) if curve(s).sign() == curve(low).sign() else (low, s)
    return 10_000


# Closed forms


def test_an_affine_function_needs_one_pass() -> None:
    w = torch.randn(3, 2, dtype=DOUBLE)
    start = torch.randn(30, 3, 2, dtype=DOUBLE)
    end = (
        start
        - (1 + torch.rand(30, 1, 1, dtype=DOUBLE)) * ((start * w).sum((1, 2), keepdim=True)) / w.square().sum() * w
    )
    crossings = false_position(lambda x: (x * w).sum((1, 2)), start, end)
    first, last = ((x * w).sum((1, 2)) for x in (start, end))
    assert crossings.converged.all()
    assert (crossings.iterations <= 1).all()
    exact = first / (first - last)
    torch.testing.assert_close(crossings.fractions, exact, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(crossings.points, start + exact.reshape(-1, 1, 1) * (end - start), atol=1e-4, rtol=0.0)


def test_a_ray_leaves_a_sphere_at_its_radius() -> None:
    start, end = torch.zeros(10, 4, dtype=DOUBLE), 4 * nn.functional.normalize(torch.randn(10, 4, dtype=DOUBLE))
    level = torch.linspace(0.5, 9, 10, dtype=DOUBLE)
    crossings = false_position(lambda x: x.square().sum(1), start, end, level, tol=1e-10)
    assert crossings.converged.all()
    torch.testing.assert_close(crossings.fractions, level.sqrt() / 4, atol=1e-9, rtol=0.0)
    torch.testing.assert_close(crossings.points, end * crossings.fractions.unsqueeze(1))
    torch.testing.assert_close(crossings.values, level.unsqueeze(1), atol=1e-10, rtol=0.0)


@pytest.mark.parametrize("level", [0.5, torch.tensor(0.5), torch.full((2,), 0.5), torch.full((2, 1), 0.5)])
def test_shapes_of_levels(level: float | Tensor) -> None:
    crossings = false_position(lambda x: x[:, 0] ** 3, *unit(2), level, tol=1e-12)
    assert crossings.converged.all()
    torch.testing.assert_close(crossings.fractions, torch.full((2,), 0.5 ** (1 / 3), dtype=DOUBLE))
    torch.testing.assert_close(crossings.values, torch.full((2, 1), 0.5, dtype=DOUBLE))


@properties
@given(st.integers(0, 10**6), st.floats(-1, 1))
def test_converged_means_on_the_level_and_on_the_segment(seed: int, level: float) -> None:
    torch.manual_seed(seed)
    module, start, end = mlp(3, 1, nn.ReLU), 3 * torch.randn(20, 3, dtype=DOUBLE), 3 * torch.randn(20, 3, dtype=DOUBLE)
    crossings = false_position(module, start, end, level, tol=1e-7)
    assert len(crossings) == 20
    assert ((crossings.fractions >= 0) & (crossings.fractions <= 1)).all()
    torch.testing.assert_close(crossings.points, start + crossings.fractions[:, None] * (end - start))
    torch.testing.assert_close(crossings.values, module(crossings.points).detach())
    on_level = (module(crossings.points).detach() - level).abs().squeeze(1) <= 1e-7 + 1e-13
    assert torch.equal(on_level, crossings.converged)
    same_side = ((module(start) - level).sign() * (module(end) - level).sign()).squeeze(1) > 0
    assert torch.equal(crossings.status == Status.NO_CROSSING, same_side & ~on_level)


# The bracket


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_the_bracket_is_kept_and_halved_every_four_passes(curve: Curve) -> None:
    low, high = 0.0, 1.0
    sign = curve(torch.tensor(low, dtype=DOUBLE)).sign()
    fractions = tried(curve, tol=0.0, max_iter=40)
    for count, s in enumerate(fractions, 1):
        if high - low < 1e-14:
            break
        assert low < s < high
        low, high = (s, high) if curve(torch.tensor(s, dtype=DOUBLE)).sign() == sign else (low, s)
        assert high - low <= 0.5 ** (count // 4) + 1e-15
    assert len(fractions) > 4
    assert low - 1e-12 <= zero_of(curve) <= high + 1e-12


# The speed


@pytest.mark.parametrize("name", [*SMOOTH, *STEEP])
def test_fewer_passes_than_bisection_and_plain_false_position(name: str) -> None:
    curve, tol = CURVES[name], 1e-9
    crossings = false_position(curve, *unit(), tol=tol)
    assert crossings.converged.all()
    ours = int(crossings.iterations)
    assert 2 * ours < passes_of_the_plain_method(curve, tol, bisect=True)
    # An inflection point near the zero makes the plain method superlinear by luck; a convex function never does.
    plain = passes_of_the_plain_method(curve, tol, bisect=False)
    assert 2 * ours < plain if name in CONVEX else ours <= plain


@pytest.mark.parametrize("curve", SMOOTH.values(), ids=SMOOTH)
def test_convergence_is_superlinear(curve: Curve) -> None:
    # Illinois: three steps together cube the error, order 3^(1/3) = 1.44.
    errors = [abs(s - zero_of(curve)) for s in tried(curve, tol=0.0)]
    small = [i for i, error in enumerate(errors) if error < 0.05]
    end = next(i for i, error in enumerate(errors) if error < 1e-13)
    order = (math.log(max(errors[end], 1e-16)) / math.log(errors[small[0]])) ** (1 / (end - small[0]))
    assert order > 1.3


# What it costs


def test_one_forward_pass_an_iteration_over_the_unfinished_rows() -> None:
    scales = torch.tensor([0.0, 0.3, 1.0, 4.0, 9.0, 20.0], dtype=DOUBLE)
    curves = Field(lambda x, a: torch.expm1(a * x[:, 0]) + x[:, 0] - 0.4, per_sample=(scales,))
    rows: list[int] = []

    def counting(x: Tensor, a: Tensor) -> Tensor:
        rows.append(len(x))
        return curves.function(x, a)

    crossings = false_position(Field(counting, per_sample=(scales,)), *unit(6), tol=1e-8)
    assert crossings.converged.all()
    assert rows == [6, 6] + [int((crossings.iterations >= k).sum()) for k in range(1, len(rows) - 1)]
    assert len(crossings.iterations.unique()) > 2


def test_no_backward_pass_is_made() -> None:
    def curve(x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return x[:, 0] ** 3 - 0.2

    start, end = unit()
    crossings = false_position(curve, start.requires_grad_(), end.requires_grad_())
    assert crossings.converged.all()
    assert not crossings.points.requires_grad
    assert start.grad is None


def test_labels_follow_the_unfinished_rows() -> None:
    module = mlp(3, 4)
    start, end = 2 * torch.randn(40, 3, dtype=DOUBLE), 2 * torch.randn(40, 3, dtype=DOUBLE)
    labels = module(start).argmax(1)
    crossings = false_position(margin_field(module, labels), start, end, tol=1e-9)
    flipped = module(end).argmax(1) != labels
    assert torch.equal(crossings.converged, flipped)
    assert flipped.sum() > 5
    top = module(crossings.points).detach().topk(2).values
    assert (margin_field(module, labels)(crossings.points)[flipped].abs() <= 1e-9 + 1e-14).all()
    assert ((top[:, 0] - top[:, 1])[flipped] < 1.0).all()


# Statuses


def test_ends_on_the_level_cost_nothing() -> None:
    start, end = torch.tensor([[0.0], [0.3], [0.0]]), torch.tensor([[2.0], [0.0], [0.0]])
    crossings = false_position(lambda x: x[:, 0], start, end)
    assert crossings.status.tolist() == [Status.CONVERGED] * 3
    assert crossings.iterations.tolist() == [0, 0, 0]
    assert torch.equal(crossings.points, torch.zeros(3, 1))
    assert crossings.fractions.tolist()[:2] == [0.0, 1.0]


def test_an_end_is_met_exactly() -> None:
    # start + (end - start) would miss it by rounding errors.
    start, end = 1e3 * torch.rand(20, 3), torch.rand(20, 3)
    assert not torch.equal(start + (end - start), end)
    crossings = false_position(lambda x: (x - end).norm(dim=1), start, end)
    assert torch.equal(crossings.points, end)


@pytest.mark.parametrize(("ends", "nearer"), [((1.0, 3.0), 1.0), ((-3.0, -1.0), -1.0)])
def test_no_sign_change_is_no_crossing(ends: tuple[float, float], nearer: float) -> None:
    start, end = (torch.tensor([[x]]) for x in ends)
    crossings = false_position(lambda x: x[:, 0], start, end)
    assert crossings.status.tolist() == [Status.NO_CROSSING]
    assert not crossings.converged.any()
    assert crossings.points.tolist() == crossings.values.tolist() == [[nearer]]


@pytest.mark.parametrize(
    ("curve", "start", "end"),
    [
        (lambda x: x[:, 0], [math.nan, 0.0], [1.0, 0.0]),
        (lambda x: x[:, 0], [-1.0, 0.0], [math.inf, 0.0]),
        (lambda x: x[:, 0], [-1.0, math.nan], [1.0, math.nan]),
        (lambda x: x[:, 0] / 0, [-1.0, 0.0], [1.0, 0.0]),
        (lambda x: torch.where(x[:, 0].abs() < 0.1, math.nan, x[:, 0]), [-1.0, 0.0], [1.0, 0.0]),
        (lambda x: torch.where(x[:, 0].abs() < 0.1, math.inf, x[:, 0]), [-1.0, 0.0], [1.0, 0.0]),
        (lambda x: x[:, 0] * math.nan, [0.0, 0.0], [1.0, 0.0]),
    ],
    ids=["start", "infinite end", "ignored coordinate", "infinite F", "no number between", "infinite between", "F"],
)
def test_what_is_not_finite(curve: Curve, start: list[float], end: list[float]) -> None:
    crossings = false_position(curve, torch.tensor([start, [-1.0, 0.0]]), torch.tensor([end, [-0.5, 0.0]]))
    assert crossings.status[0] == Status.NOT_FINITE
    assert crossings.status[1] in (Status.NO_CROSSING, Status.NOT_FINITE)


def test_a_jump_over_the_level() -> None:
    def jump(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] < 0.3, -1.0, 2.0).to(x.dtype)

    few, many = (false_position(jump, *unit(), max_iter=n) for n in (20, 300))
    assert few.status.tolist() == [Status.MAX_ITER]
    assert few.iterations.tolist() == [20]
    assert many.status.tolist() == [Status.STALLED]
    assert many.values.tolist() == [[-1.0]]  # the smaller |F|
    assert float(many.points) < 0.3 or float(many.fractions) == 0.0


def test_the_best_point_met_is_returned() -> None:
    curve = STEEP["late exponential"]
    recorded = Recorded(curve)
    crossings = false_position(recorded.field, *unit(), max_iter=6, tol=1e-12)
    assert crossings.status.tolist() == [Status.MAX_ITER]
    met = torch.cat(recorded.passes)
    gaps = curve(met).abs()
    assert gaps.argmin() < len(met) - 1  # the last point is not the best
    assert torch.equal(crossings.points, met[gaps.argmin()].unsqueeze(0))
    torch.testing.assert_close(crossings.values.abs(), gaps.min().reshape(1, 1))


def test_no_iterations_only_look_at_the_ends() -> None:
    recorded = Recorded(lambda x: x[:, 0] - 0.6)
    crossings = false_position(recorded.field, *unit(), max_iter=0)
    assert recorded.rows == [1, 1]
    assert crossings.status.tolist() == [Status.MAX_ITER]
    assert crossings.points.tolist() == [[1.0]]


def test_empty_batch() -> None:
    crossings = false_position(mlp(3, 1), torch.zeros(0, 3).double(), torch.zeros(0, 3).double())
    assert len(crossings) == 0
    assert crossings.points.shape == (0, 3)
    assert crossings.values.shape == (0, 1)
    assert crossings.status.shape == crossings.fractions.shape == crossings.iterations.shape == (0,)


# Dtypes, modes of autograd, bad input


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype(dtype: torch.dtype) -> None:
    tol = 4 * torch.finfo(dtype).eps
    crossings = false_position(lambda x: x[:, 0] ** 2 - 0.5, *unit(3, dtype), tol=tol)
    assert crossings.converged.all()
    assert crossings.points.dtype == crossings.values.dtype == crossings.fractions.dtype == dtype
    torch.testing.assert_close(
        crossings.points.double(), torch.full((3, 1), 0.5**0.5, dtype=DOUBLE), atol=4 * tol, rtol=0.0
    )


def test_inference_mode_and_determinism() -> None:
    module, start, end = mlp(3, 2), torch.randn(9, 3, dtype=DOUBLE), 3 * torch.randn(9, 3, dtype=DOUBLE)
    field = margin_field(module, torch.zeros(9).long())
    want = false_position(field, start, end)
    with torch.inference_mode():
        inside = false_position(field, start, end)
    for got in (inside, false_position(field, start, end)):
        assert torch.equal(got.points, want.points)
        assert torch.equal(got.status, want.status)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"start": [[1.0]]}, TypeError, "start must be a torch.Tensor"),
        ({"end": None}, TypeError, "end must be a torch.Tensor"),
        ({"start": torch.ones(3, 2).long()}, ValueError, "start must be floating point"),
        ({"end": torch.ones(3)}, ValueError, "end must have the shape"),
        ({"end": torch.ones(2, 2)}, ValueError, "end must be shaped and typed like start"),
        ({"end": torch.ones(3, 2).double()}, ValueError, "end must be shaped and typed like start"),
        ({"field": lambda x: x}, ValueError, r"field must be scalar \(l = 1\)"),
        ({"field": 1}, TypeError, "field must be a Field"),
        ({"field": lambda x: (x[:, 0] > 0).long()}, TypeError, "field: the function must return a floating-point"),
        ({"level": torch.ones(2)}, ValueError, "level must be a number or have the shape"),
        ({"max_iter": -1}, ValueError, "max_iter must be an integer >= 0, got -1"),
        ({"tol": -1.0}, ValueError, "tol must be a finite number >= 0, got"),
        ({"tol": math.nan}, ValueError, "tol must be a finite number >= 0, got"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_named(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        false_position(**{"field": lambda x: x[:, 0], "start": -torch.ones(3, 2), "end": torch.ones(3, 2), **arguments})
