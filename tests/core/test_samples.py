"""What a search returns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from art_levelset import LevelSetSamples, Status


@pytest.mark.parametrize("rows", [torch.tensor([2, 0]), torch.tensor([True, False, True]), torch.tensor([]).long()])
def test_select_takes_the_same_rows_of_everything(rows: Tensor) -> None:
    samples = LevelSetSamples(
        torch.randn(3, 2), torch.randn(3, 1), torch.randn(3, 1, 2), torch.tensor([0, 1, 6]), torch.arange(3)
    )
    part = samples.select(rows)
    assert len(samples) == 3
    assert len(part) == len(torch.arange(3)[rows])
    for name in ("points", "values", "jacobians", "status", "iterations", "converged"):
        assert torch.equal(getattr(part, name), getattr(samples, name)[rows])


def test_only_converged_is_converged() -> None:
    every = torch.tensor(list(Status))
    samples = LevelSetSamples(
        torch.zeros(len(every), 1), torch.zeros(len(every), 1), torch.zeros(len(every), 1, 1), every, every
    )
    assert [Status(code) for code in every[samples.converged].tolist()] == [Status.CONVERGED]
