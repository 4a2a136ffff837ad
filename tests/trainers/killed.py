"""
Train in child processes that are killed again and again until the training is done, and once without.

A moment is a call to fsync (SIGKILL), or a processor time of the child (SIGPROF, which no one handles): neither depends
on what else the machine does.

    python killed.py FOLDER

Checkpoints go to FOLDER/whole and FOLDER/parts. Prints a line for each kill: how, the last epoch that a callback saw
the end of, and the epoch that the checkpoints have.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn
from tqdm import tqdm

from art_levelset import LevelSetMarginTrainer
from art_levelset.trainers.callbacks import Callback, EarlyStopping
from art_levelset.trainers.checkpoints import Checkpoints

NB_EPOCHS = 8


class Notes(Callback):
    def __init__(self, file):
        self.file = file

    def on_epoch_end(self, trainer, figures):
        whole = self.file.with_suffix(".whole")  # a kill between opening and writing must not empty the file
        whole.write_text(str(trainer.progress.epoch))
        whole.replace(self.file)


def train(folder: Path) -> None:
    # Every process starts elsewhere; what the first checkpoint has decides.
    start = os.getpid() if list(folder.glob("*.pt")) else 0
    torch.manual_seed(start)
    np.random.seed(start)  # noqa: NPY002
    random.seed(start)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    classifier = PyTorchClassifier(
        module, nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    )
    draws = np.random.default_rng(0)
    x, y = draws.uniform(0, 1, (128, 1, 8, 8)).astype(np.float32), draws.integers(0, 10, 128)
    LevelSetMarginTrainer(classifier, eps=0.05, max_iter=3, seed=1, ema_decay=0.9).fit(
        x,
        y,
        (x, y),
        batch_size=32,
        nb_epochs=NB_EPOCHS,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, NB_EPOCHS),
        augmentation=flipped,
        callbacks=[EarlyStopping("validation_accuracy"), Notes(folder.parent / "seen")],
        checkpoint_dir=folder,
        csv_file=folder.parent / "curves.csv",
        verbose=False,
    )


def flipped(x, generator):
    return torch.where(torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5, x.flip(3), x)


def in_a_child(folder: Path, calls_to_fsync: int | None, seconds: float | None) -> bool:
    """Whether the child came to its end before it was killed."""
    child = os.fork()
    if child == 0:
        if calls_to_fsync is not None:
            kill_self_in(calls_to_fsync)
        if seconds is not None:
            signal.setitimer(signal.ITIMER_PROF, seconds)
        train(folder)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def kill_self_in(calls: int) -> None:
    """Odd calls: a file is written but not in its place; even ones: it is, and older ones are not yet removed."""
    flush, left = os.fsync, calls

    def fsync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    os.fsync = fsync


def main() -> None:
    torch.set_num_threads(1)
    # A process that forks must have no other threads, and a killed one may own a lock that it shares with the others.
    tqdm.monitor_interval = 0
    tqdm.set_lock(threading.RLock())
    folder = Path(sys.argv[1])
    train(folder / "imports")
    started = time.process_time()
    train(folder / "whole")
    epoch = (time.process_time() - started) / NB_EPOCHS
    (folder / "seen").write_text("0")
    draws = random.Random(0)
    hows = [("fsync", calls) for calls in (1, 2, 3, 4, 5, 6, 7, 8)] + [
        ("after", 2 * epoch * draws.random()) for _ in range(6)
    ]
    draws.shuffle(hows)
    for how, when in hows:
        if in_a_child(folder / "parts", *((when, None) if how == "fsync" else (None, when))):
            break
        state = Checkpoints(folder / "parts").read()
        sys.stdout.write(f"{how} {(folder / 'seen').read_text()} {len(state['history']) if state else 0}\n")
    assert in_a_child(folder / "parts", None, None)


if __name__ == "__main__":
    main()
