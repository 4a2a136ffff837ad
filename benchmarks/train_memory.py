"""
The memory of a training step: the peak of a process against batch size, image size and parameters (Linux).

    python benchmarks/train_memory.py

Each measurement is a process of its own: the most memory that it ever had (VmHWM) in two steps of the level-set
trainer, less what it had after training a small network on one image. To all of them one model is fitted, with
non-negative coefficients,

    bytes = c_0 + 4 (c_1 parameters + c_2 batch * activations + c_3 batch * entries of an image),

where activations are the numbers that the layers of the network return for one image. Adam keeps two numbers a
parameter beside the weight and its gradient, so c_1 is at least 4. No term grows with the number of search steps: the
last column is the peak with four times as many.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from contenders import contenders
from scipy.optimize import nnls
from torch import nn

from art_levelset.models import CLASSIFIERS

NAME = "level sets, steps"


class Case(NamedTuple):
    """A network, the side of its images, and a batch size."""

    arch: str
    side: int
    batch_size: int


CASES = [
    *(Case("convnet2a", 28, size) for size in (256, 64, 1024)),
    *(Case("convnet2a", 56, size) for size in (64, 256)),
    *(Case("convnet4b", 32, size) for size in (16, 64)),
]


def network(case: Case) -> nn.Module:
    """The network for images of one channel."""
    return CLASSIFIERS[case.arch](nb_classes=10, input_shape=(1, case.side, case.side))


def activations(model: nn.Module, case: Case) -> int:
    """The numbers that its layers return for one image."""
    counts: list[int] = []
    for part in model.modules():
        if not list(part.children()):
            part.register_forward_hook(lambda part, inputs, output: counts.append(output.numel()))
    with torch.no_grad():
        model(torch.zeros(1, 1, case.side, case.side))
    return sum(counts)


def status(field: str) -> int:
    """A number of bytes that the system knows of this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[field].split()[0])


def train(case: Case, steps: int) -> None:
    """Two optimizer steps, on the same batch."""
    random = np.random.default_rng(0)
    x = random.random((case.batch_size, 1, case.side, case.side), np.float32)
    y = random.integers(10, size=len(x))
    trainer = contenders(network(case), x.shape[1:], 10, 0.1, steps, names=[NAME], grown=True)[NAME]
    trainer.fit(x, y, case.batch_size, nb_epochs=2)


def peak_bytes(case: Case, steps: int) -> int:
    """The bytes that training takes at its peak. To be called in a process of its own."""
    torch.set_num_threads(1)
    train(Case("convnet2a", 28, 1), 1)
    before = status("VmRSS")
    train(case, steps)
    return status("VmHWM") - before


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table and the fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--cases", type=int, default=len(CASES), help="measure only the first ones")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # before the processes fork

    def measured(case: Case, steps: int) -> int:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            return pool.apply(peak_bytes, (case, steps))

    rows, peaks = [], []
    print(f"{'':10} {'side':>4} {'batch':>6} {'parameters':>11} {'activations':>12} {'MB':>7}")
    for case in CASES[: args.cases]:
        model = network(case)
        parameters, numbers = sum(part.numel() for part in model.parameters()), activations(model, case)
        peaks.append(measured(case, args.steps))
        rows.append([1, 4 * parameters, 4 * case.batch_size * numbers, 4 * case.batch_size * case.side**2])
        row = f"{case.arch:10} {case.side:4} {case.batch_size:6} {parameters:11,} {numbers:12,}"
        print(f"{row} {peaks[-1] / 1e6:7.1f}", flush=True)
    design, found = np.array(rows, float), np.array(peaks, float)
    coefficients, _ = nnls(design / found[:, None], np.ones(len(found)))
    errors = np.abs(design @ coefficients / found - 1)
    constant, *others = coefficients
    names = ("a parameter", "an activation and sample", "an entry of an image and sample")
    fitted = ", ".join(f"{4 * number:.1f} bytes {name}" for number, name in zip(others, names, strict=True))
    print(f"fitted: {constant / 1e6:.0f} MB and {fitted}; relative error {np.median(errors):.0%}, ", end="")
    print(f"at most {errors.max():.0%}")
    print(f"{CASES[0]} with {4 * args.steps} steps: {measured(CASES[0], 4 * args.steps) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
