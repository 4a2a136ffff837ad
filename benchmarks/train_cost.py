"""
What a training step costs: CPU seconds against operations, passes and parameters, and wall seconds against processes.

    python benchmarks/train_cost.py

One thread a process. Over networks, search steps and batch sizes, with the level-set trainer and Madry's, the CPU
seconds of an optimizer step are fitted with non-negative coefficients by

    seconds = operations / rate + c_1 passes + c_2 parameters,

operations those of matrix products and convolutions, passes the network's forward passes, with whatever follows each.
The first includes steps and batch size: it is what a sample costs, times the samples that a search still has.

Then one step of the level-set trainer by one process and by two with gloo, which share every batch and sum their
gradients: each round measures both, the ratios have minimum, median and maximum.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from contenders import contenders
from measuring import Operations, machine, matmul_peak, timed
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import distributed

from art_levelset.models import CLASSIFIERS

ARCHS, STEPS, BATCH_SIZES = ("convnet2a", "convnet2b", "convnet4a"), (2, 8), (16, 64)
TRAINERS = ("level sets, steps", "Madry")


def images(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Random images of MNIST's size and labels."""
    random = np.random.default_rng(0)
    return random.random((count, 1, 28, 28), np.float32), random.integers(10, size=count)


def step_costs(arch: str, steps: int, batch_size: int, trainer: str, rounds: int) -> tuple[list[float], float]:
    """Operations, passes and parameters of a step, and its CPU seconds, the least of some rounds."""
    torch.manual_seed(0)
    model = CLASSIFIERS[arch](nb_classes=10, input_shape=(1, 28, 28))
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    contender = contenders(model, (1, 28, 28), 10, 0.1, steps, names=[trainer], grown=True)[trainer]
    x, y = images(batch_size)
    contender.fit(x, y, batch_size)
    contender.restore(weights)
    passes: list[int] = []
    hook = contender.network.register_forward_hook(lambda *_: passes.append(1))
    with Operations() as counted:
        contender.fit(x, y, batch_size)
    hook.remove()
    seconds = []
    for _ in range(rounds):
        contender.restore(weights)
        seconds.append(timed(lambda: contender.fit(x, y, batch_size)).cpu)
    parameters = sum(part.numel() for part in contender.network.parameters())
    return [counted.count, len(passes), parameters], min(seconds)


def print_model(rounds: int) -> None:
    """The steps and the fit."""
    peak = matmul_peak()
    rows, found = [], []
    print(f"{'':10} {'steps':>5} {'batch':>6} {'':18} {'MFLOP':>8} {'passes':>6} {'ms':>8} {'ms a sample':>12}")
    for arch, steps, batch_size, trainer in product(ARCHS, STEPS, BATCH_SIZES, TRAINERS):
        costs, seconds = step_costs(arch, steps, batch_size, trainer, rounds)
        rows.append(costs)
        found.append(seconds)
        row = f"{arch:10} {steps:5} {batch_size:6} {trainer:18} {costs[0] / 1e6:8.0f} {costs[1]:6}"
        print(f"{row} {1e3 * seconds:8.1f} {1e3 * seconds / batch_size:12.2f}", flush=True)
    design, times = np.array(rows, float), np.array(found)
    (slowness, passing, stepping), _ = nnls(design / times[:, None], np.ones(len(times)))
    errors = np.abs(design @ [slowness, passing, stepping] / times - 1)
    print(
        f"fitted: operations at {1e-9 / slowness:.1f} GFLOP a second ({1 / slowness / peak:.0%} of the matrix "
        f"product's {peak / 1e9:.1f}), {1e3 * passing:.2f} ms a pass, {1e9 * stepping:.1f} ns a parameter; "
        f"relative error {np.median(errors):.0%}, at most {errors.max():.0%}"
    )


def seconds_of_steps(rank: int, size: int, meeting: str, batch_size: int) -> float:
    """Wall seconds of four steps. To be called in a process of its own, one of `size`."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if size > 1:
        distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    model = CLASSIFIERS["convnet2a"](nb_classes=10, input_shape=(1, 28, 28))
    trainer = contenders(model, (1, 28, 28), 10, 0.1, 10, names=["level sets, steps"], grown=True)["level sets, steps"]
    x, y = images(batch_size)
    trainer.fit(x, y, batch_size)
    started = time.perf_counter()
    trainer.fit(x, y, batch_size, nb_epochs=4)
    seconds = time.perf_counter() - started
    if size > 1:
        distributed.destroy_process_group()
    return seconds


def print_processes(rounds: int) -> None:
    """The steps of one process and of two."""
    print(f"{'batch':>6} {'ms, one process':>16} {'ms, two':>9} {'one / two: min':>15} {'median':>7} {'max':>7}")
    for batch_size in (128, 512):
        found: dict[int, list[float]] = {1: [], 2: []}
        for _, size in product(range(rounds), found):
            with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("fork").Pool(size) as pool:
                meeting = str(Path(folder) / "meeting")
                given = [(rank, size, meeting, batch_size) for rank in range(size)]
                found[size].append(max(pool.starmap(seconds_of_steps, given, chunksize=1)) / 4)
        ratios = [one / two for one, two in zip(*found.values(), strict=True)]
        one, two = (1e3 * statistics.median(times) for times in found.values())
        row = f"{min(ratios):15.2f} {statistics.median(ratios):7.2f} {max(ratios):7.2f}"
        print(f"{batch_size:6} {one:16.1f} {two:9.1f} {row}")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(machine())
    print_processes(args.rounds)  # first, as processes that have computed in parallel must not fork
    print_model(args.rounds)


if __name__ == "__main__":
    main()
