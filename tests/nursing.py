"""Command lines that are started in a hurry, by nursery.py, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PATIENCE = 600
"""Seconds after which a process that should have ended counts as hanging; nothing else depends on the clock."""


@dataclass(frozen=True)
class Ended:
    """A process that has come to its end: its exit status, minus the signal's number if killed, and its output."""

    status: int
    out: str
    err: str

    def lines(self) -> list[str]:
        """What is on stderr, without the progress bars and the warnings of the log."""
        return [line for line in self.err.replace("\r", "\n").splitlines() if line.startswith("art-levelset")]


@dataclass
class Running:
    """A process that the nursery has started, at the head of a group of its own."""

    nursery: Nursery
    pid: int
    out: Path
    err: Path

    def until(self, there: Callable[[], object]) -> None:
        """Wait for something that the process does."""
        for _ in range(PATIENCE * 100):
            if there():
                return
            time.sleep(0.01)
        self.kill(signal.SIGKILL)
        raise AssertionError(f"nothing has happened: {self.err.read_text()}")

    def kill(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process, or to its children as well, as a terminal does."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def end(self) -> Ended:
        """Wait for the end."""
        status = self.nursery.ask({"wait": self.pid})
        return Ended(status, self.out.read_text(), self.err.read_text())


class Nursery:
    """The process of nursery.py, which begins when it is needed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    @cached_property
    def process(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        command = [sys.executable, str(Path(__file__).with_name("nursery.py"))]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )

    def close(self) -> None:
        if "process" not in vars(self):
            return
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, request: object) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        return int(self.process.stdout.readline())

    def start(self, argv: list[str], cwd: Path, *, out: str | None = None, **others: object) -> Running:
        """
        Start `art-levelset ARGV` in a folder.

        `before` is Python that the process runs first, `program` a file of Python to run in place of art-levelset,
        `environment` what it has of variables beside those that the nursery has.
        """
        self.count += 1
        stdout, stderr = (self.folder / f"{self.count}.{name}" for name in ("out", "err"))
        for path in (stdout, stderr):
            path.touch()
        pid = self.ask({"argv": argv, "cwd": str(cwd), "out": out or str(stdout), "err": str(stderr), **others})
        return Running(self, pid, stdout, stderr)

    def run(self, argv: list[str], cwd: Path, *, out: str | None = None, **others: object) -> Ended:
        """Start it and wait for its end."""
        return self.start(argv, cwd, out=out, **others).end()

    def torchrun(self, options: list[str], cwd: Path, **environment: str) -> Ended:
        """What `torchrun --standalone OPTIONS` does in a folder."""
        program = str(Path(__file__).with_name("torchrun.py"))
        return self.run(options, cwd, program=program, environment=environment)
