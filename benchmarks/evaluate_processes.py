"""
How much faster several processes evaluate than one, in one run: each has a core of its own and one thread.

    OMP_NUM_THREADS=1 python benchmarks/evaluate_processes.py --model madry_eps0.3.pth --data mnist.npz

The processes are those of `torchrun --nproc-per-node N -m art_levelset evaluate`, as forks of this one, so that the
start of Python and PyTorch is not counted, which takes each of them some seconds and torchrun a few more. On a machine
with other work the CPU seconds say more than the wall's: the longest process is what free cores would wait for.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

import art_levelset.evaluation
import art_levelset.models  # noqa: F401  # what the processes need is imported before they are forked
from art_levelset.cli.main import main as command_line


def run(size: int, arguments: Sequence[str], cores: Sequence[int]) -> tuple[float, list[float]]:
    """Evaluate with so many processes: the wall seconds, and the CPU seconds of each."""
    started, children = time.perf_counter(), []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.sched_setaffinity(0, {cores[rank % len(cores)]})
                os.environ.update(RANK=str(rank), WORLD_SIZE=str(size))
                with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                    status = command_line(arguments)
            finally:
                os._exit(status)
        children.append(child)
    cpu = []
    for child in children:
        _, status, used = os.wait4(child, 0)
        if status != 0:
            raise SystemExit(f"a process has ended with {os.waitstatus_to_exitcode(status)}")
        cpu.append(used.ru_utime + used.ru_stime)
    return time.perf_counter() - started, cpu


def same(path: Path) -> dict[str, Any]:
    """A record, without its date, its seconds, and the name of the file beside it, whose SHA-256 it has."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    del record["created"]
    if record.get("outcomes"):
        del record["outcomes"]["file"]
    for attack in record["attacks"]:
        del attack["seconds"]
    return record


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="weights")
    parser.add_argument("--arch", default="convnet4a-released", help="the network (default: %(default)s)")
    parser.add_argument("--data", required=True, help="the data set, or a file")
    parser.add_argument("--eps", default="0.3", help="radius (default: %(default)s)")
    parser.add_argument("--nb-examples", default="1600", help="images (default: %(default)s)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="(default: 1 2)")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="more options of evaluate, at the end")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cores = sorted(os.sched_getaffinity(0))
    model = ["--model", given.model, "--arch", given.arch, "--data", given.data, "--eps", given.eps]
    first: tuple[float, list[float]] | None = None
    with tempfile.TemporaryDirectory() as folder:
        print("processes  wall s  times as fast  CPU s of each            by CPU s of the longest  same record")
        for size in given.processes:
            record, work = Path(folder, f"{size}.json"), Path(folder, str(size))
            files = ["--resume", str(work), "--output", str(record), "--quiet"]
            wall, cpu = run(
                size, ["evaluate", *model, "--nb-examples", given.nb_examples, *given.options, *files], cores
            )
            first = first or (wall, cpu)
            agree = same(record) == same(Path(folder, f"{given.processes[0]}.json"))
            of_each = ", ".join(f"{seconds:.1f}" for seconds in cpu)
            faster, by_cpu = first[0] / wall, max(first[1]) / max(cpu)
            print(f"{size:9}  {wall:6.1f}  {faster:13.2f}  {of_each:23}  {by_cpu:23.2f}  {agree}", flush=True)


if __name__ == "__main__":
    main()
