"""
What is made of all scans of a call, with one alone, several, or the share of a rank, and what is kept of each.

Several scans are worked on one after the other, or each in a process of its own; a failed one stops no other.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

import torch

from art_levelset.checks import check_count
from art_levelset.cli.console import PROGRAM, in_one_line, print_error
from art_levelset.cli.output import STDOUT, Output, envelope, logging_on_stderr
from art_levelset.cli.processes import meet_ranks, place_among_ranks, wait_for_ranks
from art_levelset.files import claim
from art_levelset.untrusted import printable

logger = logging.getLogger(__name__)

REJECTED = 3
"""The exit status where a fit was rejected; its files are written."""


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
        logger.info("%s took %.1f s", name, self.parts[name])

    def total(self) -> float:
        """
        The seconds of all parts.

        :return: Their sum.
        """
        return sum(self.parts.values())


class Report(Protocol):
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
    :param document: The same for a program.
    :param rejected: Why it is not to be trusted, in one line, if so.
    """

    report: Report
    seconds: Seconds
    files: list[Path]
    document: dict[str, Any] = field(default_factory=dict)
    rejected: str = ""

    def lines(self) -> list[str]:
        """
        The names of the files, for a terminal.

        :return: Lines of text.
        """
        return [f"Wrote in {self.seconds.total():.0f} s:", *(f"  {path}" for path in self.files)]


def document(
    arguments: Namespace, files: Sequence[Path], points: int, seconds: Seconds, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """
    A result for a program.

    :param arguments: What was asked for.
    :param files: What is written.
    :param points: Number of points of the scan.
    :param seconds: What the parts of the run took.
    :param metrics: What there is to say of the reconstruction.
    :return: What a JSON document can hold.
    """
    settings = {name: value for name, value in vars(arguments).items() if name not in ("quiet", "verbose", "bars")}
    return {
        **envelope("recon", files),
        "settings": settings,
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "points": points,
        "seconds": {**seconds.parts, "total": seconds.total()},
        **metrics,
    }


@dataclass(frozen=True)
class ScanEnd:
    """
    How the work on a scan ended.

    :param scan: The scan.
    :param result: What became of it, unless it failed.
    :param error: In one line, why it failed.
    """

    scan: Path
    result: Result | None
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """
        The end for a program.

        :return: The `scan`, the `error` or None, and the `files` and all else that there is to say of the result.
        """
        if self.result is None:
            return {"scan": self.scan, "error": self.error, "files": []}
        own = {name: value for name, value in self.result.document.items() if name not in envelope("", [])}
        return {"scan": self.scan, "error": None, "files": self.result.files, **own}

    def __str__(self) -> str:
        """For a terminal."""
        if self.result is None:
            return f"{self.scan}: failed"
        rejected = ", rejected" if self.result.rejected else ""
        return f"{self.scan}: {', '.join(map(str, self.result.files))} in {self.result.seconds.total():.0f} s{rejected}"


def work_on_all(
    arguments: Namespace,
    arguments_of_each: Callable[[Namespace], list[Namespace]],
    work: Callable[[Namespace], Result],
    files: Iterable[str],
    output: Output,
    helping: Callable[[Namespace], None] | None = None,
) -> int:
    """
    Work on all scans and print what became of them.

    :param arguments: What the parser returns.
    :param arguments_of_each: Makes the arguments of each scan of them, and checks them.
    :param work: What to do with one scan; a function of a module.
    :param files: The names of the paths that it writes.
    :param output: What lets the results out.
    :param helping: What the other ranks do while the first one works on a scan; None if ranks share the scans.
    :return: The exit status: 0, 1 if one of several scans failed, or else :data:`REJECTED` if a fit was rejected.
    :raises ValueError: If an argument or the contents of a single file are bad.
    :raises OSError: If a single file cannot be read or written.
    :raises ImportError: If a library is missing.
    """
    check_count("--jobs", arguments.jobs)
    rank, size = place_among_ranks()
    if size > 1 and output.json == STDOUT:
        raise ValueError(f"--json: {size} processes have one standard output: name a file with {{stem}} in it")
    shared = helping is not None and size > 1
    if shared and arguments.jobs > 1:
        raise ValueError(f"--jobs: {size} processes share the blocks of one scan at a time, got {arguments.jobs}")
    jobs = arguments_of_each(arguments)
    for job in jobs:  # bars of several processes overwrite each other
        job.bars &= size == 1 and arguments.jobs == 1
    if shared:
        meet_ranks()
    if helping is not None and rank > 0:
        for job in jobs:
            with suppress(Exception):  # the first rank says what is wrong
                helping(job)
        wait_for_ranks()
        return 0
    share = jobs if shared else jobs[rank::size]
    try:
        with claim(*(getattr(job, name) for job in share for name in files)):
            if len(jobs) == 1 and size == 1:
                return _work_on_one(jobs[0], work, output)
            ends = _work_on_share(share, work, arguments.jobs, output)
    except KeyboardInterrupt:
        kept = getattr(arguments, "checkpoint", None)
        raise KeyboardInterrupt(
            f"the same command goes on from {kept}" if kept else "nothing is kept of unfinished scans"
        ) from None
    if ends:
        output.result("\n".join(summary(ends)))
    if output.json == STDOUT:
        output.document({"scans": [end.as_dict() for end in ends]})
    failed = [end for end in ends if end.result is None]
    for end in failed:
        print_error(f"{PROGRAM} recon", end.error if str(end.scan) in end.error else f"{end.scan}: {end.error}")
    rejected = [_say_rejected(end.scan, end.result) for end in ends if end.result is not None]
    wait_for_ranks()
    return 1 if failed else max(rejected, default=0)


def _say_rejected(scan: Path, result: Result) -> int:
    """The exit status of a scan, with a line on stderr if its fit was rejected."""
    if not result.rejected:
        return 0
    print_error(f"{PROGRAM} recon", f"{scan}: the fit is {result.rejected}; the files are written all the same")
    return REJECTED


def _work_on_one(job: Namespace, work: Callable[[Namespace], Result], output: Output) -> int:
    """Work on a single scan, print its report, and return the exit status."""
    result = work(job)
    output.wrote(*result.files)
    output.result("\n".join(result.report.lines()))
    output.remark("\n".join(map(printable, result.lines())))
    if output.json == STDOUT:
        output.document(result.document)
    return _say_rejected(job.scan, result)


def _work_on_share(
    share: Sequence[Namespace], work: Callable[[Namespace], Result], processes: int, output: Output
) -> list[ScanEnd]:
    """Work on several scans, and print how each ended as it ends."""
    ends = []
    for end in work_on_each(share, work, processes):
        ends.append(end)
        output.wrote(*([] if end.result is None else end.result.files))
        output.remark(printable(f"[{len(ends)} of {len(share)}] {end}"))
    return ends


def work_on_each(
    jobs: Sequence[Namespace], work: Callable[[Namespace], Result], processes: int = 1
) -> Iterator[ScanEnd]:
    """
    Work on several scans.

    :param jobs: The arguments of each, with its path as `scan`.
    :param work: What to do with one; a function of a module, if there are processes.
    :param processes: How many to work on at once, each in a process of its own with its share of the threads, >= 1.
    :return: How each ended, as it ends.
    """
    processes = min(processes, len(jobs))
    if processes < 2:
        yield from (_end(job, work) for job in jobs)
        return
    context = _context(work)
    threads = max(1, torch.get_num_threads() // processes)
    waiting = list(jobs)
    running: dict[Connection, tuple[Namespace, ForkServerProcess | SpawnProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work_alone, args=(sender, job, work, threads), daemon=True)
                with _interrupts_held():
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


def summary(ends: Sequence[ScanEnd]) -> list[str]:
    """
    How the work on all scans ended, in a table.

    :param ends: How the work on each ended.
    :return: Lines of text.
    """
    names = next((list(end.result.report.row()) for end in ends if end.result is not None), [])
    rows = [["scan", "seconds", *names], *(_row(end, len(names)) for end in ends)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
    return ["  ".join(row).rstrip() for row in aligned]


def _row(end: ScanEnd, cells: int) -> list[str]:
    if end.result is None:
        return [printable(str(end.scan)), "failed", *[""] * cells]
    return [printable(str(end.scan)), f"{end.result.seconds.total():.0f}", *end.result.report.row().values()]


def _end(job: Namespace, work: Callable[[Namespace], Result]) -> ScanEnd:
    try:
        return ScanEnd(job.scan, work(job))
    except Exception as error:  # a scan may fail in any way and must not stop the others
        return ScanEnd(job.scan, None, in_one_line(error))


def _work_alone(sender: Connection, job: Namespace, work: Callable[[Namespace], Result], threads: int) -> None:
    """In a process of its own, which ends with its parent, however that ends."""
    Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops this process; where it could not be held back
    torch.set_num_threads(threads)
    with logging_on_stderr("recon", job.quiet, job.verbose, f"{job.scan}: "):
        sender.send(_end(job, work))


def _context(work: Callable[[Namespace], Result]) -> ForkServerContext | SpawnContext:
    """Where it is safe, processes are forks of one that has imported the libraries; elsewhere each imports them."""
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([work.__module__])
    return context


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process that is started meanwhile never sees an interrupt from the keyboard, during its imports neither."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which lets the signal through, if it is started meanwhile
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _received(receiver: Connection, job: Namespace, process: ForkServerProcess | SpawnProcess) -> ScanEnd:
    """What a process sends before it ends, if it does."""
    try:
        end: ScanEnd = receiver.recv()
    except EOFError:
        process.join()
        return ScanEnd(job.scan, None, f"its process has died with exit code {process.exitcode}")
    process.join()
    return end
