"""
The guided ensemble against standard AutoAttack on the same images: what stands, passes and CPU seconds.

    python benchmarks/guided.py --data FOLDER --weights FOLDER --work FOLDER [--nb-examples 1000] [NAME ...]

`--data` holds `mnist.npz`, `fashion_mnist.npz`, `cifar10.npz` (x_test and y_test, uint8), `--weights` the networks'
files; names are those of `SUBJECTS`. `--work` keeps the outcomes image by image in NAME.npz: `index`, `y`, `clean`,
`eps`; of AutoAttack `broken_by` (-1 where the image stands, else the place among apgd-ce, apgd-t, fab-t, square) and
`effort`, what each block of 50 images has cost (CPU seconds, samples that passed the network forward and backward);
of the guided ensemble `guided_broken_by`, `guided_distances` and `guided_effort`. A killed run goes on after the last
block of AutoAttack; the guided ensemble runs every time. `benchmarks/estimate_coverage.py` reads these files.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from art_levelset.adapters.autoattack import AutoAttack
from art_levelset.attacks.guided import Guided
from art_levelset.attacks.network import DetachedNetwork
from art_levelset.evaluation.datasets import load
from art_levelset.files import replacing
from art_levelset.models import load_classifier

BLOCK = 50


@dataclass(frozen=True)
class Subject:
    """A network, its test images and the ball."""

    weights: str
    arch: str
    data: str
    eps: float
    norm: float = math.inf


SUBJECTS = {
    "madry_eps0.3": Subject("madry_eps0.3.pth", "convnet4a-released", "mnist.npz", 0.3),
    "levelset_eps0.4": Subject("levelset_eps0.4.pth", "convnet4a-released", "mnist.npz", 0.3),
    "xent": Subject("xent.pth", "convnet4a-released", "mnist.npz", 0.3),
    "ours": Subject("mnist_convnet4a_linf0.3.pth", "convnet4a", "mnist.npz", 0.3),
    "ours_l2": Subject("mnist_convnet4a_linf0.3.pth", "convnet4a", "mnist.npz", 2.0, 2),
    "fashion": Subject("fashion.pth", "convnet2a", "fashion_mnist.npz", 0.1),
    "cifar10": Subject("cifar10.pth", "convnet2a", "cifar10.npz", 8 / 255),
    "cifar10_l2": Subject("cifar10.pth", "convnet2a", "cifar10.npz", 0.5, 2),
}


def by_autoattack(
    network: nn.Module, x: Tensor, y: Tensor, subject: Subject, path: Path, first: int, progress: tqdm[Any]
) -> dict[str, NDArray[Any]]:
    """Standard AutoAttack's outcomes, which are kept block by block."""
    kept = _kept(path)
    index = first + np.arange(len(x))
    if kept and not np.array_equal(kept["index"][: len(x)], index[: len(kept["index"])]):
        raise SystemExit(f"{path} is of other images, from {kept['index'][0]} on: give another --work")
    progress.update(min(len(kept.get("index", ())), len(x)))
    for start in range(len(kept.get("index", ())), len(x), BLOCK):
        images, labels = x[start : start + BLOCK], y[start : start + BLOCK]
        with torch.no_grad():
            clean = network(images).argmax(dim=1) == labels
        began = time.process_time()
        outcome = AutoAttack(eps=subject.eps, norm=subject.norm, seed=first + start).outcome(network, images, labels)
        cost = [time.process_time() - began, outcome.effort.forwards, outcome.effort.gradients]
        block = {
            "index": index[start : start + BLOCK],
            "y": labels.numpy(),
            "clean": clean.numpy(),
            "broken_by": np.asarray(outcome.broken_by),
            "effort": np.array([cost]),
        }
        kept = {name: np.concatenate([kept[name], part]) if kept else part for name, part in block.items()}
        _keep(path, kept)
        progress.update(len(images))
    return {
        name: part[: math.ceil(len(x) / BLOCK)] if name == "effort" else part[: len(x)] for name, part in kept.items()
    }


def _kept(path: Path) -> dict[str, NDArray[Any]]:
    if not path.exists():
        return {}
    with np.load(path) as kept:
        return {name: kept[name] for name in ("index", "y", "clean", "broken_by", "effort")}


def _keep(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)


def compare(name: str, arguments: argparse.Namespace, progress: tqdm[Any]) -> dict[str, NDArray[Any]]:
    """The outcomes of both on the same images, which are kept."""
    subject, first, count = SUBJECTS[name], arguments.first, arguments.nb_examples
    data = load(arguments.data / subject.data)
    x = torch.from_numpy(data.x[first : first + count])
    y = torch.from_numpy(data.y[first : first + count]).long()
    model = load_classifier(
        subject.arch, arguments.weights / subject.weights, input_shape=x.shape[1:], least_classes=10
    )
    network, path = DetachedNetwork(model.eval()), arguments.work / f"{name}.npz"
    standard = by_autoattack(network, x, y, subject, path, first, progress)
    began = time.process_time()
    outcome = Guided(eps=subject.eps, norm=subject.norm, seed=arguments.seed).outcome(model, x, y)
    seconds = time.process_time() - began
    by_guided = {
        "eps": np.array(subject.eps),
        "guided_broken_by": np.asarray(outcome.broken_by),
        "guided_distances": np.asarray(outcome.distances),
        "guided_effort": np.array([seconds, outcome.effort.forwards, outcome.effort.gradients]),
    }
    if len(_kept(path)["index"]) == len(x):
        _keep(path, standard | by_guided)
    return standard | by_guided


def row(found: dict[str, NDArray[Any]]) -> tuple[float, ...]:
    """The columns of the table after the name."""
    clean, count = found["clean"], len(found["index"])
    stand, guided = clean & (found["broken_by"] < 0), clean & (found["guided_broken_by"] < 0)
    seconds, *passes = found["guided_effort"]
    all_seconds, *all_passes = found["effort"].sum(axis=0)
    return (
        count,
        int(clean.sum()),
        int(stand.sum()),
        int(guided.sum()),
        round(sum(passes) / count, 1),
        round(sum(all_passes) / sum(passes), 1),
        round(1e3 * seconds / count, 1),
        round(all_seconds / seconds, 1),
    )


def main() -> None:
    """Compare, print a table and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SUBJECTS)}; all by default")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the data sets")
    parser.add_argument("--weights", type=Path, required=True, metavar="FOLDER", help="the networks' files")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="the outcomes")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first image (default: 0)")
    parser.add_argument("--nb-examples", type=int, default=1000, metavar="N", help="images (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the guided ensemble (default: 0)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(SUBJECTS):
        parser.error(f"NAME must be among {', '.join(SUBJECTS)}, got {', '.join(sorted(unknown))}")
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    names = arguments.names or list(SUBJECTS)
    print("| network | images | clean | AutoAttack | guided | passes | times fewer | CPU ms | times less |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    with tqdm(total=len(names) * arguments.nb_examples, unit="image", disable=None) as progress:
        for name in names:
            found = compare(name, arguments, progress)
            progress.write(f"| {' | '.join(map(str, (name, *row(found))))} |")


if __name__ == "__main__":
    main()
