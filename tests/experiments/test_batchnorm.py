"""The comparison of BatchNorm's treatments, on a few digits."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from art_levelset.core.statistics import normalising
from art_levelset.experiments import batchnorm
from art_levelset.experiments.__main__ import main

GIVEN = ["batchnorm", "--data", "digits", "--samples", "128", "--epochs", "2", "--seeds", "0", "1"]


@pytest.fixture(autouse=True)
def _few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchnorm, "NB_VALIDATION", 40)
    monkeypatch.setattr(batchnorm, "NB_TEST", 40)


def test_every_treatment_trains_in_its_own_way_and_a_second_call_recalls_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [*GIVEN, "--network", "convnet", "--resume", str(tmp_path / "work"), "-o", str(tmp_path)]
    assert main(given) == 0
    content = json.loads((tmp_path / "convnet_digits.json").read_text())
    assert [row["treatment"] for row in content["rows"]] == list(batchnorm.TREATMENTS)
    losses = [result["loss"][-1] for row in content["rows"] for result in row["runs"]]
    assert len(set(losses)) == len(losses) == 2 * len(batchnorm.TREATMENTS)
    assert all(0 < loss < math.inf for loss in losses)
    assert (tmp_path / "convnet_digits.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "| running, carried | 0.002 |" in printed

    monkeypatch.setattr(batchnorm, "train", None)
    assert main(given) == 0
    assert capsys.readouterr().out == printed


def test_the_geometric_svm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {name: batchnorm.TREATMENTS[name] for name in ("batch, constant", "batch")}
    monkeypatch.setattr(batchnorm, "TREATMENTS", rows)
    given = [*GIVEN, "--network", "convnet", "--trainer", "geometric-svm", "-o", str(tmp_path)]
    assert main(given) == 0
    content = json.loads((tmp_path / "convnet_digits_geometric_svm.json").read_text())
    losses = [result["loss"][-1] for row in content["rows"] for result in row["runs"]]
    assert len(set(losses)) == 4, "the derivative by the statistics makes a difference"
    assert all("projected" in result for row in content["rows"] for result in row["runs"])


def test_too_many_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*GIVEN, "--samples", "1297", "--network", "resnet", "-o", str(tmp_path / "results")]
    assert main(given) == 2
    assert "samples must be at most 1257, got 1297" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_the_thin_resnet_is_resnet_18(shape: tuple[int, int, int]) -> None:
    model = batchnorm.NETWORKS["resnet"](nn.BatchNorm2d, shape)
    weighted = [part for part in model.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    assert len(weighted) == 18 + 3, "and the three shortcuts"
    assert model(torch.rand(2, *shape)).shape == (2, 10)


def test_blended_statistics_are_what_the_running_ones_become() -> None:
    norm = nn.BatchNorm1d(3).double()
    module = nn.Sequential(nn.Linear(4, 3).double(), norm)
    x, points = torch.randn(50, 4).double(), torch.randn(5, 4).double()
    with normalising(batchnorm.TREATMENTS["running, batch's part"][1](module, x)):
        found = module.eval()(points)
    assert norm.num_batches_tracked == 1
    torch.testing.assert_close(found, module(points), rtol=0.01, atol=0.01)  # the running variance is unbiased
