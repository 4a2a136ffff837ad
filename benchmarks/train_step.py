"""
Speed of training: the level-set trainer against the paper authors' procedure and ART's adversarial trainers.

One run, the contenders alternating on the same samples, ratios of their time to ours with minimum, median and maximum:

    python benchmarks/train_step.py --threads 2
    python benchmarks/train_step.py --threads 2 --arch convnet4a-released --data mnist.npz --weights madry_eps0.3.pth

Timed is `fit` on a few batches, the whole of it: search, loss, gradient, optimizer. The time of a search that stops at
a sign change depends on the weights, so it starts from given ones: those after a few steps without defence, and robust
ones, of --weights or of a short adversarial training. The contenders search with --steps steps, but for our default
("level sets"), which goes on from the last epoch's points with three, and for the authors' procedure and our trainer
with the paper's settings, which make 40. "bf16" stands for bfloat16 and channels_last, which the others do not have;
"compiled" for torch.compile as well.

Without --data the images are scikit-learn's digits, enlarged to 28 x 28, and the radius is 0.15. The peak is that of
the best of several large float32 matrix products, in operations a CPU second.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from contenders import Contender, contenders
from measuring import Operations, Seconds, alternating, machine, matmul_peak
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from art_levelset.evaluation import accuracy, datasets, pgd
from art_levelset.models import CLASSIFIERS, load_weights

EPOCH = 60_000
LEVEL_SETS = ("level sets", "level sets, bf16", "level sets, steps", "level sets, steps, bf16")
PAIRS = [
    *((f"level sets, {how}", "level sets") for how in ("channels last", "bf16", "bf16, compiled")),
    *((ours, "authors") for ours in ("level sets", "level sets, bf16", "level sets, paper")),
    *((ours, f"ART {name}") for ours in LEVEL_SETS for name in ("Madry", "TRADES")),
    *((name, f"ART {name}") for name in ("Madry", "TRADES")),
]

Images = tuple[NDArray[np.float32], NDArray[np.int64]]
Weights = Mapping[str, Tensor]


def training_images(path: Path | None) -> tuple[Images, int]:
    """The training images of a file, or the digits as large as MNIST's, and the number of classes."""
    data = datasets.load(path or "digits", train=True)
    return _large(data, path), data.classes


def test_images(path: Path | None) -> Images:
    """The test images that belong to them."""
    return _large(datasets.load(path or "digits"), path)


def _large(data: datasets.Dataset, path: Path | None) -> Images:
    if path is not None:
        return data.x, data.y
    large = functional.interpolate(torch.from_numpy(data.x), size=28, mode="bilinear", align_corners=False)
    return large.numpy(), data.y


def plain_training(model: nn.Module, images: Images, steps: int = 20) -> None:
    """Train a network for a few steps without defence."""
    optimizer, random = torch.optim.Adam(model.parameters()), np.random.default_rng(0)
    for _ in range(steps):
        rows = random.integers(len(images[0]), size=128)
        x, y = (torch.from_numpy(part[rows]) for part in images)
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def weights_to_time(
    model: nn.Module, trainer: Contender, images: Images, robust: Path | None
) -> dict[str, dict[str, Tensor]]:
    """The weights that are trained from, by what they are."""
    plain_training(model, images)
    found = {"after 20 steps without defence": copied(model)}
    if robust is not None:
        found["that are robust"] = copied(load_weights(model, robust))
    else:
        trainer.restore(model.state_dict())
        trainer.fit(*(part[:2560] for part in images), 128, nb_epochs=10)
        found["that are robust"] = copied(trainer.network)
    return found


def copied(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a network, as they are now."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def print_table(found: Mapping[str, list[Seconds]], operations: Mapping[str, int], samples: int, peak: float) -> None:
    """The ratios of the pairs, and of each contender the seconds of an epoch and what it computes."""
    print(f"{'time of / time of':40} {'wall: min':>10} {'median':>7} {'max':>7} {'CPU: median':>12}")
    for ours, theirs in PAIRS:
        if not {ours, theirs} <= set(found):
            continue
        wall, cpu = (
            [getattr(b, clock) / getattr(a, clock) for a, b in zip(found[ours], found[theirs], strict=True)]
            for clock in ("wall", "cpu")
        )
        row = f"{min(wall):10.2f} {statistics.median(wall):7.2f} {max(wall):7.2f} {statistics.median(cpu):12.2f}"
        print(f"{theirs + ' / ' + ours:40} {row}")
    print(f"{'':24} {'s an epoch':>10} {'CPU s':>8} {'MFLOP a sample':>15} {'of the peak':>12}")
    for name, seconds in found.items():
        wall, cpu = (statistics.median(getattr(one, clock) for one in seconds) for clock in ("wall", "cpu"))
        share = operations[name] / cpu / peak
        row = f"{wall * EPOCH / samples:10.0f} {cpu * EPOCH / samples:8.0f} {operations[name] / samples / 1e6:15.1f}"
        print(f"{name:24} {row} {share:12.0%}")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=CLASSIFIERS, default="convnet2a")
    parser.add_argument("--data", type=Path, help=".npz file of images")
    parser.add_argument("--weights", type=Path, help="robust weights of the architecture")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trainers", nargs="+", metavar="NAME", help="only these; default: all")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    images, classes = training_images(args.data)
    shape, eps = images[0].shape[1:], 0.15 if args.data is None else 0.3
    model = CLASSIFIERS[args.arch](nb_classes=classes, input_shape=shape)
    found = contenders(model, shape, classes, eps, args.steps, args.trainers, grown=True)
    madry = contenders(model, shape, classes, eps, args.steps, ["Madry"], grown=True)["Madry"]
    x, y = (part[: args.samples] for part in images)
    peak = matmul_peak()
    print(f"{machine()}; matrix product {peak / 1e9:.1f} GFLOP a CPU second")
    print(f"{args.arch}, {len(x)} samples in batches of {args.batch_size}, eps {eps}, {args.steps} steps")
    for name, weights in weights_to_time(model, madry, images, args.weights).items():
        model.load_state_dict(weights)
        points, labels = torch.from_numpy(x), torch.from_numpy(y)
        left = accuracy(model, pgd(model, points, labels, eps=eps, max_iter=20), labels)
        print(f"\nfrom weights {name}: {accuracy(model, points, labels):.1%} clean, {left:.1%} under PGD-20")
        operations = {}
        for contender_name, contender in found.items():
            contender.fit(x, y, args.batch_size)  # so that a search has points to go on from
            contender.restore(weights)
            with Operations() as counted:
                contender.fit(x, y, args.batch_size)
            operations[contender_name] = counted.count
        seconds = alternating(
            {key: lambda one=one: one.fit(x, y, args.batch_size) for key, one in found.items()},
            lambda key, weights=weights: found[key].restore(weights),
            args.rounds,
        )
        print_table(seconds, operations, len(x), peak)


if __name__ == "__main__":
    main()
