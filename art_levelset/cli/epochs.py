"""The table of a training's epochs, printed as they pass."""

from __future__ import annotations

from tqdm import tqdm

from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.callbacks import Callback
from art_levelset.trainers.distributed import world

COLUMNS = {
    "loss": "loss",
    "accuracy": "accuracy",
    "robust_accuracy": "robust",
    "crossed": "crossed",
    "margin": "margin",
    "validation_accuracy": "val. clean",
    "validation_robust_accuracy": "val. robust",
    "seconds": "seconds",
}
"""The figures that are shown, and their headings."""

_PERCENT = ("accuracy", "robust_accuracy", "crossed", "validation_accuracy", "validation_robust_accuracy")
_WIDTH = 12


class EpochTable(Callback):
    """A line for each epoch; those of an earlier, interrupted run come first. One process of several prints it."""

    def __init__(self) -> None:
        self._columns: list[str] = []

    def on_train_begin(self, trainer: LoopTrainer) -> None:
        """
        Print the epochs that are done already.

        :param trainer: The trainer.
        """
        for figures in trainer.history:
            self._print(figures)

    def on_epoch_end(self, trainer: LoopTrainer, figures: dict[str, float]) -> None:
        """
        Print the epoch's figures.

        :param trainer: The trainer.
        :param figures: The figures.
        """
        self._print(figures)

    def _print(self, figures: dict[str, float]) -> None:
        if not world().main:
            return
        if not self._columns:
            self._columns = [name for name in COLUMNS if name in figures]
            tqdm.write(f"{'epoch':>5}" + "".join(f"{COLUMNS[name]:>{_WIDTH}}" for name in self._columns))
        cells = (
            f"{_text(name, figures[name]):>{_WIDTH}}" if name in figures else " " * _WIDTH for name in self._columns
        )
        tqdm.write(f"{figures['epoch']:>5.0f}{''.join(cells)}")


def _text(name: str, value: float) -> str:
    if name in _PERCENT:
        return f"{value:.2%}"
    return f"{value:.1f}" if name == "seconds" else f"{value:.4g}"
