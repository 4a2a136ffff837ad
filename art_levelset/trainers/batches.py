"""Where batches come from: arrays, an ART data generator or a PyTorch DataLoader."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from art.data_generators import DataGenerator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from art_levelset.checks import check_count
from art_levelset.distributed import World


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


class Numbered(Dataset[Any]):
    """
    A data set whose samples come with their numbers, so that a trainer knows them again in the batches of a DataLoader.

    Its samples are to stay the same: random changes belong in `augmentation` of `fit`, not in the data set.

    :param dataset: A data set of pairs (x, y), with a length.
    :raises TypeError: If it has none.

    >>> import torch
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> loader = DataLoader(Numbered(TensorDataset(torch.rand(4, 2), torch.zeros(4))), batch_size=2)
    >>> [rows.tolist() for _, _, rows in loader]
    [[0, 1], [2, 3]]
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        if not hasattr(dataset, "__len__"):
            raise TypeError(f"dataset must have a length, got {type(dataset).__name__}")
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[Any, Any, int]:
        x, y = self.dataset[row]
        return x, y, row


class GeneratedBatches:
    """
    Batches from an ART data generator or a DataLoader, whose data set may be :class:`Numbered`; with several processes,
    the main one's.

    :param generator: The generator; the length of an epoch must be known.
    :param check: Called with each batch's x and y; returns raw inputs, (batch, *input_shape), and integer labels.
    :param world: The processes that train together.
    :raises TypeError: If it is neither.
    :raises ValueError: If the length of an epoch is not known, or zero.
    """

    def __init__(
        self,
        generator: DataGenerator | DataLoader[Any],
        check: Callable[[Any, Any], tuple[NDArray[Any], NDArray[np.int64]]],
        world: World,
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
        dataset = generator.dataset if isinstance(generator, DataLoader) else None
        self._parts = "pairs (x, y)"
        if isinstance(dataset, Numbered):
            self._parts = "triples (x, y, rows)"
            self.settings["samples"] = len(dataset)
        self._generator, self._check, self._world = generator, check, world

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
            if not (isinstance(batch, (tuple, list)) and len(batch) == (3 if "samples" in self.settings else 2)):
                raise ValueError(f"generator must give {self._parts}, got {type(batch).__name__}")
            x, y, *rows = (part.cpu().numpy() if isinstance(part, Tensor) else part for part in batch)
            yield Batch(*self._check(x, y), *rows)

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
