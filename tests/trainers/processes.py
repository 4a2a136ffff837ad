"""Runs a job in several processes with a gloo group: `run(job, size)` here, this file as a program in each of them."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

TIMEOUT = 1200


def run(job: Callable[[], Any], size: int = 2) -> list[Any]:
    """What a function of a test module, which is called without arguments, returns in each process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, inspect.getfile(job), job.__name__, folder, str(size)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        processes = [
            subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE, text=True)
            for rank in range(size)
        ]
        try:
            errors = [process.communicate(timeout=TIMEOUT)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
        for process, error in zip(processes, errors, strict=True):
            assert process.returncode == 0, error
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(size)]


def main(file: str, name: str, folder: str, size: str, rank: str) -> None:
    sys.path.insert(0, str(Path(file).parents[1]))
    module = importlib.import_module(f"{Path(file).parent.name}.{Path(file).stem}")
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=int(rank), world_size=int(size))
    result = getattr(module, name)()
    torch.save(result, Path(folder) / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
    sys.stderr.flush()
    os._exit(0)  # the teardown of the interpreter is not what is tested, and torch's threads have been seen to abort it


if __name__ == "__main__":
    main(*sys.argv[1:])
