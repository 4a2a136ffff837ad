"""The loop in two processes: the same weights and history as in one, one set of files, and one end."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, TensorDataset

from art_levelset.distributed import world
from art_levelset.trainers.callbacks import Callback, StopTraining

from ..processes import run
from .noisy import NoisyTrainer, random_data, small_classifier


class StopInRank(Callback):
    def __init__(self, rank):
        self.rank = rank

    def on_batch_begin(self, trainer):
        if world().rank == self.rank and trainer.progress.epochs > 1.2:
            raise StopTraining


def trainer(**options):
    built = small_classifier(seed=world().rank, lr=0.1, optimizer=torch.optim.SGD)
    built.model[2] = nn.Identity()  # BatchNorm has tests of its own
    return NoisyTrainer(built, seed=1 if world().main else 2, ema_decay=0.9, max_grad_norm=0.5, **options)


def barrier():
    if world().size > 1:
        distributed.barrier()


def flipped(x, generator):
    return torch.where(torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5, x.flip(3), x)


def job():
    """Three trainings: arrays with all options, killed and continued; a DataLoader; one that a process stops."""
    here, found = world(), {}
    with tempfile.TemporaryDirectory() as own:
        folder = Path(here.broadcast(own))
        for nb_epochs in (1, 3):
            trained = trainer()
            trained.fit(
                *random_data(67),
                random_data(31, seed=1),
                batch_size=11,
                nb_epochs=nb_epochs,
                augmentation=flipped,
                validation_attack=lambda network, x, y: x.flip(2),
                checkpoint_dir=folder / "run",
                csv_file=folder / "curves.csv",
                verbose=False,
            )
        barrier()
        found["arrays"] = weights_and_history(trained)
        found["files"] = sorted(path.name[:12] for path in folder.rglob("*.*"))
        barrier()
    trained = trainer()
    data = TensorDataset(*map(torch.as_tensor, random_data(40, seed=0 if here.main else 9)))
    trained.fit_generator(DataLoader(data, batch_size=16, shuffle=True), nb_epochs=2, verbose=False)
    found["loader"] = weights_and_history(trained)
    trained = trainer()
    trained.fit(*random_data(40), batch_size=8, nb_epochs=3, callbacks=[StopInRank(here.size - 1)], verbose=False)
    found["stopped"] = weights_and_history(trained)
    return found


def weights_and_history(trained):
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in trained.history]
    return nn.utils.parameters_to_vector(trained.classifier.model.parameters()).detach(), rows


def test_two_processes_train_as_one(nursery):
    expected = job()
    for found in run(nursery, job):
        assert found["files"] == expected["files"] == ["curves.csv", "epoch-000002", "epoch-000003"]
        for name in ("arrays", "loader", "stopped"):
            (weights, history), (one, rows) = found[name], expected[name]
            torch.testing.assert_close(weights, one, rtol=1e-4, atol=1e-5)
            assert len(history) == len(rows) == {"arrays": 3, "loader": 2, "stopped": 2}[name]
            for row, reference in zip(history, rows, strict=True):
                assert row == pytest.approx(reference, rel=1e-3, abs=1e-6)
