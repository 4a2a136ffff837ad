"""
Table B3 and Table B4: attacks made on one network and tried on every other, with the cross-entropy and with the margin.

The networks, data and attacks are those of Table 1 (:mod:`art_levelset.experiments.table1`): the examples are the last
points of the attacks, on the first test images. The paper does not say of which radius its Madry and TRADES networks
are; by its diagonals Madry is that of 0.3 on MNIST and of 0.045 on CIFAR10, and TRADES near those of 0.3 and 0.031. On
CIFAR10 "ours" is this package's default here, as eq. 12 needs more time than trainings of minutes have. A killed
experiment goes on after the last batch of examples.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from art_levelset.checks import check_seed
from art_levelset.evaluation.transfer import transfer_matrix
from art_levelset.experiments.rows import Rows, add_common_arguments
from art_levelset.experiments.table1 import LOSSES, Networks, add_network_arguments
from art_levelset.files import beside


@dataclass(frozen=True)
class TransferTable:
    """
    Table B3 and Table B4: attacks made on one network and tried on the others.

    :param name: The experiment's name.
    :param networks: Rows of Table 1 by the paper's names, the sources; all but the first are targets in the paper.
    :param paper: The paper's accuracies by loss: a row for each target, its columns the sources, percent.
    """

    name: str
    networks: Mapping[str, str]
    paper: Mapping[str, Sequence[Sequence[float]]]

    def add_parser(self, parser: argparse.ArgumentParser) -> None:
        """
        Declare the arguments.

        :param parser: The experiment's parser.
        """
        add_common_arguments(parser, self.name)
        add_network_arguments(parser)
        parser.add_argument("--seed", type=int, default=0, help="of trainings and attacks (default: 0)")

    def run(self, arguments: argparse.Namespace) -> str:
        """
        Attack every network with the examples of every network.

        :param arguments: As :meth:`add_parser` declares them.
        :return: The tables in Markdown.
        :raises ValueError: If a number is out of range, or a file unusable.
        :raises OSError: If a file cannot be read or written.
        """
        check_seed(arguments.seed)
        given = Networks(arguments)
        for row in self.networks.values():
            given.check(row)
        rows = Rows(arguments.output, {"n_examples": given.count}, keys=("loss", "target", "source"))
        first = next(iter(self.networks.values()))
        data, threat = given.data(first), given.threat(first)
        x, y = data.x[: given.count], data.y[: given.count]
        models = {name: given.network(row, arguments.seed) for name, row in self.networks.items()}
        tables = []
        for loss in LOSSES:
            matrix = transfer_matrix(
                models, x, y, threat.attack(loss), batch_size=100, seed=arguments.seed, memo=given.memo, verbose=False
            )
            title = f"PGD-{threat.max_iter}, {loss.replace('_', '-')}: accuracy of the targets (rows), %"
            matrix.plot(picture(arguments.output, loss), title=title)
            for i, target in enumerate(matrix.targets):
                for j, source in enumerate(matrix.sources):
                    rows.add(
                        {
                            "loss": loss,
                            "target": target,
                            "source": source,
                            "accuracy": float(matrix.accuracy[i, j]),
                            "interval": matrix.intervals[i, j].tolist(),
                            "clean": float(matrix.clean[i].mean()),
                            "paper": self.reported(loss, target, source),
                        }
                    )
            tables.append(table(rows.select(loss=loss)))
        return "\n\n".join(tables)

    def reported(self, loss: str, target: str, source: str) -> float | None:
        """
        The paper's figure.

        :param loss: The loss.
        :param target: The attacked network.
        :param source: The network that the examples were made on.
        :return: The accuracy in percent; None where the paper has none, for the first network as a target.
        """
        names = list(self.networks)
        return None if target == names[0] else self.paper[loss][names.index(target) - 1][names.index(source)]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """
    One loss: paper / measured, percent, white-box attacks in bold.

    :param rows: The rows of one loss.
    :return: A table in Markdown.
    """
    sources = list(dict.fromkeys(row["source"] for row in rows))
    lines = [f"| {rows[0]['loss']}: target | clean | " + " | ".join(f"from {name}" for name in sources) + " |"]
    lines.append("|---" * (len(sources) + 2) + "|")
    for target in dict.fromkeys(row["target"] for row in rows):
        cells = []
        for row in (row for row in rows if row["target"] == target):
            figure = f"{100 * row['accuracy']:.1f}"
            figure = f"**{figure}**" if row["source"] == target else figure
            cells.append(figure if row["paper"] is None else f"{row['paper']:.2f} / {figure}")
        clean = 100 * next(row["clean"] for row in rows if row["target"] == target)
        lines.append(f"| {target} | {clean:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(output: Path, loss: str) -> Path:
    """
    The picture of a loss.

    :param output: The file of the rows.
    :param loss: The loss.
    :return: A PNG file beside it.
    """
    return output.with_name(f"{beside(output, '').name}_{loss}.png")


B3 = TransferTable(
    "tableB3",
    {
        "Standard": "mnist-standard",
        "Madry": "mnist-madry-0.3",
        "TRADES": "mnist-trades-0.3",
        "Ours": "mnist-ours-0.4",
    },
    {
        "cross_entropy": [
            (98.96, 96.04, 97.76, 99.21),
            (98.57, 97.46, 96.78, 98.87),
            (99.04, 97.78, 97.95, 99.23),
        ],
        "margin": [(98.95, 96.11, 97.81, 98.78), (98.56, 97.50, 96.74, 98.46), (99.04, 97.87, 97.99, 97.35)],
    },
)
B4 = TransferTable(
    "tableB4",
    {
        "Standard": "cifar10-standard",
        "Madry": "cifar10-madry-0.045",
        "TRADES": "cifar10-trades-0.031",
        "Ours": "cifar10-default-0.045",
    },
    {
        "cross_entropy": [
            (61.50, 41.53, 49.76, 50.97),
            (67.84, 54.72, 41.89, 53.11),
            (68.43, 56.71, 54.47, 38.45),
        ],
        "margin": [(61.46, 39.13, 39.14, 51.08), (67.58, 53.15, 38.25, 53.10), (68.42, 55.85, 54.04, 38.54)],
    },
)
