"""What becomes of a scan, whatever is made of it: what there is to say, the seconds it took, the files."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch


@dataclass
class Seconds:
    """
    The wall seconds of the parts of a run.

    :param parts: By name, in their order.
    """

    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """
        Count the seconds of a block.

        :param name: Its name.
        """
        started = time.perf_counter()
        yield
        self.parts[name] = time.perf_counter() - started

    def total(self) -> float:
        """
        The seconds of all parts.

        :return: Their sum.
        """
        return sum(self.parts.values())


class Told(Protocol):
    """What there is to say of a reconstruction."""

    def lines(self) -> list[str]:
        """
        Alone, for a terminal.

        :return: Lines of text.
        """

    def row(self) -> dict[str, str]:
        """
        In a table of several.

        :return: The cells by the names of their columns.
        """


@dataclass(frozen=True)
class Result:
    """
    What became of a scan.

    :param report: What there is to say of it.
    :param seconds: What the parts of the work took.
    :param files: What was written.
    """

    report: Told
    seconds: Seconds
    files: list[Path]

    def lines(self) -> list[str]:
        """
        The result for a terminal.

        :return: Lines of text.
        """
        return [*self.report.lines(), f"Wrote in {self.seconds.total():.0f} s:", *(f"  {path}" for path in self.files)]


def document(settings: Mapping[str, Any], points: int, seconds: Seconds, figures: Mapping[str, Any]) -> str:
    """
    A result for a file.

    :param settings: What was asked for.
    :param points: Number of points of the scan.
    :param seconds: What the parts of the run took.
    :param figures: What there is to say of the reconstruction.
    :return: A JSON document.
    """
    contents = {
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()},
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "points": points,
        "seconds": {**seconds.parts, "total": seconds.total()},
        **figures,
    }
    return json.dumps(contents, indent=2) + "\n"
