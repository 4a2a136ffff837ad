"""
What `torchrun --standalone --nproc-per-node N PROGRAM ...` does, without a start of Python and PyTorch.

The agent, the rendezvous and the environment of each process are those of torchrun. The nursery runs this file, and its
processes are forks of one that has imported what they need.
"""

from __future__ import annotations

import argparse
import runpy
import sys

from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def run_rank(program: list[str], is_module: bool) -> None:
    """One of the processes."""
    sys.argv = program
    if is_module:
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program[0], run_name="__main__")


def launch(options: list[str]) -> None:
    """Parse the command line of torchrun, as far as it is used here, and run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nproc-per-node", type=int, required=True)
    parser.add_argument("--max-restarts", type=int, default=0)
    parser.add_argument("-m", dest="is_module", action="store_true")
    parser.add_argument("program", nargs=argparse.REMAINDER)
    parsed = parser.parse_args(options)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=parsed.nproc_per_node,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        rdzv_configs={"timeout": 900},
        start_method="fork",
        run_id="tests",
        max_restarts=parsed.max_restarts,
    )
    elastic_launch(config, run_rank)(parsed.program, parsed.is_module)


if __name__ == "__main__":
    launch(sys.argv[1:])
