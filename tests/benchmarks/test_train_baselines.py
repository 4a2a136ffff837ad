"""The benchmark of baselines: every row runs, and what it measures is what it says."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

from art_levelset.evaluation.datasets import digits

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("train_baselines")


def test_every_row_has_a_line_in_the_table(module, capsys):
    module.main(["--samples", "60", "--epochs", "1", "--steps", "1", "--seeds", "0", "1"])
    lines = capsys.readouterr().out.splitlines()
    names = list(module.rows(0.1, 1))
    runs = [line[:20].strip() for line in lines[2 : 2 + 2 * len(names)]]
    assert runs == [name for name in names for _ in range(2)]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[-len(names) :]] == names


def test_what_is_measured_of_an_affine_network(module):
    """Two pixels, classes by the sign of their difference: one step of the sign moves it by twice the radius."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    x = torch.tensor([[0.9, 0.1], [0.6, 0.5], [0.2, 0.5], [0.8, 0.2]]).reshape(4, 1, 1, 2)
    y = torch.tensor([0, 0, 1, 1])
    moved = module.one_step(model, x, y, 0.1)
    expected = torch.tensor([[0.8, 0.2], [0.5, 0.6], [0.3, 0.4], [0.9, 0.1]]).reshape(x.shape)
    torch.testing.assert_close(moved, expected)
    found = module.measured(model, (x, y), (x[:1], y[:1]), 0.1)
    assert found == {"clean": 0.75, "one step": 0.5, "PGD": 0.5, "PGD, training": 1.0}


def test_the_table_has_means_in_percent(module):
    runs = {"a": [{"clean": 0.5, "PGD": 0.1}, {"clean": 0.7, "PGD": 0.2}]}
    assert module.table(runs).splitlines() == ["| training | clean | PGD |", "|---|---|---|", "| a | 60.0 | 15.0 |"]


@pytest.mark.slow
def test_plain_fgsm_overfits_to_its_step_at_a_large_radius_and_fgsm_pgi_does_not(module):
    """As its paper has it: after 60 epochs PGD breaks what still withstands the step."""
    train, test = ((torch.from_numpy(x), torch.from_numpy(y)) for x, y in digits())
    made, few = module.rows(0.3, 1), (test[0][:10], test[1][:10])
    found = {
        name: module.measured(module.trained(made[name], *train, 60, 0), test, few, 0.3)
        for name in ("FGSM", "FGSM-PGI")
    }
    assert found["FGSM"]["one step"] > 0.5
    assert found["FGSM"]["PGD"] < 0.06
    assert found["FGSM-PGI"]["PGD"] > 0.12
