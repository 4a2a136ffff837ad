"""
How near a misclassified point do minimum-norm attacks find, at equal numbers of gradients?

Our search of the decision boundary beside the attacks of adv-lib and bisected margin PGD, all on the same images in one
run, with about 10, 30, 100 and 300 gradients an image:

    OMP_NUM_THREADS=1 python benchmarks/minimum_norm.py --data mnist.npz --arch convnet4a-released \\
        --weights madry_eps0.3.pth --eps-linf 0.3 --eps-l2 2 --json madry.json
    python benchmarks/minimum_norm.py --table madry.json ... > docs/results/minimum_norm.md

Only images that the network classifies right are attacked. Where an attack finds nothing, its distance is that of the
farthest point of the box, [0, 1], and the share of such images is listed. Gradients and forward passes are counted in
the same way for all, by hooks on the network; attacks whose steps cost nine gradients (FAB, DeepFool, SuperDeepFool:
one for each other class) are given as many steps as come nearest to the budget, and one more where the last step's
result is not looked at.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from art_levelset.adapters.adv_lib import from_adv_lib
from art_levelset.attacks import pgd
from art_levelset.attacks.effort import Effort, measured
from art_levelset.core.balls import NAMES, THREAT_MODELS
from art_levelset.core.distances import lp_distance
from art_levelset.evaluation import attack_distances, boundary_distances
from art_levelset.evaluation.datasets import load
from art_levelset.models import load_classifier

BUDGETS = (10, 30, 100, 300)
OTHER_CLASSES = 9
BISECTIONS = {10: (5, 2), 30: (6, 5), 100: (8, 12), 300: (10, 30)}
"""Halvings and steps of bisected PGD."""

SETTINGS: dict[str, dict[str, float]] = {
    "mnist": {"fmn Linf": 10, "fmn L2": 1, "pdpgd Linf": 0.03, "pdpgd L2": 0.03, "alma": 1, "ddn": 3},
    "cifar10": {"fmn Linf": 1, "fmn L2": 10, "pdpgd Linf": 0.01, "pdpgd L2": 0.3, "alma": 0.1, "ddn": 1},
}
"""First steps of FMN, PDPGD, ALMA and DDN: the best of three or four at 100 gradients, on test images from 5,000 on."""

Finder = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Effort]]
"""Points, and what they cost."""


def contenders(settings: str, norm: float, budget: int, size: int) -> Mapping[str, Finder]:
    """
    The attacks by name.

    :param settings: A name in :data:`SETTINGS`.
    :param norm: `math.inf` or 2.
    :param budget: Gradients an image.
    :param size: Numbers in an image.
    :return: What finds a point for each image.
    """
    halvings, steps = BISECTIONS[budget]
    largest = 1.0 if norm == math.inf else 0.25 * size**0.5
    targets = {10: 1, 30: 3}.get(budget, OTHER_CLASSES)
    rounds = max(1, round(budget / OTHER_CLASSES))
    own, suffix = SETTINGS[settings], NAMES[norm]
    found: dict[str, Finder] = {
        "boundary search (ours)": partial(ours, norm=norm, budget=budget),
        "FMN": library("fmn", norm, size, steps=budget, α_init=own[f"fmn {suffix}"]),
        "PDPGD": library("pdpgd", norm, size, num_steps=budget, primal_lr=own[f"pdpgd {suffix}"]),
        "FAB": library("fab", norm, size, n_iter=rounds),
        "FAB, targeted": library("fab", norm, size, n_iter=budget // targets, targeted_restarts=True, restarts=targets),
        "DeepFool": library("df", norm, size, steps=rounds + 1),
        "bisected margin PGD": partial(bisected, norm=norm, largest=largest, halvings=halvings, steps=steps),
    }
    if norm == 2:
        found |= {
            "DDN": library("ddn", norm, size, steps=budget, levels=None, init_norm=own["ddn"]),
            "ALMA": library(
                "alma", norm, size, num_steps=budget, init_lr_distance=own["alma"], α=0.5 if budget <= 100 else 0.9
            ),
            "SuperDeepFool": library("sdf", norm, size, steps=rounds + 1, df_steps=1),
        }
    return found


def ours(model: nn.Module, x: Tensor, y: Tensor, *, norm: float, budget: int) -> tuple[Tensor, Effort]:
    """The search of the decision boundary."""
    found = boundary_distances(model, x, y, norm=norm, max_iter=budget, max_gradients=budget, verbose=False)
    return torch.from_numpy(found.points), found.effort


def bisected(
    model: nn.Module, x: Tensor, y: Tensor, *, norm: float, largest: float, halvings: int, steps: int
) -> tuple[Tensor, Effort]:
    """PGD in balls whose radius is bisected."""

    def family(eps: float) -> Any:
        return partial(pgd, eps=eps, norm=norm, max_iter=steps, loss="margin", stop_when_broken=True)

    found = attack_distances(model, x, y, family, largest=largest, halvings=halvings, norm=norm, verbose=False)
    return torch.from_numpy(found.points), found.effort


def library(name: str, norm: float, size: int, **parameters: Any) -> Finder:
    """An attack of adv-lib, in a ball that holds the whole box."""
    attack = from_adv_lib(name, eps=1.0 if norm == math.inf else size**0.5, norm=norm, **parameters)

    def run(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Effort]:
        with measured(model) as effort:
            points = attack(model, x, y)
        return points, effort

    return run


def rows(
    model: nn.Module, x: Tensor, y: Tensor, settings: str, norm: float, eps: float, budgets: list[int]
) -> Iterator[dict[str, Any]]:
    """
    Run all attacks.

    :param model: A network, in evaluation mode.
    :param x: Images that it classifies right, (n, ...), in [0, 1].
    :param y: Labels, (n,).
    :param settings: A name in :data:`SETTINGS`.
    :param norm: `math.inf` or 2.
    :param eps: A radius to count within.
    :param budgets: Gradients an image.
    :return: A row of the table for each attack and budget.
    """
    farthest = lp_distance(torch.maximum(x, 1 - x), torch.zeros_like(x), norm)
    for budget in budgets:
        for name, finder in contenders(settings, norm, budget, x[0].numel()).items():
            started = time.process_time()
            points, effort = finder(model, x, y)
            seconds = time.process_time() - started
            with torch.no_grad():
                broken = model(points).argmax(dim=1) != y
            distances = torch.where(broken, lp_distance(x, points, norm), farthest)
            yield {
                "attack": name,
                "norm": NAMES[norm],
                "budget": budget,
                "gradients": effort.gradients / len(x),
                "forwards": effort.forwards / len(x),
                "mean": distances.mean().item(),
                "median": distances.median().item(),
                "within": (broken & (distances <= eps)).double().mean().item(),
                "nothing": (~broken).double().mean().item(),
                "cpu_seconds": seconds / len(x),
                "distances": [round(distance, 5) for distance in distances.tolist()],
            }


def table(documents: list[Mapping[str, Any]]) -> str:
    """The results in Markdown: the mean distances, the smallest of each budget in bold, then all that was measured."""
    means, details = ["## Mean distances", ""], ["## All that was measured", ""]
    for document in documents:
        for norm, sign in (("Linf", "L∞"), ("L2", "L₂")):
            some = [row for row in document["rows"] if row["norm"] == norm]
            if some:
                heading = [f"### {document['name']}, {sign}", ""]
                means += [*heading, *_means(some), ""]
                details += [
                    *heading,
                    f"{document['n']} images, ε = {document['eps'][norm]:g}.",
                    "",
                    *_details(some),
                    "",
                ]
    return "\n".join([*means, *details]).rstrip()


def _means(rows: list[Mapping[str, Any]]) -> list[str]:
    budgets = sorted({row["budget"] for row in rows})
    found = {(row["attack"], row["budget"]): row["mean"] for row in rows}
    smallest = {budget: min(mean for (_, each), mean in found.items() if each == budget) for budget in budgets}
    lines = [
        f"| attack | {' | '.join(f'{budget} gradients' for budget in budgets)} |",
        f"|---|{'---:|' * len(budgets)}",
    ]
    for attack in dict.fromkeys(row["attack"] for row in rows):
        cells = []
        for budget in budgets:
            mean = found[attack, budget]
            cells.append(f"**{mean:.4f}**" if mean == smallest[budget] else f"{mean:.4f}")
        lines.append(f"| {attack} | {' | '.join(cells)} |")
    return lines


def _details(rows: list[Mapping[str, Any]]) -> list[str]:
    columns = ("budget", "attack", "mean", "median", "within ε", "nothing", "gradients", "forward passes", "CPU ms")
    lines = [f"| {' | '.join(columns)} |", f"|---|---|{'---:|' * (len(columns) - 2)}"]
    for row in sorted(rows, key=lambda row: (row["budget"], row["mean"])):
        lines.append(
            f"| {row['budget']} | {row['attack']} | {row['mean']:.4f} | {row['median']:.4f} | {row['within']:.1%} | "
            f"{row['nothing']:.1%} | {row['gradients']:.0f} | {row['forwards']:.0f} | {1e3 * row['cpu_seconds']:.0f} |"
        )
    return lines


def main() -> None:
    """Run the attacks on one network, or print the table of several runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="an .npz file with x_test and y_test")
    parser.add_argument("--arch")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--name", help="what the network is called in the table")
    parser.add_argument("--eps-linf", type=float, default=0.3)
    parser.add_argument("--eps-l2", type=float, default=2.0)
    parser.add_argument("--settings", choices=SETTINGS, default="mnist")
    parser.add_argument("--norms", nargs="+", choices=("Linf", "L2"), default=["Linf", "L2"])
    parser.add_argument("--budgets", nargs="+", type=int, choices=BUDGETS, default=list(BUDGETS))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path, nargs="+", help="print the table of these files instead")
    args = parser.parse_args()
    if args.table:
        print(table([json.loads(path.read_text()) for path in args.table]))
        return
    data = load(args.data, train=False)
    rows_ = slice(args.first, args.first + args.samples)
    x, y = torch.from_numpy(np.asarray(data.x[rows_])), torch.from_numpy(np.asarray(data.y[rows_]))
    model = load_classifier(args.arch, args.weights, input_shape=tuple(x.shape[1:]))
    with torch.no_grad():
        right = model(x).argmax(dim=1) == y
    x, y = x[right], y[right]
    eps = {"Linf": args.eps_linf, "L2": args.eps_l2}
    document = {"name": args.name or args.weights.stem, "n": len(x), "eps": eps, "rows": []}
    for norm in args.norms:
        for row in rows(model, x, y, args.settings, THREAT_MODELS[norm], eps[norm], args.budgets):
            document["rows"].append(row)
            shown = {name: value for name, value in row.items() if name != "distances"}
            print(json.dumps(shown), flush=True)
            if args.json:
                args.json.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
