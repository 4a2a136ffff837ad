"""Table 1, B3 and B4 on scikit-learn's digits, and what their networks are trained with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_levelset.evaluation.datasets import digits
from art_levelset.evaluation.record import read_records, write_record
from art_levelset.experiments import table1, table1_rows
from art_levelset.experiments.__main__ import main
from art_levelset.experiments.table1_rows import ROWS, Compressed, Growth, Slices, read_about, train_row
from art_levelset.experiments.transfer_tables import B3, B4
from art_levelset.trainers import MadryTrainer
from art_levelset.trainers.callbacks import Progress


@pytest.fixture(autouse=True)
def _ticking(ticking: Callable[[float], None]) -> None:
    """The 0.05 s of `--fast` are 50 looks at the clock."""
    ticking(0.001)


def test_table1_trains_evaluates_and_recalls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["table1", "--fast", "-o", str(tmp_path / "table1.json")]
    assert main(call) == 0
    printed = capsys.readouterr().out
    rows = json.loads((tmp_path / "table1.json").read_text())["rows"]
    assert [row["row"] for row in rows] == list(table1.FAST_ROWS)
    assert all(row["steps"] > 0 and row["n_examples"] == 20 and row["autoattack"] is None for row in rows)
    records = {record.name: record for record in read_records(tmp_path / "records")}
    assert set(records) == set(table1.FAST_ROWS)
    for row in rows:
        found = [attack.accuracy for attack in records[row["row"]].attacks]
        assert found == [row["cross_entropy"], row["margin"]]
    assert "| Madry | mnist | 0.3 | 99.35 / " in printed
    assert (tmp_path / "table1.png").read_bytes().startswith(b"\x89PNG")
    assert not list((tmp_path / "networks").glob("*.run")), "checkpoints of finished trainings are removed"

    monkeypatch.setattr(table1, "evaluate", None)
    monkeypatch.setattr(table1_rows, "LoopTrainer", None)
    assert main(call) == 0
    assert capsys.readouterr().out == printed


def test_autoattack_is_taken_from_records_of_the_same_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["table1", "--fast", "--rows", "mnist-standard", "-o", str(tmp_path / "table1.json")]
    assert main(call) == 0
    (record,) = read_records(tmp_path / "records")
    (tmp_path / "others").mkdir()
    other = record.model_copy(update={"weights": record.weights.model_copy(update={"sha256": "0" * 64})})
    write_record(other.model_copy(update={"autoattack_acc": "12.00"}), tmp_path / "others" / "a.json")
    write_record(record.model_copy(update={"autoattack_acc": "34.50"}), tmp_path / "others" / "b.json")
    assert main([*call, "--records", str(tmp_path / "others")]) == 0
    (row,) = json.loads((tmp_path / "table1.json").read_text())["rows"]
    assert row["autoattack"] == 34.5
    assert "| 34.50 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "mnist-magic"], "rows: 'mnist-magic' is none of mnist-standard"),
        (["--rows", "cifar10-standard"], "cifar10 must be given for the row cifar10-standard"),
        (["--seconds", "0"], "seconds must be"),
        (["--nb-examples", "0"], "nb_examples must be"),
        (["--rows", "mnist-standard", "--mnist", "none.npz"], "none.npz"),
    ],
)
def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    assert main(["table1", "-o", str(tmp_path / "table1.json"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "table1.json").exists()


@pytest.mark.parametrize("name", ["tableB3", "tableB4"])
def test_transfer(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--fast", "-o", str(tmp_path / "b.json")]) == 0
    printed = capsys.readouterr().out
    rows = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert len(rows) == 2 * 4 * 4
    assert all(row["interval"][0] <= row["accuracy"] <= row["interval"][1] for row in rows)
    assert sum(row["paper"] is None for row in rows) == 2 * 4, "the paper has no standard network among its targets"
    for loss in ("cross_entropy", "margin"):
        assert (tmp_path / f"b_{loss}.png").read_bytes().startswith(b"\x89PNG")
        assert f"| {loss}: target | clean | from Standard | from Madry | from TRADES | from Ours |" in printed


def test_the_paper_s_matrices_agree_with_its_table_1() -> None:
    """Their diagonals are Table 1's white-box attacks, but for those that the paper itself has otherwise."""
    for table in (B3, B4):
        for number, loss in enumerate(("cross_entropy", "margin")):
            for name, row in list(table.networks.items())[1:]:
                paper = ROWS[row].paper or ROWS["cifar10-ours-0.045"].paper
                assert paper is not None
                assert table.reported(loss, name, name) == pytest.approx(paper[1 + number], abs=0.2)
    assert B3.reported("margin", "Ours", "Madry") == 97.87
    assert B4.reported("cross_entropy", "Madry", "Ours") == 50.97


def test_slices_are_passes_over_the_data() -> None:
    x = np.arange(23)[:, None]
    batches = Slices(x, np.zeros(23, dtype=np.int64), batch_size=3, nb_batches=3)
    slices = [np.concatenate([batch.rows for batch in batches.epoch(5, number)]) for number in range(6)]
    assert [len(rows) for rows in slices] == [9, 9, 5] * 2
    first, second = np.concatenate(slices[:3]), np.concatenate(slices[3:])
    assert sorted(first) == sorted(second) == list(range(23))
    assert list(first) != list(second)
    whole = Slices(x, np.zeros(23, dtype=np.int64), batch_size=3, nb_batches=100)
    assert np.array_equal(np.concatenate([batch.rows for batch in whole.epoch(5, 0)]), first)
    assert len(list(islice(batches.epoch(0, 0), 9))) == 3


def test_a_killed_training_goes_on_with_the_time_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that ticks once a look, to the same weights as without the kill."""
    (x, y), _ = digits()
    row = replace(ROWS["mnist-trades-0.3"], architecture="convnet2a")
    looks = 0

    def tick() -> float:
        nonlocal looks
        looks += 1
        if looks == stop:
            raise KeyboardInterrupt
        return float(looks)

    monkeypatch.setattr("time.process_time", tick)
    monkeypatch.setattr(table1_rows, "SLICE", 4)
    options = {"seconds": 100.0, "seed": 0}
    stop = 0
    about = train_row(row, x[:256], y[:256], path=tmp_path / "whole.pth", **options)
    looks, stop = 0, 30
    with pytest.raises(KeyboardInterrupt):
        train_row(row, x[:256], y[:256], path=tmp_path / "killed.pth", **options)
    assert (tmp_path / "killed.run").is_dir()
    stop = 0
    again = train_row(row, x[:256], y[:256], path=tmp_path / "killed.pth", **options)
    assert not (tmp_path / "killed.run").exists()
    assert abs(again["steps"] - about["steps"]) <= 4, "a checkpoint's own looks at the clock"
    assert read_about(tmp_path / "killed.pth") == again


def _classifier() -> PyTorchClassifier:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, device_type="cpu")


def test_the_radius_grows_and_is_whole_between_slices() -> None:
    trainer = MadryTrainer(_classifier(), eps=0.4, max_iter=5, seed=0)
    growth = Growth(trainer)
    for fraction, part in ((0.0, 0.0), (0.15, 0.5), (0.3, 1.0), (0.9, 1.0)):
        trainer.progress = Progress(fraction=fraction)
        growth.on_batch_begin(trainer)
        assert (trainer.eps, trainer.eps_step) == pytest.approx((0.4 * part, 0.2 * part))
        growth.on_epoch_end(trainer, {})
        assert (trainer.eps, trainer.eps_step) == (0.4, 0.2)


def test_schedules_in_epochs_are_compressed() -> None:
    trainer = MadryTrainer(_classifier(), eps=0.4, seed=0)
    trainer.progress = Progress(epochs=3, fraction=0.25)
    Compressed(200).on_batch_begin(trainer)
    assert trainer.progress == Progress(epochs=50, fraction=0.25)
