"""What the options of `art-levelset train` and its presets say together: the settings of a run."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from art_levelset import __version__
from art_levelset.checks import check_not_negative
from art_levelset.cli.console import number
from art_levelset.cli.options import in_words
from art_levelset.cli.python_path import json_arguments
from art_levelset.cli.settings import as_yaml

if TYPE_CHECKING:
    from art_levelset.trainers import GeometricSVMPreset, Preset

    Settings = Preset | GeometricSVMPreset

ONLY_LINF = ("n-fgsm", "fgsm-pgi", "nuat")
"""Trainers whose step is one of signs."""

AUGMENTATIONS = ("none", "crop", "crop-flip", "shift")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """
    The preset, or the defaults, with what the options change.

    :param arguments: As `art-levelset train` declares them.
    :return: The settings.
    :raises ValueError: If an option is wrong, or does not go with another.
    """
    from art_levelset import trainers
    from art_levelset.trainers import crop, crop_and_flip, shift

    given = {
        "data": arguments.data,
        "architecture": arguments.arch,
        "learning_rate": arguments.lr,
        "nb_epochs": arguments.nb_epochs,
        "batch_size": arguments.batch_size,
        "optimizer_name": arguments.optimizer,
        "weight_decay": arguments.weight_decay,
        "scheduler": arguments.scheduler,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if arguments.threat_model == "L2" and arguments.trainer in ONLY_LINF:
        raise ValueError(f"--threat-model must be Linf for --trainer {arguments.trainer}, got L2")
    if arguments.time_budget is not None and arguments.nb_epochs is None:
        changes["nb_epochs"] = trainers.UNLIMITED
    augmentations = dict(zip(AUGMENTATIONS, (None, crop, crop_and_flip, shift), strict=True))
    if arguments.augment is not None:
        changes["augmentation"] = augmentations[arguments.augment]
    eps = None if arguments.eps is None else number("--eps", arguments.eps)
    presets: dict[str, Mapping[str, Settings]] = {
        "levelset": trainers.PRESETS,
        "geometric-svm": trainers.GEOMETRIC_SVM_PRESETS,
    }
    if arguments.preset is None:
        settings = _without_preset(arguments, eps, changes)
    elif arguments.trainer not in presets:
        raise ValueError(f"--preset is for --trainer {' and '.join(presets)}, got {arguments.trainer}")
    elif arguments.preset not in presets[arguments.trainer]:
        raise ValueError(
            f"--preset must be one of {', '.join(presets[arguments.trainer])} for --trainer {arguments.trainer}, "
            f"got {arguments.preset!r}"
        )
    else:
        preset = presets[arguments.trainer][arguments.preset]
        if arguments.threat_model == "L2" and _is_of_linf(preset):
            others = [name for name, other in trainers.PRESETS.items() if not _is_of_linf(other)]
            raise ValueError(
                f"--threat-model must be Linf for --preset {arguments.preset}, got L2, for which --preset must be "
                f"{in_words(others)}"
            )
        if arguments.threat_model == "L2" and eps is None and preset.eps is not None:
            raise ValueError("--eps must be given with --threat-model L2: the preset's is of Linf")
        settings = dataclasses.replace(preset, **{**_usual_rate(arguments, preset.optimizer_name), **changes})
        if eps is not None:
            settings = settings.for_radius(eps)
    if arguments.ema is not None:
        settings = dataclasses.replace(settings, options={**settings.options, "ema_decay": arguments.ema})
    if not (settings.learning_rate > 0 and math.isfinite(settings.learning_rate)):
        raise ValueError(f"--lr must be positive and finite, got {settings.learning_rate}")
    check_not_negative("--weight-decay", settings.weight_decay)
    return settings


def _is_of_linf(preset: Settings) -> bool:
    """Whether it trains with eq. 12's rho, which is a distance of L_inf alone."""
    return preset.options.get("distance") == "rho"


def _usual_rate(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """The learning rate of another optimizer than the one that is meant."""
    from art_levelset.trainers.optimizers import RATES

    if arguments.optimizer in (None, name):
        return {}
    return {"learning_rate": RATES[arguments.optimizer]}


def _without_preset(arguments: argparse.Namespace, eps: float | None, changes: dict[str, Any]) -> Settings:
    """The defaults, with what the options change."""
    from art_levelset.trainers import GeometricSVMPreset, Preset, crop_and_flip
    from art_levelset.trainers.optimizers import RATES

    has_radius = arguments.trainer != "geometric-svm"
    for option in ("data", "arch", *(("eps",) if has_radius else ())):
        if getattr(arguments, option) is None:
            raise ValueError(f"--{option} must be given where there is no --preset")
    defaults = {"eps": eps, "augmentation": crop_and_flip if arguments.data == "cifar10" else None, "nb_epochs": 20}
    if not has_radius:
        return GeometricSVMPreset(**{**defaults, **_usual_rate(arguments, "sgd"), **changes})
    usual = {"learning_rate": RATES["adam"], **_usual_rate(arguments, "adam")}
    return Preset(**{**defaults, "options": {"eps": eps}, **usual, **changes})


def as_document(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """
    The settings, of the options and of the preset, for a JSON document.

    :param arguments: The options.
    :param settings: What they and the preset say.
    :return: Values by name.
    """
    names = (
        "data",
        "architecture",
        "optimizer_name",
        "learning_rate",
        "weight_decay",
        "scheduler",
        "nb_epochs",
        "batch_size",
    )
    options = ("trainer", "preset", "time_budget", "seed", "device", "bf16", "compile")
    given = {name: getattr(arguments, name) for name in options}
    own = {
        "data_args": json_arguments("--data-args", arguments.data_args),
        "arch_args": json_arguments("--arch-args", arguments.arch_args),
    }
    return {
        **given,
        "threat_model": arguments.threat_model or "Linf",
        **{name: getattr(settings, name) for name in names},
        **own,
        "eps": settings.eps,
        "ema": _ema(settings),
    }


def as_file(arguments: argparse.Namespace, settings: Settings) -> str:
    """
    The run's options as a file for `--config`: those that were given, and what the preset and the defaults chose. Not
    where its checkpoints and logs are: another run has others.

    :param arguments: The options.
    :param settings: What they and the preset say.
    :return: YAML.
    """
    chosen = {
        "preset": arguments.preset,
        "trainer": arguments.trainer,
        "data": settings.data,
        "data-args": json_arguments("--data-args", arguments.data_args) or None,
        "data-root": arguments.data_root,
        "arch": settings.architecture,
        "arch-args": json_arguments("--arch-args", arguments.arch_args) or None,
        "eps": radius_of(arguments, settings.eps),
        "threat-model": arguments.threat_model,
        "nb-epochs": None if arguments.time_budget and arguments.nb_epochs is None else settings.nb_epochs,
        "time-budget": None if arguments.time_budget is None else _in_seconds(arguments.time_budget),
        "batch-size": settings.batch_size,
        "optimizer": settings.optimizer_name,
        "lr": settings.learning_rate,
        "weight-decay": settings.weight_decay,
        "scheduler": settings.scheduler,
        "ema": _ema(settings),
        "augment": arguments.augment,
        "nb-validation": arguments.nb_validation,
        "patience": arguments.patience,
        "seed": arguments.seed,
        "device": arguments.device,
        "bf16": arguments.bf16,
        "compile": arguments.compile,
        "output": arguments.output,
    }
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in chosen.items()}
    return as_yaml(plain, f"art-levelset {__version__}: art-levelset train --config FILE")


def _in_seconds(time: float) -> str:
    """A time in the form that `--time-budget` reads, which has no exponents."""
    import numpy as np

    return f"{np.format_float_positional(time, trim='-')}s"


def _ema(settings: Settings) -> float | None:
    """The decay of the average of the weights, if there is one."""
    decay: float | None = settings.options.get("ema_decay")
    return decay


def norm_of(arguments: argparse.Namespace) -> float:
    """
    The norm of the ball.

    :param arguments: The options.
    :return: Infinity or 2.
    """
    return 2.0 if arguments.threat_model == "L2" else math.inf


def radius_of(arguments: argparse.Namespace, eps: float | None) -> str | None:
    """
    The radius as text.

    :param arguments: The options.
    :param eps: The radius that they and the preset say.
    :return: As it was given, or the preset's, a short decimal or a fraction; None for none.
    """
    if arguments.eps is not None or eps is None:
        return None if arguments.eps is None else str(arguments.eps)
    decimal = f"{eps:g}"
    return decimal if float(decimal) == eps else str(Fraction(eps).limit_denominator(1000))
