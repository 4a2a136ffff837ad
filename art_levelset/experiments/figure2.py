"""
Figure 2: generalisation from small fractions of the data, cross-entropy, hinge and two large margins in input space.

The labels are merged into two classes, even and odd. For each fraction and seed a random part of the training images is
drawn (5,000 others are for validation), and the networks of Table B2 are trained on it with four losses: the
cross-entropy and the hinge of the margin, the large-margin loss of Elsayed et al. (one linearised step, L_2), and the
geometric SVM (eq. 11) with the settings of the paper's Table B2. Hyperparameters are those with the best mean accuracy
on the validation images over the first seeds: for the cross-entropy and the hinge one of the paper's four learning
rates, for Elsayed's loss one of three `gamma` and two rates, for the geometric SVM the lambda of Table B2 or a tenth of
it. The test images decide nothing.

All losses have the same optimizer, schedule, batches and number of steps. With `--steps` there are fewer epochs than
the paper's 200 (CIFAR10: 100): those that make so many steps in batches of 32, and the epochs of Table B2 at which
rates are halved and over which lambda grows move in proportion. The test is paired: a seed has the same images and the
same initial weights under every loss.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from matplotlib.figure import Figure
from scipy.stats import ttest_1samp
from torch import Tensor, nn
from torch.nn import functional

from art_levelset.evaluation import accuracy
from art_levelset.evaluation.datasets import Split, load
from art_levelset.experiments.rows import Rows, add_common_arguments
from art_levelset.files import beside, replacing
from art_levelset.models import CLASSIFIERS
from art_levelset.progress import progress_bar
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.execution import Execution
from art_levelset.trainers.geometric_svm import GeometricSVMTrainer
from art_levelset.trainers.schedules import Linear
from art_levelset.trainers.svm_presets import GEOMETRIC_SVM_PRESETS, GeometricSVMPreset

RATES = (0.001, 0.005, 0.01, 0.02)
"""The learning rates of the paper's baselines."""

LARGE_MARGIN_RATES = (0.001, 0.005)
"""Those of Elsayed's loss: with larger ones it diverges."""

GAMMAS = (0.3, 1.0, 3.0)
"""The distances that Elsayed's loss asks for, in L_2."""

FACTORS = (1.0, 0.1)
"""Of the geometric SVM's lambda in Table B2."""

VALIDATION = 5000
SMALL = 0.003
"""The part of the training images up to which the paper's batches are of 32."""

METHODS = ("cross-entropy", "hinge", "Elsayed et al.", "geometric SVM")
OURS = METHODS[-1]
_COLOURS = ("#7f7f7f", "#d38b2a", "#3b8f5a", "#2264a8")
_PRESETS = {
    "mnist": "paper-mnist",
    "fashion_mnist": "paper-fashion-mnist",
    "cifar10": "paper-cifar10",
    "digits": "paper-mnist",
}


@dataclass(frozen=True)
class Setting:
    """
    A loss with its hyperparameters.

    :param method: One of :data:`METHODS`.
    :param rate: The learning rate.
    :param gamma: Of Elsayed's loss.
    :param factor: Of the geometric SVM's lambda.
    """

    method: str
    rate: float
    gamma: float | None = None
    factor: float | None = None


class OutputMarginTrainer(LoopTrainer):
    """
    Baselines: the cross-entropy, or the hinge of the margin of the outputs.

    :param classifier: The classifier, of two classes.
    :param hinge: Whether the loss is the hinge.
    """

    def __init__(self, classifier: PyTorchClassifier, *, hinge: bool, **options: Any) -> None:
        super().__init__(classifier, **options)
        self.hinge = hinge

    def batch_loss(self, x: Tensor, y: Tensor, rows: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        """
        The loss.

        :param x: Inputs, (batch, ...).
        :param y: Labels, 0 or 1, (batch,).
        :param rows: Not used.
        :return: The loss and the accuracy.
        """
        outputs = self.trained_network(x)
        margins = (outputs[:, 1] - outputs[:, 0]) * (2 * y - 1)
        loss = functional.relu(1 - margins) if self.hinge else functional.softplus(-margins)
        return loss.mean(), {"accuracy": (margins > 0).float().mean().item()}


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    parser.add_argument("--data", default="digits", help="an .npz file or a data set's name (default: %(default)s)")
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="the folder of torchvision's data sets")
    parser.add_argument("--counts", type=int, nargs="+", metavar="N", help="training images (default: 60 180 600 3000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)), help="default: 0 to 4")
    parser.add_argument(
        "--selection-seeds", type=int, default=3, metavar="N", help="first seeds that choose (default: %(default)s)"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="steps of a training (default: the paper's epochs)")
    add_common_arguments(parser, "figure2")


def run(arguments: argparse.Namespace) -> str:
    """
    Train and test what is not yet among the rows.

    :param arguments: As :func:`add_parser` declares them.
    :return: The table in Markdown.
    :raises ValueError: If a number is out of range, or the output is of other settings.
    :raises OSError: If a file cannot be read or written.
    """
    if arguments.fast:
        arguments.counts, arguments.seeds, arguments.steps = [30], [0, 1], 6
    counts = sorted(arguments.counts or (60, 180, 600, 3000))
    if counts[0] < 2:
        raise ValueError(f"counts must be >= 2, got {counts[0]}")
    if min(arguments.seeds) < 0 or len(set(arguments.seeds)) < len(arguments.seeds):
        raise ValueError(f"seeds must be >= 0 and differ, got {arguments.seeds}")
    for name, least in (("steps", 1), ("selection_seeds", 1)):
        if getattr(arguments, name) is not None and getattr(arguments, name) < least:
            raise ValueError(f"{name} must be >= {least}, got {getattr(arguments, name)}")
    train, test = (load(arguments.data, data_root=arguments.data_root, train=part) for part in (True, False))
    if train.name not in _PRESETS:
        raise ValueError(f"data must be one of {', '.join(_PRESETS)}, got {train.name}")
    settings = {"steps": arguments.steps, "selection_seeds": arguments.selection_seeds, "merged": "even and odd"}
    rows = Rows(arguments.output, settings, keys=("data", "count", *Setting.__annotations__, "seed"))
    order = np.random.default_rng(0).permutation(len(train.x))
    held_out = order[: min(VALIDATION, len(order) // 5)]
    pool = order[len(held_out) :]
    if counts[-1] > len(pool):
        raise ValueError(f"counts must be <= {len(pool)}, got {counts[-1]}")
    validation = (train.x[held_out], train.y[held_out] % 2)
    tests = (test.x, test.y % 2)
    torch.set_num_threads(1)
    for count in counts:
        preset = _preset(train.name, count, len(train.x), arguments.steps)
        plan = _plan(rows, train.name, count, arguments)
        for seed, setting in progress_bar(plan, desc=f"{count} images", unit=" networks", verbose=not arguments.fast):
            key = {"data": train.name, "count": count, **vars(setting), "seed": seed}
            if rows.find(**key) is None:
                chosen = np.random.default_rng([seed, count]).choice(pool, count, replace=False)
                images = (train.x[chosen], train.y[chosen] % 2)
                rows.add({**key, **_trained(setting, preset, images, validation, tests, seed)})
    draw(rows.rows, arguments.selection_seeds, beside(arguments.output, ".png"))
    return table(rows.rows, arguments.selection_seeds)


def _plan(rows: Rows, data: str, count: int, arguments: argparse.Namespace) -> Iterator[tuple[int, Setting]]:
    """What is to be trained for a fraction: all settings with the first seeds, then the chosen ones with the others."""
    first, others = (arguments.seeds[: arguments.selection_seeds], arguments.seeds[arguments.selection_seeds :])
    rate = GEOMETRIC_SVM_PRESETS[_PRESETS[data]].learning_rate
    settings = [Setting(method, rate) for method in METHODS[:2] for rate in (RATES[:2] if arguments.fast else RATES)]
    gammas = GAMMAS[:1] if arguments.fast else GAMMAS
    settings += [Setting(METHODS[2], rate, gamma) for gamma in gammas for rate in LARGE_MARGIN_RATES]
    settings += [Setting(OURS, rate, factor=factor) for factor in FACTORS]
    yield from ((seed, setting) for seed in first for setting in settings)
    found = rows.select(data=data, count=count)
    yield from ((seed, choose(found, method, first)) for seed in others for method in METHODS)


def choose(rows: Sequence[Mapping[str, Any]], method: str, seeds: Sequence[int]) -> Setting:
    """
    The hyperparameters of a loss with the best mean accuracy on the validation images.

    :param rows: The rows of one data set and count.
    :param method: The loss.
    :param seeds: The seeds that choose.
    :return: The setting; the first of several equal ones.
    """
    settings = dict.fromkeys(
        Setting(**{name: row[name] for name in Setting.__annotations__}) for row in rows if row["method"] == method
    )
    means = {
        setting: np.mean([row["validation"] for row in rows if _is(row, setting) and row["seed"] in seeds])
        for setting in settings
    }
    return max(means, key=lambda setting: float(means[setting]))


def results(rows: Sequence[Mapping[str, Any]], selection_seeds: int) -> list[dict[str, Any]]:
    """
    The test accuracies of the chosen settings.

    :param rows: All rows.
    :param selection_seeds: How many of the first seeds choose.
    :return: For each data set, count and method: the setting, the accuracies by seed, mean and deviation, and of the
             others the p-value of a paired t-test against the geometric SVM (None where a pair is missing).
    """
    found = []
    for data, count in dict.fromkeys((row["data"], row["count"]) for row in rows):
        part = [row for row in rows if (row["data"], row["count"]) == (data, count)]
        first = list(dict.fromkeys(row["seed"] for row in part))[:selection_seeds]
        by_method = {}
        for method in METHODS:
            if any(row["method"] == method for row in part):
                setting = choose(part, method, first)
                by_method[setting] = {row["seed"]: row["test"] for row in part if _is(row, setting)}
        ours = next((tests for setting, tests in by_method.items() if setting.method == OURS), {})
        for setting, tests in by_method.items():
            ahead = np.array([ours[seed] - tests[seed] for seed in tests if seed in ours])
            others = setting.method != OURS and len(ahead) > 1
            values = np.array(list(tests.values()))
            found.append(
                {
                    "data": data,
                    "count": count,
                    **vars(setting),
                    "seeds": len(tests),
                    "mean": float(values.mean()),
                    "deviation": float(values.std(ddof=1)) if len(values) > 1 else math.nan,
                    "ahead": float(ahead.mean()) if others else None,
                    "p": float(ttest_1samp(ahead, 0.0).pvalue) if others else None,
                }
            )
    return found


def table(rows: Sequence[Mapping[str, Any]], selection_seeds: int) -> str:
    """
    The accuracies on the test images.

    :param rows: All rows.
    :param selection_seeds: How many of the first seeds choose.
    :return: A table in Markdown, in percent.
    """
    lines = [
        "| data | images | loss | rate | γ, λ | test accuracy | seeds | geometric SVM ahead by | p (paired) |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in results(rows, selection_seeds):
        beside = ("", "") if row["p"] is None else (f"{100 * row['ahead']:+.2f}", f"{row['p']:.2g}")
        parameter = "" if row["gamma"] is None else f"γ {row['gamma']:g}"
        parameter = parameter if row["factor"] is None else f"λ × {row['factor']:g}"
        score = f"{100 * row['mean']:.2f} ± {100 * row['deviation']:.2f}"
        cells = (row["data"], row["count"], row["method"], f"{row['rate']:g}", parameter, score, row["seeds"], *beside)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def draw(rows: Sequence[Mapping[str, Any]], selection_seeds: int, path: Path) -> None:
    """
    Draw mean and deviation of the test accuracy over the number of training images.

    :param rows: All rows.
    :param selection_seeds: How many of the first seeds choose.
    :param path: The picture to write.
    """
    found = results(rows, selection_seeds)
    sets = list(dict.fromkeys(row["data"] for row in found))
    figure = Figure(figsize=(4.6 * len(sets), 3.8), layout="constrained")
    for axes, data in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets, strict=True):
        for number, (method, colour) in enumerate(zip(METHODS, _COLOURS, strict=True)):
            line = [row for row in found if (row["data"], row["method"]) == (data, method)]
            counts = np.array([row["count"] for row in line]) * 1.03 ** (number - 1.5)
            means, deviations = (100 * np.array([row[name] for row in line]) for name in ("mean", "deviation"))
            axes.errorbar(counts, means, np.nan_to_num(deviations), color=colour, label=method, marker=".", capsize=2)
        axes.set(title=data, xscale="log", xlabel="training images", ylabel="test accuracy, %")
        ticks = sorted({row["count"] for row in found if row["data"] == data})
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(color="0.9")
    axes.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _is(row: Mapping[str, Any], setting: Setting) -> bool:
    return all(row[name] == value for name, value in vars(setting).items())


def _preset(data: str, count: int, total: int, steps: int | None) -> GeometricSVMPreset:
    """Table B2, or as many epochs as make so many steps, with its milestones in proportion."""
    preset = GEOMETRIC_SVM_PRESETS[_PRESETS[data]]
    if steps is None:
        return replace(preset, batch_size=32) if count <= SMALL * total else preset
    nb_epochs = max(1, round(steps / math.ceil(count / 32)))
    part = nb_epochs / preset.nb_epochs
    lam: Linear = preset.options["lam"]
    return replace(
        preset,
        batch_size=32,
        nb_epochs=nb_epochs,
        milestones=tuple(max(1, round(part * epoch)) for epoch in preset.milestones),
        options={**preset.options, "lam": replace(lam, nb_epochs=part * lam.nb_epochs)},
    )


def _trained(
    setting: Setting, preset: GeometricSVMPreset, images: Split, validation: Split, test: Split, seed: int
) -> dict[str, Any]:
    """Train a network; its accuracies, at chance where the training has diverged."""
    preset = replace(preset, learning_rate=setting.rate)
    shape = images[0].shape[1:]
    torch.manual_seed(seed)
    model = CLASSIFIERS["convnet2a" if min(shape[1:]) < 16 else preset.architecture](2, shape)
    optimizer = preset.optimizer(model.parameters())
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), shape, 2, optimizer=optimizer, clip_values=(0.0, 1.0), device_type="cpu"
    )
    trainer = _trainer(setting, preset, classifier, seed)
    scheduler, _ = preset.schedule(optimizer)
    try:
        trainer.fit(
            *images, batch_size=preset.batch_size, nb_epochs=preset.nb_epochs, scheduler=scheduler, verbose=False
        )
    except FloatingPointError:
        return {"validation": 0.5, "test": 0.5, "epochs": len(trainer.history), "diverged": True}
    model.eval()
    return {
        "validation": accuracy(model, *validation),
        "test": accuracy(model, *test),
        "epochs": preset.nb_epochs,
        "training": _metrics(trainer.history[-1]),
        "seconds": sum(metrics["seconds"] for metrics in trainer.history),
    }


def _trainer(setting: Setting, preset: GeometricSVMPreset, classifier: PyTorchClassifier, seed: int) -> LoopTrainer:
    execution = Execution(channels_last=True)
    if setting.factor is not None:
        lam: Linear = preset.options["lam"]
        lam = replace(lam, start=setting.factor * lam.start, end=setting.factor * lam.end)
        return GeometricSVMTrainer(classifier, seed=seed, execution=execution, **{**preset.options, "lam": lam})
    if setting.gamma is not None:
        return GeometricSVMTrainer(classifier, gamma=setting.gamma, seed=seed, execution=execution)
    return OutputMarginTrainer(classifier, hinge=setting.method == METHODS[1], seed=seed, execution=execution)


def _metrics(last: Mapping[str, float]) -> dict[str, float]:
    return {name: float(last[name]) for name in ("loss", "accuracy", "margin", "projected") if name in last}
