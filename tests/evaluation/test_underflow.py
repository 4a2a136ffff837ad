from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.attacks.subject import Subject
from art_levelset.evaluation.underflow import Underflow, gradient_underflow


def underflow(network: nn.Module, x: Tensor, y: Tensor, batch_size: int = 500) -> Underflow:
    return gradient_underflow(Subject.of(network, x, y), batch_size=batch_size, seed=0)


def two_logits(leads: list[float], dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor, Tensor]:
    """A network and samples whose label 0 leads by the given amounts."""
    network = nn.Linear(1, 2, bias=False).to(dtype)
    network.weight.data = torch.tensor([[0.5], [-0.5]], dtype=dtype)
    return network, torch.tensor(leads, dtype=dtype)[:, None], torch.zeros(len(leads), dtype=torch.long)


def test_what_rounding_takes_in_float32() -> None:
    found = underflow(*two_logits([0.5, 15.0, 18.0, 80.0, 120.0, 3000.0]), batch_size=4)
    assert found.rounded.tolist() == [False, False, True, True, True, True]
    assert found.no_cross_entropy.tolist() == [False, False, False, False, True, True]
    assert not found.no_margin.any()
    assert not found.random.any()
    np.testing.assert_allclose(found.margins, [0.5, 15.0, 18.0, 80.0, 120.0, 3000.0])
    assert found.lost_beyond == pytest.approx(149 * math.log(2))


def test_float64_takes_it_later() -> None:
    found = underflow(*two_logits([18.0, 40.0, 120.0, 800.0], torch.float64))
    assert found.rounded.tolist() == [False, True, True, True]
    assert found.no_cross_entropy.tolist() == [False, False, False, True]
    assert found.lost_beyond == pytest.approx(1074 * math.log(2))


def test_flat_and_random_networks() -> None:
    class Sometimes(nn.Module):
        """Flat for negative inputs, random for inputs above 1."""

        def forward(self, x: Tensor) -> Tensor:
            value = x.relu() + (x > 1) * torch.rand_like(x)
            return torch.cat([value, -value - 1], dim=1)

    found = underflow(Sometimes(), torch.tensor([[-1.0], [0.5], [2.0]]), torch.zeros(3, dtype=torch.long))
    assert found.no_margin.tolist() == [True, False, False]
    assert found.no_cross_entropy.tolist() == [True, False, False]
    assert found.random.tolist() == [False, False, True]


def test_bad_networks() -> None:
    class Severed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach()

    x, y = torch.rand(3, 2), torch.zeros(3, dtype=torch.long)
    with pytest.raises(ValueError, match="model must return"):
        underflow(nn.Linear(2, 1), x, y)
    with pytest.raises(ValueError, match="no gradient flows"):
        underflow(Severed(), x, y)
