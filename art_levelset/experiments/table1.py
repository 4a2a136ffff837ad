"""
Table 1: L_inf attacks on networks trained plainly, by Madry's method, by TRADES and with level sets.

The attacks are the paper's: PGD from a random start, on MNIST of radius 0.3 with 40 steps of 0.01, on CIFAR10 of radius
0.031 with 20 steps of 0.003; the accuracy after the last step; cross-entropy as float32 computes it, and the margin.
Clean accuracy is that of the whole test set, robust accuracy that of its first images.

Networks come from the authors' files, where there are some and `--weights` names their folder, or are trained
(:mod:`art_levelset.experiments.table1_rows`). Each is evaluated once, its record is kept, and the table is made from
the records. A killed experiment goes on: trainings from their last checkpoint, attacks after their last batch.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from art_levelset.attacks.memo import Memo
from art_levelset.attacks.protocol import Attack
from art_levelset.checks import check_count, check_positive, check_seed
from art_levelset.evaluation import evaluate, pgd
from art_levelset.evaluation.accuracy import accuracy
from art_levelset.evaluation.datasets import Dataset, load
from art_levelset.evaluation.figures import save
from art_levelset.evaluation.record import Record, read_record, read_records, write_record
from art_levelset.experiments.rows import Rows, add_common_arguments
from art_levelset.experiments.table1_rows import CIFAR10_EPS, ROWS, Row, read_about, train_row
from art_levelset.files import beside
from art_levelset.models import CLASSIFIERS, load_released_weights, load_weights

LOSSES = ("cross_entropy", "margin")
COLUMNS = {"clean": "clean", "cross_entropy": "PGD, cross-entropy", "margin": "PGD, margin"}


@dataclass(frozen=True)
class Threat:
    """
    The attack of a data set.

    :param eps: Radius.
    :param eps_step: Length of a step.
    :param max_iter: Number of steps.
    """

    eps: float
    eps_step: float
    max_iter: int

    def attack(self, loss: str) -> Attack:
        """
        The attack with a loss.

        :param loss: One of :data:`LOSSES`.
        :return: PGD from a random start, all of its steps.
        """
        return partial(pgd, eps=self.eps, eps_step=self.eps_step, max_iter=self.max_iter, loss=loss, rescale=False)


THREATS = {"mnist": Threat(0.3, 0.01, 40), "cifar10": Threat(CIFAR10_EPS, 0.003, 20)}

FAST_ROWS = ("mnist-standard", "mnist-madry-0.3", "mnist-trades-0.3", "mnist-ours-0.4", "cifar10-default-0.045")


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    add_common_arguments(parser, "table1")
    add_network_arguments(parser)
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="default: all whose data is given")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of trainings (default: 0)")
    parser.add_argument(
        "--records", type=Path, nargs="+", default=[], metavar="DIR", help="records to take AutoAttack's figures from"
    )


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Declare what networks and data there are.

    :param parser: An experiment's parser.
    """
    parser.add_argument("--mnist", type=Path, metavar="FILE", help="MNIST as an .npz file")
    parser.add_argument("--cifar10", type=Path, metavar="FILE", help="CIFAR10 as an .npz file")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="the authors' files; trained without")
    parser.add_argument("--release", type=Path, metavar="FILE", help="weights for mnist-default-0.4; trained without")
    parser.add_argument("--seconds", type=float, default=240.0, help="processor time of a training (default: 240)")
    parser.add_argument("--nb-examples", type=int, default=1000, metavar="N", help="attacked images (default: 1000)")
    parser.add_argument("--device", default="cpu", help="where to compute: cpu or cuda (default: cpu)")
    parser.add_argument("--augment", action="store_true", help="shift and mirror the images of CIFAR10 in training")
    parser.add_argument("--work-dir", type=Path, metavar="DIR", help="trained networks and finished attacks")


def run(arguments: argparse.Namespace) -> str:
    """
    Train and attack what has no record yet.

    :param arguments: As :func:`add_parser` declares them.
    :return: The table in Markdown.
    :raises ValueError: If a row is not known, a number out of range, or a file unusable.
    :raises OSError: If a file cannot be read or written.
    """
    networks = Networks(arguments)
    names = arguments.rows or (FAST_ROWS if arguments.fast else [name for name in ROWS if networks.has_data(name)])
    for name in names:
        networks.check(name)
    for seed in arguments.seeds:
        check_seed(seed)
    rows = Rows(arguments.output, {}, keys=("row", "seed"))
    folder = arguments.output.parent / "records"
    folder.mkdir(exist_ok=True)
    elsewhere = [record for place in arguments.records for record in read_records(place)]
    for seed in arguments.seeds:
        for name in names:
            path = folder / f"{name}_{seed}.json"
            if not _is_done(path, networks, name, seed):
                write_record(networks.evaluated(name, seed), path)
            rows.add(_row(name, seed, read_record(path), networks, elsewhere))
            draw(rows.rows, beside(arguments.output, ".png"))
    return table(rows.rows)


class Networks:
    """
    The rows' networks and data, loaded or trained when they are asked for.

    :param arguments: As :func:`add_network_arguments` declares them, with `fast` and `output`.
    :raises ValueError: If a number is out of range.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        check_positive("seconds", arguments.seconds)
        check_count("nb_examples", arguments.nb_examples)
        self._given, self.fast = arguments, bool(arguments.fast)
        self.seconds = min(arguments.seconds, 0.05) if self.fast else arguments.seconds
        self.count = min(arguments.nb_examples, 20) if self.fast else arguments.nb_examples
        self.folder: Path = arguments.work_dir or arguments.output.parent / "networks"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.memo = Memo(self.folder / "attacks")
        self._data: dict[tuple[str, bool], Dataset] = {}
        if arguments.device == "cpu":
            torch.set_num_threads(1)

    def has_data(self, name: str) -> bool:
        """
        Whether a row's data is there.

        :param name: The row.
        :return: With `--fast` always: it is scikit-learn's digits.
        """
        return self.fast or getattr(self._given, ROWS[name].data) is not None

    def check(self, name: str) -> None:
        """
        Check that a row can be computed.

        :param name: Its name.
        :raises ValueError: If it is not known or has no data.
        """
        if name not in ROWS:
            raise ValueError(f"rows: {name!r} is none of {', '.join(ROWS)}")
        if not self.has_data(name):
            raise ValueError(f"{ROWS[name].data} must be given for the row {name}")

    def row(self, name: str) -> Row:
        """
        A row; with `--fast` one of a small network.

        :param name: Its name.
        :return: The row.
        """
        return replace(ROWS[name], architecture="convnet2a") if self.fast else ROWS[name]

    def data(self, name: str, *, train: bool = False) -> Dataset:
        """
        The images of a row.

        :param name: The row.
        :param train: Whether those for training.
        :return: The images.
        """
        key = (ROWS[name].data, train)
        if key not in self._data:
            self._data[key] = load("digits" if self.fast else getattr(self._given, key[0]), train=train)
        return self._data[key]

    def threat(self, name: str) -> Threat:
        """
        The attack of a row.

        :param name: The row.
        :return: The attack; with `--fast` of few steps.
        """
        threat = THREATS[ROWS[name].data]
        return replace(threat, eps_step=threat.eps / 2, max_iter=3) if self.fast else threat

    def file(self, name: str, seed: int) -> Path:
        """
        The file of a row's weights: one that was given, or one that is or will be trained.

        :param name: The row.
        :param seed: Seed of the training.
        :return: The path.
        """
        released = ROWS[name].released
        if not self.fast and released and self._given.weights is not None:
            return Path(self._given.weights) / released
        if not self.fast and name == "mnist-default-0.4" and self._given.release is not None:
            return Path(self._given.release)
        return self.folder / f"{name}_{self.seconds:g}s_{seed}.pth"

    def about(self, name: str, seed: int) -> Mapping[str, Any]:
        """
        What a row's training was, which is done now if need be.

        :param name: The row.
        :param seed: Seed of the training.
        :return: As :func:`art_levelset.experiments.table1_rows.train_row` returns it; empty for files that were given.
        """
        path = self.file(name, seed)
        if path.parent != self.folder:
            return {}
        if path.exists():
            return read_about(path)
        data = self.data(name, train=True)
        options = {"device": self._given.device, "augment": self._given.augment and ROWS[name].data == "cifar10"}
        return train_row(self.row(name), data.x, data.y, seconds=self.seconds, seed=seed, path=path, **options)

    def network(self, name: str, seed: int) -> nn.Module:
        """
        A row's network.

        :param name: The row.
        :param seed: Seed of the training.
        :return: The network, in evaluation mode, on the device.
        """
        self.about(name, seed)
        path = self.file(name, seed)
        if self._given.weights is not None and path.parent == self._given.weights:
            network = load_released_weights(path)
        else:
            shape = self.data(name).x.shape[1:]
            network = load_weights(CLASSIFIERS[self.row(name).architecture](nb_classes=10, input_shape=shape), path)
        return network.to(self._given.device)

    def evaluated(self, name: str, seed: int) -> Record:
        """
        The record of a row.

        :param name: The row.
        :param seed: Seed of the training.
        :return: The record of the first test images.
        """
        row, threat, data = self.row(name), self.threat(name), self.data(name)
        attacks = {f"PGD-{threat.max_iter} {loss.replace('_', '-')}": threat.attack(loss) for loss in LOSSES}
        network, path = self.network(name, seed), self.file(name, seed)
        report = evaluate(
            network, data.x[: self.count], data.y[: self.count], attacks, batch_size=100, memo=self.memo, verbose=False
        )
        return report.record(
            name=name,
            dataset=row.data,
            architecture=row.architecture,
            eps=str(threat.eps),
            threat_model="Linf",
            reported="" if row.paper is None else f"{min(row.paper[1:]):.2f}",
            weights={"sha256": _sha256(path)},
        )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """
    The table: paper / measured, percent.

    :param rows: The rows that :func:`run` has written.
    :return: A table in Markdown, with the means over the seeds.
    """
    heads = ["method", "data", "ε_train", *COLUMNS.values(), "AutoAttack", "weights", "n", "seeds"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, row in ROWS.items():
        runs = [found for found in rows if found["row"] == name]
        if not runs:
            continue
        paper = row.paper or (None,) * 3
        cells = [row.method, row.data, "-" if row.eps is None else f"{row.eps:g}"]
        for column, reported in zip(COLUMNS, paper, strict=True):
            found = 100 * float(np.mean([run[column] for run in runs]))
            cells.append(f"{'-' if reported is None else f'{reported:.2f}'} / {found:.2f}")
        autoattack = [run["autoattack"] for run in runs if run["autoattack"] is not None]
        cells.append(f"{float(np.mean(autoattack)):.2f}" if autoattack else "")
        trained = [run for run in runs if run["seconds"] is not None]
        epochs = np.mean([run["epochs"] for run in trained]) if trained else 0
        cells.append(f"{trained[0]['seconds']:g} s, {epochs:.1f} epochs" if trained else "given")
        lines.append(f"| {' | '.join(cells)} | {runs[0]['n_examples']} | {len(runs)} |")
    return "\n".join(lines)


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """
    Draw what the paper reports, circles, beside what was measured, dots, one panel a column.

    :param rows: The rows that :func:`run` has written.
    :param path: The PNG file.
    """
    from matplotlib.figure import Figure

    names = [name for name in ROWS if any(row["row"] == name for row in rows)]
    figure = Figure(figsize=(11, 1.6 + 0.3 * len(names)), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(COLUMNS), sharey=True)
    for number, (axes, (column, title)) in enumerate(zip(panels, COLUMNS.items(), strict=True)):
        for height, name in enumerate(reversed(names)):
            found = [100 * row[column] for row in rows if row["row"] == name]
            axes.plot(found, [height] * len(found), "o", color="#2264a8")
            if (paper := ROWS[name].paper) is not None:
                axes.plot(paper[number], height, "o", markersize=10, markerfacecolor="none", markeredgecolor="#c0392b")
        axes.set(title=title, xlim=(-4, 104), xlabel="accuracy, %")
        axes.set_yticks(range(len(names)), list(reversed(names)))
        axes.grid(color="0.9")
    figure.suptitle("Table 1: the paper's figures (red circles) and those measured (blue dots)", fontsize=10)
    save(figure, path)


def _is_done(path: Path, networks: Networks, name: str, seed: int) -> bool:
    """Whether there is a record of these weights and as many images."""
    weights = networks.file(name, seed)
    if not (path.exists() and weights.exists()):
        return False
    record = read_record(path)
    return record.weights is not None and (record.weights.sha256, record.n_examples) == (
        _sha256(weights),
        networks.count,
    )


def _row(name: str, seed: int, record: Record, networks: Networks, elsewhere: Sequence[Record]) -> dict[str, Any]:
    """A row as the file has it: fractions, AutoAttack's figure in percent and of the images of its own record."""
    data, about = networks.data(name), networks.about(name, seed)
    same = [other for other in elsewhere if other.weights == record.weights and other.autoattack_acc]
    return {
        "row": name,
        "seed": seed,
        "clean": accuracy(networks.network(name, seed), data.x, data.y),
        **{loss: attack.accuracy for loss, attack in zip(LOSSES, record.attacks, strict=True)},
        "n_examples": record.n_examples,
        "autoattack": float(same[0].autoattack_acc) if same else None,
        "autoattack_examples": same[0].n_examples if same else None,
        "seconds": about.get("seconds"),
        "steps": about.get("steps"),
        "epochs": about.get("epochs"),
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
