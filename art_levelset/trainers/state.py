"""What training is made of: the state that a checkpoint keeps, and the settings that a continued run must share."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from art_levelset.trainers.batches import Batches
from art_levelset.trainers.callbacks import Callback
from art_levelset.trainers.checkpoints import Checkpoints

if TYPE_CHECKING:
    from art_levelset.trainers.base import LoopTrainer


@dataclasses.dataclass(frozen=True)
class Training:
    """
    All that changes while a trainer trains, and what must not change.

    :param trainer: The trainer.
    :param batches: Its data.
    :param scheduler: The learning-rate scheduler, or None.
    :param callbacks: The caller's callbacks.
    :param augmentation: Its augmentation, or None.
    """

    trainer: LoopTrainer
    batches: Batches
    scheduler: Any
    callbacks: Sequence[Callback]
    augmentation: Callable[..., Any] | None

    def begin(self, checkpoints: Checkpoints | None) -> tuple[int, bool]:
        """
        Go on from a checkpoint, or write the first one.

        :param checkpoints: The run's checkpoints; None for none.
        :return: Epochs in the history when the run began, and whether a callback has ended it.
        :raises ValueError: If the checkpoints are damaged, or of a run with other settings.
        """
        first = len(self.trainer.history)
        if checkpoints is None:
            return first, False
        state = checkpoints.read()
        if state is None:
            checkpoints.write(self.state(first, False), first)
            return first, False
        self.check(state, f"checkpoint_dir: {checkpoints.folder}")
        self.load(state)
        return state["first"], state["stopped"]

    def settings(self) -> dict[str, Any]:
        """
        What must not change between a run and its continuation.

        :return: Names and values: numbers, strings, None.
        """
        trainer = self.trainer
        optimizer = trainer.classifier.optimizer
        given = {name: value for name, value in vars(trainer).items() if not name.startswith("_")}
        return {
            "trainer": type(trainer).__name__,
            **{name: described(value) for name, value in given.items() if name not in ("history", "progress", "seed")},
            **self.batches.settings,
            "optimizer": f"{type(optimizer).__name__}({described(optimizer.defaults)})",
            "scheduler": None if self.scheduler is None else type(self.scheduler).__name__,
            "augmentation": described(self.augmentation),
            "callbacks": described([type(callback).__name__ for callback in self.callbacks]),
        }

    def state(self, first: int, stopped: bool) -> dict[str, Any]:
        """
        The state between two epochs.

        :param first: Epochs in the history when this run began.
        :param stopped: Whether a callback has ended it.
        :return: All that is needed to go on.
        """
        trainer = self.trainer
        return {
            "settings": self.settings(),
            "seed": trainer.seed,
            "first": first,
            "stopped": stopped,
            "history": trainer.history,
            "network": trainer._network.state_dict(),
            "optimizer": trainer.classifier.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "average": None if trainer._average is None else trainer._average.state_dict(),
            "callbacks": [callback.state_dict() for callback in self.callbacks],
            "trainer": trainer._state_dict(),
            "batches": self.batches.state_dict(),
            "random": random_states(trainer.classifier.device),
        }

    def check(self, state: Mapping[str, Any], source: str) -> None:
        """
        Check that a state is one of the same run.

        :param state: What :meth:`state` returned.
        :param source: Where it comes from, for the message.
        :raises ValueError: If a setting is another; the message names all of them.
        """
        saved, own = dict(state["settings"]), self.settings()
        if self.trainer._seed_given:
            saved["seed"], own["seed"] = state["seed"], self.trainer.seed
        missing = object()
        changed = [
            f"{name} was {saved.get(name)}, is {own.get(name)}"
            for name in {**saved, **own}
            if saved.get(name, missing) != own.get(name, missing)
        ]
        if changed:
            raise ValueError(f"{source} is of a run with other settings: {'; '.join(changed)}")

    def load(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a state.

        :param state: What :meth:`state` returned.
        :raises ValueError: If the network is another.
        """
        trainer = self.trainer
        try:
            trainer._network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise ValueError(f"classifier: its model is not the one that was trained: {error}") from None
        trainer.seed = state["seed"]
        trainer.history[:] = state["history"]
        trainer.classifier.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if trainer._average is not None:
            trainer._average.load_state_dict(state["average"])
        for callback, saved in zip(self.callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(saved)
        trainer._load_state_dict(state["trainer"])
        self.batches.load_state_dict(state["batches"])
        set_random_states(state["random"])


def described(value: Any) -> Any:
    """
    Something as a value that can be stored and compared: the same for equal settings in another process.

    :param value: Anything.
    :return: Itself if it is a number, a string or None, else a text.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={described(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(described(item)) for item in value)
    if isinstance(value, functools.partial):
        parts = [described(value.func), *map(described, value.args), described(value.keywords)]
        return f"partial({', '.join(str(part) for part in parts)})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return f"{type(value).__name__}({described(fields)})"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    text = repr(value)
    return type(value).__name__ if " at 0x" in text else text


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
