"""
Starts command lines in a hurry: a process that has imported everything, and forks for each of them.

Reads requests from its stdin, one JSON object a line, and answers each with a line: {"argv", "cwd", "out", "err",
"before", "program", "environment"} starts `art-levelset ARGV`, or `python PROGRAM ARGV`, as a process group of its own
and answers its process id; {"wait": pid} waits for its end and answers its exit status, which is minus the signal's
number for one that a signal has killed. `before` is run in the new process, before the command.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import signal
import sys
import tempfile
import traceback
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import art_levelset.cli.recon.curves
import art_levelset.cli.recon.surfaces
import art_levelset.evaluation.assessment
import art_levelset.evaluation.figures
import art_levelset.evaluation.record
import art_levelset.trainers.geometric_svm
import art_levelset.trainers.margin  # noqa: F401
from art_levelset.cli.main import main
from art_levelset.cli.signals import as_process

PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that a process gets when its parent ends, so that nothing outlives tests that are stopped."""


def kill_in(calls: int) -> None:
    """Kill this process before so many more things have been done to files that are not finished."""
    left = calls

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        changed = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
        if changed or (event == "open" and ".unfinished" in str(arguments[0])):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def run(request: dict[str, Any]) -> None:
    """In a new process, which does not return."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.chdir(request["cwd"])
    os.environ.update(request.get("environment") or {})
    for name, descriptor in (("out", 1), ("err", 2)):
        if request.get(name) is not None:
            os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT, 0o666), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    status = 1
    try:
        exec(request.get("before") or "", {"kill_in": kill_in})
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        if request.get("program"):
            sys.argv = [request["program"], *request["argv"]]
            runpy.run_path(request["program"], run_name="__main__")
            status = 0
        else:
            status = as_process("art-levelset", lambda: main(request["argv"]))
        sys.stdout.flush()
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def warm_up() -> None:
    """Make the libraries import what they import when they are used."""
    draws = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        data = Path(folder) / "noise.npz"
        np.savez(data, x_train=draws.random((20, 8, 8)), y_train=np.arange(20) % 2)
        options = ["--nb-epochs", "1", "--nb-validation", "4", "-o", str(data.with_suffix(".pth"))]
        if main(["train", "--data", str(data), "--arch", "convnet2a", "--eps", "0.1", *options]):
            raise RuntimeError("the first training has failed")


def serve() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # which a background job ignores
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0  # no thread of its own, which would hold its lock in the middle of a fork
    warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                run(request)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    serve()
