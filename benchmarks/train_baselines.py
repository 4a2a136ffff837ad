"""
What baselines of robust training are worth, on the digits that come with scikit-learn: a minute a row.

    python benchmarks/train_baselines.py --eps 0.25 --epochs 40 --seeds 0 1 2
    python benchmarks/train_baselines.py --rows TRADES "TRADES + AWP" --samples 200 --epochs 200 --seeds 0 1 2

Each row trains the same perceptron with two hidden layers from the same start. Accuracies in percent, means over the
seeds: of the 500 test images, clean, after one step of the sign of the gradient from the image, and under PGD of 40
steps on the cross-entropy and on the margin; and under PGD those of the training images. A network that withstands the
step and not PGD has overfit catastrophically to the step; one that withstands PGD on training images alone has overfit
robustly.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

import torch
from art.estimators.classification import PyTorchClassifier
from measuring import machine
from torch import Tensor, nn
from torch.nn import functional

from art_levelset import LevelSetMarginTrainer
from art_levelset.evaluation import accuracy, pgd
from art_levelset.evaluation.datasets import digits
from art_levelset.trainers import (
    FGSMPGITrainer,
    LoopTrainer,
    MadryAWPTrainer,
    MadryTrainer,
    MMATrainer,
    NFGSMTrainer,
    NuATTrainer,
    TRADESAWPTrainer,
    TRADESTrainer,
)

Make = Callable[[PyTorchClassifier, int], LoopTrainer]
Images = tuple[Tensor, Tensor]

BATCH_SIZE = 50
WIDTH = 256
LEARNING_RATE = 2e-3


def rows(eps: float, steps: int) -> dict[str, Make]:
    """The trainings by name, in the order of what a step costs."""

    def of(kind: Callable[..., LoopTrainer], radius: float = eps, **options: float) -> Make:
        return lambda classifier, seed: kind(classifier, radius, seed=seed, **options)

    return {
        "FGSM": of(MadryTrainer, eps_step=eps, max_iter=1, num_random_init=0),
        "FGSM, random start": of(MadryTrainer, eps_step=1.25 * eps, max_iter=1),
        "N-FGSM": of(NFGSMTrainer),
        "FGSM-PGI": of(FGSMPGITrainer),
        "NuAT": of(NuATTrainer),
        "level sets": of(LevelSetMarginTrainer),
        "Madry": of(MadryTrainer, max_iter=steps),
        "Madry + AWP": of(MadryAWPTrainer, max_iter=steps),
        "TRADES": of(TRADESTrainer, max_iter=steps),
        "TRADES + AWP": of(TRADESAWPTrainer, max_iter=steps),
        "TRADES + AWP + EMA": of(TRADESAWPTrainer, max_iter=steps, ema_decay=0.99),
        "MMA": of(MMATrainer, radius=1.5 * eps, max_iter=steps),
    }


def trained(make: Make, x: Tensor, y: Tensor, epochs: int, seed: int) -> nn.Module:
    """The perceptron after training, in evaluation mode."""
    torch.manual_seed(seed)
    layers = [nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10)]
    model = nn.Sequential(nn.Flatten(), *layers)
    classifier = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        (1, 8, 8),
        10,
        optimizer=torch.optim.Adam(model.parameters(), lr=LEARNING_RATE),
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    make(classifier, seed).fit(x.numpy(), y.numpy(), batch_size=BATCH_SIZE, nb_epochs=epochs, verbose=False)
    return model.eval()


def measured(model: nn.Module, test: Images, train: Images, eps: float) -> dict[str, float]:
    """The accuracies, in [0, 1]."""
    return {
        "clean": accuracy(model, *test),
        "one step": accuracy(model, one_step(model, *test, eps), test[1]),
        "PGD": withstood(model, *test, eps),
        "PGD, training": withstood(model, *train, eps),
    }


def withstood(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> float:
    """The part of the images that neither attack breaks."""
    right = torch.ones_like(y, dtype=torch.bool)
    for loss in ("cross_entropy", "margin"):
        attacked = pgd(model, x, y, eps=eps, eps_step=eps / 10, max_iter=40, loss=loss)
        with torch.no_grad():
            right &= model(attacked).argmax(dim=1) == y
    return right.double().mean().item()


def one_step(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """The images after one step of the sign of the gradient of the cross-entropy."""
    leaves = x.clone().requires_grad_()
    (gradients,) = torch.autograd.grad(functional.cross_entropy(model(leaves), y, reduction="sum"), leaves)
    return (x + eps * gradients.sign()).clamp(0, 1)


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The means over the seeds in Markdown, percent."""
    columns = list(next(iter(found.values()))[0])
    lines = ["| training | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, runs in found.items():
        means = (100 * sum(run[column] for run in runs) / len(runs) for column in columns)
        lines.append(f"| {name} | " + " | ".join(f"{mean:.1f}" for mean in means) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Print what each run finds as soon as it is known, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eps", type=float, default=0.15)
    parser.add_argument("--steps", type=int, default=5, help="of the searches with several")
    parser.add_argument("--samples", type=int, default=1297)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", default=list(rows(0.1, 1)))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    train, test = ((torch.from_numpy(x), torch.from_numpy(y)) for x, y in digits())
    train = (train[0][: args.samples], train[1][: args.samples])
    print(f"{machine()}\n{len(train[0])} samples, {args.epochs} epochs, eps {args.eps}, {len(test[0])} test images")
    found: dict[str, list[dict[str, float]]] = {}
    for name in args.rows:
        for seed in args.seeds:
            model = trained(rows(args.eps, args.steps)[name], *train, args.epochs, seed)
            found.setdefault(name, []).append(measured(model, test, train, args.eps))
            print(
                f"{name:20} {seed}  " + "  ".join(f"{key} {value:.3f}" for key, value in found[name][-1].items()),
                flush=True,
            )
    print(table(found))


if __name__ == "__main__":
    main()
