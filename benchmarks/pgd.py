"""
Speed of the native PGD against the libraries' own: time per step, time to an accuracy, share of the machine's peak.

One run, the contenders alternating on the same samples, ratios of our time to theirs with their minimum, median and
maximum, in wall time and in the process's CPU time (which other processes disturb less):

    python benchmarks/pgd.py --weights FOLDER --data mnist.npz --threads 2

FOLDER holds the paper authors' ConvNet-4a weights, `madry_eps0.3.pth` and `xent.pth`; `mnist.npz` the arrays x_test,
(n, 28, 28) uint8, and y_test. The contenders are ART's ProjectedGradientDescentPyTorch, torchattacks' PGD and
AdverTorch's LinfPGDAttack, called directly: L_inf, eps 0.3, steps of 0.01, cross-entropy, random start.

Per step: all samples are one batch for the libraries; `pgd` splits a batch as it does by default, and is timed
undivided too. To an accuracy: 40 steps on the network trained without defence, where `pgd` stops at the first
misclassified point of a sample. The peak is that of the best of several large float32 matrix products, in operations
a CPU second.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torchattacks
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from art_levelset.adapters.advertorch import advertorch_attacks
from art_levelset.evaluation import accuracy, pgd, wilson
from art_levelset.models import load_released_weights

EPS, EPS_STEP, STEPS = 0.3, 0.01, 40
TIMED_STEPS = 5

Runs = Mapping[str, Callable[[], Tensor]]


def libraries(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> Runs:
    """The libraries' attacks of all samples as one batch."""
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    art = ProjectedGradientDescentPyTorch(
        classifier,
        eps=EPS,
        eps_step=EPS_STEP,
        max_iter=steps,
        num_random_init=1,
        batch_size=len(x),
        verbose=False,
    )
    torch_attack = torchattacks.PGD(model, eps=EPS, alpha=EPS_STEP, steps=steps)
    advertorch = advertorch_attacks().LinfPGDAttack(
        model, nn.CrossEntropyLoss(reduction="sum"), eps=EPS, nb_iter=steps, eps_iter=EPS_STEP
    )
    array, one_hot = x.numpy(), functional.one_hot(y, 10).numpy()
    return {
        "ART": lambda: torch.from_numpy(art.generate(array, one_hot)),
        "torchattacks": lambda: torch_attack(x, y),
        "AdverTorch": lambda: advertorch.perturb(x, y),
    }


def times(runs: Runs, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each run, alternating; the first round is a warm-up."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if round_:
                found[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return found


def print_ratios(found: Mapping[str, list[tuple[float, float]]], ours: list[str], units: int, unit: str) -> None:
    """The table of each of ours against each library, and of the median seconds."""
    print(f"{'our time / theirs':40} {'wall: min':>10} {'median':>7} {'max':>7} {'CPU: median':>12}")
    for own in ours:
        for name in found.keys() - set(ours):
            wall, cpu = (
                [a[clock] / b[clock] for a, b in zip(found[own], found[name], strict=True)] for clock in (0, 1)
            )
            row = f"{min(wall):10.2f} {statistics.median(wall):7.2f} {max(wall):7.2f} {statistics.median(cpu):12.2f}"
            print(f"{own + ' / ' + name:40} {row}")
    for name, seconds in found.items():
        wall, cpu = (1e3 * statistics.median(pair[clock] for pair in seconds) / units for clock in (0, 1))
        print(f"{name:24} {wall:9.1f} ms a {unit}, CPU {cpu:9.1f} ms")


def print_accuracies(model: nn.Module, runs: Runs, y: Tensor) -> None:
    """What each attack leaves."""
    for name, run in runs.items():
        left = accuracy(model, run(), y)
        low, high = wilson(left * len(y), len(y))
        print(f"{name:24} leaves {left:6.1%} ({low:.1%} to {high:.1%})")


def matmul_peak(rounds: int = 20, size: int = 2048) -> float:
    """The most float32 operations a CPU second of a matrix product."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(cpu for _, cpu in times({"product": lambda: left @ right}, rounds)["product"])


def operations(model: nn.Module, x: Tensor, y: Tensor) -> int:
    """The floating-point operations of one gradient at all samples: matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        points = x.clone().requires_grad_() + 0  # the counter does not take leaves
        torch.autograd.grad(functional.cross_entropy(model(points), y), points)
    return int(counter.get_total_flops())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    with np.load(args.data) as arrays:
        x = torch.from_numpy(arrays["x_test"][: args.samples]).float().div(255).unsqueeze(1)
        y = torch.from_numpy(arrays["y_test"][: args.samples]).long()
    robust = load_released_weights(args.weights / "madry_eps0.3.pth")
    undefended = load_released_weights(args.weights / "xent.pth")
    attack = functools.partial(pgd, x=x, y=y, eps=EPS, eps_step=EPS_STEP, rescale=False)

    print(f"per step: madry_eps0.3, {len(x)} samples, {TIMED_STEPS} steps, {args.threads} threads")
    own = {
        "pgd": functools.partial(attack, robust, max_iter=TIMED_STEPS),
        "pgd, undivided": functools.partial(attack, robust, max_iter=TIMED_STEPS, batch_size=len(x)),
    }
    found = times({**own, **libraries(robust, x, y, TIMED_STEPS)}, args.rounds)
    print_ratios(found, list(own), TIMED_STEPS, "step")
    peak, needed = matmul_peak(), operations(robust, x, y)
    rate = TIMED_STEPS * needed / statistics.median(cpu for _, cpu in found["pgd"])
    print(
        f"{needed / len(x) / 1e6:.1f} million operations a sample and step; {rate / 1e9:.1f} GFLOP a CPU second, "
        f"{rate / peak:.0%} of the matrix product's {peak / 1e9:.1f}"
    )

    print(f"\naccuracy of madry_eps0.3 after {STEPS} steps")
    whole = {"pgd": functools.partial(attack, robust, max_iter=STEPS, stop_when_broken=True)}
    print_accuracies(robust, {**whole, **libraries(robust, x, y, STEPS)}, y)

    print(f"\nto the accuracy: xent, {len(x)} samples, {STEPS} steps")
    stopping = {"pgd, stop_when_broken": functools.partial(attack, undefended, max_iter=STEPS, stop_when_broken=True)}
    runs = {**stopping, **libraries(undefended, x, y, STEPS)}
    print_ratios(times(runs, max(args.rounds // 2, 1)), list(stopping), 1, "run")
    print_accuracies(undefended, runs, y)


if __name__ == "__main__":
    main()
