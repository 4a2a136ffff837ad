"""
Robust trainers at the same cost: each trains a network from scratch for the same processor time, and all are attacked.

The budget is processor time on one thread, so that runs side by side on several cores, or under other load, are
comparable. A killed run goes on: finished networks and attacks are kept. Of each network the results say which images
withstand all attacks, so that two trainings can be compared image by image.
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from scipy.stats import ttest_rel
from torch import Tensor, nn

from art_levelset.adapters.autoattack import AutoAttack
from art_levelset.attacks.guided import Guided
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.protocol import Attack
from art_levelset.evaluation import evaluate, pgd
from art_levelset.evaluation.calibration import calibration
from art_levelset.evaluation.datasets import Split, load
from art_levelset.experiments.equal_budget_rows import BATCH_SIZE, EPS, EXECUTION, Deadline, Fit, rows, rows_l2
from art_levelset.experiments.rows import Rows
from art_levelset.models import CLASSIFIERS
from art_levelset.tensors import load_tensors
from art_levelset.trainers.presets import PRESETS
from art_levelset.trainers.schedules import Trapezoid
from art_levelset.untrusted import opened

EVALUATION_STEPS = 40

NORMS = {"Linf": math.inf, "L2": 2}

HEADLINE = ("standard", "Madry (ART)", "TRADES (ART)", "Madry", "TRADES", "level sets, paper", "level sets")
"""The rows of the table; the others are its ablations and further baselines."""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    parser.add_argument("--data", choices=sorted(EPS["Linf"]), default="mnist", help="the data set (default: mnist)")
    parser.add_argument("--data-file", type=Path, required=True, metavar="FILE", help="the data set as an .npz file")
    parser.add_argument("--arch", choices=sorted(CLASSIFIERS), default="convnet4a", help="default: convnet4a")
    parser.add_argument("--threat-model", choices=sorted(EPS), default="Linf", help="default: Linf")
    parser.add_argument("--seconds", type=float, default=1200.0, help="processor time of a training (default: 1200)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="default: 0 1")
    parser.add_argument("--rows", nargs="+", default=list(HEADLINE), metavar="NAME", help="default: the headline's")
    parser.add_argument("--nb-examples", type=int, default=1000, metavar="N", help="attacked images (default: 1000)")
    parser.add_argument("--validation", action="store_true", help="attack the last 5,000 training images, not the test")
    parser.add_argument(
        "--strongest",
        choices=("pgd", "guided", "autoattack"),
        default="autoattack",
        help="the attack after PGD: none, the guided ensemble or standard AutoAttack (default: autoattack)",
    )
    parser.add_argument("--work-dir", type=Path, required=True, metavar="DIR", help="networks and finished attacks")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the results, JSON")


def run(arguments: argparse.Namespace) -> str:
    """
    Train and attack what is not yet in the results.

    :param arguments: As :func:`add_parser` declares them.
    :return: The table in Markdown.
    :raises ValueError: If a row is not known or a number out of range.
    """
    if arguments.data not in EPS[arguments.threat_model]:
        raise ValueError(f"data must be one of {', '.join(EPS[arguments.threat_model])} for L2, got {arguments.data}")
    known = (rows if arguments.threat_model == "Linf" else rows_l2)(arguments.data)
    for name in arguments.rows:
        if name not in known:
            raise ValueError(f"rows: {name!r} is none of {', '.join(known)}")
    if not arguments.seconds > 0:
        raise ValueError(f"seconds must be positive, got {arguments.seconds}")
    torch.set_num_threads(1)
    train = load(arguments.data_file, train=True)
    x, y = train.x, train.y
    if arguments.validation:
        attacked = (x[-5000:], y[-5000:])
        x, y = x[:-5000], y[:-5000]
    else:
        test = load(arguments.data_file)
        attacked = (test.x, test.y)
    settings = {name: getattr(arguments, name) for name in ("data", "arch", "seconds", "nb_examples", "validation")}
    if arguments.threat_model != "Linf":
        settings["threat_model"] = arguments.threat_model
    results = Rows(arguments.output, settings)
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for name in arguments.rows:
            split = "validation " if arguments.validation else ""
            norm = "" if arguments.threat_model == "Linf" else f"{arguments.threat_model} "
            key = f"{norm}{arguments.data} {arguments.arch} {arguments.seconds:g} {split}{name} {seed}"
            model, about = _trained(known[name], x, y, key, seed, arguments)
            result = _attacked(model, attacked, arguments)
            results.add({"name": name, "seed": seed, **about, **result})
    return table(results.rows)


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """
    The means over the seeds, and how sure it is that the first training is better or worse than each of the others.

    :param found: The rows that :func:`run` has written.
    :return: A table in Markdown, percent; "p" is that of :func:`paired`.
    """
    names = list(dict.fromkeys(row["name"] for row in found))
    possible = ("clean", "cross_entropy", "margin", "guided", "autoattack", "worst", "ece", "logit_margin", "epochs")
    columns = [column for column in possible if any(row.get(column) is not None for row in found)]
    lines = ["| training | " + " | ".join(columns) + " | p | seeds |", "|---" * (len(columns) + 3) + "|"]
    for name in names:
        runs = [row for row in found if row["name"] == name]
        cells = []
        for column in columns:
            values = [row[column] for row in runs if row.get(column) is not None]
            scale = 1 if column in ("epochs", "logit_margin") else 100
            cells.append(f"{scale * float(np.mean(values)):.1f}" if values else "")
        p = None if name == names[0] else paired([row for row in found if row["name"] == names[0]], runs)
        cells.append("" if p is None else f"{p:.1g}")
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {len(runs)} |")
    return "\n".join(lines)


def paired(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> float | None:
    """
    The paired t-test over the images of the difference of two trainings' robust accuracies.

    An image counts with the mean over the seeds that both have, so seeds are no more independent than they are.

    :param one: The rows of a training.
    :param other: Those of another one, under the same attacks.
    :return: The two-sided p; None where no seed has both, or they differ on no image.
    """
    withstood = [{row["seed"]: standing(row) for row in rows if "standing" in row} for rows in (one, other)]
    seeds = sorted(set(withstood[0]) & set(withstood[1]))
    if not seeds:
        return None
    means = [np.mean([kept[seed] for seed in seeds], axis=0) for kept in withstood]
    if np.array_equal(*means):
        return None
    return float(ttest_rel(*means).pvalue)


def standing(row: Mapping[str, Any]) -> NDArray[np.bool_]:
    """
    Which images withstand all attacks.

    :param row: One that :func:`run` has written.
    :return: (n_examples,).

    >>> standing({"standing": "a0", "n_examples": 4}).tolist()
    [True, False, True, False]
    """
    packed = np.frombuffer(bytes.fromhex(row["standing"]), np.uint8)
    return np.unpackbits(packed, count=row["n_examples"]).astype(bool)


def _trained(
    fit: Fit, x: NDArray[Any], y: NDArray[Any], key: str, seed: int, arguments: argparse.Namespace
) -> tuple[nn.Module, dict[str, Any]]:
    """The network, trained now or before, and what its training was."""
    torch.manual_seed(seed)
    model = CLASSIFIERS[arguments.arch](nb_classes=10, input_shape=x.shape[1:])
    path = arguments.work_dir / f"{key.replace(' ', '_').replace(',', '').replace('(', '').replace(')', '')}.pt"
    if path.exists():
        with opened(path) as file:
            state = load_tensors(file)
        model.load_state_dict(state["state_dict"])
        return model.eval(), state["about"]
    paper = "paper" in key
    rate = PRESETS["paper-mnist" if paper else arguments.data].learning_rate
    classifier = PyTorchClassifier(
        Whole(model),
        nn.CrossEntropyLoss(),
        tuple(x.shape[1:]),
        10,
        torch.optim.Adam(model.parameters(), lr=rate, fused=True),
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    deadline = Deadline(arguments.seconds, None if paper else Trapezoid(rate))
    checkpoints = path.with_suffix(".checkpoints")
    steps = fit(classifier, (x, y), deadline, seed, checkpoints)
    about = {
        "steps": steps,
        "epochs": steps * BATCH_SIZE / len(x),
        "learning_rate": rate,
        "computes_in_bfloat16": EXECUTION.bf16,
    }
    partial_path = path.with_suffix(".part")
    torch.save({"state_dict": model.state_dict(), "about": about}, partial_path)
    partial_path.rename(path)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return model.eval(), about


class Whole(nn.Module):
    """A network whose layers are not seen: ART's TRADES trainer fails on an nn.Sequential, whose layers ART returns."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """
        The network's outputs.

        :param x: Inputs.
        :return: Outputs.
        """
        outputs: Tensor = self.network(x)
        return outputs


def _attacked(model: nn.Module, data: Split, arguments: argparse.Namespace) -> dict[str, Any]:
    memo, eps = Memo(arguments.work_dir / "attacks"), EPS[arguments.threat_model][arguments.data]
    norm = NORMS[arguments.threat_model]
    model = model.to(memory_format=torch.channels_last)  # the same in float32, and on a CPU faster
    count = arguments.nb_examples
    native = partial(pgd, eps=eps, norm=norm, eps_step=eps / 30, max_iter=EVALUATION_STEPS)
    attacks: dict[str, Attack] = {"cross_entropy": native, "margin": partial(native, loss="margin")}
    if arguments.strongest == "guided":
        attacks["guided"] = Guided(eps=eps, norm=norm)
    if arguments.strongest == "autoattack":
        attacks["autoattack"] = AutoAttack(eps=eps, norm=norm, memo=memo)
    report = evaluate(model, data[0][:count], data[1][:count], attacks, batch_size=100, memo=memo, verbose=False)
    logits = calibration(model, *data)
    withstood = np.all([attacked.right.all(axis=0) for attacked in report.attacks], axis=0)
    return {
        "clean": logits.accuracy,
        **{attacked.name: attacked.accuracy for attacked in report.attacks},
        "worst": float(withstood.mean()),
        "ece": logits.ece,
        "logit_margin": logits.margin,
        "n_examples": len(withstood),
        "standing": np.packbits(withstood).tobytes().hex(),
    }
