"""
The networks that `--arch` names: those of the package, torchvision's, RobustBench's, and the user's own; with the
weights of a file, or new.

A file of weights (`--model`) is read without running code; what a Python path names is the user's program, and runs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from art_levelset.arguments import did_you_mean
from art_levelset.cli.options import ARCHITECTURES, in_words
from art_levelset.cli.python_path import called, errors_named, imported, is_python_path, short_name
from art_levelset.files import beside

if TYPE_CHECKING:
    from torch import nn

TORCHVISION, ROBUSTBENCH = "torchvision:", "robustbench:"
"""What names of networks of these libraries begin with."""


@dataclass(frozen=True, eq=False)
class Known:
    """
    A network, and what a record says of it.

    :param network: The network, on the CPU, in evaluation mode.
    :param name: What it is called where no name is given.
    :param architecture: What it is, as text.
    :param sha256: The SHA-256 of its file of weights; None where there is none, or several.
    :param notes: What else is to be said.
    """

    network: nn.Module
    name: str
    architecture: str
    sha256: str | None
    notes: tuple[str, ...] = ()


def read_network(
    arch: str,
    arguments: Mapping[str, Any],
    weights: Path | None,
    *,
    shape: tuple[int, ...],
    classes: int,
    model_root: Path | None = None,
    download: bool = False,
) -> Known:
    """
    The network that the options name, with its weights.

    :param arch: What `--arch` names.
    :param arguments: Those of `--arch-args`.
    :param weights: The file of `--model`, if there is one.
    :param shape: The shape of a sample.
    :param classes: How many classes the labels show.
    :param model_root: The folder of RobustBench's files.
    :param download: Whether they may be downloaded.
    :return: The network.
    :raises ValueError: If there is no such network, or the weights are another one's; the message names the option.
    :raises OSError: If a file cannot be read.
    """
    if arch.startswith(ROBUSTBENCH):
        return _of_robustbench(arch, arguments, weights, model_root, download)
    check_arch(arch, zoo=True)
    if weights is None and not is_own(arch):
        raise ValueError(f"--model must name the file of weights of --arch {arch}")
    if arch.startswith(TORCHVISION):
        network = _of_torchvision(arch, arguments, weights)
    elif is_own(arch):
        network = _own(arch, arguments)
        if weights is not None:
            _load(network, weights)
    else:
        network = _built_in(arch, arguments, weights, shape, classes)
    architecture = architecture_of(arch, arguments)
    name = arch.rpartition(":")[2] if weights is None else beside(weights, "").name
    return Known(network.eval(), name, architecture, None if weights is None else _sha256(weights))


def new_network(arch: str, arguments: Mapping[str, Any], *, shape: tuple[int, ...], classes: int) -> nn.Module:
    """
    The network that the options name, as it is before training.

    :param arch: What `--arch` names, none of RobustBench's.
    :param arguments: Those of `--arch-args`.
    :param shape: The shape of a sample.
    :param classes: How many classes there are.
    :return: The network, of so many classes unless the arguments or the user's code say otherwise.
    :raises ValueError: If there is no such network; the message names the option.
    """
    if is_own(arch):
        return _own(arch, arguments)
    if arch.startswith(TORCHVISION):
        return _new_of_torchvision(arch, {"num_classes": classes, **arguments})
    from art_levelset.models import CLASSIFIERS

    return CLASSIFIERS[arch](nb_classes=classes, input_shape=_shape_of_images(arch, arguments, shape))


def check_arch(arch: str, *, zoo: bool = False) -> None:
    """
    Check that `--arch` names what may be a network.

    :param arch: What it names.
    :param zoo: Whether it may be one of RobustBench's, which are trained.
    :raises ValueError: If it does not.
    """
    libraries = (TORCHVISION, ROBUSTBENCH) if zoo else (TORCHVISION,)
    if arch not in ARCHITECTURES and not arch.startswith(libraries) and not is_own(arch):
        names = ", ".join([*ARCHITECTURES, *(f"{library}NAME" for library in libraries)])
        raise ValueError(
            f"--arch must be one of {names} or a Python path (package.module:callable, file.py:callable), "
            f"got {arch!r}{did_you_mean(arch, ARCHITECTURES)}"
        )


def architecture_of(arch: str, arguments: Mapping[str, Any]) -> str:
    """
    What the options name, for people.

    :param arch: What `--arch` names.
    :param arguments: Those of `--arch-args`.
    :return: Both, on one line, without folders.
    """
    return with_arguments(short_name(arch) if is_own(arch) else arch, arguments)


def is_own(arch: str) -> bool:
    """
    Whether `--arch` names something of the user's own.

    :param arch: What it names.
    :return: Whether it is a Python path.
    """
    return not arch.startswith((TORCHVISION, ROBUSTBENCH)) and is_python_path(arch)


def with_arguments(name: str, arguments: Mapping[str, Any]) -> str:
    """
    A name with its arguments, for people.

    :param name: The name.
    :param arguments: The arguments.
    :return: Both, on one line.

    >>> with_arguments("small.py:make", {"width": 8})
    'small.py:make {"width": 8}'
    """
    return f"{name} {json.dumps(arguments, sort_keys=True)}" if arguments else name


def module_at(option: str, path: str, arguments: Mapping[str, Any]) -> nn.Module:
    """
    The module that a Python path names, or that what it names returns.

    :param option: The option that has the path.
    :param path: The path.
    :param arguments: What it is called with.
    :return: The module.
    :raises ValueError: If there is none.
    """
    from torch import nn

    found = imported(option, path)
    if isinstance(found, nn.Module):
        if arguments:
            raise ValueError(f"{option}-args must not be given where {short_name(path)} is a module already")
        return found
    made = called(option, path, arguments)
    if not isinstance(made, nn.Module):
        raise ValueError(f"{option}: {short_name(path)} must return an nn.Module, got {type(made).__name__}")
    return made


def _own(arch: str, arguments: Mapping[str, Any]) -> nn.Module:
    return module_at("--arch", arch, arguments)


def _built_in(
    arch: str, arguments: Mapping[str, Any], weights: Path | None, shape: tuple[int, ...], classes: int
) -> nn.Module:
    from art_levelset.models import load_classifier

    images = _shape_of_images(arch, arguments, shape)
    with _file_named():
        return load_classifier(arch, weights or "", input_shape=images, least_classes=classes)


def _shape_of_images(arch: str, arguments: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, int, int]:
    """That of the images for one of the package's networks, which take no arguments."""
    if arguments:
        raise ValueError(f"--arch-args are not for {in_words(ARCHITECTURES)}, which images and labels determine")
    if len(shape) != 3:
        raise ValueError(
            f"--arch {arch} takes images (channels, height, width), and the samples have the shape {shape}"
        )
    channels, height, width = shape
    return channels, height, width


def _of_torchvision(arch: str, arguments: Mapping[str, Any], weights: Path | None) -> nn.Module:
    from art_levelset.models.weights import classes_of

    network = _new_of_torchvision(arch, arguments)
    if weights is not None and "num_classes" not in arguments:
        with _file_named():
            classes = classes_of(network, weights)
        network = (
            network if classes in (None, 1000) else _new_of_torchvision(arch, {"num_classes": classes, **arguments})
        )
    if weights is not None:
        _load(network, weights)
    return network


def _new_of_torchvision(arch: str, arguments: Mapping[str, Any]) -> nn.Module:
    from torchvision import models

    name = arch.removeprefix(TORCHVISION)
    known = models.list_models()
    if name not in known:
        raise ValueError(f"--arch: torchvision has no network {name!r}{did_you_mean(name, known)}")
    if {"weights", "weights_backbone"} & arguments.keys():
        raise ValueError("--arch-args must name no weights: nothing is fetched")
    with errors_named("--arch-args", arch):
        network: nn.Module = models.get_model(name, weights=None, **arguments)
    return network


def _of_robustbench(
    arch: str, arguments: Mapping[str, Any], weights: Path | None, model_root: Path | None, download: bool
) -> Known:
    from art_levelset.adapters.robustbench import zoo_model

    if weights is not None:
        raise ValueError("--model is not for robustbench's networks: their files are in the folder of --model-root")
    if model_root is None:
        raise ValueError(f"--model-root must name the folder of the files of {arch}")
    if unknown := arguments.keys() - {"dataset", "threat_model"}:
        raise ValueError(f"--arch-args of robustbench are dataset and threat_model, got {min(unknown)!r}")
    name = arch.removeprefix(ROBUSTBENCH)
    network, files = zoo_model(name, model_root, download=download, **arguments)
    several = files if len(files) > 1 else ()
    notes = [f"{file.name} has the SHA-256 {_sha256(file)}" for file in several]
    return Known(
        network, name, with_arguments(arch, arguments), _sha256(files[0]) if len(files) == 1 else None, (*notes,)
    )


def _load(network: nn.Module, weights: Path) -> None:
    from art_levelset.models import load_weights

    with _file_named():
        load_weights(network, weights)


@contextmanager
def _file_named() -> Iterator[None]:
    """What is wrong with a file of weights, by its option."""
    try:
        yield
    except ValueError as error:
        raise ValueError(re.sub("^path: ", "--model: ", str(error))) from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
