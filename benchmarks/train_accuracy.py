"""
What training is worth: accuracies after the same number of epochs from the same weights, and the seconds they took.

    python benchmarks/train_accuracy.py --threads 2
    python benchmarks/train_accuracy.py --threads 2 --data mnist.npz --samples 10000 --epochs 3

Every contender starts from the same weights, made by a few steps without defence: from a random start the paper
authors' procedure can come to rest in a constant classifier. Accuracies are those of test images, clean and under PGD
of 40 steps on the cross-entropy and on the margin; seconds are this process's CPU time in `fit`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from contenders import contenders
from measuring import machine, timed
from train_step import copied, plain_training, test_images, training_images

from art_levelset.evaluation import accuracy, pgd
from art_levelset.models import CLASSIFIERS


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=CLASSIFIERS, default="convnet2a")
    parser.add_argument("--data", type=Path, help=".npz file of images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--test-samples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--trainers", nargs="+", default=["level sets", "level sets, paper", "authors"])
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)

    images, classes = training_images(args.data)
    x, y = (part[: args.samples] for part in images)
    x_test, y_test = (torch.from_numpy(part[: args.test_samples]) for part in test_images(args.data))
    eps = 0.15 if args.data is None else 0.3
    print(f"{machine()}\n{args.arch}, {len(x)} samples, {args.epochs} epochs, eps {eps}, {len(x_test)} test images")
    print(f"{'':20} {'seed':>4} {'clean':>7} {'PGD-40':>7} {'margin':>7} {'CPU s an epoch':>15}")
    for seed in args.seeds:
        torch.manual_seed(seed)
        model = CLASSIFIERS[args.arch](nb_classes=classes, input_shape=x.shape[1:])
        plain_training(model, (x, y))
        weights = copied(model)
        for name, contender in contenders(model, x.shape[1:], classes, eps, args.steps, args.trainers).items():
            contender.restore(weights)
            torch.manual_seed(seed)
            seconds = timed(lambda one=contender: one.fit(x, y, args.batch_size, args.epochs)).cpu / args.epochs
            network = contender.network.eval()
            left = [
                accuracy(network, pgd(network, x_test, y_test, eps=eps, max_iter=40, loss=loss), y_test)
                for loss in ("cross_entropy", "margin")
            ]
            row = " ".join(f"{share:7.1%}" for share in (accuracy(network, x_test, y_test), *left))
            print(f"{name:20} {seed:4} {row} {seconds:15.1f}", flush=True)


if __name__ == "__main__":
    main()
