"""The figures of an epoch: means over its samples of what each batch has told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Means:
    """Means over samples; a figure that only some batches have is the mean over theirs."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}
        self.samples = 0
        """Of all batches."""

    def add(self, figures: Mapping[str, float], samples: int) -> None:
        """
        Add a batch.

        :param figures: Means over its samples.
        :param samples: How many it has, >= 0.
        """
        for name, value in figures.items():
            total, before = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value * samples, before + samples
        self.samples += samples

    def __call__(self) -> dict[str, float]:
        """
        The means.

        :return: By name, over all samples added.
        """
        return {name: total / max(samples, 1) for name, (total, samples) in self._sums.items()}


def plain(value: Any) -> float:
    """
    A figure as a plain number, whatever a callback has measured it with.

    :param value: A number, or a scalar of NumPy or torch.
    :return: The number.
    """
    return value if type(value) in (int, float) else float(value)
