"""
The MNIST weights that the paper's authors released, evaluated: their logged numbers, Table B3, AutoAttack, masking.

The attacks have the authors' settings: L_inf, radius 0.3, 40 steps of 0.01 from a random start, the accuracy after the
last step, cross-entropy as float32 computes it. Three parts, each a command that goes on where it was killed:

- `transfer`: the examples of each network on each network, all test images (Table B3 for these three). Its diagonal is
  PGD as the authors logged it.
- `libraries`: the same PGD by AdverTorch, the authors' tool, and on fewer images by ART and Torchattacks.
- `leaderboard`: PGD, AutoAttack, margins and the checks for masked gradients, as records.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from art_levelset.adapters.advertorch import advertorch_pgd
from art_levelset.adapters.art import art_pgd
from art_levelset.adapters.autoattack import AutoAttack
from art_levelset.adapters.torchattacks import from_torchattacks, torchattacks_pgd
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.pgd import decaying_steps
from art_levelset.attacks.protocol import Attack
from art_levelset.checks import check_count
from art_levelset.evaluation import evaluate, pgd
from art_levelset.evaluation.datasets import load
from art_levelset.evaluation.loss_surface import loss_surface
from art_levelset.evaluation.record import write_record
from art_levelset.evaluation.transfer import transfer_matrix
from art_levelset.files import write_text
from art_levelset.models import load_released_weights

MODELS = ("xent", "madry_eps0.3", "levelset_eps0.4")
LOSSES = ("cross_entropy", "margin")
EPS, EPS_STEP, MAX_ITER = 0.3, 0.01, 40
SQUARE_QUERIES = 500

CLEAN = {"xent": 99.34, "madry_eps0.3": 99.35, "levelset_eps0.4": 99.35}
"""The clean accuracies that the authors published, in percent."""

LOGGED = {
    ("madry_eps0.3", "cross_entropy", "madry_eps0.3"): 96.06,
    ("madry_eps0.3", "margin", "madry_eps0.3"): 96.15,
    ("levelset_eps0.4", "cross_entropy", "levelset_eps0.4"): 99.24,
    ("levelset_eps0.4", "margin", "levelset_eps0.4"): 97.36,
    ("xent", "cross_entropy", "xent"): 13.59,
    ("xent", "margin", "xent"): 0.00,
    ("madry_eps0.3", "cross_entropy", "xent"): 98.96,
    ("madry_eps0.3", "margin", "xent"): 98.95,
    ("madry_eps0.3", "cross_entropy", "levelset_eps0.4"): 99.20,
    ("madry_eps0.3", "margin", "levelset_eps0.4"): 98.78,
    ("levelset_eps0.4", "cross_entropy", "xent"): 99.04,
    ("levelset_eps0.4", "margin", "xent"): 99.04,
    ("levelset_eps0.4", "cross_entropy", "madry_eps0.3"): 97.78,
    ("levelset_eps0.4", "margin", "madry_eps0.3"): 97.87,
}
"""What the authors logged, in percent, by target, loss and source: means of ten runs; those of xent from the paper."""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    parser.add_argument("part", choices=PARTS, help="what to compute")
    parser.add_argument("--weights", type=Path, required=True, metavar="DIR", help="the folder of the released files")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="MNIST as an .npz file")
    parser.add_argument("--nb-examples", type=int, metavar="N", help="the first N test images")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="keep finished work here, and go on from it")
    parser.add_argument("-o", "--output-dir", type=Path, required=True, metavar="DIR", help="where the results go")


def run(arguments: argparse.Namespace) -> str:
    """
    Compute a part and write its results.

    :param arguments: As :func:`add_parser` declares them.
    :return: What was found, as text.
    """
    models = {name: load_released_weights(arguments.weights / f"{name}.pth") for name in MODELS}
    data = load(arguments.data)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    compute, usual = PARTS[arguments.part]
    count = usual if arguments.nb_examples is None else arguments.nb_examples
    check_count("nb_examples", count)
    return compute(models, data.x[:count], data.y[:count], arguments, Memo(arguments.resume))


def transfer(
    models: Mapping[str, nn.Module], x: NDArray[Any], y: NDArray[Any], arguments: argparse.Namespace, memo: Memo
) -> str:
    """
    Table B3 for the three networks, with both losses.

    :param models: The networks by name.
    :param x: Test images, (n, 1, 28, 28).
    :param y: Their labels, (n,).
    :param arguments: `output_dir`.
    :param memo: Where finished work is kept.
    :return: The tables in Markdown.
    """
    rows, tables = [], []
    for loss in LOSSES:
        attack = partial(pgd, eps=EPS, eps_step=EPS_STEP, max_iter=MAX_ITER, loss=loss, rescale=False)
        matrix = transfer_matrix(models, x, y, attack, memo=memo)
        matrix.plot(arguments.output_dir / f"transfer_{loss}.png", title=f"PGD-{MAX_ITER}, {loss.replace('_', '-')}")
        tables.append(f"{loss}\n\n{matrix.markdown()}")
        for i, target in enumerate(matrix.targets):
            for j, source in enumerate(matrix.sources):
                rows.append(_row(target, loss, source, matrix.right[i, j], library="art-levelset"))
        clean = {name: float(right.mean()) for name, right in zip(matrix.targets, matrix.clean, strict=True)}
    _write({"clean": clean, "published_clean": CLEAN, "rows": rows}, arguments.output_dir / "transfer.json")
    return "\n\n".join([*tables, _comparison(rows)])


def libraries(
    models: Mapping[str, nn.Module], x: NDArray[Any], y: NDArray[Any], arguments: argparse.Namespace, memo: Memo
) -> str:
    """
    White-box PGD of the other libraries on the two robust networks; ART's and Torchattacks' on the first 1,000 images.

    :param models: The networks by name.
    :param x: Test images, (n, 1, 28, 28).
    :param y: Their labels, (n,).
    :param arguments: `output_dir`.
    :param memo: Where finished work is kept.
    :return: The accuracies beside those that the authors logged.
    """
    made: dict[str, tuple[Any, int]] = {
        "torchattacks": (torchattacks_pgd, 1000),
        "adversarial-robustness-toolbox": (art_pgd, 1000),
        "advertorch": (advertorch_pgd, len(x)),
    }
    rows = []
    for library, (make, count) in made.items():
        for name in MODELS[1:]:
            attacks: dict[str, Attack] = {
                loss: make(eps=EPS, eps_step=EPS_STEP, max_iter=MAX_ITER, loss=loss) for loss in LOSSES
            }
            for attacked in evaluate(models[name], x[:count], y[:count], attacks, memo=memo).attacks:
                rows.append(_row(name, attacked.name, name, attacked.right[0], library=library))
        _write({"rows": rows}, arguments.output_dir / "libraries.json")
    return _comparison(rows)


def leaderboard(
    models: Mapping[str, nn.Module], x: NDArray[Any], y: NDArray[Any], arguments: argparse.Namespace, memo: Memo
) -> str:
    """
    The records of the three networks, and the losses around two images.

    :param models: The networks by name.
    :param x: Test images, (n, 1, 28, 28).
    :param y: Their labels, (n,).
    :param arguments: `weights` and `output_dir`.
    :param memo: Where finished work is kept.
    :return: What was found of each.
    """
    folder = arguments.output_dir / "records"
    folder.mkdir(exist_ok=True)
    native = partial(pgd, eps=EPS, eps_step=EPS_STEP, max_iter=MAX_ITER, stop_when_broken=True)
    attacks: dict[str, Attack] = {
        "PGD-40 cross-entropy, plain": partial(native, rescale=False),
        "PGD-40 cross-entropy": native,
        "PGD-40 margin": partial(native, loss="margin"),
        "PGD-40 margin, decaying steps": partial(native, loss="margin", eps_step=decaying_steps(EPS, MAX_ITER)),
        "PGD-40 DLR": partial(native, loss="dlr"),
        "AutoAttack": AutoAttack(eps=EPS, memo=memo),
    }
    texts = []
    for name, about in _ABOUT.items():
        report = evaluate(
            models[name],
            x,
            y,
            attacks,
            eps=EPS,
            norm=math.inf,
            eps_step=EPS_STEP,
            max_iter=MAX_ITER,
            masking=name != "xent",  # which withstands nothing: there is no robustness to doubt
            margins=True,
            sources={other: models[other] for other in MODELS if other != name},
            gradient_free=from_torchattacks("Square", eps=EPS, n_queries=SQUARE_QUERIES),
            batch_size=100,
            memo=memo,
        )
        record = report.record(
            dataset="mnist",
            architecture="ConvNet-4a, without ReLU between the fully connected layers",
            eps=str(EPS),
            weights={"sha256": hashlib.sha256((arguments.weights / f"{name}.pth").read_bytes()).hexdigest()},
            **about,
        )
        write_record(record, folder / f"{name}.json")
        surface = loss_surface(models[name], x[:2], y[:2], eps=EPS)
        surface.plot(arguments.output_dir / f"loss_surface_{name}.png")
        texts.append(f"{name}\n\n{report.text()}")
    return "\n\n".join(texts)


PARTS: dict[str, tuple[Callable[..., str], int]] = {
    "transfer": (transfer, 10_000),
    "libraries": (libraries, 10_000),
    "leaderboard": (leaderboard, 1000),
}
"""The parts and how many test images each takes."""

_PAPER = {"link": "https://arxiv.org/abs/1905.11911", "venue": "NeurIPS 2019"}
_ABOUT: dict[str, dict[str, str]] = {
    "levelset_eps0.4": {
        **_PAPER,
        "name": "Level sets, Atzmon et al.",
        "authors": "Atzmon, Haim, Yariv, Israelov, Maron, Lipman",
        "reported": "97.36",
    },
    "madry_eps0.3": {
        **_PAPER,
        "name": "Adversarial training, Madry",
        "authors": "Madry, Makelov, Schmidt, Tsipras, Vladu; trained by Atzmon et al.",
        "reported": "96.06",
    },
    "xent": {
        **_PAPER,
        "name": "Standard training",
        "authors": "Atzmon, Haim, Yariv, Israelov, Maron, Lipman",
        "reported": "0.00",
    },
}


def _row(target: str, loss: str, source: str, right: NDArray[np.bool_], *, library: str) -> dict[str, Any]:
    return {
        "library": library,
        "target": target,
        "source": source,
        "loss": loss,
        "n_examples": len(right),
        "accuracy": float(right.mean()),
        "first_1000": float(right[:1000].mean()),
        "logged": LOGGED.get((target, loss, source)),
    }


def _comparison(rows: list[dict[str, Any]]) -> str:
    """Each figure beside the authors', in percent."""
    lines = ["library, target, source, loss, images: accuracy, logged by the authors, difference"]
    for row in rows:
        place = ", ".join(str(row[key]) for key in ("library", "target", "source", "loss", "n_examples"))
        found, logged = 100 * row["accuracy"], row["logged"]
        beside = "" if logged is None else f", {logged:.2f}, {found - logged:+.2f}"
        lines.append(f"{place}: {found:.2f}{beside}")
    return "\n".join(lines)


def _write(content: Mapping[str, Any], path: Path) -> None:
    write_text(json.dumps(content, indent=2) + "\n", path)
