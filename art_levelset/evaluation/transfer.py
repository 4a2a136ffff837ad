"""
Transferred attacks, all versus all: examples made on one network, tried on every other (Tables B3 and B4).

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from art_levelset.attacks.inputs import Array
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.protocol import Attack, outcome_of, reseeded, seed_of
from art_levelset.attacks.subject import Subject
from art_levelset.checks import check_count, check_seed
from art_levelset.evaluation.accuracy import correct, wilson
from art_levelset.evaluation.figures import heat_map
from art_levelset.evaluation.rendering import markdown_text
from art_levelset.progress import progress_bar


@dataclass(frozen=True, eq=False)
class TransferMatrix:
    """
    What targets withstand of examples made on sources. Where target and source are one network the attack is white box.

    :param targets: Names of the attacked networks, the rows.
    :param sources: Names of the networks that the examples were made on, the columns.
    :param right: Whether each target classifies each source's example of each sample right, (targets, sources, n).
    :param clean: Whether each target classifies each sample right as it is, (targets, n).
    """

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    right: NDArray[np.bool_]
    clean: NDArray[np.bool_]

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """The fraction of the examples classified right, (targets, sources), as in the paper: of all samples."""
        accuracy: NDArray[np.float64] = self.right.mean(axis=2)
        return accuracy

    @property
    def intervals(self) -> NDArray[np.float64]:
        """The 95% Wilson intervals of the accuracies, (targets, sources, 2), low and high."""
        count = self.right.shape[2]
        rows = [[wilson(int(right.sum()), count) for right in row] for row in self.right]
        return np.array(rows, dtype=np.float64)

    def markdown(self) -> str:
        """
        The matrix as a Markdown table: percent, intervals in parentheses, white-box attacks in bold.

        :return: Lines of text.
        """
        intervals = self.intervals
        lines = [
            "| target | clean | " + " | ".join(f"from {_cell(name)}" for name in self.sources) + " |",
            "|---|---|" + "---|" * len(self.sources),
        ]
        for i, target in enumerate(self.targets):
            cells = [f"{100 * self.clean[i].mean():.2f}"]
            for j, source in enumerate(self.sources):
                low, high = 100 * intervals[i, j]
                figure = f"{100 * self.accuracy[i, j]:.2f}"
                cells.append(f"{f'**{figure}**' if source == target else figure} ({low:.2f} to {high:.2f})")
            lines.append(f"| {_cell(target)} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def plot(self, path: str | PathLike[str], *, title: str = "") -> None:
        """
        Draw the matrix as a heat map with its numbers, white-box attacks framed, and write a PNG file.

        :param path: The file to write, in a folder that exists.
        :param title: A line above the picture.
        :raises OSError: If the file cannot be written.
        """
        framed = [(i, self.sources.index(name)) for i, name in enumerate(self.targets)]
        heat_map(path, 100 * self.accuracy, self.targets, self.sources, framed, title=title)


def transfer_matrix(
    models: Mapping[str, Any],
    x: Array,
    y: Array,
    attack: Attack,
    *,
    targets: Sequence[str] | None = None,
    batch_size: int = 500,
    seed: int = 0,
    memo: Memo | None = None,
    verbose: bool = True,
) -> TransferMatrix:
    """
    Attack every network with examples made on every network.

    The examples of a source are made once, of all samples, and scored on every target. They depend on the source, the
    batch and the seed alone: not on the other networks. With a memo on disk a killed computation goes on after the last
    finished batch, and a target added later costs its forward passes only.

    :param models: Networks (batch, ...) -> (batch, classes), or ART PyTorchClassifiers, by name: the sources.
    :param x: Samples, (n, ...), floating point.
    :param y: Labels, (n,) integers or (n, classes) one-hot.
    :param attack: Called as `attack(network, x, y)` on batches of tensors.
    :param targets: Names of those of the models to score; all by default.
    :param batch_size: Samples in one call of the attack, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished batches of examples are kept; nowhere by default.
    :param verbose: Whether to show a progress bar.
    :return: The matrix.
    :raises ValueError: If there is no model or sample, a target is unknown, a shape, label or number is out of range,
            or the attack returns another shape than it was given.
    :raises TypeError: If an argument is of another type.
    """
    if not models:
        raise ValueError("models must hold at least one network")
    names = tuple(models) if targets is None else tuple(targets)
    unknown = [name for name in names if name not in models]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(f"targets must be different names of models ({', '.join(models)}), got {list(names)}")
    check_count("batch_size", batch_size)
    check_seed(seed)
    subjects = {name: Subject.of(model, x, y) for name, model in models.items()}
    count = len(next(iter(subjects.values())))
    if not count:
        raise ValueError("x holds no sample: a transfer matrix needs at least one")
    clean = np.stack([correct(subjects[name], batch_size=batch_size) for name in names])
    kept = memo or Memo()
    right = np.zeros((len(names), len(models), count), dtype=bool)
    with progress_bar(total=len(models) * count, unit="sample", verbose=verbose) as progress:
        for j, (source, subject) in enumerate(subjects.items()):
            progress.set_description(f"from {source}")
            for first in range(0, count, batch_size):
                rows = slice(first, first + batch_size)
                examples = _examples(subject.select(rows), attack, seed_of(seed, 0, first), kept)
                for i, target in enumerate(names):
                    right[i, j, rows] = correct(subjects[target].select(rows).at(examples), batch_size=batch_size)
                progress.update(len(examples))
    return TransferMatrix(names, tuple(models), right, clean)


def _examples(batch: Subject, attack: Attack, seed: int, memo: Memo) -> Tensor:
    """One call of the attack, recalled where it was made before."""
    key = memo.key("examples", batch.network_sha256, batch.x, batch.y, attack, seed)
    known = memo.recall(key, examples=("f", tuple(batch.x.shape)))
    if known is not None:
        return torch.from_numpy(known["examples"])
    examples = outcome_of(reseeded(attack, seed), batch.network, batch.x, batch.y).examples.detach().cpu()
    memo.store(key, examples=examples.numpy())
    return examples


def _cell(text: str) -> str:
    """A text that does not break the table that it stands in, and is shown as it is."""
    return str(markdown_text(" ".join(text.split())))
