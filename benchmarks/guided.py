"""
The guided ensemble against standard AutoAttack on the same images: what stands, passes and CPU seconds.

    python benchmarks/guided.py --data FOLDER --weights FOLDER --work FOLDER [--nb-examples 1000] [NAME ...]

`--data` holds `mnist.npz`, `fashion_mnist.npz`, `cifar10.npz` (x_test and y_test, uint8), `--weights` the networks'
files; names are those of `SUBJECTS`. AutoAttack runs in blocks of 50 images, each kept in `--work` as `NAME_FIRST.npz`
with the outcome image by image (`index`, `y`, `clean`, `broken_by`: -1 where the image stands, else the place among
apgd-ce, apgd-t, fab-t, square) and its cost, so that a killed run goes on; the guided ensemble runs every time. Costs
are a process's CPU seconds, and the samples that passed the network forward and backward.
"""

from __future__ import annotations

import argparse
import json
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
from art_levelset.files import replacing, write_text
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
    "cifar10": Subject("cifar10.pth", "convnet4b", "cifar10.npz", 8 / 255),
}


def by_autoattack(
    network: nn.Module, x: Tensor, y: Tensor, subject: Subject, stem: Path, first: int, progress: tqdm[Any]
) -> dict[str, NDArray[Any]]:
    """Standard AutoAttack's outcomes, in blocks that are kept."""
    parts = []
    for start in range(0, len(x), BLOCK):
        path = stem.with_name(f"{stem.name}_{first + start:05d}.npz")
        if not path.exists():
            images, labels = x[start : start + BLOCK], y[start : start + BLOCK]
            with torch.no_grad():
                clean = network(images).argmax(dim=1) == labels
            began = time.process_time()
            attack = AutoAttack(eps=subject.eps, norm=subject.norm, seed=first + start)
            outcome = attack.outcome(network, images, labels)
            cost = [time.process_time() - began, outcome.effort.forwards, outcome.effort.gradients]
            index = first + start + np.arange(len(images))
            block = {"index": index, "y": labels.numpy(), "clean": clean.numpy(), "effort": np.array(cost)}
            with replacing(path) as unfinished, unfinished.open("wb") as file:
                np.savez(file, broken_by=np.asarray(outcome.broken_by), **block)
        with np.load(path) as kept:
            parts.append({name: kept[name] for name in ("clean", "broken_by")} | {"effort": _cost(kept["effort"])})
        progress.update(len(x[start : start + BLOCK]))
    return {name: np.concatenate([part[name] for part in parts]) for name in ("clean", "broken_by")} | {
        "effort": np.sum([part["effort"] for part in parts], axis=0)
    }


def _cost(effort: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds, forward and backward passes; files may have them for each attack of the ensemble."""
    return effort.reshape(-1, 3).sum(axis=0)


def compare(name: str, arguments: argparse.Namespace, progress: tqdm[Any]) -> dict[str, Any]:
    """One row of the table."""
    subject, first, count = SUBJECTS[name], arguments.first, arguments.nb_examples
    data = load(arguments.data / subject.data)
    x = torch.from_numpy(data.x[first : first + count])
    y = torch.from_numpy(data.y[first : first + count]).long()
    model = load_classifier(
        subject.arch, arguments.weights / subject.weights, input_shape=x.shape[1:], least_classes=10
    )
    network = DetachedNetwork(model.eval())
    standard = by_autoattack(network, x, y, subject, arguments.work / name, first, progress)
    began = time.process_time()
    outcome = Guided(eps=subject.eps, norm=subject.norm, seed=arguments.seed).outcome(model, x, y)
    seconds = time.process_time() - began
    stands = standard["clean"] & (standard["broken_by"] < 0)
    guided = standard["clean"] & (np.asarray(outcome.broken_by) < 0)
    passes, all_passes = outcome.effort.forwards + outcome.effort.gradients, standard["effort"][1:].sum()
    return {
        "name": name,
        "images": len(x),
        "clean": int(standard["clean"].sum()),
        "autoattack": int(stands.sum()),
        "guided": int(guided.sum()),
        "only_autoattack_breaks": int((guided & ~stands).sum()),
        "only_guided_breaks": int((stands & ~guided).sum()),
        "survivors": dict(outcome.survivors),
        "passes": round(passes / len(x), 1),
        "autoattack_passes": round(float(all_passes) / len(x), 1),
        "times_fewer_passes": round(float(all_passes) / passes, 1),
        "ms": round(1e3 * seconds / len(x), 1),
        "autoattack_ms": round(1e3 * float(standard["effort"][0]) / len(x), 1),
        "times_less_cpu": round(float(standard["effort"][0]) / seconds, 1),
    }


def main() -> None:
    """Compare, print a table and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SUBJECTS)}; all by default")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the data sets")
    parser.add_argument("--weights", type=Path, required=True, metavar="FOLDER", help="the networks' files")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="AutoAttack's outcomes")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first image (default: 0)")
    parser.add_argument("--nb-examples", type=int, default=1000, metavar="N", help="images (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the guided ensemble (default: 0)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the rows as JSON")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(SUBJECTS):
        parser.error(f"NAME must be among {', '.join(SUBJECTS)}, got {', '.join(sorted(unknown))}")
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    names = arguments.names or list(SUBJECTS)
    print("| network | images | clean | AutoAttack | guided | passes | times fewer | CPU ms | times less |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    rows = []
    with tqdm(total=len(names) * arguments.nb_examples, unit="image", disable=None) as progress:
        for name in names:
            rows.append(row := compare(name, arguments, progress))
            columns = ("name", "images", "clean", "autoattack", "guided", "passes", "times_fewer_passes", "ms")
            progress.write(f"| {' | '.join(str(row[column]) for column in (*columns, 'times_less_cpu'))} |")
            if arguments.output is not None:
                write_text(json.dumps(rows, indent=2) + "\n", arguments.output)


if __name__ == "__main__":
    main()
