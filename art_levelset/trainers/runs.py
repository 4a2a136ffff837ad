"""
One run of training: what `fit` is given beside the data, checked at the door; the state that a checkpoint keeps; and
the settings that a continued run must share with the one before.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from art_levelset.attacks.protocol import Attack
from art_levelset.checks import check_count
from art_levelset.identity import describe
from art_levelset.tensors import check_form
from art_levelset.trainers.augmentation import Augmentation
from art_levelset.trainers.batches import Batches
from art_levelset.trainers.callbacks import Callback, CSVLog, Progress, TensorBoardLog
from art_levelset.trainers.checkpoints import Checkpoints

logger = logging.getLogger(__name__)

UNLIMITED = 10**6
"""So many epochs that something else ends the training, such as a :class:`~art_levelset.trainers.budget.TimeBudget`."""

Data: TypeAlias = "tuple[NDArray[Any], NDArray[Any]]"


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
        if isinstance(self.scheduler, ReduceLROnPlateau):
            raise ValueError("scheduler: ReduceLROnPlateau wants a metric in each step; call it from a callback")
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


class Stateful(Protocol):
    """What a run needs of its trainer."""

    history: list[dict[str, float]]
    seed: int

    @property
    def classifier(self) -> PyTorchClassifier:
        """The classifier."""

    @property
    def seed_is_given(self) -> bool:
        """Whether the seed was given, so that a continued run must have it too."""

    def settings(self) -> dict[str, Any]:
        """What must not change between a run and its continuation, by name."""

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""


@dataclass
class Run:
    """
    All that changes while a trainer trains, and what must not change.

    :param trainer: The trainer.
    :param batches: Its data.
    :param options: The arguments of `fit`.
    :param checkpoints: Where the state is kept; None for nowhere.
    :param first: Epochs in the history when the run began; known after :meth:`begin`.
    :param stopped: Whether a callback has ended the run with an epoch.
    :param interrupted: Whether one has ended it before a step, as when its time is up. A run that goes on asks again.
    """

    trainer: Stateful
    batches: Batches
    options: Options
    checkpoints: Checkpoints | None
    first: int = 0
    stopped: bool = False
    interrupted: bool = False

    def begin(self) -> None:
        """
        Go on from a checkpoint, or write the first one.

        :raises ValueError: If the checkpoints are damaged or of a run with other settings, or the scheduler is too
                short for what is left.
        """
        self.first = len(self.trainer.history)
        state = None if self.checkpoints is None else self.checkpoints.read()
        if self.checkpoints is not None and state is not None:
            source = f"checkpoint_dir: {self.checkpoints.folder}"
            try:
                self._check(state, source)
                self._load(state)
            except OSError:
                raise
            except Exception as error:  # a file may say anything
                if str(error).startswith(source):
                    raise
                raise ValueError(
                    f"{source} has no state of this run ({type(error).__name__}: {error!s:.200})"
                ) from error
        scheduler = self.options.scheduler
        if isinstance(scheduler, OneCycleLR) and scheduler.last_epoch + self.left > scheduler.total_steps:
            raise ValueError(
                f"scheduler: the {type(scheduler).__name__} has {scheduler.total_steps - scheduler.last_epoch} of its "
                f"{scheduler.total_steps} steps left, and one is made after each of {self.left} epochs"
            )
        if state is None and self.checkpoints is not None:
            self.checkpoints.write(self._state(), len(self.trainer.history))

    def save(self) -> None:
        """Write a checkpoint, if the run has some. What cannot be written now is logged, and training goes on."""
        if self.checkpoints is None:
            return
        epoch = len(self.trainer.history)
        try:
            self.checkpoints.write(self._state(), epoch)
        except OSError as error:
            reason = error.strerror or error
            logger.warning("the checkpoint of epoch %d cannot be written (%s); training goes on", epoch, reason)

    @property
    def left(self) -> int:
        """Epochs that are left, >= 0."""
        if self.stopped or self.interrupted:
            return 0
        return max(self.first + self.options.nb_epochs - len(self.trainer.history), 0)

    def progress(self, epochs: float) -> Progress:
        """
        Where training is.

        :param epochs: Epochs done in the trainer's life, with the part of the present one.
        :return: The progress.
        """
        fraction = (epochs - self.first) / self.options.nb_epochs
        return Progress(len(self.trainer.history), epochs, min(fraction, 1.0))

    def _settings(self) -> dict[str, Any]:
        """Names and values: numbers, strings, None."""
        optimizer, scheduler = self.trainer.classifier.optimizer, self.options.scheduler
        return {
            **{name: _text(value) for name, value in self.trainer.settings().items()},
            **self.batches.settings,
            "optimizer": f"{type(optimizer).__name__}({_text(optimizer.defaults)})",
            "scheduler": None if scheduler is None else type(scheduler).__name__,
            "augmentation": _text(self.options.augmentation),
            "callbacks": _text([type(callback).__name__ for callback in self.options.callbacks]),
        }

    def _state(self) -> dict[str, Any]:
        """The state between two epochs."""
        scheduler = self.options.scheduler
        return {
            **self.trainer.state_dict(),
            "settings": self._settings(),
            "first": self.first,
            "stopped": self.stopped,
            "scheduler": None if scheduler is None else scheduler.state_dict(),
            "callbacks": [callback.state_dict() for callback in self.options.callbacks],
            "batches": self.batches.state_dict(),
            "random": random_states(self.trainer.classifier.device),
        }

    def _check(self, state: Mapping[str, Any], source: str) -> None:
        """Check that a state is one of the same run; the message names all settings that are others."""
        saved, own = dict(state["settings"]), self._settings()
        if self.trainer.seed_is_given:
            saved["seed"], own["seed"] = state["seed"], self.trainer.seed
        missing = object()
        changed = [
            f"{name} was {saved.get(name)}, is {own.get(name)}"
            for name in {**saved, **own}
            if saved.get(name, missing) != own.get(name, missing)
        ]
        if changed:
            raise ValueError(f"{source} is of a run with other settings: {'; '.join(changed):.1000}")

    def _load(self, state: Mapping[str, Any]) -> None:
        check_count("first", state["first"], least=0)
        if not isinstance(state["stopped"], bool):
            raise ValueError(f"stopped must be True or False, got {state['stopped']!r:.80}")
        self.trainer.load_state_dict(state)
        if self.options.scheduler is not None:
            check_form("scheduler", state["scheduler"], self.options.scheduler.state_dict())
            self.options.scheduler.load_state_dict(state["scheduler"])
        for callback, saved in zip(self.options.callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(saved)
        self.batches.load_state_dict(state["batches"])
        self.first, self.stopped = state["first"], state["stopped"]
        set_random_states(state["random"])


def random_states(device: torch.device) -> dict[str, Any]:
    """
    The states of the global random generators, which a network, a generator of data or a callback may use.

    :param device: The device of the training.
    :return: Tensors and numbers.
    """
    name, keys, *rest = np.random.get_state()  # noqa: NPY002  # ART's generators use it
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if device.type == "cuda" else [],
        "numpy": [str(name), torch.as_tensor(np.asarray(keys, np.int64)), *(float(number) for number in rest)],
        "python": [version, list(words), gauss],
    }


def set_random_states(states: Mapping[str, Any]) -> None:
    """
    Set the global random generators.

    :param states: What :func:`random_states` returned.
    """
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        for index, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, index)
    name, keys, position, has_gauss, gaussian = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), int(position), int(has_gauss), gaussian))  # noqa: NPY002
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))


def _text(value: Any) -> Any:
    """A setting as a number, a text or None, the same for equal settings in another process."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return _joined(describe(value))


def _joined(described: Any) -> Any:
    if isinstance(described, dict):
        given = {name: item for name, item in described.items() if name != "name"}
        inside = ", ".join(f"{name}={_joined(item)}" for name, item in given.items())
        return f"{described['name']}({inside})" if "name" in described else inside
    if isinstance(described, list):
        return ", ".join(str(_joined(item)) for item in described)
    return described
