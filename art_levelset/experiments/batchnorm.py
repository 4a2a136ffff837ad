"""
How a level-set trainer should treat BatchNorm: the same training with different statistics, compared.

Two small networks with BatchNorm, a ConvNet and ResNet-18 with an eighth of its channels, are trained by
LevelSetMarginTrainer (eq. 12) or GeometricSVMTrainer (eq. 11, alpha = -1, L_inf). The rows differ in what the layers
normalise by while a step computes its loss, and in whether the gradient knows that the statistics follow the
parameters; docs/batchnorm.md has the mathematics. Every network is judged in evaluation mode. Each row takes the
learning rate, of those given, with which the first seed is most robust on validation images: training images that are
not trained on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from art_levelset.attacks.memo import Memo
from art_levelset.checks import check_count
from art_levelset.core.statistics import Moments, Statistics, batch_statistics, carried
from art_levelset.evaluation import evaluate, pgd
from art_levelset.evaluation.datasets import Dataset, load
from art_levelset.files import replacing, write_text
from art_levelset.models.convnets import ImageShape, convnet_2a
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.geometric_svm import GeometricSVMTrainer
from art_levelset.trainers.margin import LevelSetMarginTrainer
from art_levelset.trainers.presets import EQ_12
from art_levelset.trainers.svm_presets import EQ_11

EPS = 0.1
"""The radius of the attacks; training asks for a quarter more."""

LAM = 0.1
"""lambda of eq. 11."""

NB_VALIDATION, NB_TEST, BATCH_SIZE = 300, 1000, 64

Norm = Callable[[int], nn.Module]
Treatment = Callable[[nn.Module, Tensor], Statistics]


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    parser.add_argument("--data", required=True, metavar="FILE", help="digits, or an .npz file")
    parser.add_argument("--network", choices=NETWORKS, required=True, help="the network")
    parser.add_argument("--trainer", choices=TRAINERS, default="margin", help="eq. 12 or eq. 11 (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="seeds (default: 0 1 2)")
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-3], metavar="LR", help="learning rates of Adam")
    parser.add_argument("--samples", type=int, default=960, metavar="N", help="training images (default: 960)")
    parser.add_argument("--epochs", type=int, default=12, metavar="N", help="passes over them (default: 12)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="keep finished runs here, and go on from them")
    parser.add_argument("-o", "--output-dir", type=Path, required=True, metavar="DIR", help="where the results go")


def run(arguments: argparse.Namespace) -> str:
    """
    Train the network in all ways, write `NETWORK_DATA.json` and draw `NETWORK_DATA.png`, or `..._geometric_svm`.

    :param arguments: As :func:`add_parser` declares them.
    :return: What was found, as a table.
    """
    for name in ("samples", "epochs"):
        check_count(name, getattr(arguments, name))
    training, test = load(arguments.data, train=True), load(arguments.data)
    if len(training.x) < arguments.samples + NB_VALIDATION:
        raise ValueError(f"samples must be at most {len(training.x) - NB_VALIDATION}, got {arguments.samples}")
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    once = partial(_recalled, Memo(arguments.resume), arguments, training, test)
    rows = []
    for treatment in TREATMENTS:
        first, *others = arguments.seeds
        tried = [once(treatment, first, rate) for rate in arguments.rates]
        best = max(tried, key=lambda result: result["validation_robust_accuracy"][-1])
        rows.append(
            {
                "treatment": treatment,
                "rates_tried": {f"{result['rate']:g}": result["validation_robust_accuracy"][-1] for result in tried},
                "runs": [best, *(once(treatment, seed, best["rate"]) for seed in others)],
            }
        )
    content = {
        **{name: getattr(arguments, name) for name in ("network", "seeds", "rates", "samples", "epochs")},
        "data": training.name,
        "nb_test": len(test.x[:NB_TEST]),
        "eps": EPS,
        "batch_size": BATCH_SIZE,
        "rows": rows,
    }
    eq_11 = arguments.trainer == "geometric-svm"
    if eq_11:
        content["trainer"] = arguments.trainer
    name = f"{arguments.network}_{training.name}{'_geometric_svm' if eq_11 else ''}"
    write_text(json.dumps(content, indent=2) + "\n", arguments.output_dir / f"{name}.json")
    draw(content, arguments.output_dir / f"{name}.png")
    return table(content)


def train(
    network: str,
    treatment: str,
    seed: int,
    rate: float,
    epochs: int,
    training: Dataset,
    test: Dataset,
    samples: int,
    trainer_name: str = "margin",
) -> dict[str, Any]:
    """
    Train a network in one way, and judge it.

    :param network: A name of :data:`NETWORKS`.
    :param treatment: A name of :data:`TREATMENTS`.
    :param seed: Seed of the network and of the training.
    :param rate: The learning rate of Adam, which falls to zero along half a cosine.
    :param epochs: Passes over the training images.
    :param training: The training images; the last :data:`NB_VALIDATION` are for validation.
    :param test: The test images.
    :param samples: How many training images are used.
    :param trainer_name: A name of :data:`TRAINERS`.
    :return: The history by epoch and the test metrics.
    """
    norm, statistics = TREATMENTS[treatment]
    channels, height, width = training.x.shape[1:]
    torch.manual_seed(seed)
    model = NETWORKS[network](norm, (channels, height, width))
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    classifier = PyTorchClassifier(
        model,
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        input_shape=(channels, height, width),
        nb_classes=training.classes,
        clip_values=(0, 1),
        device_type="cpu",
    )
    trainer = TRAINERS[trainer_name](classifier, statistics, seed)
    steps = math.ceil(samples / BATCH_SIZE)
    started = time.process_time()
    trainer.fit(
        training.x[:samples],
        training.y[:samples],
        validation_data=(training.x[-NB_VALIDATION:], training.y[-NB_VALIDATION:]),
        validation_attack=partial(pgd, eps=EPS, max_iter=10, loss="margin"),
        batch_size=BATCH_SIZE,
        nb_epochs=epochs,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
        verbose=False,
    )
    seconds = time.process_time() - started
    attack = partial(pgd, eps=EPS, max_iter=20, loss="margin", stop_when_broken=True)
    report = evaluate(classifier, test.x[:NB_TEST], test.y[:NB_TEST], {"margin": attack}, verbose=False)
    keys = ("loss", "accuracy", "crossed", "projected", "validation_accuracy", "validation_robust_accuracy")
    return {
        "seed": seed,
        "rate": rate,
        "steps": [steps * (epoch + 1) for epoch in range(epochs)],
        **{key: [metrics[key] for metrics in trainer.history] for key in keys if key in trainer.history[-1]},
        "step_seconds": trainer.seconds / (steps * epochs),
        "run_seconds": seconds,
        "clean": float(report.clean.mean()),
        "robust": float(report.worst.mean()),
    }


def table(content: Mapping[str, Any]) -> str:
    """
    The rows of a result.

    :param content: What :func:`run` writes.
    :return: A table in Markdown: percent of test images, means over the seeds and [smallest, largest].
    """
    lines = [
        f"| {content['network']} | learning rate | loss | clean | robust | ms a step |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in content["rows"]:
        runs = row["runs"]
        loss = np.mean([result["loss"][-1] for result in runs])
        shares = [_spread([100 * result[key] for result in runs]) for key in ("clean", "robust")]
        milliseconds = 1000 * np.median([result["step_seconds"] for result in runs])
        lines.append(
            f"| {row['treatment']} | {runs[0]['rate']:g} | {loss:.4f} | {' | '.join(shares)} | {milliseconds:.0f} |"
        )
    return "\n".join(lines)


def draw(content: Mapping[str, Any], path: Path) -> None:
    """
    Draw the robust accuracy on the validation images against steps: means, and bands from the worst to the best seed.

    :param content: What :func:`run` writes.
    :param path: The picture to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for row in content["rows"]:
        curves = 100 * np.array([result["validation_robust_accuracy"] for result in row["runs"]])
        steps = row["runs"][0]["steps"]
        (line,) = axes.plot(steps, curves.mean(axis=0), marker="o", markersize=3, label=row["treatment"])
        axes.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=line.get_color(), alpha=0.12)
    axes.set(
        xlabel=f"steps of {content['batch_size']} samples",
        ylabel="validation images right after PGD-10, %",
        title=f"{content['network']}, {content['data']}, eps {content['eps']}",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=110)


class _ByBatch(nn.BatchNorm2d):
    """
    BatchNorm that normalises by the samples of the very pass, whatever its mode is, while `switched` is set.

    One value a channel, as a search whose other samples have ended may leave, has no variance: there it does not.
    """

    switched = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.switched or x.numel() == x.shape[1]:
            return super().forward(x)
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=True, eps=self.eps
        )


class _Treated(LoopTrainer):
    """A trainer with another treatment of BatchNorm."""

    def __init__(self, classifier: PyTorchClassifier, treatment: Treatment, **options: Any) -> None:
        super().__init__(classifier, **options)
        self.treatment = treatment
        self.seconds = 0.0

    def statistics(self, x: Tensor) -> Statistics:
        return self.treatment(self.network, x)

    def step(self, x: Tensor, y: Tensor, rows: Tensor | None) -> tuple[bool, dict[str, float]]:
        started = time.process_time()
        layers = [part for part in self.network.modules() if isinstance(part, _ByBatch)]
        for layer in layers:
            layer.switched = True
        try:
            return super().step(x, y, rows)
        finally:
            for layer in layers:
                layer.switched = False
            self.seconds += time.process_time() - started


class _Margin(_Treated, LevelSetMarginTrainer):
    def __init__(self, classifier: PyTorchClassifier, treatment: Treatment, seed: int) -> None:
        super().__init__(classifier, treatment, eps=1.25 * EPS, max_iter=5, seed=seed, **EQ_12)


class _SVM(_Treated, GeometricSVMTrainer):
    def __init__(self, classifier: PyTorchClassifier, treatment: Treatment, seed: int) -> None:
        super().__init__(classifier, treatment, lam=LAM, seed=seed, **EQ_11)


TRAINERS: dict[str, Callable[[PyTorchClassifier, Treatment, int], _Treated]] = {
    "margin": _Margin,
    "geometric-svm": _SVM,
}


def _running(network: nn.Module, x: Tensor) -> Statistics:
    """Running statistics, which have followed the batch, as constants."""
    with torch.no_grad():
        batch_statistics(network, x)
    return {}


def _batch_as_constants(network: nn.Module, x: Tensor) -> Statistics:
    """The clean batch's statistics as constants."""
    with torch.no_grad():
        return batch_statistics(network, x)


def _blend(network: nn.Module, x: Tensor) -> Statistics:
    """The running statistics as the sum that they are: of what they were, constants, and the clean batch's part."""
    before, names = deepcopy(network.state_dict()), {part: name for name, part in network.named_modules()}
    statistics: dict[_BatchNorm, Moments] = {}
    for norm, (mean, variance) in batch_statistics(network, x).items():
        part = norm.momentum or 0.0
        statistics[norm] = Moments(
            torch.lerp(before[f"{names[norm]}.running_mean"], mean, part),
            torch.lerp(before[f"{names[norm]}.running_var"], variance, part),
        )
    return statistics


def _carried(network: nn.Module, x: Tensor) -> Statistics:
    """The running statistics, with the derivative of the clean batch's."""
    return carried(batch_statistics(network, x))


def _none(network: nn.Module, x: Tensor) -> Statistics:
    """No statistics but those of the passes themselves."""
    return {}


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(channels // 4, channels)


def _no_norm(channels: int) -> nn.Module:
    return nn.Identity()


TREATMENTS: dict[str, tuple[Norm, Treatment]] = {
    "running, constant": (nn.BatchNorm2d, _running),
    "batch, constant": (nn.BatchNorm2d, _batch_as_constants),
    "batch": (nn.BatchNorm2d, batch_statistics),
    "running, batch's part": (nn.BatchNorm2d, _blend),
    "running, carried": (nn.BatchNorm2d, _carried),
    "training mode": (_ByBatch, _none),
    "GroupNorm": (_group_norm, _none),
    "no normalisation": (_no_norm, _none),
}
"""What the layers normalise by in a step; "constant": the gradient does not see that it depends on the parameters."""


def _convnet(norm: Norm, shape: ImageShape) -> nn.Module:
    """ConvNet-2a with normalisation after its convolutions."""
    model = convnet_2a(input_shape=shape)
    layers = OrderedDict[str, nn.Module]()
    for name, layer in model.named_children():
        layers[name] = layer
        if isinstance(layer, nn.Conv2d):
            layers[f"norm_{name}"] = norm(layer.out_channels)
    return nn.Sequential(layers)


def _resnet(norm: Norm, shape: ImageShape) -> nn.Module:
    """ResNet-18 with 8, 16, 32 and 64 channels; its stem has stride 2 where images are larger than 16 x 16."""
    from torchvision.models.resnet import BasicBlock

    widths = (8, 16, 32, 64)
    stem = nn.Conv2d(shape[0], widths[0], 3, stride=2 if shape[1] > 16 else 1, padding=1, bias=False)
    layers: list[nn.Module] = [stem, norm(widths[0]), nn.ReLU()]
    for before, width in zip((widths[0], *widths), widths, strict=False):
        shortcut = None
        if width != before:
            shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride=2, bias=False), norm(width))
        layers.append(BasicBlock(before, width, 1 if shortcut is None else 2, shortcut, norm_layer=norm))
        layers.append(BasicBlock(width, width, norm_layer=norm))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


NETWORKS: dict[str, Callable[[Norm, ImageShape], nn.Module]] = {"convnet": _convnet, "resnet": _resnet}


def _recalled(
    memo: Memo,
    arguments: argparse.Namespace,
    training: Dataset,
    test: Dataset,
    treatment: str,
    seed: int,
    rate: float,
) -> dict[str, Any]:
    network, epochs, samples = arguments.network, arguments.epochs, arguments.samples
    trainer = [] if arguments.trainer == "margin" else [arguments.trainer, LAM]
    data = (training.sha256, test.sha256)
    key = memo.key(*data, network, treatment, seed, rate, epochs, samples, EPS, BATCH_SIZE, *trainer)
    kept = memo.recall(key, result=("U", ()))
    if kept is None:
        result = train(network, treatment, seed, rate, epochs, training, test, samples, arguments.trainer)
        kept = {"result": np.array(json.dumps(result))}
        memo.store(key, **kept)
    recalled: dict[str, Any] = json.loads(str(kept["result"]))
    return recalled


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.1f} [{min(values):.1f}, {max(values):.1f}]"
