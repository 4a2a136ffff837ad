"""
Whether the estimate of AutoAttack's accuracy is right: drawn again and again from what AutoAttack did to every image.

    python benchmarks/estimate_coverage.py FILE... [--interval 0.01] [--draws 2000] [--times 1] [--blind]
    python benchmarks/estimate_coverage.py --make FOLDER

A file is a record, with its file of outcomes beside it and in it standard AutoAttack and at least one other attack on
all images; or outcomes that `benchmarks/guided.py` has kept (.npz).
Strata are made of what the others found, images are drawn as an evaluation draws them, and AutoAttack's verdict on
each is looked up. A row tells how often the 95% intervals hold AutoAttack's own accuracy and the worst case with it, on
which side they miss, the mean error in units of its standard error (of 2,000 draws, beyond 3 would be a bias), half the
mean length of the interval, and what was spent, as a share of AutoAttack on all images that are classified right;
beside it half the length of Wilson's interval from a simple random sample of the same cost, corrected for the finite
test set.
`--times` takes every image so many times, which stands for a larger test set of the same kind. `--blind` takes no
notice of distances, as if gradients were masked: all that stand under the other attacks are one stratum.

`--make` trains small networks on the digits, plainly, with noise, by adversarial training and with masked gradients,
runs the attacks on all test images, and writes their records to a folder: minutes for each.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from art_levelset.attacks.memo import Memo
from art_levelset.attacks.pgd import pgd
from art_levelset.evaluation import evaluate
from art_levelset.evaluation.accuracy import wilson
from art_levelset.evaluation.datasets import digits
from art_levelset.evaluation.outcomes import read_outcomes, write_outcomes
from art_levelset.evaluation.record import read_record, write_record
from art_levelset.evaluation.strata import CHEAP, Drawn, accuracies, draw, strata_of

EPS = {"plain": 0.06, "noise": 0.1, "adversarial": 0.15, "masked": 0.06}


@dataclass(frozen=True)
class Population:
    """
    Images of which everything is known.

    :param clean: Whether each is classified right, (n,).
    :param worst: Whether it is so after all attacks but AutoAttack, (n,).
    :param distances: The nearest misclassified point that these found, in radii, (n,).
    :param right: Whether AutoAttack leaves it right, (n,).
    """

    clean: NDArray[np.bool_]
    worst: NDArray[np.bool_]
    distances: NDArray[np.float64]
    right: NDArray[np.bool_]

    def times(self, count: int) -> Population:
        """The same images so many times."""
        return Population(*(np.tile(part, count) for part in vars(self).values()))


def population_of(path: Path, blind: bool = False) -> Population:
    """What a file says of every image; without the distances, if blind."""
    if path.suffix == ".npz":
        with np.load(path) as kept:
            clean, distances = kept["clean"], np.asarray(kept["guided_distances"] / kept["eps"], dtype=np.float64)
            return Population(
                clean,
                clean & (kept["guided_broken_by"] < 0),
                np.full_like(distances, np.inf) if blind else distances,
                clean & (kept["broken_by"] < 0),
            )
    record = read_record(path)
    arrays = read_outcomes(record, path.parent).arrays
    standard = [one.parameters.get("version") == "standard" for one in record.attacks]
    if sum(standard) != 1 or len(standard) < 2:
        raise ValueError(f"{path} must have standard AutoAttack and another attack")
    others = [i for i, is_standard in enumerate(standard) if not is_standard]
    distances = [arrays["distance"][others].min(axis=(0, 1)), *arrays.get("curve_distance", ())]
    return Population(
        arrays["clean"],
        arrays["clean"] & arrays["right"][others].all(axis=(0, 1)),
        np.full(record.n_examples, np.inf) if blind else np.min(distances, axis=0) / record.radius,
        arrays["right"][standard.index(True)].all(axis=0),
    )


@dataclass(frozen=True)
class Simulated:
    """What came of many draws: estimates, low and high ends, (draws, 2), of AutoAttack's own and of the worst case."""

    truth: NDArray[np.float64]
    estimates: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    costs: NDArray[np.float64]

    @property
    def missed(self) -> NDArray[np.float64]:
        """How often the truth lies below the interval, and above it, (2, 2)."""
        below, above = self.truth < self.low - 1e-12, self.truth > self.high + 1e-12
        return np.stack([below.mean(axis=0), above.mean(axis=0)])

    @property
    def covered(self) -> NDArray[np.float64]:
        """How often the intervals hold the truth, (2,)."""
        covered: NDArray[np.float64] = 1 - self.missed.sum(axis=0)
        return covered

    @property
    def bias(self) -> float:
        """The mean error of AutoAttack's own accuracy in standard errors."""
        errors = self.estimates[:, 0] - self.truth[0]
        spread = float(errors.std(ddof=1)) / math.sqrt(len(errors))
        return float(errors.mean()) / spread if spread > 1e-12 else 0.0


def simulate(population: Population, interval: float, draws: int, seed: int = 0) -> Simulated:
    """Draw and estimate, with a seed of its own each time."""
    n = len(population.clean)
    strata = strata_of(population.clean, population.worst, population.distances, 1.0)
    truth = np.array([population.right.mean(), (population.right & population.worst).mean()])
    estimates, ends, costs = [], [], []
    for number in range(draws):
        drawn = draw(strata, n, interval, lambda rows: [population.right[some] for some in rows], seed + number)
        found = accuracies(drawn, n)
        estimates.append([accuracy for accuracy, _ in found])
        ends.append([within for _, within in found])
        costs.append(sum(_cost(one) for one in drawn))
    low, high = np.moveaxis(np.array(ends), 2, 0)
    return Simulated(truth, np.array(estimates), low, high, np.array(costs))


def _cost(one: Drawn) -> float:
    return len(one.right) * (CHEAP if one.stratum.broken else 1.0)


def random_sample_reach(accuracy: float, n: int, cost: float) -> float:
    """Half the length of Wilson's interval from a simple random sample of so many of n images."""
    if cost >= n:
        return 0.0
    count = max(1, round(cost * (n - 1) / (n - cost)))
    low, high = wilson(accuracy * count, count)
    return (high - low) / 2


def row(name: str, population: Population, interval: float, draws: int) -> str:
    """One line of the table."""
    found, n = simulate(population, interval, draws), len(population.clean)
    reach, cost = (found.high - found.low)[:, 0].mean() / 2, float(found.costs.mean())
    full = population.worst.sum() + CHEAP * (population.clean & ~population.worst).sum()
    simple = random_sample_reach(found.truth[0] * n / population.clean.sum(), int(population.clean.sum()), cost)
    own, worst = found.covered
    return (
        f"{name:24}{n:>7,}{found.truth[0]:>9.2%}{own:>8.1%}{worst:>8.1%}{found.missed[0, 0]:>7.1%}"
        f"{found.missed[1, 0]:>7.1%}{found.bias:>7.2f}{reach:>8.2%}{cost / full:>8.1%}"
        f"{simple * population.clean.mean():>8.2%}"
    )


def make(folder: Path) -> None:
    """Train the networks and write their records."""
    folder.mkdir(parents=True, exist_ok=True)
    (x, y), (x_test, y_test) = (tuple(map(torch.as_tensor, part)) for part in digits())
    for name, model in networks(x, y):
        attacks = ["pgd-margin", "autoattack"]
        memo = Memo(folder / "memo")
        report = evaluate(model, x_test, y_test, attacks, eps=EPS[name], margins=True, memo=memo, verbose=False)
        file = f"{name}.outcomes.npz"
        record = report.record(name=name, dataset="digits", architecture="small", outcomes_file=file)
        write_outcomes(report.outcomes(), folder / file)
        write_record(record, folder / f"{name}.json")
        print(report.table(), flush=True)


def networks(x: Tensor, y: Tensor) -> Iterator[tuple[str, nn.Module]]:
    """Small networks, trained in different ways."""
    for kind, eps in EPS.items():
        torch.manual_seed(0)
        masked = kind == "masked"
        model = nn.Sequential(
            *([Steps()] if masked else []), nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        for _ in range(12):
            for rows in torch.randperm(len(x)).split(64):
                points = x[rows]
                if kind in ("noise", "masked"):
                    points = (points + 2 * eps * (2 * torch.rand_like(points) - 1)).clamp(0, 1)
                if kind == "adversarial":
                    points = pgd(model.eval(), points, y[rows], eps=eps, max_iter=5)
                optimizer.zero_grad()
                nn.functional.cross_entropy(model.train()(points), y[rows]).backward()
                optimizer.step()
        yield kind, model.eval()


class Steps(nn.Module):
    """Adds steps to the inputs that gradients do not see: they hide some of what is near."""

    def forward(self, x: Tensor) -> Tensor:
        """Inputs, half way to the nearest eighth."""
        return x + ((8 * x).round() / 8 - x).detach() * 0.5


def main() -> None:
    """Make records, or simulate."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--make", type=Path, metavar="FOLDER")
    parser.add_argument("--interval", type=float, nargs="+", default=[0.01])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--times", type=int, nargs="+", default=[1])
    parser.add_argument("--blind", action="store_true")
    given = parser.parse_args()
    if given.make:
        make(given.make)
    print(
        f"{'model':24}{'images':>7}{'AutoA.':>9}{'covers':>8}{'worst':>8}{'low':>7}{'high':>7}{'bias':>7}"
        f"{'+-':>8}{'cost':>8}{'simple':>8}"
    )
    for path in given.files or sorted(given.make.glob("*.json") if given.make else []):
        for times in given.times:
            for interval in given.interval:
                print(row(path.stem, population_of(path, given.blind).times(times), interval, given.draws), flush=True)


if __name__ == "__main__":
    main()
