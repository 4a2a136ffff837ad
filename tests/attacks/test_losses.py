"""The losses against their definitions, their limits, and what rescaling does to the cross-entropy's gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from art_levelset.attacks.losses import (
    LEAD,
    LOSSES,
    RANKS,
    cross_entropy,
    dlr,
    lead_limited,
    log_odds,
    margin,
)

properties = settings(max_examples=30, deadline=None, derandomize=True, database=None)


def logits_and_labels(seed: int, classes: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(7, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (7,), generator=generator)


def gradient(values: Tensor, logits: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(values.sum(), logits)
    return found


@properties
@given(st.integers(0, 10**6))
def test_the_losses_are_what_their_names_say(seed: int) -> None:
    logits, y = logits_and_labels(seed)
    for row, label in zip(logits, y.tolist(), strict=True):
        others = torch.cat([row[:label], row[label + 1 :]])
        ordered = row.sort(descending=True).values
        one, classes = row.unsqueeze(0), torch.tensor([label])
        gap = (others.max() - row[label]).unsqueeze(0)
        torch.testing.assert_close(margin(one, classes), gap)
        torch.testing.assert_close(dlr(one, classes), gap / (ordered[0] - ordered[2]))
        torch.testing.assert_close(dlr(one, classes, True), -gap / (ordered[0] - (ordered[2] + ordered[3]) / 2))
        torch.testing.assert_close(cross_entropy(one, classes), -functional.log_softmax(one, dim=1)[:, label])
        torch.testing.assert_close(functional.softplus(log_odds(one, classes)), cross_entropy(one, classes))
    for name in ("cross_entropy", "margin"):
        assert torch.equal(LOSSES[name](logits, y, True), -LOSSES[name](logits, y, False))
        assert torch.equal(RANKS[name](logits, y, True), -RANKS[name](logits, y, False))


@properties
@given(st.integers(0, 10**6), st.sampled_from([1e-20, 1e-3, 1e3, 1e30]), st.booleans())
def test_the_ratio_forgets_scale_and_shift(seed: int, scale: float, targeted: bool) -> None:
    logits, y = logits_and_labels(seed)
    leaves = (logits.float() * scale).requires_grad_()
    values = dlr(leaves, y, targeted)
    torch.testing.assert_close(values, dlr(logits.float(), y, targeted), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(dlr(logits + 5, y, targeted), dlr(logits, y, targeted))
    assert gradient(values, leaves).isfinite().all()


@pytest.mark.parametrize("targeted", [False, True])
def test_the_ratio_where_the_strongest_classes_tie(targeted: bool) -> None:
    leaves = torch.tensor([[2.0, 2.0, 2.0, 2.0, 1.0]]).requires_grad_()
    values = dlr(leaves, torch.tensor([4]), targeted)
    assert values.item() == (-1 if targeted else 1)
    assert gradient(values, leaves).isfinite().all()


def test_the_ratio_needs_enough_classes() -> None:
    y = torch.tensor([0])
    with pytest.raises(ValueError, match="loss: dlr needs at least 3 classes, the model has 2"):
        dlr(torch.zeros(1, 2), y)
    with pytest.raises(ValueError, match="loss: targeted dlr needs at least 4 classes, the model has 3"):
        dlr(torch.zeros(1, 3), y, True)


@pytest.mark.parametrize("lead", [0.0, 9.0, 17.0, 110.0, 2e3, 1e30])
def test_a_limited_lead_keeps_the_gradient(lead: float) -> None:
    leaves = torch.tensor([[lead, 0.0, -0.5 * lead]]).requires_grad_()
    y = torch.tensor([0])
    limited, scales = lead_limited(leaves, y)
    assert scales.item() == pytest.approx(max(lead / LEAD, 1.0))
    found = gradient(cross_entropy(limited, y), leaves) * scales
    exact = torch.tensor([[min(lead, LEAD), 0.0, -0.5 * min(lead, LEAD)]], dtype=torch.float64)
    softmax = functional.softmax(exact, dim=1)
    torch.testing.assert_close(found.double(), softmax - torch.tensor([[1.0, 0.0, 0.0]]), rtol=2e-3, atol=0)
    plain = gradient(cross_entropy(leaves, y), leaves)
    assert (plain[0, 0].item() == 0) == (lead > 16), "where the plain one has lost the label"
    assert (plain.abs().sum().item() == 0) == (lead > 105), "where it has lost everything"


def test_only_a_leading_label_is_limited() -> None:
    logits = torch.tensor([[50.0, 0.0], [-50.0, 0.0], [10.0, 0.0]])
    limited, scales = lead_limited(logits, torch.tensor([0, 0, 0]))
    torch.testing.assert_close(scales, torch.tensor([5.0, 1.0, 1.0]))
    assert torch.equal(limited[1:], logits[1:])


def test_the_rank_tells_samples_apart_that_the_cross_entropy_does_not() -> None:
    logits, y = torch.tensor([[3000.0, 0.0, 0.0], [1000.0, 0.0, 0.0]]), torch.tensor([0, 0])
    assert cross_entropy(logits, y).tolist() == [0.0, 0.0]
    torch.testing.assert_close(RANKS["cross_entropy"](logits, y, False), torch.tensor([-3000.0, -1000.0]) + math.log(2))
