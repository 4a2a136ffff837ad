"""Eqs. 10 to 13: by hand, and eq. 11 as a generalisation of eq. 10."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset import SampleNetwork, project
from art_levelset.core.distances import lp_distance
from art_levelset.core.fields import soft_label_margin
from art_levelset.core.losses import (
    geometric_svm_loss,
    logistic_margin_loss,
    margin_loss,
    reconstruction_loss,
    smooth_margin_loss,
    svm_loss,
)

DOUBLE = torch.float64


def row(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=DOUBLE)


def test_eq_10_by_hand() -> None:
    # Hinges 1 - 2 < 0, 1 + 0.5, 1 - 0.25 and |w|^2 = 25.
    loss = svm_loss(row(2.0, 0.5, -0.25), row(1.0, -1.0, -1.0), row(3.0, 4.0), 0.1)
    torch.testing.assert_close(loss, torch.tensor((0 + 1.5 + 0.75) / 3 + 2.5, dtype=DOUBLE))


def test_eq_11_by_hand() -> None:
    # Signs +, -, +: hinges 1 - 1/2, 1 + 3/1, max(0, 1 - 4/2), Delta^-2 = 1/4, 1, 1/4.
    arguments = row(0.1, 7.0, -2.0), row(1.0, -1.0, -1.0), row(1.0, 3.0, 4.0), row(2.0, 1.0, 2.0)
    torch.testing.assert_close(geometric_svm_loss(*arguments, 0.4), row((0.5 + 4 + 0 + 0.4 * 1.5) / 3)[0])
    torch.testing.assert_close(geometric_svm_loss(*arguments, 0.4, total=10), row((4.5 + 0.4 * 1.5) / 10)[0])
    torch.testing.assert_close(geometric_svm_loss(*arguments, 0.4, alpha=-1), row((4.5 + 0.4 * 2) / 3)[0])


def test_eq_12_by_hand() -> None:
    # 0.3 - 0.1, 0.3 + 0.2, max(0, 0.3 - 0.5).
    values, distances = row(5.0, -0.1, 2.0), row(0.1, 0.2, 0.5)
    torch.testing.assert_close(margin_loss(values, distances, 0.3), row((0.2 + 0.5) / 3)[0])
    weighted = margin_loss(values, distances, row(0.3, 0.4, 0.6), row(2.0, 1.0, 10.0), total=7)
    torch.testing.assert_close(weighted, row((2 * 0.2 + 0.6 + 10 * 0.1) / 7)[0])


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_eq_13_by_hand(p: float) -> None:
    # |d - |t||: 0.5, 0.25 at t = 0; 0.1, 0 at t = +-0.2.
    loss = reconstruction_loss([row(0.5, 0.25), row(0.3, 0.2)], [0.0, row(0.2, -0.2)], row(-0.4, 0.2, 0.0, 0.2), 3.0, p)
    means = ((0.5**p + 0.25**p) / 2) ** (1 / p) + (0.1**p / 2) ** (1 / p)
    torch.testing.assert_close(loss, row(means + 3.0 / 4 * 0.8)[0])


def test_eq_13_of_a_curve_adds_the_values() -> None:
    loss = reconstruction_loss([row(1.0)], [0.0], torch.tensor([[1.0, -2.0], [0.0, 3.0]], dtype=DOUBLE), 0.5)
    torch.testing.assert_close(loss, row(1.0 + 0.5 / 2 * 6.0)[0])
    assert reconstruction_loss([row(1.0)], [-1], torch.zeros(0), 0.5) == 0.0
    torch.testing.assert_close(reconstruction_loss([row(1.0, 4.0)], [1], torch.zeros(1), 0.0, math.inf), row(3.0)[0])


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
def test_eq_13_has_a_finite_gradient_where_it_is_zero(p: float) -> None:
    distances, values = row(0.2, 0.3).requires_grad_(), row(0.0, 0.0).requires_grad_()
    loss = reconstruction_loss([distances], [row(0.2, -0.3)], values, 1.0, p)
    loss.backward()
    assert loss == 0.0
    assert torch.equal(distances.grad, row(0.0, 0.0))
    assert torch.equal(values.grad, row(0.0, 0.0))


def test_gradients_of_the_losses() -> None:
    generic = row(0.31, -1.7, 2.2, -0.45)
    labels = row(1.0, 1.0, -1.0, -1.0)

    def check(loss: Callable[..., Tensor], *inputs: Tensor) -> None:
        assert torch.autograd.gradcheck(loss, tuple(tensor.clone().requires_grad_() for tensor in inputs))

    check(lambda s, w: svm_loss(s, labels, w, 0.3), generic, generic)
    check(lambda d, m: geometric_svm_loss(generic, labels, d, m, 0.3), row(0.5, 0.2, 2.0, 0.1), row(1.0, 2.0, 0.7, 1.5))
    check(lambda d: margin_loss(generic, d, 0.4, labels.abs()), row(0.1, 0.2, 0.3, 0.9))
    check(lambda d, v: reconstruction_loss([d], [0.3], v, 2.0, 2.0), row(0.1, 0.2, 0.7), generic)


def test_only_the_sign_of_the_values_is_used() -> None:
    values = row(0.5, -0.5).requires_grad_()
    distances = row(0.1, 0.2).requires_grad_()
    margin_loss(values, distances, 1.0).backward()
    assert values.grad is None
    assert torch.equal(distances.grad, row(-0.5, 0.5))
    geometric_svm_loss(values, row(1.0, 1.0), distances, row(1.0, 1.0), 1.0).backward()
    assert values.grad is None


# Eq. 11 is eq. 10 for an affine F, alpha = -2 and d = L_2


@pytest.mark.parametrize("seed", range(5))
def test_eq_11_of_an_affine_function_is_the_svm_in_value_and_gradient(seed: int) -> None:
    torch.manual_seed(seed)
    module = nn.Linear(3, 1, dtype=DOUBLE)
    x, labels, lam = torch.randn(20, 3, dtype=DOUBLE), torch.randint(2, (20,)).double() * 2 - 1, 0.37

    network = SampleNetwork(module)
    boundary = project(module, x, tol=1e-12)
    p = network(boundary)
    sides = [network(project(module, boundary.points, level, tol=1e-12)) for level in (1.0, -1.0)]
    margins = torch.minimum(*(lp_distance(p, q) for q in sides))
    geometric = geometric_svm_loss(module(x).squeeze(1), labels, lp_distance(x, p), margins, lam, alpha=-2.0)
    plain = svm_loss(module(x).squeeze(1), labels, module.weight, lam)

    torch.testing.assert_close(margins, (1 / module.weight.norm()).expand(20))
    torch.testing.assert_close(geometric, plain)
    parameters = list(module.parameters())
    ours, theirs = torch.autograd.grad(geometric, parameters), torch.autograd.grad(plain, parameters)
    assert theirs[0].abs().max() > 0.01
    for mine, svm in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, svm)


# No samples, bad input


def test_no_samples_contribute_nothing() -> None:
    none = torch.zeros(0, requires_grad=True)
    assert margin_loss(none, none, 0.3) == 0.0
    assert geometric_svm_loss(none, none, none, none, 1.0) == 0.0
    assert svm_loss(none, none, torch.ones(2), 0.5) == 1.0
    margin_loss(none, none, torch.zeros(0), total=5).backward()
    assert none.grad.shape == (0,)


THREE = torch.ones(3)
BAD = [
    (svm_loss, {"labels": torch.ones(2)}, "scores and labels must have one shape"),
    (svm_loss, {"scores": torch.ones(3, 1)}, "scores and labels must have one shape"),
    (svm_loss, {"scores": torch.ones(3, 1), "labels": torch.ones(3, 1)}, "scores and labels must have one shape"),
    (svm_loss, {"labels": torch.tensor([0.0, 1.0, 1.0])}, r"labels must be -1 or \+1"),
    (svm_loss, {"lam": -0.1}, "lam must be >= 0"),
    (geometric_svm_loss, {"labels": torch.ones(3, 1)}, "values and labels must have one shape"),
    (geometric_svm_loss, {"margins": torch.ones(2)}, "distances and margins must have one shape"),
    (geometric_svm_loss, {"distances": torch.ones(2), "margins": torch.ones(2)}, "values and distances must have one"),
    (geometric_svm_loss, {"labels": torch.tensor([2.0, 1.0, 1.0])}, r"labels must be -1 or \+1"),
    (geometric_svm_loss, {"lam": math.nan}, "lam must be >= 0"),
    (geometric_svm_loss, {"total": 2}, "total must be at least the number of samples 3, got 2"),
    (margin_loss, {"values": torch.ones(3, 1)}, "values and distances must have one shape"),
    (margin_loss, {"eps": -0.1}, "eps must be >= 0"),
    (margin_loss, {"eps": torch.tensor([0.1, -0.1, 0.1])}, "eps must be >= 0"),
    (margin_loss, {"eps": torch.ones(3, 1)}, r"eps must be a number or have the shape \(3,\), got \(3, 1\)"),
    (margin_loss, {"eps": math.nan}, "eps must be >= 0"),
    (margin_loss, {"weights": -1.0}, "weights must be >= 0"),
    (margin_loss, {"weights": torch.ones(1)}, r"weights must be a number or have the shape \(3,\)"),
    (margin_loss, {"total": 0}, "total must be at least the number of samples 3, got 0"),
    (reconstruction_loss, {"levels": [0.0, 0.1]}, "levels: need one for each set of distances, got 2 for 1"),
    (reconstruction_loss, {"distances": [], "levels": []}, "levels: need one for each set of distances"),
    (reconstruction_loss, {"levels": [torch.ones(3, 1)]}, r"levels must be a number or have the shape \(3,\)"),
    (reconstruction_loss, {"levels": [torch.ones(2)]}, r"levels must be a number or have the shape \(3,\)"),
    (reconstruction_loss, {"distances": [torch.ones(0)]}, r"distances must have the shape \(n_t,\) with n_t >= 1"),
    (reconstruction_loss, {"distances": [torch.ones(3, 1)]}, r"distances must have the shape \(n_t,\)"),
    (reconstruction_loss, {"cloud_values": torch.tensor(1.0)}, "cloud_values must have the shape"),
    (reconstruction_loss, {"cloud_values": torch.ones(2, 1, 1)}, "cloud_values must have the shape"),
    (reconstruction_loss, {"lam": -1.0}, "lam must be >= 0"),
    (reconstruction_loss, {"p": 0.5}, "p must be >= 1"),
    (reconstruction_loss, {"p": math.nan}, "p must be >= 1"),
]
GOOD: dict[object, dict[str, object]] = {
    svm_loss: {"scores": THREE, "labels": THREE, "weight": THREE, "lam": 1.0},
    geometric_svm_loss: {"values": THREE, "labels": THREE, "distances": THREE, "margins": THREE, "lam": 1.0},
    margin_loss: {"values": THREE, "distances": THREE, "eps": 0.3},
    reconstruction_loss: {"distances": [THREE], "levels": [0.1], "cloud_values": THREE, "lam": 1.0},
}


@pytest.mark.parametrize(("loss", "arguments", "message"), BAD)
def test_bad_input_is_named(loss: Callable[..., Tensor], arguments: dict[str, object], message: str) -> None:
    assert torch.isfinite(loss(**GOOD[loss]))
    with pytest.raises(ValueError, match=message):
        loss(**{**GOOD[loss], **arguments})


def test_smooth_margins_by_hand() -> None:
    distances, eps, weights = row(0.5, 0.1, -0.2), row(0.3, 0.3, 0.4), row(1.0, 0.5, 2.0)
    terms = [math.log1p(math.exp(10 * overlap)) for overlap in (-0.2, 0.2, 0.6)]
    loss = smooth_margin_loss(distances, eps, 10.0, weights, total=4)
    torch.testing.assert_close(loss, torch.tensor((terms[0] + terms[1] / 2 + 2 * terms[2]) / 4, dtype=DOUBLE))
    leaves = distances.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda d: smooth_margin_loss(d, eps, 10.0, weights), leaves)
    for arguments, message in (
        ((distances, -0.1, 10.0), "eps must be >= 0"),
        ((distances, 0.1, 0.0), "sharpness must be > 0, got 0.0"),
        ((distances, 0.1, math.nan), "sharpness must be > 0, got nan"),
        ((distances, 0.1, 1.0, row(1.0)), "weights must be a number"),
        ((distances[:, None], 0.1, 1.0), "distances and distances must have one shape"),
    ):
        with pytest.raises(ValueError, match=message):
            smooth_margin_loss(*arguments)


@given(
    distances=st.lists(st.floats(-1, 1), min_size=1, max_size=20),
    eps=st.floats(0, 1),
    sharpness=st.floats(1, 1e4),
)
def test_a_sharp_hinge_is_equation_12(distances: list[float], eps: float, sharpness: float) -> None:
    """It is above eq. 12 by at most log(2) / kappa, and falls with every distance."""
    signed = row(*distances).requires_grad_()
    smooth = smooth_margin_loss(signed, eps, sharpness)
    hinge = margin_loss(signed.detach(), signed.detach().abs(), eps)
    assert -1e-12 <= (smooth / sharpness - hinge).item() <= math.log(2) / sharpness + 1e-12
    (slopes,) = torch.autograd.grad(smooth, signed)
    assert bool((slopes <= 0).all())


def test_logistic_margins_by_hand() -> None:
    values, weights = row(0.0, 2.0, -1.0), row(1.0, 0.5, 2.0)
    expected = (math.log(2) + 0.5 * math.log1p(math.exp(-2)) + 2 * math.log1p(math.exp(1))) / 4
    loss = logistic_margin_loss(values, weights, total=4)
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=DOUBLE))
    assert torch.autograd.gradcheck(lambda v: logistic_margin_loss(v, weights), row(0.3, 2.0, -1.0).requires_grad_())
    with pytest.raises(ValueError, match="weights"):
        logistic_margin_loss(values, row(1.0))
    with pytest.raises(ValueError, match="weights"):
        logistic_margin_loss(values, -1.0)


def test_of_soft_margins_it_is_the_cross_entropy() -> None:
    logits, labels = torch.randn(20, 5, dtype=DOUBLE), torch.arange(20) % 5
    loss = logistic_margin_loss(soft_label_margin(logits, labels))
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, labels))


def test_its_gradient_moves_the_level_set_by_its_speed() -> None:
    """d F(p; theta) = |D_xF| times the change of the distance to the level set through p, by the sample network."""
    field, x = nn.Linear(3, 1, dtype=DOUBLE), torch.randn(1, 3, dtype=DOUBLE)
    p = x - 2.0 * field.weight / field.weight.norm()
    speed = field.weight.detach().norm()
    moving = SampleNetwork(field)(project(field, p.detach(), level=field(p).detach()))
    by_distance = torch.autograd.grad(lp_distance(x, moving).sum(), list(field.parameters()))
    by_value = torch.autograd.grad(field(p.detach()).sum(), list(field.parameters()))
    for distance, value in zip(by_distance, by_value, strict=True):
        torch.testing.assert_close(speed * distance, value)
