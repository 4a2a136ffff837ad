"""What a trainer's `fit` and `fit_generator` are given beside the data, checked at the door."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from art_levelset.attacks.protocol import Attack
from art_levelset.checks import check_count
from art_levelset.trainers.callbacks import Callback
from art_levelset.trainers.logs import CSVLog, TensorBoardLog

Augmentation: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""Called as `augmentation(x, generator) -> x` with a batch of raw inputs on the device, which it must not change."""

Data: TypeAlias = "tuple[NDArray[Any], NDArray[Any]]"


def augmented(x: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """
    Apply an augmentation, and check what it returns.

    :param x: Raw inputs, (batch, ...).
    :param augmentation: The augmentation.
    :param generator: Its source of randomness.
    :return: A tensor of the same shape.
    :raises ValueError: If it returns anything else.
    """
    changed = augmentation(x, generator)
    if not isinstance(changed, Tensor) or changed.shape != x.shape:
        got = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        raise ValueError(f"augmentation must return a tensor of shape {tuple(x.shape)}, got {got}")
    return changed


@dataclass(frozen=True)
class Options:
    """The arguments of `fit` by their names there."""

    nb_epochs: int
    scheduler: Any
    validation_data: Data | None
    augmentation: Augmentation | None
    validation_attack: Attack | None
    callbacks: Sequence[Callback]
    checkpoint_dir: str | Path | None
    csv_file: str | Path | None
    tensorboard_dir: str | Path | None
    verbose: bool

    def __post_init__(self) -> None:
        check_count("nb_epochs", self.nb_epochs)
        for name in ("augmentation", "validation_attack"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise TypeError(f"{name} must be callable, got {type(getattr(self, name)).__name__}")
        if self.validation_data is not None and not (
            isinstance(self.validation_data, (tuple, list)) and len(self.validation_data) == 2
        ):
            raise TypeError(f"validation_data must be a pair (x, y), got {type(self.validation_data).__name__}")
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks must be Callbacks, got {type(callback).__name__}")
        if self.scheduler is not None:
            self._check_scheduler()

    def _check_scheduler(self) -> None:
        name = type(self.scheduler).__name__
        if not callable(getattr(self.scheduler, "step", None)):
            raise ValueError(f"scheduler must have a step() method, got {name}")
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise ValueError("scheduler: ReduceLROnPlateau wants a figure in each step; call it from a callback")
        if self.checkpoint_dir is not None and not callable(getattr(self.scheduler, "state_dict", None)):
            raise ValueError(f"scheduler must have a state_dict() for checkpoints, got {name}")

    def logs(self) -> list[Callback]:
        """
        The logs that were asked for.

        :return: A callback each.
        :raises OSError: If a file cannot be where it shall be.
        :raises ImportError: If TensorBoard is not installed.
        """
        logs: list[Callback] = [] if self.csv_file is None else [CSVLog(self.csv_file)]
        return logs if self.tensorboard_dir is None else [*logs, TensorBoardLog(self.tensorboard_dir)]
