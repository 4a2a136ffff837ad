"""The command line, but the second process kills itself in the middle of an epoch, the first time that it is run."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from art_levelset.cli.main import main
from art_levelset.trainers.callbacks import TrainingView
from art_levelset.trainers.schedules import Trapezoid

AFTER = int(os.environ["KILLED_AFTER"])
KILLED = Path("killed")


def killed_once(self: Trapezoid, trainer: TrainingView, act: object = Trapezoid.on_batch_begin) -> None:
    act(self, trainer)  # type: ignore[operator]
    if os.environ["RANK"] == "1" and trainer.progress.epochs > AFTER + 0.5 and not KILLED.exists():
        KILLED.touch()
        os.kill(os.getpid(), signal.SIGKILL)


Trapezoid.on_batch_begin = killed_once  # type: ignore[method-assign]
sys.exit(main())
