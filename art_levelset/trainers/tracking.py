"""
Tracked searches: where each sample's search ended, kept from one epoch to the next.

The level sets move little between two visits to a sample, so the next search goes on where the last one ended, and one
or two steps an epoch do what ten from a random start do (adversarial training with transferable examples). Offsets are
kept in units of the sample's radius, one byte a coordinate, so they follow a radius that grows; and they follow the
entries of a sample where an augmentation moves them.

| Paper link: https://arxiv.org/abs/1912.11969
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_levelset.core.balls import column
from art_levelset.distributed import World
from art_levelset.trainers.augmentation import Moves

_SCALE = 127

_ROWS = 4096
"""Samples whose offsets are sent to other processes at a time."""


class Offsets:
    """
    The last offsets of the samples of a data set: as many bytes as its inputs have entries, in main memory or, where
    that is short, in a file that is mapped into it.

    :param count: Number of samples.
    :param shape: The shape of one.
    :param folder: Where the file is made, without a name, so that it is gone with the process; None for main memory.
    :raises OSError: If the file cannot be made.
    """

    def __init__(self, count: int, shape: tuple[int, ...], folder: Path | None = None) -> None:
        if folder is None:
            self._offsets = torch.zeros(count, *shape, dtype=torch.int8)
        else:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.truncate(max(count * math.prod(shape), 1))
                self._offsets = torch.from_numpy(np.memmap(file, np.int8, "r+", shape=(count, *shape)))
        self._known = torch.zeros(count, dtype=torch.bool)
        self._fresh = torch.zeros(count, dtype=torch.bool)

    def fits(self, count: int, shape: tuple[int, ...]) -> bool:
        """
        Whether these are offsets for such a data set.

        :param count: Number of samples.
        :param shape: The shape of one.
        :return: Whether both are the same.
        """
        return self._offsets.shape == (count, *shape)

    def start(self, x: Tensor, rows: Tensor, eps: Tensor, otherwise: Tensor, moves: Moves | None = None) -> Tensor:
        """
        Where the searches of a batch begin.

        :param x: Samples, (batch, ...).
        :param rows: Their numbers in the data set, (batch,).
        :param eps: Their radii, (batch,).
        :param otherwise: Where those begin that have no offset yet, (batch, ...).
        :param moves: Where the samples' entries come from, if they were augmented: offsets go with them, and those of
               samples to which something else was done begin as if they had none.
        :return: Points, (batch, ...).
        """
        rows = rows.cpu()
        offsets, known = self._offsets[rows].to(x.device, x.dtype), self._known[rows].to(x.device)
        if moves is not None:
            offsets, known = moves.there(offsets), known & moves.known
        return torch.where(column(known, x), x + column(eps / _SCALE, x) * offsets, otherwise)

    def store(self, x: Tensor, rows: Tensor, ends: Tensor, eps: Tensor, moves: Moves | None = None) -> None:
        """
        Keep where the searches of a batch ended.

        :param x: Samples, (batch, ...).
        :param rows: Their numbers in the data set, (batch,).
        :param ends: Where their searches ended, (batch, ...).
        :param eps: Their radii, (batch,), > 0.
        :param moves: As for :meth:`start`.
        """
        offsets = ((ends - x) * column(_SCALE / eps, x)).round().clamp(-_SCALE, _SCALE)
        if moves is not None:
            kept = self._offsets[rows.cpu()].to(offsets.device, offsets.dtype)
            offsets, rows = moves.back(offsets, kept)[moves.known], rows[moves.known]
        rows = rows.cpu()
        self._offsets[rows] = offsets.to("cpu", torch.int8)
        self._known[rows] = self._fresh[rows] = True

    def merge(self, world: World) -> None:
        """
        Tell all processes what each has stored since the last time: a sample's next visit may be another's.

        :param world: The processes, all of which must call this. No two may have stored the same sample.
        """
        if world.size > 1:
            fresh = world.sum(self._fresh.to(torch.int8)).bool()
            for rows in torch.split(fresh.nonzero().flatten(), _ROWS):
                own = column(self._fresh[rows], self._offsets[rows])
                self._offsets[rows] = world.sum(torch.where(own, self._offsets[rows], 0).to(torch.int8))
            self._known |= fresh
        self._fresh.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """
        What a checkpoint keeps.

        :return: Tensors.
        """
        return {"offsets": self._offsets, "known": self._known}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a checkpoint.

        :param state: What :meth:`state_dict` returned.
        """
        self._offsets.copy_(state["offsets"])
        self._known.copy_(state["known"])


class Margins:
    """
    The margins that the last visits to the samples of a data set have found, in main memory.

    :param count: Number of samples.
    """

    def __init__(self, count: int) -> None:
        self._margins = torch.zeros(count)
        self._fresh = torch.zeros(count, dtype=torch.bool)

    def __len__(self) -> int:
        return len(self._margins)

    def of(self, rows: Tensor) -> Tensor:
        """
        The margins of some samples.

        :param rows: Their numbers, (batch,).
        :return: (batch,); 0 for those that were not visited, or were wrongly classified.
        """
        return self._margins[rows.cpu()].to(rows.device)

    def store(self, rows: Tensor, margins: Tensor) -> None:
        """
        Keep margins.

        :param rows: The samples' numbers, (batch,).
        :param margins: (batch,).
        """
        rows = rows.cpu()
        self._margins[rows] = margins.to("cpu", torch.float32)
        self._fresh[rows] = True

    def merge(self, world: World) -> None:
        """
        Tell all processes what each has stored since the last time.

        :param world: The processes, all of which must call this. No two may have stored the same sample.
        """
        if world.size > 1:
            fresh = world.sum(self._fresh.float()) > 0
            stored = world.sum(torch.where(self._fresh, self._margins, 0.0))
            self._margins = torch.where(fresh, stored, self._margins)
        self._fresh.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """
        What a checkpoint keeps.

        :return: A tensor.
        """
        return {"margins": self._margins}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a checkpoint.

        :param state: What :meth:`state_dict` returned.
        """
        self._margins = state["margins"]
