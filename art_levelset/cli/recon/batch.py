"""Several scans in one call: one after the other, or each in a process of its own; a failed one stops no other."""

from __future__ import annotations

import os
import signal
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Thread

import torch

from art_levelset.cli.console import in_one_line
from art_levelset.cli.recon.result import Result

SLOWEST = timedelta(days=30)
"""How long a rank waits for the others."""


@dataclass(frozen=True)
class Outcome:
    """
    How the work on a scan ended.

    :param scan: The scan.
    :param result: What became of it, unless it failed.
    :param error: In one line, why it failed.
    """

    scan: Path
    result: Result | None
    error: str = ""

    def __str__(self) -> str:
        """For a terminal."""
        if self.result is None:
            return f"{self.scan}: failed"
        return f"{self.scan}: {', '.join(map(str, self.result.files))} in {self.result.seconds.total():.0f} s"


def place_among_ranks() -> tuple[int, int]:
    """
    The place of this process among those that torchrun (or anything that sets the same variables) has started.

    :return: Its rank and how many there are: 0 and 1 where there is nothing of the kind.
    :raises ValueError: If the variables RANK and WORLD_SIZE make no sense.
    """
    rank, size = (os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise ValueError(f"RANK must be a number in [0, WORLD_SIZE), got RANK={rank} and WORLD_SIZE={size}")
    return int(rank), int(size)


def wait_for_ranks() -> None:
    """Under torchrun, which stops all processes as soon as one has failed: wait until all have done their share."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        torch.distributed.init_process_group("gloo", timeout=SLOWEST)
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def outcomes(jobs: Sequence[Namespace], work: Callable[[Namespace], Result], processes: int = 1) -> Iterator[Outcome]:
    """
    Work on several scans.

    :param jobs: The arguments of each, with its path as `scan`.
    :param work: What to do with one; a function of a module, if there are processes.
    :param processes: How many to work on at once, each in a process of its own with its share of the threads, >= 1.
    :return: How each ended, as it ends.
    """
    processes = min(processes, len(jobs))
    if processes < 2:
        yield from (_outcome(job, work) for job in jobs)
        return
    context = get_context("spawn")
    threads = max(1, torch.get_num_threads() // processes)
    waiting = list(jobs)
    running: dict[Connection, tuple[Namespace, SpawnProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work_alone, args=(sender, job, work, threads), daemon=True)
                process.start()
                sender.close()
                running[receiver] = job, process
            wait(list(running))
            ready = next(receiver for receiver in running if receiver.poll())
            yield _received(ready, *running.pop(ready))
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()


def summary(ends: Sequence[Outcome]) -> list[str]:
    """
    All outcomes in a table.

    :param ends: The outcomes.
    :return: Lines of text.
    """
    names = next((list(end.result.report.row()) for end in ends if end.result is not None), [])
    rows = [["scan", "seconds", *names], *(_row(end, len(names)) for end in ends)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
    return ["  ".join(row).rstrip() for row in aligned]


def _row(end: Outcome, cells: int) -> list[str]:
    if end.result is None:
        return [str(end.scan), "failed", *[""] * cells]
    return [str(end.scan), f"{end.result.seconds.total():.0f}", *end.result.report.row().values()]


def _outcome(job: Namespace, work: Callable[[Namespace], Result]) -> Outcome:
    try:
        return Outcome(job.scan, work(job))
    except Exception as error:  # a scan may fail in any way and must not stop the others
        return Outcome(job.scan, None, in_one_line(error))


def _work_alone(sender: Connection, job: Namespace, work: Callable[[Namespace], Result], threads: int) -> None:
    """In a process of its own, which ends with its parent, however that ends."""
    Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops this process
    torch.set_num_threads(threads)
    sender.send(_outcome(job, work))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _received(receiver: Connection, job: Namespace, process: SpawnProcess) -> Outcome:
    """What a process sends before it ends, if it does."""
    try:
        outcome: Outcome = receiver.recv()
    except EOFError:
        process.join()
        return Outcome(job.scan, None, f"its process has died with exit code {process.exitcode}")
    process.join()
    return outcome
