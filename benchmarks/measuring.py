"""What the training benchmarks measure with: alternating runs, counted operations, the machine's peak and its facts."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Seconds(NamedTuple):
    """What a run took."""

    wall: float
    cpu: float


class Operations(TorchDispatchMode):
    """Counts the floating-point operations of matrix products and convolutions, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count it."""
        result = func(*args, **(kwargs or {}))
        if counter := flop_registry.get(func._overloadpacket):
            self.count += counter(*args, **(kwargs or {}), out_val=result)
        return result


def timed(run: Callable[[], object]) -> Seconds:
    """The wall seconds of a run and this process's CPU seconds, which other processes disturb less."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def alternating(
    runs: Mapping[str, Callable[[], object]], prepare: Callable[[str], object], rounds: int
) -> dict[str, list[Seconds]]:
    """The seconds of each run, one after the other in every round; the first round is a warm-up."""
    found: dict[str, list[Seconds]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            prepare(name)
            seconds = timed(run)
            if round_:
                found[name].append(seconds)
    return found


def matmul_peak(rounds: int = 20, size: int = 1024) -> float:
    """The most float32 operations a CPU second of a matrix product."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(timed(lambda: left @ right).cpu for _ in range(rounds))


def machine() -> str:
    """The processor, its cores, the load and the versions, in one line."""
    processor = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = names[0] if names else processor
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    threads = torch.get_num_threads()
    return f"{processor}, {os.cpu_count()} cores{load}; {threads} threads, torch {torch.__version__}"
