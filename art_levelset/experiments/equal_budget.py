"""
Robust trainers at the same cost: each trains a network from scratch for the same processor time, and all are attacked.

The budget is processor time on one thread, so that runs side by side on several cores, or under other load, are
comparable. All rows have the same batches of 128, Adam, and the same trapezoidal learning rate, that of our preset for
the data set; but the paper's own preset, whose learning rate is constant as the paper's is for 40 epochs. ART's
trainers are called for 20 batches at a time, their own way of working unaltered. A killed run goes on: finished
networks and attacks are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.trainer import AdversarialTrainerMadryPGD, AdversarialTrainerTRADESPyTorch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn

from art_levelset.adapters.autoattack import AutoAttack
from art_levelset.attacks.guided import Guided
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.protocol import Attack
from art_levelset.evaluation import evaluate, pgd
from art_levelset.evaluation.calibration import calibration
from art_levelset.evaluation.datasets import Split, load
from art_levelset.experiments.rows import Rows
from art_levelset.models import CLASSIFIERS
from art_levelset.tensors import load_tensors
from art_levelset.trainers.adversarial import MadryTrainer, TRADESTrainer
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.budget import TimeBudget
from art_levelset.trainers.callbacks import TrainingView
from art_levelset.trainers.execution import Execution
from art_levelset.trainers.margin import LevelSetMarginTrainer
from art_levelset.trainers.max_margin import MMATrainer
from art_levelset.trainers.noise_fgsm import NFGSMTrainer
from art_levelset.trainers.nuclear_norm import NuATTrainer
from art_levelset.trainers.presets import PRESETS
from art_levelset.trainers.prior_fgsm import FGSMPGITrainer
from art_levelset.trainers.runs import UNLIMITED
from art_levelset.trainers.schedules import Trapezoid
from art_levelset.trainers.weight_perturbation import MadryAWPTrainer, TRADESAWPTrainer
from art_levelset.untrusted import opened

BATCH_SIZE = 128
ATTACK_STEPS = 10
EVALUATION_STEPS = 40
EXECUTION = Execution(bf16=True, channels_last=True)
"""Of every trainer of this package; ART's have no such options."""

CHUNK = 20 * BATCH_SIZE
"""Samples that ART's trainers are given at a time."""

EPS = {"mnist": 0.3, "fashion_mnist": 0.1, "cifar10": 8 / 255}


class Deadline(TimeBudget):
    """
    Training for a given processor time, and the learning rate that belongs to it.

    :param seconds: Processor time of this process, > 0.
    :param learning_rate: The schedule; None for a constant learning rate.
    """

    def __init__(self, seconds: float, learning_rate: Trapezoid | None) -> None:
        super().__init__(seconds, time.process_time)
        self.learning_rate = learning_rate
        self.steps = 0

    def set_rate(self, optimizer: torch.optim.Optimizer) -> None:
        """
        Set the learning rate that belongs to the time.

        :param optimizer: The optimizer.
        """
        if self.learning_rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate.peak * self.learning_rate.factor(self.fraction)

    def on_batch_begin(self, trainer: TrainingView) -> None:
        """
        Tell the trainer where it is, or stop it.

        :param trainer: The trainer.
        :raises StopTraining: If the time is up.
        """
        super().on_batch_begin(trainer)
        self.set_rate(trainer.classifier.optimizer)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """
        The time that is spent, which a continued run does not get again.

        :return: Seconds and steps.
        """
        return {**super().state_dict(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a checkpoint.

        :param state: What :meth:`state_dict` returned.
        """
        super().load_state_dict(state)
        self.steps = state["steps"]


Fit = Callable[[PyTorchClassifier, NDArray[Any], NDArray[Any], Deadline, int], int]
"""Trains until the deadline; returns the number of steps."""


def _loop(make: Callable[[PyTorchClassifier, int], LoopTrainer]) -> Fit:
    def fit(classifier: PyTorchClassifier, x: NDArray[Any], y: NDArray[Any], deadline: Deadline, seed: int) -> int:
        make(classifier, seed).fit(
            x, y, nb_epochs=UNLIMITED, batch_size=BATCH_SIZE, callbacks=[deadline], verbose=False
        )
        return deadline.steps

    return fit


def _chunks(make: Callable[[PyTorchClassifier], Any]) -> Fit:
    """Anything with ART's `fit`, called for one chunk of samples after the other."""

    def fit(classifier: PyTorchClassifier, x: NDArray[Any], y: NDArray[Any], deadline: Deadline, seed: int) -> int:
        trainer, generator, steps = make(classifier), np.random.default_rng(seed), 0
        np.random.seed(seed)  # noqa: NPY002  # ART's trainers shuffle and start with it
        torch.manual_seed(seed)
        while True:
            order = generator.permutation(len(x))
            for first in range(0, len(x) - CHUNK + 1, CHUNK):
                if deadline.fraction >= 1:
                    return steps
                deadline.set_rate(classifier.optimizer)
                rows = order[first : first + CHUNK]
                with contextlib.redirect_stderr(io.StringIO()):  # a progress bar for each chunk
                    trainer.fit(x[rows], y[rows], nb_epochs=1, batch_size=BATCH_SIZE)
                steps += math.ceil(CHUNK / BATCH_SIZE)

    return fit


def rows(data: str) -> dict[str, Fit]:
    """
    The rows of the table.

    :param data: The data set's name, a key of :data:`EPS`.
    :return: How each trains, by name.
    """
    eps = EPS[data]
    attack: dict[str, Any] = {"eps": eps, "max_iter": ATTACK_STEPS}
    paper = PRESETS["paper-cifar10-convnet4b" if data == "cifar10" else "paper-mnist"].options
    if data == "fashion_mnist":  # the paper's ratios
        paper = {**paper, "eps": 4 / 3 * eps, "eps_incorrect": 5 / 3 * eps, "eps_step": eps * 4 / 90}
        paper["eps_step_incorrect"] = eps / 30

    def art_trades(classifier: PyTorchClassifier) -> AdversarialTrainerTRADESPyTorch:
        options = {**attack, "eps_step": 2.5 * eps / ATTACK_STEPS, "batch_size": BATCH_SIZE, "verbose": False}
        return AdversarialTrainerTRADESPyTorch(
            classifier, ProjectedGradientDescent(classifier, num_random_init=1, **options), beta=6.0
        )

    def level_sets(classifier: PyTorchClassifier, seed: int, **options: Any) -> LevelSetMarginTrainer:
        return LevelSetMarginTrainer(classifier, seed=seed, execution=EXECUTION, **{**PRESETS[data].options, **options})

    def baseline(kind: Callable[..., LoopTrainer], **options: Any) -> Fit:
        return _loop(lambda classifier, seed: kind(classifier, seed=seed, execution=EXECUTION, **options))

    def variants(name: str, kind: Callable[..., LoopTrainer], **options: Any) -> dict[str, Fit]:
        """A baseline as it is, with the radius and the warm-up of the default, and with both."""
        farther, grown = {"eps": 4 / 3 * eps}, {"warmup": 0.3}
        return {
            name: baseline(kind, eps=eps, **options),
            f"{name}, farther": baseline(kind, **farther, **options),
            f"{name}, warm-up": baseline(kind, eps=eps, **grown, **options),
            f"{name}, farther, warm-up": baseline(kind, **farther, **grown, **options),
        }

    return {
        "standard": _chunks(lambda classifier: classifier),
        "Madry (ART)": _chunks(
            lambda classifier: AdversarialTrainerMadryPGD(
                classifier, eps_step=2.5 * eps / ATTACK_STEPS, batch_size=BATCH_SIZE, **attack
            )
        ),
        "TRADES (ART)": _chunks(art_trades),
        **variants("Madry", MadryTrainer, max_iter=ATTACK_STEPS),
        **variants("TRADES", TRADESTrainer, max_iter=ATTACK_STEPS),
        "level sets, paper": _loop(partial(level_sets, **paper)),
        "level sets": _loop(level_sets),
        "level sets, linearised": _loop(partial(level_sets, distance="linearised")),
        "level sets, not tracked": _loop(partial(level_sets, tracked=False)),
        "level sets, hard boundary": _loop(partial(level_sets, boundary="hard")),
        "level sets, eq. 12 with rho": _loop(partial(level_sets, distance="rho")),
        "level sets, eq. 12 with rho, tracked": _loop(partial(level_sets, distance="rho", tracked=True, max_iter=2)),
        "level sets, eq. 12 with L_p": _loop(partial(level_sets, distance="lp")),
        "level sets, eq. 12, soft": _loop(partial(level_sets, distance="lp", boundary="soft")),
        "level sets, 1 step": _loop(partial(level_sets, max_iter=1)),
        "level sets, 2 steps": _loop(partial(level_sets, max_iter=2)),
        "level sets, no farther": _loop(partial(level_sets, eps=eps)),
        "level sets, averaged": _loop(partial(level_sets, ema_decay=0.998)),
        "level sets, no warm-up": _loop(partial(level_sets, warmup=0.0)),
        "level sets, no burn-in": _loop(partial(level_sets, burn_in=0.0)),
        **variants("N-FGSM", NFGSMTrainer),
        **variants("FGSM-PGI", FGSMPGITrainer),
        **variants("NuAT", NuATTrainer),
        # The paper's margin for L_inf is half as much again as the radius.
        "MMA": baseline(MMATrainer, eps=1.5 * eps, max_iter=ATTACK_STEPS),
        **variants("Madry + AWP", MadryAWPTrainer, max_iter=ATTACK_STEPS),
        **variants("TRADES + AWP", TRADESAWPTrainer, max_iter=ATTACK_STEPS),
        **variants("TRADES + AWP + EMA", TRADESAWPTrainer, ema_decay=0.998, max_iter=ATTACK_STEPS),
    }


HEADLINE = ("standard", "Madry (ART)", "TRADES (ART)", "Madry", "TRADES", "level sets, paper", "level sets")
"""The rows of the table; the others are its ablations and further baselines."""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    parser.add_argument("--data", choices=sorted(EPS), default="mnist", help="the data set (default: mnist)")
    parser.add_argument("--data-file", type=Path, required=True, metavar="FILE", help="the data set as an .npz file")
    parser.add_argument("--arch", choices=sorted(CLASSIFIERS), default="convnet4a", help="default: convnet4a")
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
    known = rows(arguments.data)
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
    results = Rows(arguments.output, settings)
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for name in arguments.rows:
            split = "validation " if arguments.validation else ""
            key = f"{arguments.data} {arguments.arch} {arguments.seconds:g} {split}{name} {seed}"
            model, about = _trained(known[name], x, y, key, seed, arguments)
            result = _attacked(model, attacked, arguments)
            results.add({"name": name, "seed": seed, **about, **result})
    return table(results.rows)


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """
    The means over the seeds.

    :param found: The rows that :func:`run` has written.
    :return: A table in Markdown, percent.
    """
    names = list(dict.fromkeys(row["name"] for row in found))
    possible = ("clean", "cross_entropy", "margin", "guided", "autoattack", "ece", "logit_margin", "epochs")
    columns = [column for column in possible if any(row.get(column) is not None for row in found)]
    lines = ["| training | " + " | ".join(columns) + " | seeds |", "|---" * (len(columns) + 2) + "|"]
    for name in names:
        runs = [row for row in found if row["name"] == name]
        cells = []
        for column in columns:
            values = [row[column] for row in runs if row.get(column) is not None]
            scale = 1 if column in ("epochs", "logit_margin") else 100
            cells.append(f"{scale * float(np.mean(values)):.1f}" if values else "")
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {len(runs)} |")
    return "\n".join(lines)


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
        torch.optim.Adam(model.parameters(), lr=rate),
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    deadline = Deadline(arguments.seconds, None if paper else Trapezoid(rate))
    steps = fit(classifier, x, y, deadline, seed)
    about = {"steps": steps, "epochs": steps * BATCH_SIZE / len(x), "learning_rate": rate}
    partial_path = path.with_suffix(".part")
    torch.save({"state_dict": model.state_dict(), "about": about}, partial_path)
    partial_path.rename(path)
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
    memo, eps = Memo(arguments.work_dir / "attacks"), EPS[arguments.data]
    model = model.to(memory_format=torch.channels_last)  # the same in float32, and on a CPU faster
    count = arguments.nb_examples
    native = partial(pgd, eps=eps, eps_step=eps / 30, max_iter=EVALUATION_STEPS)
    attacks: dict[str, Attack] = {"cross_entropy": native, "margin": partial(native, loss="margin")}
    if arguments.strongest == "guided":
        attacks["guided"] = Guided(eps=eps)
    if arguments.strongest == "autoattack":
        attacks["autoattack"] = AutoAttack(eps=eps, memo=memo)
    report = evaluate(model, data[0][:count], data[1][:count], attacks, batch_size=100, memo=memo, verbose=False)
    logits = calibration(model, *data)
    return {
        "clean": logits.accuracy,
        **{attacked.name: attacked.accuracy for attacked in report.attacks},
        "ece": logits.ece,
        "logit_margin": logits.margin,
        "n_examples": count,
    }
