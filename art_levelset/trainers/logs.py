"""Logs of the history: a CSV file, and TensorBoard's."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from art_levelset.files import write_bytes
from art_levelset.trainers.callbacks import Callback

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from art_levelset.trainers.base import LoopTrainer


class CSVLog(Callback):
    """
    The history as a CSV file, one row an epoch, written anew after each epoch.

    :param path: The file, in a folder that exists.
    :raises OSError: If the folder does not exist, or the file is one.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        if not self._path.parent.is_dir():
            raise FileNotFoundError(f"csv_file: the folder {self._path.parent} does not exist")
        if self._path.is_dir():
            raise IsADirectoryError(f"csv_file: {self._path} is a folder")

    def on_epoch_end(self, trainer: LoopTrainer, figures: dict[str, float]) -> None:
        """
        Write the file.

        :param trainer: The trainer.
        :param figures: The epoch's figures.
        """
        columns = list(dict.fromkeys(name for row in trainer.history for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(trainer.history)
        write_bytes(text.getvalue().encode(), self._path, durable=True)


class TensorBoardLog(Callback):
    """
    The figures of each epoch as TensorBoard's scalars.

    :param folder: Its log folder.
    :raises ImportError: If the package tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("tensorboard_dir needs the package tensorboard: pip install tensorboard") from error
        self._make = SummaryWriter
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def on_epoch_end(self, trainer: LoopTrainer, figures: dict[str, float]) -> None:
        """
        Write the figures. What an earlier, killed run has written about this epoch and later ones is left out.

        :param trainer: The trainer.
        :param figures: The epoch's figures.
        """
        epoch = len(trainer.history)
        if self._writer is None:
            self._writer = self._make(str(self._folder), purge_step=epoch)
        for name, value in figures.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def on_train_end(self, trainer: LoopTrainer) -> None:
        """
        Close the files.

        :param trainer: The trainer.
        """
        if self._writer is not None:
            self._writer.close()
