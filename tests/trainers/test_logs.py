"""The history as CSV and in TensorBoard."""

from __future__ import annotations

import csv
import sys
from types import SimpleNamespace

import pytest

from art_levelset.trainers.callbacks import Callback

from .noisy import NoisyTrainer, random_data, small_classifier


def test_csv_is_the_history_and_grows_new_columns(tmp_path):
    class Late(Callback):
        def on_epoch_end(self, trainer, figures):
            if trainer.progress.epoch == 2:
                figures["late"] = 0.5

    path = tmp_path / "curves.csv"
    trainer = NoisyTrainer(small_classifier(), seed=0)
    trainer.fit(*random_data(), nb_epochs=2, callbacks=[Late()], csv_file=path, verbose=False)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(trainer.history[1])
    assert rows[0]["late"] == ""
    for row, figures in zip(rows, trainer.history, strict=True):
        assert {name: float(row[name]) for name in figures} == pytest.approx(figures)
    assert [file.name for file in tmp_path.iterdir()] == ["curves.csv"]


def test_csv_in_no_folder(tmp_path):
    trainer = NoisyTrainer(small_classifier(), seed=0)
    for path in (tmp_path / "missing" / "curves.csv", tmp_path):
        with pytest.raises(OSError, match="csv_file"):
            trainer.fit(*random_data(), nb_epochs=1, csv_file=path, verbose=False)
    assert trainer.history == []


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    trainer = NoisyTrainer(small_classifier(), seed=0)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        trainer.fit(*random_data(), nb_epochs=1, tensorboard_dir=tmp_path, verbose=False)
    assert trainer.history == []


def test_tensorboard_reads_the_figures_of_a_continued_run(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for nb_epochs in (2, 3):
        trainer = NoisyTrainer(small_classifier(), seed=0)
        options = {"checkpoint_dir": tmp_path / "run", "tensorboard_dir": tmp_path / "board", "verbose": False}
        trainer.fit(*random_data(), nb_epochs=nb_epochs, **options)
    events = accumulators.EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == set(trainer.history[0]) - {"epoch"}
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert found == [(step, pytest.approx(row["loss"])) for step, row in enumerate(trainer.history, start=1)]


def test_tensorboard_is_told_each_epoch_once_and_what_to_forget(tmp_path, monkeypatch):
    """By what it is called with; the tests above read its files where it is installed."""
    told = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            told.append(("opened", folder, purge_step))

        def add_scalar(self, name, value, step):
            told.append((name, value, step))

        def flush(self):
            told.append("flushed")

        def close(self):
            told.append("closed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    for nb_epochs, opened in ((1, 1), (2, 2)):
        trainer = NoisyTrainer(small_classifier(), seed=0)
        options = {"checkpoint_dir": tmp_path / "run", "tensorboard_dir": tmp_path / "board", "verbose": False}
        trainer.fit(*random_data(), nb_epochs=nb_epochs, **options)
        figures = [(name, value, nb_epochs) for name, value in trainer.history[-1].items() if name != "epoch"]
        assert told == [("opened", str(tmp_path / "board"), opened), *figures, "flushed", "closed"]
        told.clear()
