"""What a search returns."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from torch import Tensor

from art_levelset import LevelSetSamples, Status, false_position, project


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


def test_every_status_explains_itself() -> None:
    explanations = [status.explanation for status in Status]
    assert all(explanations)
    assert len(set(explanations)) == len(Status)
    for number, status in enumerate(Status):
        assert status == number
        assert Status(number) is status
        assert pickle.loads(pickle.dumps(status)) is status


def test_samples_tell_how_their_searches_ended() -> None:
    points = torch.tensor([[2.0, 0], [0, 0], [3, 4], [math.nan, 0]])
    samples = project(lambda x: torch.linalg.vector_norm(x, dim=1) - 1, points)
    assert str(samples) == (
        "4 samples: "
        f"2 converged ({Status.CONVERGED.explanation}); "
        f"1 zero_gradient ({Status.ZERO_GRADIENT.explanation}); "
        f"1 not_finite ({Status.NOT_FINITE.explanation})"
    )
    assert str(samples.select(torch.tensor([], dtype=torch.long))) == "0 samples: none"
    crossings = false_position(lambda x: x[:, :1], points[:1], points[2:3])
    assert str(crossings) == f"1 samples: 1 no_crossing ({Status.NO_CROSSING.explanation})"
