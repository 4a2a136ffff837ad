"""The table of a training's epochs, printed as they pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tqdm import tqdm

from art_levelset.distributed import world
from art_levelset.trainers import Callback, TrainingView

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
"""The metrics that are shown, and their headings."""

_PERCENT = ("accuracy", "robust_accuracy", "crossed", "validation_accuracy", "validation_robust_accuracy")
_WIDTH = 12


def last_epoch(history: Sequence[Mapping[str, float]]) -> str:
    """
    The last epoch alone.

    :param history: The metrics of the epochs, at least one.
    :return: A heading and a line.
    """
    columns = [name for name in COLUMNS if name in history[-1]]
    return f"{_heading(columns)}\n{_line(history[-1], columns)}"


class EpochTable(Callback):
    """
    A line for each epoch; those of an earlier, interrupted run come first. One process of several prints it.

    :param quiet: Whether nothing is printed; whether a run goes on from its checkpoints does not depend on it.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.reset()

    def reset(self) -> None:
        """Begin a new table, with the columns that there will be."""
        self._columns: list[str] = []

    def on_train_begin(self, trainer: TrainingView) -> None:
        """
        Print the epochs that are done already.

        :param trainer: The trainer.
        """
        for metrics in trainer.history:
            self._print(metrics)

    def on_epoch_end(self, trainer: TrainingView, metrics: dict[str, float]) -> None:
        """
        Print the epoch's metrics.

        :param trainer: The trainer.
        :param metrics: The metrics.
        """
        self._print(metrics)

    def _print(self, metrics: dict[str, float]) -> None:
        if self.quiet or not world().main:
            return
        if not self._columns:
            self._columns = [name for name in COLUMNS if name in metrics]
            tqdm.write(_heading(self._columns))
        tqdm.write(_line(metrics, self._columns))


def _heading(columns: Sequence[str]) -> str:
    return f"{'epoch':>5}" + "".join(f"{COLUMNS[name]:>{_WIDTH}}" for name in columns)


def _line(metrics: Mapping[str, float], columns: Sequence[str]) -> str:
    cells = (f"{_text(name, metrics[name]):>{_WIDTH}}" if name in metrics else " " * _WIDTH for name in columns)
    return f"{metrics['epoch']:>5.0f}{''.join(cells)}"


def _text(name: str, value: float) -> str:
    if name in _PERCENT:
        return f"{value:.2%}"
    return f"{value:.1f}" if name == "seconds" else f"{value:.4g}"
