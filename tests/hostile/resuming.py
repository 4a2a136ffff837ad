"""Training and fits that go on from a checkpoint: theirs, with what somebody has changed in it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from art_levelset.recon import GridNetwork, reconstruct
from art_levelset.recon.fitting import checkpoint

from ..trainers.noisy import NoisyTrainer, random_data, small_classifier, weights

STEPS = 24


def _train(folder: Path, nb_epochs: int) -> torch.Tensor:
    classifier = small_classifier()
    trainer = NoisyTrainer(classifier, seed=3, ema_decay=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(classifier.optimizer, 1, gamma=0.7)
    x, y = random_data(48)
    options: dict[str, Any] = {"batch_size": 24, "scheduler": scheduler, "verbose": False}
    trainer.fit(x, y, nb_epochs=nb_epochs, checkpoint_dir=folder, **options)
    return weights(trainer)


def make_training(path: Path) -> None:
    """After the first epoch."""
    folder = path.with_suffix(".made")
    _train(folder, 1)
    path.write_bytes(max(folder.glob("epoch-*.pt")).read_bytes())


def resume_training(path: Path) -> torch.Tensor:
    """The second epoch."""
    folder = path.with_suffix(".d")
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    content = path.read_bytes()
    (folder / f"epoch-000001-{hashlib.sha256(content).hexdigest()[:16]}.pt").write_bytes(content)
    return _train(folder, 2)


def _fit(path: Path, **options: Any) -> Any:
    directions = np.random.default_rng(0).standard_normal((300, 3))
    points = directions / np.linalg.norm(directions, axis=1, keepdims=True) * [1.0, 0.7, 0.6]
    network = GridNetwork((8, 16), (2, 2), width=16, generator=torch.Generator().manual_seed(0))
    found = reconstruct(points, network=network, steps=STEPS, batch_size=64, checkpoint=path, verbose=False, **options)
    return found.network


class _Ended(Exception):
    """At the first report, which is after twenty steps."""


def make_fit(path: Path) -> None:
    """After twenty of the steps."""
    interval, checkpoint.INTERVAL = checkpoint.INTERVAL, 0.0

    def end(_: object) -> None:
        raise _Ended

    try:
        _fit(path, callback=end)
    except _Ended:
        pass
    finally:
        checkpoint.INTERVAL = interval


def resume_fit(path: Path) -> Any:
    """The other steps."""
    return _fit(path)
