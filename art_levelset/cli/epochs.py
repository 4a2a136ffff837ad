"""The table of a training's epochs, printed as they pass."""

from __future__ import annotations

from tqdm import tqdm

from art_levelset.trainers import Callback, TrainingView, world

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


class EpochTable(Callback):
    """A line for each epoch; those of an earlier, interrupted run come first. One process of several prints it."""

    def __init__(self) -> None:
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
        if not world().main:
            return
        if not self._columns:
            self._columns = [name for name in COLUMNS if name in metrics]
            tqdm.write(f"{'epoch':>5}" + "".join(f"{COLUMNS[name]:>{_WIDTH}}" for name in self._columns))
        cells = (
            f"{_text(name, metrics[name]):>{_WIDTH}}" if name in metrics else " " * _WIDTH for name in self._columns
        )
        tqdm.write(f"{metrics['epoch']:>5.0f}{''.join(cells)}")


def _text(name: str, value: float) -> str:
    if name in _PERCENT:
        return f"{value:.2%}"
    return f"{value:.1f}" if name == "seconds" else f"{value:.4g}"
