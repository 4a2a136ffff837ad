"""Where batches come from: arrays, an ART data generator or a PyTorch DataLoader; checked at the door."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from art.data_generators import DataGenerator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from art_levelset.checks import check_count
from art_levelset.trainers.distributed import World


class Batch(NamedTuple):
    """
    A batch of all processes together.

    :param x: Raw inputs, (batch, *input_shape).
    :param y: Integer labels, (batch,).
    :param rows: The samples' numbers in the data set, (batch,); None where the data has no order.
    """

    x: NDArray[Any]
    y: NDArray[np.int64]
    rows: NDArray[np.int64] | None = None


@runtime_checkable
class Batches(Protocol):
    """
    The batches of an epoch, the same in every process.

    :param nb_batches: How many an epoch has, >= 1.
    :param settings: What a continued run must have in common with the one before.
    """

    nb_batches: int
    settings: dict[str, int]

    def epoch(self, seed: int, number: int) -> Iterator[Batch]:
        """
        The batches of one epoch.

        :param seed: Seed of the shuffling.
        :param number: The epoch's number.
        :return: `nb_batches` batches.
        """

    def state_dict(self) -> dict[str, Any]:
        """
        What a checkpoint keeps.

        :return: Tensors.
        """

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a checkpoint.

        :param state: What :meth:`state_dict` returned.
        """


class ArrayBatches:
    """
    Batches of arrays, shuffled in each epoch by a function of the seed and the epoch's number.

    :param x: Raw inputs, (n, *input_shape), checked.
    :param y: Integer labels, (n,), checked.
    :param batch_size: Samples a batch, >= 1; the last one of an epoch may be smaller.
    :raises ValueError: If `batch_size` is out of range.
    """

    def __init__(self, x: NDArray[Any], y: NDArray[np.int64], batch_size: int) -> None:
        check_count("batch_size", batch_size)
        self._x, self._y, self._size = x, y, batch_size
        self.nb_batches = math.ceil(len(x) / batch_size)
        self.settings = {"samples": len(x), "batch_size": batch_size}

    def epoch(self, seed: int, number: int) -> Iterator[Batch]:
        """
        The batches of one epoch.

        :param seed: Seed of the shuffling, >= 0.
        :param number: The epoch's number, >= 0.
        :return: Every sample once.
        """
        order = np.random.default_rng((seed, number)).permutation(len(self._x))
        for first in range(0, len(order), self._size):
            rows = order[first : first + self._size]
            yield Batch(self._x[rows], self._y[rows], rows)

    def state_dict(self) -> dict[str, Any]:
        """
        Nothing: an epoch is a function of its number.

        :return: An empty dictionary.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Nothing to do.

        :param state: What :meth:`state_dict` returned.
        """


class GeneratedBatches:
    """
    Batches from an ART data generator or a DataLoader; with several processes, the main one's.

    :param generator: The generator; the length of an epoch must be known.
    :param input_shape: The shape of one input.
    :param nb_classes: The number of classes.
    :param world: The processes that train together.
    :raises TypeError: If it is neither.
    :raises ValueError: If the length of an epoch is not known, or zero.
    """

    def __init__(
        self, generator: DataGenerator | DataLoader[Any], input_shape: tuple[int, ...], nb_classes: int, world: World
    ) -> None:
        if isinstance(generator, DataGenerator):
            if generator.size is None:
                raise ValueError("generator.size is None: the length of an epoch must be known")
            self.nb_batches = math.ceil(generator.size / generator.batch_size)
        elif isinstance(generator, DataLoader):
            try:
                self.nb_batches = len(generator)
            except TypeError:
                raise ValueError("generator: the length of an epoch must be known, and its data set has none") from None
        else:
            raise TypeError(f"generator must be an art DataGenerator or a DataLoader, got {type(generator).__name__}")
        if not self.nb_batches:
            raise ValueError("generator has no batches")
        self.settings = {"batches": self.nb_batches}
        self._generator, self._shape, self._nb_classes, self._world = generator, input_shape, nb_classes, world

    def epoch(self, seed: int, number: int) -> Iterator[Batch]:
        """
        The batches of one epoch; their order is the generator's own affair.

        :param seed: Not used.
        :param number: The epoch's number, told to a sampler that wants to know it.
        :return: `nb_batches` batches.
        :raises ValueError: If a batch does not fit the classifier, or there are too few.
        """
        given = self._given(number) if self._world.main else iter(())
        for _ in range(self.nb_batches):
            batch = self._world.broadcast(next(given, None))
            if batch is None:
                raise ValueError(f"generator has ended before its {self.nb_batches} batches")
            if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
                raise ValueError(f"generator must give pairs (x, y), got {type(batch).__name__}")
            x, y = (part.cpu().numpy() if isinstance(part, Tensor) else part for part in batch)
            inputs = check_inputs(x, self._shape, "generator: x")
            yield Batch(inputs, integer_labels(y, len(inputs), self._nb_classes, "generator: y"))

    def state_dict(self) -> dict[str, Any]:
        """
        The states of a DataLoader's own random generators.

        :return: A list of tensors.
        """
        return {"generators": [generator.get_state() for generator in self._random_generators()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Set a DataLoader's own random generators.

        :param state: What :meth:`state_dict` returned.
        """
        for generator, saved in zip(self._random_generators(), state["generators"], strict=True):
            generator.set_state(saved)

    def _random_generators(self) -> list[torch.Generator]:
        owners = (self._generator, getattr(self._generator, "sampler", None))
        found = (getattr(owner, "generator", None) for owner in owners)
        return [generator for generator in found if isinstance(generator, torch.Generator)]

    def _given(self, number: int) -> Iterator[Any]:
        if isinstance(self._generator, DataGenerator):
            return (self._generator.get_batch() for _ in range(self.nb_batches))
        for part in (self._generator.sampler, self._generator.batch_sampler):
            set_epoch = getattr(part, "set_epoch", None)
            if callable(set_epoch):
                set_epoch(number)
        return islice(self._generator, self.nb_batches)


def check_inputs(x: Any, input_shape: tuple[int, ...], name: str = "x") -> NDArray[Any]:
    """
    Check the inputs of a classifier.

    :param x: Inputs, (n, *input_shape), n >= 1, real numbers, all finite.
    :param input_shape: The shape of one input.
    :param name: What the caller calls them.
    :return: The inputs as an array, not copied where they are one.
    :raises TypeError: If they are not numbers.
    :raises ValueError: If the shape is another or a number is not finite.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    if array.ndim == 0 or array.shape[1:] != tuple(input_shape) or len(array) == 0:
        raise ValueError(f"{name} must have the shape (n >= 1, {', '.join(map(str, input_shape))}), got {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are not finite")
    return array


def integer_labels(y: Any, count: int, nb_classes: int, name: str = "y") -> NDArray[np.int64]:
    """
    Labels as integers, from any form that ART takes.

    :param y: Integers (n,) or (n, 1), or one-hot rows (n, nb_classes).
    :param count: n, the number of inputs that they belong to.
    :param nb_classes: The number of classes.
    :param name: What the caller calls them.
    :return: Labels in [0, nb_classes), (n,).
    :raises ValueError: If their number, shape or range is another, or they are not whole numbers.
    """
    array = np.asarray(y)
    if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise ValueError(f"{name} must be whole numbers or one-hot rows")
    if array.ndim == 2 and array.shape[1] == nb_classes and nb_classes > 1:
        if not (np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all()):
            raise ValueError(f"{name} has rows that are not one-hot")
        array = array.argmax(axis=1)
    elif array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name} must have the shape (n,), (n, 1) or (n, {nb_classes}), got {array.shape}")
    if len(array) != count:
        raise ValueError(f"{name} must have one label an input: {count} inputs, {len(array)} labels")
    labels = array.astype(np.int64)
    if (labels != array).any():
        raise ValueError(f"{name} must be whole numbers")
    if labels.size and not (labels.min() >= 0 and labels.max() < nb_classes):
        raise ValueError(f"{name} must be in [0, {nb_classes}), got values from {labels.min()} to {labels.max()}")
    return labels
