"""
The memory that big steps take, beside what is estimated before them (Linux).

    python benchmarks/memory.py

Each step is a process of its own: the most memory that it ever had during the step, less what it had before. An
estimate should lie between the measured number and twice that.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import trimesh
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_levelset.attacks import batches
from art_levelset.attacks.pgd import pgd
from art_levelset.core.universality import exact_network
from art_levelset.evaluation import evaluate
from art_levelset.models import CLASSIFIERS
from art_levelset.recon import Reconstruction, demo_scan_path, read_cloud, reconstruct
from art_levelset.recon.cloud import clouds
from art_levelset.recon.exact import march
from art_levelset.recon.meshing import estimate
from art_levelset.trainers import LevelSetMarginTrainer

SIZES = {
    "mesh of the dog": (128, 256, 512),
    "mesh of a ball": (128, 256, 512),
    "march of a cube": (128, 256, 512),
    "march of a ball": (128, 256, 512),
    "cloud of points": (10_000, 100_000, 300_000, 1_000_000, 3_000_000),
    "batch of PGD, ConvNet-4a": (64, 256, 1024),
    "batch of PGD, ResNet-18": (8, 32, 128),
    "training, ConvNet-2a": (256, 1024, 4096),
    "training, ResNet-18": (8, 32, 128),
}

CONVEX = {
    "march of a cube": trimesh.creation.box,
    "march of a ball": partial(trimesh.creation.icosphere, subdivisions=2),
}


class Ball(nn.Module):
    """The signed distance to a ball."""

    def __init__(self) -> None:
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(0.8))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """(n, 3) to (n, 1)."""
        return points.norm(dim=1, keepdim=True) - self.radius


def status(field: str) -> int:
    """A number of bytes that the system knows of this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[field].split()[0])


def measured(step: str, size: int, folder: Path) -> tuple[float, float]:
    """The bytes that a step takes and what is estimated. To be called in a process of its own."""
    estimates: list[float] = []

    def keep(name: str, value: int, needed: Callable[[int], float], *, least: int = 1) -> None:
        estimates.append(needed(value))

    with (
        patch.object(estimate, "check_memory", keep),
        patch.object(estimate, "available", lambda: 0.0),
        patch.object(clouds, "check_memory", keep),
        patch.object(batches, "check_memory", keep),
    ):
        run = prepared(step, size, folder)
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forgets the most there was
        run()
    return status("VmHWM") - before, estimates[-1]


def prepared(step: str, size: int, folder: Path) -> Callable[[], object]:
    """The step, after a tiny one that loads what it takes."""
    if step.startswith("mesh"):
        fitted = Reconstruction.load(folder / "dog.recon")
        if step.endswith("ball"):
            fitted = Reconstruction(Ball(), fitted.frame, fitted.planes)
        fitted.mesh(16)
        return lambda: fitted.mesh(size)
    if step.startswith("march"):
        network = exact_network(solid := CONVEX[step]())
        low, high = solid.bounds
        march(network, low, high, 16, verbose=False)
        return lambda: march(network, low, high, size, verbose=False)
    random = np.random.default_rng(0)
    if step.startswith("cloud"):
        points = random.standard_normal((size, 3))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        reconstruct(points[:100], steps=1, batch_size=64, verbose=False)
        return lambda: reconstruct(points, steps=1, batch_size=64, verbose=False)
    if step.startswith("training"):
        side = (3, 32, 32) if step.endswith("18") else (1, 28, 28)
        trained = CLASSIFIERS["resnet18" if step.endswith("18") else "convnet2a"](nb_classes=10, input_shape=side)
        optimizer = torch.optim.Adam(trained.parameters())
        classifier = PyTorchClassifier(trained, nn.CrossEntropyLoss(), side, 10, optimizer, clip_values=(0, 1))
        images, labels = random.random((size, *side), np.float32), random.integers(10, size=size)
        return lambda: LevelSetMarginTrainer(classifier, 0.1).fit(
            images, labels, batch_size=size, nb_epochs=2, verbose=False
        )
    network = CLASSIFIERS["resnet18" if step.endswith("18") else "convnet4a"](nb_classes=10, input_shape=(3, 32, 32))
    x, y = torch.rand(size, 3, 32, 32), torch.zeros(size, dtype=torch.int64)
    attacks = {"PGD": partial(pgd, eps=0.1, max_iter=2)}
    evaluate(network, x[:3], y[:3], attacks, verbose=False)
    return lambda: evaluate(network, x, y, attacks, batch_size=size, verbose=False)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="*", default=list(SIZES), help="which steps")
    parser.add_argument("--one", nargs=3, metavar=("STEP", "SIZE", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    if args.one:
        found, estimated = measured(args.one[0], int(args.one[1]), Path(args.one[2]))
        print(
            f"{args.one[0]:24} {args.one[1]:>9} {found / 1e6:10,.0f} {estimated / 1e6:10,.0f} {estimated / found:6.2f}"
        )
        return
    print(f"{'step':24} {'size':>9} {'MB taken':>10} {'estimated':>10} {'ratio':>6}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if any(step.startswith("mesh") for step in args.steps):
            dog = read_cloud(demo_scan_path()).points
            reconstruct(dog, steps=99, batch_size=1024, verbose=False).save(Path(folder) / "dog.recon")
        for step in args.steps:
            for size in SIZES[step]:
                command = [sys.executable, __file__, "--one", step, str(size), folder]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
