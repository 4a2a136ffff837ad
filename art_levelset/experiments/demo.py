"""
The demonstration: the package's three jobs on real data that come along, in about a minute on two cores.

1. A small network learns scikit-learn's handwritten digits twice through the Adversarial Robustness Toolbox, once with
   `classifier.fit` and once with :class:`LevelSetMarginTrainer` (eq. 12), and both are attacked.
2. The decision boundaries of Figure 1 (a) to (d) are trained and drawn.
3. A raw point cloud, without normals, becomes a mesh (eq. 13).

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_levelset.evaluation import accuracy, pgd, robust_accuracy
from art_levelset.evaluation.datasets import Split, digits
from art_levelset.experiments import figure1
from art_levelset.files import scratch
from art_levelset.models import convnet_2a
from art_levelset.progress import shown
from art_levelset.recon.cloud.clouds import demo_scan_path
from art_levelset.recon.inspect.preview import draw
from art_levelset.recon.io.reading import read_points
from art_levelset.recon.pipeline import reconstruct
from art_levelset.trainers.margin import LevelSetMarginTrainer

EPS = 0.15
"""The L_inf radius of the attacks, for pixels in [0, 1]."""

EPS_TRAIN = 0.2
"""The distance that the level-set training asks for: as in the paper, a third more than the attacks have."""

ATTACK_STEPS = 40

SCAN_RESOLUTION = 128


@dataclass(frozen=True)
class Robustness:
    """
    One row of the table: fractions of the test digits classified right.

    :param training: What the network was trained with.
    :param clean: As they are.
    :param pgd_cross_entropy: Under PGD on the cross-entropy.
    :param pgd_margin: Under PGD on the margin.
    :param seconds: Time of the training.
    """

    training: str
    clean: float
    pgd_cross_entropy: float
    pgd_margin: float
    seconds: float


@dataclass(frozen=True)
class Surface:
    """
    The reconstructed scan.

    :param points: Number of points of the cloud.
    :param triangles: Number of triangles of the mesh.
    :param watertight: Whether every edge has two triangles.
    :param euler_number: Vertices - edges + triangles: 2 for a sphere, 2 less for each handle.
    :param seconds: Time of the reconstruction and the picture.
    """

    points: int
    triangles: int
    watertight: bool
    euler_number: int
    seconds: float


@dataclass(frozen=True)
class Demonstration:
    """
    What the demonstration found and wrote.

    :param robustness: The table's rows.
    :param panels: Figure 1.
    :param scan: The reconstructed scan.
    :param files: The files.
    :param seconds: Time of everything.
    :param metrics: The tables for a program, as in `demo.json`.
    """

    robustness: list[Robustness]
    panels: list[figure1.Panel]
    scan: Surface
    files: list[Path]
    seconds: float
    metrics: dict[str, Any]

    def report(self) -> str:
        """
        The tables and the names of the files, for a terminal.

        :return: Lines of text.
        """
        return f"{self.tables()}\n\n{self.written()}"

    def tables(self) -> str:
        """
        What was found, for a terminal.

        :return: Lines of text.
        """
        lines = [
            f"Handwritten digits, 500 test images, L_inf attacks of radius {EPS}, {ATTACK_STEPS} steps",
            f"{'training':<28}{'clean':>9}{'PGD, cross-entropy':>21}{'PGD, margin':>14}{'seconds':>10}",
            *(
                f"{row.training:<28}{row.clean:>9.1%}{row.pgd_cross_entropy:>21.1%}{row.pgd_margin:>14.1%}"
                f"{row.seconds:>10.1f}"
                for row in self.robustness
            ),
            "",
            "Figure 1: distance from the decision boundary to the nearest of the 16 points",
            f"{'training':<28}{'accuracy':>9}{'L_inf':>21}{'L_2':>14}",
            *(
                f"({panel.name}) {panel.training:<24}{panel.accuracy:>9.1%}{panel.distance_inf:>21.4f}"
                f"{panel.distance_2:>14.4f}"
                for panel in self.panels
            ),
            "",
            f"Scan: {self.scan.points:,} raw points -> {self.scan.triangles:,} triangles, "
            f"{'watertight' if self.scan.watertight else 'with open edges'}, Euler number {self.scan.euler_number}, "
            f"{self.scan.seconds:.1f} s",
        ]
        return "\n".join(lines)

    def written(self) -> str:
        """
        The names of the files, for a terminal.

        :return: Lines of text.
        """
        return "\n".join([f"Wrote in {self.seconds:.0f} s:", *(f"  {file}" for file in self.files)])


def run(output_dir: str | Path, *, seed: int = 0, verbose: bool = True) -> Demonstration:
    """
    Run everything and write a JSON file, two pictures and a mesh, all of them or none.

    :param output_dir: Where the files go; created when missing.
    :param seed: Seed of everything random, >= 0.
    :param verbose: Whether to show progress bars.
    :return: The metrics and the files.
    :raises ValueError: If the seed is negative.
    :raises OSError: If the directory or a file cannot be written.
    """
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    started = time.perf_counter()
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with scratch(folder / "demo.json") as unfinished:
        robustness = compare_on_digits(seed=seed, verbose=verbose)
        panels = figure1.draw_continued(unfinished / "figure1.png", seed=seed, verbose=verbose)
        scan = reconstruct_scan(unfinished, seed=seed, verbose=verbose)
        contents = {
            "eps": EPS,
            "eps_train": EPS_TRAIN,
            "attack_steps": ATTACK_STEPS,
            "seed": seed,
            "digits": [asdict(row) for row in robustness],
            "figure1": [panel.metrics() for panel in panels],
            "scan": asdict(scan),
        }
        (unfinished / "demo.json").write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
        files = [file.replace(folder / file.name) for file in sorted(unfinished.iterdir())]
    return Demonstration(robustness, panels, scan, files, time.perf_counter() - started, contents)


def compare_on_digits(*, seed: int = 0, nb_epochs: int = 40, verbose: bool = True) -> list[Robustness]:
    """
    Train a small network plainly and with LevelSetMarginTrainer, and attack both.

    :param seed: Seed of the split, the networks, the trainer and the attacks, >= 0.
    :param nb_epochs: Epochs of both trainings, >= 1.
    :param verbose: Whether to show progress bars.
    :return: One row each.
    """
    (x, y), test = digits(seed)
    rows = []
    for training in ("cross-entropy", "LevelSetMarginTrainer"):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # the toolbox shuffles with it
        classifier, scheduler = _classifier(nb_epochs)
        fit = (
            classifier.fit
            if training == "cross-entropy"
            else LevelSetMarginTrainer(classifier, eps=EPS_TRAIN, seed=seed).fit
        )
        started = time.perf_counter()
        fit(x, y, batch_size=64, nb_epochs=nb_epochs, scheduler=scheduler, verbose=shown(verbose))
        seconds = time.perf_counter() - started
        rows.append(_attacked(training, classifier.model, test, seconds, seed, verbose))
    return rows


def reconstruct_scan(folder: Path, *, seed: int = 0, verbose: bool = True) -> Surface:
    """
    Reconstruct the scan that comes with the package and write `scan.mesh.ply` and a picture of it, `scan.png`.

    :param folder: Where the files go.
    :param seed: Seed of the reconstruction, >= 0.
    :param verbose: Whether to show progress bars.
    :return: Facts about the mesh.
    """
    started = time.perf_counter()
    points = read_points(demo_scan_path())
    mesh = reconstruct(points, seed=seed, verbose=verbose).mesh(SCAN_RESOLUTION)
    mesh.export(str(folder / "scan.mesh.ply"))
    draw(folder / "scan.png", mesh, points, title=f"{len(points):,} points, {len(mesh.faces):,} triangles")
    return Surface(
        len(points), len(mesh.faces), bool(mesh.is_watertight), int(mesh.euler_number), time.perf_counter() - started
    )


def _classifier(nb_epochs: int) -> tuple[PyTorchClassifier, torch.optim.lr_scheduler.LRScheduler]:
    model = convnet_2a(10, (1, 8, 8))
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    classifier = PyTorchClassifier(
        model,
        loss=nn.CrossEntropyLoss(),
        input_shape=(1, 8, 8),
        nb_classes=10,
        optimizer=optimizer,
        clip_values=(0, 1),
        device_type="cpu",
    )
    return classifier, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, nb_epochs)


def _attacked(training: str, model: nn.Module, test: Split, seconds: float, seed: int, verbose: bool) -> Robustness:
    attack = partial(pgd, eps=EPS, max_iter=ATTACK_STEPS, stop_when_broken=True, seed=seed, verbose=verbose)
    return Robustness(
        training,
        accuracy(model, *test),
        robust_accuracy(model, *test, partial(attack, loss="cross_entropy")),
        robust_accuracy(model, *test, partial(attack, loss="margin")),
        seconds,
    )
