"""The guided ensemble beside AutoAttack, from the records that the repository keeps."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from art_levelset.evaluation.record import read_record

ROOT = Path(__file__).parents[2]
RECORDS = sorted((ROOT / "results" / "mnist_10000").glob("*.json"))


@pytest.fixture
def row(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("guided_records").row


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_the_row_counts_the_images_that_both_attacked(row, path: Path) -> None:
    record = read_record(path)
    name, guided, estimate, drawn, stand, ours, lost, gained, fewer, _ = row(path)
    assert name == record.name
    assert float(guided.rstrip("%")) == pytest.approx(100 * record.attacks[0].accuracy, abs=0.005)
    assert float(estimate.split("%")[0]) == pytest.approx(100 * record.estimate.accuracy, abs=0.005)
    assert int(drawn) == record.estimate.drawn
    assert int(stand) - int(gained) == int(ours) - int(lost), "those that stand against both"
    with np.load(path.with_suffix(".outcomes.npz")) as arrays:
        assert int(stand) == (arrays["drawn_right"] & (arrays["phase"] > 0)).sum()
    assert float(fewer) > 1


def test_a_record_without_an_estimate(row) -> None:
    with pytest.raises(ValueError, match="needs a guided ensemble and an estimate"):
        row(ROOT / "results" / "mnist_linf" / "level_sets.json")
