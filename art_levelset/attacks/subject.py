"""A network and samples that have been checked once, for all that is done with them."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from art_levelset.attacks.inputs import Array, ClipValues, box_of, check_inside, home, labels, network_of, samples
from art_levelset.core.balls import Box
from art_levelset.identity import digest


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """
    A network and samples, checked: what attacks and evaluations work on. :meth:`of` makes one of what a caller gives.

    :param network: The network, (batch, ...) -> (batch, classes); of an ART classifier that behind its preprocessing.
    :param x: The samples, (n, ...), detached, floating point, finite, in the box. They may share the caller's memory:
           a network is given copies of them.
    :param y: Their labels, (n,), int64, >= 0.
    :param clip_values: The box of valid inputs, floats or tensors that broadcast to a sample; None for all values.

    >>> import torch
    >>> subject = Subject.of(torch.nn.Linear(2, 3), torch.rand(4, 2), torch.tensor([0, 1, 2, 0]), clip_values=(0, 1))
    >>> subject.select(torch.tensor([0, 3])).y
    tensor([0, 0])
    """

    network: nn.Module
    x: Tensor
    y: Tensor
    clip_values: Box | None = None
    _hashes: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, model: Any, x: Array, y: Array, *, clip_values: ClipValues | None = None) -> Subject:
        """
        Check what a caller gives.

        :param model: A network, or an ART PyTorchClassifier.
        :param x: Samples, (n, ...), floating point, finite, within `clip_values`.
        :param y: Labels, (n,) or (n, 1) whole numbers, or (n, classes) one-hot.
        :param clip_values: Smallest and largest valid input, numbers or arrays for each feature or channel.
        :return: The subject.
        :raises TypeError: If an argument is of another type.
        :raises ValueError: If a shape or value is out of range.
        """
        network, points = network_of(model), samples(x)
        targets, box = labels(y, len(points)), box_of(clip_values, points.shape[1:])
        check_inside(points, box)
        return cls(network, points, targets, box)

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.x)

    def select(self, rows: slice | Tensor) -> Subject:
        """
        Some of the samples.

        :param rows: A slice, indices or a boolean mask.
        :return: The same network with these samples.
        """
        return dataclasses.replace(self, x=self.x[rows], y=self.y[rows])

    def at(self, examples: Tensor) -> Subject:
        """
        The same network and labels at other points: what an attack has made of the samples.

        :param examples: (n, ...), floating point.
        :return: The subject.
        :raises ValueError: If they are not of the samples' shape, or not finite.
        :raises TypeError: If they are no floating-point numbers.
        """
        if examples.shape != self.x.shape:
            raise ValueError(f"attack must return the shape {tuple(self.x.shape)}, got {tuple(examples.shape)}")
        return dataclasses.replace(self, x=samples(examples))

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return home(self.network)[0]

    @property
    def dtype(self) -> torch.dtype:
        """In what the network computes."""
        return home(self.network)[1]

    @property
    def network_sha256(self) -> str:
        """The network's SHA-256: its structure and all its parameters; computed once for all selections."""
        if "network" not in self._hashes:
            self._hashes["network"] = digest(self.network)
        return self._hashes["network"]

    @cached_property
    def data_sha256(self) -> str:
        """The SHA-256 of the samples and labels."""
        return digest(self.x, self.y)

    def inputs(self) -> Tensor:
        """
        The samples as the network takes them.

        :return: A copy, (n, ...), on its device and in its dtype: a network may write to it.
        """
        return self.x.to(self.device, self.dtype, copy=True)
