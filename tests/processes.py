"""
Runs a job in several processes with a gloo group: `run(nursery, job, size)` here, this file as the nursery's program,
which imports the job's module and forks.
"""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

if TYPE_CHECKING:
    from .nursing import Nursery


def run(nursery: Nursery, job: Callable[[], Any], size: int = 2) -> list[Any]:
    """What a function of a test module, which is called without arguments, returns in each process."""
    with tempfile.TemporaryDirectory() as folder:
        given = [inspect.getfile(job), job.__name__, folder, str(size)]
        ended = nursery.run(given, Path(folder), program=__file__)
        assert ended.status == 0, ended.err
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(size)]


def main(file: str, name: str, folder: str, size: str) -> None:
    """Fork for each rank and wait for all; the first that fails fails all."""
    tests = ModuleType("tests")  # not a package of that name that some library has installed
    tests.__path__ = [str(Path(__file__).parent)]
    sys.modules["tests"] = tests
    path = Path(file).relative_to(Path(__file__).parents[1]).with_suffix("")
    module = importlib.import_module(".".join(path.parts))
    ranks = []
    for rank in range(int(size)):
        ranks.append(os.fork())
        if ranks[-1] == 0:
            work(getattr(module, name), folder, rank, int(size))
    for _ in ranks:
        status = os.wait()[1]
        if status:
            for pid in ranks:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            sys.exit(1)


def work(job: Callable[[], Any], folder: str, rank: int, size: int) -> None:
    """One of the processes, which does not return."""
    status = 1
    try:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
        torch.save(job(), Path(folder) / f"{rank}.pt")
        distributed.barrier()
        distributed.destroy_process_group()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)  # the interpreter's end is not what is tested, and torch's threads have been seen to abort it


if __name__ == "__main__":
    main(*sys.argv[1:])
